//! Near to something.

use super::{Caching, Delineator, FederationView, Near, NoHome, PlaceKey};
use crate::{Coordinates, LinkCost, RegionId};

/// The region nearest to what the key names ([`PlaceKey::near`]): by the great circle for a place on the globe, itself for a
/// region or an actor's one, and if that cannot be reached the one nearest to it by coordinates, else the cheapest from
/// here. A key that names nothing is nearest to the region that asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nearest;

impl Delineator for Nearest {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        match key.get_near() {
            None => near_region(view.here, view),
            Some(Near::Region(region)) => near_region(region, view),
            Some(Near::Pid(pid)) => near_region(view.registry.serving(pid), view),
            Some(Near::Place(place)) => by_distance(place, view)
                .ok_or_else(|| none(view, "no region that can be reached has coordinates")),
        }
    }

    fn caching(&self) -> Caching {
        Caching::View
    }
}

fn near_region(region: RegionId, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
    if view.is_live(region) && view.is_reachable(region) {
        return Ok(region);
    }
    if let Some(nearest) = view.coordinates(region).and_then(|place| by_distance(place, view)) {
        return Ok(nearest);
    }
    let cost = |region: &RegionId| view.cost_to(*region).unwrap_or(LinkCost::MAX);
    view.reachable_regions().min_by_key(cost).ok_or_else(|| none(view, "no region can be reached"))
}

fn by_distance(place: Coordinates, view: &FederationView<'_>) -> Option<RegionId> {
    view.reachable_regions()
        .filter_map(|region| Some((view.coordinates(region)?.distance_km(&place), region)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, region)| region)
}

fn none(view: &FederationView<'_>, why: &str) -> NoHome {
    match view.live_regions().next() {
        None => NoHome::NoLiveRegion,
        Some(_) => NoHome::refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Registry,
        delineation::testing::{federation, home, join, region, routes},
    };

    /// Frankfurt, Virginia, Tokyo.
    fn world() -> Registry {
        let mut registry = Registry::new();
        for (id, lat, lon) in [(1, 50.1, 8.7), (2, 39.0, -77.5), (3, 35.7, 139.7)] {
            let parent = (id != 1).then_some(1);
            join(&mut registry, id, parent, Coordinates::new(lat, lon));
        }
        registry
    }

    #[test]
    fn a_place_belongs_to_the_region_nearest_on_the_globe() {
        let registry = world();
        for (lat, lon, nearest) in [(48.9, 2.4, 1), (45.5, -73.6, 2), (37.6, 127.0, 3)] {
            let key = PlaceKey::default().near(Near::Place(Coordinates { lat, lon }));
            assert_eq!(home(&Nearest, key, &registry), Ok(region(nearest)));
        }
    }

    #[test]
    fn an_actor_is_near_to_its_region_and_else_to_the_next_one() {
        let registry = world();
        let key = PlaceKey::default().near(Near::Pid("3.300".parse().unwrap()));
        assert_eq!(home(&Nearest, key.clone(), &registry), Ok(region(3)));
        assert_eq!(home(&Nearest, PlaceKey::default(), &registry), Ok(region(1)));
        // Tokyo cannot be reached: over the pole, Frankfurt is nearer to it than Virginia.
        let way = routes(1, &[(1, 2, 40)]);
        let view = FederationView::new(region(1), &registry).with_routes(&way);
        assert_eq!(Nearest.home(&key, &view), Ok(region(1)));
    }

    #[test]
    fn without_coordinates_the_cheapest_region_stands_in() {
        let registry = federation(&[2, 3, 4]);
        let way = routes(1, &[(1, 2, 40), (1, 3, 10)]);
        let view = FederationView::new(region(1), &registry).with_routes(&way);
        let key = PlaceKey::default().near(Near::Region(region(4)));
        assert_eq!(Nearest.home(&key, &view), Ok(region(3)));
        let place = PlaceKey::default().near(Near::Place(Coordinates { lat: 0.0, lon: 0.0 }));
        assert!(matches!(Nearest.home(&place, &view), Err(NoHome::Refused { .. })));
        assert_eq!(home(&Nearest, place, &Registry::new()), Err(NoHome::NoLiveRegion));
    }
}
