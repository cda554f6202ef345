//! The network between the ports, and what a test may do to it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fastrand::Rng;
use fedist_registry::RegionId;
use tokio::sync::mpsc;

use super::pipe::Pipe;
use super::port::MemoryPort;
use crate::link::{Link, LinkLimits, NodeClock};

/// A network in memory. Clones are the same network.
///
/// Each directed pair of regions draws its losses from its own generator, seeded from the network's
/// seed and the two numbers, so the same frames in the same order meet the same fate.
#[derive(Clone)]
pub struct MemoryNet(Arc<Mutex<State>>);

struct State {
    seed: u64,
    default_latency: Duration,
    dial_timeout: Duration,
    limits: LinkLimits,
    ports: HashMap<RegionId, Listener>,
    next_listener: u64,
    wires: HashMap<(RegionId, RegionId), Wire>,
    isolated: HashSet<RegionId>,
    clocks: HashMap<RegionId, i64>,
    links: Vec<LinkEnd>,
    stats: MemoryStats,
}

/// Where callers of a region queue.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) id: u64,
    pub(super) callers: mpsc::Sender<Link>,
    pub(super) clock: NodeClock,
}

/// One directed pair of regions.
struct Wire {
    latency: Option<Duration>,
    loss: f64,
    cut: bool,
    rng: Rng,
}

/// What `from` sends on one link.
struct LinkEnd {
    from: RegionId,
    to: RegionId,
    pipe: Weak<Pipe>,
}

/// What became of everything that was sent.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Frames put on their way.
    pub frames_carried: u64,
    /// Frames lost by chance.
    pub frames_lost: u64,
    /// Frames swallowed by a cut.
    pub frames_swallowed: u64,
    /// Links that came up.
    pub links_opened: u64,
}

