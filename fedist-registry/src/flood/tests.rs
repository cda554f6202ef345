//! Whole federations over the engine, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use proptest::prelude::*;

use super::*;
use crate::{LinkAdvert, LinkCost};

fn id(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

/// A node, all of whose links cost the same; `seq` tells one state from the next.
fn state(number: u16, seq: u64, links: &[u16]) -> LinkState {
    let cost = LinkCost::from_units(100);
    LinkState {
        region: id(number),
        seq,
        relay: LinkCost::ZERO,
        no_transit: false,
        links: links.iter().map(|to| LinkAdvert::new(id(*to), cost)).collect(),
    }
}

struct Peer {
    flood: Flood,
    db: LinkStateDb,
    registered: Rc<BTreeSet<RegionId>>,
    seq: u64,
    /// States that arrived, new or not.
    copies: u64,
    bytes: usize,
}

/// Regions, links with their one-way delays, and messages on their way.
struct Net {
    peers: BTreeMap<RegionId, Peer>,
    delays: BTreeMap<(RegionId, RegionId), Micros>,
    flying: BTreeMap<(Micros, u64), (RegionId, RegionId, FloodMessage)>,
    timers: BTreeMap<RegionId, Micros>,
    sent: u64,
    now: Micros,
    random: fastrand::Rng,
    /// Percent of the messages outside the tree that are lost.
    loss: u32,
}

impl Net {
    fn new(regions: u16, seed: u64) -> Net {
        let all: BTreeSet<RegionId> = (1..=regions).map(id).collect();
        let registered = Rc::new(all.clone());
        let peer = |me: &RegionId| {
            let mut db = LinkStateDb::new();
            db.apply(state(me.get(), 1, &[]));
            let flood = Flood::new(*me);
            (
                *me,
                Peer { flood, db, registered: Rc::clone(&registered), seq: 1, copies: 0, bytes: 0 },
            )
        };
        Net {
            peers: all.iter().map(peer).collect(),
            delays: BTreeMap::new(),
            flying: BTreeMap::new(),
            timers: BTreeMap::new(),
            sent: 0,
            now: Micros::ZERO,
            random: fastrand::Rng::with_seed(seed),
            loss: 0,
        }
    }

    /// A random tree with further links, each with a delay of 5 to 120 ms.
    fn random(regions: u16, further: u16, seed: u64) -> Net {
        let mut net = Net::new(regions, seed);
        for number in 2..=regions {
            let to = net.random.u16(1..number);
            net.link(number, to);
        }
        for _ in 0..further {
            let (a, b) = (net.random.u16(1..=regions), net.random.u16(1..=regions));
            if a != b {
                net.link(a, b);
            }
        }
        net
    }

    fn link(&mut self, a: u16, b: u16) {
        let delay = Micros::from_millis(self.random.u64(5..=120));
        for (from, to) in [(id(a), id(b)), (id(b), id(a))] {
            self.delays.insert((from, to), delay);
            self.peers.get_mut(&from).unwrap().flood.handle_link_up(self.now, to);
        }
        self.send_all();
    }

    fn cut(&mut self, a: u16, b: u16) {
        for (from, to) in [(id(a), id(b)), (id(b), id(a))] {
            self.delays.remove(&(from, to));
            self.peers.get_mut(&from).unwrap().flood.handle_link_down(self.now, to);
        }
        self.flying
            .retain(|_, (from, to, _)| ![(id(a), id(b)), (id(b), id(a))].contains(&(*from, *to)));
        self.send_all();
    }

    fn change(&mut self, number: u16, urgent: bool) {
        let now = self.now;
        let peer = self.peers.get_mut(&id(number)).unwrap();
        peer.seq += 1;
        peer.db.apply(state(number, peer.seq, &[]));
        peer.flood.announce(now, urgent);
        self.send_from(id(number));
    }

    fn send_all(&mut self) {
        let all: Vec<RegionId> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|me| self.send_from(me));
    }

    /// Sends what a region has to say, and notes when its timer wants to run.
    fn send_from(&mut self, me: RegionId) {
        let peer = self.peers.get_mut(&me).unwrap();
        while let Some((to, message)) = peer.flood.poll_transmit(&peer.db, &|_| true) {
            peer.bytes += rmp_serde::to_vec(&message).unwrap().len();
            let pushed = matches!(message, FloodMessage::States { .. });
            if !pushed && self.random.u32(0..100) < self.loss {
                continue;
            }
            let Some(delay) = self.delays.get(&(me, to)) else { continue };
            self.sent += 1;
            self.flying.insert((self.now + *delay, self.sent), (me, to, message));
        }
        self.timers.insert(me, peer.flood.poll_timeout().unwrap_or(Micros::MAX));
    }

    /// Lets time pass: the next message or timer, until `end`.
    fn run(&mut self, end: Micros) {
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let (timer, me) = self.timers.iter().map(|(me, at)| (*at, *me)).min().unwrap();
            let next = arrival.unwrap_or(Micros::MAX).min(timer);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (from, to, message)) = self.flying.pop_first().unwrap();
                self.arrive(from, to, message);
            } else {
                self.peers.get_mut(&me).unwrap().flood.handle_timeout(self.now);
                self.send_from(me);
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, from: RegionId, to: RegionId, message: FloodMessage) {
        let now = self.now;
        let peer = self.peers.get_mut(&to).unwrap();
        if let FloodMessage::States { states, .. } = &message {
            peer.copies += states.len() as u64;
        }
        let registered = Rc::clone(&peer.registered);
        let known = |region: RegionId| registered.contains(&region);
        let heard = peer.flood.handle_message(now, from, message, &mut peer.db, &known);
        if let Some(outbid) = heard.outbid {
            peer.seq = outbid;
            self.change(to.get(), false);
        }
        self.send_from(to);
    }

    fn wait(&mut self, secs: u64) {
        self.run(self.now + Micros::from_secs(secs));
    }

    fn is_equal(&self) -> bool {
        let mut digests = self.peers.values().map(|peer| peer.db.digest());
        let first = digests.next().unwrap();
        first.len() == self.peers.len() && digests.all(|digest| digest == first)
    }

    fn copies(&self) -> u64 {
        self.peers.values().map(|peer| peer.copies).sum()
    }

    fn bytes(&self) -> usize {
        self.peers.values().map(|peer| peer.bytes).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_connected_federation_comes_to_equal_databases_whatever_is_lost_beside_the_tree(
        regions in 2_u16..14, further in 0_u16..20, loss in 0_u32..40, seed: u64,
    ) {
        let mut net = Net::random(regions, further, seed);
        net.loss = loss;
        for _ in 0..20 {
            let (number, urgent) = (net.random.u16(1..=regions), net.random.bool());
            net.change(number, urgent);
            let pause = net.random.u64(0..500);
            net.run(net.now + Micros::from_millis(pause));
        }
        // Comparisons come every 30 s and get lost as well.
        for _ in 0..100 {
            net.wait(30);
            if net.is_equal() { break; }
        }
        prop_assert!(net.is_equal());
        for (me, peer) in &net.peers {
            for other in net.peers.values() {
                prop_assert_eq!(other.db.get(*me).map(|state| state.seq), Some(peer.seq), "the newest of all");
            }
        }
    }

    #[test]
    fn databases_are_equal_after_partitions_that_heal(regions in 4_u16..12, seed: u64) {
        let mut net = Net::random(regions, regions, seed);
        net.wait(5);
        for _ in 0..3 {
            let links: Vec<(u16, u16)> =
                net.delays.keys().filter(|(a, b)| a < b).map(|(a, b)| (a.get(), b.get())).collect();
            let cut: Vec<(u16, u16)> = links.into_iter().filter(|_| net.random.bool()).collect();
            cut.iter().for_each(|(a, b)| net.cut(*a, *b));
            for number in 1..=regions { net.change(number, false); }
            net.wait(2);
            cut.iter().for_each(|(a, b)| net.link(*a, *b));
            net.wait(4);
            prop_assert!(net.is_equal(), "healed by what is said when a link comes up");
        }
    }
}

