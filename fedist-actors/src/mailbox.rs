//! The mailbox of an actor: bounded, one queue for all senders of this node.
//!
//! Senders put envelopes into one queue under a lock that is held for a moment; the actor takes out all that waits at once, so
//! that it meets its senders once for many messages. Only a sender that finds the actor at rest wakes it.
//!
//! actix's own addresses (`Addr`, `Recipient`) send into a channel of actix. An actor has one from when an address is first
//! made of it, and then everything goes through it: what one sender sends by both kinds of address stays in order.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use actix::{
    Actor, Addr, Handler, Message,
    dev::{
        Envelope, ToEnvelope,
        channel::{self, AddressReceiver, AddressSender},
    },
    prelude::SendError,
};
use futures_util::Stream;
use tokio::sync::oneshot;

use crate::{context::ActorBody, process::Process, this_thread};

/// The sending side, part of the actor's process.
pub(crate) struct ActorMailbox<A: Actor> {
    waiting: Mutex<Waiting<A>>,
    room: Room,
    /// actix's channel, once there is an actix address of this actor.
    plain: OnceLock<Box<AddressSender<A>>>,
}

struct Waiting<A: Actor> {
    queue: VecDeque<Envelope<A>>,
    /// The actor rests: whoever puts something in wakes it.
    idle: bool,
    closed: bool,
    /// The thread that the actor rests on.
    home: u64,
    /// Whether another thread woke it.
    foreign: bool,
    /// The other end of `plain`, until the actor takes it.
    plain: Option<AddressReceiver<A>>,
}

/// How full a mailbox is.
pub(crate) struct Room {
    capacity: usize,
    /// In the queue; [`CLOSED`] when its actor has ended. Written with the queue locked.
    queued: AtomicUsize,
    /// Taken out by the actor and not handled yet. May be behind by [`TAKEN_STEP`] where that is little.
    taken: AtomicUsize,
    /// In runs, but for the first of each: a run is one envelope.
    in_runs: AtomicUsize,
}

const CLOSED: usize = usize::MAX;

/// Where there is room for so many, nobody has to look closely: far more than there are threads that could send at once.
const PLENTY: usize = 1024;

const TAKEN_STEP: usize = 64;

/// Places that an idle mailbox keeps.
const KEPT: usize = 32;

/// Messages from another thread after which the actor waits for more before it rests.
const STREAM: u32 = 16;

/// How long: about what one wake-up of a thread costs both sides.
const LINGER: Duration = Duration::from_micros(20);

/// Pauses of the processor between two looks while it waits, about a microsecond.
const APART: u32 = 40;

impl Room {
    /// Whether `count` more certainly fit.
    fn has_plenty(&self) -> bool {
        self.waiting().saturating_add(PLENTY) < self.capacity
    }

    fn is_full(&self) -> bool {
        self.waiting() >= self.capacity
    }

    fn waiting(&self) -> usize {
        let queued = self.queued.load(Ordering::Relaxed);
        queued
            .saturating_add(self.taken.load(Ordering::Relaxed))
            .saturating_add(self.in_runs.load(Ordering::Relaxed))
    }

    /// Takes room for the further messages of a run, if they and the first fit.
    pub(crate) fn take_for_run(&self, further: usize) -> bool {
        self.in_runs.fetch_add(further, Ordering::AcqRel);
        let fits = !self.is_full();
        if !fits {
            self.give_back(further);
        }
        fits
    }

    pub(crate) fn give_back(&self, count: usize) {
        self.in_runs.fetch_sub(count, Ordering::AcqRel);
    }
}

