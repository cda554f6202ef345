//! The node: one running process of a region, and the handle everything is done with.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    thread::ThreadId,
    time::{Duration, Instant},
};

use actix::{
    Actor, Addr, Handler, Recipient,
    dev::{ToEnvelope, channel},
    prelude::SendError as ActixSendError,
};
use actix_rt::ArbiterHandle;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use dashmap::DashMap;
use fedist_registry::{
    AllocError, IdAllocator, LocalId, Micros, RegionId, RegionPid, Registry, RouteTable,
};
use fedist_transport::wire::{RecordHeader, RecordKind, type_hash};
use tokio::sync::{mpsc, oneshot};

use crate::{
    AskError, Context, DeadLetter, RegionAddr, SendError, WireMessage,
    ask::Ask,
    context::{self, ActorBody},
    dead_letter::{DeadLetters, DropReason},
    exit::{ExitReason, MonitorRef},
    groups::GroupBook,
    hub::Core,
    message::{encode, wire_type},
    names::{self, NameScope, Names},
    outbound::{Gate, GateState, Gates, Outbound, Refused},
    pause::Paused,
    process::{Process, ProcessFuture, ProcessTable, current_local},
    route::{Route, send_when_room},
    signal::Signal,
    supervision::Supervisors,
    task::TaskBook,
    ties::Ties,
    timers::Timers,
};

/// A running node. Cheap to clone; every clone is the same node.
///
/// A node runs on its own threads until [`stop`](Node::stop) is called or the process ends;
/// dropping handles does not stop it. Nothing is global: several nodes live in one process
/// without seeing each other other than through their links.
#[derive(Clone)]
pub struct Node(Arc<NodeInner>);

pub(crate) struct NodeInner {
    pub(crate) region: RegionId,
    pub(crate) name: String,
    pub(crate) boot: u32,
    pub(crate) max_message: usize,
    pub(crate) session_timeout: Duration,
    pub(crate) mailbox_capacity: usize,
    pub(crate) clock: Clock,
    /// `None` once the node has stopped, so that the data directory is free although handles live on.
    pub(crate) ids: ArcSwapOption<IdAllocator>,
    pub(crate) processes: ProcessTable,
    pub(crate) outbound: mpsc::UnboundedSender<Outbound>,
    pub(crate) gates: Gates,
    pub(crate) live: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) view: ArcSwap<View>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) ties: Ties,
    pub(crate) names: Names,
    pub(crate) timers: Timers,
    pub(crate) paused: Paused,
    pub(crate) supervisors: Supervisors,
    pub(crate) tasks: TaskBook,
    pub(crate) groups: GroupBook,
    /// Stable names of the message types that this node exports, by hash.
    pub(crate) types: DashMap<u32, &'static str>,
    /// Those that it has sent to other regions, for dead letters.
    pub(crate) sent_types: DashMap<u32, &'static str>,
    /// The type that was sent last.
    pub(crate) last_type: AtomicU32,
    pub(crate) hub_thread: ThreadId,
    pub(crate) hub_arbiter: ArbiterHandle,
    /// Where actors run when they are spawned from outside; the hub's own by default.
    pub(crate) arbiters: Vec<ArbiterHandle>,
    pub(crate) task_arbiters: Vec<ArbiterHandle>,
    pub(crate) next_arbiter: AtomicUsize,
    pub(crate) next_reference: AtomicU64,
    pub(crate) local_address: String,
    /// Where the CA is, for nodes of the same process that join below this one.
    pub(crate) ca_dir: Option<PathBuf>,
}

/// What this node knows of the federation at one moment.
pub struct View {
    /// The copy of the registry.
    pub registry: Registry,
    /// The paths from here.
    pub routes: RouteTable,
}

/// The node's own time: microseconds since it started.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Micros {
        Micros::from_duration(self.0.elapsed())
    }
}

/// The address of an actor that this node spawned, with its pid. Derefs to actix's `Addr`.
pub struct LocalAddr<A: Actor> {
    /// Made when it is first asked for: most are only asked for their pid.
    addr: OnceLock<Addr<A>>,
    cell: Arc<Process<ActorBody<A>>>,
    node: Node,
}

