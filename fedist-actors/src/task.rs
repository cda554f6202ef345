//! Remote tasks: functions that other regions may start here, awaited and cancelled from there.
//!
//! Starting is an ask to the task service of the region (`region.4`), which runs the task under
//! a pid of its own on a task thread and answers with the pid. The result comes back as one
//! message. The caller's side watches the pid, the task's side watches the caller's region, so
//! that neither waits for the other after it is gone.

use std::{
    collections::HashMap,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Handler, MessageResult};
use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid, service};
use futures_util::{
    FutureExt,
    future::{AbortHandle, Abortable, Either, select},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::{
    AskError, Context, Message, Node, PidSend,
    address::with_decoding_node,
    exit::{ExitReason, MonitorRef, panic_text},
    inlet::LocalFuture,
    message::{decode, encode},
    origin::Origin,
    process::{Body, Process, ProcessFuture, current},
    route::{ActorRoute, Route as _},
};

/// A function that can be started in another region. Made by `#[fedist::task]`.
pub trait Task: Copy + Send + Sync + 'static {
    /// What it is given.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it gives back; a `Result` where it can fail.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The stable name.
    const NAME: &'static str;
    /// The version of its signature.
    const VERSION: u16;
    /// Runs it. Dropped at its next `await` when the task is cancelled.
    fn run(cx: TaskCx, input: Self::Input) -> impl Future<Output = Self::Output>;
}

/// What a running task knows of itself.
#[derive(Clone)]
pub struct TaskCx {
    node: Node,
    pid: RegionPid,
    caller: RegionId,
    cancelled: Arc<AtomicBool>,
}

impl TaskCx {
    /// The node that runs the task.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The task's pid.
    pub fn pid(&self) -> RegionPid {
        self.pid
    }

    /// The region that started it.
    pub fn caller(&self) -> RegionId {
        self.caller
    }

    /// Whether the caller is gone or has cancelled it. Work without an `await` should look from time to time.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The region does not offer it; nothing ran.
    #[error(transparent)]
    Refused(#[from] StartTaskError),
    /// The region could not be asked. `Timeout` and `Unreachable` inside: it may run.
    #[error("the task could not be started: {0}")]
    Ask(AskError),
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// Its region became unreachable while it ran; it is cancelled there when that side notices.
    #[error(
        "region {0} became unreachable while the task ran; it may have finished; start it again only if that is safe"
    )]
    Unreachable(RegionId),
    /// It was stopped from its own side.
    #[error("the task was stopped in its region ({0})")]
    Stopped(String),
    /// No result in time; the task was cancelled.
    #[error("no result within {0:?}; the task was cancelled")]
    Timeout(Duration),
    /// Input or output could not be encoded or decoded.
    #[error("task input or output: {0}")]
    Codec(String),
    /// No region was given to run it in.
    #[error("no region to run the task in; name at least one")]
    NoRegion,
}

/// Why a region does not start a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartTaskError {
    /// It is not listed there, or in another version.
    #[error("unknown task ({name} version {version}); the region offers: {}; list it with `NodeBuilder::task`", .available.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The version asked for.
        version: u16,
        /// What is listed, as `name version`.
        available: Vec<String>,
    },
    /// No pid could be given to it.
    #[error("the region cannot start tasks now: {0}")]
    NoPid(String),
}

type Runner = Arc<dyn Fn(TaskCx, Bytes) -> LocalFuture<Result<Bytes, String>> + Send + Sync>;

/// The tasks that a node offers, by name.
#[derive(Default)]
pub(crate) struct TaskTable {
    tasks: HashMap<&'static str, (u16, Runner)>,
}

impl TaskTable {
    pub(crate) fn add<T: Task>(&mut self, _: T) {
        let runner: Runner = Arc::new(|cx: TaskCx, body: Bytes| {
            Box::pin(async move {
                let input =
                    with_decoding_node(&cx.node, Some(cx.caller), || decode::<T::Input>(&body))
                        .map_err(|error| error.to_string())?;
                drop(body);
                let output = T::run(cx, input).await;
                encode(T::NAME, &output).map_err(|error| error.to_string())
            })
        });
        self.tasks.insert(T::NAME, (T::VERSION, runner));
    }

