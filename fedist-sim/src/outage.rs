//! How long a loss takes to be noticed, and to be known everywhere.

use fedist_registry::{LinkEstimate, LinkLiveness, Liveness, Micros, Patience};

use crate::goal::percentile;
use crate::{EventQueue, RttModel, Wiring, World};

/// Times in ms, over all regions and all samples.
#[derive(Copy, Clone, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// Half of them are at most this.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    pub(crate) fn of(mut times: Vec<f64>) -> Spread {
        Spread {
            p50: percentile(&mut times, 0.5),
            p99: percentile(&mut times, 0.99),
            max: percentile(&mut times, 1.0),
        }
    }
}

/// What a loss did.
#[derive(Copy, Clone, Debug, PartialEq, serde::Serialize)]
pub struct Outage {
    /// From the loss until the neighbour that noticed last gave the link up.
    pub detection: Spread,
    /// From then until a region has heard.
    pub flood: Spread,
    /// Regions that heard, as a share of those that live.
    pub heard: f64,
    /// Losses that were tried.
    pub samples: usize,
}

/// The links with their latencies in one piece, so that a flood over 65,534 regions is quick.
#[derive(Debug)]
pub(crate) struct Ways {
    links: Vec<Vec<(u32, u32)>>,
}

impl Ways {
    pub(crate) fn new(world: &World, wiring: &Wiring) -> Ways {
        let way = |from: usize, to: usize| {
            let us = world.one_way_us(from, to)?;
            Some((u32::try_from(to).ok()?, u32::try_from(us).ok()?))
        };
        let links = (0..wiring.len())
            .map(|from| wiring.neighbours(from).filter_map(|to| way(from, to)).collect());
        Ways { links: links.collect() }
    }

    pub(crate) fn of(&self, region: usize) -> &[(u32, u32)] {
        self.links.get(region).map_or(&[], Vec::as_slice)
    }

    /// When each region hears first what starts at the given places and times and is passed on over all links, with
    /// [`HOLD`] in each region. [`Micros::MAX`] for those that never hear.
    pub(crate) fn flood(
        &self,
        starts: &[(usize, Micros)],
        open: impl Fn(usize, usize) -> bool,
    ) -> Vec<Micros> {
        let mut arrivals = vec![Micros::MAX; self.links.len()];
        let mut queue = EventQueue::new();
        for (region, at) in starts {
            queue.plan(*at, *region);
        }
        while let Some((now, region)) = queue.pop() {
            match arrivals.get_mut(region) {
                Some(at) if now < *at => *at = now,
                _ => continue,
            }
            for (peer, way) in self.of(region) {
                let (peer, at) = (*peer as usize, now + Micros(u64::from(*way)) + HOLD);
                if arrivals.get(peer).is_some_and(|held| at < *held) && open(region, peer) {
                    queue.plan(at, peer);
                }
            }
        }
        arrivals
    }
}

/// Cuts `samples` links, one after the other. A loss is heard of when the state of either end has come: a link counts only
/// while both ends advertise it.
pub fn link_losses(world: &World, wiring: &Wiring, samples: usize, seed: u64) -> Outage {
    let ways = Ways::new(world, wiring);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut detection, mut flood, mut heard) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..samples {
        let a = random.usize(0..wiring.len());
        let peers = ways.of(a);
        let Some((b, way)) = peers.get(random.usize(0..peers.len().max(1))).copied() else {
            continue;
        };
        let b = b as usize;
        let rtt = 2 * u64::from(way);
        let noticed = [a, b].map(|end| (end, detection_time(rtt, random.u64(..))));
        let first = noticed.iter().map(|(_, at)| *at).min().unwrap_or_default();
        detection.push(first.0 as f64 / 1e3);
        let cut = |x: usize, y: usize| (x, y) != (a, b) && (y, x) != (a, b);
        let arrivals = ways.flood(&noticed, cut);
        heard += collect(&arrivals, first, &mut flood, |_| true);
    }
    Outage {
        detection: Spread::of(detection),
        flood: Spread::of(flood),
        heard: heard / samples as f64,
        samples,
    }
}

/// Takes `samples` regions away, one after the other. A region counts as down for somebody when the states of all its
/// neighbours have come there.
pub fn region_losses(world: &World, wiring: &Wiring, samples: usize, seed: u64) -> Outage {
    let ways = Ways::new(world, wiring);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut detection, mut flood, mut heard) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..samples {
        let gone = random.usize(0..wiring.len());
        let noticed: Vec<(usize, Micros)> = ways
            .of(gone)
            .iter()
            .map(|(peer, way)| {
                (*peer as usize, detection_time(2 * u64::from(*way), random.u64(..)))
            })
            .collect();
        let last = noticed.iter().map(|(_, at)| *at).max().unwrap_or_default();
        detection.push(last.0 as f64 / 1e3);
        let mut complete = vec![Micros::ZERO; wiring.len()];
        for start in &noticed {
            let arrivals = ways.flood(&[*start], |_, to| to != gone);
            for (complete, at) in complete.iter_mut().zip(arrivals) {
                *complete = (*complete).max(at);
            }
        }
        heard += collect(&complete, last, &mut flood, |region| region != gone);
    }
    Outage {
        detection: Spread::of(detection),
        flood: Spread::of(flood),
        heard: heard / samples as f64,
        samples,
    }
}

