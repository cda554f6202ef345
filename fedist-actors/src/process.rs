//! The process: one actor, task or function under a pid, and what the node keeps about it.

mod life;
mod running;
mod spawned;
mod table;
mod task_waker;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use fedist_registry::{RegionId, RegionPid};
use task_waker::TaskWaker;

pub(crate) use life::{ExitKind, Notice};
pub(crate) use running::{
    Current, ProcessFuture, current, current_local, is_blocking, is_running, while_blocking,
    with_current,
};
pub(crate) use table::{IdHasher, IdMap, ProcessTable};

use crate::{
    AskError, ExitReason,
    exit::{DownSink, Exit, MonitorRef},
    inlet::Inlet,
    names::NameScope,
    undelivered::{TellLost, UndeliveredHook},
};

/// What sets one kind of process apart from another: an actor's mailbox, a task's nothing.
pub(crate) trait Body: Send + Sync + 'static {
    /// The body itself, for whoever knows its type.
    fn as_any(&self) -> &dyn Any;
    /// Whether a future of this node runs it, which ends it when it is told to.
    fn is_run(&self) -> bool {
        true
    }
    /// Whether a process that nobody runs here has ended unnoticed.
    fn is_lost(&self) -> bool {
        false
    }
}

/// One living actor, service or task of this node.
///
/// An idle actor costs this one allocation; its [`Books`] are opened with the first entry.
pub(crate) struct Process<B: ?Sized = dyn Body> {
    pub(crate) pid: RegionPid,
    flags: AtomicU8,
    /// Wakes the future that runs the process.
    waker: TaskWaker,
    books: Mutex<Option<Box<Books>>>,
    pub(crate) body: B,
}

/// What most processes have nothing of.
#[derive(Default)]
pub(crate) struct Books {
    pub(super) inlets: Vec<(u32, Arc<dyn Inlet>)>,
    pub(super) names: Vec<(NameScope, String)>,
    /// Monitors that this process holds on others: taken back when it ends.
    pub(super) held: HashMap<MonitorRef, RegionPid>,
    pub(super) held_regions: HashMap<MonitorRef, RegionId>,
    /// Who watches it, in the order in which they began to.
    pub(super) watchers: BTreeMap<(MonitorRef, Option<RegionId>), Watcher>,
    pub(super) links: BTreeSet<RegionPid>,
    /// Where trapped exit signals go; `None` while it does not trap them.
    pub(super) trap: Option<TrapSink>,
    /// Why it is to end, once that is decided from outside.
    exit: Option<ExitReason>,
    /// Whether actors of other regions may link to it and send it exit signals.
    links_allowed: bool,
    undelivered: Vec<UndeliveredHook>,
    /// The region on whose behalf it was spawned.
    spawned_for: Option<RegionId>,
}

/// Where trapped exit signals go.
pub(crate) type TrapSink = Arc<dyn Fn(Exit) + Send + Sync>;

/// One who wants to know of the end of a process.
pub(crate) enum Watcher {
    Local(DownSink),
    Remote,
}

const ALIVE: u8 = 1;
/// The runtime's own: outlives the application's actors when the node stops.
const SYSTEM: u8 = 2;
/// An exit is noted in the books.
const EXIT: u8 = 4;
/// A message waits that goes before the mailbox.
const URGENT: u8 = 8;

impl<B> Process<B> {
    pub(crate) fn new(pid: RegionPid, body: B) -> Self {
        Self {
            pid,
            flags: AtomicU8::new(ALIVE),
            waker: TaskWaker::default(),
            books: Mutex::new(None),
            body,
        }
    }
}

