use proptest::prelude::*;

use super::*;

fn id(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

fn interval(low: i64, high: i64) -> ClockInterval {
    ClockInterval { low, high }
}

#[test]
fn one_liar_among_three_is_outvoted_and_of_two_both_are_allowed() {
    let honest = [interval(0, 10), interval(5, 20)];
    assert_eq!(vote(&honest), Some(interval(0, 20)));
    let with_liar = [honest[0], honest[1], interval(1_000, 1_001)];
    assert_eq!(vote(&with_liar), Some(interval(5, 10)));
    let half_liar = [honest[0], honest[1], interval(-3, 2)];
    assert_eq!(vote(&half_liar), Some(interval(0, 10)), "the truth may be where one contradicts");
    assert_eq!(vote(&[]), None);
}

#[test]
fn with_two_liars_among_five_the_three_that_agree_count() {
    let five =
        [interval(0, 10), interval(2, 12), interval(4, 14), interval(100, 110), interval(-90, -80)];
    assert_eq!(vote(&five), Some(interval(4, 10)));
    let disagreeing = [interval(0, 1), interval(10, 11), interval(20, 21)];
    assert_eq!(vote(&disagreeing), Some(interval(0, 21)), "nobody knows");
}

proptest! {
    #[test]
    fn a_vote_with_at_most_one_liar_holds_the_truth(
        truth in -1_000_000_i64..1_000_000,
        honest in prop::collection::vec((0_i64..50_000, 0_i64..50_000), 2..10),
        liar in prop::option::of((-2_000_000_i64..2_000_000, 0_i64..100_000)),
        place in 0_usize..10,
    ) {
        let mut all: Vec<ClockInterval> =
            honest.iter().map(|(below, above)| interval(truth - below, truth + above)).collect();
        if let Some((low, width)) = liar {
            all.insert(place.min(all.len()), interval(low, low + width));
        }
        let seen = vote(&all).unwrap();
        prop_assert!(seen.low <= truth && truth <= seen.high, "{truth} in {seen:?} of {all:?}");
    }
}

/// A federation in true time: clocks that drift, paths that are longer one way and shake, and perhaps a liar.
struct World {
    random: fastrand::Rng,
    time: u64,
    nodes: Vec<Clocked>,
    /// Ends, and the least time each way.
    links: Vec<(usize, usize, u64, u64)>,
    liar: Option<usize>,
    /// How far the liar is off in the moment.
    lie: i64,
}

struct Clocked {
    engine: RootClock,
    base: u64,
    drift_ppm: i64,
}

impl Clocked {
    fn since_start(&self, time: u64) -> Micros {
        Micros(time.wrapping_add_signed(time as i64 * self.drift_ppm / 1_000_000))
    }

    fn reading(&self, time: u64) -> u64 {
        self.base + self.since_start(time).0
    }
}

impl World {
    fn new(seed: u64, links: &[(usize, usize)], liar: Option<usize>) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = links.iter().flat_map(|(a, b)| [*a, *b]).max().unwrap() + 1;
        let nodes = (0..count)
            .map(|index| {
                // Some machines are an hour or a day off.
                let base = 1_700_000_000_000_000 + random.u64(0..100_000_000_000);
                let mut engine = RootClock::new(id(index as u16 + 1), 1, base);
                engine.set_root(Some(id(1)));
                Clocked { engine, base, drift_ppm: random.i64(-50..=50) }
            })
            .collect();
        let links = links
            .iter()
            .map(|(a, b)| (*a, *b, random.u64(200..80_000), random.u64(200..80_000)))
            .collect();
        World { random, time: 0, nodes, links, liar, lie: 0 }
    }

    /// Steps of 250 ms of true time: stamps on all links, adverts on some.
    fn step(&mut self) {
        self.time += 250_000;
        if self.random.u8(0..8) == 0 {
            self.lie = self.random.i64(-3_000_000..3_000_000);
        }
        for (a, b, forth, back) in self.links.clone() {
            for (here, there, forth, back) in [(a, b, forth, back), (b, a, back, forth)] {
                self.exchange(here, there, forth, back);
                if self.random.u8(0..8) == 0 {
                    self.tell(here, there);
                }
            }
        }
        for node in &mut self.nodes {
            let now = node.since_start(self.time);
            node.engine.update(now);
        }
    }

    fn exchange(&mut self, here: usize, there: usize, forth: u64, back: u64) {
        let forth = forth + self.random.u64(0..5_000);
        let back = back + self.random.u64(0..5_000);
        let held = self.random.u64(0..20_000);
        let sent = self.time.saturating_sub(forth + held + back);
        let lie = if Some(there) == self.liar { self.lie } else { 0 };
        let peer = |time| self.nodes[there].reading(time).wrapping_add_signed(lie) as u32;
        let sample = ClockSample {
            sent_us: self.nodes[here].reading(sent) as u32,
            peer_received_us: peer(sent + forth),
            peer_sent_us: peer(sent + forth + held),
            received_us: self.nodes[here].reading(self.time) as u32,
        };
        let now = self.nodes[here].since_start(self.time);
        self.nodes[here].engine.sample(now, id(there as u16 + 1), sample);
    }

    fn tell(&mut self, from: usize, to: usize) {
        // Told a little earlier than heard.
        let told = self.time - self.random.u64(0..100_000);
        let mut advert = self.nodes[from].engine.advert(self.nodes[from].since_start(told));
        if Some(from) == self.liar {
            let off = self.lie + self.random.i64(-1_000..1_000);
            let width = self.random.i64(0..10_000);
            advert.root = Some(RootView {
                root: id(1),
                boot: self.random.u32(0..3),
                interval: interval(off, off + width),
                hops: self.random.u8(1..4),
                confirmed: true,
            });
        }
        let now = self.nodes[to].since_start(self.time);
        self.nodes[to].engine.handle_advert(now, id(from as u16 + 1), advert);
    }

    fn truth(&self, node: usize) -> i64 {
        self.nodes[0].reading(self.time) as i64 - self.nodes[node].reading(self.time) as i64
    }

    /// The estimates of the honest, each checked against the truth if `must_hold` says that it must hold.
    fn check(&self, must_hold: impl Fn(&ClockEstimate) -> bool) -> Vec<Option<ClockEstimate>> {
        let mut seen = Vec::new();
        for (index, node) in
            self.nodes.iter().enumerate().filter(|(index, _)| Some(*index) != self.liar)
        {
            let estimate = node.engine.estimate(node.since_start(self.time));
            if let Some(estimate) = estimate.filter(&must_hold) {
                let off = estimate.offset_us.abs_diff(self.truth(index));
                assert!(
                    off <= estimate.error_us + 1,
                    "node {index} at {} µs: {estimate:?} is {off} µs off",
                    self.time
                );
            }
            seen.push(estimate);
        }
        seen
    }
}