#[test]
fn once_the_tree_has_settled_a_change_reaches_each_region_about_once() {
    for seed in 0..5 {
        let mut net = Net::random(40, 120, seed);
        net.wait(10);
        for number in 1..=20 {
            net.change(number, false);
            net.wait(2);
        }
        let before = net.copies();
        for number in 1..=40 {
            net.change(number, false);
            net.wait(2);
        }
        assert!(net.is_equal());
        let per_region = (net.copies() - before) as f64 / (40.0 * 39.0);
        assert!((1.0..=1.5).contains(&per_region), "{per_region} copies (seed {seed})");
    }
}

#[test]
fn changes_in_all_regions_at_once_cost_little_more_than_one_copy_each() {
    let mut net = Net::random(40, 120, 9);
    net.wait(10);
    let mut before = 0;
    for round in 0..12 {
        if round == 4 {
            before = net.copies();
        }
        for number in 1..=40 {
            net.change(number, false);
        }
        net.wait(5);
        assert!(net.is_equal());
    }
    let per_region = (net.copies() - before) as f64 / (8.0 * 40.0 * 39.0);
    assert!(per_region <= 1.5, "{per_region} copies");
}

#[test]
fn the_death_of_a_tree_link_is_repaired_within_a_second() {
    let mut net = Net::random(12, 18, 4);
    for number in 1..=12 {
        net.change(number, false);
        net.wait(3);
    }
    let tree: Vec<(u16, u16)> = net
        .delays
        .keys()
        .filter(|(a, b)| a < b && net.peers[a].flood.is_tree_link(*b))
        .map(|(a, b)| (a.get(), b.get()))
        .collect();
    assert!(tree.len() < net.delays.len() / 2, "some links were pruned");
    let mut grafted = 0;
    for (a, b) in tree {
        let connected = |net: &Net| {
            let mut seen = BTreeSet::from([id(1)]);
            while net.delays.keys().any(|(from, to)| seen.contains(from) && seen.insert(*to)) {}
            seen.len() == net.peers.len()
        };
        let grafts =
            |net: &Net| net.peers.values().map(|peer| peer.flood.stats().grafts).sum::<u64>();
        let before = grafts(&net);
        net.cut(a, b);
        if connected(&net) {
            net.change(a, false);
            net.run(net.now + Micros::from_millis(2_500));
            assert!(net.is_equal(), "without link {a} - {b}");
            grafted += u64::from(grafts(&net) > before);
        }
        net.link(a, b);
        net.wait(5);
    }
    assert!(grafted > 0, "at least one repair was by graft");
}

