//! How actors end, and who is told: exit reasons, `Down` and `Exit`.

use std::time::Duration;

use fedist_registry::{RegionId, RegionPid};

/// Why an actor (or the sight of it) ended.
///
/// The names follow Erlang's exit reasons; `Unreachable` does not mean dead.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// The actor stopped by itself.
    Normal,
    /// Its supervisor or its node stopped it in an orderly way.
    Shutdown,
    /// A handler panicked; the text is the panic's message.
    Panicked(String),
    /// It was ended from outside without being asked; nothing can trap that.
    Killed,
    /// Nothing lived at the pid when the monitor or link was set.
    NoActor,
    /// The actor does not let others of that region link to it or end it
    /// ([`Export::links`](crate::Export::links)).
    Denied,
    /// The session with the actor's region ended: dead or cut off, nobody here can tell.
    Unreachable {
        /// For how long nothing had been heard of the region.
        since: Duration,
        /// The first region on the last route that was used, if there was one.
        last_hop: Option<RegionId>,
    },
    /// The application's own reason.
    Custom(String),
}

impl ExitReason {
    /// Whether it is an orderly end, after which a `Transient` child is not started again.
    pub fn is_normal(&self) -> bool {
        matches!(self, ExitReason::Normal | ExitReason::Shutdown)
    }
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown => f.write_str("shutdown"),
            ExitReason::Panicked(text) => write!(f, "panicked: {text}"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::NoActor => f.write_str("no actor"),
            ExitReason::Denied => f.write_str("denied"),
            ExitReason::Unreachable { since, .. } => {
                write!(f, "unreachable, silent for {} ms", since.as_millis())
            }
            ExitReason::Custom(text) => f.write_str(text),
        }
    }
}

/// Tells a watcher that what it monitors is gone. Comes exactly once per monitor.
///
/// After it nothing from `pid` reaches this node's watcher any more (contract C8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The monitor that fired.
    pub monitor: MonitorRef,
    /// The actor that was monitored.
    pub pid: RegionPid,
    /// Why it is gone.
    pub reason: ExitReason,
}

impl actix::Message for Down {
    type Result = ();
}

/// An exit signal that reached an actor which traps them
/// ([`Context::trap_exit`](crate::Context::trap_exit)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The linked actor that ended, or the one that sent the signal.
    pub from: RegionPid,
    /// Why.
    pub reason: ExitReason,
}

impl actix::Message for Exit {
    type Result = ();
}

/// Names one monitor of this node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct MonitorRef(pub(crate) u64);

/// Where a `Down` goes. Boxed so that actors, tasks and supervisors can all watch.
pub(crate) type DownSink = Box<dyn FnOnce(Down) + Send>;

/// The text of a panic's payload.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