impl<A: Actor> ActorMailbox<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        let waiting = Waiting {
            queue: VecDeque::new(),
            idle: false,
            closed: false,
            home: 0,
            foreign: false,
            plain: None,
        };
        let room = Room {
            capacity,
            queued: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            in_runs: AtomicUsize::new(0),
        };
        Self { waiting: Mutex::new(waiting), room, plain: OnceLock::new() }
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in, or gives it back when the mailbox is full or gone. `process` is the one that this is the mailbox of.
    pub(crate) fn try_send<M, B: ?Sized>(
        &self,
        message: M,
        process: &Process<B>,
    ) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result: Send> + Send + 'static,
    {
        match self.plain.get() {
            None => self.put(message, None, true, process),
            Some(plain) => plain.try_send(message, true),
        }
    }

    /// As [`try_send`](Self::try_send), past the bound.
    pub(crate) fn send<M, B: ?Sized>(
        &self,
        message: M,
        process: &Process<B>,
    ) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result: Send> + Send + 'static,
    {
        match self.plain.get() {
            None => self.put(message, None, false, process),
            Some(plain) => plain.do_send(message),
        }
    }

    /// As [`try_send`](Self::try_send) with an answer.
    pub(crate) fn try_ask<M, B: ?Sized>(
        &self,
        message: M,
        process: &Process<B>,
    ) -> Result<oneshot::Receiver<M::Result>, SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result: Send> + Send + 'static,
    {
        if let Some(plain) = self.plain.get() {
            return plain.send(message);
        }
        let (reply, answer) = oneshot::channel();
        self.put(message, Some(reply), true, process).map(|()| answer)
    }

    /// As [`try_ask`](Self::try_ask), past the bound.
    pub(crate) fn ask<M, B: ?Sized>(
        &self,
        message: M,
        process: &Process<B>,
    ) -> Result<oneshot::Receiver<M::Result>, SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result: Send> + Send + 'static,
    {
        if let Some(plain) = self.plain.get() {
            // Each sender of an actix channel has one place beyond the bound; a new one has it free.
            return AddressSender::clone(plain).send(message);
        }
        let (reply, answer) = oneshot::channel();
        self.put(message, Some(reply), false, process).map(|()| answer)
    }

    fn put<M, B: ?Sized>(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
        process: &Process<B>,
    ) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result: Send> + Send + 'static,
    {
        let pack = <A::Context as ToEnvelope<A, M>>::pack;
        if self.room.has_plenty() {
            let envelope = pack(message, reply);
            let waiting = self.lock();
            if waiting.closed {
                // It ends in this moment: as what it leaves unread.
                drop(waiting);
                drop(envelope);
                return Ok(());
            }
            self.push(waiting, envelope, process);
            return Ok(());
        }
        let waiting = self.lock();
        if waiting.closed {
            return Err(SendError::Closed(message));
        }
        if bounded && self.room.is_full() {
            return Err(SendError::Full(message));
        }
        let envelope = pack(message, reply);
        self.push(waiting, envelope, process);
        Ok(())
    }

    fn push<B: ?Sized>(
        &self,
        mut waiting: MutexGuard<'_, Waiting<A>>,
        envelope: Envelope<A>,
        process: &Process<B>,
    ) {
        waiting.queue.push_back(envelope);
        self.room.queued.store(waiting.queue.len(), Ordering::Release);
        if !waiting.idle {
            return;
        }
        waiting.idle = false;
        waiting.foreign = waiting.home != this_thread::number();
        drop(waiting);
        process.wake();
    }

    /// An actix address of the actor.
    pub(crate) fn address<B: ?Sized>(&self, process: &Process<B>) -> Addr<A> {
        let mut is_new = false;
        let plain = self.plain.get_or_init(|| {
            let (sender, receiver) = channel::channel(self.room.capacity);
            let mut waiting = self.lock();
            if !waiting.closed {
                waiting.plain = Some(receiver);
                is_new = true;
            }
            Box::new(sender)
        });
        if is_new {
            // Not before the address is there: that is what the actor looks at.
            process.wake();
        }
        Addr::new(AddressSender::clone(plain))
    }
}

/// The actor's side. Dropping it closes the mailbox; what waits is dropped with it.
pub(crate) struct MailboxReceiver<A: Actor> {
    process: Arc<Process<ActorBody<A>>>,
    /// Taken out of the queue, and not handled yet.
    batch: VecDeque<Envelope<A>>,
    plain: Option<Box<PlainReceiver<A>>>,
    /// Nothing was there at the last look, and whoever puts something in wakes the actor.
    rests: bool,
    /// Messages since another thread woke the actor.
    streak: u32,
    /// Set while it waits for more before it rests.
    until: Option<Instant>,
}

