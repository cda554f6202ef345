//! Small federations for the tests of the rules.

use super::{Delineator, FederationView, NoHome, PlaceKey};
use crate::{
    Change, Coordinates, KeyHash, LinkAdvert, LinkCost, LinkState, LinkStateDb, RegionId,
    RegionRecord, Registry, RouteTable, Status,
};

pub(crate) fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

/// Live regions, all below the first.
pub(crate) fn federation(live: &[u16]) -> Registry {
    let root = live.first().copied();
    let tree: Vec<(u16, Option<u16>)> =
        live.iter().map(|id| (*id, root.filter(|root| root != id))).collect();
    tree_of(&tree)
}

/// Live regions with their parents.
pub(crate) fn tree_of(regions: &[(u16, Option<u16>)]) -> Registry {
    let mut registry = Registry::new();
    for (id, parent) in regions {
        join(&mut registry, *id, *parent, None);
    }
    registry
}

pub(crate) fn join(
    registry: &mut Registry,
    id: u16,
    parent: Option<u16>,
    coordinates: Option<Coordinates>,
) {
    let record = RegionRecord {
        id: region(id),
        name: format!("r{id}").parse().unwrap(),
        parent: parent.map(region),
        addresses: vec![],
        key_hash: KeyHash([id as u8; 32]),
        status: Status::Joining,
        coordinates,
    };
    registry.propose(1, Change::Join(record)).unwrap();
    registry.propose(1, Change::Live(region(id))).unwrap();
}

/// Routes from `origin` over links with these costs in ms, alike in both directions.
pub(crate) fn routes(origin: u16, links: &[(u16, u16, u64)]) -> RouteTable {
    let mut db = LinkStateDb::new();
    let mut ends: Vec<u16> = links.iter().flat_map(|(a, b, _)| [*a, *b]).collect();
    ends.sort_unstable();
    ends.dedup();
    for end in ends {
        let adverts = links.iter().filter_map(|(a, b, ms)| {
            let other = if *a == end {
                *b
            } else if *b == end {
                *a
            } else {
                return None;
            };
            Some(LinkAdvert::new(region(other), LinkCost::from_micros(ms * 1_000)))
        });
        db.apply(LinkState {
            region: region(end),
            seq: 1,
            relay: LinkCost::ZERO,
            no_transit: false,
            links: adverts.collect(),
        });
    }
    RouteTable::compute(region(origin), &db)
}

pub(crate) fn home<D: Delineator<Key = PlaceKey>>(
    rule: &D,
    key: impl Into<PlaceKey>,
    registry: &Registry,
) -> Result<RegionId, NoHome> {
    rule.home(&key.into(), &FederationView::new(region(1), registry))
}
