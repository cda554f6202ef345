//! The process table: every pid of this node, what may be sent to it, and who watches it.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use dashmap::DashMap;
use fedist_registry::{LocalId, RegionId, RegionPid};
use tokio::sync::oneshot;

use crate::{
    Down, ExitReason, Node,
    exit::{DownSink, MonitorRef, Watcher, panic_text},
    inlet::Inlet,
};

/// One living actor, service or task of this node.
pub(crate) struct Process {
    pub(crate) pid: RegionPid,
    /// The `Addr<A>`, for local addresses that know `A`.
    address: RwLock<Option<Box<dyn Any + Send + Sync>>>,
    inlets: RwLock<Vec<(u32, Arc<dyn Inlet>)>>,
    names: Mutex<Vec<String>>,
    /// Monitors that this process holds on others: taken back when it ends.
    held: Mutex<HashMap<MonitorRef, RegionPid>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    /// `None` once the process has ended: later watchers get `NoActor`.
    watchers: Mutex<Option<Vec<Watcher>>>,
    alive: AtomicBool,
    /// The runtime's own: outlives the application's actors when the node stops.
    system: AtomicBool,
    /// Set for plain actix actors: nobody tells us when they end, so they are asked.
    probe: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl Process {
    pub(crate) fn new(pid: RegionPid, address: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self {
            pid,
            address: RwLock::new(address),
            inlets: RwLock::new(Vec::new()),
            names: Mutex::new(Vec::new()),
            held: Mutex::new(HashMap::new()),
            stop: Mutex::new(None),
            watchers: Mutex::new(Some(Vec::new())),
            alive: AtomicBool::new(true),
            system: AtomicBool::new(false),
            probe: None,
        }
    }

    pub(crate) fn with_probe(mut self, connected: Box<dyn Fn() -> bool + Send + Sync>) -> Self {
        self.probe = Some(connected);
        self
    }

    pub(crate) fn set_system(&self) {
        self.system.store(true, Ordering::Release);
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Whether a plain actix actor behind this pid has gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.probe.as_ref().is_some_and(|connected| !connected())
    }

    pub(crate) fn address<T: Clone + 'static>(&self) -> Option<T> {
        let address = self.address.read().unwrap_or_else(PoisonError::into_inner);
        address.as_ref()?.downcast_ref::<T>().cloned()
    }

    pub(crate) fn add_inlet(&self, wire_type: u32, inlet: Arc<dyn Inlet>) {
        let mut inlets = self.inlets.write().unwrap_or_else(PoisonError::into_inner);
        inlets.retain(|(known, _)| *known != wire_type);
        inlets.push((wire_type, inlet));
    }

    pub(crate) fn inlet(&self, wire_type: u32) -> Option<Arc<dyn Inlet>> {
        let inlets = self.inlets.read().unwrap_or_else(PoisonError::into_inner);
        inlets.iter().find(|(known, _)| *known == wire_type).map(|(_, inlet)| Arc::clone(inlet))
    }

    pub(crate) fn is_exported(&self) -> bool {
        !self.inlets.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn add_name(&self, name: String) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }

    /// Keeps what ends the process from outside.
    pub(crate) fn set_stop(&self, stop: oneshot::Sender<()>) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
    }

    pub(crate) fn stop(&self) {
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stop.send(());
        }
    }

    pub(crate) fn hold(&self, monitor: MonitorRef, target: RegionPid) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(monitor, target);
    }

    pub(crate) fn release(&self, monitor: MonitorRef) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&monitor);
    }

    /// Adds a watcher; gives it back when the process has ended already.
    pub(crate) fn watch(&self, watcher: Watcher) -> Result<(), Watcher> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        match watchers.as_mut() {
            Some(list) => {
                list.push(watcher);
                Ok(())
            }
            None => Err(watcher),
        }
    }

    pub(crate) fn unwatch_local(&self, monitor: MonitorRef) {
        self.retain_watchers(|w| !matches!(w, Watcher::Local(known, _) if *known == monitor));
    }

    pub(crate) fn unwatch_remote(&self, region: RegionId, monitor: Option<MonitorRef>) {
        self.retain_watchers(|w| match w {
            Watcher::Remote(from, known) => {
                *from != region || monitor.is_some_and(|monitor| *known != monitor)
            }
            Watcher::Local(..) => true,
        });
    }

    fn retain_watchers(&self, keep: impl FnMut(&Watcher) -> bool) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = watchers.as_mut() {
            list.retain(keep);
        }
    }
}