struct PlainReceiver<A: Actor> {
    channel: AddressReceiver<A>,
    /// Its sender may have sent something by the queue before.
    held: Option<Envelope<A>>,
}

impl<A: Actor> MailboxReceiver<A> {
    pub(crate) fn new(process: Arc<Process<ActorBody<A>>>) -> Self {
        Self { process, batch: VecDeque::new(), plain: None, rests: false, streak: 0, until: None }
    }

    /// The next message. When there is none, the task that polls the process is woken for the next.
    pub(crate) fn next(&mut self, cx: &mut TaskContext<'_>) -> Option<Envelope<A>> {
        if let Some(envelope) = self.pop() {
            return Some(envelope);
        }
        if self.refill() {
            return self.pop();
        }
        let plain = self.plain.as_mut()?;
        if let Some(held) = plain.held.take() {
            return Some(held);
        }
        let Poll::Ready(Some(envelope)) = Pin::new(&mut plain.channel).poll_next(cx) else {
            return None;
        };
        // Who sends by the channel now may have sent by the queue just before: that goes first.
        if self.process.body.mailbox.room.queued.load(Ordering::Acquire) == 0 {
            return Some(envelope);
        }
        plain.held = Some(envelope);
        self.refill();
        self.pop().or_else(|| self.plain.as_mut()?.held.take())
    }

    /// Whether the actor is to have another turn at once although nothing waits: more is likely to come.
    pub(crate) fn lingers(&self) -> bool {
        self.until.is_some()
    }

    fn pop(&mut self) -> Option<Envelope<A>> {
        let envelope = self.batch.pop_front()?;
        let room = &self.process.body.mailbox.room;
        let left = self.batch.len();
        if left.is_multiple_of(TAKEN_STEP) || room.capacity <= PLENTY {
            room.taken.store(left, Ordering::Relaxed);
        }
        Some(envelope)
    }

    /// Takes out all that waits. When that is nothing, the next sender wakes the actor, unless it lingers.
    fn refill(&mut self) -> bool {
        let mailbox = &self.process.body.mailbox;
        let is_empty = mailbox.room.queued.load(Ordering::Acquire) == 0;
        if is_empty && self.rests && (self.plain.is_some() || mailbox.plain.get().is_none()) {
            return false;
        }
        if let Some(until) = self.until
            && is_empty
            && Instant::now() < until
        {
            // Each look takes the queue's cache line from the sender: a little apart, it finds several messages.
            for _ in 0..APART {
                std::hint::spin_loop();
            }
            return false;
        }
        let mut waiting = mailbox.lock();
        if let Some(channel) = waiting.plain.take() {
            self.plain = Some(Box::new(PlainReceiver { channel, held: None }));
        }
        if waiting.queue.is_empty() {
            if self.streak >= STREAM && self.until.is_none() {
                self.until = Some(Instant::now() + LINGER);
                return false;
            }
            (self.streak, self.until) = (0, None);
            self.rests = true;
            waiting.idle = true;
            waiting.foreign = false;
            waiting.home = this_thread::number();
            if waiting.queue.capacity() > KEPT {
                waiting.queue = VecDeque::new();
            }
            if self.batch.capacity() > KEPT {
                self.batch = VecDeque::new();
            }
            return false;
        }
        self.rests = false;
        std::mem::swap(&mut waiting.queue, &mut self.batch);
        mailbox.room.queued.store(0, Ordering::Release);
        mailbox.room.taken.store(self.batch.len(), Ordering::Relaxed);
        if waiting.foreign {
            let count = u32::try_from(self.batch.len()).unwrap_or(u32::MAX);
            self.streak = self.streak.saturating_add(count);
        }
        self.until = None;
        true
    }
}

impl<A: Actor> Drop for MailboxReceiver<A> {
    fn drop(&mut self) {
        let mut waiting = self.process.body.mailbox.lock();
        waiting.closed = true;
        self.process.body.mailbox.room.queued.store(CLOSED, Ordering::Release);
        let left = (std::mem::take(&mut waiting.queue), waiting.plain.take());
        // Messages may do anything when they are dropped: not with the lock held.
        drop(waiting);
        drop(left);
    }
}
