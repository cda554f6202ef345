//! What a node keeps about tasks: those that run here, those that are awaited here, and the
//! requests of both directions.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fedist_registry::{LocalId, RegionId, RegionPid};
use tokio::sync::oneshot;

use super::{
    TaskError,
    catalog::Offers,
    cx::Control,
    ledger::{Admission, Entry, Ledger, Limits, Reply},
    refusal::StartRefused,
    requests::Requests,
};

/// Takes the lines that a task prints.
pub(super) type PrintSink = Arc<dyn Fn(&str) + Send + Sync>;

/// The one book of a node; everything in it is done under one short lock.
pub(crate) struct TaskBook {
    pub(super) offers: Arc<Offers>,
    inner: Mutex<Book>,
    /// Actors that live here because another region asked for them.
    spawned: Arc<AtomicU64>,
}

struct Book {
    running: HashMap<u64, Running>,
    /// Local ids of running tasks, by who started them and under which reference.
    by_reference: HashMap<(RegionId, u64), u64>,
    /// How many running tasks end with the session of their caller.
    bound: HashMap<RegionId, usize>,
    awaited: HashMap<u64, Awaited>,
    ledger: Ledger,
    /// Who waits for the answer to a request that is being run.
    waiting: HashMap<(RegionId, u64), Vec<oneshot::Sender<Reply>>>,
    requests: Requests,
}

pub(super) struct Running {
    pub(super) caller: RegionId,
    pub(super) reference: u64,
    /// It ends when the session with its caller's region ends.
    pub(super) bound: bool,
    /// Its own local id, and the actor that it is linked to.
    pub(super) link: Option<(LocalId, RegionPid)>,
    pub(super) control: Arc<Control>,
}

/// A task that was started from here.
pub(super) struct Awaited {
    pub(super) region: RegionId,
    pub(super) task: &'static str,
    pub(super) print: Option<PrintSink>,
    /// `None` for a task whose result nobody wants.
    pub(super) result: Option<oneshot::Sender<Result<Bytes, TaskError>>>,
}

/// Tasks that may run here at a time.
const MAX_RUNNING: usize = 65_536;
/// Actors that may live here for other regions at a time.
const MAX_SPAWNED: u64 = 1 << 20;
/// Tasks without a handle whose output is followed.
const MAX_FOLLOWED: usize = 65_536;
/// Repetitions of one request that may wait for its answer.
const MAX_WAITING: usize = 64;

