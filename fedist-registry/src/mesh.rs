//! Which links a region should have open.

use crate::{Coordinates, LinkCost, RegionId, RegionRecord, Registry, Status};

/// What shapes the partial mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// How many of the nearest regions get a link beside the hierarchy's own; 2 by default. More shortens paths and adds
    /// links to keep alive; 0 leaves the bare tree.
    pub nearest: usize,
    /// Regions that always get a link. None by default.
    pub extra: Vec<RegionId>,
    /// Regions that never get a link from here, whatever else speaks for it, the parent too; they may still dial in. None
    /// by default.
    pub avoid: Vec<RegionId>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        MeshConfig { nearest: 2, extra: Vec::new(), avoid: Vec::new() }
    }
}

/// The live regions that `me` should have a link to: its parent, the configured ones, and the nearest others, in this order.
///
/// Children dial their parent, so they are neither here nor among the nearest. Near is what `estimate` says (the cost of
/// one direction, measured); for regions not measured yet, what the distance would take in fibre; those without
/// coordinates come last, by number.
pub fn desired_links(
    me: RegionId,
    registry: &Registry,
    config: &MeshConfig,
    estimate: &dyn Fn(RegionId) -> Option<LinkCost>,
) -> Vec<RegionId> {
    let wanted = |id: &RegionId| *id != me && registry.is_live(*id) && !config.avoid.contains(id);
    let own = registry.get(me).filter(|record| record.status != Status::Left);
    let parent = own.and_then(|record| record.parent);

    let mut links: Vec<RegionId> = Vec::new();
    for id in parent.into_iter().chain(config.extra.iter().copied()).filter(wanted) {
        if !links.contains(&id) {
            links.push(id);
        }
    }

    let mut others: Vec<(LinkCost, RegionId)> = registry
        .live_regions()
        .filter(|record| {
            wanted(&record.id) && record.parent != Some(me) && parent != Some(record.id)
        })
        .map(|record| (nearness(own, record, estimate), record.id))
        .collect();
    others.sort_unstable();
    for (_, id) in others.into_iter().take(config.nearest) {
        if !links.contains(&id) {
            links.push(id);
        }
    }
    links
}

fn nearness(
    own: Option<&RegionRecord>,
    other: &RegionRecord,
    estimate: &dyn Fn(RegionId) -> Option<LinkCost>,
) -> LinkCost {
    let by_distance = || Some(fibre_estimate(&own?.coordinates?, &other.coordinates?));
    estimate(other.id).or_else(by_distance).unwrap_or(LinkCost::MAX)
}

/// What the distance between two places would take in fibre, one way: a guess for a link that was never measured.
pub fn fibre_estimate(from: &Coordinates, to: &Coordinates) -> LinkCost {
    LinkCost::from_micros((from.distance_km(to) * FIBRE_MICROS_PER_KM) as u64)
}

/// Light takes 4.9 µs per km of fibre (refractive index 1.468), and cables are about half as long again as the way on the
/// globe.
const FIBRE_MICROS_PER_KM: f64 = 4.9 * 1.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, KeyHash};

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn regions(ids: &[u16]) -> Vec<RegionId> {
        ids.iter().copied().map(region).collect()
    }

    /// 1 is the root; 2 to 6 are below it, 7 below 2, 8 has left, 9 is joining. Each lies one degree east of the one before,
    /// except 6, which nobody has put on the map.
    fn federation() -> Registry {
        let mut registry = Registry::new();
        for id in 1..=9 {
            let record = RegionRecord {
                id: region(id),
                name: format!("r{id}").parse().unwrap(),
                parent: match id {
                    1 => None,
                    7 => Some(region(2)),
                    _ => Some(region(1)),
                },
                addresses: vec![],
                key_hash: KeyHash([id as u8; 32]),
                status: Status::Joining,
                coordinates: Coordinates::new(0.0, f64::from(id)).filter(|_| id != 6),
            };
            registry.propose(1, Change::Join(record)).unwrap();
            if id != 9 {
                registry.propose(1, Change::Live(region(id))).unwrap();
            }
        }
        registry.propose(1, Change::Leave(region(8))).unwrap();
        registry
    }

    fn links(me: u16, config: &MeshConfig, measured: &[(u16, u64)]) -> Vec<RegionId> {
        let estimate = |id: RegionId| {
            measured
                .iter()
                .find(|(at, _)| region(*at) == id)
                .map(|(_, micros)| LinkCost::from_micros(*micros))
        };
        desired_links(region(me), &federation(), config, &estimate)
    }

    #[test]
    fn the_parent_comes_first_and_then_the_nearest_others() {
        assert_eq!(links(4, &MeshConfig::default(), &[]), regions(&[1, 3, 5]));
        assert_eq!(links(7, &MeshConfig::default(), &[]), regions(&[2, 5, 4]));
        assert_eq!(
            links(1, &MeshConfig { nearest: 5, ..Default::default() }, &[]),
            regions(&[7]),
            "children dial in"
        );
        assert_eq!(links(4, &MeshConfig { nearest: 0, ..Default::default() }, &[]), regions(&[1]));
    }

    #[test]
    fn a_measured_cost_counts_more_than_the_map() {
        assert_eq!(links(4, &MeshConfig::default(), &[(6, 100), (3, 90_000)]), regions(&[1, 6, 5]));
    }

    #[test]
    fn a_region_that_is_nowhere_sees_all_unmeasured_ones_as_equally_far() {
        assert_eq!(links(6, &MeshConfig::default(), &[]), regions(&[1, 2, 3]));
        assert_eq!(links(6, &MeshConfig::default(), &[(5, 70_000)]), regions(&[1, 5, 2]));
    }

    #[test]
    fn configured_regions_are_linked_and_avoided_ones_are_not() {
        let config = MeshConfig { nearest: 1, extra: regions(&[7, 3, 7, 1]), avoid: regions(&[5]) };
        assert_eq!(links(4, &config, &[]), regions(&[1, 7, 3]));
        let config = MeshConfig { nearest: 2, extra: regions(&[5]), avoid: regions(&[5, 1]) };
        assert_eq!(links(4, &config, &[]), regions(&[3, 2]));
    }

    #[test]
    fn nobody_links_to_itself_or_to_regions_that_are_not_live() {
        let config = MeshConfig { nearest: 100, extra: regions(&[4, 8, 9, 77]), avoid: vec![] };
        assert_eq!(links(4, &config, &[]), regions(&[1, 3, 5, 2, 7, 6]));
        assert_eq!(
            links(77, &MeshConfig::default(), &[]),
            regions(&[1, 2]),
            "a stranger has no parent yet"
        );
    }
}
