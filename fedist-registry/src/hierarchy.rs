//! The tree of regions.

use crate::{RegionId, RegionRecord, Registry, Status};

/// The tree of regions, read from a [`Registry`].
///
/// Regions that left are outside the tree: they are nobody's child and never the root. Asking about a tombstone, or about a
/// number that is unknown, gives what its record still says, or nothing.
#[derive(Copy, Clone, Debug)]
pub struct Hierarchy<'a> {
    registry: &'a Registry,
}

impl<'a> Hierarchy<'a> {
    pub(crate) fn new(registry: &'a Registry) -> Self {
        Hierarchy { registry }
    }

    /// The region without a parent; none while nobody has joined.
    pub fn root(&self) -> Option<RegionId> {
        self.registry.root()
    }

    /// The region directly above; none for the root.
    pub fn parent(&self, id: RegionId) -> Option<RegionId> {
        self.registry.get(id)?.parent
    }

    /// The regions directly below, in the order of their numbers.
    pub fn children(&self, id: RegionId) -> impl Iterator<Item = RegionId> + 'a {
        self.staying().filter(move |record| record.parent == Some(id)).map(|record| record.id)
    }

    /// The regions above, nearest first, the root last.
    pub fn ancestors(&self, id: RegionId) -> impl Iterator<Item = RegionId> + 'a {
        let this = *self;
        // The registry's rules keep loops out; the bound keeps a mistake in them from hanging anyone.
        std::iter::successors(self.parent(id), move |above| this.parent(*above))
            .take(self.registry.len())
    }

    /// How many regions are above.
    pub fn depth(&self, id: RegionId) -> usize {
        self.ancestors(id).count()
    }

    /// The lowest region that is both `a` or above `a`, and `b` or above `b`.
    pub fn nearest_common_ancestor(&self, a: RegionId, b: RegionId) -> Option<RegionId> {
        self.registry.get(a)?;
        self.registry.get(b)?;
        let above_b: Vec<RegionId> = std::iter::once(b).chain(self.ancestors(b)).collect();
        std::iter::once(a).chain(self.ancestors(a)).find(|region| above_b.contains(region))
    }

    /// `id` and all regions below it, parents before their children. Empty for a region outside the tree.
    pub fn subtree(&self, id: RegionId) -> Vec<RegionId> {
        let inside = |record: &&RegionRecord| {
            record.id == id || self.ancestors(record.id).any(|above| above == id)
        };
        let mut found: Vec<(usize, RegionId)> = self
            .staying()
            .filter(inside)
            .map(|record| (self.depth(record.id), record.id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, region)| region).collect()
    }

    fn staying(&self) -> impl Iterator<Item = &'a RegionRecord> + 'a {
        self.registry.regions().filter(|record| record.status != Status::Left)
    }
}

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

    /// 9 is the root; 2 and 3 below it; 5 and 4 below 2; 6 below 5; 7 below 3 has left.
    fn tree() -> Registry {
        let mut registry = Registry::new();
        for (id, parent) in [
            (9, None),
            (2, Some(9)),
            (3, Some(9)),
            (5, Some(2)),
            (4, Some(2)),
            (6, Some(5)),
            (7, Some(3)),
        ] {
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
        registry.propose(1, Change::Leave(region(7))).unwrap();
        registry
    }

    #[test]
    fn the_tree_is_read_upwards_and_downwards() {
        let registry = tree();
        let tree = registry.hierarchy();
        assert_eq!(tree.root(), Some(region(9)));
        assert_eq!(tree.parent(region(6)), Some(region(5)));
        assert_eq!(tree.children(region(2)).collect::<Vec<_>>(), regions(&[4, 5]));
        assert_eq!(tree.ancestors(region(6)).collect::<Vec<_>>(), regions(&[5, 2, 9]));
        assert_eq!(tree.depth(region(9)), 0);
        assert_eq!(tree.depth(region(6)), 3);
        assert_eq!(tree.subtree(region(2)), regions(&[2, 4, 5, 6]));
        assert_eq!(tree.subtree(region(9)), regions(&[9, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn the_nearest_common_ancestor_may_be_one_of_the_two() {
        let registry = tree();
        let nearest = |a, b| registry.hierarchy().nearest_common_ancestor(region(a), region(b));
        assert_eq!(nearest(6, 4), Some(region(2)));
        assert_eq!(nearest(4, 6), Some(region(2)));
        assert_eq!(nearest(6, 3), Some(region(9)));
        assert_eq!(nearest(6, 2), Some(region(2)));
        assert_eq!(nearest(6, 6), Some(region(6)));
        assert_eq!(nearest(6, 77), None);
    }

    #[test]
    fn tombstones_and_strangers_are_outside_the_tree() {
        let registry = tree();
        let tree = registry.hierarchy();
        assert_eq!(tree.children(region(3)).next(), None);
        assert!(tree.subtree(region(7)).is_empty());
        assert!(tree.subtree(region(77)).is_empty());
        assert_eq!(tree.parent(region(7)), Some(region(3)), "the record still says it");
        assert_eq!(Registry::new().hierarchy().root(), None);
    }
}
