//! Starting a node.

use std::{
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix::Actor;
use fedist_registry::{
    AreaConfig, Coordinates, Delineator, MeshConfig, Micros, RegionId, RegionName, RegionRecord,
    Status, StoreError, Topology, quorum::QuorumConfig,
};
use fedist_transport::{
    identity::IdentityError,
    memory::MemoryPort,
    quic::{BindError, QuicConfig},
    session::SessionConfig,
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::{
    Context, Discovery, Export, Node,
    delineation::{DelineationBook, RuleFactory, own_factory},
    discovery::AnyDiscovery,
    hub::{HubConfig, Launch},
    task::{Offers, Task},
};

/// Configures and starts a [`Node`]. Made by [`Node::builder`]; every setting has a default
/// that is safe on a laptop: loopback only, mutual TLS from a CA made in the data directory.
#[must_use = "a builder does nothing until `start()`"]
pub struct NodeBuilder {
    region: RegionId,
    name: Option<String>,
    parent: Option<RegionId>,
    listen: String,
    advertise: Vec<String>,
    join: Vec<String>,
    data_dir: Option<PathBuf>,
    ca_dir: Option<PathBuf>,
    memory: Option<MemoryPort>,
    boot: u32,
    alias_ttl: Duration,
    coordinates: Option<Coordinates>,
    dial: HashMap<RegionId, String>,
    mesh: MeshConfig,
    areas: AreaConfig,
    /// `nearest(0)` was the last word on the mesh.
    bare: bool,
    dial_only: bool,
    arbiters: usize,
    task_threads: usize,
    mailbox_capacity: usize,
    max_message: usize,
    session_timeout: Duration,
    drain_timeout: Duration,
    join_timeout: Duration,
    checkpoint_every: u64,
    wait_until_live: bool,
    mtu_upper: Option<u16>,
    root_candidates: Vec<RegionId>,
    election_timeout: Duration,
    grant_lifetime: Duration,
    discovery: Vec<Box<dyn AnyDiscovery>>,
    discover_every: Duration,
    offers: Offers,
    rules: BTreeMap<String, RuleFactory>,
    delineated_by: Vec<RegionId>,
    rule: Option<(String, RuleFactory)>,
}

/// Why a node did not start. Nothing runs then; what is named must be put right first, unless
/// the text says that trying again may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is missing or contradicts another.
    #[error("{0}")]
    Config(String),
    /// Keys or certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listening socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The federation refused this region; the text names the rule.
    #[error("join refused ({0})")]
    JoinRefused(String),
    /// Nobody at the join addresses let this region in within the time.
    #[error(
        "join timed out ({join}, after {after:?}; {last}); a hub or the root must answer there; check the address and that it runs"
    )]
    JoinTimedOut {
        /// The addresses tried.
        join: String,
        /// How long.
        after: Duration,
        /// What the last attempt said.
        last: String,
    },
    /// A thread could not be started, or the node died while starting.
    #[error("the node's thread could not be started: {0}")]
    Thread(String),
}

impl Node {
    /// A builder for a node of `region`.
    pub fn builder(region: RegionId) -> NodeBuilder {
        NodeBuilder {
            region,
            name: None,
            parent: None,
            listen: "127.0.0.1:0".to_owned(),
            advertise: Vec::new(),
            join: Vec::new(),
            data_dir: None,
            ca_dir: None,
            memory: None,
            boot: 1,
            alias_ttl: Duration::from_secs(15),
            coordinates: None,
            dial: HashMap::new(),
            mesh: MeshConfig::default(),
            areas: AreaConfig::default(),
            bare: false,
            dial_only: false,
            arbiters: 1,
            task_threads: 1,
            mailbox_capacity: 16_384,
            max_message: 16 * 1024 * 1024,
            session_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
            join_timeout: Duration::from_secs(30),
            checkpoint_every: 1024,
            wait_until_live: true,
            mtu_upper: None,
            root_candidates: Vec::new(),
            election_timeout: Duration::from_secs(2),
            grant_lifetime: Duration::from_secs(24 * 60 * 60),
            discovery: Vec::new(),
            discover_every: Duration::from_secs(5),
            offers: Offers::default(),
            rules: BTreeMap::new(),
            delineated_by: Vec::new(),
            rule: None,
        }
    }
}

