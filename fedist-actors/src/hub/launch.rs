//! The node's thread: from a configuration to a running hub, and back to nothing.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use actix_rt::{Arbiter, System};
use arc_swap::{ArcSwap, ArcSwapOption};
use fedist_registry::{
    IdAllocator, LinkCost, LinkState, LinkStateDb, LocalId, Micros, RegionPid, Registry,
    RelayDelay, RouteTable, Store, VolatileBlocks, service,
};
use fedist_transport::{
    fabric::Fabric,
    identity::{CertificateAuthority, Identity},
    memory::MemoryPort,
    quic::{QuicConfig, QuicEndpoint},
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Core, CoreRef, Hub, HubConfig,
    asks::Asks,
    links::Dial,
    membership::{Propose, Registrar},
};
use crate::{
    ExitReason, Node, StartChildError, StartError,
    dead_letter::DeadLetters,
    echo::{EchoRequest, EchoService},
    groups::{GroupBook, GroupCopy, GroupService, GroupStream, GroupUpdate, Hello as GroupHello},
    names::{AskAliasLease, NameService, Names, ReleaseAlias, Whereis, WhoHolds},
    node::{Clock, NodeInner, View},
    outbound::Gates,
    pause::Paused,
    process::ProcessTable,
    task::{
        AskCatalog, AskStanding, CancelTask, Offers, SpawnActor, StartTask, TaskBook, TaskDone,
        TaskPrint, TaskService,
    },
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
    pub(crate) wait_until_live: bool,
    pub(crate) arbiters: usize,
    pub(crate) task_threads: usize,
    pub(crate) mailbox_capacity: usize,
    pub(crate) max_message: usize,
    pub(crate) offers: Arc<Offers>,
    pub(crate) alias_ttl: Duration,
    pub(crate) done: oneshot::Sender<Result<Node, StartError>>,
}

