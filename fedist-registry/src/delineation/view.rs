//! What a rule may look at.

use super::{Performance, RegionTable};
use crate::{Coordinates, Hierarchy, LinkCost, RegionId, Registry, RouteTable};

/// The federation as a rule sees it: who is there, which way and at what cost from here, what the application says about
/// its regions, and what was measured of their work.
#[derive(Copy, Clone, Debug)]
#[non_exhaustive]
pub struct FederationView<'a> {
    /// The region that asks.
    pub here: RegionId,
    /// Who is there.
    pub registry: &'a Registry,
    /// Which way to them, where the asker has routes.
    pub routes: Option<&'a RouteTable>,
    /// What the application tells about its regions.
    pub table: Option<&'a RegionTable>,
    /// What has been measured of the work that was placed from here.
    pub performance: Option<&'a Performance>,
}

impl<'a> FederationView<'a> {
    /// A view of the members alone; routes, table and measurements are added where there are some.
    pub fn new(here: RegionId, registry: &'a Registry) -> Self {
        Self { here, registry, routes: None, table: None, performance: None }
    }

    /// With the routes from here.
    pub fn with_routes(mut self, routes: &'a RouteTable) -> Self {
        self.routes = Some(routes);
        self
    }

    /// With what the application tells about its regions.
    pub fn with_table(mut self, table: &'a RegionTable) -> Self {
        self.table = Some(table);
        self
    }

    /// With what was measured.
    pub fn with_performance(mut self, performance: &'a Performance) -> Self {
        self.performance = Some(performance);
        self
    }

    /// The live regions in the order of their numbers, whether they can be reached now or not.
    pub fn live_regions(&self) -> impl Iterator<Item = RegionId> + 'a {
        self.registry.live_regions().map(|record| record.id)
    }

    /// The live regions that a frame could be sent to now, in the order of their numbers; the own one among them if it is live.
    pub fn reachable_regions(&self) -> impl Iterator<Item = RegionId> + 'a {
        let view = *self;
        self.live_regions().filter(move |region| view.is_reachable(*region))
    }

    /// Whether a frame could be sent there now: it is here, or there is a route. Unknown routes count as open.
    pub fn is_reachable(&self, region: RegionId) -> bool {
        region == self.here || self.routes.is_none_or(|routes| routes.get(region).is_some())
    }

    /// Whether the region is a live member.
    pub fn is_live(&self, region: RegionId) -> bool {
        self.registry.is_live(region)
    }

    /// The tree of regions.
    pub fn hierarchy(&self) -> Hierarchy<'a> {
        self.registry.hierarchy()
    }

    /// What the present route from here costs, one way; nothing for the own region, `None` where there is no route.
    pub fn cost_to(&self, region: RegionId) -> Option<LinkCost> {
        if region == self.here {
            return Some(LinkCost::ZERO);
        }
        self.routes?.get(region).map(|route| route.cost)
    }

    /// How fast the region works beside others, as the application says; 1 for a region that it says nothing about.
    pub fn capacity(&self, region: RegionId) -> f64 {
        self.table
            .and_then(|table| table.get(region))
            .and_then(|facts| facts.capacity)
            .unwrap_or(1.0)
    }

    /// Units of work that were placed there from here and are not done.
    pub fn queued(&self, region: RegionId) -> u64 {
        self.performance.map_or(0, |performance| performance.queued(region))
    }

    /// Units of work per second that the region does, as measured from here; `None` until some pieces are done.
    pub fn measured_speed(&self, region: RegionId) -> Option<f64> {
        self.performance?.speed(region)
    }

    /// Where the region is: by the application's table, else by the registry.
    pub fn coordinates(&self, region: RegionId) -> Option<Coordinates> {
        let told = self.table.and_then(|table| table.get(region)?.coordinates);
        told.or_else(|| self.registry.get(region)?.coordinates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::testing::{federation, region};

    #[test]
    fn reachable_is_here_or_routed_or_not_known_to_be_otherwise() {
        let registry = federation(&[1, 2]);
        let table = RouteTable::empty(region(1));
        let view = FederationView::new(region(1), &registry);
        assert!(view.is_reachable(region(2)));
        assert_eq!(view.cost_to(region(1)), Some(LinkCost::ZERO));
        assert_eq!(view.cost_to(region(2)), None);
        let view = view.with_routes(&table);
        assert!(view.is_reachable(region(1)) && !view.is_reachable(region(2)));
        assert_eq!(view.reachable_regions().collect::<Vec<_>>(), [region(1)]);
    }

    #[test]
    fn a_region_that_nothing_is_said_about_has_capacity_one_and_no_speed() {
        let registry = federation(&[1]);
        let view = FederationView::new(region(1), &registry);
        assert_eq!(view.capacity(region(1)), 1.0);
        assert_eq!(view.queued(region(1)), 0);
        assert_eq!(view.measured_speed(region(1)), None);
        assert_eq!(view.coordinates(region(1)), None);
    }
}