/// Adds the times since `start` and gives the share of those that heard.
fn collect(
    arrivals: &[Micros],
    start: Micros,
    times: &mut Vec<f64>,
    counts: impl Fn(usize) -> bool,
) -> f64 {
    let (mut heard, mut all) = (0_u32, 0_u32);
    for (region, at) in arrivals.iter().enumerate().filter(|(region, _)| counts(*region)) {
        all += 1;
        if *at < Micros::MAX {
            heard += 1;
            times.push(at.saturating_sub(start).0 as f64 / 1e3);
        }
        let _ = region;
    }
    f64::from(heard) / f64::from(all.max(1))
}

/// How long a link that is in use but idle is silent before its end gives it up: the real estimate and the real watch, with
/// ticks every 25 ms, probes after 1 s of silence, and the loss at a random moment between two probes.
fn detection_time(rtt_us: u64, seed: u64) -> Micros {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = RttModel::new(rtt_us, 0.0, random.u64(..));
    let mut estimate = LinkEstimate::new();
    let mut now = Micros::ZERO;
    for _ in 0..50 {
        now += IDLE;
        estimate.sample(now, model.sample(IDLE));
    }
    let mut liveness = LinkLiveness::new(now);
    let lost_at = now + Micros(random.u64(0..IDLE.0));
    let mut answer: Option<Micros> = None;
    for _ in 0..4_000 {
        now += TICK;
        if let Some(at) = answer.filter(|at| *at <= now) {
            if at < lost_at {
                liveness.handle_rx(now);
            }
            answer = None;
        }
        let probe = Micros(u64::from(estimate.probe_timeout_us()));
        let patience =
            Patience { frame: probe + ACK_DELAY, probe, last: probe.max(LEAST_LAST), idle: IDLE };
        if liveness.handle_timeout(now, patience, Micros::ZERO) == Liveness::Down {
            break;
        }
        if liveness.wants_probe(now) {
            liveness.handle_tx(now);
            answer = Some(now + Micros(u64::from(model.sample(IDLE))));
        }
    }
    now.saturating_sub(lost_at)
}

const IDLE: Micros = Micros::from_secs(1);
const TICK: Micros = Micros::from_millis(25);
/// As the hub waits.
const ACK_DELAY: Micros = Micros::from_millis(25);
const LEAST_LAST: Micros = Micros::from_millis(200);
/// From the arrival of a state in a region until it is sent on.
const HOLD: Micros = Micros(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_takes_the_shortest_way_to_every_region() {
        let world = World::generate(60, 2);
        let wiring = Wiring::generate(&world, 2);
        let arrivals = Ways::new(&world, &wiring).flood(&[(3, Micros(10))], |_, _| true);
        // Bellman and Ford, as a naive reference.
        let mut naive = vec![u64::MAX; 60];
        naive[3] = 10;
        for _ in 0..60 {
            for a in (0..60).filter(|a| naive[*a] < u64::MAX).collect::<Vec<_>>() {
                for b in wiring.neighbours(a) {
                    naive[b] = naive[b].min(naive[a] + HOLD.0 + world.one_way_us(a, b).unwrap());
                }
            }
        }
        assert_eq!(arrivals.iter().map(|at| at.0).collect::<Vec<_>>(), naive);
    }

    #[test]
    fn a_loss_is_noticed_within_seconds_and_then_known_everywhere_within_half_a_second() {
        let world = World::generate(400, 2);
        let wiring = Wiring::generate(&world, 2);
        for outage in [link_losses(&world, &wiring, 20, 3), region_losses(&world, &wiring, 5, 3)] {
            assert_eq!(outage.heard, 1.0, "{outage:?}");
            assert!(outage.detection.p50 > 100.0 && outage.detection.max < 5_000.0, "{outage:?}");
            assert!(outage.flood.p50 > 10.0 && outage.flood.max < 500.0, "{outage:?}");
        }
    }

    #[test]
    fn a_dead_idle_link_is_given_up_after_its_probe_and_three_time_outs() {
        for seed in 0..50 {
            let time = detection_time(80_000, seed);
            assert!((200_000..2_500_000).contains(&time.0), "{time}");
        }
    }
}