#[test]
fn bad_news_arrives_over_the_fastest_path_although_the_tree_has_pruned_it() {
    let mut net = Net::new(3, 1);
    for (a, b) in [(1, 2), (2, 3), (1, 3)] {
        net.link(a, b);
    }
    let mut delay = |a: u16, b: u16, ms: u64| {
        net.delays.insert((id(a), id(b)), Micros::from_millis(ms));
        net.delays.insert((id(b), id(a)), Micros::from_millis(ms));
    };
    delay(1, 2, 10);
    delay(2, 3, 10);
    delay(1, 3, 100);
    for _ in 0..3 {
        net.change(1, false);
        net.wait(2);
    }
    assert!(!net.peers[&id(1)].flood.is_tree_link(id(3)), "the slow link was pruned");
    // Now the detour is what is slow.
    net.delays.insert((id(2), id(3)), Micros::from_secs(1));
    net.change(1, true);
    net.run(net.now + Micros::from_millis(101));
    assert_eq!(net.peers[&id(3)].db.get(id(1)).map(|state| state.seq), Some(net.peers[&id(1)].seq));
}

#[test]
fn a_state_is_urgent_when_it_takes_something_away() {
    let old = state(1, 1, &[2, 3]);
    assert!(!is_urgent(None, &old));
    assert!(!is_urgent(Some(&old), &state(1, 2, &[2, 3, 4])));
    assert!(is_urgent(Some(&old), &state(1, 2, &[2, 4])));
    assert!(is_urgent(Some(&old), &LinkState { no_transit: true, ..old.clone() }));
    let mut closing = old;
    closing.links[1].flags = LinkAdvert::CLOSING;
    assert!(!is_urgent(Some(&closing), &state(1, 3, &[2])), "nobody takes it any more");
    assert!(is_urgent(Some(&closing), &state(1, 3, &[3])));
}

