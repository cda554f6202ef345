//! The task service at the well-known pid `region.4`: starts tasks and actors for other regions.

use actix::{Actor, Handler, MessageResult, ResponseFuture};
use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    TaskError,
    catalog::{Catalog, Spawned},
    ledger::{Admission, Entry, Reply},
    output::{cut, lost_lines},
    refusal::StartRefused,
    spawn::Order,
};
use crate::{
    Context, Message, Node,
    exit::{ExitReason, panic_text},
    origin::Origin,
};

/// How a task hangs on the one who started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hold {
    /// It ends with the session between the two regions; its result is sent.
    Bound,
    /// It runs on whatever happens to its caller; its result is sent.
    Free,
    /// It runs on, and nobody wants its result.
    Detached,
}

/// Starts a task.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Reply")]
#[wire(name = "fedist.task.start", version = 2, crate = "crate")]
pub(crate) struct StartTask {
    pub(super) name: String,
    pub(super) version: u16,
    pub(super) input: Bytes,
    /// The caller's name for the request and for the task.
    pub(super) reference: u64,
    pub(super) settled_below: u64,
    pub(super) hold: Hold,
    /// The actor to link the task to.
    pub(super) link: Option<RegionPid>,
    pub(super) origin: Origin,
}

/// Makes an actor with a factory.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Reply")]
#[wire(name = "fedist.task.spawn", version = 1, crate = "crate")]
pub(crate) struct SpawnActor {
    pub(super) factory: String,
    pub(super) version: Option<u16>,
    pub(super) arguments: Bytes,
    pub(super) reference: u64,
    pub(super) settled_below: u64,
    pub(super) order: Order,
    pub(super) origin: Origin,
}

/// Asks what became of a request.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Standing")]
#[wire(name = "fedist.task.standing", version = 1, crate = "crate")]
pub(crate) struct AskStanding {
    pub(super) reference: u64,
    pub(super) origin: Origin,
}

/// What became of a request, as the one who was asked to run it knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Standing {
    Answered(Reply),
    /// It has not come since this node started, and never runs.
    NeverSeen {
        /// For how long the node runs, in microseconds.
        uptime: u64,
    },
    /// Its answer is not kept any more.
    Forgotten,
}

/// Ends a task.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.task.cancel", version = 2, crate = "crate")]
pub(crate) struct CancelTask {
    pub(super) reference: u64,
    /// Whether it gets no chance to finish.
    pub(super) brutal: bool,
    pub(super) origin: Origin,
}

/// What a task printed.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.task.print", version = 1, crate = "crate")]
pub(crate) struct TaskPrint {
    pub(super) reference: u64,
    pub(super) lines: Vec<String>,
    pub(super) origin: Origin,
}

/// The end of a task, with its result.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "fedist.task.done", version = 2, crate = "crate")]
pub(crate) struct TaskDone {
    pub(super) reference: u64,
    pub(super) outcome: Outcome,
    /// Lines of output that were dropped.
    pub(super) lost_lines: u64,
    pub(super) origin: Origin,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    Done(Bytes),
    Panicked(String),
    Failed(String),
    TooLarge {
        len: u64,
        max: u64,
    },
    /// It ended; what it returned is not wanted.
    Ended,
}

/// Asks what a region offers.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Catalog")]
#[wire(name = "fedist.task.catalog", version = 1, crate = "crate")]
pub(crate) struct AskCatalog {}

/// The pid of an awaited task is gone: its result came before, or will never come.
pub(super) struct TaskGone {
    pub(super) region: RegionId,
    pub(super) reference: u64,
    pub(super) reason: ExitReason,
}

impl actix::Message for TaskGone {
    type Result = ();
}

/// The service itself; all that it knows is in the node's book, so that a restart loses nothing.
pub(crate) struct TaskService {
    pub(crate) node: Node,
}

impl Actor for TaskService {
    type Context = Context<Self>;
}

impl TaskService {
    fn source(&self, origin: Origin) -> RegionId {
        origin.region().unwrap_or(self.node.region())
    }

    /// Runs a request unless it came before, and answers it.
    fn answer(
        &self,
        source: RegionId,
        reference: u64,
        settled_below: u64,
        run: impl FnOnce(&Node) -> Result<Spawned, StartRefused>,
    ) -> ResponseFuture<Reply> {
        let book = &self.node.inner().tasks;
        match book.admit(source, reference, settled_below) {
            Admission::Answered(reply) => Box::pin(std::future::ready(reply)),
            Admission::Underway => {
                let answer = book.wait_for(source, reference);
                Box::pin(wait(answer))
            }
            Admission::Run => {
                // What runs is the user's: the factory's export may panic as well as the factory.
                let run = std::panic::AssertUnwindSafe(|| run(&self.node));
                let begun = std::panic::catch_unwind(run).unwrap_or_else(|payload| {
                    Err(StartRefused::FactoryPanicked(panic_text(&*payload)))
                });
                let node = self.node.clone();
                Box::pin(async move {
                    let reply = match begun {
                        Ok(spawned) => spawned.finished().await,
                        Err(refused) => Err(refused),
                    };
                    node.inner().tasks.record(source, reference, &reply);
                    reply
                })
            }
        }
    }

