//! Asking another region to start something, and asking later what became of it.

use std::{sync::atomic::Ordering, time::Duration};

use fedist_registry::{Micros, RegionId, RegionPid, service};

use super::{
    ledger::Reply,
    refusal::StartRefused,
    requests::{RequestId, may_be_of_an_earlier_life},
    service::{AskStanding, Standing},
};
use crate::{AskError, Node, PidSend, WireMessage, origin::Origin};

/// A request on its way. Dropped unanswered, nobody wants to know what became of it.
pub(super) struct Request {
    node: Node,
    pub(super) id: RequestId,
    pub(super) settled_below: u64,
    open: bool,
}

/// How a request ended other than with a pid.
pub(super) enum RequestError {
    /// Nothing was started, and why.
    Refused(StartRefused),
    /// Nothing was started: the region was not asked.
    Ask(AskError),
    /// It may have been started.
    Indeterminate(RequestId, AskError),
}

impl Request {
    /// Opens a request; what it starts may link itself to `link`.
    pub(super) fn open(node: &Node, target: RegionId, link: Option<RegionPid>) -> Self {
        let inner = node.inner();
        let made = inner.clock.now();
        let (reference, settled_below) =
            inner.tasks.open_request(target, link, || node.next_reference());
        let id = RequestId { source: node.region(), target, reference, made };
        Self { node: node.clone(), id, settled_below, open: true }
    }

    pub(super) async fn ask<M: WireMessage<Result = Reply>>(
        mut self,
        message: M,
        deadline: Duration,
    ) -> Result<RegionPid, RequestError> {
        let service = RegionPid::new(self.id.target, service::TASKS);
        if self.node.inner().stopped.load(Ordering::Acquire) {
            return Err(RequestError::Ask(AskError::Stopped));
        }
        let error = match service.send(&self.node, message).deadline(deadline).await {
            Ok(Ok(pid)) => return Ok(pid),
            Ok(Err(refused)) => return Err(RequestError::Refused(refused)),
            Err(error) => error,
        };
        if !leaves_outcome_open(&error) {
            return Err(RequestError::Ask(error));
        }
        self.open = false;
        self.node.inner().tasks.leave_request_open(self.id.target, self.id.reference);
        Err(RequestError::Indeterminate(self.id, error))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.open {
            self.node.inner().tasks.close_request(self.id.target, self.id.reference);
        }
    }
}

/// Whether the request may have been carried out although no answer came.
fn leaves_outcome_open(error: &AskError) -> bool {
    match error {
        AskError::Timeout(_)
        | AskError::Unreachable(_)
        | AskError::NoReply(_)
        | AskError::Stopped
        | AskError::Undecodable { .. }
        | AskError::Encode(_) => true,
        AskError::Full
        | AskError::NoRoute(_)
        | AskError::UnknownRegion(_)
        | AskError::NotLive
        | AskError::TooLarge { .. }
        | AskError::NoActor(_)
        | AskError::Denied(_)
        | AskError::UnknownType { .. }
        | AskError::CallsItself(_)
        | AskError::Unbound => false,
    }
}

/// What became of a request. Every answer is final.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// It was carried out: this was started. It may have ended since.
    Started(RegionPid),
    /// It came and was refused; nothing was started.
    Refused(StartRefused),
    /// It never came, and will not run should it still come.
    NeverRan,
    /// Nobody knows any more: the region was restarted since, or has forgotten its answer. It may
    /// have been carried out.
    Lost,
}

/// Why a request could not be asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// Another region made it, or this one before its last start.
    #[error("not a request of this node ({0}); only the node that made it can ask; ask there")]
    NotOurs(RequestId),
    /// The region could not be asked. Nothing changed; ask again later.
    #[error("region {} could not be asked about a request: {error}", .request.target())]
    Ask {
        /// The request.
        request: RequestId,
        /// What happened.
        error: AskError,
    },
}

impl Node {
    /// Asks what became of a request whose outcome is indeterminate (contract C14).
    ///
    /// The question settles it: when the region has not seen the request, it never runs. Keep the
    /// id and ask again when this fails. A request that has been settled already, or was never
    /// indeterminate, may be `Lost`: its answer is kept for as long as somebody may ask.
    ///
    /// # Errors
    /// [`SettleError`]; nothing is settled then.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn settle(&self, request: RequestId) -> Result<Settled, SettleError> {
        if request.source != self.region() || request.boot() != self.boot() {
            return Err(SettleError::NotOurs(request));
        }
        let question = AskStanding { reference: request.reference, origin: Origin::here() };
        let standing = RegionPid::new(request.target, service::TASKS)
            .send(self, question)
            .await
            .map_err(|error| SettleError::Ask { request, error })?;
        let age = self.inner().clock.now().saturating_sub(request.made).as_duration();
        self.inner().tasks.close_request(request.target, request.reference);
        let settled = match standing {
            Standing::Answered(Ok(pid)) => Settled::Started(pid),
            Standing::Answered(Err(StartRefused::Void)) => Settled::NeverRan,
            Standing::Answered(Err(StartRefused::Stale)) | Standing::Forgotten => Settled::Lost,
            Standing::Answered(Err(refused)) => Settled::Refused(refused),
            Standing::NeverSeen { uptime }
                if may_be_of_an_earlier_life(age, Micros(uptime).as_duration()) =>
            {
                Settled::Lost
            }
            Standing::NeverSeen { .. } => Settled::NeverRan,
        };
        if !matches!(settled, Settled::Started(_)) {
            // Of a task without a handle: its output is not waited for any more.
            self.inner().tasks.forget_awaited(request.reference);
        }
        Ok(settled)
    }
}
