use proptest::prelude::*;

use petgraph::visit::EdgeRef;

use super::*;
use crate::{LinkAdvert, LinkState, LinkStateDb, Micros};

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
        let links = links.map(|(_, to, cost)| LinkAdvert::new(region(*to), *cost)).collect();
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
    let table = RouteTable::compute(region(from), db);
    table.get(region(to)).map(|route| (route.hops.to_vec(), route.cost))
}

#[test]
fn a_relay_is_taken_where_it_is_faster_than_the_direct_link() {
    let db = mesh(&[(1, 2, 100), (1, 3, 30), (3, 2, 40)]);
    assert_eq!(path(&db, 1, 2), Some((regions(&[3, 2]), ms(70))));
    assert_eq!(path(&db, 1, 3), Some((regions(&[3]), ms(30))));
    let table = RouteTable::compute(region(1), &db);
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
    let table = RouteTable::compute(region(1), &db);
    assert_eq!(table.get(region(3)).unwrap().hops, regions(&[2, 3]));
    let mut around = table.clone();
    let now = Micros::from_secs(1);
    let changed = around.update(now, &db, &|id| id == region(2));
    assert_eq!(around.get(region(3)).unwrap().hops, regions(&[4, 3]));
    assert_eq!(around.get(region(2)).unwrap().hops, regions(&[4, 3, 2]), "from another side");
    assert_eq!(around.get(region(5)), table.get(region(5)), "no other way: better than none");
    assert_eq!(changed, regions(&[2, 3]));
    let suspect = RouteChange::Suspect { neighbour: region(2) };
    assert_eq!(around.history(region(3)).unwrap().change, suspect);
    assert_eq!(around.len(), 4);

    let later = Micros::from_secs(2);
    assert_eq!(around.update(later, &db, &|_| false), regions(&[2, 3]), "trusted again");
    let back = RouteChange::Cheaper { saved: ms(80) };
    let history = around.history(region(3)).unwrap();
    assert_eq!((history.since, history.change, history.changes), (later, back, 3));
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
    assert!(RouteTable::compute(region(77), &db).is_empty());
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
        let mut table = RouteTable::compute(region(1), &db(before.0, before.1));
        let changed = table.update(Micros(1), &db(after.0, after.1), &|_| false);
        let route = table.get(region(4)).unwrap();
        assert_eq!(route.next_hop(), Some(region(via)), "{before:?} {after:?}");
        let cost = if via == 2 { after.0 } else { after.1 };
        assert_eq!(route.cost, LinkCost::from_micros(cost), "a kept path has its present cost");
        assert_eq!(changed, if via == 2 { vec![] } else { regions(&[4]) });
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
    let old = RouteTable::compute(region(1), &whole);
    assert_eq!(old.get(region(4)).unwrap().next_hop(), Some(region(2)));
    let check = |db: &LinkStateDb, hops: &[u16], change| {
        let mut table = old.clone();
        assert_eq!(table.update(Micros(1), db, &|_| false), regions(&[4]));
        assert_eq!(table.get(region(4)).unwrap().hops, regions(hops));
        assert_eq!(table.history(region(4)).unwrap().change, change);
        assert!(old.is_broken_at(db, region(2)) && !table.is_broken_at(db, region(2)));
        assert!(table.update(Micros(2), db, &|_| false).is_empty(), "it settles");
    };
    let cut = mesh(&[(1, 2, 10), (1, 3, 10), (3, 4, 50)]);
    check(&cut, &[3, 4], RouteChange::LinkDown { from: region(2), to: region(4) });
    let mut drained = whole.clone();
    change(&mut drained, 2, |state| state.no_transit = true);
    check(&drained, &[3, 4], RouteChange::NoTransit { relay: region(2) });
    assert!(!old.is_broken_at(&whole, region(2)) && !old.is_broken_at(&drained, region(3)));

    let mut gone = old.clone();
    assert_eq!(gone.update(Micros(1), &mesh(&[(1, 2, 10)]), &|_| false), regions(&[3, 4]));
    assert_eq!((gone.get(region(4)), gone.len()), (None, 1));
    let history = gone.history(region(4)).unwrap();
    assert_eq!(history.change, RouteChange::LinkDown { from: region(2), to: region(4) });
    assert_eq!(gone.update(Micros(9), &whole, &|_| false), regions(&[3, 4]));
    let history = gone.history(region(4)).unwrap();
    assert_eq!((history.change, history.since), (RouteChange::Recovered, Micros(9)));
    gone.forget(region(4));
    assert_eq!((gone.get(region(4)), gone.history(region(4)), gone.len()), (None, None, 2));
}

