use proptest::prelude::*;

use super::*;
use crate::{LinkAdvert, LinkState};

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn regions(ids: &[u16]) -> Vec<RegionId> {
    ids.iter().copied().map(region).collect()
}

fn ms(ms: u64) -> LinkCost {
    LinkCost::from_micros(ms * 1_000)
}

/// Links in both directions, in ms; relays cost nothing.
fn mesh(links: &[(u16, u16, u64)]) -> LinkStateDb {
    let links: Vec<_> =
        links.iter().flat_map(|(a, b, cost)| [(*a, *b, ms(*cost)), (*b, *a, ms(*cost))]).collect();
    one_way(&links)
}

fn one_way(links: &[(u16, u16, LinkCost)]) -> LinkStateDb {
    let mut db = LinkStateDb::new();
    let ids =
        links.iter().flat_map(|(a, b, _)| [*a, *b]).collect::<std::collections::BTreeSet<_>>();
    for id in ids {
        let links = links.iter().filter(|link| link.0 == id);
        let links =
            links.map(|(_, to, cost)| LinkAdvert { to: region(*to), cost: *cost }).collect();
        db.apply(LinkState {
            region: region(id),
            seq: 1,
            relay: LinkCost::ZERO,
            no_transit: false,
            links,
        });
    }
    db
}

fn change(db: &mut LinkStateDb, id: u16, change: impl FnOnce(&mut LinkState)) {
    let mut state = db.get(region(id)).unwrap().clone();
    state.seq += 1;
    change(&mut state);
    assert!(db.apply(state));
}

fn path(db: &LinkStateDb, from: u16, to: u16) -> Option<(Vec<RegionId>, LinkCost)> {
    let table = RouteTable::compute(region(from), db, None);
    table.get(region(to)).map(|route| (route.hops.clone(), route.cost))
}

