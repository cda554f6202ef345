//! The handle of a task: waiting for its result, looking for it, ending it.

use std::{marker::PhantomData, time::Duration};

use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid, service};
use futures_util::future::{Either, join_all, select};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{
    TaskError,
    service::{CancelTask, TaskGone, TaskService},
};
use crate::{
    Node, PidSend, SendError, address::with_decoding_node, context::ActorBody, exit::MonitorRef,
    message::decode, origin::Origin, outbound::Outbound,
};

/// A task that was started.
///
/// Dropping the handle cancels the task, unless it was started with
/// [`nolink`](crate::TasksAt::nolink): then it runs on and its result is let go.
#[must_use = "dropping the handle cancels the task, or lets its result go"]
pub struct TaskHandle<O> {
    node: Node,
    region: RegionId,
    pid: Option<RegionPid>,
    reference: u64,
    /// `None` once the result has been taken.
    outcome: Option<oneshot::Receiver<Result<Bytes, TaskError>>>,
    watching: Option<MonitorRef>,
    caller: Option<(RegionPid, MonitorRef)>,
    cancel_on_drop: bool,
    output: PhantomData<fn() -> O>,
}

/// How [`TaskHandle::shutdown`] ends a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskShutdown {
    /// It is asked to stop. If it [traps shutdowns](crate::TaskCx::trap_shutdown) it has this long to
    /// finish; then, or else at once, it is dropped at its next `await`.
    Within(Duration),
    /// It is dropped at its next `await` in any case.
    Brutal,
}

impl From<Duration> for TaskShutdown {
    fn from(timeout: Duration) -> Self {
        TaskShutdown::Within(timeout)
    }
}

impl<O> TaskHandle<O> {
    pub(super) fn new(
        node: &Node,
        region: RegionId,
        reference: u64,
        outcome: oneshot::Receiver<Result<Bytes, TaskError>>,
        cancel_on_drop: bool,
    ) -> Self {
        Self {
            node: node.clone(),
            region,
            pid: None,
            reference,
            outcome: Some(outcome),
            watching: None,
            caller: None,
            cancel_on_drop,
            output: PhantomData,
        }
    }

    /// Nothing was started: there is nothing to cancel.
    pub(super) fn void(mut self) {
        self.outcome = None;
        self.node.inner().tasks.forget_awaited(self.reference);
    }

