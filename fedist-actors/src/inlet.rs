//! From bytes into a mailbox: one inlet per exported (actor, message type).

mod run;

use std::{any::Any, future::Future, pin::Pin, sync::Arc};

use actix::prelude::SendError as ActixSendError;
use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::wire::{RecordHeader, RecordKind};

use run::Codec;
pub(crate) use run::{Run, Running, pack};

use crate::{
    AskError, Node, WireMessage,
    message::{decode, encode},
    route::{Answer, Route},
};

pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Takes records of one message type for one actor. Called on the hub's thread, within the scope
/// of `address::decoding`.
pub(crate) trait Inlet: Send + Sync {
    /// Puts a tell into the mailbox.
    fn tell(&self, body: &[u8]) -> TellDelivery;
    /// Puts a request into the mailbox; the future gives the encoded answer.
    fn ask(&self, body: &[u8]) -> AskDelivery;
    /// Puts records into the mailbox together; gives them back when each is to be delivered by itself.
    fn run(&self, run: Run) -> Result<(), Run>;
    /// The way for senders in the same node: a boxed `Arc<dyn Route<M>>`.
    fn route(&self) -> Box<dyn Any>;
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

/// Binds a message type to the way to one process.
pub(crate) struct RouteInlet<M: WireMessage> {
    pub(crate) route: Arc<dyn Route<M>>,
    pub(crate) pid: RegionPid,
}

impl<M: WireMessage> Inlet for RouteInlet<M> {
    fn tell(&self, body: &[u8]) -> TellDelivery {
        let message = match decode_message::<M>(body) {
            Ok(message) => message,
            Err(detail) => return TellDelivery::Undecodable(detail),
        };
        match self.route.try_send(message) {
            Ok(()) => TellDelivery::Done,
            Err(ActixSendError::Closed(_)) => TellDelivery::Closed,
            // It takes the next place, and there is room again when it has been handled.
            Err(ActixSendError::Full(message)) => match self.route.ask(message) {
                None => TellDelivery::Closed,
                Some(handled) => TellDelivery::Full(Box::pin(async move {
                    let _ = handled.await;
                })),
            },
        }
    }

    fn ask(&self, body: &[u8]) -> AskDelivery {
        let message = match decode_message::<M>(body) {
            Ok(message) => message,
            Err(detail) => return AskDelivery::Undecodable(detail),
        };
        match self.route.try_ask(message) {
            Ok(answer) => AskDelivery::Pending(encoded::<M>(self.pid, answer)),
            Err(ActixSendError::Closed(_)) => AskDelivery::Closed,
            Err(ActixSendError::Full(message)) => match self.route.ask(message) {
                None => AskDelivery::Closed,
                Some(answer) => AskDelivery::Full(encoded::<M>(self.pid, answer)),
            },
        }
    }

    fn run(&self, run: Run) -> Result<(), Run> {
        let Some(room) = self.route.run_room() else {
            return Err(run);
        };
        let codec = Codec { decode: decode_message::<M>, encode: encode_answer::<M> };
        run::put(run, self.pid, codec, room, |message| self.route.try_send(message))
    }

    fn route(&self) -> Box<dyn Any> {
        Box::new(Arc::clone(&self.route))
    }
}

fn encoded<M: WireMessage>(
    pid: RegionPid,
    answer: Answer<M::Result>,
) -> LocalFuture<Result<Bytes, AskError>> {
    Box::pin(async move { encode_answer::<M>(pid, answer.await) })
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

/// Sends the answer to a request from another region.
pub(crate) fn reply(
    node: &Node,
    src: RegionId,
    request: &RecordHeader,
    answer: Result<Bytes, AskError>,
) {
    let max = node.inner().max_message;
    let answer = match answer {
        Ok(body) if body.len() > max => {
            Err(AskError::TooLarge { len: body.len() as u64, max: max as u64 })
        }
        other => other,
    };
    let (kind, body) = match answer {
        Ok(body) => (RecordKind::Reply, body),
        Err(error) => match encode("fedist.ask_error", &error) {
            Ok(body) => (RecordKind::ReplyError, body),
            Err(_) => return,
        },
    };
    let header = RecordHeader {
        kind,
        to: None,
        from: None,
        type_hash: 0,
        version: 0,
        correlation: request.correlation,
        deadline_ms: 0,
    };
    node.post(src, &header, body.into(), 0, None);
}