impl<A: Actor> LocalAddr<A> {
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
        let error = match self.cell.body.sender.try_send(message, true) {
            Ok(()) => return,
            Err(ActixSendError::Full(message)) => SendError::Full(message),
            Err(ActixSendError::Closed(message)) => SendError::NoActor(self.pid(), message),
        };
        self.node.note_refused(self.pid(), std::any::type_name::<M>(), error);
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

impl<A: Actor> Clone for LocalAddr<A> {
    fn clone(&self) -> Self {
        Self { addr: OnceLock::new(), cell: Arc::clone(&self.cell), node: self.node.clone() }
    }
}

impl<A: Actor> std::ops::Deref for LocalAddr<A> {
    type Target = Addr<A>;

    fn deref(&self) -> &Addr<A> {
        self.addr.get_or_init(|| Addr::new(self.cell.body.sender.clone()))
    }
}

/// An actor could not be given a pid; nothing was spawned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Ids ran out or their next block could not be made durable.
    #[error(transparent)]
    Ids(#[from] AllocError),
    /// The node is stopped.
    #[error("the node is stopped; it spawns nothing any more")]
    Stopped,
}

/// Why [`Node::get_or_spawn`] gave no actor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetOrSpawnError {
    /// No pid.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The name does not have the form of a name.
    #[error("{0}")]
    Name(String),
    /// The name belongs to an actor of another type.
    #[error(
        "name taken ({name}, by {holder} of another type); ask for that type or choose another name"
    )]
    OtherType {
        /// The name.
        name: String,
        /// Who holds it.
        holder: RegionPid,
    },
}

impl Node {
    pub(crate) fn new(inner: NodeInner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &NodeInner {
        &self.0
    }

    /// The region that this node serves.
    pub fn region(&self) -> RegionId {
        self.0.region
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How often this region has been started on its data directory; grows with every start.
    pub fn boot(&self) -> u32 {
        self.0.boot
    }

    /// The address the node listens at, as bound (`127.0.0.1:4433`).
    pub fn local_address(&self) -> &str {
        &self.0.local_address
    }

    /// Whether this region may send across regions: its join is in its copy of the registry.
    pub fn is_live(&self) -> bool {
        self.0.live.load(Ordering::Acquire)
    }

    /// The registry copy and the routes as this node knows them now.
    pub fn view(&self) -> Arc<View> {
        self.0.view.load_full()
    }

    /// Number of living actors, services and tasks.
    pub fn process_count(&self) -> usize {
        self.0.processes.len()
    }

    /// The latest messages that reached nobody (at most 1,024, oldest first).
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.dead_letters.recent()
    }

    /// How many messages reached nobody, by reason, since the node started.
    pub fn dropped(&self) -> std::collections::BTreeMap<DropReason, u64> {
        self.0.dead_letters.counts()
    }

    /// Starts an actor under a fresh pid. A panic in it ends this actor only.
    ///
    /// Called on the hub's thread (by default every handler runs there) the actor starts on that
    /// thread, so that talkers stay together; else on the next of the node's actor threads.
    /// The mailbox is bounded ([`NodeBuilder::mailbox_capacity`](crate::NodeBuilder::mailbox_capacity)).
    ///
    /// # Errors
    /// [`SpawnError`]; nothing was spawned then.
    pub fn spawn<A>(&self, actor: A) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>> + Send,
    {
        self.spawn_with(move |_| actor)
    }

    /// As [`spawn`](Self::spawn) for an actor that is made on its thread, so it need not be `Send`.
    ///
    /// # Errors
    /// [`SpawnError`]; `make` was not called then.
    pub fn spawn_with<A, F>(&self, make: F) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied(make, |_, _| ())
    }

    /// Starts an actor; `tie` links, watches or exports it before it runs.
    pub(crate) fn spawn_tied<A, F>(
        &self,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied_on(make, tie, false)
    }

    /// As [`spawn_tied`](Self::spawn_tied), on the next thread for actors whoever calls it: for the
    /// runtime's own services, beside which not all of the actors that others want are to run.
    pub(crate) fn spawn_spread<A, F>(
        &self,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        self.spawn_tied_on(make, tie, true)
    }