#[test]
fn without_liars_no_bound_is_ever_wrong_on_any_shape() {
    let chain: Vec<(usize, usize)> = (1..6).map(|n| (n - 1, n)).collect();
    let tree: Vec<(usize, usize)> = (1..12).map(|n| ((n - 1) / 2, n)).collect();
    let ring: Vec<(usize, usize)> = (0..8).map(|n| (n, (n + 1) % 8)).collect();
    for (seed, links) in [chain, tree, ring].iter().enumerate() {
        let mut world = World::new(seed as u64, links, None);
        for _ in 0..400 {
            world.step();
            world.check(|_| true);
        }
        // No worse than the sum of the delays on the way, and the drift until the next word.
        let most: u64 = 20_000
            + world
                .links
                .iter()
                .map(|(_, _, forth, back)| (forth + back + 10_000) / 2)
                .sum::<u64>();
        for estimate in world.check(|_| true) {
            assert!(estimate.unwrap().error_us <= most);
        }
    }
}

/// Every node but the root's first neighbours has four links to nodes before it.
fn dense(count: usize, random: &mut fastrand::Rng) -> Vec<(usize, usize)> {
    let mut links: Vec<(usize, usize)> = (1..5).map(|node| (0, node)).collect();
    for node in 5..count {
        let mut before: Vec<usize> = (1..node).collect();
        random.shuffle(&mut before);
        links.extend(before.into_iter().take(4).map(|other| (other, node)));
    }
    links
}

#[test]
fn one_liar_never_breaks_a_confirmed_bound_and_every_node_gets_one() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let links = dense(14, &mut random);
        let mut world = World::new(seed, &links, Some(random.usize(1..14)));
        for _ in 0..300 {
            world.step();
            world.check(|estimate| estimate.confirmed);
        }
        for estimate in world.check(|estimate| estimate.confirmed) {
            let estimate = estimate.unwrap();
            assert!(estimate.confirmed && estimate.error_us < 1_000_000, "{estimate:?}");
        }
    }
}

#[test]
fn the_root_knows_its_clock_and_a_stranger_to_it_knows_nothing() {
    let mut root = RootClock::new(id(1), 3, 77);
    root.set_root(Some(id(1)));
    let estimate = root.estimate(Micros(3)).unwrap();
    assert_eq!((estimate.offset_us, estimate.error_us, estimate.reading_us), (0, 0, 80));
    assert_eq!(estimate.at(Micros(1_000_003)).error_us, 0);
    assert_eq!(estimate.at(Micros(13)).root_time_us(), 90);
    let mut other = RootClock::new(id(2), 1, 0);
    other.set_root(Some(id(1)));
    other.update(Micros(5));
    assert_eq!(other.estimate(Micros(5)), None);
    assert_eq!(other.advert(Micros(5)), ClockAdvert { reading: 5, root: None });
}

#[test]
fn a_root_that_starts_again_is_believed_over_what_is_remembered() {
    let mut world = World::new(5, &[(0, 1), (1, 2)], None);
    for _ in 0..100 {
        world.step();
    }
    let base = world.nodes[0].base + 55_000_000;
    world.nodes[0].base = base;
    world.nodes[0].engine = RootClock::new(id(1), 2, base);
    world.nodes[0].engine.set_root(Some(id(1)));
    world.nodes[1].engine.remove_link(id(1));
    for _ in 0..200 {
        world.step();
    }
    world.check(|_| true);
}

#[test]
fn words_that_cannot_be_true_are_ignored() {
    let mut clock = RootClock::new(id(2), 1, 0);
    clock.set_root(Some(id(1)));
    let view = |low, high, hops| RootView {
        root: id(1),
        boot: 1,
        interval: interval(low, high),
        hops,
        confirmed: true,
    };
    for view in [view(5, 4, 1), view(i64::MIN, i64::MAX, 1), view(0, 0, 0)] {
        clock.handle_advert(Micros(1), id(3), ClockAdvert { reading: 0, root: Some(view) });
        assert!(clock.sources.is_empty(), "{view:?}");
    }
    clock.handle_advert(
        Micros(1),
        id(3),
        ClockAdvert { reading: u64::MAX, root: Some(view(0, 1, 255)) },
    );
    clock.update(Micros::MAX);
    assert_eq!(clock.estimate(Micros::MAX), None, "the link has measured nothing");
}