#[test]
fn a_link_that_comes_up_beside_many_others_begins_outside_the_tree() {
    let mut flood = Flood::new(id(1));
    for peer in 2..=10 {
        flood.handle_link_up(Micros::ZERO, id(peer));
    }
    let in_tree = |flood: &Flood| (2..=10).filter(|peer| flood.is_tree_link(id(*peer))).count();
    assert_eq!(in_tree(&flood), TREE_LINKS_AT_FIRST);
    for peer in 2..=5 {
        flood.handle_link_down(Micros::ZERO, id(peer));
    }
    assert_eq!(in_tree(&flood), 1, "one of the others takes their place");
}

/// Two neighbours with databases of their own.
fn two(regions: u16) -> (Net, LinkStateDb) {
    let mut net = Net::new(2, 3);
    let mut db = LinkStateDb::new();
    for number in 1..=regions {
        db.apply(state(number, LinkState::sequence(3, u32::from(number)), &[4, 5, 6]));
    }
    for peer in net.peers.values_mut() {
        peer.registered = Rc::new((1..=regions).map(id).collect());
    }
    (net, db)
}

#[test]
fn two_equal_databases_of_thousands_are_compared_in_less_than_a_kilobyte() {
    let (mut net, db) = two(8_000);
    net.peers.values_mut().for_each(|peer| peer.db = db.clone());
    net.link(1, 2);
    net.wait(2);
    assert!(net.bytes() > 0 && net.bytes() < 1_024, "{} bytes", net.bytes());
    assert_eq!(net.copies(), 0);
}

#[test]
fn an_idle_link_says_less_than_a_hundred_bytes_in_half_a_minute() {
    let mut net = Net::random(50, 0, 2);
    net.wait(40);
    let before = net.bytes();
    net.wait(300);
    assert!(net.is_equal());
    let per_link = (net.bytes() - before) as f64 / 49.0 / 10.0;
    assert!(per_link < 100.0, "{per_link} bytes in 30 s");
}

#[test]
fn of_thousands_only_what_is_missing_is_sent() {
    let (mut net, db) = two(5_000);
    for (me, peer) in &mut net.peers {
        peer.db = db.clone();
        // Each side knows newer states of twenty regions spread over the whole space.
        for step in 0..20 {
            let number = step * 240 + 7 + me.get();
            peer.db.apply(state(number, LinkState::sequence(4, 1), &[]));
        }
    }
    net.link(1, 2);
    net.wait(5);
    assert_eq!(net.copies(), 40);
    assert!(net.bytes() < 24_000, "{} bytes", net.bytes());
    assert_eq!(net.peers[&id(1)].db.digest(), net.peers[&id(2)].db.digest());
}

#[test]
fn a_newcomer_gets_each_state_once_however_many_neighbours_it_has() {
    let mut net = Net::random(30, 60, 6);
    net.wait(5);
    net.peers.values_mut().for_each(|peer| {
        Rc::make_mut(&mut peer.registered).insert(id(31));
    });
    let mut newcomer = Net::new(31, 1).peers.remove(&id(31)).unwrap();
    newcomer.registered = Rc::new((1..=31).map(id).collect());
    net.peers.insert(id(31), newcomer);
    let before = net.copies();
    for neighbour in [1, 5, 9, 13] {
        net.link(31, neighbour);
    }
    net.wait(5);
    assert!(net.is_equal());
    assert!(net.peers[&id(31)].copies <= 36, "{} copies", net.peers[&id(31)].copies);
    assert!(net.copies() - before <= 36 + 60, "{} copies in all", net.copies() - before);
}

#[test]
fn states_of_regions_that_are_not_registered_wait_until_they_are() {
    let mut net = Net::new(3, 5);
    net.peers.get_mut(&id(1)).unwrap().registered = Rc::new([1, 2].map(id).into());
    net.link(1, 2);
    net.link(2, 3);
    net.change(3, false);
    net.wait(3);
    assert_eq!(net.peers[&id(1)].db.get(id(3)), None);
    assert!(net.peers[&id(1)].flood.stats().states_unregistered > 0);
    let now = net.now;
    let peer = net.peers.get_mut(&id(1)).unwrap();
    Rc::make_mut(&mut peer.registered).insert(id(3));
    peer.flood.handle_registry_change(now);
    net.send_all();
    net.wait(2);
    assert!(net.is_equal());
}