/// All processes of a node, by local id, and their names.
#[derive(Default)]
pub(crate) struct ProcessTable {
    processes: DashMap<u64, Arc<Process>>,
    names: DashMap<String, RegionPid>,
}

impl ProcessTable {
    pub(crate) fn insert(&self, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        self.processes.insert(process.pid.local().get(), Arc::clone(&process));
        process
    }

    pub(crate) fn get(&self, local: LocalId) -> Option<Arc<Process>> {
        self.processes.get(&local.get()).map(|entry| Arc::clone(&entry))
    }

    /// The application's actors and tasks.
    pub(crate) fn application(&self) -> Vec<RegionPid> {
        self.processes
            .iter()
            .filter(|entry| !entry.system.load(Ordering::Acquire))
            .map(|entry| entry.pid)
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    pub(crate) fn whereis(&self, name: &str) -> Option<RegionPid> {
        self.names.get(name).map(|entry| *entry)
    }

    /// Binds a name to a living process; the holder's pid when the name is taken.
    pub(crate) fn register(&self, name: &str, process: &Process) -> Result<(), RegionPid> {
        match self.names.entry(name.to_owned()) {
            dashmap::Entry::Occupied(entry) => Err(*entry.get()),
            dashmap::Entry::Vacant(entry) => {
                entry.insert(process.pid);
                process.add_name(name.to_owned());
                Ok(())
            }
        }
    }

    /// Pids of plain actix actors that have ended unnoticed.
    pub(crate) fn lost(&self) -> Vec<RegionPid> {
        self.processes.iter().filter(|entry| entry.is_lost()).map(|entry| entry.pid).collect()
    }

    /// Forgets the monitors that actors of a region held here: its session ended.
    pub(crate) fn forget_watchers_of(&self, region: RegionId) {
        for entry in &self.processes {
            entry.unwatch_remote(region, None);
        }
    }

    /// Takes a process out. Its names are free and its watchers are returned to be told.
    pub(crate) fn end(&self, local: LocalId) -> Option<Ended> {
        let (_, process) = self.processes.remove(&local.get())?;
        process.alive.store(false, Ordering::Release);
        let names =
            std::mem::take(&mut *process.names.lock().unwrap_or_else(PoisonError::into_inner));
        for name in names {
            self.names.remove_if(&name, |_, pid| *pid == process.pid);
        }
        let watchers = process
            .watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_default();
        // Addresses and inlets hold the mailbox open; let go of them now, not with the last `Arc`.
        *process.address.write().unwrap_or_else(PoisonError::into_inner) = None;
        process.inlets.write().unwrap_or_else(PoisonError::into_inner).clear();
        let held =
            std::mem::take(&mut *process.held.lock().unwrap_or_else(PoisonError::into_inner));
        Some(Ended { pid: process.pid, watchers, held })
    }
}

/// What is left to settle when a process has ended.
pub(crate) struct Ended {
    pid: RegionPid,
    watchers: Vec<Watcher>,
    held: HashMap<MonitorRef, RegionPid>,
}

/// The actor (or task) that runs on this thread right now.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) node: Node,
    pub(crate) pid: RegionPid,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The actor or task that is running now, if it was spawned by a node.
pub(crate) fn current() -> Option<Current> {
    CURRENT.with_borrow(Clone::clone)
}

/// The pid of the running actor, without the cost of cloning its node handle.
pub(crate) fn current_local(region: RegionId) -> Option<LocalId> {
    CURRENT.with_borrow(|current| {
        let current = current.as_ref()?;
        (current.pid.region() == region).then(|| current.pid.local())
    })
}

/// Runs a process's future to its end: sets [`current`] around every poll, catches panics,
/// and reports the exit to the node exactly once (also when it is dropped unfinished).
pub(crate) struct ProcessFuture<F> {
    future: Option<Pin<Box<F>>>,
    current: Option<Current>,
}

impl<F: Future<Output = ()>> ProcessFuture<F> {
    pub(crate) fn new(node: Node, pid: RegionPid, future: F) -> Self {
        Self { future: Some(Box::pin(future)), current: Some(Current { node, pid }) }
    }
}

impl<F> ProcessFuture<F> {
    fn finish(&mut self, reason: ExitReason) {
        // The actor's own `Drop` may panic too; that must not take the node down.
        let future = self.future.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        let reason = match dropped {
            Ok(()) => reason,
            Err(payload) => ExitReason::Panicked(panic_text(&*payload)),
        };
        if let Some(current) = self.current.take() {
            current.node.process_ended(current.pid.local(), reason);
        }
    }
}

impl<F: Future<Output = ()>> Future for ProcessFuture<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else {
            return Poll::Ready(());
        };
        let outer = CURRENT.replace(this.current.take());
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        this.current = CURRENT.replace(outer);
        let reason = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => ExitReason::Normal,
            Err(payload) => ExitReason::Panicked(panic_text(&*payload)),
        };
        this.finish(reason);
        Poll::Ready(())
    }
}

