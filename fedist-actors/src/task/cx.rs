//! What a running task knows of itself, and how it is told to stop.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fedist_registry::{RegionId, RegionPid, service};
use futures_util::future::AbortHandle;
use tokio::sync::Notify;

use super::{output::Output, service::TaskPrint};
use crate::{Node, PidSend, origin::Origin};

/// What a running task knows of itself. Cheap to clone.
#[derive(Clone)]
pub struct TaskCx(Arc<Inner>);

struct Inner {
    node: Node,
    pid: RegionPid,
    caller: RegionId,
    reference: u64,
    control: Arc<Control>,
    output: Mutex<Output>,
}

impl TaskCx {
    pub(super) fn new(
        node: &Node,
        pid: RegionPid,
        caller: RegionId,
        reference: u64,
        control: Arc<Control>,
    ) -> Self {
        let output = Mutex::new(Output::new(node.inner().clock.now()));
        Self(Arc::new(Inner { node: node.clone(), pid, caller, reference, control, output }))
    }

    /// The node that runs the task.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// The task's pid.
    pub fn pid(&self) -> RegionPid {
        self.0.pid
    }

    /// The region that started it.
    pub fn caller(&self) -> RegionId {
        self.0.caller
    }

    /// Whether the task is to stop: its caller is gone, has cancelled it, or asks it to shut down.
    /// Work without an `await` should look from time to time.
    pub fn is_cancelled(&self) -> bool {
        self.0.control.is_cancelled()
    }

    /// Resolves when the task is to stop. Of use to a task that [traps](Self::trap_shutdown)
    /// shutdowns; any other is dropped before it sees this.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn cancelled(&self) {
        self.0.control.cancelled().await;
    }

    /// With `true` a [`shutdown`](crate::TaskHandle::shutdown) with a time-out no longer drops the
    /// task at its next `await`: the task sees [`is_cancelled`](Self::is_cancelled) and has that time
    /// to finish, and what it returns still reaches the caller. Everything else still ends it at
    /// once. (As a task that traps exits in Elixir.)
    pub fn trap_shutdown(&self, trap: bool) {
        self.0.control.trapping.store(trap, Ordering::Release);
    }

    /// Runs blocking or computing code on a thread of its own. `work` gets what tells it whether
    /// the task is to stop; code that does not look runs to its end even when the task is cancelled.
    /// A panic in it is a panic of the task.
    pub async fn spawn_blocking<R, F>(&self, work: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(&CancelToken) -> R + Send + 'static,
    {
        let token = CancelToken(Arc::clone(&self.0.control));
        match tokio::task::spawn_blocking(move || work(&token)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                // The runtime is being shut down, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Prints to the caller's side: line by line, in order, all of it before the result. There it
    /// goes to `on_print`, or to the log (`tracing`, target `fedist::task`).
    ///
    /// Never waits. A line holds at most 4 KiB, a task may print 64 KiB per second; what is
    /// beyond is dropped, and a last line says how much that was.
    pub fn print(&self, text: impl Display) {
        let inner = &self.0;
        let now = inner.node.inner().clock.now();
        let mut output = inner.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.print(now, &text.to_string());
        let lines = output.take();
        if lines.is_empty() {
            return;
        }
        let message = TaskPrint { reference: inner.reference, lines, origin: Origin::here() };
        let service = RegionPid::new(inner.caller, service::TASKS);
        // Sent under the lock, so that two threads of a task cannot change the order.
        if let Err(refused) = service.try_send(&inner.node, message) {
            output.put_back(refused.into_message().lines);
        }
    }

    /// What was printed and not sent yet, and how many lines were dropped.
    pub(super) fn rest_of_output(&self) -> (Vec<String>, u64) {
        let mut output = self.0.output.lock().unwrap_or_else(PoisonError::into_inner);
        (output.take(), output.lost())
    }
}

/// Tells blocking work of a task whether to stop. See [`TaskCx::spawn_blocking`].
pub struct CancelToken(Arc<Control>);

impl CancelToken {
    /// Whether the task is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// The means to stop a running task.
pub(super) struct Control {
    cancelled: AtomicBool,
    trapping: AtomicBool,
    told: Notify,
    abort: AbortHandle,
}

impl Control {
    pub(super) fn new(abort: AbortHandle) -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            trapping: AtomicBool::new(false),
            told: Notify::new(),
            abort,
        }
    }

    /// Drops the task at its next `await`.
    pub(super) fn cancel(&self) {
        self.tell();
        self.abort.abort();
    }

    /// Asks it to stop: a task that traps shutdowns may finish.
    pub(super) fn shut_down(&self) {
        self.tell();
        if !self.trapping.load(Ordering::Acquire) {
            self.abort.abort();
        }
    }

    /// Lets whoever looks know that the task is to stop.
    pub(super) fn tell(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    async fn cancelled(&self) {
        let told = self.told.notified();
        let mut told = std::pin::pin!(told);
        told.as_mut().enable();
        if !self.is_cancelled() {
            told.await;
        }
    }
}
