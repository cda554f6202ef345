//! What candidates say to each other, and what an entry must be able to tell.

use serde::{Deserialize, Serialize};

use crate::{Change, LogEntry, RegionId, Version};

/// A point on a log and the term of its last entry. The empty log is at [`LogPoint::EMPTY`].
///
/// Points of different logs are ordered by term, then by index: that order says whose log is more up to date (Raft §5.4.1).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPoint {
    /// The term of the entry here; 0 for the empty log.
    pub term: u64,
    /// Index and hash.
    pub version: Version,
}

impl LogPoint {
    /// Before the first entry.
    pub const EMPTY: LogPoint = LogPoint { term: 0, version: Version::EMPTY };

    /// Whether a log that ends here holds at least as much as one that ends at `other`.
    pub fn is_up_to_date_with(&self, other: &LogPoint) -> bool {
        (self.term, self.version.index) >= (other.term, other.version.index)
    }
}

/// An entry of a hash-chained log that a [`Quorum`](super::Quorum) can keep.
pub trait QuorumEntry: Clone {
    /// Where a log that ends with it stands. Called once for each entry that is taken in.
    fn point(&self) -> LogPoint;
    /// The hash of the entry before.
    fn prev(&self) -> [u8; 32];
    /// The candidates that it sets, if it sets any.
    fn candidates(&self) -> Option<&[RegionId]>;
}

impl QuorumEntry for LogEntry {
    fn point(&self) -> LogPoint {
        LogPoint { term: self.term, version: self.version() }
    }

    fn prev(&self) -> [u8; 32] {
        self.prev
    }

    fn candidates(&self) -> Option<&[RegionId]> {
        match &self.change {
            Change::Candidates(ids) => Some(ids),
            _ => None,
        }
    }
}

/// What one candidate says to another. `term` is the sender's, but in the two messages of the pre-vote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QuorumMessage<E = LogEntry> {
    /// "Would you vote for me in `term`?" Binds nobody.
    PreVote {
        /// The term that would begin.
        term: u64,
        /// Where the sender's log ends.
        last: LogPoint,
    },
    /// The answer to a [`PreVote`](Self::PreVote).
    PreVoteReply {
        /// The voter's own term.
        term: u64,
        /// The term that was asked about.
        about: u64,
        /// Whether it would.
        granted: bool,
    },
    /// "Vote for me in `term`."
    Vote {
        /// The term that has begun at the sender.
        term: u64,
        /// Where the sender's log ends.
        last: LogPoint,
    },
    /// The answer to a [`Vote`](Self::Vote). The vote is on disk before it is sent.
    VoteReply {
        /// The voter's own term.
        term: u64,
        /// Whether it did.
        granted: bool,
    },
    /// The leader's next entries, or a sign of life where there are none.
    Append {
        /// The leader's term.
        term: u64,
        /// The point that the entries follow.
        prev: LogPoint,
        /// What follows.
        entries: Vec<E>,
        /// How far the leader's log is decided.
        committed: u64,
        /// The leader's clock when it said this, for the answer to repeat.
        sent: crate::Micros,
    },
    /// The answer to an [`Append`](Self::Append). The entries are on disk before it is sent.
    AppendReply {
        /// The follower's own term.
        term: u64,
        /// How far the follower's log is the leader's, or that it does not reach the point before the entries.
        outcome: Appended,
        /// The `sent` of the message that is answered.
        sent: crate::Micros,
    },
}

/// What came of an [`Append`](QuorumMessage::Append).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appended {
    /// The follower holds the leader's log up to this index.
    Matched(u64),
    /// It does not hold the point before the entries; its log is decided up to this index.
    Conflict(u64),
}
