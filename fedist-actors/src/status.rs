//! What a node shows of itself: for `fedist regions`, `links`, `routes` and for programs.

use std::collections::BTreeMap;

use fedist_registry::{
    ClockEstimate, Coordinates, LinkReason, PeerStatus, RegionId, SourceStatus, Status,
};
use serde::{Deserialize, Serialize};

/// A snapshot of one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's region.
    pub region: RegionId,
    /// The region's name.
    pub name: String,
    /// Starts of this data directory.
    pub boot: u32,
    /// Whether the region may send across regions.
    pub live: bool,
    /// Where the node listens.
    pub address: String,
    /// Index of the last registry change held here.
    pub registry_index: u64,
    /// Who writes the registry, as far as is known here.
    #[serde(default)]
    pub master: Option<RegionId>,
    /// Who elects the master; nobody where the root writes alone.
    #[serde(default)]
    pub candidates: Vec<RegionId>,
    /// Living actors, services and tasks.
    pub processes: usize,
    /// This node's receive-to-send delay for frames in transit, 90th percentile, in µs.
    pub relay_delay_us: u32,
    /// The same as others are told, stretched by how busy the node is, in µs.
    pub relay_cost_us: u64,
    /// Share of the time in which the hub's thread was not free, 0 to 1.
    pub utilisation: f64,
    /// Whether others are asked to send frames in transit elsewhere.
    pub refuses_transit: bool,
    /// This node's clock against the root's.
    pub clock: Option<ClockEstimate>,
    /// Whether it is drained: others are asked not to pass through it.
    pub draining: bool,
    /// How far this node distrusts its own view of others: 0, healthy, to 8; see [`LocalHealth`](fedist_registry::LocalHealth).
    pub local_health: u8,
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
    /// Messages that reached nobody, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Counted events of the hub (frames forwarded, frames dropped by reason, relay restarts, ...).
    pub counters: BTreeMap<String, u64>,
    /// Every region in the registry copy.
    pub regions: Vec<RegionStatus>,
    /// The links that are up.
    pub links: Vec<LinkStatus>,
    /// The route to every region that can be reached.
    pub routes: Vec<RouteStatus>,
    /// The open sessions.
    pub sessions: Vec<SessionStatus>,
    /// The addresses that were discovered or connected to by hand.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
    /// Who is asked for addresses.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// The regions that were parted from by hand.
    #[serde(default)]
    pub disconnected: Vec<RegionId>,
}

/// One region as the registry copy has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Number.
    pub id: RegionId,
    /// Name.
    pub name: String,
    /// Parent in the hierarchy; `None` for the root.
    pub parent: Option<RegionId>,
    /// Public addresses.
    pub addresses: Vec<String>,
    /// Hash of the region's key, in hex.
    pub key_hash: String,
    /// Joining, live or left.
    pub status: Status,
    /// Where it is, if it says so.
    pub coordinates: Option<Coordinates>,
    /// Whether it is a member by a delegate's word only, while the registry's master is away.
    #[serde(default)]
    pub provisional: bool,
    /// Whether a path leads there now.
    pub reachable: bool,
}

/// One link that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The region at the other end.
    pub peer: RegionId,
    /// Its name, if the registry copy has it.
    pub name: String,
    /// Whether this side opened it.
    pub dialed: bool,
    /// Why it is open, as this side sees it.
    pub reason: LinkReason,
    /// Whether it is about to be closed: no route uses it any more.
    pub closing: bool,
    /// Smoothed round trip from the traffic's stamps, in ms.
    pub rtt_ms: Option<f64>,
    /// Least round trip of the last 30 to 60 s, in ms.
    pub rtt_min_ms: Option<f64>,
    /// Mean deviation of the round trip, in ms.
    pub rtt_deviation_ms: Option<f64>,
    /// Cost of sending one way over it, in ms: propagation and queueing.
    pub cost_ms: Option<f64>,
    /// The part of the cost that is queueing and losses, in ms.
    pub queueing_ms: Option<f64>,
    /// What the others were told of its cost, in ms; none before it is announced.
    #[serde(default)]
    pub told_ms: Option<f64>,
    /// Packets lost, in thousandths, as far as that is certain.
    pub loss_permille: u16,
    /// The clock at the other end less the own one, in ms.
    pub clock_offset_ms: Option<f64>,
    /// How far that is from the truth at most, in ms.
    pub clock_error_ms: Option<f64>,
    /// Probes sent from here; a link with traffic needs none.
    pub probes_sent: u64,
    /// After how long without a sign of life it is probed, in ms.
    pub probe_idle_ms: u64,
    /// What it took to set up a link to this region beyond the round trips, in ms.
    pub set_up_ms: f64,
    /// Frames written to it.
    pub frames_sent: u64,
    /// Frames read from it.
    pub frames_received: u64,
    /// Bytes of UDP sent, all overhead included.
    pub bytes_sent: u64,
    /// Bytes of UDP received.
    pub bytes_received: u64,
    /// Whether it is silent at the moment, so that traffic goes over other links.
    pub suspect: bool,
    /// Whether the others were told of it; not yet so while it proves itself or is held down for failing too often.
    pub announced: bool,
    /// For how long it has been up, in ms.
    pub up_ms: u64,
}

/// The route to one region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The destination.
    pub to: RegionId,
    /// The regions passed, this one first, the destination last.
    pub path: Vec<RegionId>,
    /// Predicted cost one way, in ms.
    pub cost_ms: f64,
    /// The second path, taken when the first one breaks, written like it. Kept for regions with a session; empty where none
    /// is known.
    #[serde(default)]
    pub second_path: Vec<RegionId>,
    /// Predicted cost of the second path, in ms.
    #[serde(default)]
    pub second_cost_ms: Option<f64>,
    /// For how long this path has been in use, in ms.
    #[serde(default)]
    pub since_ms: u64,
    /// How often the path has changed, the first one included.
    #[serde(default)]
    pub changes: u32,
}

/// The session with one region. `accepted = delivered + dropped + in_flight` at any moment (C10).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The region at the other end.
    pub peer: RegionId,
    /// Records accepted by the session.
    pub accepted: u64,
    /// Records acknowledged end to end.
    pub delivered: u64,
    /// Records that ended with a session.
    pub dropped: u64,
    /// Records not settled yet.
    pub in_flight: u64,
    /// Frames sent again.
    pub retransmitted: u64,
    /// Frames that came twice and were dropped.
    pub duplicates: u64,
    /// Round trip of the session, in ms.
    pub rtt_ms: Option<f64>,
}
