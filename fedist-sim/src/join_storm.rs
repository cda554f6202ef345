//! Many regions that join at the same time.

use std::collections::VecDeque;

use fedist_registry::Micros;

use crate::outage::{Spread, Ways};
use crate::propagation::{APPLY, arrivals};
use crate::{EventQueue, Wiring, World};

/// What a storm needs to be known.
#[derive(Copy, Clone, Debug)]
pub struct StormConfig {
    /// Regions that join.
    pub newcomers: usize,
    /// All of them start within this time.
    pub within: Micros,
    /// What the root needs for one change: check, sign, append, store. Measure it.
    pub root_service: Micros,
    /// What a newcomer must load, in bytes.
    pub snapshot_bytes: u64,
    /// Bytes per second that a region can send; newcomers at one parent share them.
    pub bandwidth: u64,
    /// One entry of the log, in bytes.
    pub entry_bytes: u64,
}

/// What the storm did.
#[derive(Copy, Clone, Debug, PartialEq, serde::Serialize)]
pub struct Storm {
    /// From the first packet of a newcomer until it knows that it is live, in ms.
    pub live: Spread,
    /// From the first packet of the first one until everybody knows of the last, in ms.
    pub all_known_ms: f64,
    /// Entries that the log grew by.
    pub entries: usize,
    /// Bytes of the log that each region receives.
    pub bytes_per_region: u64,
    /// Bytes of snapshots that went to newcomers, all together.
    pub snapshot_bytes: u64,
    /// Changes that waited at the root, at most.
    pub root_backlog: usize,
    /// Newcomers that waited at one parent for their snapshot, at most.
    pub parent_backlog: usize,
}

/// What happens to newcomer number .0.
enum Event {
    /// It dials its parent.
    Start(usize),
    /// A request of it is at the root: to be taken in, or to be made live.
    AtRoot(usize, Request),
    /// The root is done with the request that it was at.
    Written,
    /// The entry of its request is at its parent.
    AtParent(usize, Request),
    /// The parent has sent a whole snapshot to it.
    Sent(usize),
    /// It holds the snapshot and has its links.
    Ready(usize),
}

#[derive(Copy, Clone, PartialEq)]
enum Request {
    Join,
    Activate,
}

