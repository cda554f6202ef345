//! Random meshes with loss, doubling, stale routes and route changes on the way.

use std::collections::{BinaryHeap, HashMap};

use proptest::prelude::*;

use super::*;

const NOW: Micros = Micros::from_secs(1);

fn region(number: usize) -> RegionId {
    RegionId::new(u16::try_from(number).unwrap() + 1).unwrap()
}

fn index(region: RegionId) -> usize {
    usize::from(region.get()) - 1
}

fn letter(number: u64) -> Letter {
    Letter {
        group: "g".to_owned(),
        wire_type: 1,
        version: 1,
        from: None,
        body: bytes::Bytes::copy_from_slice(&number.to_be_bytes()),
    }
}

fn number(letter: &Letter) -> u64 {
    u64::from_be_bytes(letter.body[..].try_into().unwrap())
}

/// What is on its way; ordered by time, then by when it was sent.
struct Flight {
    at: Micros,
    nth: u64,
    from: usize,
    to: usize,
    load: Load,
}

enum Load {
    Copy(GroupCopy),
    Notice(Notice),
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}
impl Eq for Flight {}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.nth).cmp(&(self.at, self.nth))
    }
}

/// A mesh of regions whose links and routes change while messages are under way.
struct Mesh {
    now: Micros,
    random: fastrand::Rng,
    nodes: Vec<Multicast>,
    links: BTreeSet<(usize, usize)>,
    /// Each region's own idea of the next hop to each other: it may be out of date.
    routes: Vec<HashMap<usize, usize>>,
    flights: BinaryHeap<Flight>,
    sent: u64,
    loss: f64,
    doubled: f64,
    /// The longest time that a copy takes over a link.
    slowest: Micros,
    /// Last arrival over each session: they keep their order.
    session: HashMap<(usize, usize), Micros>,
    got: HashMap<(usize, usize), Vec<u64>>,
    lost: u64,
    crossed: HashMap<(usize, usize), u64>,
}

impl Mesh {
    fn new(count: usize, extra: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut links = BTreeSet::new();
        for node in 1..count {
            links.insert((random.usize(..node), node));
        }
        for _ in 0..extra {
            let (a, b) = (random.usize(..count), random.usize(..count));
            if a != b {
                links.insert((a.min(b), a.max(b)));
            }
        }
        let mut mesh = Self {
            now: NOW,
            random,
            nodes: (0..count).map(|node| Multicast::new(region(node), 1)).collect(),
            links,
            routes: vec![HashMap::new(); count],
            flights: BinaryHeap::new(),
            sent: 0,
            loss: 0.0,
            doubled: 0.0,
            slowest: Micros::from_millis(80),
            session: HashMap::new(),
            got: HashMap::new(),
            lost: 0,
            crossed: HashMap::new(),
        };
        for node in 0..count {
            mesh.route(node);
        }
        mesh
    }

    /// Computes a region's routes over the links as they are now, with random choices among equals.
    fn route(&mut self, origin: usize) {
        let mut first: HashMap<usize, usize> = HashMap::new();
        let mut frontier = vec![(origin, None)];
        let mut seen = BTreeSet::from([origin]);
        while !frontier.is_empty() {
            let mut next = Vec::new();
            for (node, hop) in frontier {
                let mut neighbours: Vec<usize> = (0..self.nodes.len())
                    .filter(|other| self.links.contains(&(node.min(*other), node.max(*other))))
                    .collect();
                self.random.shuffle(&mut neighbours);
                for other in neighbours {
                    if seen.insert(other) {
                        let hop = hop.unwrap_or(other);
                        first.insert(other, hop);
                        next.push((other, Some(hop)));
                    }
                }
            }
            frontier = next;
        }
        self.routes[origin] = first;
    }