/// Bytes that may wait between the node's senders and one region's session.
const GATE_BYTES: usize = 8 << 20;
/// Between the panic of a service and its next start.
const RESTART_PAUSE: Duration = Duration::from_millis(10);
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
        let join = self.config.join.join(", ");
        let running = match self.set_up() {
            Ok(running) => running,
            Err(error) => {
                return End::failed(done, error);
            }
        };
        let Running { node, core, fabric, mut live, stop, arbiters } = running;
        let outcome = tokio::select! {
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
        let (fabric, store, key_hash) = self.open(me)?;
        let local_address = fabric.local_address();
        if record.addresses.is_empty() {
            record.addresses = vec![local_address.clone()];
        }
        record.key_hash = key_hash;
        let boot = match &store {
            Some(store) => store.next_boot()?,
            None => self.boot,
        };
        let registry = match &store {
            Some(store) => Registry::from_log(store.load_log()?).map_err(|error| {
                StartError::Config(format!(
                    "the registry copy in the data directory is damaged: {error}"
                ))
            })?,
            None => Registry::new(),
        };
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
            clock: Clock::start(),
            ids: ArcSwapOption::from_pointee(ids),
            processes: ProcessTable::default(),
            outbound,
            gates: Gates::new(GATE_BYTES),
            live: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            view: ArcSwap::from_pointee(View {
                registry: registry.clone(),
                routes: RouteTable::empty(me),
            }),
            dead_letters: DeadLetters::new(),
            ties: Ties::default(),
            names: Names::new(
                boot,
                record.parent.is_none().then_some(Micros::from_duration(self.alias_ttl)),
                fastrand::Rng::new(),
            ),
            timers: Timers::default(),
            paused: Paused::default(),
            tasks: TaskBook::new(self.offers),
            groups: GroupBook::new(me, boot, self.max_message),
            types: dashmap::DashMap::new(),
            hub_thread: std::thread::current().id(),
            hub_arbiter: Arbiter::current(),
            arbiters: handles[..extra].to_vec(),
            task_arbiters: handles[extra..].to_vec(),
            next_arbiter: AtomicUsize::new(0),
            // References name monitors and tasks towards other regions: never those of an earlier life.
            next_reference: AtomicU64::new((u64::from(boot) << 32) | 1),
            local_address,
            ca_dir: self.ca_dir.clone().or_else(|| self.data_dir.clone()),
        });
        let (started, live) = oneshot::channel();
        let stop = Rc::new(Notify::new());
        let fabric = Rc::new(fabric);
        let config = HubConfig { record, ..self.config };
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
                config,
                fabric: Rc::clone(&fabric),
                store,
                registry,
                db: LinkStateDb::new(),
                routes: RouteTable::empty(me),
                relay_delay: RelayDelay::new(),
                links: HashMap::new(),
                greeting: HashMap::new(),
                next_serial: 0,
                dials: HashMap::new(),
                join_dial: Dial::default(),
                sessions: HashMap::new(),
                dirty: Vec::new(),
                retry: HashSet::new(),
                asks: Asks::default(),
                overflow: HashMap::default(),
                answers,
                last_inlet: None,
                counters: BTreeMap::new(),
                random: fastrand::Rng::new(),
                next_timer: Micros::ZERO,
                last_tick: Micros::ZERO,
                recompute_at: None,
                suspects: HashMap::new(),
                timer_changed: Rc::new(Notify::new()),
                was_live: false,
                started: Some(started),
                last_join_answer: String::new(),
                last_join_request: Micros::ZERO,
                forwarding: HashSet::new(),
                peer_boots: HashMap::new(),
                stop: Rc::clone(&stop),
                stopped: Vec::new(),
                me: weak.clone(),
            })
        });
        start_services(&node, &core)?;
        actix_rt::spawn(timers::run(node.clone()));
        {
            let mut core = core.borrow_mut();
            if core.is_root() {
                core.found_federation()?;
            }
            // A region that was live before goes on from its own copy, whoever can be reached (C20).
            if core.registry.is_live(me) && !core.is_live() {
                core.was_live = true;
                core.become_live();
            }
            core.update_own_state();
            core.publish_view();
        }
        supervise_hub(
            &node,
            Hub {
                core: Rc::clone(&core),
                outbound: Rc::new(tokio::sync::Mutex::new(outbound_rx)),
                answers: Rc::new(tokio::sync::Mutex::new(answers_rx)),
            },
        )?;
        Ok(Running { node, core, fabric, live, stop, arbiters })
    }

    /// Opens the data directory and the fabric.
    fn open(
        &self,
        me: fedist_registry::RegionId,
    ) -> Result<(Fabric, Option<Arc<Store>>, fedist_registry::KeyHash), StartError> {
        let store = match &self.data_dir {
            Some(dir) => {
                fedist_transport::identity::prepare_directory(dir)?;
                Some(Arc::new(Store::open(&dir.join("node.redb"))?))
            }
            None => None,
        };
        let (fabric, key_hash) = match (&self.memory, &self.data_dir) {
            (Some(port), _) => (Fabric::Memory(port.clone()), port.key_hash()),
            (None, Some(dir)) => {
                let ca = self.authority(dir)?;
                let identity = Identity::load_or_issue(dir, me, ca.as_ref())?;
                let endpoint = QuicEndpoint::bind(self.listen, &identity, self.quic.clone())?;
                (Fabric::Quic(endpoint), identity.key_hash())
            }
            (None, None) => {
                return Err(StartError::Config(
                    "data_dir (missing); a node over QUIC needs one; name a directory".to_owned(),
                ));
            }
        };
        if let Some(store) = &store {
            store.bind_region(me, key_hash)?;
        }
        Ok((fabric, store, key_hash))
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
    live: oneshot::Receiver<Result<(), StartError>>,
    stop: Rc<Notify>,
    arbiters: Vec<Arbiter>,
}

