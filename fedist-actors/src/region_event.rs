//! What a monitor of a whole region tells, as `net_kernel:monitor_nodes` does in Erlang.

use std::time::Duration;

use fedist_registry::RegionId;

use crate::exit::MonitorRef;

/// A change of what this node can see of a region. Comes as often as it changes, until the monitor is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionEvent {
    /// The monitor that fired.
    pub monitor: MonitorRef,
    /// The region.
    pub region: RegionId,
    /// What changed.
    pub change: RegionChange,
}

impl actix::Message for RegionEvent {
    type Result = ();
}

/// What changed about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionChange {
    /// The session with it ended: it is gone or cut off, nobody here can tell which.
    Unreachable {
        /// For how long nothing had been heard of it.
        since: Duration,
        /// The first region on the last route that was used, if there was one.
        last_hop: Option<RegionId>,
    },
    /// A session with it has opened, for the first time or again.
    Reachable,
    /// A session has opened with a later start of its node: none of the actors known before lives.
    Restarted {
        /// How often it has been started by now.
        boot: u32,
    },
}
