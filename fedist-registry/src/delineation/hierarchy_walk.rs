//! Down the tree of regions.

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey, region_table::longest_prefix};
use crate::RegionId;

/// The deepest region that covers the key: from the root on, into the child whose table entry covers the beginning of the
/// name ([`RegionFacts::covers`](super::RegionFacts::covers)), as long as there is one. Of several children the one with the
/// longest beginning. The root covers everything that nobody below it does. A child that is not live is passed by, with all
/// below it: its parent stands in.
#[derive(Clone, Copy, Debug, Default)]
pub struct HierarchyWalk;

impl Delineator for HierarchyWalk {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let tree = view.hierarchy();
        let name = key.bytes();
        let covers = |region: RegionId| {
            let facts = view.table.and_then(|table| table.get(region))?;
            longest_prefix(&facts.covers, &name)
        };
        let mut at = tree.root().filter(|root| view.is_live(*root)).ok_or(NoHome::NoLiveRegion)?;
        // The tree has no loops; the bound keeps a mistake in it from hanging anyone.
        for _ in 0..view.registry.len() {
            let below = tree
                .children(at)
                .filter(|child| view.is_live(*child))
                .filter_map(|child| Some((covers(child)?, std::cmp::Reverse(child))))
                .max();
            match below {
                Some((_, std::cmp::Reverse(child))) => at = child,
                None => break,
            }
        }
        Ok(at)
    }

    fn caching(&self) -> Caching {
        Caching::Registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Change, Registry,
        delineation::{
            RegionFacts, RegionTable,
            testing::{home, region, tree_of},
        },
    };

    #[test]
    fn the_walk_ends_at_the_deepest_region_that_covers_the_key() {
        let mut registry =
            tree_of(&[(1, None), (2, Some(1)), (3, Some(1)), (4, Some(2)), (5, Some(2))]);
        let facts = [(2, "eu/"), (3, "us/"), (4, "eu/de/"), (5, "eu/de/be")];
        let table =
            RegionTable::new(facts.map(|(id, prefix)| RegionFacts::new(region(id)).covers(prefix)))
                .unwrap();
        let check = |registry: &Registry, name: &str, home: u16| {
            let view = FederationView::new(region(3), registry).with_table(&table);
            assert_eq!(HierarchyWalk.home(&name.into(), &view), Ok(region(home)), "{name}");
        };
        check(&registry, "eu/fr/paris", 2);
        check(&registry, "eu/de/koeln", 4);
        check(&registry, "eu/de/berlin", 5);
        check(&registry, "us/ny", 3);
        check(&registry, "asia", 1);
        check(&registry, "", 1);
        registry.propose(1, Change::Leave(region(5))).unwrap();
        check(&registry, "eu/de/berlin", 4);
        assert_eq!(home(&HierarchyWalk, "x", &Registry::new()), Err(NoHome::NoLiveRegion));
        assert_eq!(home(&HierarchyWalk, "eu/", &registry), Ok(region(1)), "without a table");
    }
}
