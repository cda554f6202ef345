//! Whether others depend on a region to reach each other.

use std::collections::{BTreeSet, VecDeque};

use petgraph::visit::IntoNeighbors;

use crate::{LinkStateDb, RegionId};

/// Whether some of `region`'s neighbours reach each other only through it, as far as the link states say.
///
/// Such a region must not refuse frames in transit, however busy it is: slow is better than cut off. Regions that refuse
/// already are taken as ends of ways only. One walk over the links.
pub fn is_cut_region(region: RegionId, db: &LinkStateDb) -> bool {
    let neighbours: Vec<RegionId> = db.neighbors(region).collect();
    if neighbours.len() < 2 {
        return false;
    }
    let carries = |region: RegionId| db.contains(region) && !db.no_transit(region);
    // From one that lets others through: what it reaches, they all reach.
    let Some(start) = neighbours.iter().copied().find(|neighbour| carries(*neighbour)) else {
        return true;
    };
    let mut reached = BTreeSet::from([start]);
    let mut next = VecDeque::from([start]);
    while let Some(at) = next.pop_front() {
        for neighbour in db.neighbors(at) {
            if neighbour != region && reached.insert(neighbour) && carries(neighbour) {
                next.push_back(neighbour);
            }
        }
    }
    neighbours.iter().any(|neighbour| !reached.contains(neighbour))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkAdvert, LinkCost, LinkState};

    fn id(number: u16) -> RegionId {
        RegionId::new(number).unwrap()
    }

    /// A federation with these links; those in `refusing` say no-transit.
    fn federation(links: &[(u16, u16)], refusing: &[u16]) -> LinkStateDb {
        let mut db = LinkStateDb::new();
        for region in links.iter().flat_map(|(a, b)| [*a, *b]).collect::<BTreeSet<u16>>() {
            let links = links
                .iter()
                .filter_map(|(a, b)| match region {
                    _ if region == *a => Some(*b),
                    _ if region == *b => Some(*a),
                    _ => None,
                })
                .map(|to| LinkAdvert::new(id(to), LinkCost::from_units(1)))
                .collect();
            db.apply(LinkState {
                region: id(region),
                seq: 1,
                relay: LinkCost::ZERO,
                no_transit: refusing.contains(&region),
                links,
            });
        }
        db
    }

    #[test]
    fn the_middle_of_a_chain_is_needed_and_its_ends_are_not() {
        let db = federation(&[(1, 2), (2, 3)], &[]);
        assert!(is_cut_region(id(2), &db));
        assert!(!is_cut_region(id(1), &db) && !is_cut_region(id(9), &db));
    }

    #[test]
    fn one_side_of_a_diamond_can_be_spared_unless_the_other_refuses() {
        let diamond = [(1, 2), (2, 4), (1, 3), (3, 4)];
        assert!(!is_cut_region(id(2), &federation(&diamond, &[])));
        assert!(!is_cut_region(id(2), &federation(&diamond, &[2])), "its own word does not count");
        assert!(is_cut_region(id(2), &federation(&diamond, &[3])));
    }

    #[test]
    fn a_link_that_only_one_end_announces_is_none() {
        let mut db = federation(&[(1, 2), (2, 4), (1, 3), (3, 4)], &[]);
        db.apply(LinkState {
            region: id(3),
            seq: 2,
            relay: LinkCost::ZERO,
            no_transit: false,
            links: Vec::new(),
        });
        assert!(is_cut_region(id(2), &db));
    }
}