impl<B: ?Sized> Process<B> {
    fn books(&self) -> MutexGuard<'_, Option<Box<Books>>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the books, if there are any.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Books) -> T) -> Option<T> {
        self.books().as_deref().map(read)
    }

    /// Changes the books of a living process; `None` when it has ended.
    pub(super) fn write<T>(&self, write: impl FnOnce(&mut Books) -> T) -> Option<T> {
        let mut books = self.books();
        // The table clears the flag with the books in hand, so that nothing is entered behind it.
        if !self.is_alive() {
            return None;
        }
        Some(write(books.get_or_insert_with(Box::default)))
    }

    /// Closes the books for ever.
    pub(super) fn close(&self) -> Option<Box<Books>> {
        let mut books = self.books();
        self.flags.fetch_and(!ALIVE, Ordering::AcqRel);
        books.take()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.flags.load(Ordering::Acquire) & ALIVE != 0
    }

    pub(crate) fn set_system(&self) {
        self.flags.fetch_or(SYSTEM, Ordering::AcqRel);
    }

    pub(crate) fn is_system(&self) -> bool {
        self.flags.load(Ordering::Acquire) & SYSTEM != 0
    }

    /// Lets the process have its turn.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Notes that the process is to end; the first reason counts.
    pub(super) fn request_exit(&self, reason: ExitReason) {
        let noted = self.write(|books| {
            books.exit.get_or_insert(reason);
            self.flags.fetch_or(EXIT, Ordering::AcqRel);
        });
        if noted.is_some() {
            self.wake();
        }
    }

    /// Whether the process is to end.
    pub(crate) fn has_exit(&self) -> bool {
        self.flags.load(Ordering::Acquire) & EXIT != 0
    }

    pub(crate) fn has_urgent(&self) -> bool {
        self.flags.load(Ordering::Acquire) & URGENT != 0
    }

    pub(crate) fn set_urgent(&self, urgent: bool) {
        if urgent {
            self.flags.fetch_or(URGENT, Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!URGENT, Ordering::AcqRel);
        }
    }

    /// Why the process is to end, if it is.
    pub(super) fn exit_requested(&self) -> Option<ExitReason> {
        if !self.has_exit() {
            return None;
        }
        self.read(|books| books.exit.clone()).flatten()
    }

    // ---- what may be sent to it ----------------------------------------------------------------

    pub(crate) fn add_inlet(&self, wire_type: u32, inlet: Arc<dyn Inlet>) {
        self.write(|books| {
            books.inlets.retain(|(known, _)| *known != wire_type);
            books.inlets.push((wire_type, inlet));
        });
    }

    pub(crate) fn inlet(&self, wire_type: u32) -> Option<Arc<dyn Inlet>> {
        self.read(|books| {
            let (_, inlet) = books.inlets.iter().find(|(known, _)| *known == wire_type)?;
            Some(Arc::clone(inlet))
        })
        .flatten()
    }

    /// Why a message has no inlet here. One that ends at this moment has lost its books already.
    pub(crate) fn refusal(&self) -> AskError {
        match self.is_alive() {
            true => AskError::Denied(self.pid),
            false => AskError::NoActor(self.pid),
        }
    }

    pub(crate) fn is_exported(&self) -> bool {
        self.read(|books| !books.inlets.is_empty()).unwrap_or(false)
    }

    pub(crate) fn allow_links(&self) {
        self.write(|books| books.links_allowed = true);
    }

    pub(crate) fn set_spawned_for(&self, region: RegionId) {
        self.write(|books| books.spawned_for = Some(region));
    }

    /// Whether an actor of `region` may link to the process and send it exit signals (C23).
    pub(super) fn lets_link(&self, region: RegionId) -> bool {
        region == self.pid.region()
            || self
                .read(|books| books.links_allowed || books.spawned_for == Some(region))
                .unwrap_or(false)
    }

    /// False when the process has ended.
    pub(crate) fn add_name(&self, name: (NameScope, String)) -> bool {
        self.write(|books| books.names.push(name)).is_some()
    }

    pub(crate) fn remove_name(&self, scope: NameScope, name: &str) {
        self.write(|books| {
            books.names.retain(|(known_scope, known)| *known_scope != scope || known != name);
        });
    }

    // ---- its lost messages ---------------------------------------------------------------------

    /// Has the process told of its lost messages of one type.
    pub(crate) fn set_undelivered(&self, hook: UndeliveredHook) {
        self.write(|books| {
            if books.undelivered.iter().all(|known| known.type_id != hook.type_id) {
                books.undelivered.push(hook);
            }
        });
    }

    /// Where it is told of the first type that matches.
    pub(crate) fn undelivered(
        &self,
        matches: impl Fn(&UndeliveredHook) -> bool,
    ) -> Option<TellLost> {
        self.read(|books| {
            let hook = books.undelivered.iter().find(|hook| matches(hook))?;
            Some(Arc::clone(&hook.tell))
        })
        .flatten()
    }

    // ---- watchers and links --------------------------------------------------------------------

    pub(crate) fn hold(&self, monitor: MonitorRef, target: RegionPid) {
        self.write(|books| books.held.insert(monitor, target));
    }

    /// Says what a held monitor watches that was set before that had a pid.
    pub(crate) fn rename_held(&self, monitor: MonitorRef, target: RegionPid) {
        self.write(|books| {
            if let Some(held) = books.held.get_mut(&monitor) {
                *held = target;
            }
        });
    }

    /// Lets go of a monitor; what it watches, if it was held.
    pub(crate) fn release(&self, monitor: MonitorRef) -> Option<RegionPid> {
        self.write(|books| books.held.remove(&monitor)).flatten()
    }

    pub(crate) fn hold_region(&self, monitor: MonitorRef, region: RegionId) {
        self.write(|books| books.held_regions.insert(monitor, region));
    }

    pub(crate) fn release_region(&self, monitor: MonitorRef) -> Option<RegionId> {
        self.write(|books| books.held_regions.remove(&monitor)).flatten()
    }

    /// Adds a watcher; gives it back when the process has ended already.
    pub(crate) fn watch(&self, monitor: MonitorRef, sink: DownSink) -> Result<(), DownSink> {
        let mut sink = Some(sink);
        self.write(|books| {
            if let Some(sink) = sink.take() {
                books.watchers.insert((monitor, None), Watcher::Local(sink));
            }
        });
        match sink {
            None => Ok(()),
            Some(sink) => Err(sink),
        }
    }

    /// Adds a watcher of another region. False when the process has ended already.
    pub(crate) fn watch_from(&self, region: RegionId, monitor: MonitorRef) -> bool {
        self.write(|books| books.watchers.insert((monitor, Some(region)), Watcher::Remote))
            .is_some()
    }

    /// Takes a watcher out. True if it was there.
    pub(crate) fn unwatch(&self, region: Option<RegionId>, monitor: MonitorRef) -> bool {
        self.write(|books| books.watchers.remove(&(monitor, region)).is_some()).unwrap_or(false)
    }

    /// One that is linked to the process: its maker, as long as it has not run.
    pub(crate) fn first_link(&self) -> Option<RegionPid> {
        self.read(|books| books.links.first().copied()).flatten()
    }

    /// Sets or clears the trap.
    pub(crate) fn set_trap(&self, trap: Option<TrapSink>) {
        self.write(|books| books.trap = trap);
    }
}
