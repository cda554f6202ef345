//! The supervision tree of a node, as its supervisors see it.

use std::sync::{Arc, Mutex, PoisonError};

use actix::Addr;
use dashmap::DashMap;
use fedist_registry::RegionPid;
use serde::{Deserialize, Serialize};

use super::{
    orders::{Adopt, StopSupervisor},
    plan::Plan,
    rules::{ChildKind, ChildState, Strategy},
    supervisor::Supervisor,
};
use crate::{ExitReason, Node};

/// One process of a supervision tree, with what is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The name in its spec; of the uppermost, the supervisor's own.
    pub name: String,
    /// Its pid while it is alive.
    pub pid: Option<RegionPid>,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// Of supervisors in this node: whom they restart.
    pub strategy: Option<Strategy>,
    /// What it is doing.
    pub state: ChildState,
    /// How often it was started again.
    pub restarts: u64,
    /// What it supervises, in the order of their start.
    pub children: Vec<Tree>,
}

/// The supervisors of a node.
#[derive(Default)]
pub(crate) struct Supervisors(DashMap<RegionPid, Entry>);

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) parent: Option<RegionPid>,
    pub(super) plan: Arc<Mutex<Plan>>,
    pub(super) addr: Addr<Supervisor>,
    /// Of the runtime's own tree.
    pub(super) system: bool,
}

impl Supervisors {
    pub(super) fn enter(&self, pid: RegionPid, entry: Entry) {
        self.0.insert(pid, entry);
    }

    pub(super) fn leave(&self, pid: RegionPid) {
        self.0.remove(&pid);
    }

    /// Puts a process that runs already below the runtime's own supervisor of that name.
    pub(crate) fn adopt(&self, supervisor: &str, name: String, pid: RegionPid) {
        let found = self
            .0
            .iter()
            .find(|entry| entry.system && entry.name == supervisor)
            .map(|entry| entry.addr.clone());
        if let Some(addr) = found {
            addr.do_send(Adopt { name, pid });
        }
    }

    fn roots(&self) -> Vec<(RegionPid, Entry)> {
        let mut roots: Vec<_> = self
            .0
            .iter()
            .filter(|entry| entry.parent.is_none_or(|parent| !self.0.contains_key(&parent)))
            .map(|entry| (*entry.key(), entry.clone()))
            .collect();
        roots.sort_unstable_by_key(|(pid, _)| *pid);
        roots
    }

    fn below(&self, pid: RegionPid, entry: &Entry) -> (Option<Strategy>, Vec<Tree>) {
        // Its lock is not held while its children's are taken.
        let (strategy, children) = {
            let plan = entry.plan.lock().unwrap_or_else(PoisonError::into_inner);
            (plan.strategy(), plan.which_children())
        };
        let children = children
            .into_iter()
            .map(|child| {
                let known = child.pid.and_then(|child| {
                    let entry = self.0.get(&child).map(|entry| entry.clone())?;
                    (entry.parent == Some(pid)).then_some((child, entry))
                });
                let (strategy, children) =
                    known.map_or((None, Vec::new()), |(pid, entry)| self.below(pid, &entry));
                Tree {
                    name: child.name,
                    pid: child.pid,
                    kind: child.kind,
                    strategy,
                    state: child.state,
                    restarts: child.restarts,
                    children,
                }
            })
            .collect();
        (Some(strategy), children)
    }
}

impl Node {
    /// Ends the application's trees, the youngest first, each as its supervisors end their children.
    pub(crate) async fn stop_trees(&self) {
        for (pid, entry) in self.inner().supervisors.roots().into_iter().rev() {
            if !entry.system {
                let ended = self.monitor(pid);
                entry.addr.do_send(StopSupervisor(ExitReason::Shutdown));
                ended.await;
            }
        }
    }

    /// The supervision trees of this node: the runtime's own, `system`, and one for each supervisor
    /// of the application that has no parent, oldest first. Children that live in other regions are
    /// leaves. A picture of one moment, which asks nobody.
    pub fn tree(&self) -> Vec<Tree> {
        let supervisors = &self.inner().supervisors;
        let tree = |(pid, entry): (RegionPid, Entry)| {
            let (strategy, children) = supervisors.below(pid, &entry);
            Tree {
                name: entry.name,
                pid: Some(pid),
                kind: ChildKind::Supervisor,
                strategy,
                state: ChildState::Running,
                restarts: 0,
                children,
            }
        };
        supervisors.roots().into_iter().map(tree).collect()
    }
}
