//! What can be asked of a supervisor: by its address in the same node, by its pid from any region.

use actix::{Addr, Handler, MessageResult, ResponseFuture};
use fedist_registry::RegionPid;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    plan::Token,
    rules::{ChildCounts, ChildError, ChildRef, ChildStatus},
    spec::ChildSpec,
    supervisor::Supervisor,
};
use crate::{Context, Down, ExitReason, LocalAddr, Message};

/// Asks a supervisor for its children, in the order in which they were added.
#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[rtype(result = "Vec<ChildStatus>")]
#[wire(name = "fedist.supervisor.which_children", version = 1, crate = "crate")]
pub struct WhichChildren;

/// Asks a supervisor how many children it has.
#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[rtype(result = "ChildCounts")]
#[wire(name = "fedist.supervisor.count_children", version = 1, crate = "crate")]
pub struct CountChildren;

/// Ends a child by its shutdown rule; answered when it is gone. It is not restarted by itself.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), ChildError>")]
#[wire(name = "fedist.supervisor.terminate_child", version = 1, crate = "crate")]
pub struct TerminateChild {
    /// Which.
    pub child: ChildRef,
}

/// Starts a child that was terminated, or that ended and is not restarted by itself; gives its pid.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[rtype(result = "Result<RegionPid, ChildError>")]
#[wire(name = "fedist.supervisor.restart_child", version = 1, crate = "crate")]
pub struct RestartChild {
    /// Which.
    pub child: ChildRef,
}

/// Removes the spec of a child that does not run.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), ChildError>")]
#[wire(name = "fedist.supervisor.delete_child", version = 1, crate = "crate")]
pub struct DeleteChild {
    /// Which.
    pub child: ChildRef,
}

/// Adds a child and starts it; gives its pid. Within the node only: a spec holds code.
#[derive(Debug)]
pub struct StartChild(pub ChildSpec);

impl actix::Message for StartChild {
    type Result = Result<RegionPid, ChildError>;
}

/// Ends a supervisor and, before it, its children.
#[derive(Debug)]
pub(super) struct StopSupervisor(pub(super) ExitReason);

impl actix::Message for StopSupervisor {
    type Result = ();
}

/// Takes in a process that runs already.
pub(super) struct Adopt {
    pub(super) name: String,
    pub(super) pid: RegionPid,
}

impl actix::Message for Adopt {
    type Result = ();
}

impl LocalAddr<Supervisor> {
    /// Its children, in the order in which they were added.
    ///
    /// # Errors
    /// [`ChildError::Stopping`]: it has ended. So with all that follows.
    pub async fn which_children(&self) -> Result<Vec<ChildStatus>, ChildError> {
        self.send(WhichChildren).await.map_err(|_| ChildError::Stopping)
    }

    /// How many children it has.
    ///
    /// # Errors
    /// [`ChildError`].
    pub async fn count_children(&self) -> Result<ChildCounts, ChildError> {
        self.send(CountChildren).await.map_err(|_| ChildError::Stopping)
    }

    /// Adds a child, the last in order, and starts it. When the start fails, the spec is discarded.
    ///
    /// # Errors
    /// [`ChildError`].
    ///
    /// # Cancel safety
    /// The order stands once it was sent; only its answer is lost.
    pub async fn start_child(&self, spec: impl Into<ChildSpec>) -> Result<RegionPid, ChildError> {
        self.send(StartChild(spec.into())).await.unwrap_or(Err(ChildError::Stopping))
    }

    /// Ends a child by its shutdown rule, and returns when it is gone. Its spec stays, unless it is
    /// temporary or the supervisor dynamic.
    ///
    /// # Errors
    /// [`ChildError`].
    pub async fn terminate_child(&self, child: impl Into<ChildRef>) -> Result<(), ChildError> {
        let order = TerminateChild { child: child.into() };
        self.send(order).await.unwrap_or(Err(ChildError::Stopping))
    }