#[test]
fn a_link_about_to_close_is_left_at_once_and_taken_only_where_there_is_no_other_way() {
    let whole = mesh(&[(1, 2, 10), (2, 4, 10), (1, 3, 10), (3, 4, 50), (2, 5, 10)]);
    for flag in [LinkAdvert::CLOSING, LinkAdvert::DRAINING] {
        let mut table = RouteTable::compute(region(1), &whole);
        let mut db = whole.clone();
        change(&mut db, 2, |state| state.links.iter_mut().for_each(|link| link.flags = flag));
        assert_eq!(table.update(Micros(1), &db, &|_| false), regions(&[4]));
        assert_eq!(table.get(region(4)).unwrap().hops, regions(&[3, 4]));
        assert_eq!(table.get(region(5)).unwrap().hops, regions(&[2, 5]), "no other way");
        let closing = RouteChange::Closing { from: region(2), to: region(4) };
        assert_eq!(table.history(region(4)).unwrap().change, closing);
        assert_eq!(
            RouteTable::compute(region(1), &db).get(region(4)).unwrap().hops,
            regions(&[3, 4])
        );
        assert_eq!(table.update(Micros(2), &whole, &|_| false), regions(&[4]), "and back");
    }
}

#[test]
fn a_small_advantage_is_taken_when_it_has_lasted_a_minute() {
    let db = |upper: u64, lower: u64| mesh(&[(1, 2, 10), (2, 4, upper), (1, 3, 10), (3, 4, lower)]);
    let minute = Micros::from_secs(60);
    let mut table = RouteTable::compute(region(1), &db(90, 200));
    let none = |_: RegionId| false;
    let via = |table: &RouteTable| table.get(region(4)).unwrap().next_hop();
    let start = Micros::from_secs(100);
    assert!(table.update(start, &db(90, 88), &none).is_empty());
    assert_eq!(table.next_deadline(), Some(start + minute));
    // Interrupted after 59 s: the minute starts again.
    table.update(start + Micros::from_secs(59), &db(90, 90), &none);
    assert_eq!(table.next_deadline(), None);
    let again = start + minute;
    table.update(again, &db(90, 88), &none);
    table.update(again + Micros::from_secs(30), &db(90, 87), &none);
    assert_eq!(table.next_deadline(), Some(again + minute));
    assert!(table.update(again + minute.saturating_sub(Micros(1)), &db(90, 88), &none).is_empty());
    assert_eq!(via(&table), Some(region(2)));
    assert_eq!(table.update(again + minute, &db(90, 88), &none), regions(&[4]));
    assert_eq!(via(&table), Some(region(3)));
    let history = table.history(region(4)).unwrap();
    assert_eq!(history.change, RouteChange::SlowlyCheaper { saved: ms(2) });
    assert_eq!((table.next_deadline(), history.leaves_at), (None, None));
    // The way back needs as much.
    assert!(table.update(again + minute + minute, &db(87, 88), &none).is_empty());
    assert!(table.update(again + minute + minute, &db(85, 88), &none).is_empty());
    assert_eq!(table.update(again + minute + minute, &db(82, 88), &none), regions(&[4]));
}

