//! Plain async code as a process: a future with a typed mailbox.

use std::{
    any::Any,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix::{Message, prelude::SendError as ActixSendError};
use fedist_registry::{RegionId, RegionPid};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Down, ExitReason, Export, ExportError, Exportable, Node, RegionEvent, SendError, SpawnError,
    WireMessage,
    exit::{Exit, MonitorRef},
    mailbox::Room,
    process::{Body, Process, ProcessFuture},
    route::{Answer, Route},
};

/// The mailbox of a function that a node runs ([`Node::spawn_fn`]).
///
/// It is bounded as any actor's ([`NodeBuilder::mailbox_capacity`](crate::NodeBuilder::mailbox_capacity)).
/// Dropping it ends nothing; the process ends with its function.
pub struct Mailbox<M: Message> {
    node: Node,
    cell: Arc<Process<FnBody<M>>>,
    items: mpsc::UnboundedReceiver<Item<M>>,
}

/// What comes out of a [`Mailbox`].
#[derive(Debug)]
#[non_exhaustive]
pub enum MailboxEvent<M: Message> {
    /// A message, and where its answer goes.
    Message(M, Reply<M>),
    /// A monitor fired.
    Down(Down),
    /// An exit signal was trapped.
    Exit(Exit),
    /// A monitored region changed.
    Region(RegionEvent),
}

/// The answer that the sender of a message may be waiting for. Dropped unused, the sender is told
/// that none came.
#[must_use = "whoever asked waits for it"]
pub struct Reply<M: Message>(Option<oneshot::Sender<M::Result>>);

/// The address of a function that a node runs.
pub struct FnAddr<M: Message> {
    node: Node,
    cell: Arc<Process<FnBody<M>>>,
}

enum Item<M: Message> {
    Message(M, Option<oneshot::Sender<M::Result>>),
    Down(Down),
    Exit(Exit),
    Region(RegionEvent),
}

struct FnBody<M: Message> {
    items: mpsc::UnboundedSender<Item<M>>,
    /// Messages in the mailbox; what monitors tell is not counted.
    depth: AtomicUsize,
    capacity: usize,
}