    /// Starts a child that rests.
    ///
    /// # Errors
    /// [`ChildError`].
    pub async fn restart_child(&self, child: impl Into<ChildRef>) -> Result<RegionPid, ChildError> {
        let order = RestartChild { child: child.into() };
        self.send(order).await.unwrap_or(Err(ChildError::Stopping))
    }

    /// Removes the spec of a child that rests.
    ///
    /// # Errors
    /// [`ChildError`].
    pub async fn delete_child(&self, child: impl Into<ChildRef>) -> Result<(), ChildError> {
        let order = DeleteChild { child: child.into() };
        self.send(order).await.unwrap_or(Err(ChildError::Stopping))
    }

    /// Ends the supervisor: its children in reverse order, each by its shutdown rule, then itself
    /// with `reason`. Returns when it has ended, at once if it had before.
    pub async fn stop(&self, reason: ExitReason) -> Down {
        let ended = self.node().monitor(self.pid());
        Addr::do_send(self, StopSupervisor(reason));
        ended.await
    }
}

impl Handler<WhichChildren> for Supervisor {
    type Result = MessageResult<WhichChildren>;

    fn handle(&mut self, _: WhichChildren, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.plan().which_children())
    }
}

impl Handler<CountChildren> for Supervisor {
    type Result = MessageResult<CountChildren>;

    fn handle(&mut self, _: CountChildren, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.plan().count_children())
    }
}

impl Handler<StartChild> for Supervisor {
    type Result = ResponseFuture<Result<RegionPid, ChildError>>;

    fn handle(&mut self, order: StartChild, ctx: &mut Context<Self>) -> Self::Result {
        let StartChild(ChildSpec { rules, starter }) = order;
        let (token, answer) = self.expect_answer();
        let now = self.now(ctx);
        let taken = self.plan().start_child(now, rules, token);
        let taken = taken.map(|key| {
            self.keep(key, starter);
        });
        self.pid_answer(token, answer, taken, ctx)
    }
}

impl Handler<RestartChild> for Supervisor {
    type Result = ResponseFuture<Result<RegionPid, ChildError>>;

    fn handle(&mut self, order: RestartChild, ctx: &mut Context<Self>) -> Self::Result {
        let (token, answer) = self.expect_answer();
        let now = self.now(ctx);
        let taken = self.plan().restart_child(now, &order.child, token);
        self.pid_answer(token, answer, taken, ctx)
    }
}

impl Handler<TerminateChild> for Supervisor {
    type Result = ResponseFuture<Result<(), ChildError>>;

    fn handle(&mut self, order: TerminateChild, ctx: &mut Context<Self>) -> Self::Result {
        let (token, answer) = self.expect_answer();
        let now = self.now(ctx);
        let taken = self.plan().terminate_child(now, &order.child, token);
        let refused = self.taken(token, taken, ctx);
        Box::pin(async move {
            refused?;
            answer.await.unwrap_or(Err(ChildError::Stopping)).map(drop)
        })
    }
}

impl Handler<DeleteChild> for Supervisor {
    type Result = MessageResult<DeleteChild>;

    fn handle(&mut self, order: DeleteChild, ctx: &mut Context<Self>) -> Self::Result {
        let deleted = self.plan().delete_child(&order.child);
        self.act(ctx);
        MessageResult(deleted)
    }
}

impl Supervisor {
    fn pid_answer(
        &mut self,
        token: Token,
        answer: oneshot::Receiver<Result<Option<RegionPid>, ChildError>>,
        taken: Result<(), ChildError>,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<Result<RegionPid, ChildError>> {
        let refused = self.taken(token, taken, ctx);
        Box::pin(async move {
            refused?;
            match answer.await {
                Ok(Ok(Some(pid))) => Ok(pid),
                Ok(Err(error)) => Err(error),
                Ok(Ok(None)) | Err(_) => Err(ChildError::Stopping),
            }
        })
    }

    /// Goes on after an order was taken or refused.
    fn taken(
        &mut self,
        token: Token,
        taken: Result<(), ChildError>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ChildError> {
        if taken.is_err() {
            self.expect_no_answer(token);
        }
        self.act(ctx);
        taken
    }
}
