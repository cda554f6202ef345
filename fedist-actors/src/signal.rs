//! What nodes tell each other about actors, in the pair's order (contract C8).

use fedist_registry::RegionPid;

use crate::{DropReason, ExitReason, exit::MonitorRef};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Signal {
    /// The sender's node wants to know of the end of `pid`.
    Monitor { pid: RegionPid, monitor: MonitorRef },
    /// It does not any more.
    Demonitor { pid: RegionPid, monitor: MonitorRef },
    /// `pid` ended.
    Down { pid: RegionPid, monitor: MonitorRef, reason: ExitReason },
    /// `from` links itself to `to`.
    Link { from: RegionPid, to: RegionPid },
    /// `from` was made for `to` by this request, and is linked to it.
    SpawnLinked { from: RegionPid, to: RegionPid, reference: u64 },
    /// The link is taken back.
    Unlink { from: RegionPid, to: RegionPid },
    /// The exit signal of a link: `from` ended, or could not be linked to.
    LinkExit { from: RegionPid, to: RegionPid, reason: ExitReason },
    /// An exit signal that `from` has sent on purpose.
    Exit { from: RegionPid, to: RegionPid, reason: ExitReason },
    /// As `Exit`, and cannot be trapped.
    Kill { from: RegionPid, to: RegionPid },
    /// The actor's mailbox is past its bound: hold back what is meant for it (contract C16).
    Pause { pid: RegionPid },
    /// It has room again.
    Resume { pid: RegionPid },
    /// A tell did not reach its actor.
    Undelivered { to: RegionPid, from: Option<RegionPid>, wire_type: u32, reason: DropReason },
}
