//! The hub: owns a node's links, routes and sessions, and forwards what is not for this node.
//!
//! [`Core`] is the hub's state: pure engines (sessions, link state, routes, registry) and the
//! tables around them. It lives on the hub's thread and is shared by the [`Hub`] actor, which
//! drives the outbound queue and the timers, and the [`relay::Relay`] actors, one per link,
//! which hand in the frames that arrive. A frame in transit goes from relay to relay here
//! without touching a mailbox. A borrow of the core never lasts across an `await`.

mod areas;
mod asks;
mod changes;
mod connect;
mod contacts;
mod control;
mod deliver;
mod drain;
mod failover;
mod flood;
mod frames;
mod grants;
mod launch;
mod links;
mod measure;
mod membership;
mod mesh;
mod outgoing;
mod quorum;
mod relay;
mod replicas;
mod report;
mod routing;
mod services;
mod takeover;
mod thread_time;
mod trace;
mod watch;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Handler, WrapFuture};
use fedist_registry::{
    AreaConfig, LinkState, LinkStateDb, MeshConfig, Micros, RegionId, RegionRecord, Registry,
    RelayDelay, RouteTable, Store, quorum::QuorumConfig,
};
use fedist_transport::{
    fabric::Fabric,
    session::{Session, SessionConfig},
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};

pub use changes::ChangeError;
pub use connect::{ConnectError, DisconnectError};
pub(crate) use launch::Launch;
pub use takeover::{PromoteError, Promotion};
pub(crate) use trace::TraceAnswer;

use crate::{
    Context, Node, StartError,
    gate::GateState,
    inlet::{Inlet, LocalFuture},
    node::View,
    outbound::Outbound,
    process::{IdMap, Process},
};
use asks::Asks;
use deliver::Overflow;
use links::LinkPort;

/// Room that a record's own header may take beside the largest body.
pub(crate) const RECORD_ROOM: usize = 64;

pub(crate) type CoreRef = Rc<RefCell<Core>>;

pub(crate) struct HubConfig {
    /// What this region wants its registry record to say; the key hash comes from the identity.
    pub(crate) record: RegionRecord,
    pub(crate) join: Vec<String>,
    pub(crate) dial: HashMap<RegionId, String>,
    pub(crate) mesh: MeshConfig,
    pub(crate) areas: AreaConfig,
    pub(crate) session: SessionConfig,
    pub(crate) join_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// Entries between two checkpoints of the registry that this region writes as the master.
    pub(crate) checkpoint_every: u64,
    /// Who is to elect the master, until the registry says who does.
    pub(crate) candidates: Vec<RegionId>,
    pub(crate) quorum: QuorumConfig,
    /// How long a newcomer that a delegate admitted is a member without the log's word.
    pub(crate) grant_lifetime: Duration,
}

pub(crate) struct Core {
    node: Node,
    config: HubConfig,
    fabric: Rc<Fabric>,
    store: Option<Arc<Store>>,
    registry: Registry,
    db: LinkStateDb,
    routes: RouteTable,
    own_state: LinkState,
    relay_delay: RelayDelay,
    /// What each room of the hub keeps for itself.
    routing: routing::Routing,
    flooding: flood::Flooding,
    tracing: trace::Tracing,
    areas: areas::AreaRoom,
    watch: watch::Watch,
    measure: measure::Measure,
    mesh: mesh::Mesh,
    membership: membership::Membership,
    contacts: contacts::Contacts,
    links: IdMap<RegionId, LinkPort>,
    /// Links whose other end has not said hello yet, by serial number.
    greeting: IdMap<u64, LinkPort>,
    next_serial: u64,
    sessions: IdMap<RegionId, SessionSlot>,
    dirty: Vec<RegionId>,
    /// Sessions that hold frames back because their link's queue is long.
    retry: HashSet<RegionId>,
    asks: Asks,
    /// Messages that wait for room in a mailbox, by the actor's local id.
    overflow: IdMap<u64, Overflow>,
    answers: mpsc::UnboundedSender<LocalFuture<()>>,
    /// Where the last record went: its type, its actor, and the way in.
    last_inlet: Option<(u32, Arc<Process>, Arc<dyn Inlet>)>,
    /// Of the view that was shown last.
    view_epoch: u64,
    counters: BTreeMap<&'static str, u64>,
    random: fastrand::Rng,
    /// When the present turn began.
    turn: Option<Micros>,
    next_timer: Micros,
    last_tick: Micros,
    timer_changed: Rc<Notify>,
    /// Whether the copy in the data directory said so at the start.
    was_live: bool,
    started: Option<oneshot::Sender<Result<(), StartError>>>,
    /// The boot counter of each region as its last session showed it.
    peer_boots: HashMap<RegionId, u32>,
    stop: Rc<Notify>,
    stopped: Vec<oneshot::Sender<()>>,
    me: std::rc::Weak<RefCell<Core>>,
}