impl<M> Body for FnBody<M>
where
    M: Message<Result: Send> + Send + 'static,
{
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Node {
    /// Runs plain async code as a process of its own, with a pid and a typed mailbox.
    ///
    /// It ends when the future does (`Normal`), when it panics, or by an exit signal, which drops
    /// the future at its `.await`. The future need not be `Send`; it runs on the thread an actor
    /// would run on.
    ///
    /// # Errors
    /// [`SpawnError`]; `run` was not called then.
    pub fn spawn_fn<M, F, R>(&self, run: F) -> Result<FnAddr<M>, SpawnError>
    where
        M: Message<Result: Send> + Send + 'static,
        F: FnOnce(Mailbox<M>) -> R + Send + 'static,
        R: Future<Output = ()> + 'static,
    {
        self.spawn_fn_tied(run, |_, _| ())
    }

    /// Starts a function; `tie` links or watches it before it runs.
    pub(crate) fn spawn_fn_tied<M, F, R>(
        &self,
        run: F,
        tie: impl FnOnce(&Node, RegionPid),
    ) -> Result<FnAddr<M>, SpawnError>
    where
        M: Message<Result: Send> + Send + 'static,
        F: FnOnce(Mailbox<M>) -> R + Send + 'static,
        R: Future<Output = ()> + 'static,
    {
        let inner = self.inner();
        let local = self.next_local()?;
        if inner.stopped.load(Ordering::Acquire) {
            return Err(SpawnError::Stopped);
        }
        let (sender, items) = mpsc::unbounded_channel();
        let body =
            FnBody { items: sender, depth: AtomicUsize::new(0), capacity: inner.mailbox_capacity };
        let pid = RegionPid::new(inner.region, local);
        let cell = inner.processes.insert(Process::new(pid, body));
        let addr = FnAddr { node: self.clone(), cell: Arc::clone(&cell) };
        tie(self, pid);
        let (node, process) = (self.clone(), Arc::clone(&cell));
        let start = move || {
            let mailbox = Mailbox { node: node.clone(), cell, items };
            let future = async move {
                run(mailbox).await;
                ExitReason::Normal
            };
            actix_rt::spawn(ProcessFuture::new(node, process, future));
        };
        if self.run_on_actor_thread(start) {
            return Ok(addr);
        }
        self.process_ended(local, ExitReason::Shutdown);
        Err(SpawnError::Stopped)
    }
}

impl<M: Message<Result: Send> + Send + 'static> Mailbox<M> {
    /// The node that runs the function.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The function's pid.
    pub fn pid(&self) -> RegionPid {
        self.cell.pid
    }

    /// Waits for the next message, and answers it with the default of its result (nothing, for most).
    /// What monitors, links and regions tell meanwhile is passed over; use [`next`](Self::next) for it.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> M
    where
        M::Result: Default,
    {
        loop {
            if let MailboxEvent::Message(message, reply) = self.next().await {
                reply.send(M::Result::default());
                return message;
            }
        }
    }

    /// Waits for whatever is next. Pending for ever once the process has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> MailboxEvent<M> {
        loop {
            match self.items.recv().await {
                Some(Item::Message(message, reply)) => {
                    self.cell.body.depth.fetch_sub(1, Ordering::AcqRel);
                    return MailboxEvent::Message(message, Reply(reply));
                }
                Some(Item::Down(down)) => {
                    // Taken back after it had fired: not shown.
                    if self.cell.release(down.monitor).is_some() {
                        return MailboxEvent::Down(down);
                    }
                }
                Some(Item::Exit(exit)) => return MailboxEvent::Exit(exit),
                Some(Item::Region(event)) => return MailboxEvent::Region(event),
                None => std::future::pending().await,
            }
        }
    }

    /// As [`Context::monitor`](crate::Context::monitor); comes as [`MailboxEvent::Down`].
    pub fn monitor(&self, pid: RegionPid) -> MonitorRef {
        let cell = Arc::clone(&self.cell);
        let tell = move |down| {
            let _ = cell.body.items.send(Item::Down(down));
        };
        self.node.watch_for(self.pid().local(), pid, Box::new(tell))
    }

    /// As [`Context::demonitor`](crate::Context::demonitor).
    pub fn demonitor(&self, monitor: MonitorRef) -> bool {
        if let Some(pid) = self.cell.release(monitor) {
            return self.node.unwatch(pid, monitor);
        }
        self.cell
            .release_region(monitor)
            .is_some_and(|region| self.node.unwatch_region(region, monitor))
    }

    /// As [`Context::monitor_region`](crate::Context::monitor_region); comes as [`MailboxEvent::Region`].
    pub fn monitor_region(&self, region: RegionId) -> MonitorRef {
        let cell = Arc::downgrade(&self.cell);
        let tell = move |event| {
            if let Some(cell) = cell.upgrade() {
                let _ = cell.body.items.send(Item::Region(event));
            }
        };
        let monitor = self.node.watch_region(self.pid().local(), region, Arc::new(tell));
        self.cell.hold_region(monitor, region);
        monitor
    }

    /// As [`Context::link`](crate::Context::link).
    pub fn link(&self, pid: RegionPid) {
        self.node.link(self.pid().local(), pid);
    }

    /// As [`Context::unlink`](crate::Context::unlink).
    pub fn unlink(&self, pid: RegionPid) {
        self.node.unlink(self.pid().local(), pid);
    }

    /// As [`Context::trap_exit`](crate::Context::trap_exit); signals come as [`MailboxEvent::Exit`].
    pub fn trap_exit(&self, trap: bool) {
        let cell = Arc::downgrade(&self.cell);
        let sink = move |exit| {
            if let Some(cell) = cell.upgrade() {
                let _ = cell.body.items.send(Item::Exit(exit));
            }
        };
        self.cell.set_trap(trap.then(|| Arc::new(sink) as _));
    }
}