#[test]
fn only_the_owner_goes_beyond_a_number_that_somebody_made_up() {
    let mut net = Net::random(5, 6, 8);
    net.wait(3);
    // Region 2 claims a state of region 4 as far ahead as anybody takes it, and one further than that.
    for (leap, taken) in [(MAX_LEAP - 10, true), (u64::MAX >> 2, false)] {
        let seq = net.peers[&id(4)].seq + leap;
        let forged = FloodMessage::States {
            delivery: Delivery::Pushed,
            states: vec![state(4, seq, &[1, 2, 3])],
        };
        let (from, to) = *net.delays.keys().find(|(from, _)| *from == id(2)).unwrap();
        net.arrive(from, to, forged);
        net.wait(5);
        assert!(net.is_equal());
        let held = net.peers[&id(1)].db.get(id(4)).unwrap().clone();
        assert!(held.links.is_empty(), "what the region itself says");
        assert_eq!(held.seq > seq, taken);
    }
    let refused: u64 = net.peers.values().map(|peer| peer.flood.stats().sequences_refused).sum();
    assert!(refused > 0);
}

#[test]
fn a_region_that_starts_again_with_lower_numbers_outbids_its_earlier_life() {
    let mut net = Net::random(6, 4, 2);
    for _ in 0..10 {
        net.change(3, false);
    }
    net.wait(3);
    let links: Vec<u16> =
        net.delays.keys().filter(|(from, _)| *from == id(3)).map(|(_, to)| to.get()).collect();
    links.iter().for_each(|to| net.cut(3, *to));
    let reborn = Net::new(6, 0).peers.remove(&id(3)).unwrap();
    net.peers.insert(id(3), reborn);
    links.iter().for_each(|to| net.link(3, *to));
    net.wait(3);
    assert!(net.is_equal());
    assert!(net.peers[&id(3)].seq > 11);
}

#[test]
fn a_neighbour_that_asks_for_everything_again_and_again_gets_it_twice() {
    let (mut net, db) = two(2_000);
    net.peers.get_mut(&id(1)).unwrap().db = db.clone();
    net.peers.get_mut(&id(2)).unwrap().db = db;
    net.link(1, 2);
    net.wait(1);
    let all = Digest::new((1..=2_000).map(|number| (id(number), 0)));
    for _ in 0..20 {
        net.arrive(id(2), id(1), FloodMessage::Pull(all.clone()));
        net.wait(0);
    }
    net.run(net.now + Micros::from_millis(500));
    assert!((1_000..=4_100).contains(&net.copies()), "{} copies", net.copies());
    assert!(net.peers[&id(1)].flood.stats().requests_refused > 0);
    // The same for comparisons.
    let refused = net.peers[&id(1)].flood.stats().requests_refused;
    for _ in 0..20 {
        let parts = vec![1; Span::PARTS];
        net.arrive(id(2), id(1), FloodMessage::Summary { of: Span::ALL, parts });
    }
    assert!(net.peers[&id(1)].flood.stats().requests_refused > refused);
}

#[test]
fn messages_that_make_no_sense_change_nothing() {
    let (mut net, db) = two(10);
    net.peers.values_mut().for_each(|peer| peer.db = db.clone());
    net.link(1, 2);
    net.wait(1);
    let row = Span::ALL.parts().next().unwrap().parts().next().unwrap();
    for message in [
        FloodMessage::Summary { of: row, parts: vec![0; 64] },
        FloodMessage::Summary { of: Span::ALL, parts: vec![0; 63] },
        FloodMessage::Entries { of: vec![Span::ALL; 100], held: Digest::default() },
        FloodMessage::Have(Digest::new([(id(60_000), u64::MAX)])),
        FloodMessage::Offer(Digest::new([(id(1), u64::MAX), (id(3), u64::MAX)])),
        FloodMessage::Pull(Digest::new([(id(60_000), 0)])),
        FloodMessage::States { delivery: Delivery::Urgent, states: Vec::new() },
    ] {
        net.arrive(id(2), id(1), message);
        net.wait(3);
        assert_eq!(net.peers[&id(1)].db.digest(), db.digest());
    }
    // From somebody without a link, nothing is taken.
    let stranger = FloodMessage::States {
        delivery: Delivery::Pushed,
        states: vec![state(5, LinkState::sequence(9, 9), &[])],
    };
    net.arrive(id(7), id(1), stranger);
    assert_eq!(net.peers[&id(1)].db.digest(), db.digest());
}
