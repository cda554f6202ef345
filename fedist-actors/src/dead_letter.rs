//! Messages that reached nobody: a bounded ring and counters by reason.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Mutex,
};

use fedist_registry::RegionPid;

/// Why a message did not reach its receiver, as counted and noted in the ring.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum DropReason {
    /// A bounded queue or mailbox was full.
    Full,
    /// No path to the region.
    NoRoute,
    /// The region is not in the registry.
    UnknownRegion,
    /// The node had not finished joining, or the source was not live.
    NotLive,
    /// The message was longer than allowed.
    TooLarge,
    /// `Serialize` failed.
    Encode,
    /// Nothing lives at the pid.
    NoActor,
    /// Not exported for this type.
    Denied,
    /// The node knows no such type.
    UnknownType,
    /// The body did not decode.
    Undecodable,
    /// The session ended before the message was acknowledged.
    SessionEnded,
    /// The deadline had passed before the request was run.
    Expired,
    /// The node was stopping.
    Stopped,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            DropReason::Full => "full",
            DropReason::NoRoute => "no_route",
            DropReason::UnknownRegion => "unknown_region",
            DropReason::NotLive => "not_live",
            DropReason::TooLarge => "too_large",
            DropReason::Encode => "encode",
            DropReason::NoActor => "no_actor",
            DropReason::Denied => "denied",
            DropReason::UnknownType => "unknown_type",
            DropReason::Undecodable => "undecodable",
            DropReason::SessionEnded => "session_ended",
            DropReason::Expired => "expired",
            DropReason::Stopped => "stopped",
        };
        f.write_str(text)
    }
}

/// One message that reached nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The intended receiver.
    pub to: RegionPid,
    /// The sender, where known.
    pub from: Option<RegionPid>,
    /// The stable name of the message type where this node knows it, else its hash in hex.
    pub message: String,
    /// Why.
    pub reason: DropReason,
    /// When, in milliseconds since the node started, by its monotonic clock.
    pub at_ms: u64,
}

/// The ring and the counters of one node.
pub(crate) struct DeadLetters {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ring: VecDeque<DeadLetter>,
    counts: BTreeMap<DropReason, u64>,
}

impl DeadLetters {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(Inner::default()) }
    }

    pub(crate) fn note(&self, letter: DeadLetter) {
        let mut inner = self.lock();
        *inner.counts.entry(letter.reason).or_default() += 1;
        if inner.ring.len() == RING_LEN {
            inner.ring.pop_front();
        }
        inner.ring.push_back(letter);
    }

    pub(crate) fn recent(&self) -> Vec<DeadLetter> {
        self.lock().ring.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<DropReason, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Dead letters kept per node; the oldest goes first, the counters go on.
const RING_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use fedist_registry::{LocalId, RegionId};

    #[test]
    fn the_ring_is_bounded_and_the_counters_are_not() {
        let letters = DeadLetters::new();
        let to = RegionPid::new(RegionId::new(1).unwrap(), LocalId::new(300).unwrap());
        for n in 0..(RING_LEN + 10) {
            letters.note(DeadLetter {
                to,
                from: None,
                message: n.to_string(),
                reason: DropReason::NoActor,
                at_ms: n as u64,
            });
        }
        let recent = letters.recent();
        assert_eq!(recent.len(), RING_LEN);
        assert_eq!(recent[0].message, "10");
        assert_eq!(letters.counts()[&DropReason::NoActor], (RING_LEN + 10) as u64);
    }
}