#[test]
fn a_relay_is_taken_where_it_is_faster_than_the_direct_link() {
    let db = mesh(&[(1, 2, 100), (1, 3, 30), (3, 2, 40)]);
    assert_eq!(path(&db, 1, 2), Some((regions(&[3, 2]), ms(70))));
    assert_eq!(path(&db, 1, 3), Some((regions(&[3]), ms(30))));
    let table = RouteTable::compute(region(1), &db, None);
    let route = table.get(region(2)).unwrap();
    assert_eq!(
        (route.relays(), route.next_hop(), route.destination()),
        (&regions(&[3])[..], Some(region(3)), Some(region(2)))
    );
    assert_eq!(table.get(region(1)), None);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_suspect_is_not_passed_where_there_is_another_way() {
    let db = mesh(&[(1, 2, 10), (2, 3, 10), (1, 4, 50), (4, 3, 50), (2, 5, 10)]);
    let table = RouteTable::compute(region(1), &db, None);
    assert_eq!(table.get(region(3)).unwrap().hops, regions(&[2, 3]));
    let around = table.clone().around(&db, &[region(2)]);
    assert_eq!(around.get(region(3)).unwrap().hops, regions(&[4, 3]));
    assert_eq!(around.get(region(2)), table.get(region(2)), "itself is still reached");
    assert_eq!(around.get(region(5)), table.get(region(5)), "no other way: better than none");
    assert_eq!(table.clone().around(&db, &[]), table);
}

#[test]
fn only_regions_in_between_charge_their_relay_delay() {
    let mut db = mesh(&[(1, 3, 30), (3, 4, 30), (4, 2, 30)]);
    for id in 1..=4 {
        change(&mut db, id, |state| state.relay = ms(1));
    }
    assert_eq!(path(&db, 1, 2), Some((regions(&[3, 4, 2]), ms(92))));
    assert_eq!(path(&db, 1, 3), Some((regions(&[3]), ms(30))));
}

#[test]
fn a_region_without_transit_is_reached_and_not_passed() {
    let mut db = mesh(&[(1, 3, 10), (3, 2, 10), (1, 2, 100)]);
    change(&mut db, 3, |state| state.no_transit = true);
    assert_eq!(path(&db, 1, 2), Some((regions(&[2]), ms(100))));
    assert_eq!(path(&db, 1, 3), Some((regions(&[3]), ms(10))));
    assert_eq!(path(&db, 3, 2), Some((regions(&[2]), ms(10))), "it still sends its own");
}

#[test]
fn a_link_that_one_end_denies_is_not_used() {
    let db = one_way(&[(1, 2, ms(10)), (2, 3, ms(10)), (3, 2, ms(10))]);
    assert_eq!(path(&db, 1, 2), None);
    assert_eq!(path(&db, 1, 3), None);
    assert!(RouteTable::compute(region(77), &db, None).is_empty());
}

#[test]
fn equal_costs_are_decided_by_hops_and_then_by_numbers() {
    let db = mesh(&[(1, 2, 10), (2, 4, 10), (1, 3, 10), (3, 4, 10)]);
    assert_eq!(path(&db, 1, 4).unwrap().0, regions(&[2, 4]));
    assert_eq!(path(&db, 4, 1).unwrap().0, regions(&[2, 1]));
    let db = mesh(&[(1, 2, 10), (2, 4, 10), (1, 4, 20)]);
    assert_eq!(path(&db, 1, 4).unwrap().0, regions(&[4]));
    let free = mesh(&[(1, 2, 0), (2, 3, 0), (3, 1, 0), (3, 4, 0)]);
    assert_eq!(path(&free, 1, 4).unwrap().0, regions(&[3, 4]), "free links make no loops");
}

#[test]
fn paths_longer_than_six_relays_are_not_offered_and_a_dearer_short_one_is() {
    let chain: Vec<_> = (1..10).map(|id| (id, id + 1, 1)).collect();
    let db = mesh(&chain);
    assert_eq!(path(&db, 1, 8).unwrap().0.len(), 7);
    assert_eq!(path(&db, 1, 9), None);
    let mut ring = chain.clone();
    ring.push((1, 6, 500));
    let db = mesh(&ring);
    assert_eq!(path(&db, 1, 8).unwrap().1, ms(7));
    assert_eq!(path(&db, 1, 9), Some((regions(&[6, 7, 8, 9]), ms(503))));
    assert_eq!(path(&db, 1, 10), Some((regions(&[6, 7, 8, 9, 10]), ms(504))));
}

#[test]
fn a_path_is_kept_until_another_is_cheaper_by_enough() {
    let db = |upper: u64, lower: u64| {
        one_way(
            &[
                (1, 2, LinkCost::ZERO),
                (2, 1, LinkCost::ZERO),
                (1, 3, LinkCost::ZERO),
                (3, 1, LinkCost::ZERO),
            ]
            .into_iter()
            .chain([(2, 4), (4, 2)].map(|(a, b)| (a, b, LinkCost::from_micros(upper))))
            .chain([(3, 4), (4, 3)].map(|(a, b)| (a, b, LinkCost::from_micros(lower))))
            .collect::<Vec<_>>(),
        )
    };
    let check = |before: (u64, u64), after: (u64, u64), via: u16| {
        let old = RouteTable::compute(region(1), &db(before.0, before.1), None);
        let new = RouteTable::compute(region(1), &db(after.0, after.1), Some(&old));
        let route = new.get(region(4)).unwrap();
        assert_eq!(route.next_hop(), Some(region(via)), "{before:?} {after:?}");
        let cost = if via == 2 { after.0 } else { after.1 };
        assert_eq!(route.cost, LinkCost::from_micros(cost), "a kept path has its present cost");
        let changed = if via == 2 { vec![] } else { regions(&[4]) };
        assert_eq!(new.changed_from(&old), changed);
    };
    // Long paths: 5 %. Short ones: 1 ms.
    check((100_000, 110_000), (100_000, 95_000), 2);
    check((100_000, 110_000), (100_000, 94_990), 3);
    check((2_000, 3_000), (2_000, 1_000), 2);
    check((2_000, 3_000), (2_000, 990), 3);
}

#[test]
fn a_path_with_a_dead_link_or_a_relay_without_transit_is_left_at_once() {
    let whole = mesh(&[(1, 2, 10), (2, 4, 10), (1, 3, 10), (3, 4, 50)]);
    let old = RouteTable::compute(region(1), &whole, None);
    assert_eq!(old.get(region(4)).unwrap().next_hop(), Some(region(2)));

    let cut = mesh(&[(1, 2, 10), (1, 3, 10), (3, 4, 50)]);
    let new = RouteTable::compute(region(1), &cut, Some(&old));
    assert_eq!(new.get(region(4)).unwrap().hops, regions(&[3, 4]));
    assert_eq!(new.changed_from(&old), regions(&[4]));

    let mut drained = whole.clone();
    change(&mut drained, 2, |state| state.no_transit = true);
    let new = RouteTable::compute(region(1), &drained, Some(&old));
    assert_eq!(new.get(region(4)).unwrap().hops, regions(&[3, 4]));

    let gone = RouteTable::compute(region(1), &mesh(&[(1, 2, 10)]), Some(&old));
    assert_eq!(gone.changed_from(&old), regions(&[3, 4]));
}

#[test]
fn another_origins_table_is_no_memory() {
    let db = mesh(&[(1, 2, 10), (2, 4, 10), (3, 2, 10), (3, 4, 20), (1, 3, 50)]);
    let other = RouteTable::compute(region(1), &db, None);
    assert_eq!(other.get(region(4)).unwrap().hops, regions(&[2, 4]));
    let own = RouteTable::compute(region(3), &db, Some(&other));
    assert_eq!(own.get(region(4)).unwrap().hops, regions(&[4]));
}

#[test]
fn the_spare_path_starts_with_another_link_and_a_detour_passes_none_of_the_avoided() {
    let db = mesh(&[(1, 2, 10), (2, 4, 10), (1, 3, 10), (3, 4, 50), (3, 2, 5)]);
    assert_eq!(path(&db, 1, 4).unwrap().0, regions(&[2, 4]));
    assert_eq!(
        second_path(region(1), region(4), &db, region(2)).unwrap().hops,
        regions(&[3, 2, 4])
    );
    assert_eq!(detour(region(1), region(4), &db, &regions(&[2])).unwrap().hops, regions(&[3, 4]));
    assert_eq!(detour(region(1), region(4), &db, &regions(&[2, 3])), None);
    assert_eq!(
        detour(region(1), region(2), &db, &regions(&[2])).unwrap().hops,
        regions(&[3, 2]),
        "its own link is dead"
    );
}

/// A mesh with up to nine regions: (from, to, cost) as each end says it, relay costs, and who refuses transit.
fn any_mesh() -> impl Strategy<Value = LinkStateDb> {
    let link = (1_u16..10, 1_u16..10, 0_u32..40, 0_u8..10);
    let node = (0_u32..5, prop::bool::weighted(0.15));
    (prop::collection::vec(link, 0..40), prop::collection::vec(node, 9)).prop_map(
        |(links, nodes)| {
            let mut db = LinkStateDb::new();
            for id in 1_u16..10 {
                let (relay, no_transit) = nodes[usize::from(id) - 1];
                let adverts = links.iter().flat_map(|(a, b, cost, kind)| {
                    // One in ten links is advertised by one end only; the return direction costs something else.
                    let back = (*kind > 0).then_some((*b, *a, cost + u32::from(*kind) % 3));
                    [Some((*a, *b, *cost)), back].into_iter().flatten()
                });
                let links = adverts
                    .filter(|(from, _, _)| *from == id)
                    .map(|(_, to, cost)| LinkAdvert {
                        to: region(to),
                        cost: LinkCost::from_units(cost),
                    })
                    .collect();
                db.apply(LinkState {
                    region: region(id),
                    seq: 1,
                    relay: LinkCost::from_units(relay),
                    no_transit,
                    links,
                });
            }
            db
        },
    )
}

fn edge(db: &LinkStateDb, from: u16, to: u16) -> Option<u64> {
    let says = |a: u16, b: u16| {
        let state = db.get(region(a))?;
        state.links.iter().filter(|link| link.to == region(b)).map(|link| link.cost.units()).min()
    };
    says(to, from)?;
    (from != to).then_some(())?;
    says(from, to).map(u64::from)
}

/// The least cost over all simple paths of at most `left` hops, by trying every one.
fn brute_force(
    db: &LinkStateDb,
    origin: u16,
    at: u16,
    to: u16,
    left: usize,
    seen: &mut Vec<u16>,
) -> Option<u64> {
    if at == to {
        return Some(0);
    }
    let state = db.get(region(at)).unwrap();
    if left == 0 || (at != origin && state.no_transit) {
        return None;
    }
    let relay = if at == origin { 0 } else { u64::from(state.relay.units()) };
    let mut best = None;
    for next in 1..10 {
        if seen.contains(&next) {
            continue;
        }
        let Some(cost) = edge(db, at, next) else {
            continue;
        };
        seen.push(next);
        if let Some(rest) = brute_force(db, origin, next, to, left - 1, seen) {
            let total = cost + relay + rest;
            best = Some(best.map_or(total, |best: u64| best.min(total)));
        }
        seen.pop();
    }
    best
}

/// Floyd and Warshall, without a bound on hops. Every region in between charges its relay delay where the path leaves it.
fn floyd_warshall(db: &LinkStateDb) -> Vec<Vec<Option<u64>>> {
    let mut cost: Vec<Vec<Option<u64>>> = (0..10)
        .map(|a| (0..10).map(|b| if a == 0 || b == 0 { None } else { edge(db, a, b) }).collect())
        .collect();
    for via in 1..10 {
        let state = db.get(region(via as u16)).unwrap();
        if state.no_transit {
            continue;
        }
        for a in 1..10 {
            for b in 1..10 {
                if let (Some(first), Some(second)) = (cost[a][via], cost[via][b]) {
                    let total = first + second + u64::from(state.relay.units());
                    cost[a][b] = Some(cost[a][b].map_or(total, |old| old.min(total)));
                }
            }
        }
    }
    cost
}

fn check_route(
    db: &LinkStateDb,
    origin: u16,
    to: RegionId,
    route: &Route,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(route.destination(), Some(to));
    prop_assert!(route.hops.len() <= Route::MAX_HOPS);
    prop_assert!(!route.hops.contains(&region(origin)));
    let mut distinct = route.hops.clone();
    distinct.sort_unstable();
    distinct.dedup();
    prop_assert_eq!(distinct.len(), route.hops.len(), "a path is simple");
    let mut total = 0;
    let mut at = origin;
    for hop in &route.hops {
        if at != origin {
            let state = db.get(region(at)).unwrap();
            prop_assert!(!state.no_transit);
            total += u64::from(state.relay.units());
        }
        total += edge(db, at, hop.get()).unwrap();
        at = hop.get();
    }
    prop_assert_eq!(u64::from(route.cost.units()), total);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn routes_are_simple_and_as_cheap_as_floyd_and_warshall_say(db in any_mesh(), origin in 1_u16..10) {
        let table = RouteTable::compute(region(origin), &db, None);
        let reference = floyd_warshall(&db);
        for to in (1..10).filter(|to| *to != origin) {
            let best = reference[usize::from(origin)][usize::from(to)];
            match table.get(region(to)) {
                Some(route) => {
                    check_route(&db, origin, region(to), route)?;
                    if route.hops.len() < Route::MAX_HOPS {
                        prop_assert_eq!(Some(u64::from(route.cost.units())), best);
                    }
                }
                None => prop_assert!(best.is_none() || brute_force(&db, origin, origin, to, Route::MAX_HOPS, &mut vec![origin]).is_none()),
            }
        }
        prop_assert_eq!(&table, &RouteTable::compute(region(origin), &db, None), "the same arguments, the same table");
    }

    #[test]
    fn hysteresis_keeps_only_paths_that_exist_and_are_nearly_the_best(
        before in any_mesh(), after in any_mesh(), origin in 1_u16..10
    ) {
        let old = RouteTable::compute(region(origin), &before, None);
        let best = RouteTable::compute(region(origin), &after, None);
        let new = RouteTable::compute(region(origin), &after, Some(&old));
        prop_assert_eq!(new.len(), best.len());
        for (to, route) in new.iter() {
            check_route(&after, origin, to, route)?;
            let least = best.get(to).unwrap().cost;
            prop_assert!(route.cost.units() - least.units() <= (route.cost.units() / 20).max(100));
        }
        prop_assert!(RouteTable::compute(region(origin), &after, Some(&new)).changed_from(&new).is_empty(), "it settles");
    }
}

proptest! {
    // Trying every path takes long; sparse meshes keep it short.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn routes_within_the_hop_limit_are_as_cheap_as_trying_every_path(
        cross in prop::collection::vec((1_u16..10, 1_u16..10, 10_u64..60), 0..4), origin in 1_u16..10
    ) {
        // A long cheap ring with a few dear short cuts, so that the hop limit matters.
        let mut links: Vec<_> = (1..9).map(|id| (id, id + 1, 1)).collect();
        links.extend(cross.into_iter().filter(|(a, b, _)| a != b));
        let db = mesh(&links);
        let table = RouteTable::compute(region(origin), &db, None);
        for to in (1..10).filter(|to| *to != origin) {
            let best = brute_force(&db, origin, origin, to, Route::MAX_HOPS, &mut vec![origin]);
            if let Some(route) = table.get(region(to)) {
                check_route(&db, origin, region(to), route)?;
            }
            prop_assert_eq!(table.get(region(to)).map(|route| u64::from(route.cost.units())), best);
        }
    }
}
