//! The node's thread: from a configuration to a running hub, and back to nothing.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use actix_rt::{Arbiter, System};
use arc_swap::{ArcSwap, ArcSwapOption};
use fedist_registry::{
    AddressBook, GrantBook, IdAllocator, LinkCost, LinkState, LinkStateDb, Micros, RegionKey,
    Registry, RelayDelay, RouteTable, Status, Store, Topology, VolatileBlocks, quorum::Saved,
};
use fedist_transport::{
    fabric::Fabric,
    identity::{CertificateAuthority, Identity},
    memory::MemoryPort,
    quic::{QuicConfig, QuicEndpoint},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    Core, CoreRef, Hub, HubConfig, asks::Asks, contacts::Contacts, drain, measure::Measure,
    membership::Membership, mesh::Mesh, quorum::Candidacy, services,
};
use crate::{
    Node, StartError,
    dead_letter::DeadLetters,
    delineation::DelineationBook,
    discovery::{AnyDiscovery, Strategy},
    gate::Gates,
    groups::GroupBook,
    names::Names,
    node::{Clock, NodeInner, View},
    pause::Paused,
    process::{IdMap, ProcessTable},
    supervision::{Started, Supervisors},
    task::{Offers, TaskBook},
    ties::Ties,
    timers::{self, Timers},
};

/// Everything that the node's thread needs.
pub(crate) struct Launch {
    pub(crate) config: HubConfig,
    pub(crate) listen: SocketAddr,
    pub(crate) quic: QuicConfig,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) ca_dir: Option<PathBuf>,
    pub(crate) memory: Option<MemoryPort>,
    pub(crate) boot: u32,
    pub(crate) dial_only: bool,
    pub(crate) wait_until_live: bool,
    pub(crate) arbiters: usize,
    pub(crate) task_threads: usize,
    pub(crate) mailbox_capacity: usize,
    pub(crate) max_message: usize,
    pub(crate) offers: Arc<Offers>,
    pub(crate) delineation: DelineationBook,
    pub(crate) alias_ttl: Duration,
    pub(crate) discovery: Vec<Box<dyn AnyDiscovery>>,
    pub(crate) discover_every: Duration,
    pub(crate) done: oneshot::Sender<Result<Node, StartError>>,
}

/// Bytes that may wait between the node's senders and one region's session.
const GATE_BYTES: usize = 8 << 20;
/// A strategy is not asked more often.
const LEAST_PERIOD: Duration = Duration::from_millis(10);
/// How long a stopping node waits for its supervision trees to end in their order.
const TREES: Duration = Duration::from_secs(1);
/// How long a stopping node waits for what is under way.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a stopping node gives its links to carry the goodbyes.
const LINGER: Duration = Duration::from_millis(200);

