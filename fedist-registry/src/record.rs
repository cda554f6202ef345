//! What the registry knows about one region.

use serde::{Deserialize, Serialize};

use crate::{Coordinates, KeyHash, RegionId, RegionName};

/// What the registry knows about one region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionRecord {
    /// Its number.
    pub id: RegionId,
    /// Its readable name, taken by no other region that has not left.
    pub name: RegionName,
    /// The region above it in the hierarchy; none for the root.
    pub parent: Option<RegionId>,
    /// Where others can dial it, best first: at most [`MAX_ADDRESSES`](Self::MAX_ADDRESSES), each at most
    /// [`MAX_ADDRESS_LEN`](Self::MAX_ADDRESS_LEN) bytes.
    pub addresses: Vec<String>,
    /// The key that holds this number.
    pub key_hash: KeyHash,
    /// Where it stands in its life.
    pub status: Status,
    /// Where it is, if anybody said so.
    pub coordinates: Option<Coordinates>,
}

impl RegionRecord {
    /// Addresses of one region, at most.
    pub const MAX_ADDRESSES: usize = 8;
    /// Bytes of one address, at most.
    pub const MAX_ADDRESS_LEN: usize = 255;

    /// Whether it may send and store across regions.
    pub fn is_live(&self) -> bool {
        self.status == Status::Live
    }
}

/// Where a region stands in its life.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Admitted, and still fetching the snapshot and opening links; may not send across regions yet.
    Joining,
    /// Announced to all; sends and stores across regions.
    Live,
    /// Gone for good. The record stays as a tombstone, and the number is never given to another key.
    Left,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Joining => "joining",
            Status::Live => "live",
            Status::Left => "left",
        })
    }
}