impl<M: Message> Reply<M> {
    /// Answers. Nothing happens when nobody waits.
    pub fn send(self, answer: M::Result) {
        if let Some(reply) = self.0 {
            let _ = reply.send(answer);
        }
    }

    /// Whether somebody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

impl<M: Message> fmt::Debug for Reply<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({})", if self.is_awaited() { "awaited" } else { "not awaited" })
    }
}

impl<M: Message<Result: Send> + Send + 'static> FnAddr<M> {
    /// The function's pid. Nobody can send to it from other regions before it is exported
    /// (`node.export(&addr).publish()`).
    pub fn pid(&self) -> RegionPid {
        self.cell.pid
    }

    /// Sends without waiting, or gives the message back.
    ///
    /// # Errors
    /// [`SendError::Full`], [`SendError::NoActor`].
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        self.route().try_send(message).map_err(|error| match error {
            ActixSendError::Full(message) => SendError::Full(message),
            ActixSendError::Closed(message) => SendError::NoActor(self.pid(), message),
        })
    }

    /// Sends without waiting; what is not accepted is dropped, counted and noted as a dead letter.
    pub fn do_send(&self, message: M) {
        if let Err(error) = self.try_send(message) {
            self.node.note_refused(self.pid(), std::any::type_name::<M>(), error);
        }
    }

    /// Asks and waits for the answer; `None` when the function ended or dropped the [`Reply`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; the message may still be handled.
    pub async fn send(&self, message: M) -> Option<M::Result> {
        self.route().ask(message)?.await.ok()
    }

    fn route(&self) -> FnRoute<M> {
        FnRoute(Arc::clone(&self.cell))
    }
}

impl<M: Message> Clone for FnAddr<M> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), cell: Arc::clone(&self.cell) }
    }
}

/// A function is exported for its one message type, which need not be listed.
impl<M: WireMessage> Exportable<FnAddr<M>> for FnAddr<M> {
    fn export_at(&self, node: &Node) -> Export<FnAddr<M>> {
        let process = node.local_address_of(self.pid()).ok_or(ExportError::Ended(self.pid()));
        Export::new(node, process).with_route::<M>(Arc::new(self.route()))
    }
}

struct FnRoute<M: Message>(Arc<Process<FnBody<M>>>);

impl<M: Message> FnRoute<M> {
    fn push(&self, message: M, reply: Option<oneshot::Sender<M::Result>>) -> Result<(), M> {
        let body = &self.0.body;
        body.depth.fetch_add(1, Ordering::AcqRel);
        body.items.send(Item::Message(message, reply)).map_err(|refused| {
            body.depth.fetch_sub(1, Ordering::AcqRel);
            match refused.0 {
                Item::Message(message, _) => message,
                Item::Down(_) | Item::Exit(_) | Item::Region(_) => {
                    unreachable!("a message was sent")
                }
            }
        })
    }

    fn is_full(&self) -> bool {
        self.0.body.depth.load(Ordering::Acquire) >= self.0.body.capacity
    }
}

impl<M> Route<M> for FnRoute<M>
where
    M: Message<Result: Send> + Send + 'static,
{
    fn try_send(&self, message: M) -> Result<(), ActixSendError<M>> {
        if self.is_full() {
            return Err(ActixSendError::Full(message));
        }
        self.push(message, None).map_err(ActixSendError::Closed)
    }

    fn run_room(&self) -> Option<&Room> {
        None
    }

    fn try_ask(&self, message: M) -> Result<Answer<M::Result>, ActixSendError<M>> {
        if self.is_full() {
            return Err(ActixSendError::Full(message));
        }
        let (reply, answer) = oneshot::channel();
        self.push(message, Some(reply)).map_err(ActixSendError::Closed)?;
        Ok(Answer::Direct(answer))
    }

    fn ask(&self, message: M) -> Option<Answer<M::Result>> {
        let (reply, answer) = oneshot::channel();
        self.push(message, Some(reply)).ok()?;
        Some(Answer::Direct(answer))
    }
}
