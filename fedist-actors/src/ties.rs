//! What ties this node's processes to those of other regions: monitors both ways, links, and
//! monitors of regions. All of it ends with the session, from one event per region (contract C12).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fedist_registry::{LocalId, RegionId, RegionPid};

use crate::{
    exit::{DownSink, MonitorRef},
    region_event::{RegionChange, RegionEvent},
};

/// The ties of a node, by region.
#[derive(Default)]
pub(crate) struct Ties {
    regions: Mutex<HashMap<RegionId, RegionTies>>,
}

/// The ties to one region.
#[derive(Default)]
pub(crate) struct RegionTies {
    /// Monitors that this node holds on processes there, in the order in which they were set.
    pub(crate) held: BTreeMap<MonitorRef, Held>,
    /// Monitors that processes there hold on ours.
    watched: HashMap<MonitorRef, LocalId>,
    /// Ours first.
    links: BTreeSet<(LocalId, RegionPid)>,
    region_watchers: BTreeMap<MonitorRef, RegionWatcher>,
}

/// Where the events of a region go.
pub(crate) type RegionSink = Arc<dyn Fn(RegionEvent) + Send + Sync>;

/// A monitor of a region.
#[derive(Clone)]
pub(crate) struct RegionWatcher {
    /// The process that holds it, whose waiting messages its events must not overtake.
    pub(crate) holder: LocalId,
    pub(crate) sink: RegionSink,
    /// What it was told last.
    pub(crate) reachable: Option<bool>,
}

/// A monitor on a process of another region.
pub(crate) struct Held {
    pub(crate) pid: RegionPid,
    /// The actor that holds it, whose waiting messages its `Down` must not overtake.
    pub(crate) holder: Option<LocalId>,
    pub(crate) sink: DownSink,
}

/// What the end of a session sets free.
#[derive(Default)]
pub(crate) struct Loose {
    pub(crate) held: BTreeMap<MonitorRef, Held>,
    pub(crate) watched: HashMap<MonitorRef, LocalId>,
    pub(crate) links: BTreeSet<(LocalId, RegionPid)>,
}

impl RegionTies {
    fn is_empty(&self) -> bool {
        self.held.is_empty()
            && self.watched.is_empty()
            && self.links.is_empty()
            && self.region_watchers.is_empty()
    }
}

impl Ties {
    pub(crate) fn hold(&self, monitor: MonitorRef, held: Held) {
        self.with(held.pid.region(), |ties| ties.held.insert(monitor, held));
    }

    /// Says what a monitor watches that was set before that had a pid.
    pub(crate) fn name_held(&self, monitor: MonitorRef, pid: RegionPid) {
        self.with(pid.region(), |ties| {
            if let Some(held) = ties.held.get_mut(&monitor) {
                held.pid = pid;
            }
        });
    }

    /// Takes one monitor out; `None` when it fired already or was taken back.
    pub(crate) fn take_held(&self, region: RegionId, monitor: MonitorRef) -> Option<Held> {
        self.with(region, |ties| ties.held.remove(&monitor))
    }

    /// Notes that `region` watches one of ours. False when it watches too many already.
    pub(crate) fn add_watched(
        &self,
        region: RegionId,
        monitor: MonitorRef,
        local: LocalId,
    ) -> bool {
        self.with(region, |ties| {
            let room = ties.watched.len() < MAX_TIES;
            if room {
                ties.watched.insert(monitor, local);
            }
            room
        })
    }

    pub(crate) fn remove_watched(&self, region: RegionId, monitor: MonitorRef) {
        self.with(region, |ties| ties.watched.remove(&monitor));
    }

    /// Notes a link between one of ours and one of theirs. False when there are too many already.
    pub(crate) fn add_link(&self, local: LocalId, theirs: RegionPid) -> bool {
        self.with(theirs.region(), |ties| {
            let link = (local, theirs);
            let room = ties.links.len() < MAX_TIES || ties.links.contains(&link);
            if room {
                ties.links.insert(link);
            }
            room
        })
    }

    pub(crate) fn remove_link(&self, local: LocalId, theirs: RegionPid) {
        self.with(theirs.region(), |ties| ties.links.remove(&(local, theirs)));
    }

    pub(crate) fn watch_region(
        &self,
        region: RegionId,
        monitor: MonitorRef,
        watcher: RegionWatcher,
    ) {
        self.with(region, |ties| ties.region_watchers.insert(monitor, watcher));
    }

    pub(crate) fn unwatch_region(&self, region: RegionId, monitor: MonitorRef) -> bool {
        self.with(region, |ties| ties.region_watchers.remove(&monitor).is_some())
    }

    /// The monitors of a region for which `change` is one: each failed attempt to open a session ends
    /// one, but only the first is the loss of the region.
    pub(crate) fn region_watchers(
        &self,
        region: RegionId,
        change: RegionChange,
    ) -> Vec<(MonitorRef, RegionWatcher)> {
        let reachable = !matches!(change, RegionChange::Unreachable { .. });
        let mut regions = self.lock();
        let Some(ties) = regions.get_mut(&region) else {
            return Vec::new();
        };
        let told = ties.region_watchers.iter_mut().filter_map(|(monitor, watcher)| {
            let before = watcher.reachable.replace(reachable);
            (reachable || before != Some(false)).then(|| (*monitor, watcher.clone()))
        });
        told.collect()
    }

    /// Whether anything here waits to hear of the end of `region`.
    pub(crate) fn binds(&self, region: RegionId) -> bool {
        self.lock().contains_key(&region)
    }

    /// Takes out everything that ends with the session; monitors of the region itself stay.
    pub(crate) fn loosen(&self, region: RegionId) -> Loose {
        self.with(region, |ties| Loose {
            held: std::mem::take(&mut ties.held),
            watched: std::mem::take(&mut ties.watched),
            links: std::mem::take(&mut ties.links),
        })
    }

    fn with<T>(&self, region: RegionId, act: impl FnOnce(&mut RegionTies) -> T) -> T {
        let mut regions = self.lock();
        let ties = regions.entry(region).or_default();
        let outcome = act(ties);
        if ties.is_empty() {
            regions.remove(&region);
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RegionId, RegionTies>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Monitors, and links, that one region may have on processes of this node (C15).
const MAX_TIES: usize = 1 << 20;