/// The well-known services, each a supervised actor under its fixed local id.
fn start_services(node: &Node, core: &CoreRef) -> Result<(), StartError> {
    let registrar_core = Rc::clone(core);
    let groups_core = Rc::clone(core);
    let services: [(LocalId, StartService); 5] = [
        (
            service::REGISTRAR,
            Rc::new(move |node| {
                let core = Rc::clone(&registrar_core);
                let addr = node.spawn_here_at(service::REGISTRAR, move |_| Registrar { core })?;
                Ok(node.export(&addr).handles::<Propose>().publish()?)
            }),
        ),
        (
            service::NAMES,
            Rc::new(|node| {
                let own = node.clone();
                let addr =
                    node.spawn_here_at(service::NAMES, move |_| NameService { node: own })?;
                let export = node.export(&addr).handles::<Whereis>().handles::<WhoHolds>();
                Ok(export.handles::<AskAliasLease>().handles::<ReleaseAlias>().publish()?)
            }),
        ),
        (
            service::TASKS,
            Rc::new(|node| {
                let own = node.clone();
                let addr =
                    node.spawn_here_at(service::TASKS, move |_| TaskService { node: own })?;
                let export = node.export(&addr).handles::<StartTask>().handles::<SpawnActor>();
                let export = export.handles::<AskStanding>().handles::<AskCatalog>();
                let export = export.handles::<CancelTask>().handles::<TaskPrint>();
                Ok(export.handles::<TaskDone>().publish()?)
            }),
        ),
        (
            service::GROUPS,
            Rc::new(move |node| {
                let (own, core) = (node.clone(), Rc::clone(&groups_core));
                let make = move |_: &mut _| GroupService::new(&own, core);
                let addr = node.spawn_here_at(service::GROUPS, make)?;
                let export = node.export(&addr).handles::<GroupHello>().handles::<GroupUpdate>();
                Ok(export.handles::<GroupCopy>().handles::<GroupStream>().publish()?)
            }),
        ),
        (
            service::ECHO,
            Rc::new(|node| {
                let own = node.clone();
                let addr = node.spawn_here_at(service::ECHO, move |_| EchoService { node: own })?;
                Ok(node.export(&addr).handles::<EchoRequest>().publish()?)
            }),
        ),
    ];
    for (id, start) in services {
        supervise_service(node, id, start)
            .map_err(|error| StartError::Thread(format!("service {id} did not start: {error}")))?;
    }
    Ok(())
}

type StartService = Rc<dyn Fn(&Node) -> Result<RegionPid, StartChildError>>;

/// Starts a service, and again under the same id when it panics.
fn supervise_service(node: &Node, id: LocalId, start: StartService) -> Result<(), StartChildError> {
    let pid = start(node)?;
    let end = when_down(node, pid);
    let node = node.clone();
    actix_rt::spawn(async move {
        if let Ok(ExitReason::Panicked(text)) = end.await {
            tracing::error!(%id, panic = %text, "a service panicked and is started again");
            tokio::time::sleep(RESTART_PAUSE).await;
            if let Err(error) = supervise_service(&node, id, start) {
                tracing::error!(%id, %error, "a service could not be started again");
            }
        }
    });
    Ok(())
}

/// Resolves with the reason for which `pid` ends.
fn when_down(node: &Node, pid: RegionPid) -> oneshot::Receiver<ExitReason> {
    let (ended, end) = oneshot::channel();
    node.watch(
        pid,
        Box::new(move |down| {
            let _ = ended.send(down.reason);
        }),
    );
    end
}

/// Starts the hub, and again from the same core when it panics. Links and sessions live in the
/// core and its relays, so they outlast it.
fn supervise_hub(node: &Node, hub: Hub) -> Result<(), StartError> {
    let (core, outbound, answers) =
        (Rc::clone(&hub.core), Rc::clone(&hub.outbound), Rc::clone(&hub.answers));
    let spawned = node
        .spawn_here_at(service::HUB, move |_| hub)
        .map_err(|error| StartError::Thread(format!("the hub did not start: {error}")))?;
    let end = when_down(node, spawned.pid());
    let node = node.clone();
    actix_rt::spawn(async move {
        if let Ok(ExitReason::Panicked(text)) = end.await {
            tracing::error!(panic = %text, "the hub panicked and is started again");
            core.borrow_mut().count("hub_restarts");
            tokio::time::sleep(RESTART_PAUSE).await;
            let _ = supervise_hub(&node, Hub { core, outbound, answers });
        }
    });
    Ok(())
}

async fn shut_down(node: &Node, core: &CoreRef, fabric: &Rc<Fabric>) {
    node.inner().stopped.store(true, std::sync::atomic::Ordering::Release);
    // Actors end first, so that their watchers elsewhere hear `Down(Shutdown)` before the goodbye.
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
    tokio::time::sleep(LINGER).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), fabric.close()).await;
}