impl TaskBook {
    pub(crate) fn new(offers: Arc<Offers>) -> Self {
        let inner = Book {
            running: HashMap::new(),
            by_reference: HashMap::new(),
            bound: HashMap::new(),
            awaited: HashMap::new(),
            ledger: Ledger::new(Limits::default()),
            waiting: HashMap::new(),
            requests: Requests::default(),
        };
        Self { offers, inner: Mutex::new(inner), spawned: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what runs here ------------------------------------------------------------------

    /// Whether a task runs here that must end with the session of `region`.
    pub(crate) fn runs_for(&self, region: RegionId) -> bool {
        self.lock().bound.contains_key(&region)
    }

    /// The session with a region ended: stops what is bound to it.
    pub(crate) fn cancel_region(&self, region: RegionId) {
        let mut book = self.lock();
        for running in book.running.values() {
            if running.caller == region && running.bound {
                running.control.cancel();
            }
        }
        // Those with a handle are settled by the `Down` of their pid.
        book.awaited.retain(|_, awaited| awaited.region != region || awaited.result.is_some());
    }

    /// The link of a task that runs here: its own local id, and the other.
    pub(super) fn link_of(&self, caller: RegionId, reference: u64) -> Option<(LocalId, RegionPid)> {
        let book = self.lock();
        let local = book.by_reference.get(&(caller, reference))?;
        book.running.get(local)?.link
    }

    pub(super) fn stop(&self, caller: RegionId, reference: u64, brutal: bool) {
        let book = self.lock();
        let local = book.by_reference.get(&(caller, reference));
        if let Some(running) = local.and_then(|local| book.running.get(local)) {
            if brutal {
                running.control.cancel();
            } else {
                running.control.shut_down();
            }
        }
    }

    pub(super) fn add_running(&self, local: u64, running: Running) -> Result<(), StartRefused> {
        let mut book = self.lock();
        if book.running.len() >= MAX_RUNNING {
            return Err(StartRefused::Busy { running: MAX_RUNNING as u64 });
        }
        if running.bound {
            *book.bound.entry(running.caller).or_default() += 1;
        }
        book.by_reference.insert((running.caller, running.reference), local);
        book.running.insert(local, running);
        Ok(())
    }

    pub(super) fn remove_running(&self, local: u64) {
        let mut book = self.lock();
        let Some(running) = book.running.remove(&local) else { return };
        // Blocking work that the task has left behind looks at this.
        running.control.tell();
        book.by_reference.remove(&(running.caller, running.reference));
        if running.bound
            && let Some(count) = book.bound.get_mut(&running.caller)
        {
            *count -= 1;
            if *count == 0 {
                book.bound.remove(&running.caller);
            }
        }
    }

    /// Counts an actor made for another region until the guard is dropped.
    pub(super) fn count_spawned(&self) -> Result<SpawnedGuard, StartRefused> {
        let guard = SpawnedGuard(Arc::clone(&self.spawned));
        if self.spawned.fetch_add(1, Ordering::AcqRel) >= MAX_SPAWNED {
            return Err(StartRefused::Busy { running: MAX_SPAWNED });
        }
        Ok(guard)
    }

    // ---- what is awaited here ------------------------------------------------------------

    pub(super) fn await_task(&self, reference: u64, awaited: Awaited) {
        let mut book = self.lock();
        if awaited.result.is_some() || book.awaited.len() < MAX_FOLLOWED {
            book.awaited.insert(reference, awaited);
        }
    }

    pub(super) fn forget_awaited(&self, reference: u64) {
        self.lock().awaited.remove(&reference);
    }

    /// Where the output of a task goes: its sink, if it has one, and the task's name.
    pub(super) fn printer(
        &self,
        from: RegionId,
        reference: u64,
    ) -> Option<(Option<PrintSink>, &'static str)> {
        let book = self.lock();
        let awaited = book.awaited.get(&reference).filter(|awaited| awaited.region == from)?;
        Some((awaited.print.clone(), awaited.task))
    }

    pub(super) fn settle(&self, from: RegionId, reference: u64, result: Result<Bytes, TaskError>) {
        let mut book = self.lock();
        if book.awaited.get(&reference).is_some_and(|awaited| awaited.region == from)
            && let Some(awaited) = book.awaited.remove(&reference)
            && let Some(waiting) = awaited.result
        {
            let _ = waiting.send(result);
        }
    }

    // ---- requests of other regions -------------------------------------------------------

    pub(super) fn admit(&self, source: RegionId, reference: u64, settled_below: u64) -> Admission {
        self.lock().ledger.admit(source, reference, settled_below)
    }

    pub(super) fn question(&self, source: RegionId, reference: u64) -> Entry {
        self.lock().ledger.question(source, reference)
    }

    pub(super) fn record(&self, source: RegionId, reference: u64, reply: &Reply) {
        let mut book = self.lock();
        book.ledger.record(source, reference, reply.clone());
        for waiting in book.waiting.remove(&(source, reference)).unwrap_or_default() {
            let _ = waiting.send(reply.clone());
        }
    }

    /// The answer to a request that is being run; `None` when too many wait for it already.
    pub(super) fn wait_for(
        &self,
        source: RegionId,
        reference: u64,
    ) -> Option<oneshot::Receiver<Reply>> {
        let mut book = self.lock();
        // It may have been answered since it was called underway.
        if let Entry::Answered(reply) = book.ledger.question(source, reference) {
            let (tell, answer) = oneshot::channel();
            let _ = tell.send(reply);
            return Some(answer);
        }
        let waiting = book.waiting.entry((source, reference)).or_default();
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let (tell, answer) = oneshot::channel();
        waiting.push(tell);
        Some(answer)
    }

    // ---- requests of this node -----------------------------------------------------------

    /// Opens a request under a fresh reference; gives it and what lies settled below.
    pub(super) fn open_request(
        &self,
        target: RegionId,
        link: Option<RegionPid>,
        next_reference: impl FnOnce() -> u64,
    ) -> (u64, u64) {
        let mut book = self.lock();
        // Under the lock: a reference that is given and not yet open must not be called settled.
        let reference = next_reference();
        (reference, book.requests.open(target, reference, link))
    }

    /// Whether what `target` started for this request may link itself to `caller`.
    pub(crate) fn takes_link(&self, target: RegionId, reference: u64, caller: RegionPid) -> bool {
        self.lock().requests.take_link(target, reference, caller)
    }

    pub(super) fn close_request(&self, target: RegionId, reference: u64) {
        self.lock().requests.close(target, reference);
    }

    pub(super) fn leave_request_open(&self, target: RegionId, reference: u64) {
        self.lock().requests.leave_open(target, reference);
    }
}

/// Stands for one living actor that another region asked for.
pub(super) struct SpawnedGuard(Arc<AtomicU64>);

impl Drop for SpawnedGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
