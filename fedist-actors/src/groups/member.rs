//! Members of groups as users see them: pid, metadata, and what happens to them.

use std::sync::Arc;

use bytes::Bytes;
use fedist_registry::{LocalId, RegionPid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::JoinError;
use crate::{
    DecodeError, ExitReason,
    message::{decode, encode},
};

/// What a member tells about itself: any serialisable value of at most 4 KiB, kept encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta(Bytes);

impl Meta {
    /// The longest metadata of one member, in bytes as encoded.
    pub const MAX_LEN: usize = 4 * 1024;

    pub(super) fn new<T: Serialize + ?Sized>(value: &T) -> Result<Meta, JoinError> {
        let bytes =
            encode("metadata", value).map_err(|error| JoinError::Encode(error.to_string()))?;
        if bytes.len() > Self::MAX_LEN {
            return Err(JoinError::MetaTooLarge { len: bytes.len(), max: Self::MAX_LEN });
        }
        // A slice of a shared chunk would keep the whole chunk alive for as long as the membership.
        Ok(Meta(Bytes::copy_from_slice(&bytes)))
    }

    /// The value.
    ///
    /// # Errors
    /// [`DecodeError`] when the member gave another type.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode(&self.0)
    }

    /// Its length as encoded, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in it; never so for what a member gave, as `()` is one byte too.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One actor in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The actor.
    pub pid: RegionPid,
    /// What it told about itself when it joined last, or updated since.
    pub meta: Meta,
    /// How often it has joined, and so has to leave, as in Erlang's `pg`.
    pub joins: u32,
}

/// Why a member is not in a group any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// It left as often as it had joined.
    Left,
    /// It ended, for this reason.
    Ended(ExitReason),
    /// Its region cannot be reached. It may live, and comes back with its region.
    Unreachable,
    /// Its region has started anew: the member is gone for good.
    Restarted,
}

/// A change of the groups under a watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// Everybody in the watched groups at this moment: the first event of every watch, and again
    /// in place of what was missed by a watcher that fell too far behind. Ordered by group.
    Snapshot(Vec<(Arc<str>, Vec<Member>)>),
    /// An actor that was not in the group is now.
    Joined {
        /// The group.
        group: Arc<str>,
        /// The actor.
        member: Member,
    },
    /// A member is not in the group any more.
    Left {
        /// The group.
        group: Arc<str>,
        /// The member as it was last known.
        member: Member,
        /// Why.
        reason: LeaveReason,
    },
    /// A member's metadata or number of joins changed.
    Updated {
        /// The group.
        group: Arc<str>,
        /// The member as it is now.
        member: Member,
    },
}

impl actix::Message for GroupEvent {
    type Result = ();
}

impl GroupEvent {
    /// The group that changed; `None` for a snapshot.
    pub fn group(&self) -> Option<&str> {
        match self {
            GroupEvent::Snapshot(_) => None,
            GroupEvent::Joined { group, .. }
            | GroupEvent::Left { group, .. }
            | GroupEvent::Updated { group, .. } => Some(group),
        }
    }
}

/// A membership as it is kept and replicated; the region is that of the table it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) local: LocalId,
    pub(crate) joins: u32,
    pub(crate) meta: Meta,
}

impl Entry {
    /// What it counts for in the bounds, in bytes.
    pub(super) fn weight(&self, group: &str) -> usize {
        group.len() + self.meta.len() + ENTRY_OVERHEAD
    }

    pub(super) fn member(&self, region: fedist_registry::RegionId) -> Member {
        Member {
            pid: RegionPid::new(region, self.local),
            meta: self.meta.clone(),
            joins: self.joins,
        }
    }
}

const ENTRY_OVERHEAD: usize = 24;

/// Whether a group may be called so: 1 to 255 bytes without control characters.
pub(super) fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control)
}
