//! The routes of one region of 1,024, by themselves.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use fedist::prelude::RegionId;
use fedist::registry::{LinkCost, LinkState, LinkStateDb, Micros, RouteTable};
use fedist_sim::{Wiring, World};
use hdrhistogram::Histogram;

use crate::run::{Outcome, Run};
use crate::work::P50;

/// Nanoseconds for one look-up.
pub(crate) const LOOK_UP: &str = "look_up";

/// One link's cost moves: its state is taken, and the table brought up to date.
pub(crate) fn change(run: &Run) -> Result<Outcome> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut federation = Federation::new()?;
    let mut table = RouteTable::compute(RegionId::new(1)?, &federation.db);
    ensure!(table.len() == REGIONS - 1, "{} regions are reached", table.len());
    let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut now = Micros::from_secs(1);
    for span in [run.warm_up, run.span] {
        micros.reset();
        let start = Instant::now();
        while start.elapsed() < span {
            let state = federation.moved(&mut random)?;
            // Others hold the last table meanwhile, as a node's view does.
            let view = table.clone();
            now += Micros::from_secs(1);
            let begun = Instant::now();
            federation.db.apply(state);
            black_box(table.update(now, &federation.db, &|_| false));
            micros.saturating_record(u64::try_from(begun.elapsed().as_nanos())?);
            drop(view);
        }
    }
    Ok([(P50.to_owned(), micros.value_at_quantile(0.5) as f64 / 1e3)].into())
}

/// Where a message goes next: one destination after the other.
pub(crate) fn look_up(run: &Run) -> Result<Outcome> {
    let mut random = fastrand::Rng::with_seed(1);
    let federation = Federation::new()?;
    let table = RouteTable::compute(RegionId::new(1)?, &federation.db);
    let mut regions: Vec<RegionId> = table.iter().map(|(region, _)| region).collect();
    random.shuffle(&mut regions);
    let mut each = 0.0;
    for span in [run.warm_up, run.span] {
        let (start, mut count) = (Instant::now(), 0_u64);
        while start.elapsed() < span {
            for _ in 0..100 {
                for region in &regions {
                    black_box(table.get(black_box(*region)).and_then(|route| route.next_hop()));
                }
            }
            count += 100 * regions.len() as u64;
        }
        each = start.elapsed().as_secs_f64() * 1e9 / count as f64;
    }
    Ok([(LOOK_UP.to_owned(), each)].into())
}

/// Link states of all regions, with the links that the mesh planner keeps and the costs of generated places.
struct Federation {
    db: LinkStateDb,
}

impl Federation {
    fn new() -> Result<Self> {
        let world = World::generate(REGIONS, SEED);
        let wiring = Wiring::generate(&world, SEED);
        let mut db = LinkStateDb::new();
        for region in 0..REGIONS {
            db.apply(wiring.link_state(&world, region).context("a region without a state")?);
        }
        Ok(Self { db })
    }

    /// The next state of some region: one of its links costs half as much, up to twice as much.
    fn moved(&self, random: &mut fastrand::Rng) -> Result<LinkState> {
        let region = RegionId::new(random.u16(1..=REGIONS as u16))?;
        let mut state = self.db.get(region).context("a region without a state")?;
        state.seq += 1;
        let link = random.usize(0..state.links.len());
        let link = state.links.get_mut(link).context("a region without links")?;
        let units = f64::from(link.cost.units()) * (0.5 + 1.5 * random.f64());
        link.cost = LinkCost::from_units(units as u32 + 1);
        Ok(state)
    }
}

const REGIONS: usize = 1_024;
const SEED: u64 = 8;
