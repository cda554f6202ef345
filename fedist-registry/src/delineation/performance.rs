//! What has been measured of the work that was placed in each region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Micros, RegionId};

/// Work placed and done, by region: how much waits there, and how fast it is done, as seen from the region that placed it.
///
/// The speed of a region is the work done there over the time in which something waited for it to be done; both fade with a
/// half-life of 30 s of such time, so that it follows a region that gets faster or slower. The way there and back is part of
/// it: that is what placing work there brings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Performance {
    regions: BTreeMap<RegionId, Load>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Load {
    /// Units and pieces that were placed and are not done.
    queued: u64,
    pieces: u64,
    done_pieces: u64,
    done_work: u64,
    failed: u64,
    /// Fading sums.
    work: f64,
    busy_s: f64,
    /// Up to when the time that something waited is counted.
    counted_to: Micros,
}

/// What was measured of one region.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRegion {
    /// Which one.
    pub region: RegionId,
    /// Units of work that were placed there and are not done.
    pub queued: u64,
    /// Pieces that were placed there and are not done.
    pub queued_pieces: u64,
    /// Units of work that were done there.
    pub done: u64,
    /// Pieces that were done there.
    pub done_pieces: u64,
    /// Pieces that failed there, or of which nothing was heard.
    pub failed_pieces: u64,
    /// Units of work per second; `None` until enough was done.
    pub speed: Option<f64>,
}

impl Performance {
    /// Nothing measured.
    pub fn new() -> Self {
        Self::default()
    }

    /// Work has been placed in a region.
    pub fn handle_placed(&mut self, now: Micros, region: RegionId, work: u64) {
        let load = self.regions.entry(region).or_default();
        load.count_time(now);
        load.queued = load.queued.saturating_add(work);
        load.pieces += 1;
    }

    /// Placed work is done.
    pub fn handle_done(&mut self, now: Micros, region: RegionId, work: u64) {
        let Some(load) = self.regions.get_mut(&region) else { return };
        load.count_time(now);
        load.settle(work);
        load.work += work as f64;
        load.done_pieces += 1;
        load.done_work = load.done_work.saturating_add(work);
    }

    /// Placed work came to nothing there, or is not waited for any more.
    pub fn handle_failed(&mut self, now: Micros, region: RegionId, work: u64) {
        let Some(load) = self.regions.get_mut(&region) else { return };
        load.count_time(now);
        load.settle(work);
        load.failed += 1;
    }

    /// Placed work was called off; that says nothing about the region.
    pub fn handle_withdrawn(&mut self, now: Micros, region: RegionId, work: u64) {
        let Some(load) = self.regions.get_mut(&region) else { return };
        load.count_time(now);
        load.settle(work);
    }

    /// Units of work that were placed there and are not done.
    pub fn queued(&self, region: RegionId) -> u64 {
        self.regions.get(&region).map_or(0, |load| load.queued)
    }

    /// Units of work per second; `None` until three pieces were done there.
    pub fn speed(&self, region: RegionId) -> Option<f64> {
        self.regions.get(&region)?.speed()
    }

    /// What was measured of each region that work was placed in.
    pub fn regions(&self) -> impl Iterator<Item = MeasuredRegion> + '_ {
        self.regions.iter().map(|(region, load)| MeasuredRegion {
            region: *region,
            queued: load.queued,
            queued_pieces: load.pieces,
            done: load.done_work,
            done_pieces: load.done_pieces,
            failed_pieces: load.failed,
            speed: load.speed(),
        })
    }
}

impl Load {
    /// Adds the time since the last event if something waited in it.
    fn count_time(&mut self, now: Micros) {
        if self.pieces > 0 {
            let passed = now.saturating_sub(self.counted_to).0 as f64 / 1e6;
            let kept = 0.5_f64.powf(passed / HALF_LIFE_S);
            self.work *= kept;
            self.busy_s = self.busy_s * kept + passed;
        }
        self.counted_to = self.counted_to.max(now);
    }

    fn settle(&mut self, work: u64) {
        self.queued = self.queued.saturating_sub(work);
        self.pieces = self.pieces.saturating_sub(1);
    }

    fn speed(&self) -> Option<f64> {
        let measured = self.done_pieces >= ENOUGH_PIECES && self.busy_s > 0.0 && self.work > 0.0;
        measured.then(|| self.work / self.busy_s)
    }
}

const HALF_LIFE_S: f64 = 30.0;
const ENOUGH_PIECES: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::testing::region;

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    #[test]
    fn what_is_placed_waits_until_it_is_done() {
        let mut seen = Performance::new();
        let one = region(1);
        seen.handle_placed(ms(0), one, 10);
        seen.handle_placed(ms(0), one, 30);
        assert_eq!(seen.queued(one), 40);
        seen.handle_done(ms(1), one, 10);
        seen.handle_failed(ms(2), one, 30);
        assert_eq!(seen.queued(one), 0);
        seen.handle_done(ms(3), region(2), 5);
        let shown: Vec<_> = seen.regions().collect();
        assert_eq!(shown.len(), 1, "nothing is done that was not placed");
        assert_eq!((shown[0].done_pieces, shown[0].done, shown[0].failed_pieces), (1, 10, 1));
        seen.handle_placed(ms(4), one, 7);
        seen.handle_withdrawn(ms(5), one, 7);
        assert_eq!((seen.queued(one), seen.regions().next().unwrap().failed_pieces), (0, 1));
    }

    #[test]
    fn speed_is_work_over_the_time_in_which_some_waited() {
        let mut seen = Performance::new();
        let one = region(1);
        for at in 0..4 {
            // Half a second each, with pauses between them that do not count.
            seen.handle_placed(ms(at * 2_000), one, 100);
            assert_eq!(seen.speed(one).is_some(), at >= 3);
            seen.handle_done(ms(at * 2_000 + 500), one, 100);
        }
        let speed = seen.speed(one).unwrap();
        assert!((speed - 200.0).abs() < 2.0, "{speed}");
    }

    #[test]
    fn speed_follows_a_region_that_slows_down() {
        let mut seen = Performance::new();
        let one = region(1);
        let mut now = 0;
        for step in [100, 400] {
            for _ in 0..600 {
                seen.handle_placed(ms(now), one, 100);
                now += step;
                seen.handle_done(ms(now), one, 100);
            }
        }
        let speed = seen.speed(one).unwrap();
        assert!((250.0..265.0).contains(&speed), "{speed}");
    }
}