impl Launch {
    pub(crate) fn spawn(self) -> Result<(), StartError> {
        let name = format!("fedist-{}", self.config.record.id);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                let system = System::new();
                let end = system.block_on(self.run());
                services::forget();
                // With the system go the actors, and with them the last holders of the data directory.
                drop(system);
                end.tell();
            })
            .map(drop)
            .map_err(|error| StartError::Thread(error.to_string()))
    }

    /// Runs the node to its end; gives back who is to be told of it.
    async fn run(mut self) -> End {
        let (replace, _) = oneshot::channel();
        let mut done = std::mem::replace(&mut self.done, replace);
        let timeout = self.config.join_timeout;
        let wait = self.wait_until_live;
        let discovered = self.discovery.iter().map(|it| format!("discovered by {}", it.name()));
        let asked: Vec<String> = self.config.join.iter().cloned().chain(discovered).collect();
        let join = asked.join(", ");
        let running = match self.set_up() {
            Ok(running) => running,
            Err(error) => {
                return End::failed(done, error);
            }
        };
        let Running { node, core, fabric, services, mut live, stop, arbiters } = running;
        // Nobody gets hold of the node before its hub is there to be told to stop.
        let begun = services::wait(services).await;
        let outcome = tokio::select! {
            biased;
            Err(error) = std::future::ready(begun) => Err(error),
            outcome = &mut live, if wait => outcome.unwrap_or(Ok(())),
            () = std::future::ready(()), if !wait => Ok(()),
            () = tokio::time::sleep(timeout) => Err(StartError::JoinTimedOut {
                join,
                after: timeout,
                last: match core.borrow().join_answer() {
                    empty if empty.is_empty() => "nobody answered".to_owned(),
                    answer => answer,
                },
            }),
            () = done.closed() => Err(StartError::Thread("nobody waits for the start any more".to_owned())),
        };
        let failure = match outcome {
            Err(error) => Some((done, error)),
            Ok(()) => {
                if done.send(Ok(node.clone())).is_ok() {
                    stop.notified().await;
                }
                None
            }
        };
        shut_down(&node, &core, &fabric).await;
        for arbiter in arbiters {
            arbiter.stop();
        }
        node.inner().ids.store(None);
        let stopped = std::mem::take(&mut core.borrow_mut().stopped);
        End { stopped, failure }
    }

    fn set_up(self) -> Result<Running, StartError> {
        let me = self.config.record.id;
        let mut record = self.config.record.clone();
        let (fabric, store, key) = self.open(me)?;
        let local_address = fabric.local_address();
        if record.addresses.is_empty() && !self.dial_only {
            record.addresses = vec![local_address.clone()];
        }
        record.key_hash = key.key_hash();
        let boot = match &store {
            Some(store) => store.next_boot()?,
            None => self.boot,
        };
        let registry = match &store {
            Some(store) => store.load_registry()?,
            None => Registry::new(),
        };
        // The parent that was configured may have left since; the registry says who took its place.
        let gone = |parent| registry.get(parent).is_some_and(|it| it.status == Status::Left);
        if record.parent.is_some_and(gone)
            && let Some(held) = registry.get(me).and_then(|held| held.parent)
            && !gone(held)
        {
            tracing::info!(parent = %held, "the configured parent has left; the registry's is kept");
            record.parent = Some(held);
        }
        let ids = match &store {
            Some(store) => IdAllocator::new(Box::new(Arc::clone(store))),
            None => IdAllocator::new(Box::new(VolatileBlocks::new())),
        };
        let (outbound, outbound_rx) = mpsc::unbounded_channel();
        let (answers, answers_rx) = mpsc::unbounded_channel();
        let extra = if self.arbiters > 1 { self.arbiters } else { 0 };
        let arbiters: Vec<Arbiter> =
            (0..extra + self.task_threads).map(|_| Arbiter::new()).collect();
        let handles: Vec<_> = arbiters.iter().map(Arbiter::handle).collect();
        let node = Node::new(NodeInner {
            region: me,
            name: record.name.to_string(),
            boot,
            max_message: self.max_message,
            session_timeout: self.config.session.session_timeout.as_duration(),
            mailbox_capacity: self.mailbox_capacity,
            clock: Clock::of(&fabric.clock()),
            clock_estimate: ArcSwapOption::empty(),
            ids: ArcSwapOption::from_pointee(ids),
            processes: ProcessTable::default(),
            outbound,
            gates: Gates::new(GATE_BYTES),
            live: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            view: ArcSwap::from_pointee(View {
                registry: registry.clone(),
                routes: RouteTable::empty(me),
                epoch: 0,
            }),
            any_split: AtomicBool::new(registry.forwardings().next().is_some()),
            adopting: std::sync::Mutex::default(),
            registry_index: watch::Sender::new(registry.version().index),
            dead_letters: DeadLetters::new(),
            ties: Ties::default(),
            names: Names::new(
                Clock::of(&fabric.clock()).now(),
                boot,
                record.parent.is_none().then_some(Micros::from_duration(self.alias_ttl)),
                fastrand::Rng::new(),
            ),
            timers: Timers::default(),
            paused: Paused::default(),
            supervisors: Supervisors::default(),
            tasks: TaskBook::new(self.offers),
            groups: GroupBook::new(me, boot, self.max_message),
            delineation: self.delineation,
            types: dashmap::DashMap::new(),
            sent_types: dashmap::DashMap::new(),
            last_type: AtomicU32::new(0),
            hub_thread: crate::this_thread::number(),
            hub_arbiter: Arbiter::current(),
            arbiters: handles[..extra].to_vec(),
            task_arbiters: handles[extra..].to_vec(),
            next_arbiter: AtomicUsize::new(0),
            // References name monitors and tasks towards other regions: never those of an earlier life.
            next_reference: AtomicU64::new((u64::from(boot) << 32) | 1),
            local_address,
            ca_dir: self.ca_dir.clone().or_else(|| self.data_dir.clone()),
        });
        let mut book = AddressBook::new();
        let strategies: Vec<Strategy> = self
            .discovery
            .into_iter()
            .map(|discovery| Strategy {
                source: book.add_source(discovery.name(), discovery.gone_after()),
                every: discovery.every().unwrap_or(self.discover_every).max(LEAST_PERIOD),
                discovery: Rc::new(tokio::sync::Mutex::new(discovery)),
            })
            .collect();
        let (started, live) = oneshot::channel();
        let stop = Rc::new(Notify::new());
        let fabric = Rc::new(fabric);
        let config = HubConfig { record, ..self.config };
        let saved = match &store {
            Some(store) => store.load_quorum()?,
            None => Saved::default(),
        };
        let grants = GrantBook::new(Micros::from_duration(config.grant_lifetime));
        let granted = match &store {
            Some(store) => store.load_grants()?,
            None => Vec::new(),
        };
        let candidacy =
            Candidacy::new(me, config.quorum.clone(), node.inner().clock.now(), &registry, saved);
        let adaptive = matches!(config.mesh.topology, Topology::Adaptive);
        let core = Rc::new_cyclic(|weak| {
            RefCell::new(Core {
                node: node.clone(),
                own_state: LinkState {
                    region: me,
                    seq: u64::from(boot) << 32,
                    relay: LinkCost::ZERO,
                    no_transit: false,
                    links: Vec::new(),
                },
                mesh: Mesh::new(me, config.mesh.clone()),
                areas: super::areas::AreaRoom::new(me, boot, config.areas),
                config,
                fabric: Rc::clone(&fabric),
                store,
                registry,
                db: LinkStateDb::new(),
                routes: RouteTable::empty(me),
                relay_delay: RelayDelay::new(),
                routing: Default::default(),
                tracing: Default::default(),
                flooding: super::flood::Flooding::new(me),
                watch: Default::default(),
                measure: Measure::new(me, boot, fabric.clock().base_us(), adaptive),
                membership: Membership::new(me, key, candidacy, grants),
                contacts: Contacts::with_book(book),
                links: IdMap::default(),
                greeting: IdMap::default(),
                next_serial: 0,
                sessions: IdMap::default(),
                dirty: Vec::new(),
                retry: HashSet::new(),
                asks: Asks::default(),
                overflow: IdMap::default(),
                answers,
                last_inlet: None,
                view_epoch: 0,
                counters: BTreeMap::new(),
                random: fastrand::Rng::new(),
                turn: None,
                next_timer: Micros::ZERO,
                last_tick: Micros::ZERO,
                timer_changed: Rc::new(Notify::new()),
                was_live: false,
                started: Some(started),
                peer_boots: HashMap::new(),
                stop: Rc::clone(&stop),
                stopped: Vec::new(),
                me: weak.clone(),
            })
        });
        actix_rt::spawn(timers::run(node.clone()));
        {
            let mut core = core.borrow_mut();
            if core.is_root() {
                core.found_federation()?;
            }
            core.load_grants(granted);
            // A region that was live before goes on from its own copy, whoever can be reached (C20).
            if core.registry.is_live(me) && !core.is_live() {
                core.was_live = true;
                core.become_live();
            }
            core.update_own_state();
            core.publish_view();
        }
        let hub = Hub {
            core: Rc::clone(&core),
            outbound: Rc::new(tokio::sync::Mutex::new(outbound_rx)),
            answers: Rc::new(tokio::sync::Mutex::new(answers_rx)),
        };
        services::list(hub, strategies);
        let services = services::start(&node)?;
        Ok(Running { node, core, fabric, services, live, stop, arbiters })
    }

    /// Opens the data directory and the fabric.
    fn open(
        &self,
        me: fedist_registry::RegionId,
    ) -> Result<(Fabric, Option<Arc<Store>>, RegionKey), StartError> {
        let store = match &self.data_dir {
            Some(dir) => {
                fedist_transport::identity::prepare_directory(dir)?;
                Some(Arc::new(Store::open(&dir.join("node.redb"))?))
            }
            None => None,
        };
        let (fabric, key) = match (&self.memory, &self.data_dir) {
            (Some(port), _) => {
                let key =
                    port.signing_key().map_err(|error| StartError::Config(error.to_string()))?;
                (Fabric::Memory(port.clone()), key)
            }
            (None, Some(dir)) => {
                let ca = self.authority(dir)?;
                let identity = Identity::load_or_issue(dir, me, ca.as_ref())?;
                // Nodes run in actix's `LocalSet`.
                let quic = QuicConfig { local_tasks: true, ..self.quic.clone() };
                let endpoint = QuicEndpoint::bind(self.listen, &identity, quic)?;
                (Fabric::Quic(endpoint), identity.signing_key()?)
            }
            (None, None) => {
                return Err(StartError::Config(
                    "data_dir (missing); a node over QUIC needs one; name a directory".to_owned(),
                ));
            }
        };
        if let Some(store) = &store {
            store.bind_region(me, key.key_hash())?;
        }
        Ok((fabric, store, key))
    }

    /// The CA, where it is at hand. A root without one makes it: the start of a federation.
    fn authority(&self, dir: &std::path::Path) -> Result<Option<CertificateAuthority>, StartError> {
        let ca_dir = self.ca_dir.as_deref().unwrap_or(dir);
        let is_root = self.config.record.parent.is_none();
        if is_root && (self.ca_dir.is_some() || !dir.join("region.pem").exists()) {
            let (ca, created) = CertificateAuthority::load_or_create(ca_dir)?;
            if created {
                tracing::info!(dir = %ca_dir.display(), federation = %ca.federation(), "a new federation: its CA was made");
            }
            return Ok(Some(ca));
        }
        if ca_dir.join("ca.key").exists() || self.ca_dir.is_some() {
            return Ok(Some(CertificateAuthority::load(ca_dir)?));
        }
        Ok(None)
    }
}

