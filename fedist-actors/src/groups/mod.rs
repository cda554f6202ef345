//! Groups and presence: actors of any region under a common name, and one message to all of them.

mod member;
mod membership;
mod multicast;
mod protocol;
mod stream;

pub use member::{GroupEvent, LeaveReason, Member, Meta};
pub use multicast::PublishCounters;

use fedist_registry::RegionPid;

/// Why an actor did not become a member, or its metadata was not changed; nothing changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name cannot be a group's.
    #[error(
        "malformed group name ({group:?}); it has 1 to 255 bytes and no control characters; write e.g. room/rust"
    )]
    MalformedGroup {
        /// The name as given.
        group: String,
    },
    /// The actor lives in another region.
    #[error(
        "actor of another region ({pid}); a region enters its own actors only; join from a node of region {}", .pid.region()
    )]
    NotLocal {
        /// The actor.
        pid: RegionPid,
    },
    /// Nothing lives at the pid.
    #[error("no actor ({pid}); only a living actor can be a member; join before it ends")]
    NoActor {
        /// The pid.
        pid: RegionPid,
    },
    /// Metadata of an actor that is no member.
    #[error("not a member ({pid}, of {group}); only members have metadata; join first")]
    NotMember {
        /// The actor.
        pid: RegionPid,
        /// The group.
        group: String,
    },
    /// The metadata is too long.
    #[error("metadata too long ({len} bytes); at most {max}; keep the rest in the actor")]
    MetaTooLarge {
        /// Its length as encoded.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The metadata's `Serialize` failed.
    #[error("metadata: {0}")]
    Encode(String),
    /// The region has as many memberships as allowed.
    #[error(
        "too many memberships in this region; at most {members} and {bytes} bytes; use fewer groups or shorter metadata"
    )]
    Full {
        /// Memberships allowed.
        members: usize,
        /// Bytes of names and metadata allowed.
        bytes: usize,
    },
}
