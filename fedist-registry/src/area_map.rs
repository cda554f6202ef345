//! Which regions belong together, read from the registry alone.

use std::collections::BTreeMap;

use crate::{RegionId, Registry, Status};

/// When a federation is divided into areas, and how.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AreaConfig {
    /// Up to this many regions everybody knows all links; 8,192 by default.
    pub above: usize,
    /// Regions of an area, at most; 4,096 by default. Fewer make less to know inside and longer ways between areas.
    pub max_area: usize,
    /// Links from one area to any one other that are known everywhere, at most, as chosen by each of the two; 2 by default.
    pub links_between: usize,
    /// Links to other areas that one area chooses to be known everywhere, at most; 16 by default.
    /// Those to areas next to it in the tree are always among them.
    pub max_cross: usize,
}

impl Default for AreaConfig {
    fn default() -> Self {
        AreaConfig { above: 8_192, max_area: 4_096, links_between: 2, max_cross: 16 }
    }
}

/// The area of each region. It is named after the region at its top.
///
/// The area of a region is the highest subtree above it that has at most [`AreaConfig::max_area`] regions; a region with more
/// below it is an area of its own. All regions with the same registry and configuration come to the same map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AreaMap {
    /// Empty while all regions are one area.
    areas: BTreeMap<RegionId, RegionId>,
    /// The area that each area hangs below.
    above: BTreeMap<RegionId, RegionId>,
    /// Each region with its parent, where that is in the same area; parents before their children.
    tree: Vec<(RegionId, Option<RegionId>)>,
    /// Regions per area.
    sizes: BTreeMap<RegionId, usize>,
}

impl AreaMap {
    /// Everybody in one area.
    pub fn flat() -> AreaMap {
        AreaMap::default()
    }

    /// The areas of the regions that have not left.
    pub fn new(registry: &Registry, config: &AreaConfig) -> AreaMap {
        let staying = || registry.regions().filter(|record| record.status != Status::Left);
        if staying().count() <= config.above {
            return AreaMap::flat();
        }
        // Parents before children, from the top down.
        let mut children: BTreeMap<RegionId, Vec<RegionId>> = BTreeMap::new();
        let mut order: Vec<RegionId> = Vec::new();
        for record in staying() {
            let known = |parent: &RegionId| {
                registry.get(*parent).is_some_and(|record| record.status != Status::Left)
            };
            match record.parent.filter(known) {
                Some(parent) => children.entry(parent).or_default().push(record.id),
                None => order.push(record.id),
            }
        }
        let mut parents: BTreeMap<RegionId, RegionId> = BTreeMap::new();
        let mut at = 0;
        while let Some(region) = order.get(at).copied() {
            at += 1;
            for child in children.remove(&region).unwrap_or_default() {
                parents.insert(child, region);
                order.push(child);
            }
        }
        let mut below: BTreeMap<RegionId, usize> = BTreeMap::new();
        for region in order.iter().rev() {
            let size = *below.entry(*region).and_modify(|size| *size += 1).or_insert(1);
            if let Some(parent) = parents.get(region) {
                *below.entry(*parent).or_insert(0) += size;
            }
        }
        let small =
            |region: &RegionId| below.get(region).is_some_and(|size| *size <= config.max_area);
        let mut areas: BTreeMap<RegionId, RegionId> = BTreeMap::new();
        for region in &order {
            let above = parents.get(region).filter(|parent| small(parent));
            let area = above.and_then(|parent| areas.get(parent)).copied().unwrap_or(*region);
            areas.insert(*region, area);
        }
        let above =
            areas.values().filter_map(|area| Some((*area, *areas.get(parents.get(area)?)?)));
        let above = above.collect();
        let mut sizes = BTreeMap::new();
        for area in areas.values() {
            *sizes.entry(*area).or_insert(0) += 1;
        }
        let inside = |region: &RegionId| {
            parents.get(region).copied().filter(|parent| areas.get(parent) == areas.get(region))
        };
        let tree = order.iter().map(|region| (*region, inside(region))).collect();
        AreaMap { areas, above, tree, sizes }
    }

    /// Whether there is more than one area.
    pub fn is_split(&self) -> bool {
        !self.areas.is_empty()
    }

    /// The area of a region, by its top; none for regions that are not in the tree, and while all are one area.
    pub fn area_of(&self, region: RegionId) -> Option<RegionId> {
        self.areas.get(&region).copied()
    }