impl<F> Drop for ProcessFuture<F> {
    fn drop(&mut self) {
        if self.current.is_some() {
            self.finish(ExitReason::Shutdown);
        }
    }
}

impl Node {
    /// Ends the books of a process: names, watchers, table entry.
    pub(crate) fn process_ended(&self, local: LocalId, reason: ExitReason) {
        let Some(Ended { pid, watchers, held }) = self.inner().processes.end(local) else {
            return;
        };
        for (monitor, target) in held {
            self.unwatch(target, monitor);
        }
        if let ExitReason::Panicked(text) = &reason {
            tracing::warn!(%pid, panic = %text, "actor panicked");
        }
        for watcher in watchers {
            match watcher {
                Watcher::Local(monitor, sink) => {
                    sink(Down { monitor, pid, reason: reason.clone() })
                }
                Watcher::Remote(region, monitor) => {
                    self.signal_down(region, pid, monitor, reason.clone());
                }
            }
        }
    }

    /// Watches `pid`; `sink` is called exactly once with its `Down`, unless taken back first.
    pub(crate) fn watch(&self, pid: RegionPid, sink: DownSink) -> MonitorRef {
        let inner = self.inner();
        let monitor = inner.next_monitor();
        if pid.region() != inner.region {
            inner.remote_monitors.add(monitor, pid, sink);
            self.signal_monitor(pid, monitor);
            return monitor;
        }
        let process = inner.processes.get(pid.local());
        let watcher = Watcher::Local(monitor, sink);
        let refused = match process {
            Some(process) => process.watch(watcher).err(),
            None => Some(watcher),
        };
        if let Some(Watcher::Local(monitor, sink)) = refused {
            sink(Down { monitor, pid, reason: ExitReason::NoActor });
        }
        monitor
    }

    /// Watches on behalf of a local actor, which lets go of the monitor when it ends itself.
    pub(crate) fn watch_for(&self, holder: LocalId, pid: RegionPid, sink: DownSink) -> MonitorRef {
        let node = self.clone();
        let monitor = self.watch(
            pid,
            Box::new(move |down| {
                if let Some(process) = node.inner().processes.get(holder) {
                    process.release(down.monitor);
                }
                sink(down);
            }),
        );
        if let Some(process) = self.inner().processes.get(holder) {
            process.hold(monitor, pid);
        }
        monitor
    }

    /// Takes a monitor back. A `Down` that is already in a mailbox still arrives.
    pub(crate) fn unwatch(&self, pid: RegionPid, monitor: MonitorRef) {
        let inner = self.inner();
        if pid.region() != inner.region {
            if inner.remote_monitors.take(monitor).is_some() {
                self.signal_demonitor(pid, monitor);
            }
        } else if let Some(process) = inner.processes.get(pid.local()) {
            process.unwatch_local(monitor);
        }
    }

    pub(crate) fn unwatch_for(&self, holder: LocalId, pid: RegionPid, monitor: MonitorRef) {
        if let Some(process) = self.inner().processes.get(holder) {
            process.release(monitor);
        }
        self.unwatch(pid, monitor);
    }
}
