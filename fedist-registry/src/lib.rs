//! Who and where: region ids, hierarchy, registry log, link costs and shortest paths for FeDist.
//!
//! Everything here but [`Store`] is pure: no sockets, no clock, no threads, no randomness. Time comes in as [`Micros`],
//! and what should happen goes out as a value, so a simulator can run thousands of regions from one seed.
//!
//! Reading order:
//!
//! 1. ids: [`RegionId`], [`LocalId`], [`RegionPid`], [`RecordId`], the well-known [`service`]s, and how local ids are given
//!    out once and never again: [`IdBlock`], [`IdAllocator`], [`Store`];
//! 2. the registry: [`RegionRecord`], [`LogEntry`], [`Registry`], [`Snapshot`], [`Hierarchy`], and which region serves
//!    ids of a region that was split, [`Forwarding`]; how copies are kept alike, [`Replication`]; who may write it,
//!    [`quorum`]; newcomers that a delegate admits, [`GrantBook`];
//! 3. links: [`LinkCost`], [`LinkEstimate`], [`LossMeter`], [`SetUpEstimate`], [`RelayDelay`], [`Utilisation`],
//!    [`Strain`], [`LinkLiveness`], and which to open, [`MeshPlanner`]; clocks: [`LinkClock`], [`RootClock`];
//! 4. routes: [`LinkState`], [`LinkStateDb`], when to announce and how it spreads ([`AdvertPace`], [`Flood`], and what others
//!    may ask for: [`Allowance`]), [`ShortestPaths`], [`RouteTable`], [`RouteExplanation`]; large federations:
//!    [`AreaMap`], [`Areas`];
//! 5. which region something belongs to: [`Delineator`], [`PlaceKey`], [`FederationView`], and the rules in the box, [`Rule`].

#![warn(clippy::print_stdout, clippy::print_stderr)]

// Ids.
mod id_allocator;
mod id_block;
mod id_error;
mod local_id;
mod micros;
mod packed_id;
mod record_id;
mod region_id;
mod region_pid;
pub mod service;
mod store;

// The registry.
mod canonical_form;
mod coordinates;
mod forwarding;
mod grant;
mod hash_bytes;
mod hierarchy;
mod key_hash;
mod log;
pub mod quorum;
mod record;
mod region_name;
mod registry;
mod replication;
mod signature;

// Links.
mod clock_offset;
mod hold_down;
mod link_cost;
mod link_estimate;
mod link_liveness;
mod local_health;
mod loss_meter;
mod mesh;
mod relay_delay;
mod root_clock;
mod set_up;
mod strain;
mod transit;
mod utilisation;

// Routes.
mod advertise;
mod allowance;
mod area;
mod area_map;
mod flood;
mod link_state;
mod link_state_db;
mod route;

// Belonging.
mod delineation;
mod discovery;

pub use advertise::{AdvertPace, StatePace};
pub use allowance::Allowance;
pub use area::Areas;
pub use area_map::{AreaConfig, AreaMap};
pub use clock_offset::{ClockInterval, ClockSample, LinkClock};
pub use coordinates::Coordinates;
pub use delineation::{
    Affinity, BoxedRule, BuildRuleError, ByCapacity, ById, ByPrivilege, Caching, ConsistentHash,
    DataAt, Delineator, Fallback, FederationView, FirstOf, Fixed, HierarchyWalk, HomeCache,
    HomeStamp, Homed, MeasuredRegion, Near, Nearest, NoHome, Performance, PlaceKey, Random,
    RangeEntry, RangeTable, RangeTableError, RegionFacts, RegionTable, RegionTableError,
    RoundRobin, Rule, Weight,
};
pub use discovery::{
    AddressBook, BadAddress, News, PeerState, PeerStatus, SourceId, SourceStatus, Standing,
    check_address,
};
pub use flood::{
    Delivery, Digest, Flood, FloodMessage, FloodStats, Heard, MAX_LEAP, MAX_SEQ, Span, is_urgent,
};
pub use forwarding::Forwarding;
pub use grant::{Grant, GrantBook, GrantError, HeldGrant, Settled};
pub use hierarchy::Hierarchy;
pub use hold_down::HoldDown;
pub use id_allocator::{AllocError, BlockSource, IdAllocator, VolatileBlocks};
pub use id_block::{ID_BLOCK_LEN, IdBlock};
pub use id_error::{Excerpt, IdError};
pub use key_hash::{KeyHash, KeyHashError};
pub use link_cost::LinkCost;
pub use link_estimate::LinkEstimate;
pub use link_liveness::{LinkLiveness, Liveness, Patience};
pub use link_state::{LinkAdvert, LinkState};
pub use link_state_db::{LinkEdge, LinkEdges, LinkEnds, LinkStateDb};
pub use local_health::LocalHealth;
pub use local_id::LocalId;
pub use log::{Change, LogEntry, Version};
pub use loss_meter::LossMeter;
pub use mesh::{
    Account, Admission, DialTurn, LinkReason, MeshConfig, MeshPlan, MeshPlanner, MeshView,
    OpenLink, Topology, TopologyError, TrafficLedger, WantedLink, fibre_estimate,
};
pub use micros::Micros;
pub use record::{RegionRecord, Status};
pub use record_id::RecordId;
pub use region_id::RegionId;
pub use region_name::{RegionName, RegionNameError};
pub use region_pid::RegionPid;
pub use registry::{
    ApplyError, BucketHash, Pull, Registry, RegistryError, Snapshot, SnapshotAssembly,
    SnapshotError, SnapshotHeader,
};
pub use relay_delay::RelayDelay;
pub use replication::{Refusal, RegistryMessage, Replication, ReplicationConfig, Step};
pub use root_clock::{ClockAdvert, ClockEstimate, RootClock, RootView};
pub use route::{
    Avoid, DirectWay, ExplainedHop, ExplainedPath, Hops, Route, RouteChange, RouteExplanation,
    RouteHistory, RouteNews, RouteTable, SetUp, ShortestPaths, SpfPace, detour, second_path,
};
pub use set_up::SetUpEstimate;
pub use signature::{BadKey, PublicKey, RegionKey, Seal};
pub use store::{Store, StoreError};
pub use strain::Strain;
pub use transit::is_cut_region;
pub use utilisation::Utilisation;