#[test]
fn a_region_that_settles_takes_a_small_advantage_after_a_second() {
    let db = |upper: u64, lower: u64| mesh(&[(1, 2, 10), (2, 4, upper), (1, 3, 10), (3, 4, lower)]);
    let mut table = RouteTable::compute(region(1), &db(90, 200));
    let none = |_: RegionId| false;
    let (start, second) = (Micros::from_secs(100), Micros::from_secs(1));
    assert!(table.update(start, &db(90, 88), &none).is_empty());
    table.settle_until(start + Micros::from_secs(30));
    assert!(table.update(start, &db(90, 88), &none).is_empty());
    assert_eq!(
        table.next_deadline(),
        Some(start + second),
        "it need not wait for the whole minute"
    );
    assert_eq!(table.update(start + second, &db(90, 88), &none), regions(&[4]));
    // One whose time has begun ends it; then it takes a minute again.
    let late = start + Micros::from_millis(29_500);
    assert!(table.update(late, &db(86, 88), &none).is_empty());
    assert_eq!(table.update(late + second, &db(86, 88), &none), regions(&[4]));
    assert!(table.update(late + second, &db(86, 84), &none).is_empty());
    assert_eq!(table.next_deadline(), Some(late + second + Micros::from_secs(60)));
}

#[test]
fn second_paths_are_there_for_those_that_are_wanted_and_share_no_relay_where_that_can_be() {
    // To 4: over 2 and 5, or cheaper over 3 and 5 too, or dear over 6 alone. To 7: only over 2.
    let db = mesh(&[
        (1, 2, 10),
        (2, 5, 10),
        (5, 4, 10),
        (1, 3, 12),
        (3, 5, 10),
        (1, 6, 40),
        (6, 4, 40),
        (2, 7, 1),
        (3, 2, 1),
    ]);
    let mut table = RouteTable::compute(region(1), &db);
    let none = |_: RegionId| false;
    assert_eq!(table.second(region(4)), None);
    table.refresh_seconds(Micros::ZERO, &db, &none, regions(&[4, 7, 99]));
    assert_eq!(table.get(region(4)).unwrap().hops, regions(&[2, 5, 4]));
    assert_eq!(table.second(region(4)).unwrap().hops, regions(&[6, 4]));
    assert_eq!(
        table.second(region(7)).unwrap().hops,
        regions(&[3, 2, 7]),
        "only the first link differs"
    );
    assert_eq!(table.second(region(5)), None, "nobody asked");

    // Without 6 the relay 5 is shared; the one that was found before is no longer sound.
    let mut cut = db.clone();
    change(&mut cut, 6, |state| state.links.clear());
    table.refresh_seconds(Micros(1), &cut, &none, regions(&[4]));
    assert_eq!(table.second(region(4)).unwrap().hops, regions(&[3, 5, 4]));
    assert_eq!(table.second(region(7)), None, "nobody asks any more");
    table.refresh_seconds(Micros(2), &cut, &|id| id == region(3), regions(&[4]));
    assert_eq!(table.second(region(4)), None, "the only other one leads through a suspect");
    table.refresh_seconds(Micros(3), &cut, &none, regions(&[4]));
    assert_eq!(
        table.second(region(4)).unwrap().hops,
        regions(&[3, 5, 4]),
        "found as soon as there is one"
    );
    // A sound one stays for 10 s, even when a better one comes.
    table.refresh_seconds(Micros(4), &db, &none, regions(&[4]));
    assert_eq!(table.second(region(4)).unwrap().hops, regions(&[3, 5, 4]));
    table.refresh_seconds(Micros::from_secs(11), &db, &none, regions(&[4]));
    assert_eq!(table.second(region(4)).unwrap().hops, regions(&[6, 4]));
}

#[test]
fn a_clone_is_not_changed_with_the_original() {
    let db = mesh(&[(1, 2, 10), (2, 3, 10)]);
    let mut table = RouteTable::compute(region(1), &db);
    let view = table.clone();
    table.update(Micros(1), &mesh(&[(1, 2, 10)]), &|_| false);
    assert_eq!((view.len(), table.len()), (2, 1));
    assert!(view.get(region(3)).is_some() && table.get(region(3)).is_none());
}