/// Lets newcomers join a federation below random regions that have few children. Each dials its parent (two round trips with
/// the greeting), asks to be taken in, which goes up the tree to the root; the root takes one request after the other and
/// pushes each entry down the tree; the parent sends the snapshot, to one newcomer after the other; then the newcomer opens
/// its other links (two round trips of at most 300 ms) and asks to be made live, the same way.
pub fn join_storm(world: &World, wiring: &Wiring, config: &StormConfig, seed: u64) -> Storm {
    let ways = Ways::new(world, wiring);
    let down = arrivals(&ways, wiring, &[]);
    let slowest = down.iter().filter(|at| **at < Micros::MAX).max().copied().unwrap_or_default();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut children = vec![0_usize; wiring.len()];
    for parent in (0..wiring.len()).filter_map(|region| wiring.parent(region)) {
        if let Some(count) = children.get_mut(parent) {
            *count += 1;
        }
    }
    let mut newcomers = Vec::new();
    while newcomers.len() < config.newcomers && !wiring.is_empty() {
        let parent = random.usize(0..wiring.len());
        let leaves = children.get(parent).is_some_and(|count| *count <= Wiring::FAN_OUT);
        if leaves {
            let way = Micros(random.u64(300..8_000));
            newcomers.push((parent, way, Micros(random.u64(0..config.within.0.max(1)))));
        }
    }
    let up = |parent: usize| tree_way(&ways, wiring, parent);
    let mut queue = EventQueue::new();
    for (number, (_, _, start)) in newcomers.iter().enumerate() {
        queue.plan(*start, Event::Start(number));
    }
    let mut root: VecDeque<(usize, Request)> = VecDeque::new();
    let mut serving: Vec<VecDeque<usize>> = vec![VecDeque::new(); wiring.len()];
    let sending = Micros(config.snapshot_bytes.saturating_mul(1_000_000) / config.bandwidth.max(1));
    let (mut live, mut last_written) = (Vec::new(), Micros::ZERO);
    let (mut root_backlog, mut parent_backlog, mut entries) = (0, 0, 0);
    while let Some((now, event)) = queue.pop() {
        let of = |number: usize| newcomers.get(number).copied().unwrap_or_default();
        match event {
            Event::Start(number) => {
                let (parent, way, _) = of(number);
                let dialed = now + Micros(5 * way.0);
                queue.plan(dialed + up(parent), Event::AtRoot(number, Request::Join));
            }
            Event::AtRoot(number, request) => {
                root.push_back((number, request));
                root_backlog = root_backlog.max(root.len());
                if root.len() == 1 {
                    queue.plan(now + config.root_service, Event::Written);
                }
            }
            Event::Written => {
                if let Some((number, request)) = root.pop_front() {
                    entries += 1;
                    last_written = now;
                    let (parent, _, _) = of(number);
                    let way = down.get(parent).copied().unwrap_or(Micros::MAX);
                    queue.plan(now + way, Event::AtParent(number, request));
                }
                if !root.is_empty() {
                    queue.plan(now + config.root_service, Event::Written);
                }
            }
            Event::AtParent(number, Request::Join) => {
                let (parent, _, _) = of(number);
                if let Some(waiting) = serving.get_mut(parent) {
                    waiting.push_back(number);
                    parent_backlog = parent_backlog.max(waiting.len());
                    if waiting.len() == 1 {
                        queue.plan(now + sending, Event::Sent(number));
                    }
                }
            }
            Event::Sent(number) => {
                let (parent, way, _) = of(number);
                // The links to the others are dialed when the registry is there.
                let links = Micros(4 * random.u64(5_000..75_000));
                queue.plan(now + way + links, Event::Ready(number));
                if let Some(waiting) = serving.get_mut(parent) {
                    waiting.pop_front();
                    if let Some(next) = waiting.front() {
                        queue.plan(now + sending, Event::Sent(*next));
                    }
                }
            }
            Event::Ready(number) => {
                let (parent, way, _) = of(number);
                queue.plan(now + way + up(parent), Event::AtRoot(number, Request::Activate));
            }
            Event::AtParent(number, Request::Activate) => {
                let (_, way, start) = of(number);
                live.push((now + way + APPLY).saturating_sub(start).0 as f64 / 1e3);
            }
        }
    }
    Storm {
        live: Spread::of(live),
        all_known_ms: (last_written + slowest).0 as f64 / 1e3,
        entries,
        bytes_per_region: entries as u64 * config.entry_bytes,
        snapshot_bytes: newcomers.len() as u64 * config.snapshot_bytes,
        root_backlog,
        parent_backlog,
    }
}

/// The way up the tree to the root, with what each region on it needs to pass a request on.
fn tree_way(ways: &Ways, wiring: &Wiring, from: usize) -> Micros {
    let mut at = from;
    let mut total = Micros::ZERO;
    while let Some(parent) = wiring.parent(at) {
        let link = ways.of(at).iter().find(|(peer, _)| *peer as usize == parent);
        total += Micros(link.map_or(0, |(_, way)| u64::from(*way))) + APPLY;
        at = parent;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(newcomers: usize, root_service: Micros) -> Storm {
        let world = World::generate(500, 8);
        let wiring = Wiring::generate(&world, 8);
        let config = StormConfig {
            newcomers,
            within: Micros::from_secs(1),
            root_service,
            snapshot_bytes: 100_000,
            bandwidth: 12_500_000,
            entry_bytes: 250,
        };
        join_storm(&world, &wiring, &config, 3)
    }

    #[test]
    fn everybody_gets_in_and_each_takes_two_entries() {
        let storm = storm(200, Micros(500));
        assert_eq!(storm.entries, 400);
        assert_eq!(storm.bytes_per_region, 100_000);
        assert!(storm.live.max < 5_000.0, "{storm:?}");
        assert!(storm.all_known_ms >= storm.live.max, "{storm:?}");
    }

    #[test]
    fn a_slow_root_makes_a_backlog_and_still_serves_all() {
        let (quick, slow) = (storm(100, Micros(10)), storm(100, Micros::from_millis(50)));
        assert!(slow.root_backlog > 4 * quick.root_backlog, "{quick:?} {slow:?}");
        assert_eq!(slow.entries, 200);
        // The root is busy from the first request to the last.
        assert!(slow.all_known_ms > 200.0 * 50.0);
    }
}
