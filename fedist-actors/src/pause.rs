//! Back-pressure per actor: the receivers elsewhere that have asked their senders to hold back.

use std::{
    hash::BuildHasherDefault,
    sync::atomic::{AtomicUsize, Ordering},
};

use dashmap::DashSet;
use fedist_registry::{RegionId, RegionPid};
use tokio::sync::Notify;

use crate::process::IdHasher;

/// The paused receivers of a node. While there are none, a send costs one atomic read.
#[derive(Default)]
pub(crate) struct Paused {
    count: AtomicUsize,
    pids: DashSet<RegionPid, BuildHasherDefault<IdHasher>>,
    changed: Notify,
}

impl Paused {
    pub(crate) fn contains(&self, pid: RegionPid) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.pids.contains(&pid)
    }

    pub(crate) fn pause(&self, pid: RegionPid) {
        if self.pids.insert(pid) {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn resume(&self, pid: RegionPid) {
        if self.pids.remove(&pid).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
            self.changed.notify_waiters();
        }
    }

    /// The session with a region ended: its pauses are void.
    pub(crate) fn forget_region(&self, region: RegionId) {
        self.pids.retain(|pid| {
            let stays = pid.region() != region;
            if !stays {
                self.count.fetch_sub(1, Ordering::AcqRel);
            }
            stays
        });
        self.changed.notify_waiters();
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
}
