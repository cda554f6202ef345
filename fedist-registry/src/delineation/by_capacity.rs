//! Where a job finishes earliest.

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey};
use crate::RegionId;

/// The region in which a piece of work will be done first: what waits there already and the piece itself, over the region's
/// speed, and the way there and back. (List scheduling by earliest completion; for independent jobs on machines of different
/// speed see O. H. Ibarra and C. E. Kim, "Heuristic Algorithms for Scheduling Independent Tasks on Nonidentical Processors",
/// J. ACM 24, 1977.)
///
/// Speeds are those measured of the work that was placed from here. A region that is not measured yet counts by the capacity
/// that the application tells, at the rate that the measured ones do per unit of capacity. While nothing is measured, the
/// capacities alone count, and of two regions that finish alike the one that is cheaper to reach. Regions without capacity
/// and those that cannot be reached get nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByCapacity;

impl Delineator for ByCapacity {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let able: Vec<(RegionId, f64)> = view
            .reachable_regions()
            .map(|region| (region, view.capacity(region)))
            .filter(|(_, capacity)| *capacity > 0.0)
            .collect();
        let (mut measured, mut capacities) = (0.0, 0.0);
        for (region, capacity) in &able {
            if let Some(speed) = view.measured_speed(*region) {
                measured += speed;
                capacities += capacity;
            }
        }
        let rate = if capacities > 0.0 { measured / capacities } else { 1.0 };
        let finish = |(region, capacity): &(RegionId, f64)| {
            let speed = view.measured_speed(*region).unwrap_or(capacity * rate);
            let waits = view.queued(*region).saturating_add(key.get_work());
            let transit_s = view.cost_to(*region).map_or(0.0, |cost| cost.as_micros() as f64 / 5e5);
            // Without measurements work has no unit of time that the way could be added to.
            let way = if capacities > 0.0 { transit_s } else { 0.0 };
            (waits as f64 / speed + way, transit_s)
        };
        able.iter()
            .min_by(|a, b| {
                let (a, b) = (finish(a), finish(b));
                a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
            })
            .map(|(region, _)| *region)
            .ok_or(match view.live_regions().next() {
                None => NoHome::NoLiveRegion,
                Some(_) => NoHome::refused("no region with capacity can be reached"),
            })
    }

    fn caching(&self) -> Caching {
        Caching::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Micros, Registry,
        delineation::{
            Performance, RegionFacts, RegionTable,
            testing::{federation, home, region, routes},
        },
    };

    fn capacities(list: &[(u16, f64)]) -> RegionTable {
        RegionTable::new(
            list.iter().map(|(id, capacity)| RegionFacts::new(region(*id)).capacity(*capacity)),
        )
        .unwrap()
    }

    #[test]
    fn work_is_shared_in_proportion_to_the_capacities() {
        let registry = federation(&[1, 2, 3, 4]);
        let table = capacities(&[(2, 1.0), (3, 2.0), (4, 4.0)]);
        let mut performance = Performance::new();
        let mut shares = [0_u64; 5];
        for n in 0..800_u64 {
            let work = 1 + n % 7;
            let view = FederationView::new(region(1), &registry)
                .with_table(&table)
                .with_performance(&performance);
            let home = ByCapacity.home(&PlaceKey::numbered(n).work(work), &view).unwrap();
            shares[usize::from(home.get())] += work;
            performance.handle_placed(Micros(n), home, work);
        }
        let all: u64 = shares.iter().sum();
        for (id, share) in [(1, 1), (2, 1), (3, 2), (4, 4)] {
            let off = shares[id].abs_diff(all * share / 8);
            assert!(off <= 7, "{shares:?}");
        }
    }

    #[test]
    fn measured_speeds_overrule_what_was_told() {
        let registry = federation(&[1, 2]);
        let table = capacities(&[(1, 1.0), (2, 4.0)]);
        let mut performance = Performance::new();
        // Region 2 was said to be faster and is ten times slower.
        for n in 0..4 {
            for (id, ms) in [(1, 10), (2, 100)] {
                performance.handle_placed(Micros::from_millis(n * 1_000), region(id), 1);
                performance.handle_done(Micros::from_millis(n * 1_000 + ms), region(id), 1);
            }
        }
        let view = FederationView::new(region(1), &registry)
            .with_table(&table)
            .with_performance(&performance);
        assert_eq!(ByCapacity.home(&PlaceKey::default(), &view), Ok(region(1)));
    }

    #[test]
    fn a_far_region_gets_work_only_when_the_way_is_worth_it() {
        let registry = federation(&[1, 2]);
        let way = routes(1, &[(1, 2, 100)]);
        let mut performance = Performance::new();
        for n in 0..4 {
            for id in [1, 2] {
                performance.handle_placed(Micros::from_millis(n * 1_000), region(id), 10);
                performance.handle_done(Micros::from_millis(n * 1_000 + 10), region(id), 10);
            }
        }
        let view = |seen| {
            FederationView::new(region(1), &registry).with_routes(&way).with_performance(seen)
        };
        let far = performance.clone();
        assert_eq!(ByCapacity.home(&PlaceKey::default().work(10), &view(&far)), Ok(region(1)));
        performance.handle_placed(Micros::from_millis(5_000), region(1), 1_000);
        let home = ByCapacity.home(&PlaceKey::default().work(10), &view(&performance));
        assert_eq!(
            home,
            Ok(region(2)),
            "a second of work waits at home, the way takes a fifth of one"
        );
    }

    #[test]
    fn regions_without_capacity_or_way_get_nothing() {
        let registry = federation(&[1, 2, 3]);
        let way = routes(1, &[(1, 2, 10)]);
        let table = capacities(&[(1, 0.0), (2, 1.0), (3, 9.0)]);
        let view = FederationView::new(region(1), &registry).with_routes(&way).with_table(&table);
        assert_eq!(ByCapacity.home(&PlaceKey::default(), &view), Ok(region(2)));
        let table = capacities(&[(1, 0.0), (2, 0.0)]);
        let refused = ByCapacity.home(&PlaceKey::default(), &view.with_table(&table));
        assert!(matches!(refused, Err(NoHome::Refused { .. })), "{refused:?}");
        assert_eq!(home(&ByCapacity, "x", &Registry::new()), Err(NoHome::NoLiveRegion));
    }
}