#[test]
fn the_spare_path_starts_with_another_link_and_a_detour_passes_none_of_the_avoided() {
    let db = mesh(&[(1, 2, 10), (2, 4, 10), (1, 3, 10), (3, 4, 50), (3, 2, 5)]);
    let table = RouteTable::compute(region(1), &db);
    let best = table.get(region(4)).unwrap();
    assert_eq!(best.hops, regions(&[2, 4]));
    assert_eq!(second_path(region(1), &db, best).unwrap().hops, regions(&[3, 4]));
    let cut = mesh(&[(1, 2, 10), (2, 4, 10), (1, 3, 10), (3, 2, 5)]);
    assert_eq!(second_path(region(1), &cut, best).unwrap().hops, regions(&[3, 2, 4]));
    assert_eq!(second_path(region(1), &mesh(&[(1, 2, 10), (2, 4, 10)]), best), None);
    assert_eq!(detour(region(1), region(4), &db, &regions(&[2])).unwrap().hops, regions(&[3, 4]));
    assert_eq!(detour(region(1), region(4), &db, &regions(&[2, 3])), None);
    assert_eq!(
        detour(region(1), region(2), &db, &regions(&[2])).unwrap().hops,
        regions(&[3, 2]),
        "its own link is dead"
    );
}

#[test]
fn a_chain_longer_than_lengths_can_count_is_routed_as_far_as_the_header_reaches() {
    let mut links: Vec<_> = (1..400).map(|id| (id, id + 1, 0)).collect();
    links.push((1, 300, 1_000));
    let db = mesh(&links);
    assert_eq!(path(&db, 1, 8).unwrap().0.len(), 7);
    assert_eq!(path(&db, 1, 9), None);
    assert_eq!(path(&db, 1, 306), Some((regions(&[300, 301, 302, 303, 304, 305, 306]), ms(1_000))));
    assert_eq!(path(&db, 1, 294).unwrap().0.len(), 7);
    assert_eq!(path(&db, 1, 200), None);
}

#[test]
fn absurd_costs_add_up_to_the_dearest_and_not_to_a_cheap_one() {
    let db = one_way(&[
        (1, 2, LinkCost::MAX),
        (2, 1, LinkCost::MAX),
        (2, 3, LinkCost::MAX),
        (3, 2, LinkCost::MAX),
    ]);
    assert_eq!(path(&db, 1, 3), Some((regions(&[2, 3]), LinkCost::MAX)));
}