    fn perform(&mut self, at: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Deliver(source, letter) => {
                    self.got.entry((index(source), at)).or_default().push(number(&letter));
                    if index(source) == at {
                        self.nodes[at].delivered_locally(&letter);
                    }
                }
                Action::Lost(..) => self.lost += 1,
                Action::Notice(to, notice) => {
                    self.over_session(at, index(to), Load::Notice(notice))
                }
                Action::Copy(to, copy) => {
                    let to = index(to);
                    *self.crossed.entry((at, to)).or_default() += 1;
                    let straight =
                        copy.source == region(at) && copy.targets[0].region() == region(to);
                    // A copy straight from the source to its target goes over their session.
                    if straight && !self.links.contains(&(at.min(to), at.max(to))) {
                        self.over_session(at, to, Load::Copy(copy));
                        continue;
                    }
                    let times = if self.random.f64() < self.loss {
                        0
                    } else {
                        1 + usize::from(self.random.f64() < self.doubled)
                    };
                    for _ in 0..times {
                        let delay = Micros(self.random.u64(1_000..=self.slowest.0));
                        self.fly(at, to, delay, Load::Copy(copy.clone()));
                    }
                }
            }
        }
    }

    fn over_session(&mut self, from: usize, to: usize, load: Load) {
        let delay = Micros(self.random.u64(10_000..120_000));
        let at = self.now.saturating_add(delay);
        let last = self.session.entry((from, to)).or_insert(Micros::ZERO);
        *last = (*last).max(at);
        let delay = last.saturating_sub(self.now);
        self.fly(from, to, delay, load);
    }

    fn fly(&mut self, from: usize, to: usize, delay: Micros, load: Load) {
        self.sent += 1;
        let at = self.now.saturating_add(delay);
        self.flights.push(Flight { at, nth: self.sent, from, to, load });
    }

    fn publish(&mut self, at: usize, value: u64) -> bool {
        let targets: Vec<RegionId> = (0..self.nodes.len()).map(region).collect();
        let routes = &self.routes[at];
        let hop = |to: RegionId| routes.get(&index(to)).copied().map(region);
        match self.nodes[at].publish(self.now, &targets, letter(value), hop) {
            Ok(actions) => {
                self.perform(at, actions);
                true
            }
            Err(_) => false,
        }
    }

    /// Lets time pass until `until`.
    fn run(&mut self, until: Micros) {
        loop {
            let due = self.nodes.iter().filter_map(Multicast::deadline).min();
            let flight = self.flights.peek().map(|flight| flight.at);
            let next = due.unwrap_or(Micros::MAX).min(flight.unwrap_or(Micros::MAX));
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            while self.flights.peek().is_some_and(|flight| flight.at <= self.now) {
                let flight = self.flights.pop().unwrap();
                let at = flight.to;
                let routes = &self.routes[at];
                let hop = |to: RegionId| routes.get(&index(to)).copied().map(region);
                let from = region(flight.from);
                let actions = match flight.load {
                    Load::Copy(copy) => self.nodes[at].handle_copy(self.now, from, copy, hop),
                    Load::Notice(notice) => self.nodes[at].handle_notice(self.now, from, notice),
                };
                self.perform(at, actions);
            }
            for at in 0..self.nodes.len() {
                let actions = self.nodes[at].handle_timeout(self.now);
                self.perform(at, actions);
            }
        }
        self.now = until;
    }

    /// Replaces a link by another one; some regions learn of it only later.
    fn change_routes(&mut self) {
        let count = self.nodes.len();
        let (a, b) = (self.random.usize(..count), self.random.usize(..count));
        if a != b {
            let link = (a.min(b), a.max(b));
            // The spanning tree stays by way of adding before removing.
            if !self.links.insert(link) && self.links.len() >= count {
                self.links.remove(&link);
                if !self.connected() {
                    self.links.insert(link);
                }
            }
        }
        for node in 0..count {
            if self.random.bool() {
                self.route(node);
            }
        }
    }

    fn connected(&self) -> bool {
        let mut seen = BTreeSet::from([0]);
        loop {
            let before = seen.len();
            for (a, b) in &self.links {
                if seen.contains(a) || seen.contains(b) {
                    seen.extend([*a, *b]);
                }
            }
            if seen.len() == before {
                return before == self.nodes.len();
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.run(self.now.saturating_add(Micros::from_millis(ms)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_region_gets_every_publish_of_a_source_once_and_in_order(
        seed: u64,
        count in 2_usize..9,
        extra in 0_usize..8,
        loss in 0.0..0.3_f64,
        doubled in 0.0..0.3_f64,
    ) {
        let mut mesh = Mesh::new(count, extra, seed);
        (mesh.loss, mesh.doubled) = (loss, doubled);
        let mut published = vec![0_u64; count];
        for _ in 0..60 {
            let source = mesh.random.usize(..count.min(3));
            for _ in 0..mesh.random.usize(1..4) {
                prop_assert!(mesh.publish(source, published[source]));
                published[source] += 1;
            }
            let pause = mesh.random.u64(0..60);
            mesh.pass(pause);
            if mesh.random.u8(..10) == 0 {
                mesh.change_routes();
            }
        }
        mesh.pass(120_000);
        for (source, many) in published.iter().enumerate() {
            for target in 0..count {
                let got = mesh.got.remove(&(source, target)).unwrap_or_default();
                prop_assert!(got.iter().copied().eq(0..*many), "{source} to {target}: {got:?}");
            }
        }
        prop_assert_eq!(mesh.lost, 0);
        prop_assert_eq!(mesh.nodes.iter().map(Multicast::outstanding).sum::<usize>(), 0);
    }

    #[test]
    fn ended_sessions_lose_a_counted_rest_and_never_double_or_reorder(
        seed: u64,
        count in 2_usize..6,
        loss in 0.0..0.2_f64,
    ) {
        let mut mesh = Mesh::new(count, 3, seed);
        mesh.loss = loss;
        let mut published = 0;
        for _ in 0..40 {
            prop_assert!(mesh.publish(0, published));
            published += 1;
            let pause = mesh.random.u64(0..100);
            mesh.pass(pause);
            if mesh.random.u8(..8) == 0 {
                // The two ends notice at different times; what is in flight may still come.
                let target = mesh.random.usize(1..count);
                let (first, second) = if mesh.random.bool() { (0, target) } else { (target, 0) };
                let actions = mesh.nodes[first].region_lost(region(second));
                mesh.perform(first, actions);
                let pause = mesh.random.u64(0..50);
                mesh.pass(pause);
                let actions = mesh.nodes[second].region_lost(region(first));
                mesh.perform(second, actions);
            }
        }
        mesh.pass(120_000);
        for value in published..published + 5 {
            prop_assert!(mesh.publish(0, value));
            mesh.pass(5_000);
        }
        mesh.pass(60_000);
        let total = published + 5;
        let mut arrived = 0;
        for target in 1..count {
            let got = &mesh.got[&(0, target)];
            prop_assert!(got.is_sorted_by(|a, b| a < b), "doubled or out of order: {got:?}");
            prop_assert!(got.ends_with(&(published..total).collect::<Vec<_>>()), "{got:?}");
            arrived += got.len() as u64;
        }
        let missing = (count as u64 - 1) * total - arrived;
        prop_assert!(mesh.lost >= missing, "{missing} missing, {} counted", mesh.lost);
    }

    #[test]
    fn a_publish_crosses_every_link_of_its_tree_once(seed: u64, count in 2_usize..12) {
        let mut mesh = Mesh::new(count, 0, seed);
        mesh.slowest = Micros::from_millis(2);
        for value in 0..10 {
            mesh.publish(0, value);
            mesh.pass(20);
        }
        mesh.pass(60_000);
        for target in 0..count {
            prop_assert_eq!(mesh.got[&(0, target)].len(), 10);
        }
        let crossed: u64 = mesh.crossed.values().sum();
        prop_assert_eq!(crossed, 10 * (count as u64 - 1), "one copy per link of the tree");
    }
}

#[test]
fn a_copy_ends_after_so_many_links_and_never_goes_back() {
    let mut relay = Multicast::new(region(1), 1);
    let copy = |ttl| GroupCopy {
        origin: Origin::here(),
        source: region(0),
        boot: 1,
        ttl,
        targets: vec![Target(region(5), 1, 1)],
        letter: letter(0),
    };
    assert!(relay.handle_copy(NOW, region(0), copy(1), |_| Some(region(2))).is_empty());
    assert!(relay.handle_copy(NOW, region(3), copy(8), |_| Some(region(3))).is_empty());
    assert!(relay.handle_copy(NOW, region(3), copy(8), |_| Some(region(0))).is_empty());
    assert!(relay.handle_copy(NOW, region(3), copy(8), |_| None).is_empty());
    let sent = relay.handle_copy(NOW, region(3), copy(8), |_| Some(region(2)));
    assert!(matches!(&sent[..], [Action::Copy(to, copy)] if *to == region(2) && copy.ttl == 7));
    assert!(relay.handle_copy(NOW, region(4), copy(8), |_| Some(region(2))).is_empty(), "twice");
    assert_eq!(relay.counters().astray, 5);
}

#[test]
fn a_publish_that_one_target_has_no_room_for_goes_to_nobody() {
    let mut source = Multicast::new(region(0), 1);
    let targets = [region(1), region(2)];
    for value in 0..WINDOW {
        source.publish(NOW, &targets[..1], letter(value), Some).unwrap();
    }
    assert!(source.publish(NOW, &targets, letter(0), Some).is_err());
    assert_eq!(source.outstanding() as u64, WINDOW);
    let ack = Ack { boot: 1, epoch: 1, upto: WINDOW, missing: Vec::new(), closed: false };
    source.handle_notice(NOW, region(1), Notice::Ack(ack));
    assert!(source.publish(NOW, &targets, letter(0), Some).is_ok());
}

#[test]
fn a_paused_group_takes_no_publish_until_the_region_resumes_or_is_lost() {
    let mut source = Multicast::new(region(0), 1);
    let publish =
        |source: &mut Multicast| source.publish(NOW, &[region(1)], letter(0), Some).is_ok();
    let group = || "g".to_owned();
    source.handle_notice(NOW, region(1), Notice::Pause { group: group() });
    assert!(!publish(&mut source));
    source.handle_notice(NOW, region(1), Notice::Resume { group: group() });
    assert!(publish(&mut source));
    source.handle_notice(NOW, region(1), Notice::Pause { group: group() });
    source.region_lost(region(1));
    assert!(publish(&mut source));
}