type Done = oneshot::Sender<Result<Node, StartError>>;

/// Who waits for the end of a node, or of its failed start.
#[derive(Default)]
struct End {
    stopped: Vec<oneshot::Sender<()>>,
    failure: Option<(Done, StartError)>,
}

impl End {
    fn failed(done: Done, error: StartError) -> Self {
        Self { failure: Some((done, error)), ..Self::default() }
    }

    fn tell(self) {
        if let Some((done, error)) = self.failure {
            let _ = done.send(Err(error));
        }
        for waiter in self.stopped {
            let _ = waiter.send(());
        }
    }
}

struct Running {
    node: Node,
    core: CoreRef,
    fabric: Rc<Fabric>,
    services: Started,
    live: oneshot::Receiver<Result<(), StartError>>,
    stop: Rc<Notify>,
    arbiters: Vec<Arbiter>,
}

async fn shut_down(node: &Node, core: &CoreRef, fabric: &Rc<Fabric>) {
    node.inner().stopped.store(true, std::sync::atomic::Ordering::Release);
    // Whatever passes through here takes another way first; actors go on answering meanwhile.
    let limit = core.borrow().config.drain_timeout;
    if !limit.is_zero() {
        drain::drain(core, limit).await;
    }
    // Actors end first, so that their watchers elsewhere hear `Down(Shutdown)` before the goodbye:
    // those in trees in the trees' order, then all others, and whoever takes longer than there is time.
    let _ = tokio::time::timeout(TREES, node.stop_trees()).await;
    node.end_all_actors();
    // What was accepted still arrives: a goodbye travels apart from the messages and may overtake them.
    let begun = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let quiet = node.inner().processes.is_quiet() && core.borrow().is_drained();
        if quiet || begun.elapsed() >= DRAIN {
            break;
        }
    }
    core.borrow_mut().send_goodbyes();
    node.inner().registry_index.send_modify(|_| ());
    tokio::time::sleep(LINGER).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), fabric.close()).await;
}