    fn find(&self, name: &str, version: u16) -> Result<Runner, StartTaskError> {
        match self.tasks.get(name) {
            Some((known, runner)) if *known == version => Ok(Arc::clone(runner)),
            _ => {
                let mut available: Vec<String> = self
                    .tasks
                    .iter()
                    .map(|(name, (version, _))| format!("{name} {version}"))
                    .collect();
                available.sort();
                Err(StartTaskError::Unknown { name: name.to_owned(), version, available })
            }
        }
    }
}

/// The tasks that run here, and those that are awaited here.
pub(crate) struct TaskBook {
    table: Arc<TaskTable>,
    inner: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    running: HashMap<u64, Running>,
    by_region: HashMap<RegionId, usize>,
    awaited: HashMap<u64, Awaited>,
}

struct Running {
    caller: RegionId,
    reference: u64,
    cancelled: Arc<AtomicBool>,
    abort: AbortHandle,
}

struct Awaited {
    region: RegionId,
    result: oneshot::Sender<Result<Bytes, TaskError>>,
}

impl TaskBook {
    pub(crate) fn new(table: Arc<TaskTable>) -> Self {
        Self { table, inner: Mutex::new(Book::default()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn runs_for(&self, region: RegionId) -> bool {
        self.lock().by_region.contains_key(&region)
    }

    /// Stops what a region has started here: its session ended.
    pub(crate) fn cancel_region(&self, region: RegionId) {
        for running in self.lock().running.values() {
            if running.caller == region {
                running.cancel();
            }
        }
    }

    fn cancel(&self, caller: RegionId, reference: u64) {
        let book = self.lock();
        let found = book
            .running
            .values()
            .find(|running| running.caller == caller && running.reference == reference);
        if let Some(running) = found {
            running.cancel();
        }
    }

    fn settle(&self, from: RegionId, reference: u64, result: Result<Bytes, TaskError>) {
        let mut book = self.lock();
        if book.awaited.get(&reference).is_some_and(|awaited| awaited.region == from)
            && let Some(awaited) = book.awaited.remove(&reference)
        {
            let _ = awaited.result.send(result);
        }
    }

    fn add_running(&self, local: u64, running: Running) {
        let mut book = self.lock();
        *book.by_region.entry(running.caller).or_default() += 1;
        book.running.insert(local, running);
    }

    fn remove_running(&self, local: u64) {
        let mut book = self.lock();
        if let Some(running) = book.running.remove(&local)
            && let Some(count) = book.by_region.get_mut(&running.caller)
        {
            *count -= 1;
            if *count == 0 {
                book.by_region.remove(&running.caller);
            }
        }
    }
}

impl Running {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.abort.abort();
    }
}

// ---- the service -------------------------------------------------------------------------------

/// Starts a task. The reference is the caller's name for it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<RegionPid, StartTaskError>")]
#[wire(name = "fedist.task.start", version = 1, crate = "crate")]
pub(crate) struct StartTask {
    name: String,
    version: u16,
    input: Bytes,
    reference: u64,
    origin: Origin,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.task.cancel", version = 1, crate = "crate")]
pub(crate) struct CancelTask {
    reference: u64,
    origin: Origin,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.task.done", version = 1, crate = "crate")]
pub(crate) struct TaskDone {
    reference: u64,
    outcome: Outcome,
    origin: Origin,
}

#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Done(Bytes),
    Panicked(String),
    Failed(String),
}

/// The pid of an awaited task is gone: its result came before, or will never come.
struct TaskGone {
    region: RegionId,
    reference: u64,
    reason: ExitReason,
}

impl actix::Message for TaskGone {
    type Result = ();
}

/// The task service at the well-known pid `region.4`.
pub(crate) struct TaskService {
    pub(crate) node: Node,
}

impl Actor for TaskService {
    type Context = Context<Self>;
}

impl Handler<StartTask> for TaskService {
    type Result = MessageResult<StartTask>;

    fn handle(&mut self, message: StartTask, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.node.run_task(message))
    }
}

impl Handler<CancelTask> for TaskService {
    type Result = ();

    fn handle(&mut self, message: CancelTask, _: &mut Context<Self>) {
        let caller = message.origin.region().unwrap_or(self.node.region());
        self.node.inner().tasks.cancel(caller, message.reference);
    }
}

impl Handler<TaskDone> for TaskService {
    type Result = ();

    fn handle(&mut self, message: TaskDone, _: &mut Context<Self>) {
        let from = message.origin.region().unwrap_or(self.node.region());
        let result = match message.outcome {
            Outcome::Done(body) => Ok(body),
            Outcome::Panicked(text) => Err(TaskError::Panicked(text)),
            Outcome::Failed(text) => Err(TaskError::Codec(text)),
        };
        self.node.inner().tasks.settle(from, message.reference, result);
    }
}

impl Handler<TaskGone> for TaskService {
    type Result = ();

    fn handle(&mut self, message: TaskGone, _: &mut Context<Self>) {
        let error = match message.reason {
            ExitReason::Unreachable { .. } => TaskError::Unreachable(message.region),
            ExitReason::Panicked(text) => TaskError::Panicked(text),
            other => TaskError::Stopped(other.to_string()),
        };
        self.node.inner().tasks.settle(message.region, message.reference, Err(error));
    }
}

/// A task has no mailbox: it is only ended and watched.
struct TaskBody;

impl Body for TaskBody {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Node {
    fn run_task(&self, start: StartTask) -> Result<RegionPid, StartTaskError> {
        let inner = self.inner();
        let runner = inner.tasks.table.find(&start.name, start.version)?;
        let local = self.next_local().map_err(|error| StartTaskError::NoPid(error.to_string()))?;
        let pid = RegionPid::new(self.region(), local);
        let caller = start.origin.region().unwrap_or(self.region());
        let cancelled = Arc::new(AtomicBool::new(false));
        let (abort, registration) = AbortHandle::new_pair();
        let process = inner.processes.insert(Process::new(pid, TaskBody));
        inner.tasks.add_running(
            local.get(),
            Running {
                caller,
                reference: start.reference,
                cancelled: Arc::clone(&cancelled),
                abort,
            },
        );
        let cx = TaskCx { node: self.clone(), pid, caller, cancelled };
        let node = self.clone();
        let run = move || {
            let report_to = node.clone();
            let future = async move {
                let StartTask { input, reference, .. } = start;
                // Made inside of the guard: building the future may panic as well as running it.
                let work = AssertUnwindSafe(async move { runner(cx, input).await }).catch_unwind();
                let ended = Abortable::new(work, registration).await;
                report_to.inner().tasks.remove_running(local.get());
                let (outcome, panic) = match ended {
                    Ok(Ok(Ok(body))) => (Outcome::Done(body), None),
                    Ok(Ok(Err(text))) => (Outcome::Failed(text), None),
                    Ok(Err(payload)) => (Outcome::Panicked(panic_text(&*payload)), Some(payload)),
                    Err(_aborted) => return ExitReason::Shutdown,
                };
                report_to.report_task(caller, reference, outcome).await;
                if let Some(payload) = panic {
                    // So that whoever monitors the pid sees the panic too.
                    std::panic::resume_unwind(payload);
                }
                ExitReason::Normal
            };
            actix_rt::spawn(ProcessFuture::new(node, process, future));
        };
        let arbiters = &inner.task_arbiters;
        let index = inner.next_arbiter.fetch_add(1, Ordering::Relaxed);
        let accepted = match arbiters.get(index % arbiters.len().max(1)) {
            Some(arbiter) => arbiter.spawn_fn(run),
            None => false,
        };
        if !accepted {
            inner.tasks.remove_running(local.get());
            self.process_ended(local, ExitReason::Shutdown);
            return Err(StartTaskError::NoPid("the node is stopping".to_owned()));
        }
        Ok(pid)
    }

    async fn report_task(&self, caller: RegionId, reference: u64, outcome: Outcome) {
        let service = RegionPid::new(caller, service::TASKS);
        let done = |outcome| TaskDone { reference, outcome, origin: Origin::here() };
        // While there is no route the result waits; the end of the session lets it go.
        let sent = self.tell_when_routed(service, done(outcome));
        let lost = self.until_session_ends(caller);
        let refused = match select(std::pin::pin!(sent), std::pin::pin!(lost)).await {
            Either::Left((sent, _)) => sent.err(),
            Either::Right(_) => return,
        };
        if let Some(error) = refused {
            let text = error.to_string();
            tracing::warn!(%caller, error = %text, "a task's result could not be sent");
            if service.tell(self, done(Outcome::Failed(text))).await.is_err() {
                tracing::debug!(%caller, "nor could the reason");
            }
        }
    }

    /// Resolves when nothing is expected to get to `region` any more: the session's time-out has passed.
    async fn until_session_ends(&self, region: RegionId) {
        if region == self.region() {
            return std::future::pending().await;
        }
        self.sleep(self.inner().session_timeout).await;
    }
}

// ---- the caller's side ---------------------------------------------------------------------------

/// Starts tasks. Made by [`Node::tasks`].
#[derive(Clone)]
pub struct Tasks {
    node: Node,
}

/// Starts tasks in one region.
#[derive(Clone)]
pub struct TasksAt {
    node: Node,
    region: RegionId,
}

/// The outcome of a supervised task.
#[derive(Clone, Debug)]
pub struct Supervised<O> {
    /// The result.
    pub value: O,
    /// Where it was made.
    pub region: RegionId,
    /// How many regions were tried.
    pub attempts: usize,
}

impl Tasks {
    pub(crate) fn new(node: Node) -> Self {
        Self { node }
    }

    /// Starts tasks in `region`; the own region is as good as any other.
    pub fn at(&self, region: RegionId) -> TasksAt {
        TasksAt { node: self.node.clone(), region }
    }

    /// Runs a task to its end in the first of `regions` where that succeeds: when a region is
    /// unreachable, refuses it, panics or takes longer than `attempt`, the next one is tried.
    ///
    /// A region that was given up may still have run it: use it for work that may run twice.
    ///
    /// # Errors
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the running attempt.
    pub async fn supervised<T: Task>(
        &self,
        task: T,
        input: T::Input,
        regions: impl IntoIterator<Item = RegionId>,
        attempt: Duration,
    ) -> Result<Supervised<T::Output>, TaskError>
    where
        T::Input: Clone,
    {
        let mut last = TaskError::NoRegion;
        for (tried, region) in regions.into_iter().enumerate() {
            let outcome = match self.at(region).start(task, input.clone()).await {
                Ok(handle) => handle.await_for(attempt).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => {
                    return Ok(Supervised { value, region, attempts: tried + 1 });
                }
                Err(error) => {
                    tracing::info!(%region, task = T::NAME, %error, "a supervised task moves on");
                    last = error;
                }
            }
        }
        Err(last)
    }
}

impl TasksAt {
    /// Starts `task`. It ends when its handle is dropped, when the actor that started it ends
    /// (if one did), and when this region can no longer be reached from there.
    ///
    /// # Errors
    /// [`TaskError::Refused`], [`TaskError::Ask`] or [`TaskError::Codec`].
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the task may have been started; it is cancelled then.
    pub async fn start<T: Task>(
        &self,
        task: T,
        input: T::Input,
    ) -> Result<TaskHandle<T::Output>, TaskError> {
        let _ = task;
        let node = &self.node;
        let input = encode(T::NAME, &input).map_err(|error| TaskError::Codec(error.to_string()))?;
        let reference = node.next_reference();
        let (result, outcome) = oneshot::channel();
        node.inner()
            .tasks
            .lock()
            .awaited
            .insert(reference, Awaited { region: self.region, result });
        let mut handle = TaskHandle {
            node: node.clone(),
            region: self.region,
            pid: None,
            reference,
            outcome: Some(outcome),
            watching: None,
            caller: None,
            output: PhantomData,
        };
        let request = StartTask {
            name: T::NAME.to_owned(),
            version: T::VERSION,
            input,
            reference,
            origin: Origin::here(),
        };
        let caller = current();
        let started = RegionPid::new(self.region, service::TASKS)
            .send(node, request)
            .await
            .map_err(TaskError::Ask);
        match started {
            Ok(Ok(pid)) => handle.follow(pid, caller.map(|caller| caller.pid)),
            Ok(Err(refused)) => {
                // Nothing runs, so the handle has nothing to cancel.
                handle.outcome = None;
                node.inner().tasks.lock().awaited.remove(&reference);
                return Err(refused.into());
            }
            Err(error) => return Err(error),
        }
        Ok(handle)
    }
}

/// A task that was started. Dropping the handle cancels the task.
#[must_use = "dropping the handle cancels the task"]
pub struct TaskHandle<O> {
    node: Node,
    region: RegionId,
    pid: Option<RegionPid>,
    reference: u64,
    /// `None` once the task is settled.
    outcome: Option<oneshot::Receiver<Result<Bytes, TaskError>>>,
    watching: Option<MonitorRef>,
    caller: Option<(RegionPid, MonitorRef)>,
    output: PhantomData<fn() -> O>,
}

impl<O: DeserializeOwned> TaskHandle<O> {
    fn follow(&mut self, pid: RegionPid, caller: Option<RegionPid>) {
        self.pid = Some(pid);
        let (node, region, reference) = (self.node.clone(), self.region, self.reference);
        let gone = move |down: crate::Down| {
            // Through the service's mailbox, so that a result that came before is settled before.
            let service = RegionPid::new(node.region(), service::TASKS);
            let service = node.local_address_of(service).and_then(ActorRoute::<TaskService>::new);
            if let Some(service) = service {
                let _ = service.ask(TaskGone { region, reference, reason: down.reason });
            }
        };
        self.watching = Some(self.node.watch(pid, Box::new(gone)));
        if let Some(caller) = caller {
            let (node, region, reference) = (self.node.clone(), self.region, self.reference);
            let cancel = move |_: crate::Down| cancel(&node, region, reference);
            self.caller = Some((caller, self.node.watch(caller, Box::new(cancel))));
        }
    }

    /// The task's pid, for monitors and for `ping`.
    pub fn pid(&self) -> Option<RegionPid> {
        self.pid
    }

    /// The region that runs it.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// Waits for the result, at most `timeout`; then the task is cancelled.
    ///
    /// # Errors
    /// [`TaskError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the task.
    pub async fn await_for(mut self, timeout: Duration) -> Result<O, TaskError> {
        let Some(outcome) = self.outcome.as_mut() else {
            return Err(TaskError::Stopped("settled already".to_owned()));
        };
        let timer = self.node.sleep(timeout);
        let body = match select(outcome, timer).await {
            Either::Left((Ok(result), _)) => result,
            Either::Left((Err(_), _)) => Err(TaskError::Stopped("the node is stopped".to_owned())),
            Either::Right(_) => return Err(TaskError::Timeout(timeout)),
        };
        self.outcome = None;
        let node = self.node.clone();
        with_decoding_node(&node, Some(self.region), || {
            decode::<O>(&body?).map_err(|error| TaskError::Codec(error.to_string()))
        })
    }

    /// Cancels the task: it is dropped at its next `await`. The same as dropping the handle.
    pub fn cancel(self) {}
}

impl<O> Drop for TaskHandle<O> {
    fn drop(&mut self) {
        if let (Some(pid), Some(monitor)) = (self.pid, self.watching.take()) {
            self.node.unwatch(pid, monitor);
        }
        if let Some((caller, monitor)) = self.caller.take() {
            self.node.unwatch(caller, monitor);
        }
        if self.outcome.take().is_some() {
            self.node.inner().tasks.lock().awaited.remove(&self.reference);
            cancel(&self.node, self.region, self.reference);
        }
    }
}

fn cancel(node: &Node, region: RegionId, reference: u64) {
    RegionPid::new(region, service::TASKS)
        .do_send(node, CancelTask { reference, origin: Origin::here() });
}
