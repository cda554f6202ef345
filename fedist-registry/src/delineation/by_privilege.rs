//! Where a piece costs least to bring.

use super::{
    Caching, DataAt, Delineator, FederationView, NoHome, PlaceKey, region_table::longest_prefix,
};
use crate::RegionId;

/// The region that is privileged for a piece: where bringing together what it needs costs least.
///
/// What it needs is the data that the key says lies in some regions ([`PlaceKey::data_at`]), or else lies where the
/// application's table says that names like this are held, and what travels with it from here ([`PlaceKey::carries`]). The
/// cost is bytes times the cost of the links between the two regions, as far as it is known here, times the affinity that
/// the table declares between them. Of regions that cost the same, the one in which less waits wins, and then the nearer.
///
/// A key of which nothing is known is refused, so that another rule may decide ([`FirstOf`](super::FirstOf)).
#[derive(Clone, Copy, Debug, Default)]
pub struct ByPrivilege;

impl Delineator for ByPrivilege {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let mut needs = match key.data() {
            [] => holders(key, view),
            told => told.to_vec(),
        };
        if needs.is_empty() {
            return Err(NoHome::refused("nothing is known of where its data lies"));
        }
        if key.get_carries() > 0 {
            needs.push(DataAt { region: view.here, bytes: key.get_carries() });
        }
        view.reachable_regions()
            .min_by(|a, b| {
                let cost = |region| needs.iter().map(|need| bring(need, region, view)).sum::<f64>();
                cost(*a)
                    .total_cmp(&cost(*b))
                    .then_with(|| view.queued(*a).cmp(&view.queued(*b)))
                    .then_with(|| view.cost_to(*a).cmp(&view.cost_to(*b)))
            })
            .ok_or(NoHome::NoLiveRegion)
    }

    /// What waits where decides between equals only.
    fn caching(&self) -> Caching {
        Caching::View
    }
}

/// The regions that hold names like this, by the longest beginning that is told of it.
fn holders(key: &PlaceKey, view: &FederationView<'_>) -> Vec<DataAt> {
    let name = key.bytes();
    let told = view.table.into_iter().flat_map(|table| table.iter());
    let held: Vec<(usize, RegionId)> = told
        .filter_map(|facts| Some((longest_prefix(&facts.holds, &name)?, facts.region)))
        .collect();
    let longest = held.iter().map(|(len, _)| *len).max();
    held.into_iter()
        .filter(|(len, _)| Some(*len) == longest)
        .map(|(_, region)| DataAt { region, bytes: key.get_work().max(1) })
        .collect()
}

/// What it costs to bring this to `region`.
fn bring(need: &DataAt, region: RegionId, view: &FederationView<'_>) -> f64 {
    if need.region == region {
        return 0.0;
    }
    let factor = view
        .table
        .and_then(|table| table.get(region))
        .map_or(1.0, |facts| facts.factor(need.region));
    need.bytes as f64 * way(need.region, region, view) * factor
}

/// The cost of the links between two regions in ms. Ways that do not begin here count as the way over here: an upper bound
/// that keeps their order where nothing better is known; a millisecond where nothing is.
fn way(from: RegionId, to: RegionId, view: &FederationView<'_>) -> f64 {
    let ms = |region| view.cost_to(region).map(|cost| cost.as_micros() as f64 / 1e3);
    match (ms(from), ms(to)) {
        (Some(there), Some(back)) => (there + back).max(0.01),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::{
        RegionFacts, RegionTable,
        testing::{federation, region, routes},
    };

    #[test]
    fn a_piece_goes_where_most_of_its_data_is() {
        let registry = federation(&[1, 2, 3]);
        let view = FederationView::new(region(1), &registry);
        let key = PlaceKey::named("a").data_at(region(2), 10).data_at(region(3), 90);
        assert_eq!(ByPrivilege.home(&key, &view), Ok(region(3)));
        let key = PlaceKey::named("a").data_at(region(2), 10).carries(1_000);
        assert_eq!(ByPrivilege.home(&key, &view), Ok(region(1)), "the heavier part stays here");
    }

    #[test]
    fn a_cheap_way_lets_much_travel_and_a_dear_one_little() {
        let registry = federation(&[1, 2, 3]);
        // Region 2 is next door, region 3 is far away: 60 bytes from 2 to 3 cost more than 40 from 3 to 2 only
        // with the way over here counted alike, so the table decides.
        let way = routes(1, &[(1, 2, 1), (1, 3, 100)]);
        let view = FederationView::new(region(1), &registry).with_routes(&way);
        let key = PlaceKey::named("a").data_at(region(2), 40).data_at(region(3), 60);
        assert_eq!(ByPrivilege.home(&key, &view), Ok(region(3)));
        let table =
            RegionTable::new([RegionFacts::new(region(2)).affinity(region(3), 0.1)]).unwrap();
        assert_eq!(ByPrivilege.home(&key, &view.with_table(&table)), Ok(region(2)));
    }

    #[test]
    fn the_table_tells_where_names_are_held() {
        let registry = federation(&[1, 2, 3]);
        let table = RegionTable::new([
            RegionFacts::new(region(2)).holds("logs/"),
            RegionFacts::new(region(3)).holds("logs/paris/"),
        ])
        .unwrap();
        let view = FederationView::new(region(1), &registry).with_table(&table);
        let home = |name: &str| ByPrivilege.home(&name.into(), &view);
        assert_eq!(home("logs/rome/1"), Ok(region(2)));
        assert_eq!(home("logs/paris/1"), Ok(region(3)));
        let unknown = home("mail/1");
        assert!(matches!(unknown, Err(NoHome::Refused { .. })), "{unknown:?}");
    }

    #[test]
    fn what_cannot_be_reached_is_not_chosen() {
        let registry = federation(&[1, 2, 3]);
        let way = routes(1, &[(1, 2, 1)]);
        let view = FederationView::new(region(1), &registry).with_routes(&way);
        let key = PlaceKey::named("a").data_at(region(3), 60).data_at(region(2), 1);
        assert_eq!(ByPrivilege.home(&key, &view), Ok(region(2)));
    }
}