impl NodeBuilder {
    /// The region's name, by which others find it; `region-<number>` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The parent in the hierarchy. Without a parent (and without `join`) the node is the root.
    pub fn parent(mut self, parent: RegionId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// The UDP address to listen at, `host:port`; port 0 takes a free one. Default `127.0.0.1:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// A public address under which others reach this node; by default the one it listens at.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise.push(address.into());
        self
    }

    /// The address of the root or of a hub, to join the federation through. May be given
    /// several times; they are tried in order.
    pub fn join(mut self, address: impl Into<String>) -> Self {
        self.join.push(address.into());
        self
    }

    /// Asks `strategy` again and again for addresses of other regions. May be given several times; an address counts as long as one strategy has it.
    ///
    /// Until the region is live it joins through whoever answers at one of them, so a node may start with discovery and without
    /// [`join`](Self::join), before there is anybody to be found. From then on a link is kept to each region that answers, as if
    /// [`link`](Self::link) had named it, for as long as its address is discovered. At most 128 addresses are held.
    pub fn discover(mut self, strategy: impl Discovery) -> Self {
        self.discovery.push(Box::new(strategy));
        self
    }

    /// How often strategies are asked that do not say so themselves. Default 5 s, at least 10 ms. Shorter finds sooner and asks
    /// more.
    pub fn discover_every(mut self, period: Duration) -> Self {
        self.discover_every = period;
        self
    }

    /// Joins the federation of a node in this process, below it: parent, join address and CA in one.
    /// For examples and tests with several regions in one process.
    pub fn under(mut self, parent: &Node) -> Self {
        self.parent = Some(parent.region());
        self.join.push(parent.local_address().to_owned());
        self.ca_dir = self.ca_dir.or_else(|| parent.inner().ca_dir.clone());
        self
    }

