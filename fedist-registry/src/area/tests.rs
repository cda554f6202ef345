use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{Change, KeyHash, RegionRecord, RouteTable, Status};

fn region(id: usize) -> RegionId {
    RegionId::new(id as u16).unwrap()
}

/// A whole federation whose floods take no time.
struct Federation {
    /// (one, other, cost); the same in both directions.
    links: Vec<(usize, usize, u32)>,
    regions: Vec<Known>,
}

struct Known {
    areas: Areas,
    inner: LinkStateDb,
    seq: u64,
}

impl Federation {
    /// Region 1 is the root; `parents` are those of 2, 3...
    fn new(parents: &[usize], links: &[(usize, usize, u32)], max_area: usize) -> Federation {
        let mut registry = Registry::new();
        for (id, parent) in (1..).zip([None].into_iter().chain(parents.iter().copied().map(Some))) {
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
        let config = AreaConfig { above: 2, max_area, ..AreaConfig::default() };
        let regions = (1..=parents.len() + 1).map(|id| {
            let mut areas = Areas::new(region(id), config);
            areas.handle_registry(&registry);
            Known { areas, inner: LinkStateDb::new(), seq: 1 }
        });
        let regions = regions.collect();
        let mut federation = Federation { links: links.to_vec(), regions };
        federation.settle();
        federation
    }

    fn neighbours(&self, id: usize) -> Vec<(usize, u32)> {
        let ends = self.links.iter().flat_map(|(a, b, cost)| [(*a, *b, *cost), (*b, *a, *cost)]);
        ends.filter(|(from, _, _)| *from == id).map(|(_, to, cost)| (to, cost)).collect()
    }

    fn own_state(&self, id: usize, seq: u64) -> LinkState {
        let links = self.neighbours(id).into_iter();
        let links = links.map(|(to, cost)| LinkAdvert::new(region(to), LinkCost::from_units(cost)));
        LinkState {
            region: region(id),
            seq,
            relay: LinkCost::from_units(5),
            no_transit: false,
            links: links.collect(),
        }
    }

    /// Everybody hears everything that is meant for it, until nobody has anything new to say. States inside an area spread
    /// over links inside only.
    fn settle(&mut self) {
        let count = self.regions.len();
        for id in 1..=count {
            self.regions[id - 1].seq += 1;
            let state = self.own_state(id, self.regions[id - 1].seq);
            let mut reached = vec![id];
            let mut at = 0;
            while let Some(here) = reached.get(at).copied() {
                at += 1;
                self.regions[here - 1].inner.apply(state.clone());
                for (peer, _) in self.neighbours(here) {
                    let inside = self.regions[here - 1].areas.is_inside(region(peer));
                    if inside && !reached.contains(&peer) {
                        reached.push(peer);
                    }
                }
            }
        }
        for _round in 0..8 {
            let mut quiet = true;
            for id in 1..=count {
                let known = &self.regions[id - 1];
                let own = self.own_state(id, 0);
                let Some(links) = known.areas.border_links(&known.inner, &own) else { continue };
                let said = known.areas.backbone().get(region(id));
                let before = said.as_ref().map_or(&[][..], |state| &state.links);
                if said.is_some() && !Areas::differs(before, &links) {
                    continue;
                }
                quiet = false;
                let seq = said.map_or(1, |state| state.seq + 1);
                for other in &mut self.regions {
                    other.areas.backbone_mut().apply(LinkState {
                        seq,
                        links: links.clone(),
                        ..own.clone()
                    });
                }
            }
            if quiet {
                break;
            }
        }
        for known in &mut self.regions {
            known.areas.rebuild(&known.inner);
        }
    }

    /// Sends a frame as the hub does; what it costs on its way, and the regions that it passed.
    fn send(&self, from: usize, to: usize) -> Result<(u32, Vec<usize>), String> {
        let known = &self.regions[from - 1];
        let table = RouteTable::compute(region(from), known.areas.graph(&known.inner));
        let route = table.get(region(to)).ok_or("no route")?;
        let mut ahead: VecDeque<RegionId> = route.hops.iter().copied().collect();
        let mut passed = vec![region(from)];
        let (mut at, mut cost) = (from, 0);
        let mut relays = ahead.len() - 1;
        while let Some(next) = ahead.pop_front() {
            let Some((peer, way)) =
                self.neighbours(at).into_iter().find(|(peer, _)| region(*peer) == next)
            else {
                let known = &self.regions[at - 1];
                let named: Vec<RegionId> = passed.iter().chain(&ahead).copied().collect();
                let more = known.areas.way_inside(&known.inner, next, &named, 6 - relays);
                let more =
                    more.ok_or(format!("stuck at {at} before {next}, {route:?}, {passed:?}"))?;
                assert!(!more.is_empty());
                relays += more.len();
                ahead.push_front(next);
                more.into_iter().rev().for_each(|relay| ahead.push_front(relay));
                continue;
            };
            cost += way + if at == from { 0 } else { 5 };
            at = peer;
            assert!(!passed.contains(&region(at)), "{at} twice in {passed:?}");
            passed.push(region(at));
            assert!(passed.len() <= 8, "more than six relays: {passed:?}");
        }
        assert_eq!(at, to);
        Ok((cost, passed.iter().map(|id| usize::from(id.get())).collect()))
    }

    fn flat_cost(&self, from: usize, to: usize) -> Option<u32> {
        let mut db = LinkStateDb::new();
        for id in 1..=self.regions.len() {
            db.apply(self.own_state(id, 1));
        }
        RouteTable::compute(region(from), &db).get(region(to)).map(|route| route.cost.units())
    }
}

/// Root 1; 2 and 3 below it; 4 and 5 below 2, 6 and 7 below 3. Areas {1}, {2, 4, 5}, {3, 6, 7}.
fn two_wings(extra: &[(usize, usize, u32)]) -> Federation {
    let mut links = vec![(1, 2, 10), (1, 3, 10), (2, 4, 10), (2, 5, 10), (3, 6, 10), (3, 7, 10)];
    links.extend(extra);
    Federation::new(&[1, 1, 2, 2, 3, 3], &links, 3)
}

#[test]
fn a_frame_finds_its_way_through_areas_that_its_sender_knows_nothing_about() {
    let federation = two_wings(&[]);
    assert_eq!(federation.send(4, 7).unwrap(), (40 + 15, vec![4, 2, 1, 3, 7]));
    let known = &federation.regions[3];
    assert!(!known.inner.contains(region(7)), "nothing from inside the other wing came here");
    assert!(known.inner.contains(region(5)));
    for from in 1..=7 {
        for to in (1..=7).filter(|to| *to != from) {
            federation.send(from, to).unwrap();
        }
    }
}

#[test]
fn a_shorter_way_between_two_areas_is_taken() {
    let federation = two_wings(&[(5, 6, 12)]);
    assert_eq!(federation.send(5, 6).unwrap(), (12, vec![5, 6]));
    assert_eq!(federation.send(4, 6).unwrap().1, [4, 2, 5, 6]);
    assert_eq!(federation.send(4, 7).unwrap().1, [4, 2, 1, 3, 7], "the long way is shorter there");
}

#[test]
fn without_a_border_its_area_is_reached_over_another_one() {
    let mut federation = two_wings(&[(5, 6, 12), (4, 5, 30), (6, 7, 30)]);
    // 3 is gone: 6 and 7 hear each other over their own link.
    federation.links.retain(|(a, b, _)| *a != 3 && *b != 3);
    federation.settle();
    assert_eq!(federation.send(4, 7).unwrap().1, [4, 2, 5, 6, 7]);

    assert_eq!(federation.send(1, 6).unwrap().1, [1, 2, 5, 6]);
}

#[test]
fn an_area_that_fell_apart_is_entered_at_the_part_where_the_destination_is() {
    let mut federation = two_wings(&[(5, 6, 12), (1, 7, 50)]);
    federation.links.retain(|(a, b, _)| *a != 3 && *b != 3);
    federation.settle();
    assert_eq!(federation.send(6, 7).unwrap().1, [6, 5, 2, 1, 7], "out of the area and in again");
    assert_eq!(federation.send(4, 6).unwrap().1, [4, 2, 5, 6]);
}

#[test]
fn a_federation_that_is_one_area_holds_nothing_here() {
    let federation = Federation::new(&[1], &[(1, 2, 10)], 4);
    let known = &federation.regions[0];
    assert!(!known.areas.is_split() && known.areas.backbone().is_empty());
    assert_eq!(known.areas.border_links(&known.inner, &federation.own_state(1, 1)), None);
    assert_eq!(known.areas.graph(&known.inner), &known.inner);
    assert_eq!(known.areas.way_inside(&known.inner, region(2), &[], 6), None);
}

#[test]
fn only_some_of_many_links_between_two_areas_are_told_everybody() {
    // Areas {2, 4..9} and {3, 10..15}, with a link between each pair of their regions in order.
    let parents: Vec<usize> = [1, 1].into_iter().chain([2; 6]).chain([3; 6]).collect();
    let mut links: Vec<(usize, usize, u32)> =
        parents.iter().enumerate().map(|(at, parent)| (*parent, at + 2, 10)).collect();
    links.extend((4..10).map(|id| (id, id + 6, 20 + id as u32)));
    let federation = Federation::new(&parents, &links, 7);
    let backbone = federation.regions[0].areas.backbone();
    let across: Vec<usize> =
        (4..10).filter(|id| backbone.link(region(*id), region(id + 6)).is_some()).collect();
    assert_eq!(across, [4, 5], "the two cheapest");
    for (from, to) in [(9, 15), (9, 10), (4, 15), (8, 13)] {
        federation.send(from, to).unwrap();
    }
}

fn any_federation() -> impl Strategy<Value = (Vec<usize>, Vec<(usize, usize, u32)>, usize)> {
    (4_usize..22, 2_usize..8).prop_flat_map(|(count, max_area)| {
        let parents =
            prop::collection::vec((0.0_f64..1.0).prop_map(|pick| pick.powi(2)), count - 1);
        let links = prop::collection::vec((1..=count, 1..=count, 1_u32..5_000), 0..2 * count);
        let costs = prop::collection::vec(1_u32..5_000, count - 1);
        (parents, links, costs, Just(max_area)).prop_map(|(parents, links, costs, max_area)| {
            let parents: Vec<usize> = parents
                .iter()
                .enumerate()
                .map(|(at, pick)| 1 + (pick * (at + 1) as f64) as usize)
                .collect();
            let tree = parents.iter().zip(costs).enumerate();
            let mut all: Vec<(usize, usize, u32)> =
                tree.map(|(at, (parent, cost))| (*parent, at + 2, cost)).collect();
            for (a, b, cost) in links {
                let new =
                    a != b && all.iter().all(|(x, y, _)| (*x, *y) != (a, b) && (*x, *y) != (b, a));
                if new {
                    all.push((a, b, cost));
                }
            }
            (parents, all, max_area)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// `send` asserts that no region comes twice.
    #[test]
    fn every_pair_is_reached_without_loops_and_on_ways_that_are_not_much_longer(
        (parents, links, max_area) in any_federation()
    ) {
        let federation = Federation::new(&parents, &links, max_area);
        let count = parents.len() + 1;
        let (mut sum, mut flat_sum, mut stuck, mut pairs) = (0_u64, 0_u64, 0, 0);
        for from in 1..=count {
            for to in (1..=count).filter(|to| *to != from) {
                let Some(flat) = federation.flat_cost(from, to) else { continue };
                pairs += 1;
                match federation.send(from, to) {
                    Ok((cost, _)) => {
                        prop_assert!(cost >= flat);
                        sum += u64::from(cost);
                        flat_sum += u64::from(flat);
                    }
                    // Long thin trees may need more than the header holds.
                    Err(_) => stuck += 1,
                }
            }
        }
        prop_assert!(stuck * 10 <= pairs, "{stuck} of {pairs} do not fit the header");
        prop_assert!(sum <= 3 * flat_sum, "{sum} against {flat_sum}");
    }
}

#[test]
fn a_lost_link_makes_the_graph_outdated_and_a_moved_cost_does_not() {
    let mut federation = two_wings(&[(5, 6, 12)]);
    let known = &mut federation.regions[3];
    let (areas, inner) = (&mut known.areas, &mut known.inner);
    let all: Vec<RegionId> = (1..=7).map(region).collect();
    assert!(!areas.is_outdated(inner, &all));
    let mut moved = inner.get(region(5)).unwrap();
    moved.seq += 1;
    moved.links.iter_mut().for_each(|link| link.cost = LinkCost::from_units(99));
    inner.apply(moved.clone());
    assert!(!areas.is_outdated(inner, &all));
    let mut cut = areas.backbone().get(region(3)).unwrap();
    cut.seq += 1;
    cut.links.retain(|link| link.to != region(1));
    areas.backbone_mut().apply(cut);
    assert!(areas.is_outdated(inner, &[region(3)]));
    areas.rebuild(inner);
    assert!(!areas.is_outdated(inner, &all));
    moved.seq += 1;
    moved.no_transit = true;
    inner.apply(moved);
    assert!(areas.is_outdated(inner, &[region(5)]));
}
