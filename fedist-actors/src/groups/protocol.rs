//! What the group services of two regions say to each other.
//!
//! Everything but [`GroupCopy`] goes over the ordinary session of the two regions, in order and once.
//! A `GroupCopy` goes from neighbour to neighbour and may get lost on the way when routes change; the
//! streams of [`multicast`](super::multicast) make up for that.

use bytes::Bytes;
use fedist_registry::{LocalId, RegionId};
use serde::{Deserialize, Serialize};

use super::member::Entry;
use crate::{ExitReason, Message, origin::Origin};

/// Asks whether a region takes part in groups, and says that the asking one does.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "HelloAnswer")]
#[wire(name = "fedist.groups.hello", version = 1, crate = "crate")]
pub(crate) struct Hello {
    pub(crate) origin: Origin,
    pub(crate) boot: u32,
}

/// `takes_part` false: the region keeps nothing; it will say hello itself when that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HelloAnswer {
    pub(crate) takes_part: bool,
    pub(crate) boot: u32,
}

/// A step of the replication of one region's members.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.groups.update", version = 1, crate = "crate")]
pub(crate) struct GroupUpdate {
    pub(crate) origin: Origin,
    pub(crate) boot: u32,
    pub(crate) update: Update,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Update {
    /// A part of all members of the sender; parts come one after the other, counted from 0.
    Full { version: u64, part: u32, last: bool, groups: Vec<(String, Vec<Entry>)> },
    /// What led from one version to another.
    Delta { from: u64, to: u64, changes: Vec<Change> },
    /// The version that the receiver should have by now.
    Digest { version: u64 },
    /// The sender of this lost track of the receiver's members: please send all.
    Resync,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Change {
    Set { group: String, entry: Entry },
    Gone { group: String, local: LocalId, ended: Option<ExitReason> },
}

impl Change {
    /// About its length, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Change::Set { group, entry } => entry.weight(group),
            Change::Gone { group, ended, .. } => {
                let text = match ended {
                    Some(ExitReason::Panicked(text)) => text.len(),
                    _ => 0,
                };
                group.len() + text + GONE_OVERHEAD
            }
        }
    }
}

const GONE_OVERHEAD: usize = 64;

/// A published message, encoded once by its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) group: String,
    pub(crate) wire_type: u32,
    pub(crate) version: u16,
    pub(crate) from: Option<LocalId>,
    pub(crate) body: Bytes,
}

impl Letter {
    /// What it counts for in the bounds, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.body.len() + self.group.len() + LETTER_OVERHEAD
    }
}

/// About what the envelope of a letter takes on the wire and in memory.
const LETTER_OVERHEAD: usize = 96;

/// One copy of a letter, for all the targets that lie behind the same link.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.groups.copy", version = 1, crate = "crate")]
pub(crate) struct GroupCopy {
    pub(crate) origin: Origin,
    /// Who published; only the relays of the federation vouch for it.
    pub(crate) source: RegionId,
    pub(crate) boot: u32,
    /// How many more links it may cross.
    pub(crate) ttl: u8,
    pub(crate) targets: Vec<Target>,
    pub(crate) letter: Letter,
}

/// Where a letter goes, and its place in the stream of its source to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Target(pub(crate) RegionId, pub(crate) u32, pub(crate) u64);

impl Target {
    pub(crate) fn region(self) -> RegionId {
        self.0
    }

    pub(crate) fn epoch(self) -> u32 {
        self.1
    }

    pub(crate) fn seq(self) -> u64 {
        self.2
    }
}

/// What the two ends of a stream say to each other.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.groups.stream", version = 1, crate = "crate")]
pub(crate) struct GroupStream {
    pub(crate) origin: Origin,
    pub(crate) notice: Notice,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// From the target: what has come.
    Ack(Ack),
    /// From the source, when an acknowledgement is overdue: up to here letters were sent.
    Probe { boot: u32, epoch: u32, high: u64 },
    /// From the target: a member of the group has too many letters waiting.
    Pause { group: String },
    /// From the target: publish to the group again.
    Resume { group: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    /// The life and the stream of the source that this is about.
    pub(crate) boot: u32,
    pub(crate) epoch: u32,
    /// Every letter up to this one has come.
    pub(crate) upto: u64,
    /// First and last number of each gap behind it.
    pub(crate) missing: Vec<(u64, u64)>,
    /// The target has closed this stream and takes nothing more of it.
    pub(crate) closed: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{decode, encode};

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<GroupUpdate>(&bytes);
            let _ = decode::<GroupCopy>(&bytes);
            let _ = decode::<GroupStream>(&bytes);
        }

        #[test]
        fn nearly_valid_copies_are_a_message_or_an_error(at in 0_usize..400, byte: u8) {
            let region = RegionId::new(7).unwrap();
            let copy = GroupCopy {
                origin: Origin::here(),
                source: region,
                boot: 1,
                ttl: 8,
                targets: vec![Target(region, 1, 99); 3],
                letter: Letter {
                    group: "room/rust".to_owned(),
                    wire_type: 7,
                    version: 1,
                    from: None,
                    body: Bytes::from_static(b"a body"),
                },
            };
            let mut bytes = encode("copy", &copy).unwrap().to_vec();
            prop_assert_eq!(decode::<GroupCopy>(&bytes).unwrap().letter, copy.letter);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode::<GroupCopy>(&bytes);
            prop_assert!(decode::<GroupCopy>(&bytes[..at]).is_err(), "a cut message is an error");
        }
    }
}