    /// Where keys, the id blocks and the registry copy are kept. Needed for QUIC. One node at a
    /// time may use a directory.
    pub fn data_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.data_dir = Some(path.as_ref().to_path_buf());
        self
    }

    /// Where the federation's CA (`ca.pem`, `ca.key`) is. Default: the data directory, where a
    /// root's first start makes it. A node with the CA at hand issues its own certificate.
    pub fn ca_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.ca_dir = Some(path.as_ref().to_path_buf());
        self
    }

    /// Runs over the in-process fabric instead of QUIC; for tests.
    pub fn memory(mut self, port: MemoryPort) -> Self {
        self.memory = Some(port);
        self
    }

    /// How long the root leases an alias ([`Node::claim_alias`]); default 15 s, at least 100 ms. Only
    /// the root's setting counts. It bounds how long an alias stays with a holder that is cut off,
    /// and how long a root grants none after a restart. Longer means fewer renewals, three in each
    /// span, and more patience with a root that is away. A root that is restarted with a shorter one
    /// must have been down for the longer one, or two may hold an alias for a moment.
    pub fn alias_ttl(mut self, ttl: Duration) -> Self {
        self.alias_ttl = ttl.max(Duration::from_millis(100));
        self
    }

    /// The boot counter of a node without a data directory; must grow when such a region is
    /// started again. Ignored with a data directory, which counts by itself.
    pub fn boot(mut self, boot: u32) -> Self {
        self.boot = boot.max(1);
        self
    }

    /// Where the region is: the first guess at which others are near.
    pub fn coordinates(mut self, coordinates: Coordinates) -> Self {
        self.coordinates = Some(coordinates);
        self
    }

    /// Dials `region` at this address instead of the one in the registry (split horizon, NAT, tests).
    pub fn dial(mut self, region: RegionId, address: impl Into<String>) -> Self {
        self.dial.insert(region, address.into());
        self
    }

    /// Keeps a link to `region` besides those to the parent and the nearest.
    pub fn link(mut self, region: RegionId) -> Self {
        self.mesh.extra.push(region);
        self
    }

    /// How many of the nearest regions to keep links to. Default 2. More links make shorter
    /// routes and survive more failures; each costs its probes. 0 leaves the bare tree, as
    /// [`topology`](Self::topology) with [`Topology::Tree`] does.
    pub fn nearest(mut self, count: usize) -> Self {
        self.mesh.nearest = count;
        self.bare = count == 0;
        self
    }

    /// Which links are kept: by default [`Topology::Adaptive`], those of the hierarchy and what the
    /// traffic pays for. Any other is a fixed shape, which must be set alike on all regions.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.mesh.topology = topology;
        self.bare = false;
        self
    }

    /// All settings of the mesh at once: limits, thresholds and times. Replaces what
    /// [`link`](Self::link), [`nearest`](Self::nearest) and [`topology`](Self::topology) have set before.
    pub fn mesh(mut self, mesh: MeshConfig) -> Self {
        self.mesh = mesh;
        self.bare = false;
        self
    }

    /// Divides a federation of more than `regions` regions into areas by hierarchy subtree: what a link costs is then known in
    /// its area only, and between areas a few links stand for all. Default 8,192. Must be set alike on all regions, as must
    /// the rest of [`areas`](Self::areas).
    pub fn areas_above(mut self, regions: usize) -> Self {
        self.areas.above = regions;
        self
    }

    /// All settings of areas at once. Replaces what [`areas_above`](Self::areas_above) has set before.
    pub fn areas(mut self, areas: AreaConfig) -> Self {
        self.areas = areas;
        self
    }

    /// For a region that nobody can dial, behind NAT or a firewall: it advertises no address, opens
    /// all its links itself, and talks to others like it over relays. Not for the root.
    pub fn dial_only(mut self) -> Self {
        self.dial_only = true;
        self
    }

    /// Threads for actors that are spawned from outside of the node. With the default of 1 actors
    /// share the hub's thread, which has the least latency; more use more cores.
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = count.max(1);
        self
    }

    /// Threads that run remote tasks, apart from links and actors. Default 1.
    pub fn task_threads(mut self, count: usize) -> Self {
        self.task_threads = count.max(1);
        self
    }

    /// Messages that an actor's mailbox holds before its senders are told `Full`. Default 16,384. Those that came from other
    /// regions together are counted by themselves, so twice as many may wait at the most.
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox_capacity = messages.clamp(1, 1 << 24);
        self
    }

    /// The longest message in bytes, encoded; default 16 MiB. Longer ones are refused as `TooLarge`.
    /// Must be the same on all nodes that exchange such messages.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// After how long a silence a session ends and its unacknowledged messages are given up
    /// (contract C7). Default 10 s.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long [`Node::stop`] waits at most until others have moved their routes away from this region, so that nothing
    /// in transit is lost or delayed. Default 5 s, of which it takes a few round trips; zero leaves at once.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How long `start` waits for a newcomer to become live. Default 30 s.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// How many changes of the registry lie between two of its checkpoints, while this region writes it; 1,024 by
    /// default. Changes older than the last checkpoint but one are let go everywhere, and whoever lacks them fetches a
    /// snapshot instead.
    pub fn registry_checkpoint_every(mut self, changes: u64) -> Self {
        self.checkpoint_every = changes.max(1);
        self
    }

    /// Whether `start` waits until the region is live; true by default. With false it returns as
    /// soon as the node runs: it serves its own region at once, refuses sends to others as
    /// `NotLive`, and goes on trying to join for as long as it takes.
    pub fn wait_until_live(mut self, wait: bool) -> Self {
        self.wait_until_live = wait;
        self
    }

    /// The largest UDP payload that MTU discovery tries, on every link. By default 1452, and 6400 on links within this
    /// machine; a network of jumbo frames gains from some 6400, too.
    pub fn mtu_upper(mut self, bytes: u16) -> Self {
        self.mtu_upper = Some(bytes);
        self
    }

    /// The regions that elect the registry's master: 1, 3 or 5. By default there is only the root, which writes alone. The
    /// setting counts at the root (at other nodes it does nothing), and only until the registry says who the candidates are:
    /// the root proposes them as soon as all of them are live. After that [`Node::set_root_candidates`] changes them.
    /// One candidate that is not the root makes that region the master.
    pub fn root_candidates(mut self, candidates: impl IntoIterator<Item = RegionId>) -> Self {
        self.root_candidates = candidates.into_iter().collect();
        self
    }

    /// How long candidates hear nothing of a leader before one of them stands for election: at least this long, at most twice
    /// as long. Default 2 s, at least 100 ms; a leader gives a sign of life four times in it. Shorter means a shorter time
    /// without a master after one has died, and more elections for nothing where round trips are long or links lossy.
    /// Must be the same at all candidates.
    pub fn election_timeout(mut self, timeout: Duration) -> Self {
        self.election_timeout = timeout.max(Duration::from_millis(100));
        self
    }

    /// How long a newcomer that a delegate admitted while the master was away stays a member without the registry's word, since it
    /// was admitted; default 24 h. See [`Node::delegate_block`]. Each region goes by its own setting. Longer bridges longer
    /// outages of the master, and keeps a newcomer longer that the registry may have to refuse.
    pub fn grant_lifetime(mut self, lifetime: Duration) -> Self {
        self.grant_lifetime = lifetime;
        self
    }

    /// Allows other regions to start this task here. Nothing is startable that is not listed.
    pub fn task<T: Task>(mut self, task: T) -> Self {
        self.offers.add_task(task);
        self
    }

    /// Allows other regions to make actors here with `make`, by [`Node::spawn_at`]. `export` says what
    /// may be sent to them. Nothing can be made that is not listed; several versions of one
    /// name may be.
    ///
    /// ```text
    /// .factory("counter", 1, |args: CounterArgs| Counter::new(args), |export| export.handles::<Add>())
    /// ```
    pub fn factory<A, I, F, E>(
        mut self,
        name: impl Into<String>,
        version: u16,
        make: F,
        export: E,
    ) -> Self
    where
        A: Actor<Context = Context<A>>,
        I: DeserializeOwned + Send + 'static,
        F: Fn(I) -> A + Send + Sync + 'static,
        E: Fn(Export<A>) -> Export<A> + Send + Sync + 'static,
    {
        self.offers.add_factory(name.into(), version, make, export);
        self
    }

    /// Goes by this rule from the start; see [`Node::delineate_with`].
    pub fn delineate_with<D: Delineator>(
        mut self,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        self.rule = Some(("its first rule".to_owned(), own_factory(make)));
        self
    }

    /// Lists a rule of the application under a name, so that it can be chosen while the node runs, by
    /// [`Node::delineate_by`] and by message, as [`Rule::Named`](fedist_registry::Rule::Named). `make` is called whenever it is to be
    /// made anew.
    pub fn rule<D: Delineator>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        self.rules.insert(name.into(), own_factory(make));
        self
    }

    /// Regions that may replace this node's rule, and tell it about regions, by message ([`DelineatorAt`](crate::DelineatorAt)). By
    /// default only its own region may.
    pub fn delineated_by(mut self, regions: impl IntoIterator<Item = RegionId>) -> Self {
        self.delineated_by.extend(regions);
        self
    }

    /// Starts the node on its own threads and waits until it is live. Runs in any executor.
    ///
    /// A region that was live before starts at once from its own copy of the registry, even if
    /// nobody else can be reached (contract C20).
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Cancel safety
    /// Dropping the future stops the half-started node.
    pub async fn start(self) -> Result<Node, StartError> {
        let (launch, started) = self.launch()?;
        launch.spawn()?;
        started
            .await
            .unwrap_or_else(|_| Err(StartError::Thread("it ended while starting".to_owned())))
    }

    /// As [`start`](Self::start), for a plain `main` without an executor. Must not be called from async code.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_blocking(self) -> Result<Node, StartError> {
        let (launch, started) = self.launch()?;
        launch.spawn()?;
        started
            .blocking_recv()
            .unwrap_or_else(|_| Err(StartError::Thread("it ended while starting".to_owned())))
    }

    fn launch(self) -> Result<(Launch, oneshot::Receiver<Result<Node, StartError>>), StartError> {
        let config = |text: String| StartError::Config(text);
        let name = self.name.unwrap_or_else(|| format!("region-{}", self.region));
        let name: RegionName = name.parse().map_err(|error| config(format!("{error}")))?;
        if self.parent == Some(self.region) {
            return Err(config(format!(
                "parent ({}); a region cannot be its own parent; name another or none for the root",
                self.region
            )));
        }
        if self.parent.is_some() && self.join.is_empty() && self.discovery.is_empty() {
            return Err(config(format!(
                "join (missing); region {} has a parent, so it is not the root and must join; give the address of the root or of a hub, or a way to discover one",
                self.region
            )));
        }
        if self.parent.is_none() && !self.join.is_empty() {
            return Err(config(format!(
                "parent (missing); region {} is to join, so it needs a parent; name its parent region",
                self.region
            )));
        }
        if self.memory.is_none() && self.data_dir.is_none() {
            return Err(config(
                "data_dir (missing); a node over QUIC keeps its keys and ids on disk; name a directory".to_owned(),
            ));
        }
        if self.dial_only && self.parent.is_none() {
            return Err(config(format!(
                "dial_only (region {}); the root must be dialed by others; give it an address or make another region the root",
                self.region
            )));
        }
        if let Some(address) = self.advertise.first().filter(|_| self.dial_only) {
            return Err(config(format!(
                "advertise ({address}); a region that only dials has no address for others; leave out one of the two"
            )));
        }
        let mut mesh = self.mesh;
        if self.bare && mesh.topology == Topology::Adaptive {
            mesh.topology = Topology::Tree;
        }
        let mut candidates = self.root_candidates;
        candidates.sort_unstable();
        if !matches!(candidates.len(), 0 | 1 | 3 | 5) || !candidates.is_sorted_by(|a, b| a < b) {
            return Err(config(format!(
                "root_candidates ({} given); there are 1, 3 or 5, none twice; name as many",
                candidates.len()
            )));
        }
        let election = Micros::from_duration(self.election_timeout);
        let listen = resolve(&self.listen).map_err(config)?;
        let (done, started) = oneshot::channel();
        let record = RegionRecord {
            id: self.region,
            name,
            parent: self.parent,
            addresses: self.advertise,
            key_hash: fedist_registry::KeyHash([0; 32]),
            status: Status::Joining,
            coordinates: self.coordinates,
        };
        let session = SessionConfig {
            session_timeout: Micros::from_duration(self.session_timeout),
            max_message: self.max_message + crate::hub::RECORD_ROOM,
            ..SessionConfig::default()
        };
        let quic = match self.mtu_upper {
            Some(mtu) => QuicConfig { mtu_upper: mtu, mtu_loopback: mtu, ..QuicConfig::default() },
            None => QuicConfig::default(),
        };
        let launch = Launch {
            config: HubConfig {
                record,
                join: self.join,
                dial: self.dial,
                mesh,
                areas: self.areas,
                session,
                join_timeout: self.join_timeout,
                drain_timeout: self.drain_timeout,
                checkpoint_every: self.checkpoint_every,
                candidates,
                grant_lifetime: self.grant_lifetime,
                quorum: QuorumConfig {
                    heartbeat: Micros(election.0 / 4),
                    election_min: election,
                    election_max: election + election,
                    ..QuorumConfig::default()
                },
            },
            listen,
            quic,
            data_dir: self.data_dir,
            ca_dir: self.ca_dir,
            memory: self.memory,
            boot: self.boot,
            alias_ttl: self.alias_ttl,
            discovery: self.discovery,
            discover_every: self.discover_every,
            dial_only: self.dial_only,
            wait_until_live: self.wait_until_live,
            arbiters: self.arbiters,
            task_threads: self.task_threads,
            mailbox_capacity: self.mailbox_capacity,
            max_message: self.max_message,
            offers: Arc::new(self.offers),
            delineation: DelineationBook::new(self.rules, self.delineated_by, self.rule),
            done,
        };
        Ok((launch, started))
    }
}

fn resolve(listen: &str) -> Result<SocketAddr, String> {
    listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        format!("listen ({listen}); it must be an address `host:port`; write e.g. 127.0.0.1:4433")
    })
}
