//! Tests of the engine: cases at a table, and a cluster under chaos whose invariants are a file each.

mod cases;
mod cluster;
mod commit_never_undone;
mod election_safety;
mod entry;
mod leader_completeness;
mod liveness;
mod log_matching;
mod state_machine_safety;

/// Mistakes to plant, so that the checks are seen to fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plant {
    /// Votes for everybody who asks.
    pub(super) votes_twice: bool,
    /// Decides entries of earlier terms by counting who holds them (Raft, figure 8).
    pub(super) commits_old_terms: bool,
    /// Answers before its vote is on disk.
    pub(super) forgets_votes: bool,
}