    /// Whether two regions know each other's links. Always, while all are one area; never, if one is not in the tree.
    pub fn same_area(&self, a: RegionId, b: RegionId) -> bool {
        !self.is_split() || self.area_of(a).is_some_and(|area| self.area_of(b) == Some(area))
    }

    /// Whether one of two areas hangs below the other one in the tree.
    pub fn are_tree_neighbours(&self, a: RegionId, b: RegionId) -> bool {
        self.above.get(&a) == Some(&b) || self.above.get(&b) == Some(&a)
    }

    /// All regions with their parents, where those are in the same area; parents before their children.
    pub(crate) fn tree(&self) -> &[(RegionId, Option<RegionId>)] {
        &self.tree
    }

    /// Regions in an area; 0 for one that does not exist.
    pub fn size_of(&self, area: RegionId) -> usize {
        self.sizes.get(&area).copied().unwrap_or(0)
    }

    /// All regions with their areas, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, RegionId)> {
        self.areas.iter().map(|(region, area)| (*region, *area))
    }

    /// How many areas there are; 0 while all are one.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether all regions are one area.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Change, KeyHash, RegionRecord};

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    /// Region 1 is the root, the parents of 2, 3... are given.
    fn registry(parents: &[u16]) -> Registry {
        let mut registry = Registry::new();
        for (id, parent) in (1..).zip(std::iter::once(None).chain(parents.iter().map(|p| Some(*p))))
        {
            let record = RegionRecord {
                id: region(id),
                name: format!("r{id}").parse().unwrap(),
                parent: parent.map(region),
                addresses: vec![],
                key_hash: KeyHash([id as u8; 32]),
                status: Status::Joining,
                coordinates: None,
            };
            registry.propose(1, Change::Join(record)).unwrap();
        }
        registry
    }

    fn config(above: usize, max_area: usize) -> AreaConfig {
        AreaConfig { above, max_area, ..AreaConfig::default() }
    }

    #[test]
    fn an_area_is_the_highest_subtree_that_is_small_enough() {
        // 1 above 2 and 3; 2 above 4 and 5; 3 above 6; 4 above 7.
        let registry = registry(&[1, 1, 2, 2, 3, 4]);
        let area = |max: usize, id: u16| {
            AreaMap::new(&registry, &config(6, max)).area_of(region(id)).unwrap().get()
        };
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|id| area(4, id)), [1, 2, 3, 2, 2, 3, 2]);
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|id| area(2, id)), [1, 2, 3, 4, 5, 3, 4]);
        assert_eq!(AreaMap::new(&registry, &config(6, 4)).len(), 3);
    }

    #[test]
    fn small_federations_are_one_area() {
        let registry = registry(&[1, 1, 2]);
        let map = AreaMap::new(&registry, &config(4, 2));
        assert!(!map.is_split() && map.same_area(region(1), region(4)));
        let map = AreaMap::new(&registry, &config(3, 2));
        assert!(map.is_split() && !map.same_area(region(1), region(4)));
        assert!(map.same_area(region(2), region(4)));
        assert!(!map.same_area(region(2), region(77)));
    }

    #[test]
    fn a_region_that_left_is_in_no_area() {
        let mut registry = registry(&[1, 1, 2]);
        registry.propose(1, Change::Leave(region(4))).unwrap();
        let map = AreaMap::new(&registry, &config(0, 2));
        assert_eq!(map.area_of(region(4)), None);
        assert_eq!(map.area_of(region(2)), Some(region(2)));
    }

    proptest! {
        #[test]
        fn areas_are_connected_in_the_tree_and_none_is_too_large(
            parents in prop::collection::vec(any::<u16>(), 1..40), max in 1_usize..12
        ) {
            let parents: Vec<u16> =
                parents.iter().enumerate().map(|(at, pick)| 1 + pick % (at as u16 + 1)).collect();
            let registry = registry(&parents);
            let map = AreaMap::new(&registry, &config(0, max));
            for (id, area) in map.iter() {
                let size = map.iter().filter(|(_, other)| *other == area).count();
                prop_assert!(size <= max);
                let parent = registry.get(id).unwrap().parent;
                prop_assert!(id == area || parent.and_then(|up| map.area_of(up)) == Some(area));
            }
            prop_assert_eq!(map.iter().count(), parents.len() + 1);
        }
    }
}