    fn spawn_tied_on<A, F>(
        &self,
        make: F,
        tie: impl FnOnce(&Node, RegionPid),
        spread: bool,
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
    {
        let (local_addr, receiver) = self.admit::<A>(self.next_local()?)?;
        tie(self, local_addr.pid());
        let (node, cell) = (self.clone(), Arc::clone(&local_addr.cell));
        let start = move || node.run_actor(cell, receiver, make);
        let runs =
            if spread { self.arbiter().spawn_fn(start) } else { self.run_on_actor_thread(start) };
        if !runs {
            self.process_ended(local_addr.pid().local(), ExitReason::Shutdown);
            return Err(SpawnError::Stopped);
        }
        Ok(local_addr)
    }

    /// Spawns an actor of the runtime itself on the hub's thread, where this must be called.
    pub(crate) fn spawn_here<A>(&self, actor: A) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
    {
        let local = self.next_local()?;
        self.spawn_here_at(local, move |_| actor)
    }

    /// As [`spawn_here`](Self::spawn_here), under the id of a well-known service.
    pub(crate) fn spawn_here_at<A, F>(
        &self,
        local: LocalId,
        make: F,
    ) -> Result<LocalAddr<A>, SpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + 'static,
    {
        let (local_addr, receiver) = self.admit::<A>(local)?;
        local_addr.cell.set_system();
        self.run_actor(Arc::clone(&local_addr.cell), receiver, make);
        Ok(local_addr)
    }

    /// Enters an actor into the process table.
    fn admit<A>(
        &self,
        local: LocalId,
    ) -> Result<(LocalAddr<A>, channel::AddressReceiver<A>), SpawnError>
    where
        A: Actor<Context = Context<A>>,
    {
        if self.0.stopped.load(Ordering::Acquire) {
            return Err(SpawnError::Stopped);
        }
        let pid = RegionPid::new(self.0.region, local);
        let (sender, receiver) = channel::channel::<A>(self.0.mailbox_capacity);
        let cell = self.0.processes.insert(Process::new(pid, ActorBody::new(sender)));
        Ok((LocalAddr { addr: OnceLock::new(), cell, node: self.clone() }, receiver))
    }

    /// Starts an admitted actor on this thread.
    fn run_actor<A, F>(
        &self,
        cell: Arc<Process<ActorBody<A>>>,
        receiver: channel::AddressReceiver<A>,
        make: F,
    ) where
        A: Actor<Context = Context<A>>,
        F: FnOnce(&mut Context<A>) -> A + 'static,
    {
        let mut context = Context::new(self.clone(), Arc::clone(&cell));
        let future = async move {
            let actor = make(&mut context);
            context::run(actor, context, receiver).await
        };
        actix_rt::spawn(ProcessFuture::new(self.clone(), cell, future));
    }

    /// A local id that was never given before and never will be again (C1).
    pub(crate) fn next_local(&self) -> Result<LocalId, SpawnError> {
        match &*self.0.ids.load() {
            Some(ids) => Ok(ids.next()?),
            None => Err(SpawnError::Stopped),
        }
    }

    /// Runs `start` at once on the hub's thread if it is this one, else on the next thread for
    /// actors. False when the node is stopping.
    pub(crate) fn run_on_actor_thread(&self, start: impl FnOnce() + Send + 'static) -> bool {
        if std::thread::current().id() == self.0.hub_thread {
            start();
            return true;
        }
        self.arbiter().spawn_fn(start)
    }

    /// The actor of that name in this node, or a new one that is registered under it at once.
    ///
    /// Of several that call this at the same time one spawns, and the others get its actor.
    ///
    /// # Errors
    /// [`GetOrSpawnError`].
    pub fn get_or_spawn<A, F>(&self, name: &str, make: F) -> Result<RegionAddr<A>, GetOrSpawnError>
    where
        A: Actor<Context = Context<A>>,
        F: FnOnce() -> A + Send + 'static,
    {
        let found = |pid: RegionPid| {
            RegionAddr::local(self, pid)
                .ok_or_else(|| GetOrSpawnError::OtherType { name: name.to_owned(), holder: pid })
        };
        names::check_name(name).map_err(|error| GetOrSpawnError::Name(error.to_string()))?;
        if let Some(holder) = self.0.processes.whereis(NameScope::Region, name) {
            return found(holder);
        }
        let mut holder = None;
        let addr = self.spawn_tied(
            move |_| make(),
            |node, pid| {
                if let Some(process) = node.local_address_of(pid) {
                    let table = &node.inner().processes;
                    holder = table.register(NameScope::Region, name, &process).err();
                }
            },
        )?;
        match holder {
            None => Ok(addr.region_addr()),
            Some(holder) => {
                self.shut_down(addr.pid());
                found(holder)
            }
        }
    }

    fn arbiter(&self) -> &ArbiterHandle {
        let arbiters = &self.0.arbiters;
        if arbiters.is_empty() {
            return &self.0.hub_arbiter;
        }
        &arbiters[self.0.next_arbiter.fetch_add(1, Ordering::Relaxed) % arbiters.len()]
    }

    /// The address of an actor whose pid is known. Nothing is asked: a wrong pid shows on the first send.
    pub fn address<A: Actor>(&self, pid: RegionPid) -> RegionAddr<A> {
        RegionAddr::new(self, pid)
    }

    pub(crate) fn local_address_of(&self, pid: RegionPid) -> Option<Arc<Process>> {
        (pid.region() == self.0.region).then(|| self.0.processes.get(pid.local())).flatten()
    }

    /// The remote-task API of this node.
    pub fn tasks(&self) -> crate::task::Tasks {
        crate::task::Tasks::new(self.clone())
    }

    // ---- sending -------------------------------------------------------------------------

    pub(crate) fn record_header(
        &self,
        kind: RecordKind,
        to: RegionPid,
        wire_type: u32,
        version: u16,
    ) -> RecordHeader {
        RecordHeader {
            kind,
            to: Some(to.local()),
            from: current_local(self.0.region),
            type_hash: wire_type,
            version,
            correlation: 0,
            deadline_ms: 0,
        }
    }

    pub(crate) fn queue(&self, item: Outbound) {
        // Fails only when the hub is gone; the gates say `Stopped` by then.
        let _ = self.0.outbound.send(item);
    }

    pub(crate) fn try_send_to<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
    ) -> Result<(), SendError<M>> {
        if pid.region() == self.0.region {
            return match self.local_route::<M>(pid) {
                Ok(route) => route.try_send(message).map_err(|error| match error {
                    actix::prelude::SendError::Full(m) => SendError::Full(m),
                    actix::prelude::SendError::Closed(m) => SendError::NoActor(pid, m),
                }),
                Err(AskError::Denied(_)) => Err(SendError::Denied(pid, message)),
                Err(_) => Err(SendError::NoActor(pid, message)),
            };
        }
        if self.0.paused.contains(pid) {
            return Err(SendError::Full(message));
        }
        let body = match self.encode_outgoing(&message) {
            Ok(body) => body,
            Err(error) => return Err(error.with(message)),
        };
        let header = self.record_header(RecordKind::Tell, pid, wire_type::<M>(), M::VERSION);
        let region = pid.region();
        match self.0.gates.get(region).acquire(header.encoded_len(body.len())) {
            Ok(()) => {
                self.queue(Outbound::Tell { region, header, body });
                Ok(())
            }
            Err(refused) => Err(refused_with(region, &refused, message)),
        }
    }

