//! From a sender of this node into a mailbox of this node: bounded, and shared by all senders.

use std::{
    any::Any,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix::{
    Actor, Addr, Handler, MailboxError, Message, dev::ToEnvelope,
    prelude::SendError as ActixSendError,
};
use tokio::sync::oneshot;

use crate::{
    context::ActorBody,
    mailbox::Room,
    process::{Body, Process},
};

/// The way of messages `M` into one process.
pub(crate) trait Route<M: Message<Result: Send>>: Send + Sync {
    /// Puts a message into the mailbox, or gives it back when that is full or gone.
    fn try_send(&self, message: M) -> Result<(), ActixSendError<M>>;
    /// Where the messages of runs are counted, in a mailbox that takes them.
    fn run_room(&self) -> Option<&Room>;
    /// Puts a request into the mailbox, or gives it back when that is full or gone.
    fn try_ask(&self, message: M) -> Result<Answer<M::Result>, ActixSendError<M>>;
    /// Puts a request into the mailbox, past its bound if need be: whoever waits for an answer has
    /// one message there and no more. `None` when the mailbox is gone.
    fn ask(&self, message: M) -> Option<Answer<M::Result>>;
}

/// An answer that is waited for; an error when the receiver ended first.
pub(crate) enum Answer<R> {
    Direct(oneshot::Receiver<R>),
    /// From a plain actix actor.
    Request(Pin<Box<dyn Future<Output = Result<R, MailboxError>> + Send>>),
}

impl<R> Future for Answer<R> {
    type Output = Result<R, ()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answer::Direct(answer) => Pin::new(answer).poll(cx).map_err(drop),
            Answer::Request(answer) => answer.as_mut().poll(cx).map_err(drop),
        }
    }
}

/// Waits for room if the mailbox is full. False when it is gone.
///
/// Dropped before it resolves, the message is not handled.
pub(crate) async fn send_when_room<M: Message<Result: Send>>(
    route: &dyn Route<M>,
    message: M,
) -> Result<(), M> {
    match route.try_send(message) {
        Ok(()) => Ok(()),
        Err(ActixSendError::Closed(message)) => Err(message),
        Err(ActixSendError::Full(message)) => {
            // Its turn has come when it has been handled: then there is room again.
            if let Some(handled) = route.ask(message) {
                let _ = handled.await;
            }
            Ok(())
        }
    }
}

/// The way to an actor whose type is known, by its process.
pub(crate) struct ActorRoute<A> {
    process: Arc<Process>,
    actor: PhantomData<fn(A)>,
}

impl<A: Actor> ActorRoute<A> {
    /// `None` when the process is not an actor of type `A`.
    pub(crate) fn new(process: Arc<Process>) -> Option<Self> {
        let body = process.body.as_any();
        let fits = body.is::<ActorBody<A>>() || body.is::<ForeignBody<A>>();
        fits.then_some(Self { process, actor: PhantomData })
    }

    fn mailbox(&self) -> Option<Mailbox<'_, A>> {
        let body = self.process.body.as_any();
        match body.downcast_ref::<ActorBody<A>>() {
            Some(own) => Some(Mailbox::Own(own)),
            None => body.downcast_ref::<ForeignBody<A>>().map(Mailbox::Foreign),
        }
    }
}

impl<A> Clone for ActorRoute<A> {
    fn clone(&self) -> Self {
        Self { process: Arc::clone(&self.process), actor: PhantomData }
    }
}

enum Mailbox<'a, A: Actor> {
    Own(&'a ActorBody<A>),
    Foreign(&'a ForeignBody<A>),
}

impl<A, M> Route<M> for ActorRoute<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn try_send(&self, message: M) -> Result<(), ActixSendError<M>> {
        match self.mailbox() {
            Some(Mailbox::Own(own)) => own.mailbox.try_send(message, &*self.process),
            Some(Mailbox::Foreign(foreign)) => foreign.addr.try_send(message),
            None => Err(ActixSendError::Closed(message)),
        }
    }

    fn run_room(&self) -> Option<&Room> {
        match self.mailbox() {
            Some(Mailbox::Own(own)) => Some(own.mailbox.room()),
            _ => None,
        }
    }

    fn try_ask(&self, message: M) -> Result<Answer<M::Result>, ActixSendError<M>> {
        match self.mailbox() {
            Some(Mailbox::Own(own)) => {
                own.mailbox.try_ask(message, &*self.process).map(Answer::Direct)
            }
            Some(Mailbox::Foreign(foreign)) if foreign.addr.connected() => {
                Ok(Answer::Request(Box::pin(foreign.addr.clone().send(message))))
            }
            _ => Err(ActixSendError::Closed(message)),
        }
    }

    fn ask(&self, message: M) -> Option<Answer<M::Result>> {
        let message = match self.try_ask(message) {
            Ok(answer) => return Some(answer),
            Err(ActixSendError::Closed(_)) => return None,
            Err(ActixSendError::Full(message)) => message,
        };
        match self.mailbox()? {
            Mailbox::Own(own) => own.mailbox.ask(message, &*self.process).ok().map(Answer::Direct),
            Mailbox::Foreign(foreign) => {
                Some(Answer::Request(Box::pin(foreign.addr.clone().send(message))))
            }
        }
    }
}

/// A plain actix actor under a pid: this node neither runs it nor hears of its end.
pub(crate) struct ForeignBody<A: Actor> {
    addr: Addr<A>,
}

impl<A: Actor> ForeignBody<A> {
    pub(crate) fn new(addr: Addr<A>) -> Self {
        Self { addr }
    }
}

impl<A: Actor> Body for ForeignBody<A> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn is_run(&self) -> bool {
        false
    }

    fn is_lost(&self) -> bool {
        !self.addr.connected()
    }
}
