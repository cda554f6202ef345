//! Runs: records of one type for one actor that came together, and go through its mailbox as one message.
//!
//! The hub decodes the first record of a run, the actor the others, one before each is handled. So a run costs the mailbox
//! one place and the thread one wake-up, and what takes the time happens on the actor's thread. A run stands in the mailbox
//! where its first message would: the order to everything else is the same as for single messages.

use std::{any::Any, cell::Cell};

use actix::{
    Actor, Handler,
    dev::{Envelope, EnvelopeProxy, MessageResponse},
};
use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::wire::{RecordHeader, RecordKind};
use tokio::sync::oneshot;

use super::reply;
use crate::{
    AskError, Context, DropReason, Node,
    address::{Decoder, drop_reason},
    mailbox::Room,
};

/// Records of one type for one actor from one region.
pub(crate) struct Run {
    pub(crate) node: Node,
    pub(crate) src: RegionId,
    pub(crate) records: Bytes,
    pub(crate) count: usize,
}

/// A run on its way through a mailbox, by its message type.
pub(crate) struct RunOf<M: actix::Message> {
    /// `None` once it was given back.
    run: Option<Run>,
    pid: RegionPid,
    codec: Codec<M>,
    /// Where the next record begins, and how many are left.
    at: usize,
    left: usize,
}

/// A request that is being handled: when its handler panics, its sender hears that there will be no answer.
struct Request<'a> {
    node: &'a Node,
    src: RegionId,
    header: &'a RecordHeader,
    pid: RegionPid,
    open: bool,
}

impl Request<'_> {
    fn answer(mut self, answer: Result<Bytes, AskError>) {
        self.open = false;
        reply(self.node, self.src, self.header, answer);
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.open {
            reply(self.node, self.src, self.header, Err(AskError::NoReply(self.pid)));
        }
    }
}

/// The answer of a handler to bytes; an error where it gave none.
type EncodeAnswer<R> = fn(RegionPid, Result<R, ()>) -> Result<Bytes, AskError>;

/// How messages of a type are read and their answers written.
pub(crate) struct Codec<M: actix::Message> {
    pub(crate) decode: fn(&[u8]) -> Result<M, String>,
    pub(crate) encode: EncodeAnswer<M::Result>,
}

impl<M: actix::Message> Clone for Codec<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: actix::Message> Copy for Codec<M> {}

thread_local! {
    /// Whether anything is attached: all that most messages look at.
    static ATTACHES: Cell<bool> = const { Cell::new(false) };
    /// What the next message that is packed for a mailbox on this thread brings with it.
    static ATTACHED: Cell<Option<Box<dyn Any>>> = const { Cell::new(None) };
}

/// Puts a run into a mailbox by `send`, which takes the first message. Gives the run back when there is no room for it, or
/// when its first record cannot be read: then each record is to be delivered by itself.
pub(super) fn put<M, E>(
    run: Run,
    pid: RegionPid,
    codec: Codec<M>,
    room: &Room,
    send: impl FnOnce(M) -> Result<(), E>,
) -> Result<(), Run>
where
    M: actix::Message + 'static,
{
    // The first has its place in the mailbox.
    let further = run.count.saturating_sub(1);
    let Ok((_, body, _)) = RecordHeader::decode_first(&run.records) else {
        return Err(run);
    };
    if !room.take_for_run(further) {
        return Err(run);
    }
    let Ok(message) = (codec.decode)(body) else {
        room.give_back(further);
        return Err(run);
    };
    ATTACHES.set(true);
    let left = run.count;
    ATTACHED.set(Some(Box::new(RunOf { run: Some(run), pid, codec, at: 0, left })));
    let sent = send(message);
    ATTACHES.set(false);
    let attached = ATTACHED.take();
    if sent.is_ok() {
        return Ok(());
    }
    room.give_back(further);
    match attached.map(|attached| attached.downcast::<RunOf<M>>()) {
        Some(Ok(mut refused)) => match refused.run.take() {
            Some(run) => Err(run),
            None => Ok(()),
        },
        // It was packed although it was refused: gone with its envelope.
        _ => Ok(()),
    }
}

/// The envelope of a message that begins a run; gives other messages back.
pub(crate) fn pack<A, M>(message: M) -> Result<Envelope<A>, M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    if !ATTACHES.get() {
        return Err(message);
    }
    let Some(attached) = ATTACHED.take() else {
        return Err(message);
    };
    match attached.downcast::<RunOf<M>>() {
        Ok(run) => Ok(Envelope::with_proxy(Box::new(RunEnvelope { begun: Some((message, run)) }))),
        Err(other) => {
            ATTACHED.set(Some(other));
            Err(message)
        }
    }
}