    pub(crate) async fn tell_to<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
    ) -> Result<(), SendError<M>> {
        self.tell_waiting(pid, message, Gate::acquire_wait).await
    }

    /// As [`tell_to`](Self::tell_to), but waits for a route as well, for as long as it takes.
    pub(crate) async fn tell_when_routed<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
    ) -> Result<(), SendError<M>> {
        self.tell_waiting(pid, message, Gate::acquire_route).await
    }

    async fn tell_waiting<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
        room: impl AsyncFnOnce(&Gate, usize) -> Result<(), Refused>,
    ) -> Result<(), SendError<M>> {
        let region = pid.region();
        if region == self.0.region {
            return match self.local_route::<M>(pid) {
                Ok(route) => send_when_room(&*route, message)
                    .await
                    .map_err(|message| SendError::NoActor(pid, message)),
                Err(AskError::Denied(_)) => Err(SendError::Denied(pid, message)),
                Err(_) => Err(SendError::NoActor(pid, message)),
            };
        }
        let body = match self.encode_outgoing(&message) {
            Ok(body) => body,
            Err(error) => return Err(error.with(message)),
        };
        let header = self.record_header(RecordKind::Tell, pid, wire_type::<M>(), M::VERSION);
        let len = header.encoded_len(body.len());
        self.0.paused.wait(pid).await;
        match room(self.0.gates.get(region), len).await {
            Ok(()) => {
                self.queue(Outbound::Tell { region, header, body });
                Ok(())
            }
            Err(refused) => Err(refused_with(region, &refused, message)),
        }
    }

    /// Tells a service of any region, also while this node stops. Nothing bounds it, so it is for few
    /// and small messages.
    pub(crate) fn tell_service<M: WireMessage>(&self, pid: RegionPid, message: M) {
        let region = pid.region();
        if region == self.0.region {
            // Refused only when the service is gone, which nobody can tell any more.
            let _ = self.try_send_to(pid, message);
            return;
        }
        if let Ok(body) = encode(M::NAME, &message) {
            let header = self.record_header(RecordKind::Tell, pid, wire_type::<M>(), M::VERSION);
            self.queue(Outbound::System { region, header, body });
        }
    }

    pub(crate) fn ask_to<M: WireMessage>(&self, pid: RegionPid, message: M) -> Ask<M> {
        if pid.region() == self.0.region {
            return match self.local_route::<M>(pid) {
                Ok(route) => Ask::local(self, pid, &*route, message),
                Err(error) => Ask::failed(error),
            };
        }
        match self.encode_outgoing(&message) {
            Ok(body) => Ask::remote(self, pid, body),
            Err(error) => Ask::failed(error.with(()).reason()),
        }
    }

    /// The way of `M` into an exported actor of this node.
    pub(crate) fn local_route<M: WireMessage>(
        &self,
        pid: RegionPid,
    ) -> Result<Arc<dyn Route<M>>, AskError> {
        let process = self.local_address_of(pid).ok_or(AskError::NoActor(pid))?;
        process
            .inlet(wire_type::<M>())
            .and_then(|inlet| inlet.route().downcast::<Arc<dyn Route<M>>>().ok())
            .map(|route| *route)
            .ok_or_else(|| process.refusal())
    }

    /// The body of a request that may be sent more than once.
    pub(crate) fn encode_ask<M: WireMessage>(&self, message: &M) -> Result<Bytes, AskError> {
        self.encode_outgoing(message).map_err(|error| error.with(()).reason())
    }

    fn encode_outgoing<M: WireMessage>(&self, message: &M) -> Result<Bytes, OutgoingError> {
        if self.0.stopped.load(Ordering::Acquire) {
            return Err(OutgoingError::Stopped);
        }
        if !self.is_live() {
            return Err(OutgoingError::NotLive);
        }
        let body = encode(M::NAME, message).map_err(OutgoingError::Encode)?;
        if body.len() > self.0.max_message {
            return Err(OutgoingError::TooLarge { len: body.len(), max: self.0.max_message });
        }
        self.know_type::<M>();
        Ok(body)
    }

    /// Keeps the name of a type that is sent, for dead letters. Messages come in runs of one type.
    fn know_type<M: WireMessage>(&self) {
        let hash = wire_type::<M>();
        if self.0.last_type.swap(hash, Ordering::Relaxed) != hash {
            self.0.sent_types.entry(hash).or_insert(M::NAME);
        }
    }

    pub(crate) fn refusal(&self, region: RegionId, refused: &Refused) -> AskError {
        match refused {
            Refused::Full => AskError::Full,
            Refused::NoRoute => AskError::NoRoute(region),
            Refused::Unknown => AskError::UnknownRegion(region),
            Refused::Stopped => AskError::Stopped,
        }
    }

    pub(crate) fn type_name(&self, wire_type: u32) -> String {
        match self.0.types.get(&wire_type).or_else(|| self.0.sent_types.get(&wire_type)) {
            Some(name) => (*name).to_owned(),
            None => format!("type {wire_type:#010x}"),
        }
    }

    // ---- signals -------------------------------------------------------------------------

    pub(crate) fn signal(&self, region: RegionId, signal: &Signal) {
        match encode("fedist.signal", signal) {
            Ok(body) => self.queue(Outbound::System {
                region,
                header: RecordHeader {
                    kind: RecordKind::Signal,
                    to: None,
                    from: None,
                    type_hash: type_hash("fedist.signal"),
                    version: 1,
                    correlation: 0,
                    deadline_ms: 0,
                },
                body,
            }),
            Err(error) => tracing::error!(%error, "a signal could not be encoded"),
        }
    }

    // ---- the hub -------------------------------------------------------------------------

    /// Runs `work` on the hub's state and waits for its answer; `None` when the node is stopped.
    pub(crate) async fn on_hub<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.queue(Outbound::Run(Box::new(move |core| {
            let _ = answer.send(work(core));
        })));
        answered.await.ok()
    }

    /// Stops the node: its supervision trees end in their order, the youngest first, for a second at
    /// most, then all other actors. It waits up to another second for what is under way, says goodbye to
    /// its peers so that they need not wait for a time-out, and ends its threads. Bounded by about
    /// three seconds; a second call returns at once.
    pub async fn stop(&self) {
        let already = self.0.stopped.swap(true, Ordering::AcqRel);
        for (_, gate) in self.0.gates.used() {
            gate.set_state(GateState::Stopped);
        }
        if already {
            return;
        }
        let stopped = self.on_hub(Core::begin_stop).await;
        if let Some(stopped) = stopped {
            let _ = stopped.await;
        }
    }

    pub(crate) fn next_reference(&self) -> u64 {
        self.0.next_reference.fetch_add(1, Ordering::Relaxed)
    }

    /// A timer that works in any executor; see [`Timer`].
    pub(crate) fn sleep(&self, duration: Duration) -> Timer {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Timer::Tokio(Box::pin(tokio::time::sleep(duration)));
        }
        let (fire, fired) = oneshot::channel();
        self.queue(Outbound::Run(Box::new(move |_| {
            actix_rt::spawn(async move {
                let mut fire = fire;
                tokio::select! {
                    () = tokio::time::sleep(duration) => { let _ = fire.send(()); }
                    () = fire.closed() => {}
                }
            });
        })));
        Timer::Hub(fired)
    }
}

