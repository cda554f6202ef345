//! What an actor sees of the world around it: its own context, and the loop that runs it.

mod run;
mod woken;

use std::{
    any::{Any, TypeId},
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, Handler, SpawnHandle,
    dev::{Envelope, EnvelopeProxy, ToEnvelope},
};
use fedist_registry::{RegionId, RegionPid};
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::{
    Down, ExitReason, LocalAddr, Node, SpawnError,
    exit::{DownSink, Exit, MonitorRef},
    inlet::{self, Running},
    mailbox::{ActorMailbox, Room},
    process::{Body, Process},
    region_event::RegionEvent,
};

pub(crate) use run::{Living, run};
use woken::Woken;

/// The context of an actor that a node spawned; actix's `Context` with regions added.
///
/// All of actix's own methods work (`ActorContext`, `AsyncContext`: `stop`, `address`, `spawn`,
/// `wait`, `notify`, `run_later`, `run_interval`, `add_stream`). Unlike there, an actor lives on
/// when nobody holds its address: it has a pid, and ends when it stops itself, panics, or gets an
/// exit signal. Under a flood of messages its futures and timers still have their turn after every
/// 128 messages, and so do the other actors of its thread.
pub struct Context<A: Actor<Context = Self>> {
    node: Node,
    cell: Arc<Process<ActorBody<A>>>,
    state: ActorState,
    waits: Vec<Pin<Box<dyn ActorFuture<A, Output = ()>>>>,
    items: Vec<Item<A>>,
    last_handle: SpawnHandle,
    /// An asynchronous handler to run before anything else.
    next: Option<Next<A>>,
    /// Messages that came together and are not all handled yet: before everything else in the mailbox.
    run: Option<Box<dyn Running<A>>>,
    seldom: Option<Box<Seldom>>,
}

/// What few actors have anything of. The runtime keeps futures in steps of 128 bytes: in the context itself this would make
/// every idle actor larger by one.
#[derive(Default)]
struct Seldom {
    exit: Option<ExitReason>,
    /// Monitors that were taken back after they had fired: their `Down` is not to be shown.
    flushed: Vec<MonitorRef>,
}

/// A future that was spawned into the context.
struct Item<A: Actor> {
    handle: SpawnHandle,
    /// `None` while it is polled, and once it is done or cancelled.
    future: Option<Pin<Box<dyn ActorFuture<A, Output = ()>>>>,
    done: bool,
    /// Set for one that is polled only when itself was woken.
    woken: Option<Woken>,
}

/// An asynchronous handler with its message.
pub(crate) type Next<A> =
    Box<dyn for<'a> FnOnce(&'a mut A, &'a mut Context<A>) -> LocalBoxFuture<'a, ()>>;

/// The part of a process that knows the actor's type.
pub(crate) struct ActorBody<A: Actor> {
    pub(crate) mailbox: ActorMailbox<A>,
    /// Messages that go before the mailbox.
    urgent: Mutex<VecDeque<Envelope<A>>>,
}

impl<A: Actor> ActorBody<A> {
    pub(crate) fn new(mailbox_capacity: usize) -> Self {
        Self { mailbox: ActorMailbox::new(mailbox_capacity), urgent: Mutex::default() }
    }