    fn print(&self, from: RegionId, reference: u64, lines: &[String]) {
        let Some((sink, task)) = self.node.inner().tasks.printer(from, reference) else { return };
        for line in lines {
            let line = cut(line);
            let Some(sink) = &sink else {
                tracing::info!(target: "fedist::task", %from, task, "{line}");
                continue;
            };
            let print = std::panic::AssertUnwindSafe(|| sink(line));
            if let Err(payload) = std::panic::catch_unwind(print) {
                tracing::warn!(task, panic = %panic_text(&*payload), "a task's `on_print` panicked");
            }
        }
    }
}

impl Spawned {
    async fn finished(self) -> Reply {
        match self.made.await {
            Ok(Ok(())) => Ok(self.pid),
            Ok(Err(panic)) => Err(StartRefused::FactoryPanicked(panic)),
            Err(_) => Err(StartRefused::NoPid("it was ended before it began".to_owned())),
        }
    }
}

async fn wait(answer: Option<oneshot::Receiver<Reply>>) -> Reply {
    match answer {
        Some(answer) => answer
            .await
            .unwrap_or_else(|_| Err(StartRefused::NoPid("the node is stopping".to_owned()))),
        None => Err(StartRefused::Busy { running: 1 }),
    }
}

impl Handler<StartTask> for TaskService {
    type Result = ResponseFuture<Reply>;

    fn handle(&mut self, message: StartTask, _: &mut Context<Self>) -> Self::Result {
        let source = self.source(message.origin);
        let (reference, below) = (message.reference, message.settled_below);
        self.answer(source, reference, below, |node| {
            let pid = node.run_task(source, message)?;
            let (made, now) = oneshot::channel();
            let _ = made.send(Ok(()));
            Ok(Spawned { pid, made: now })
        })
    }
}

impl Handler<SpawnActor> for TaskService {
    type Result = ResponseFuture<Reply>;

    fn handle(&mut self, message: SpawnActor, _: &mut Context<Self>) -> Self::Result {
        let source = self.source(message.origin);
        let (reference, below) = (message.reference, message.settled_below);
        self.answer(source, reference, below, |node| {
            let book = &node.inner().tasks;
            let spawner = book.offers.factory(&message.factory, message.version)?;
            let guard = book.count_spawned()?;
            let order = message.order.proven(source, reference)?;
            let spawned = spawner(node, &order, &message.arguments)?;
            // The count goes down when the actor ends.
            node.watch(spawned.pid, Box::new(move |_| drop(guard)));
            Ok(spawned)
        })
    }
}

impl Handler<AskStanding> for TaskService {
    type Result = ResponseFuture<Standing>;

    fn handle(&mut self, message: AskStanding, _: &mut Context<Self>) -> Self::Result {
        let source = self.source(message.origin);
        let book = &self.node.inner().tasks;
        match book.question(source, message.reference) {
            Entry::Answered(reply) => Box::pin(std::future::ready(Standing::Answered(reply))),
            Entry::Forgotten => Box::pin(std::future::ready(Standing::Forgotten)),
            Entry::Void => {
                let uptime = self.node.inner().clock.now().0;
                Box::pin(std::future::ready(Standing::NeverSeen { uptime }))
            }
            Entry::Underway => {
                let answer = book.wait_for(source, message.reference);
                Box::pin(async move { Standing::Answered(wait(answer).await) })
            }
        }
    }
}

impl Handler<AskCatalog> for TaskService {
    type Result = MessageResult<AskCatalog>;

    fn handle(&mut self, _: AskCatalog, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.node.inner().tasks.offers.catalog())
    }
}

impl Handler<CancelTask> for TaskService {
    type Result = ();

    fn handle(&mut self, message: CancelTask, _: &mut Context<Self>) {
        let caller = self.source(message.origin);
        let book = &self.node.inner().tasks;
        // Whoever ends a task on purpose is not to be ended by it (as `Task.shutdown` unlinks first).
        if let Some((task, linked)) = book.link_of(caller, message.reference) {
            self.node.unlink(task, linked);
        }
        book.stop(caller, message.reference, message.brutal);
    }
}

impl Handler<TaskPrint> for TaskService {
    type Result = ();

    fn handle(&mut self, message: TaskPrint, _: &mut Context<Self>) {
        self.print(self.source(message.origin), message.reference, &message.lines);
    }
}

impl Handler<TaskDone> for TaskService {
    type Result = ();

    fn handle(&mut self, message: TaskDone, _: &mut Context<Self>) {
        let from = self.source(message.origin);
        if let Some(last) = lost_lines(message.lost_lines) {
            self.print(from, message.reference, &[last]);
        }
        let result = match message.outcome {
            Outcome::Done(body) => Ok(body),
            Outcome::Panicked(text) => Err(TaskError::Panicked(text)),
            Outcome::Failed(text) => Err(TaskError::Codec(text)),
            Outcome::TooLarge { len, max } => Err(TaskError::OutputTooLarge { len, max }),
            Outcome::Ended => Err(TaskError::Stopped("its result was not wanted".to_owned())),
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