impl MemoryNet {
    /// A network without latency, loss or cuts, whose chances follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            default_latency: Duration::ZERO,
            dial_timeout: Duration::from_secs(1),
            limits: LinkLimits::default(),
            ports: HashMap::new(),
            next_listener: 0,
            wires: HashMap::new(),
            isolated: HashSet::new(),
            clocks: HashMap::new(),
            links: Vec::new(),
            stats: MemoryStats::default(),
        })))
    }

    /// The port of `region`. A port that was taken before accepts no more callers; its links go on.
    pub fn port(&self, region: RegionId) -> MemoryPort {
        let (callers, incoming) = mpsc::channel(MAX_CALLERS);
        let mut state = self.lock();
        let id = state.next_listener;
        state.next_listener += 1;
        let right = NodeClock::start();
        let ahead = state.clocks.get(&region).copied().unwrap_or_default();
        let clock =
            NodeClock::starting(right.started(), right.base_us().saturating_add_signed(ahead));
        state.ports.insert(region, Listener { id, callers, clock });
        drop(state);
        MemoryPort::new(self.clone(), region, id, clock, incoming)
    }

    /// Makes the clock of each later [`port`](Self::port) of `region` run ahead of the machine's, in µs.
    pub fn set_clock_ahead(&self, region: RegionId, ahead_us: i64) {
        self.lock().clocks.insert(region, ahead_us);
    }

    /// Latency of each pair that has none of its own; default zero.
    pub fn default_latency(&self, latency: Duration) {
        self.lock().default_latency = latency;
    }

    /// Latency from `a` to `b`, one way. Frames already under way keep theirs.
    pub fn set_latency(&self, a: RegionId, b: RegionId, latency: Duration) {
        self.lock().wire(a, b).latency = Some(latency);
    }

    /// The chance that a frame from `a` to `b` is lost, 0.0 to 1.0, one way.
    pub fn set_loss(&self, a: RegionId, b: RegionId, chance: f64) {
        self.lock().wire(a, b).loss = chance;
    }

    /// How long a dial waits for an answer; default 1 s.
    pub fn set_dial_timeout(&self, timeout: Duration) {
        self.lock().dial_timeout = timeout;
    }

    /// Bounds of the send queues of links that come up from now on.
    pub fn set_limits(&self, limits: LinkLimits) {
        self.lock().limits = limits;
    }

    /// Swallows everything sent between `a` and `b` from now on, in both directions.
    pub fn cut(&self, a: RegionId, b: RegionId) {
        let mut state = self.lock();
        state.wire(a, b).cut = true;
        state.wire(b, a).cut = true;
    }

    /// Swallows everything sent from `a` to `b` from now on.
    pub fn cut_one_way(&self, a: RegionId, b: RegionId) {
        self.lock().wire(a, b).cut = true;
    }

    /// Ends the cuts between `a` and `b`. Links that lived through the cut work again.
    pub fn heal(&self, a: RegionId, b: RegionId) {
        let mut state = self.lock();
        state.wire(a, b).cut = false;
        state.wire(b, a).cut = false;
    }

    /// Swallows everything that `region` sends and is sent, until [`rejoin`](Self::rejoin).
    pub fn isolate(&self, region: RegionId) {
        self.lock().isolated.insert(region);
    }

    /// Ends [`isolate`](Self::isolate). Cuts of single pairs stay.
    pub fn rejoin(&self, region: RegionId) {
        self.lock().isolated.remove(&region);
    }

    /// Takes `region` off the network as a power failure would: all its links are gone and nobody is
    /// told. Its own ends of them report the loss. It comes back with a new [`port`](Self::port).
    pub fn crash(&self, region: RegionId) {
        let mut state = self.lock();
        state.ports.remove(&region);
        let mut ends = std::mem::take(&mut state.links);
        drop(state);
        ends.retain(|end| match end.pipe.upgrade() {
            None => false,
            Some(pipe) => {
                if end.from == region {
                    pipe.vanish();
                }
                if end.to == region {
                    pipe.lose_reader("the region has crashed");
                }
                true
            }
        });
        self.lock().links.append(&mut ends);
    }

    /// What became of everything sent so far.
    pub fn stats(&self) -> MemoryStats {
        self.lock().stats
    }

    /// Whether anything may pass from one region to the other now, and how long it takes.
    pub(super) fn passage(&self, from: RegionId, to: RegionId) -> Option<Duration> {
        let mut state = self.lock();
        state.is_open(from, to).then(|| state.latency(from, to))
    }

    /// The fate of `frames` frames: for each, whether it arrives; and the latency.
    pub(super) fn fates(
        &self,
        from: RegionId,
        to: RegionId,
        frames: usize,
        fates: &mut Vec<bool>,
    ) -> Duration {
        fates.clear();
        let mut state = self.lock();
        let state = &mut *state;
        let latency = state.latency(from, to);
        if !state.is_open(from, to) {
            fates.resize(frames, false);
            state.stats.frames_swallowed += frames as u64;
            return latency;
        }
        let wire = state.wire(from, to);
        let loss = wire.loss;
        let arrives = (0..frames).map(|_| loss <= 0.0 || wire.rng.f64() >= loss);
        fates.extend(arrives);
        let carried = fates.iter().filter(|&&arrives| arrives).count();
        state.stats.frames_carried += carried as u64;
        state.stats.frames_lost += (frames - carried) as u64;
        latency
    }

    pub(super) fn listener(&self, region: RegionId) -> Option<Listener> {
        self.lock().ports.get(&region).cloned()
    }

    pub(super) fn is_listening(&self, region: RegionId, id: u64) -> bool {
        self.listener(region).is_some_and(|listener| listener.id == id)
    }

    pub(super) fn stop_listening(&self, region: RegionId, id: u64) {
        let mut state = self.lock();
        if state.ports.get(&region).is_some_and(|listener| listener.id == id) {
            state.ports.remove(&region);
        }
    }

    pub(super) fn dial_timeout(&self) -> Duration {
        self.lock().dial_timeout
    }

    pub(super) fn limits(&self) -> LinkLimits {
        self.lock().limits
    }

    pub(super) fn register(&self, from: RegionId, to: RegionId, pipe: &Arc<Pipe>) {
        let mut state = self.lock();
        state.links.retain(|end| end.pipe.strong_count() > 0);
        state.links.push(LinkEnd { from, to, pipe: Arc::downgrade(pipe) });
    }

    pub(super) fn count_link(&self) {
        self.lock().stats.links_opened += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNet").finish_non_exhaustive()
    }
}

impl State {
    fn wire(&mut self, from: RegionId, to: RegionId) -> &mut Wire {
        let seed = self.seed;
        self.wires.entry((from, to)).or_insert_with(|| {
            let pair = u64::from(from.get()) << 16 | u64::from(to.get());
            // An odd factor spreads neighbouring pairs over all bits (Knuth, multiplicative hashing).
            let spread = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Wire { latency: None, loss: 0.0, cut: false, rng: Rng::with_seed(seed ^ spread) }
        })
    }

    fn is_open(&mut self, from: RegionId, to: RegionId) -> bool {
        !self.isolated.contains(&from) && !self.isolated.contains(&to) && !self.wire(from, to).cut
    }

    fn latency(&mut self, from: RegionId, to: RegionId) -> Duration {
        let default = self.default_latency;
        self.wire(from, to).latency.unwrap_or(default)
    }
}

/// Callers that may wait at a port; more are swallowed.
const MAX_CALLERS: usize = 256;