/// The session with one region and what waits to enter it.
struct SessionSlot {
    session: Session,
    /// Accepted at the gate, but the session's queue was full.
    stalled: VecDeque<outgoing::Stalled>,
    dirty: bool,
    last_hop: Option<RegionId>,
    /// Bytes of frames handed to links, those sent again included.
    bytes_sent: u64,
    last_heard: Micros,
}

impl Core {
    /// The node's time; within one turn of the hub the time at which the turn began.
    fn now(&self) -> Micros {
        self.turn.unwrap_or_else(|| self.node.inner().clock.now())
    }

    /// Does something that takes no time to speak of, with one look at the clock.
    fn in_turn<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        /// Ends the turn also when something in it panics.
        struct Turn<'a>(&'a mut Core);
        impl Drop for Turn<'_> {
            fn drop(&mut self) {
                self.0.turn = None;
            }
        }
        self.turn = Some(self.node.inner().clock.now());
        work(Turn(self).0)
    }

    /// Whether a link to the region is up.
    pub(crate) fn has_link(&self, region: RegionId) -> bool {
        self.links.contains_key(&region)
    }

    fn region(&self) -> RegionId {
        self.node.region()
    }

    fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    /// Makes the timer fire no later than at `deadline`.
    fn arm(&mut self, deadline: Micros) {
        if deadline < self.next_timer {
            // A deadline in the past is no reason to think that the timer is late.
            let deadline = deadline.max(self.now());
            self.next_timer = deadline;
            self.timer_changed.notify_one();
        }
    }

    /// Everything whose time has come.
    fn handle_timer(&mut self) {
        let now = self.now();
        let lateness = now.saturating_sub(self.next_timer);
        self.next_timer = Micros(u64::MAX);
        self.measure_thread(now, lateness);
        self.check_links(now, lateness);
        if now >= self.last_tick + TICK {
            self.last_tick = now;
            self.tick_links(now);
            self.tick_membership(now);
            self.tick_quorum(now);
            self.tick_grants(now);
            self.tick_watched();
            self.tick_lost_actors();
        }
        self.arm(self.last_tick + TICK);
        self.tick_routes(now);
        self.tick_flood(now);
        self.tick_areas(now);
        self.asks.expire(now);
        if let Some(at) = self.asks.next_deadline() {
            self.arm(at);
        }
        let mut due = Vec::new();
        for (region, slot) in &mut self.sessions {
            match slot.session.poll_timeout() {
                Some(at) if at <= now => {
                    slot.session.handle_timeout(now);
                    due.push(*region);
                }
                _ => {}
            }
        }
        due.extend(self.retry.drain());
        for region in due {
            self.mark_dirty(region);
        }
        self.flush();
        let next = self.sessions.values().filter_map(|slot| slot.session.poll_timeout()).min();
        if let Some(at) = next {
            // A session that asks for a time already past is given the next millisecond, never a spin.
            self.arm(at.max(now + Micros::from_millis(1)));
        }
    }

    fn tick_watched(&mut self) {
        let node = self.node.clone();
        for (region, slot) in &mut self.sessions {
            let watched = self.asks.waits_for(*region)
                || node.inner().ties.binds(*region)
                || node.inner().tasks.runs_for(*region);
            slot.session.set_watched(watched);
        }
    }

    /// Keeps a session with a region, so that its loss is noticed.
    pub(crate) fn keep_watch(&mut self, region: RegionId) {
        self.session_with(region).session.set_watched(true);
        self.mark_dirty(region);
        self.flush();
    }

    /// Plain actix actors end without telling anybody: look after them once a second.
    fn tick_lost_actors(&mut self) {
        if self.last_tick.as_millis() % 1000 >= TICK.as_millis() {
            return;
        }
        for pid in self.node.inner().processes.lost() {
            self.node.process_ended(pid.local(), crate::ExitReason::Normal);
        }
    }

    /// Shows registry and routes to the senders: the snapshot and the gates.
    fn publish_view(&mut self) {
        // The gates first: whoever sees a route here may send by it.
        let me = self.region();
        let ids: Vec<RegionId> = self.registry.regions().map(|record| record.id).collect();
        for id in ids.into_iter().filter(|id| *id != me) {
            self.update_gate(id);
        }
        self.view_epoch += 1;
        self.node.inner().view.store(Arc::new(View {
            registry: self.registry.clone(),
            routes: self.routes.clone(),
            epoch: self.view_epoch,
        }));
        let index = self.registry.version().index;
        let any_split = self.registry.forwardings().next().is_some();
        self.node.inner().any_split.store(any_split, std::sync::atomic::Ordering::Relaxed);
        self.node
            .inner()
            .registry_index
            .send_if_modified(|shown| std::mem::replace(shown, index) != index);
        self.settle_start();
    }

    fn update_gate(&self, region: RegionId) {
        let gate = self.node.inner().gates.get(region);
        if gate.state() == GateState::Stopped {
            return;
        }
        let state = if !self.registry.is_live(region) {
            GateState::Unknown
        } else if self.routes.get(region).is_some() {
            GateState::Open
        } else {
            // Without a route a session still takes messages until it times out, and an idle one for as long (C7).
            let pending = self
                .sessions
                .get(&region)
                .is_some_and(|slot| slot.session.stats().in_flight > 0 || !slot.stalled.is_empty());
            if pending || self.was_reached_lately(region) {
                GateState::Open
            } else {
                GateState::NoRoute
            }
        };
        gate.set_state(state);
    }

    fn is_live(&self) -> bool {
        self.node.is_live()
    }

    fn is_stopping(&self) -> bool {
        self.node.inner().stopped.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Says goodbye to every peer; the returned receiver resolves when the node has ended.
    pub(crate) fn begin_stop(&mut self) -> oneshot::Receiver<()> {
        let (done, stopped) = oneshot::channel();
        self.stopped.push(done);
        self.stop.notify_one();
        stopped
    }

    fn send_goodbyes(&mut self) {
        let now = self.now();
        let regions: Vec<RegionId> = self.sessions.keys().copied().collect();
        for region in regions {
            if let Some(slot) = self.sessions.get_mut(&region) {
                slot.session.close(now);
            }
            self.mark_dirty(region);
        }
        self.flush();
        self.announce_leaving();
    }

    /// Whether everything that was accepted for a region that can be reached has arrived there.
    fn is_drained(&self) -> bool {
        self.sessions.iter().all(|(region, slot)| {
            let arrived = slot.stalled.is_empty() && slot.session.stats().in_flight == 0;
            arrived || self.routes.get(*region).is_none()
        })
    }

    fn handle(&self) -> Option<CoreRef> {
        self.me.upgrade()
    }
}

