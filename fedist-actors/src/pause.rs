//! Back-pressure per actor: the receivers elsewhere that have asked their senders to hold back.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use fedist_registry::{RegionId, RegionPid};
use tokio::sync::Notify;

/// The paused receivers of a node. While there are none, a send costs one atomic read.
#[derive(Default)]
pub(crate) struct Paused {
    count: AtomicUsize,
    pids: Mutex<HashSet<RegionPid>>,
    changed: Notify,
}

impl Paused {
    pub(crate) fn contains(&self, pid: RegionPid) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().contains(&pid)
    }

    pub(crate) fn pause(&self, pid: RegionPid) {
        self.change(|pids| {
            pids.insert(pid);
        });
    }

    pub(crate) fn resume(&self, pid: RegionPid) {
        self.change(|pids| {
            pids.remove(&pid);
        });
    }

    /// The session with a region ended: its pauses are void.
    pub(crate) fn forget_region(&self, region: RegionId) {
        self.change(|pids| pids.retain(|pid| pid.region() != region));
    }

    /// Waits until `pid` is not paused.
    pub(crate) async fn wait(&self, pid: RegionPid) {
        while self.contains(pid) {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.contains(pid) {
                changed.await;
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<RegionPid>)) {
        let mut pids = self.lock();
        change(&mut pids);
        self.count.store(pids.len(), Ordering::Release);
        drop(pids);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<RegionPid>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
