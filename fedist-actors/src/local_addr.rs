//! The address of an actor in its own node.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context as TaskContext, Poll, ready},
};

use actix::{
    Actor, Addr, Handler, MailboxError, Recipient, dev::ToEnvelope,
    prelude::SendError as ActixSendError,
};
use fedist_registry::RegionPid;
use tokio::sync::oneshot;

use crate::{Context, Node, RegionAddr, SendError, context::ActorBody, process::Process};

/// The address of an actor that this node spawned, with its pid. Derefs to actix's `Addr`.
pub struct LocalAddr<A: Actor> {
    /// Made when it is first asked for: most are only asked for their pid.
    addr: OnceLock<Addr<A>>,
    cell: Arc<Process<ActorBody<A>>>,
    node: Node,
}

impl<A: Actor> LocalAddr<A> {
    pub(crate) fn new(node: &Node, cell: Arc<Process<ActorBody<A>>>) -> Self {
        Self { addr: OnceLock::new(), cell, node: node.clone() }
    }

    pub(crate) fn cell(&self) -> &Arc<Process<ActorBody<A>>> {
        &self.cell
    }

    /// The actor's pid. Nobody can send to it from other regions before it is exported.
    pub fn pid(&self) -> RegionPid {
        self.cell.pid
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Resolves when the actor has started; see [`Process::when_started`].
    pub(crate) fn when_started(&self) -> oneshot::Receiver<()>
    where
        A: Actor<Context = Context<A>>,
    {
        self.cell.when_started()
    }

    /// The same actor as an address that can travel.
    pub fn region_addr(&self) -> RegionAddr<A> {
        RegionAddr::new(&self.node, self.pid())
    }

    /// The actor as anything that handles `M`, in this node.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: actix::Message<Result: Send> + Send + 'static,
    {
        Addr::clone(self).recipient()
    }

    /// Sends without waiting. Unlike actix's, it keeps to the mailbox's bound: what does not fit is
    /// dropped, counted and noted as a dead letter.
    pub fn do_send<M>(&self, message: M)
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: actix::Message<Result: Send> + Send + 'static,
    {
        let error = match self.cell.body.mailbox.try_send(message, &self.cell) {
            Ok(()) => return,
            Err(ActixSendError::Full(message)) => SendError::Full(message),
            Err(ActixSendError::Closed(message)) => SendError::NoActor(self.pid(), message),
        };
        self.node.note_refused(self.pid(), std::any::type_name::<M>(), error);
    }

    /// Sends without waiting, or gives the message back: `Full` at the mailbox's bound, `Closed` when the actor has ended.
    ///
    /// # Errors
    /// actix's `SendError`; nothing was sent then.
    pub fn try_send<M>(&self, message: M) -> Result<(), ActixSendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: actix::Message<Result: Send> + Send + 'static,
    {
        self.cell.body.mailbox.try_send(message, &self.cell)
    }

    /// Sends at once and waits for the answer, as long as it takes; for a deadline ask by [`region_addr`](Self::region_addr).
    /// A full mailbox takes it past its bound, as whoever waits for an answer has one message there and no more.
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; the message may still be handled.
    pub fn send<M>(&self, message: M) -> LocalRequest<M::Result>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: actix::Message<Result: Send> + Send + 'static,
    {
        LocalRequest(self.cell.body.mailbox.ask(message, &self.cell).ok())
    }

    /// Sends a message that goes before all others in the mailbox, in the order of such messages;
    /// for what must get through to an actor that is flooded. As OTP 28's `priority` messages.
    ///
    /// # Errors
    /// [`SendError::Full`] when 4,096 of them wait already, [`SendError::NoActor`].
    pub fn send_priority<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: actix::Message<Result: Send> + Send + 'static,
    {
        if !self.cell.is_alive() {
            return Err(SendError::NoActor(self.pid(), message));
        }
        let pack = |message| <A::Context as ToEnvelope<A, M>>::pack(message, None);
        self.cell.push_urgent(message, pack).map_err(SendError::Full)
    }
}

/// The future of [`LocalAddr::send`]: the answer, or `MailboxError::Closed` when the actor ended before it answered.
#[must_use = "the answer comes when this is awaited"]
pub struct LocalRequest<R>(Option<oneshot::Receiver<R>>);

impl<R> Future for LocalRequest<R> {
    type Output = Result<R, MailboxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let request = self.get_mut();
        let Some(answer) = &mut request.0 else {
            return Poll::Ready(Err(MailboxError::Closed));
        };
        let answer = ready!(Pin::new(answer).poll(cx));
        request.0 = None;
        Poll::Ready(answer.map_err(|_| MailboxError::Closed))
    }
}

impl<R> fmt::Debug for LocalRequest<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalRequest")
    }
}

impl<A: Actor> Clone for LocalAddr<A> {
    fn clone(&self) -> Self {
        Self { addr: OnceLock::new(), cell: Arc::clone(&self.cell), node: self.node.clone() }
    }
}

impl<A: Actor> std::ops::Deref for LocalAddr<A> {
    type Target = Addr<A>;

    fn deref(&self) -> &Addr<A> {
        self.addr.get_or_init(|| self.cell.address())
    }
}
