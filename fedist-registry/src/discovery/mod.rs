//! Which addresses a region has been told of, by whom, and which of them it dials now.
//!
//! Sources (a list, a DNS name, a file) answer again and again with the addresses that they have. An [`AddressBook`] makes one
//! list of it: an address stays as long as one source has it, and it goes only when answers in a row lack it. A source that
//! fails changes nothing, and one that suddenly knows nobody is not believed at once; so a resolver that is down, or a file
//! that is being written, cuts nobody off. The book has no clock and dials nobody: it says whom to dial, and is told what came
//! of it.

mod address;
mod book;
mod source;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use address::{BadAddress, check_address};
pub use book::{AddressBook, News, SourceId, Standing};

use crate::RegionId;

/// One discovered address, as a region shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The address, as its sources say it.
    pub address: String,
    /// Who has it: `file /etc/fedist/peers`, `dns regions.example:4433`, `connect`.
    pub sources: Vec<String>,
    /// The region that answered there last.
    pub region: Option<RegionId>,
    /// What is being done about it.
    pub state: PeerState,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// What the last attempt said, while it failed.
    pub error: Option<String>,
}

/// What is being done about a discovered address.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PeerState {
    /// Not tried yet, or it is not its turn.
    Waiting,
    /// Being dialed.
    Dialing,
    /// A link to its region is up, over this address or another one.
    Linked,
    /// The last attempt failed; it is tried again, less and less often.
    Failing,
    /// It leads to the region that was told of it.
    Ourselves,
    /// No link to its region is wanted, because of `disconnect`.
    Disconnected,
}

/// As people read it.
impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PeerState::Waiting => "waiting",
            PeerState::Dialing => "dialing",
            PeerState::Linked => "linked",
            PeerState::Failing => "failing",
            PeerState::Ourselves => "this region itself",
            PeerState::Disconnected => "disconnected",
        })
    }
}

/// One source of addresses, as a region shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// What it is: `file /etc/fedist/peers`.
    pub name: String,
    /// Addresses that are held because of it.
    pub addresses: usize,
    /// How often it has answered.
    pub answers: u64,
    /// How often it could not.
    pub failures: u64,
    /// Addresses of its last answer that were malformed.
    pub refused: usize,
    /// Addresses of its last answer for which there was no room.
    pub over_limit: usize,
    /// Why the last answer was not taken as it was; what was known before holds.
    pub error: Option<String>,
}