struct RunEnvelope<M: actix::Message> {
    begun: Option<(M, Box<RunOf<M>>)>,
}

impl<A, M> EnvelopeProxy<A> for RunEnvelope<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut Context<A>) {
        let Some((message, mut run)) = self.begun.take() else {
            return;
        };
        if let Some(header) = run.next().map(|(header, _)| header) {
            run.handle(actor, ctx, &header, message);
        }
        if run.left > 0 {
            ctx.begin_run(run);
        }
    }
}

/// A run that its actor has begun to handle.
pub(crate) trait Running<A: Actor> {
    /// Handles messages until `budget` is used up, something else has to be done first, or none is left: true then.
    fn go_on(&mut self, actor: &mut A, ctx: &mut A::Context, budget: &mut u32) -> bool;
}

impl<A, M> Running<A> for RunOf<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    fn go_on(&mut self, actor: &mut A, ctx: &mut Context<A>, budget: &mut u32) -> bool {
        let Some(decoder) = self.run.as_ref().map(|run| Decoder::new(&run.node, run.src)) else {
            return true;
        };
        let before = self.left;
        while *budget > 0 && !ctx.is_held_up() {
            let codec = self.codec;
            let Some((header, body)) = self.next() else {
                break;
            };
            *budget -= 1;
            match decoder.decode(|| (codec.decode)(body)) {
                Ok(message) => self.handle(actor, ctx, &header, message),
                Err(detail) => self.undecodable(&header, detail),
            }
        }
        ctx.room().give_back(before - self.left);
        self.left == 0
    }
}

impl<M: actix::Message> RunOf<M> {
    /// The next record. The session has checked the whole frame, so there is one while any is left.
    fn next(&mut self) -> Option<(RecordHeader, &[u8])> {
        let rest = self.run.as_ref()?.records.get(self.at..).filter(|_| self.left > 0)?;
        let Ok((header, body, len)) = RecordHeader::decode_first(rest) else {
            self.left = 0;
            return None;
        };
        self.at += len;
        self.left -= 1;
        Some((header, body))
    }
}

/// Its actor has ended: whoever waits for an answer hears that there is none.
impl<M: actix::Message> Drop for RunOf<M> {
    fn drop(&mut self) {
        while let Some(header) = self.next().map(|(header, _)| header) {
            if let (RecordKind::Ask, Some(run)) = (header.kind, &self.run) {
                reply(&run.node, run.src, &header, Err(AskError::NoReply(self.pid)));
            }
        }
    }
}

impl<M> RunOf<M>
where
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    fn handle<A>(&self, actor: &mut A, ctx: &mut Context<A>, header: &RecordHeader, message: M)
    where
        A: Actor<Context = Context<A>> + Handler<M>,
    {
        let Some(run) = self.run.as_ref().filter(|_| header.kind == RecordKind::Ask) else {
            let response = <A as Handler<M>>::handle(actor, message, ctx);
            return response.handle(ctx, None);
        };
        let (node, src, pid) = (&run.node, run.src, self.pid);
        let mut request = Request { node, src, header, pid, open: true };
        let (sender, mut answer) = oneshot::channel();
        <A as Handler<M>>::handle(actor, message, ctx).handle(ctx, Some(sender));
        let encode = self.codec.encode;
        match answer.try_recv() {
            Ok(answer) => request.answer(encode(pid, Ok(answer))),
            Err(oneshot::error::TryRecvError::Closed) => {}
            Err(oneshot::error::TryRecvError::Empty) => {
                request.open = false;
                let (node, header) = (node.clone(), *header);
                actix_rt::spawn(async move {
                    let answer = answer.await.map_err(drop);
                    reply(&node, src, &header, encode(pid, answer));
                });
            }
        }
    }

    fn undecodable(&self, header: &RecordHeader, detail: String) {
        let Some(Run { node, src, .. }) = &self.run else {
            return;
        };
        let src = *src;
        let message = node.type_name(header.type_hash);
        tracing::warn!(%src, %message, detail, "undecodable message");
        if header.kind == RecordKind::Ask {
            let error = AskError::Undecodable { pid: self.pid, detail };
            node.note_dead_record(src, header, drop_reason(&error));
            reply(node, src, header, Err(error));
        } else {
            node.bounce_tell(src, header, DropReason::Undecodable);
        }
    }
}
