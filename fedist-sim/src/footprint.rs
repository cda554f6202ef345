//! What one region of a large federation holds and computes.

use std::hint::black_box;

use fedist_registry::{Avoid, LinkStateDb, Micros, RouteTable, ShortestPaths};

use crate::goal::percentile;
use crate::wiring::region_id;
use crate::{Wiring, World};

/// Time and memory of the link states and routes in one region, when all of them are known there.
#[derive(Copy, Clone, Debug, PartialEq, serde::Serialize)]
pub struct Footprint {
    /// One run of shortest paths to all regions, in ms: the median.
    pub spf_median_ms: f64,
    /// The longest.
    pub spf_max_ms: f64,
    /// Bringing the whole table up to date with hysteresis, in ms: the median.
    pub update_median_ms: f64,
    /// Heap of the link states; they are the graph at the same time.
    pub database_bytes: usize,
    /// Heap of the best routes to all regions, and of second ones to 64 of them.
    pub table_bytes: usize,
    /// Regions that the table reaches.
    pub reached: usize,
    /// Regions that were looked at.
    pub samples: usize,
}

/// Computes the routes of `samples` regions. `clock` is a real one: this is what is measured.
pub fn footprint(
    world: &World,
    wiring: &Wiring,
    samples: usize,
    seed: u64,
    clock: &mut dyn FnMut() -> Micros,
) -> Footprint {
    let mut db = LinkStateDb::new();
    for region in 0..wiring.len() {
        if let Some(state) = wiring.link_state(world, region) {
            db.apply(state);
        }
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut spf, mut updates) = (Vec::new(), Vec::new());
    let (mut table_bytes, mut reached) = (0, usize::MAX);
    for _ in 0..samples {
        let Some(origin) = region_id(random.usize(0..wiring.len().max(1))) else { continue };
        let mut timed = |work: &mut dyn FnMut()| {
            let start = clock();
            work();
            clock().saturating_sub(start).0 as f64 / 1e3
        };
        spf.push(timed(&mut || {
            black_box(ShortestPaths::compute(origin, &db, &Avoid::NOTHING));
        }));
        let mut table = RouteTable::empty(origin);
        table.update(Micros::ZERO, &db, &|_| false);
        updates.push(timed(&mut || {
            table.update(Micros::from_secs(1), &db, &|_| false);
        }));
        let wanted = (0..64).filter_map(|_| region_id(random.usize(0..wiring.len())));
        table.refresh_seconds(Micros::from_secs(1), &db, &|_| false, wanted);
        table_bytes = table_bytes.max(table.memory_bytes());
        reached = reached.min(table.len());
    }
    Footprint {
        spf_median_ms: percentile(&mut spf, 0.5),
        spf_max_ms: percentile(&mut spf, 1.0),
        update_median_ms: percentile(&mut updates, 0.5),
        database_bytes: db.memory_bytes(),
        table_bytes,
        reached: if reached == usize::MAX { 0 } else { reached },
        samples: spf.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_reached_and_the_figures_are_those_of_the_engines() {
        let world = World::generate(300, 8);
        let wiring = Wiring::generate(&world, 8);
        let mut ticks = 0;
        let mut clock = || {
            ticks += 1_000;
            Micros(ticks)
        };
        let found = footprint(&world, &wiring, 3, 1, &mut clock);
        assert_eq!((found.reached, found.samples), (299, 3));
        assert_eq!((found.spf_median_ms, found.update_median_ms), (1.0, 1.0));
        assert!(found.database_bytes > 300 * 60 && found.table_bytes > 300 * 30, "{found:?}");
    }
}
