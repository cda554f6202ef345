//! The node: one running process of a region, and the handle everything is done with.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::Actor;
use actix_rt::ArbiterHandle;
use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use fedist_registry::{
    ClockEstimate, FederationView, IdAllocator, Micros, RegionId, RegionPid, Registry, RouteTable,
};
use fedist_transport::link::NodeClock;
use fedist_transport::wire::{RecordHeader, RecordKind, type_hash};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    DeadLetter, RegionAddr,
    dead_letter::{DeadLetters, DropReason},
    delineation::DelineationBook,
    exit::MonitorRef,
    gate::{GateState, Gates},
    groups::GroupBook,
    hub::Core,
    message::encode_once,
    names::Names,
    outbound::Outbound,
    pause::Paused,
    process::{Process, ProcessTable},
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
    pub(crate) clock_estimate: ArcSwapOption<ClockEstimate>,
    /// `None` once the node has stopped, so that the data directory is free although handles live on.
    pub(crate) ids: ArcSwapOption<IdAllocator>,
    pub(crate) processes: ProcessTable,
    pub(crate) outbound: mpsc::UnboundedSender<Outbound>,
    pub(crate) gates: Gates,
    pub(crate) live: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) view: ArcSwap<View>,
    /// Whether any region's ids are served by another one.
    pub(crate) any_split: AtomicBool,
    /// Held while an actor is put under a pid that was split off.
    pub(crate) adopting: std::sync::Mutex<()>,
    /// How far the registry copy in the view is, for those who wait for it.
    pub(crate) registry_index: watch::Sender<u64>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) ties: Ties,
    pub(crate) names: Names,
    pub(crate) timers: Timers,
    pub(crate) paused: Paused,
    pub(crate) supervisors: Supervisors,
    pub(crate) tasks: TaskBook,
    pub(crate) groups: GroupBook,
    pub(crate) delineation: DelineationBook,
    /// Stable names of the message types that this node exports, by hash.
    pub(crate) types: DashMap<u32, &'static str>,
    /// Those that it has sent to other regions, for dead letters.
    pub(crate) sent_types: DashMap<u32, &'static str>,
    /// The type that was sent last.
    pub(crate) last_type: AtomicU32,
    /// The number of the thread that runs the hub.
    pub(crate) hub_thread: u64,
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
    /// Grows with every change of either.
    pub(crate) epoch: u64,
}

impl View {
    /// The same for a delineation rule, seen from `here`.
    pub fn federation(&self) -> FederationView<'_> {
        FederationView::new(self.routes.origin(), &self.registry).with_routes(&self.routes)
    }
}

/// The node's own time: microseconds since it started.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// The links' stamps are read off the same clock.
    pub(crate) fn of(clock: &NodeClock) -> Self {
        Self(clock.started())
    }

    pub(crate) fn now(self) -> Micros {
        Micros::from_duration(self.0.elapsed())
    }
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

    /// How far this node's clock is from the root's, with a bound of the error; `None` until a neighbour has told. It is a
    /// second old at most, which is in the bound.
    pub fn clock(&self) -> Option<ClockEstimate> {
        let estimate = self.0.clock_estimate.load_full()?;
        Some(estimate.at(self.0.clock.now()))
    }

    /// Whether this region may send across regions: its join is in its copy of the registry.
    pub fn is_live(&self) -> bool {
        self.0.live.load(Ordering::Acquire)
    }

    /// The registry copy and the routes as this node knows them now.
    pub fn view(&self) -> Arc<View> {
        self.0.view.load_full()
    }

    /// Whether the node is stopped, or about to be.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// The other regions that a way leads to now, in order: what `nodes()` is in Erlang. One that stopped or is cut off is not
    /// among them, although it stays a member until it [leaves](Self::leave); a monitor of a region tells when that changes.
    pub fn reachable_regions(&self) -> Vec<RegionId> {
        let view = self.view();
        let mut regions: Vec<RegionId> = view.routes.iter().map(|(to, _)| to).collect();
        regions.sort_unstable();
        regions
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

    /// The address of an actor whose pid is known. Nothing is asked: a wrong pid shows on the first send.
    pub fn address<A: Actor>(&self, pid: RegionPid) -> RegionAddr<A> {
        RegionAddr::new(self, pid)
    }

    pub(crate) fn local_address_of(&self, pid: RegionPid) -> Option<Arc<Process>> {
        let seat = self.seat(pid);
        (seat.region() == self.0.region).then(|| self.0.processes.get(seat.local())).flatten()
    }

    /// The remote-task API of this node.
    pub fn tasks(&self) -> crate::task::Tasks {
        crate::task::Tasks::new(self.clone())
    }

    // ---- signals -------------------------------------------------------------------------

    pub(crate) fn signal(&self, region: RegionId, signal: &Signal) {
        let header = RecordHeader {
            kind: RecordKind::Signal,
            to: None,
            from: None,
            type_hash: type_hash("fedist.signal"),
            version: 1,
            correlation: 0,
            deadline_ms: 0,
        };
        match encode_once("fedist.signal", signal) {
            Ok(body) => self.post(region, &header, body.into(), 0, None),
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

    /// Stops the node: others move their routes away from it, as for [`drain`](Self::drain), for
    /// [`drain_timeout`](crate::NodeBuilder::drain_timeout) at most. Then its supervision trees end in their order, the youngest first, for a second at
    /// most, then all other actors. It waits up to another second for what is under way, says goodbye to
    /// its peers so that they need not wait for a time-out, and ends its threads. Bounded by about
    /// three seconds beside the drain, which takes a round trip where nothing is in transit; a second call returns at once.
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