    /// The task runs as `pid`; it is cancelled when `caller` ends.
    pub(super) fn follow(&mut self, pid: RegionPid, caller: Option<RegionPid>) {
        self.pid = Some(pid);
        let (node, region, reference) = (self.node.clone(), self.region, self.reference);
        let gone = move |down: crate::Down| {
            // Through the service's mailbox, so that a result that came before is settled before.
            let service = RegionPid::new(node.region(), service::TASKS);
            let Some(process) = node.local_address_of(service) else { return };
            // Past the mailbox's bound: there is one for each task that is awaited.
            if let Some(body) = process.body.as_any().downcast_ref::<ActorBody<TaskService>>() {
                let gone = TaskGone { region, reference, reason: down.reason };
                let _ = body.mailbox.send(gone, &*process);
            }
        };
        self.watching = Some(self.node.watch(pid, Box::new(gone)));
        if let Some(caller) = caller {
            let (node, region, reference) = (self.node.clone(), self.region, self.reference);
            let cancel = move |_: crate::Down| cancel(&node, region, reference, true);
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

    /// Cancels the task: it is dropped at its next `await`. Resolves at once; see
    /// [`shutdown`](Self::shutdown) to wait for the end.
    pub fn cancel(mut self) {
        self.cancel_on_drop = true;
    }

    /// Waits for what the task gives, at most `timeout`. `None` when it gave nothing yet.
    async fn outcome_within(&mut self, timeout: Duration) -> Option<Result<Bytes, TaskError>> {
        let Some(outcome) = self.outcome.as_mut() else {
            return Some(Err(TaskError::Settled));
        };
        let result = match select(outcome, self.node.sleep(timeout)).await {
            Either::Left((Ok(result), _)) => result,
            Either::Left((Err(_), _)) => Err(TaskError::Stopped("the node is stopped".to_owned())),
            Either::Right(_) => return None,
        };
        self.outcome = None;
        Some(result)
    }
}

impl<O: DeserializeOwned> TaskHandle<O> {
    /// Waits for the result, at most `timeout`; then the task is cancelled.
    ///
    /// # Errors
    /// [`TaskError`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the handle: the task is cancelled, or runs on without
    /// anybody waiting if it was started with `nolink`.
    pub async fn await_for(mut self, timeout: Duration) -> Result<O, TaskError> {
        match self.outcome_within(timeout).await {
            Some(result) => self.decode(result),
            None => {
                self.cancel_on_drop = true;
                Err(TaskError::Timeout(timeout))
            }
        }
    }

    /// Looks for the result for at most `timeout`. `None` leaves the task running, and this may be
    /// called again. Once a result was given, further calls give [`TaskError::Settled`].
    ///
    /// # Cancel safety
    /// May be dropped and called again; no result is lost.
    pub async fn yield_for(&mut self, timeout: Duration) -> Option<Result<O, TaskError>> {
        let result = self.outcome_within(timeout).await?;
        Some(self.decode(result))
    }

    /// Ends the task and waits until it has ended. Gives its result when it came before the end,
    /// `None` when the task was ended without one, and an error when it ended otherwise.
    ///
    /// Work that never comes to an `await` cannot be ended: then this waits for the time-out and
    /// the session time-out (10 s by default) and gives `None`.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the task.
    pub async fn shutdown(mut self, how: impl Into<TaskShutdown>) -> Option<Result<O, TaskError>> {
        self.cancel_on_drop = true;
        let last = self.node.inner().session_timeout;
        let mut result = self.outcome_within(Duration::ZERO).await;
        if result.is_none()
            && let TaskShutdown::Within(timeout) = how.into()
        {
            cancel(&self.node, self.region, self.reference, false);
            result = self.outcome_within(timeout).await;
        }
        if result.is_none() {
            cancel(&self.node, self.region, self.reference, true);
            result = self.outcome_within(last).await;
        }
        match result? {
            Err(TaskError::Stopped(_) | TaskError::Settled) => None,
            result => Some(self.decode(result)),
        }
    }

    fn decode(&self, result: Result<Bytes, TaskError>) -> Result<O, TaskError> {
        with_decoding_node(&self.node, Some(self.region), || {
            decode::<O>(&result?).map_err(|error| TaskError::Codec(error.to_string()))
        })
    }
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
            self.node.inner().tasks.forget_awaited(self.reference);
            if self.cancel_on_drop {
                cancel(&self.node, self.region, self.reference, true);
            }
        }
    }
}

/// Waits for the results of all handles, in their order, at most `timeout` in all. Tasks that
/// have given none by then are cancelled.
///
/// # Cancel safety
/// Dropping the future drops the handles.
pub async fn await_many<O: DeserializeOwned>(
    handles: impl IntoIterator<Item = TaskHandle<O>>,
    timeout: Duration,
) -> Vec<Result<O, TaskError>> {
    join_all(handles.into_iter().map(|handle| handle.await_for(timeout))).await
}

/// Looks for the results of all handles for at most `timeout` in all; `None` for tasks that run on.
///
/// # Cancel safety
/// Dropped before it resolves, results that had come already are lost.
pub async fn yield_many<O: DeserializeOwned>(
    handles: &mut [TaskHandle<O>],
    timeout: Duration,
) -> Vec<Option<Result<O, TaskError>>> {
    join_all(handles.iter_mut().map(|handle| handle.yield_for(timeout))).await
}

/// Tells a region to end a task. What cannot be sent now is sent when there is a route, for as
/// long as the session may last: its end ends the task too.
fn cancel(node: &Node, region: RegionId, reference: u64, brutal: bool) {
    let service = RegionPid::new(region, service::TASKS);
    let message = CancelTask { reference, brutal, origin: Origin::here() };
    let Err(SendError::Full(message) | SendError::NoRoute(_, message)) =
        service.try_send(node, message)
    else {
        return;
    };
    let node_there = node.clone();
    node.queue(Outbound::Run(Box::new(move |_| {
        actix_rt::spawn(async move {
            let node = node_there;
            let sent = node.tell_when_routed(service, message);
            let lost = node.until_session_ends(region);
            select(std::pin::pin!(sent), std::pin::pin!(lost)).await;
        });
    })));
}