/// 65,534 regions with 8 links each take what the room says; here a smaller federation of the same shape.
#[test]
fn a_region_costs_less_than_250_bytes() {
    let count = 2_048_u16;
    let step = [1_u16, 5, 77, 600];
    let mut db = LinkStateDb::new();
    for id in 0..count {
        let ends = step.iter().flat_map(|s| [(id + s) % count, (id + count - s) % count]);
        let links = ends.map(|end| LinkAdvert::new(region(end + 1), ms(10))).collect();
        let (relay, no_transit) = (LinkCost::ZERO, false);
        assert!(db.apply(LinkState { region: region(id + 1), seq: 1, relay, no_transit, links }));
    }
    let table = RouteTable::compute(region(1), &db);
    assert!(table.len() > 1_000);
    let bytes = db.memory_bytes() + table.memory_bytes();
    // Both arrays may have room for twice as many.
    assert!(bytes / usize::from(count) < 250, "{bytes}");
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
                    .map(|(_, to, cost)| LinkAdvert::new(region(to), LinkCost::from_units(cost)))
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

/// Bellman and Ford, one round per hop, with `dear` added to each link.
fn cheapest(db: &LinkStateDb, origin: u16, to: u16, dear: &dyn Fn(u16, u16) -> u64) -> Option<u64> {
    let mut costs: Vec<Option<u64>> = vec![None; 10];
    costs[usize::from(origin)] = Some(0);
    for _ in 0..Route::MAX_HOPS {
        let before = costs.clone();
        for from in 1..10 {
            let Some(so_far) = before[usize::from(from)] else {
                continue;
            };
            let state = db.get(region(from)).unwrap();
            if from != origin && state.no_transit {
                continue;
            }
            let relay = if from == origin { 0 } else { u64::from(state.relay.units()) };
            for end in 1..10 {
                if let Some(cost) = edge(db, from, end) {
                    let total = so_far + relay + cost + dear(from, end);
                    let best = &mut costs[usize::from(end)];
                    *best = Some(best.map_or(total, |best| best.min(total)));
                }
            }
        }
    }
    costs[usize::from(to)]
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
    let mut distinct = route.hops.to_vec();
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
        let table = RouteTable::compute(region(origin), &db);
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
        prop_assert_eq!(&table, &RouteTable::compute(region(origin), &db), "the same arguments, the same table");
    }

    #[test]
    fn hysteresis_keeps_only_paths_that_exist_and_are_nearly_the_best(
        before in any_mesh(), after in any_mesh(), origin in 1_u16..10
    ) {
        let old = RouteTable::compute(region(origin), &before);
        let best = RouteTable::compute(region(origin), &after);
        let mut new = old.clone();
        let changed = new.update(Micros(1), &after, &|_| false);
        prop_assert_eq!(new.len(), best.len());
        prop_assert_eq!(new.iter().count(), new.len());
        for (to, route) in new.iter() {
            check_route(&after, origin, to, route)?;
            let least = best.get(to).unwrap().cost;
            prop_assert!(route.cost.units() - least.units() <= (route.cost.units() / 20).max(100));
        }
        let hops = |table: &RouteTable, to| table.get(to).map(|route| route.hops);
        let differs: Vec<_> = (1..10).map(region).filter(|to| hops(&old, *to) != hops(&new, *to)).collect();
        prop_assert_eq!(changed, differs);
        prop_assert!(new.update(Micros(2), &after, &|_| false).is_empty(), "it settles");
        for id in (1..10).map(region) {
            prop_assert!(!new.is_broken_at(&after, id));
        }
    }

    #[test]
    fn routes_around_suspects_are_the_cheapest_that_pass_none_of_them(
        db in any_mesh(), origin in 1_u16..10, suspects in prop::collection::btree_set(1_u16..10, 1..4)
    ) {
        let suspect = |id: RegionId| suspects.contains(&id.get()) && id.get() != origin;
        let mut table = RouteTable::compute(region(origin), &db);
        let whole = table.clone();
        table.update(Micros(1), &db, &suspect);
        let named: Vec<_> = (1..10).map(region).filter(|id| suspect(*id)).collect();
        for to in (1..10).map(region) {
            prop_assert_eq!(table.get(to).is_some(), whole.get(to).is_some(), "nobody is given up");
            let (Some(route), Some(free)) = (table.get(to), detour(region(origin), to, &db, &named)) else {
                continue;
            };
            prop_assert!(!route.next_hop().is_some_and(suspect) && !route.relays().iter().any(|id| suspect(*id)));
            prop_assert!(route.cost.units() - free.cost.units() <= (route.cost.units() / 20).max(100));
        }
    }

    #[test]
    fn a_second_path_starts_elsewhere_and_shares_no_relay_where_one_can_do_without(
        db in any_mesh(), origin in 1_u16..10
    ) {
        let mut table = RouteTable::compute(region(origin), &db);
        table.refresh_seconds(Micros::ZERO, &db, &|_| false, (1..10).map(region));
        for (to, best) in table.iter() {
            let second = table.second(to);
            prop_assert_eq!(second.cloned(), second_path(region(origin), &db, best));
            if let Some(second) = second {
                check_route(&db, origin, to, second)?;
                prop_assert_ne!(second.next_hop(), best.next_hop());
                prop_assert!(second.cost >= best.cost);
                let mut avoid = best.relays().to_vec();
                avoid.extend(best.next_hop());
                let apart = detour(region(origin), to, &db, &avoid);
                prop_assert_eq!(second.shares_relay(best), apart.is_none());
            }
        }
    }

    #[test]
    fn dijkstra_of_petgraph_finds_the_same_costs_over_the_same_graph(db in any_mesh(), origin in 1_u16..10) {
        let table = RouteTable::compute(region(origin), &db);
        let relay = |id: RegionId| if id == region(origin) { 0 } else { u64::from(db.relay(id).unwrap_or_default().units()) };
        let costs = petgraph::algo::dijkstra(&db, region(origin), None, |edge| {
            let closed = edge.source() != region(origin) && db.no_transit(edge.source());
            if closed { 1 << 40 } else { u64::from(edge.weight().units()) + relay(edge.source()) }
        });
        for (to, route) in table.iter().filter(|(_, route)| route.hops.len() < Route::MAX_HOPS) {
            prop_assert_eq!(Some(&u64::from(route.cost.units())), costs.get(&to));
        }
    }

    #[test]
    fn links_about_to_close_are_as_few_as_can_be_and_then_the_cost_counts(
        db in any_mesh(), origin in 1_u16..10, closing in prop::collection::btree_set((1_u16..10, 1_u16..10), 0..12)
    ) {
        let mut db = db;
        for id in 1..10 {
            change(&mut db, id, |state| for link in &mut state.links {
                link.flags = if closing.contains(&(id, link.to.get())) { LinkAdvert::CLOSING } else { 4 };
            });
        }
        // One such link counts for more than any cost.
        let dear = |from: u16, to: u16| if closing.contains(&(from, to)) { 1_u64 << 40 } else { 0 };
        let table = RouteTable::compute(region(origin), &db);
        for to in (1..10).filter(|to| *to != origin) {
            let found = table.get(region(to)).map(|route| {
                let ends = std::iter::once(origin).chain(route.hops.iter().map(|hop| hop.get()));
                let links = ends.zip(route.hops.iter().map(|hop| hop.get()));
                u64::from(route.cost.units()) + links.map(|(from, to)| dear(from, to)).sum::<u64>()
            });
            prop_assert_eq!(found, cheapest(&db, origin, to, &dear));
        }
    }

    #[test]
    fn jitter_below_the_margins_changes_nothing(
        jitter in prop::collection::vec((0_u32..490, 0_u32..490), 1..200), base in 10_000_u32..20_000
    ) {
        // Two ways of about 100 to 200 ms; each moves by less than 5 % every second and both meet once a minute.
        let db = |upper: u32, lower: u32| one_way(&[
            (1, 2, LinkCost::from_units(upper)), (2, 1, LinkCost::ZERO), (2, 4, LinkCost::ZERO), (4, 2, LinkCost::ZERO),
            (1, 3, LinkCost::from_units(lower)), (3, 1, LinkCost::ZERO), (3, 4, LinkCost::ZERO), (4, 3, LinkCost::ZERO),
        ]);
        let mut table = RouteTable::compute(region(1), &db(base, base));
        for (second, (upper, lower)) in jitter.into_iter().enumerate() {
            let calm = second % 50 == 0;
            let db = if calm { db(base, base) } else { db(base + upper, base + lower) };
            let changed = table.update(Micros::from_secs(second as u64), &db, &|_| false);
            prop_assert!(changed.is_empty());
        }
        prop_assert_eq!(table.history(region(4)).unwrap().changes, 1);
    }

    #[test]
    fn a_slowly_swinging_cost_moves_a_route_once_a_minute_at_most(
        period in 1_u64..200, swing in 1_u32..400
    ) {
        let db = |upper: u32| one_way(&[
            (1, 2, LinkCost::from_units(upper)), (2, 1, LinkCost::ZERO), (2, 4, LinkCost::ZERO), (4, 2, LinkCost::ZERO),
            (1, 3, LinkCost::from_units(10_000)), (3, 1, LinkCost::ZERO), (3, 4, LinkCost::ZERO), (4, 3, LinkCost::ZERO),
        ]);
        let mut table = RouteTable::compute(region(1), &db(10_000));
        let mut last: Option<u64> = None;
        for second in 0..1_200 {
            let up = second / period % 2 == 0;
            let changed = table.update(
                Micros::from_secs(second),
                &db(if up { 10_000 + swing } else { 10_000 - swing }),
                &|_| false,
            );
            if changed.contains(&region(4)) {
                prop_assert!(last.is_none_or(|last| second - last >= 60), "{last:?} {second}");
                last = Some(second);
            }
        }
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
        let table = RouteTable::compute(region(origin), &db);
        for to in (1..10).filter(|to| *to != origin) {
            let best = brute_force(&db, origin, origin, to, Route::MAX_HOPS, &mut vec![origin]);
            if let Some(route) = table.get(region(to)) {
                check_route(&db, origin, region(to), route)?;
            }
            prop_assert_eq!(table.get(region(to)).map(|route| u64::from(route.cost.units())), best);
        }
    }
}