/// The supervised actor that drives a [`Core`].
pub(crate) struct Hub {
    pub(crate) core: CoreRef,
    pub(crate) outbound: Rc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Outbound>>>,
    pub(crate) answers: Rc<tokio::sync::Mutex<mpsc::UnboundedReceiver<LocalFuture<()>>>>,
}

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let outbound = drive_outbound(Rc::clone(&self.core), Rc::clone(&self.outbound));
        let timer = drive_timer(Rc::clone(&self.core));
        let answers = drive_answers(Rc::clone(&self.answers));
        let accepts = links::drive_accepts(Rc::clone(&self.core));
        ctx.spawn_apart(outbound.into_actor(self));
        ctx.spawn_apart(timer.into_actor(self));
        ctx.spawn_apart(answers.into_actor(self));
        ctx.spawn_apart(accepts.into_actor(self));
    }
}

impl Handler<relay::Crash> for Hub {
    type Result = ();

    #[allow(clippy::panic, reason = "the point of the message is to panic")]
    fn handle(&mut self, _: relay::Crash, _: &mut Context<Self>) {
        panic!("crash of the hub was asked for");
    }
}

async fn drive_outbound(
    core: CoreRef,
    queue: Rc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Outbound>>>,
) {
    let mut queue = queue.lock().await;
    let mut batch = Vec::with_capacity(OUTBOUND_BATCH);
    while queue.recv_many(&mut batch, OUTBOUND_BATCH).await > 0 {
        {
            core.borrow_mut().in_turn(|core| {
                for item in batch.drain(..) {
                    core.handle_outbound(item);
                }
                core.flush();
            });
        }
        // Under load the links and the actors of this thread get their turn between two batches.
        tokio::task::yield_now().await;
    }
}

async fn drive_timer(core: CoreRef) {
    let changed = Rc::clone(&core.borrow().timer_changed);
    loop {
        let wait = {
            let core = core.borrow();
            core.next_timer.saturating_sub(core.now())
        };
        tokio::select! {
            () = tokio::time::sleep(wait.as_duration()) => core.borrow_mut().handle_timer(),
            () = changed.notified() => {}
        }
    }
}

/// Runs the answers of remote asks and the deliveries that wait for room, without a task for each.
async fn drive_answers(queue: Rc<tokio::sync::Mutex<mpsc::UnboundedReceiver<LocalFuture<()>>>>) {
    let mut queue = queue.lock().await;
    let mut running = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(OUTBOUND_BATCH);
    loop {
        tokio::select! {
            count = queue.recv_many(&mut batch, OUTBOUND_BATCH) => {
                if count == 0 {
                    return;
                }
                running.extend(batch.drain(..));
            }
            Some(()) = running.next() => {}
        }
    }
}

const OUTBOUND_BATCH: usize = 1024;
/// How often the rooms of the hub are looked after, except for what has its own deadline.
const TICK: Micros = Micros::from_millis(50);
