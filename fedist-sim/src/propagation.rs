//! How a change of the registry reaches everybody.

use fedist_registry::Micros;

use crate::outage::{Spread, Ways};
use crate::{EventQueue, Wiring, World};

/// When the regions had a change that the root made.
#[derive(Copy, Clone, Debug, PartialEq, serde::Serialize)]
pub struct Propagation {
    /// Times in ms, over all regions that are up.
    pub known: Spread,
    /// Regions that got it, as a share of those that are up.
    pub reached: f64,
}

/// A parent pushes the entry to its children; everybody says what it has to its other neighbours, who pull what they lack, so
/// that way takes three times the latency. `down` does neither.
pub fn propagate(world: &World, wiring: &Wiring, down: &[usize]) -> Propagation {
    let ways = Ways::new(world, wiring);
    let arrivals = arrivals(&ways, wiring, down);
    let up = |region: &usize| !down.contains(region);
    let times: Vec<f64> = (0..wiring.len())
        .filter(up)
        .filter_map(|region| arrivals.get(region).filter(|at| **at < Micros::MAX))
        .map(|at| at.0 as f64 / 1e3)
        .collect();
    let all = (0..wiring.len()).filter(up).count();
    Propagation { reached: times.len() as f64 / all.max(1) as f64, known: Spread::of(times) }
}

pub(crate) fn arrivals(ways: &Ways, wiring: &Wiring, down: &[usize]) -> Vec<Micros> {
    let mut arrivals = vec![Micros::MAX; wiring.len()];
    let mut queue = EventQueue::new();
    queue.plan(Micros::ZERO, 0);
    while let Some((now, region)) = queue.pop() {
        match arrivals.get_mut(region) {
            Some(at) if now < *at => *at = now,
            _ => continue,
        }
        for (peer, way) in ways.of(region) {
            let peer = *peer as usize;
            let trips = if wiring.parent(peer) == Some(region) { 1 } else { 3 };
            let at = now + Micros(trips * u64::from(*way)) + APPLY;
            if arrivals.get(peer).is_some_and(|held| at < *held) && !down.contains(&peer) {
                queue.plan(at, peer);
            }
        }
    }
    arrivals
}

/// Checking and applying an entry, and sending it on.
pub(crate) const APPLY: Micros = Micros(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_everybody_even_past_a_dead_hub() {
        let world = World::generate(500, 8);
        let wiring = Wiring::generate(&world, 8);
        let all = propagate(&world, &wiring, &[]);
        assert_eq!(all.reached, 1.0);
        assert!(all.known.max < 1_000.0, "{all:?}");
        let hub = (0..500).find(|region| wiring.parent(*region) == Some(0)).unwrap();
        let without = propagate(&world, &wiring, &[hub]);
        assert_eq!(without.reached, 1.0);
        assert!(without.known.max < 3_000.0, "{without:?}");
    }
}
