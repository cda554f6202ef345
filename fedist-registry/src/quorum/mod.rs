//! The root candidates' agreement: one writer per term, and nothing counts before a majority holds it.
//!
//! A small Raft (Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm*, 2014; Ongaro's thesis for
//! pre-vote, check-quorum and leases), as a pure engine over the registry's own log. It is not built on openraft: the log,
//! its storage, its hash chain and its way to thousands of learners (push down the tree, pull from any neighbour) exist
//! already, and openraft brings a runtime, storage traits and a log format of its own. What is left to do is this:
//!
//! - **Election.** Who hears no leader for a random 2 to 4 s asks whether it would be elected (pre-vote: a region that was cut
//!   off disturbs nobody when it comes back), then asks for votes in the next term. A vote is on disk before it is told. Who
//!   heard a leader within the shortest election time, or has just started, votes for nobody.
//! - **Replication.** The leader sends what follows a point (index and hash); a follower that does not hold the point says
//!   where its decided log ends. Since each entry carries the hash of the one before, one equal hash means equal logs.
//!   Only undecided entries are ever taken back.
//! - **Commitment.** An entry is decided when a majority holds it *and* it is of the leader's own term; those before it are
//!   decided with it (§5.4.2). The undecided tail lives in this engine only: the [`Registry`](crate::Registry) gets decided
//!   entries, so no reader outside ever sees one that is taken back.
//! - **Lease.** A leader that has not heard from a majority for the shortest election time steps down, so a leader that is
//!   cut off stops taking changes about when the others elect another one.
//! - **Change of the candidates.** One entry, [`Change::Candidates`](crate::Change::Candidates), sets them. From when a region
//!   holds it until it knows it as decided, elections and commitment need a majority of the old *and* of the new set; after
//!   that the new one alone. That is joint consensus (§6) whose second entry is the knowledge that the first is decided, which
//!   here is durable and reaches every region with the log. One such change at a time. Any two sets will do, so 1, 3 and 5
//!   follow each other directly; changes of one member at a time would pass through 2 and 4.
//!
//! Followers that are far behind, and candidates that have just been named, fetch decided entries as any other region does;
//! [`Quorum::handle_committed`] takes them in.
//!
//! After every call, [`poll`](Quorum::poll) and act in this order: save, commit, send.

mod engine;
mod message;
mod window;

pub use engine::{Proposed, Quorum, QuorumConfig, Ready, Saved};
pub use message::{Appended, LogPoint, QuorumEntry, QuorumMessage};

#[cfg(test)]
mod tests;
