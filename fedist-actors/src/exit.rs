//! How actors end, and who is told: exit reasons, `Down`, monitors.

use std::{collections::HashMap, sync::Mutex};

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
    /// It was ended from outside without being asked.
    Killed,
    /// Nothing lived at the pid when the monitor was set.
    NoActor,
    /// The session with the actor's region ended: dead or cut off, nobody here can tell.
    Unreachable {
        /// For how long nothing had been heard of the region, in milliseconds.
        silent_ms: u64,
        /// The first region on the last route that was used, if there was one.
        last_hop: Option<RegionId>,
    },
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown => f.write_str("shutdown"),
            ExitReason::Panicked(text) => write!(f, "panicked: {text}"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::NoActor => f.write_str("no actor"),
            ExitReason::Unreachable { silent_ms, .. } => {
                write!(f, "unreachable, silent for {silent_ms} ms")
            }
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

/// Names one monitor of this node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct MonitorRef(pub(crate) u64);

/// Where a `Down` goes. Boxed so that actors, tasks and supervisors can all watch.
pub(crate) type DownSink = Box<dyn FnOnce(Down) + Send>;

/// One who wants to know of the end of a local actor.
pub(crate) enum Watcher {
    Local(MonitorRef, DownSink),
    Remote(RegionId, MonitorRef),
}

/// Monitors that this node's actors hold on actors of other regions.
#[derive(Default)]
pub(crate) struct RemoteMonitors {
    inner: Mutex<HashMap<MonitorRef, (RegionPid, DownSink)>>,
}

impl RemoteMonitors {
    pub(crate) fn add(&self, monitor: MonitorRef, pid: RegionPid, sink: DownSink) {
        self.lock().insert(monitor, (pid, sink));
    }

    /// Takes one monitor out; `None` when it fired already or was taken back.
    pub(crate) fn take(&self, monitor: MonitorRef) -> Option<(RegionPid, DownSink)> {
        self.lock().remove(&monitor)
    }

    /// Takes out every monitor on actors of `region`, in the order in which they were set.
    pub(crate) fn take_region(&self, region: RegionId) -> Vec<(MonitorRef, RegionPid, DownSink)> {
        let mut inner = self.lock();
        let mut refs: Vec<MonitorRef> = inner
            .iter()
            .filter(|(_, (pid, _))| pid.region() == region)
            .map(|(monitor, _)| *monitor)
            .collect();
        refs.sort_unstable();
        refs.into_iter()
            .filter_map(|monitor| {
                let (pid, sink) = inner.remove(&monitor)?;
                Some((monitor, pid, sink))
            })
            .collect()
    }

    pub(crate) fn watches(&self, region: RegionId) -> bool {
        self.lock().values().any(|(pid, _)| pid.region() == region)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<MonitorRef, (RegionPid, DownSink)>> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

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