impl NodeInner {
    pub(crate) fn next_monitor(&self) -> MonitorRef {
        MonitorRef(self.next_reference.fetch_add(1, Ordering::Relaxed))
    }
}

/// A deadline: tokio's own timer inside of a tokio runtime, else one that the hub keeps.
pub(crate) enum Timer {
    Tokio(std::pin::Pin<Box<tokio::time::Sleep>>),
    Hub(oneshot::Receiver<()>),
}

impl Future for Timer {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        match self.get_mut() {
            Timer::Tokio(sleep) => sleep.as_mut().poll(cx),
            Timer::Hub(fired) => std::pin::Pin::new(fired).poll(cx).map(|_| ()),
        }
    }
}

enum OutgoingError {
    Stopped,
    NotLive,
    Encode(crate::EncodeError),
    TooLarge { len: usize, max: usize },
}

impl OutgoingError {
    fn with<M>(self, message: M) -> SendError<M> {
        match self {
            OutgoingError::Stopped => SendError::Stopped(message),
            OutgoingError::NotLive => SendError::NotLive(message),
            OutgoingError::Encode(error) => SendError::Encode(error, message),
            OutgoingError::TooLarge { len, max } => SendError::TooLarge { len, max, message },
        }
    }
}

fn refused_with<M>(region: RegionId, refused: &Refused, message: M) -> SendError<M> {
    match refused {
        Refused::Full => SendError::Full(message),
        Refused::NoRoute => SendError::NoRoute(region, message),
        Refused::Unknown => SendError::UnknownRegion(region, message),
        Refused::Stopped => SendError::Stopped(message),
    }
}
