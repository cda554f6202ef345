//! The future of an ask: an answer within a deadline, or the reason why not.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use fedist_registry::RegionPid;
use fedist_transport::wire::{RecordHeader, RecordKind};
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::{
    AskError, Node, WireMessage,
    address::with_decoding_node,
    ask_deadline::AskDeadline,
    gate::{GateState, Refused},
    message::{Body, decode, wire_type},
    process::is_blocking,
    route::{Answer, Route},
};

/// The deadline of an ask that does not name one (contract C11).
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// An ask that is about to be sent; `.await` it. It resolves exactly once, at the latest at its deadline.
#[must_use = "an ask does nothing until it is awaited"]
pub struct Ask<M: WireMessage> {
    kind: Kind<M>,
    deadline: Duration,
}

enum Kind<M: WireMessage> {
    Local(Node, RegionPid, Answer<M::Result>),
    Remote(Node, RegionPid, Body),
    Failed(AskError),
}

impl<M: WireMessage> Ask<M> {
    /// Puts the request into a mailbox of this node at once.
    pub(crate) fn local(
        node: &Node,
        pid: RegionPid,
        route: &(impl Route<M> + ?Sized),
        message: M,
    ) -> Self {
        if is_blocking(pid) {
            return Self::failed(AskError::CallsItself(pid));
        }
        match route.ask(message) {
            Some(answer) => Self::with(Kind::Local(node.clone(), pid, answer)),
            None => Self::failed(AskError::NoActor(pid)),
        }
    }

    pub(crate) fn remote(node: &Node, pid: RegionPid, body: Body) -> Self {
        Self::with(Kind::Remote(node.clone(), pid, body))
    }

    pub(crate) fn failed(error: AskError) -> Self {
        Self::with(Kind::Failed(error))
    }

    fn with(kind: Kind<M>) -> Self {
        Self { kind, deadline: DEFAULT_DEADLINE }
    }

    /// Waits at most this long for the answer; rounded up to whole milliseconds on the wire.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<M: WireMessage> IntoFuture for Ask<M> {
    type Output = Result<M::Result, AskError>;
    type IntoFuture = AskFuture<M>;

    fn into_future(self) -> AskFuture<M> {
        AskFuture(match self.kind {
            Kind::Failed(error) => State::Failed(Some(error)),
            Kind::Local(node, pid, request) => {
                State::Local { pid, request, deadline: AskDeadline::new(node, self.deadline) }
            }
            Kind::Remote(node, pid, body) => {
                State::Remote(Box::pin(ask_remote::<M>(node, pid, body, self.deadline)))
            }
        })
    }
}

/// The future of [`Ask`].
pub struct AskFuture<M: WireMessage>(State<M>);

enum State<M: WireMessage> {
    Local { pid: RegionPid, request: Answer<M::Result>, deadline: AskDeadline },
    Remote(Pin<Box<dyn Future<Output = Result<M::Result, AskError>> + Send>>),
    Failed(Option<AskError>),
}

impl<M: WireMessage> Future for AskFuture<M> {
    type Output = Result<M::Result, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            State::Local { pid, request, deadline } => {
                if let Poll::Ready(answer) = Pin::new(request).poll(cx) {
                    return Poll::Ready(answer.map_err(|()| AskError::NoReply(*pid)));
                }
                deadline.poll(cx).map(|after| Err(AskError::Timeout(after)))
            }
            State::Remote(future) => future.as_mut().poll(cx),
            State::Failed(error) => Poll::Ready(Err(error.take().unwrap_or(AskError::Stopped))),
        }
    }
}

impl<M: WireMessage> Unpin for AskFuture<M> {}

async fn ask_remote<M: WireMessage>(
    node: Node,
    pid: RegionPid,
    body: Body,
    deadline: Duration,
) -> Result<M::Result, AskError> {
    let gate = node.inner().gates.get(pid.region());
    let mut header = RecordHeader {
        deadline_ms: u32::try_from(deadline.as_micros().div_ceil(1000)).unwrap_or(u32::MAX),
        ..node.record_header(RecordKind::Ask, pid, wire_type::<M>(), M::VERSION)
    };
    let len = header.encoded_len(body.len());
    // Most asks find an open gate, and need no timer for that.
    if node.inner().paused.contains(pid) || gate.acquire(len).is_err() {
        let started = std::time::Instant::now();
        if let Err(refused) = wait_for_room(&node, pid, len, deadline).await {
            return Err(node.refusal(pid.region(), &refused));
        }
        let waited = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        header.deadline_ms = header.deadline_ms.saturating_sub(waited).max(1);
    }
    let (reply, answer) = oneshot::channel();
    node.post(pid.region(), &header, body, len, Some(reply));
    let body = match answer.await {
        Ok(outcome) => outcome.map_err(|error| match error {
            AskError::UnknownType { pid, version, .. } => {
                AskError::UnknownType { pid, name: M::NAME.to_owned(), version }
            }
            AskError::Timeout(_) => AskError::Timeout(deadline),
            other => other,
        })?,
        Err(_) => return Err(AskError::Stopped),
    };
    with_decoding_node(&node, Some(pid.region()), || decode::<M::Result>(&body))
        .map_err(|error| AskError::Undecodable { pid, detail: error.to_string() })
}

/// Takes room at the gate. An ask has time: it waits for room and for a route, as long as its deadline allows.
async fn wait_for_room(
    node: &Node,
    pid: RegionPid,
    len: usize,
    deadline: Duration,
) -> Result<(), Refused> {
    let gate = node.inner().gates.get(pid.region());
    let room = std::pin::pin!(async {
        node.inner().paused.wait(pid).await;
        gate.acquire_route(len).await
    });
    match select(room, node.sleep(deadline)).await {
        Either::Left((room, _)) => room,
        Either::Right(_) => Err(match gate.state() {
            GateState::NoRoute => Refused::NoRoute,
            _ => Refused::Full,
        }),
    }
}