    fn urgent(&self) -> std::sync::MutexGuard<'_, VecDeque<Envelope<A>>> {
        self.urgent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Actor> Body for ActorBody<A> {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<A: Actor> Process<ActorBody<A>> {
    /// Puts a message into the mailbox, past its bound. Does nothing when the actor has ended.
    pub(crate) fn send<M>(&self, message: M)
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: actix::Message<Result: Send> + Send + 'static,
    {
        let _ = self.body.mailbox.send(message, self);
    }

    /// An actix address of the actor.
    pub(crate) fn address(&self) -> Addr<A> {
        self.body.mailbox.address(self)
    }

    /// Puts a message before everything in the mailbox, or gives it back at the bound of such messages.
    pub(crate) fn push_urgent<M>(
        &self,
        message: M,
        pack: impl FnOnce(M) -> Envelope<A>,
    ) -> Result<(), M> {
        let mut urgent = self.body.urgent();
        if urgent.len() >= MAX_URGENT {
            return Err(message);
        }
        urgent.push_back(pack(message));
        self.set_urgent(true);
        drop(urgent);
        self.wake();
        Ok(())
    }

    /// Resolves when `started` of the actor has returned, and what it waits for in there is done; with
    /// an error when it ends before.
    pub(crate) fn when_started(&self) -> oneshot::Receiver<()>
    where
        A: Actor<Context = Context<A>>,
    {
        let (started, when) = oneshot::channel();
        let pack = |started| Envelope::with_proxy(Box::new(StartedEnvelope(Some(started))));
        // At the bound of such messages the actor has started long ago.
        if let Err(started) = self.push_urgent(started, pack) {
            let _ = started.send(());
        }
        when
    }

    fn pop_urgent(&self) -> Option<Envelope<A>> {
        let mut urgent = self.body.urgent();
        let next = urgent.pop_front();
        self.set_urgent(!urgent.is_empty());
        next
    }
}

/// Messages sent with priority that may wait for one actor.
const MAX_URGENT: usize = 4096;

impl<A: Actor<Context = Self>> Context<A> {
    pub(crate) fn new(node: Node, cell: Arc<Process<ActorBody<A>>>) -> Self {
        Self {
            node,
            cell,
            state: ActorState::Started,
            waits: Vec::new(),
            items: Vec::new(),
            last_handle: SpawnHandle::default(),
            next: None,
            run: None,
            seldom: None,
        }
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    /// The node that runs this actor.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The pid of this actor.
    pub fn pid(&self) -> RegionPid {
        self.cell.pid
    }

    // ---- watching ------------------------------------------------------------------------------

    /// Watches an actor in any region. Exactly one [`Down`] comes for each call, unless
    /// [`demonitor`](Self::demonitor) takes it back or this actor ends first. It comes behind every
    /// message that the other has sent to this actor. A pid where nothing lives gives `Down(NoActor)`.
    pub fn monitor(&self, pid: RegionPid) -> MonitorRef
    where
        A: Handler<Down>,
    {
        self.watch(pid, self.down_sink())
    }

    /// Puts a `Down` into the mailbox.
    pub(crate) fn down_sink(&self) -> DownSink
    where
        A: Handler<Down>,
    {
        let cell = Arc::clone(&self.cell);
        Box::new(move |down| {
            // Not counted against the mailbox's bound: there is one for each monitor that was set.
            cell.send(down);
        })
    }

    /// As [`monitor`](Self::monitor), but its [`Down`] goes before everything that waits in the
    /// mailbox: also before earlier messages of the other actor. As OTP 28's `priority` monitors.
    pub fn monitor_priority(&self, pid: RegionPid) -> MonitorRef
    where
        A: Handler<Down>,
    {
        let cell = Arc::clone(&self.cell);
        let tell = move |down: Down| {
            let pack = |down| <Self as ToEnvelope<A, Down>>::pack(down, None);
            if let Err(down) = cell.push_urgent(down, pack) {
                cell.send(down);
            }
        };
        self.watch(pid, Box::new(tell))
    }

    /// Takes a monitor back, of an actor or of a region. Nothing of it arrives any more, not even a
    /// [`Down`] that is in the mailbox already; only a [`RegionEvent`] that is there does. True if it
    /// had not fired yet.
    pub fn demonitor(&mut self, monitor: MonitorRef) -> bool {
        if let Some(pid) = self.cell.release(monitor) {
            let was_set = self.node.unwatch(pid, monitor);
            if !was_set {
                self.seldom().flushed.push(monitor);
            }
            return was_set;
        }
        match self.cell.release_region(monitor) {
            Some(region) => self.node.unwatch_region(region, monitor),
            None => false,
        }
    }

    /// Tells this actor whenever a region becomes unreachable, reachable or is restarted, until
    /// [`demonitor`](Self::demonitor). A session with the region is kept up for it.
    pub fn monitor_region(&self, region: RegionId) -> MonitorRef
    where
        A: Handler<RegionEvent>,
    {
        let cell = Arc::downgrade(&self.cell);
        let tell = move |event: RegionEvent| {
            if let Some(cell) = cell.upgrade() {
                cell.send(event);
            }
        };
        let monitor = self.node.watch_region(self.pid().local(), region, Arc::new(tell));
        self.cell.hold_region(monitor, region);
        monitor
    }

    // ---- links and exits -----------------------------------------------------------------------

    /// Links this actor and another one, in any region: when one of them ends, the other gets an exit
    /// signal. Linking twice is linking once. A pid where nothing lives gives an exit signal with
    /// `NoActor`; an actor of another region that does not allow links
    /// ([`Export::links`](crate::Export::links)) one with `Denied`.
    pub fn link(&self, pid: RegionPid) {
        self.node.link(self.pid().local(), pid);
    }

    /// Takes a link back. No exit signal comes over it any more; one that was trapped before may be
    /// in the mailbox.
    pub fn unlink(&self, pid: RegionPid) {
        self.node.unlink(self.pid().local(), pid);
    }

    /// Whether exit signals arrive as [`Exit`] messages from now on, or end this actor (the default).
    /// A kill ends it in any case.
    pub fn trap_exit(&self, trap: bool)
    where
        A: Handler<Exit>,
    {
        let cell = Arc::downgrade(&self.cell);
        let sink = move |exit: Exit| {
            if let Some(cell) = cell.upgrade() {
                cell.send(exit);
            }
        };
        self.cell.set_trap(trap.then(|| Arc::new(sink) as _));
    }

    /// Ends this actor with `reason` once the running handler returns, as Erlang's `exit/1`;
    /// `stopping` is not asked.
    pub fn exit(&mut self, reason: ExitReason) {
        self.seldom().exit.get_or_insert(reason);
        self.terminate();
    }

    /// Spawns an actor in this node that is linked to this one from its first moment.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing was spawned then.
    pub fn spawn_link<B>(&self, actor: B) -> Result<LocalAddr<B>, SpawnError>
    where
        B: Actor<Context = Context<B>> + Send,
    {
        let me = self.pid();
        self.node.spawn_tied(move |_| actor, |node, pid| node.link(me.local(), pid))
    }

    /// Spawns an actor in this node that this one monitors from its first moment.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing was spawned then.
    pub fn spawn_monitor<B>(&self, actor: B) -> Result<(LocalAddr<B>, MonitorRef), SpawnError>
    where
        B: Actor<Context = Context<B>> + Send,
        A: Handler<Down>,
    {
        let mut monitor = None;
        let addr =
            self.node.spawn_tied(move |_| actor, |_, pid| monitor = Some(self.monitor(pid)))?;
        let monitor = monitor.unwrap_or_else(|| self.monitor(addr.pid()));
        Ok((addr, monitor))
    }

    // ---- timers --------------------------------------------------------------------------------

    /// Sends `message` to this actor itself after `delay`; [`cancel_timer`](Self::cancel_timer)
    /// takes it back, and it ends with the actor.
    pub fn send_after<M>(&mut self, delay: Duration, message: M) -> SpawnHandle
    where
        A: Handler<M>,
        M: actix::Message + 'static,
    {
        self.notify_later(message, delay)
    }

    /// Sends a copy of `message` to this actor itself once every `period`, first after one period.
    pub fn send_interval<M>(&mut self, period: Duration, message: M) -> SpawnHandle
    where
        A: Handler<M>,
        M: actix::Message + Clone + 'static,
    {
        self.run_interval(period, move |_, ctx| ctx.notify(message.clone()))
    }

    /// Takes a timer of this actor back. False when it has fired (or was taken back) before.
    pub fn cancel_timer(&mut self, timer: SpawnHandle) -> bool {
        self.cancel_future(timer)
    }

    fn watch(&self, pid: RegionPid, sink: DownSink) -> MonitorRef {
        let monitor = self.node.inner().next_monitor();
        self.cell.hold(monitor, pid);
        self.node.watch_as(monitor, Some(self.pid().local()), pid, sink);
        monitor
    }

    // ---- asynchronous handlers -----------------------------------------------------------------

    pub(crate) fn run_next(&mut self, next: Next<A>) {
        self.next = Some(next);
    }

    // ---- runs of messages ----------------------------------------------------------------------

    pub(crate) fn begin_run(&mut self, run: Box<dyn Running<A>>) {
        self.run = Some(run);
    }

    pub(crate) fn room(&self) -> &Room {
        self.cell.body.mailbox.room()
    }

    /// Whether something is to be done before the next message of the mailbox.
    pub(crate) fn is_held_up(&self) -> bool {
        self.waiting() || self.cell.has_exit() || self.cell.has_urgent()
    }

    // ---- the runtime's own futures -------------------------------------------------------------

    /// As `spawn`, but the future is polled only when it was woken itself, not, as actix does it, whenever its actor has its
    /// turn. For futures that run an actor of the runtime and look at nothing of it.
    pub(crate) fn spawn_apart<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let woken = Woken::new(Arc::clone(&self.cell));
        self.push_item(Box::pin(future), Some(woken));
    }

    fn push_item(
        &mut self,
        future: Pin<Box<dyn ActorFuture<A, Output = ()>>>,
        woken: Option<Woken>,
    ) -> SpawnHandle {
        self.last_handle = self.last_handle.next();
        let handle = self.last_handle;
        self.items.push(Item { handle, future: Some(future), done: false, woken });
        handle
    }
}

impl<A: Actor<Context = Self>> ActorContext for Context<A> {
    fn stop(&mut self) {
        if self.state == ActorState::Running || self.state == ActorState::Started {
            self.state = ActorState::Stopping;
        }
    }

    fn terminate(&mut self) {
        self.state = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.state
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for Context<A> {
    fn address(&self) -> Addr<A> {
        self.cell.address()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.push_item(Box::pin(future), None)
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.waits.push(Box::pin(future));
    }

    fn waiting(&self) -> bool {
        !self.waits.is_empty()
            || self.next.is_some()
            || matches!(self.state, ActorState::Stopping | ActorState::Stopped)
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        let Some(item) = self.items.iter_mut().find(|item| item.handle == handle && !item.done)
        else {
            return false;
        };
        item.done = true;
        item.future = None;
        true
    }
}

impl<A, M> ToEnvelope<A, M> for Context<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<oneshot::Sender<M::Result>>) -> Envelope<A> {
        if TypeId::of::<M>() == TypeId::of::<Down>()
            && let Some(down) = (&message as &dyn Any).downcast_ref::<Down>()
        {
            let monitor = down.monitor;
            let envelope = Envelope::new(message, reply);
            return Envelope::with_proxy(Box::new(DownEnvelope { monitor, envelope }));
        }
        let message = match reply {
            None => match inlet::pack(message) {
                Ok(envelope) => return envelope,
                Err(message) => message,
            },
            Some(_) => message,
        };
        Envelope::new(message, reply)
    }
}

/// Says when an actor has started: when it handles this, before any message.
struct StartedEnvelope(Option<oneshot::Sender<()>>);

impl<A: Actor<Context = Context<A>>> EnvelopeProxy<A> for StartedEnvelope {
    fn handle(&mut self, _: &mut A, _: &mut Context<A>) {
        if let Some(started) = self.0.take() {
            let _ = started.send(());
        }
    }
}

/// A `Down` on its way to the actor: left out when its monitor was taken back in the meantime.
struct DownEnvelope<A: Actor> {
    monitor: MonitorRef,
    envelope: Envelope<A>,
}

impl<A: Actor<Context = Context<A>>> EnvelopeProxy<A> for DownEnvelope<A> {
    fn handle(&mut self, actor: &mut A, ctx: &mut Context<A>) {
        let flushed = ctx.seldom.as_mut().map(|seldom| &mut seldom.flushed);
        if let Some(flushed) = flushed
            && let Some(at) = flushed.iter().position(|flushed| *flushed == self.monitor)
        {
            flushed.swap_remove(at);
            return;
        }
        ctx.cell.release(self.monitor);
        self.envelope.handle(actor, ctx);
    }
}
