//! From bytes into a mailbox: one inlet per exported (actor, message type).

use std::{future::Future, pin::Pin};

use actix::{
    Actor, Addr, Handler,
    dev::{ToEnvelope, channel::AddressSender},
    prelude::SendError as ActixSendError,
};
use bytes::Bytes;
use fedist_registry::RegionPid;

use crate::{
    AskError, WireMessage,
    message::{decode, encode},
};

pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Takes records of one message type for one actor. Called on the hub's thread, within the scope
/// of `address::decoding`.
pub(crate) trait Inlet: Send + Sync {
    /// Puts a tell into the mailbox.
    fn tell(&self, body: &[u8]) -> TellDelivery;
    /// Puts a request into the mailbox; the future gives the encoded answer.
    fn ask(&self, body: &[u8]) -> AskDelivery;
    /// The actor as a boxed `Recipient<M>`, for senders in the same node.
    fn recipient(&self) -> Box<dyn std::any::Any>;
}

pub(crate) enum TellDelivery {
    Done,
    /// The mailbox is full: polling the future waits for room and delivers.
    Full(LocalFuture<()>),
    Closed,
    Undecodable(String),
}

pub(crate) enum AskDelivery {
    Pending(LocalFuture<Result<Bytes, AskError>>),
    /// The mailbox is full: polling the future waits for room, delivers and gives the answer.
    Full(LocalFuture<Result<Bytes, AskError>>),
    Closed,
    Undecodable(String),
}

/// How an inlet reaches its actor.
pub(crate) enum Mailbox<A: Actor> {
    /// An actor that the node spawned: full and closed can be told apart for asks too.
    Own(AddressSender<A>),
    /// An actor started by plain actix.
    Foreign(Addr<A>),
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        match self {
            Mailbox::Own(sender) => Mailbox::Own(sender.clone()),
            Mailbox::Foreign(addr) => Mailbox::Foreign(addr.clone()),
        }
    }
}

impl<A: Actor> Mailbox<A> {
    fn addr(&self) -> Addr<A> {
        match self {
            Mailbox::Own(sender) => Addr::new(sender.clone()),
            Mailbox::Foreign(addr) => addr.clone(),
        }
    }
}

pub(crate) struct ActorInlet<A: Actor> {
    pub(crate) mailbox: Mailbox<A>,
    pub(crate) pid: RegionPid,
}

/// Binds the message type to an actor's inlet.
pub(crate) struct TypedInlet<A: Actor, M> {
    pub(crate) inlet: ActorInlet<A>,
    pub(crate) message: std::marker::PhantomData<fn(M)>,
}

impl<A, M> Inlet for TypedInlet<A, M>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: WireMessage,
{
    fn tell(&self, body: &[u8]) -> TellDelivery {
        let message = match decode_message::<M>(body) {
            Ok(message) => message,
            Err(detail) => return TellDelivery::Undecodable(detail),
        };
        let refused = match &self.inlet.mailbox {
            Mailbox::Own(sender) => sender.try_send(message, true),
            Mailbox::Foreign(addr) => addr.try_send(message),
        };
        match refused {
            Ok(()) => TellDelivery::Done,
            Err(ActixSendError::Closed(_)) => TellDelivery::Closed,
            Err(ActixSendError::Full(message)) => TellDelivery::Full(late_tell(self, message)),
        }
    }

    fn recipient(&self) -> Box<dyn std::any::Any> {
        Box::new(self.inlet.mailbox.addr().recipient::<M>())
    }

    fn ask(&self, body: &[u8]) -> AskDelivery {
        let message = match decode_message::<M>(body) {
            Ok(message) => message,
            Err(detail) => return AskDelivery::Undecodable(detail),
        };
        let pid = self.inlet.pid;
        match &self.inlet.mailbox {
            Mailbox::Own(sender) => match sender.send(message) {
                Ok(answer) => AskDelivery::Pending(Box::pin(async move {
                    encode_answer::<M>(pid, answer.await.map_err(|_| ()))
                })),
                Err(ActixSendError::Closed(_)) => AskDelivery::Closed,
                Err(ActixSendError::Full(message)) => AskDelivery::Full(late_ask(self, message)),
            },
            Mailbox::Foreign(addr) if !addr.connected() => AskDelivery::Closed,
            Mailbox::Foreign(addr) => {
                let answer = addr.send(message);
                AskDelivery::Pending(Box::pin(async move {
                    encode_answer::<M>(pid, answer.await.map_err(|_| ()))
                }))
            }
        }
    }
}

/// Sends on the first poll and resolves when the message has been handled, which keeps the order.
fn late_tell<A, M>(inlet: &TypedInlet<A, M>, message: M) -> LocalFuture<()>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: WireMessage,
{
    let addr = inlet.inlet.mailbox.addr();
    Box::pin(async move {
        let _ = addr.send(message).await;
    })
}

fn late_ask<A, M>(inlet: &TypedInlet<A, M>, message: M) -> LocalFuture<Result<Bytes, AskError>>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: WireMessage,
{
    let (addr, pid) = (inlet.inlet.mailbox.addr(), inlet.inlet.pid);
    Box::pin(async move { encode_answer::<M>(pid, addr.send(message).await.map_err(|_| ())) })
}

fn encode_answer<M: WireMessage>(
    pid: RegionPid,
    answer: Result<M::Result, ()>,
) -> Result<Bytes, AskError> {
    let answer = answer.map_err(|()| AskError::NoReply(pid))?;
    encode(M::NAME, &answer).map_err(|error| AskError::Encode(error.to_string()))
}

/// Decodes a message within the scope that the hub has opened (`address::decoding`). A panic in
/// a user's `Deserialize` counts as undecodable.
fn decode_message<M: WireMessage>(body: &[u8]) -> Result<M, String> {
    match std::panic::catch_unwind(|| decode::<M>(body)) {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error.to_string()),
        Err(payload) => {
            Err(format!("the decoder panicked: {}", crate::exit::panic_text(&*payload)))
        }
    }
}
