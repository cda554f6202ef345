//! The always-set and the planner, on small federations. Their behaviour at size is tested on the matrices of real clouds,
//! in the transport crate, which has them.

use super::*;
use crate::{
    Change, Coordinates, KeyHash, LinkAdvert, LinkCost, LinkState, LinkStateDb, RegionRecord,
    Registry, SetUpEstimate, Status,
};

pub(super) fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

pub(super) fn regions(ids: &[u16]) -> Vec<RegionId> {
    ids.iter().copied().map(region).collect()
}

/// Regions 1 to `count` in a binary tree, each one degree east of the one before; then one that is joining.
pub(super) fn federation(count: u16) -> Registry {
    registry(count, |id| Coordinates::new(0.0, f64::from(id) % 180.0))
}

fn registry(count: u16, place: impl Fn(u16) -> Option<Coordinates>) -> Registry {
    let mut registry = Registry::new();
    for id in 1..=count + 1 {
        let record = RegionRecord {
            id: region(id),
            name: format!("r{id}").parse().unwrap(),
            parent: (id > 1).then(|| region(id / 2)),
            addresses: vec![format!("r{id}:1")],
            key_hash: KeyHash([(id % 251) as u8; 32]),
            status: Status::Joining,
            coordinates: place(id),
        };
        registry.propose(1, Change::Join(record)).unwrap();
        if id <= count {
            registry.propose(1, Change::Live(region(id))).unwrap();
        }
    }
    registry
}

/// One planner with its links, and the links of everybody as the database has them.
struct Bench {
    registry: Registry,
    planner: MeshPlanner,
    links: Vec<OpenLink>,
    edges: Vec<(u16, u16, u64)>,
    nobody_answers: Vec<u16>,
    strained: bool,
    now: Micros,
}

const ME: u16 = 1;

impl Bench {
    fn new(registry: Registry, config: MeshConfig) -> Bench {
        Bench {
            registry,
            planner: MeshPlanner::new(region(ME), config),
            links: Vec::new(),
            edges: Vec::new(),
            nobody_answers: Vec::new(),
            strained: false,
            now: Micros::from_secs(1_000),
        }
    }

    /// Without an always-set, so that only the traffic speaks.
    fn bare(count: u16, config: MeshConfig) -> Bench {
        Bench::new(registry(count, |_| None), MeshConfig { nearest: 0, random: 0, ..config })
    }

    /// A link between any two regions, in ms one way; a link of the bench's own region is one that it dialed.
    fn link(&mut self, a: u16, b: u16, ms: u64) -> &mut Bench {
        self.edges.push((a, b, ms));
        if a == ME {
            self.links.push(OpenLink {
                peer: region(b),
                dialed: true,
                since: self.now,
                cost: Some(LinkCost::from_micros(ms * 1000)),
                carried: 0,
                peer_wants: false,
            });
        }
        self
    }

    fn unlink(&mut self, peer: u16) {
        self.links.retain(|link| link.peer != region(peer));
        self.edges.retain(|(a, b, _)| (*a, *b) != (ME, peer));
    }

    fn plan(&mut self) -> MeshPlan {
        self.now += Micros::from_secs(1);
        let mut db = LinkStateDb::new();
        for record in self.registry.regions() {
            let me = record.id.get();
            let links = self.edges.iter().filter(|(a, b, _)| *a == me || *b == me);
            let retiring =
                |peer: u16| self.planner.reason(region(peer)).is_some_and(|(_, retiring)| retiring);
            let links = links.filter(|(a, b, _)| *a != ME || !retiring(*b)).map(|(a, b, ms)| {
                LinkAdvert::new(
                    region(if *a == me { *b } else { *a }),
                    LinkCost::from_micros(ms * 1000),
                )
            });
            db.apply(LinkState {
                region: record.id,
                seq: 1,
                relay: LinkCost::from_micros(50),
                no_transit: false,
                links: links.collect(),
            });
        }
        let view = MeshView {
            registry: &self.registry,
            db: &db,
            links: &self.links,
            strained: self.strained,
            path: &|_| None,
            set_up: &|_| SetUpEstimate::new(),
            dialable: &|peer| !self.nobody_answers.contains(&peer.get()),
        };
        self.planner.plan(self.now, &view)
    }

    fn talk(&mut self, to: u16, messages: u64) {
        self.planner.handle_traffic(region(to), messages, messages);
        for link in self.links.iter_mut().filter(|link| link.peer == region(to)) {
            link.carried += messages;
        }
    }

    /// Whether a link is wanted after so many messages in each of three seconds: the end whose turn comes second waits one.
    fn wants_after(&mut self, peer: u16, messages: u64) -> bool {
        (0..3).any(|_| {
            self.talk(peer, messages);
            self.wants(peer)
        })
    }

    fn wants(&mut self, peer: u16) -> bool {
        self.plan().wanted.iter().any(|wanted| wanted.peer == region(peer))
    }
}

/// 1 - 2 - 3 - 4 - 1, with 3 at 80 ms by way of 2.
fn square(config: MeshConfig) -> Bench {
    let mut bench = Bench::bare(4, config);
    bench.link(1, 2, 40).link(2, 3, 40).link(3, 4, 60).link(1, 4, 60);
    bench
}

fn reasons(me: u16, registry: &Registry, config: &MeshConfig) -> Vec<(u16, LinkReason)> {
    let mut planner = MeshPlanner::new(region(me), config.clone());
    let view = MeshView {
        registry,
        db: &LinkStateDb::new(),
        links: &[],
        strained: false,
        path: &|_| None,
        set_up: &|_| SetUpEstimate::new(),
        dialable: &|_| true,
    };
    let plan = planner.plan(Micros::from_secs(1), &view);
    plan.wanted.iter().map(|wanted| (wanted.peer.get(), wanted.reason)).collect()
}

#[test]
fn the_always_set_is_parent_second_parent_nearest_and_two_random_ones() {
    use LinkReason::*;
    let registry = federation(40);
    let chosen = reasons(20, &registry, &MeshConfig::default());
    // 10 is the parent of 20 and 21, so 19 is the nearest region that is not below it.
    assert_eq!(
        chosen.get(..3),
        Some(&[(10, Parent), (19, SecondParent), (21, Nearest)][..]),
        "{chosen:?}"
    );
    assert_eq!(chosen.iter().filter(|(_, reason)| *reason == Random).count(), 2, "{chosen:?}");
    assert!(
        reasons(1, &registry, &MeshConfig::default()).iter().all(|(_, reason)| *reason != Parent)
    );
}

#[test]
fn random_links_form_one_closed_ring_that_a_newcomer_changes_at_one_place() {
    let config = MeshConfig { nearest: 0, ..MeshConfig::default() };
    let ring = |count: u16| {
        let registry = federation(count);
        let mut edges: Vec<(u16, u16)> = Vec::new();
        for me in 1..=count {
            // Every other reason aside: the ring alone.
            let all = reasons(me, &registry, &config);
            for (peer, _) in all.iter().filter(|(_, reason)| *reason == LinkReason::Random) {
                edges.push((me.min(*peer), me.max(*peer)));
            }
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    };
    let (before, after) = (ring(50), ring(51));
    assert!(before.len() <= 50, "{}", before.len());
    let changed = before.iter().filter(|edge| !after.contains(edge)).count()
        + after.iter().filter(|edge| !before.contains(edge)).count();
    assert!(changed <= 5, "{changed} edges");
}

#[test]
fn configured_regions_are_linked_and_avoided_ones_are_not() {
    let config =
        MeshConfig { extra: regions(&[9, 7, 7]), avoid: regions(&[7, 10]), ..Default::default() };
    let chosen = reasons(20, &federation(40), &config);
    assert!(chosen.contains(&(9, LinkReason::Configured)));
    assert!(chosen.iter().all(|(id, _)| ![7, 10, 20].contains(id)), "{chosen:?}");
}

#[test]
fn a_region_that_is_not_live_wants_its_parent_only() {
    assert_eq!(reasons(41, &federation(40), &MeshConfig::default()), [(20, LinkReason::Parent)]);
    let ring = MeshConfig { topology: Topology::Ring, ..Default::default() };
    assert_eq!(reasons(41, &federation(40), &ring), [(20, LinkReason::Parent)]);
}

#[test]
fn a_fixed_shape_says_it_all() {
    let ring = MeshConfig { topology: Topology::Ring, ..Default::default() };
    let chosen = reasons(20, &federation(40), &ring);
    assert_eq!(chosen, [(19, LinkReason::Topology), (21, LinkReason::Topology)]);
}

#[test]
fn traffic_opens_the_link_that_it_has_paid_for() {
    let mut bench = square(MeshConfig::default());
    assert!(!bench.wants(3), "nobody talks");
    assert!(!bench.wants_after(3, 1), "not paid yet");
    assert!(bench.wants_after(3, 50));
    bench.link(1, 3, 30);
    bench.plan();
    assert_eq!(bench.planner.reason(region(3)), Some((LinkReason::Traffic, false)));
}

#[test]
fn a_link_opened_in_vain_is_closed_gracefully_and_not_tried_again() {
    let mut bench = square(MeshConfig::default());
    bench.talk(3, 50);
    bench.plan();
    bench.link(1, 3, 90);
    let (mut retired, mut closed) = (0, 0);
    for second in 1..60 {
        let plan = bench.plan();
        if plan.retiring.contains(&region(3)) && retired == 0 {
            retired = second;
        }
        if plan.close.contains(&region(3)) {
            closed = second;
            break;
        }
    }
    assert!(retired >= 9, "a link is given time to settle: {retired}");
    assert!(closed >= retired + 3, "first out of the routes, then closed: {retired}, {closed}");
    bench.unlink(3);
    for _ in 0..600 {
        bench.talk(3, 10);
        assert!(!bench.wants(3));
    }
    let direct = bench.planner.estimate(region(3), bench.now, &bench.registry);
    assert_eq!(direct, Some(LinkCost::from_micros(90_000)));
}

#[test]
fn a_region_without_processor_time_judges_no_link_and_remembers_no_cost() {
    let mut bench = square(MeshConfig::default());
    bench.talk(3, 50);
    bench.plan();
    // What it measures is its own queue: by that the way over 2 would be shorter.
    bench.link(1, 3, 90);
    bench.strained = true;
    for _ in 0..60 {
        bench.talk(3, 10);
        let plan = bench.plan();
        assert!(!plan.retiring.contains(&region(3)) && !plan.close.contains(&region(3)));
    }
    assert_eq!(bench.planner.estimate(region(3), bench.now, &bench.registry), None);
    // One that has time, and measures the same, takes the link out of the routes.
    bench.strained = false;
    let retired = (0..60).any(|_| {
        bench.talk(3, 10);
        bench.plan().retiring.contains(&region(3))
    });
    assert!(retired);
}

#[test]
fn a_link_that_measured_too_much_while_its_region_was_busy_is_kept_and_bought_again() {
    let mut bench = square(MeshConfig::default());
    bench.link(1, 3, 30);
    for second in 0..40_u64 {
        bench.talk(3, 1);
        // One sample in eight shows the link as it is.
        let ms = if second % 8 == 3 { 30 } else { 100 + 10 * (second % 7) };
        let link = bench.links.iter_mut().find(|link| link.peer == region(3)).unwrap();
        link.cost = Some(LinkCost::from_micros(ms * 1000));
        assert_eq!(bench.plan().retiring, [], "after {second} s");
    }
    bench.unlink(3);
    assert!(bench.wants_after(3, 50), "it was lost, and is worth having");
}

#[test]
fn what_a_link_has_cost_for_minutes_is_what_it_costs() {
    let mut bench = square(MeshConfig::default());
    bench.link(1, 3, 30);
    let goes = (0..300).any(|second| {
        if second == 20 {
            let link = bench.links.iter_mut().find(|link| link.peer == region(3)).unwrap();
            link.cost = Some(LinkCost::from_micros(90_000));
        }
        bench.talk(3, 1);
        bench.plan().retiring.contains(&region(3))
    });
    assert!(goes, "the way around is shorter by now");
}

#[test]
fn a_link_that_is_used_and_worth_it_stays_and_an_idle_one_goes() {
    let mut bench = square(MeshConfig::default());
    bench.link(1, 3, 30);
    for _ in 0..300 {
        bench.talk(3, 1);
        assert_eq!(bench.plan().retiring, []);
    }
    let closes = (0..300).any(|_| bench.plan().close.contains(&region(3)));
    assert!(closes, "nobody talks any more");
}

#[test]
fn a_link_without_which_one_loss_would_separate_regions_stays() {
    // Without 1-3, region 2 would be the only way between them.
    let mut bench = Bench::bare(3, MeshConfig::default());
    bench.link(1, 2, 40).link(2, 3, 40).link(1, 3, 90);
    for _ in 0..300 {
        assert_eq!(bench.plan().retiring, []);
    }
}

#[test]
fn a_link_that_the_other_end_keeps_or_still_uses_is_not_closed() {
    let mut bench = square(MeshConfig::default());
    bench.link(1, 3, 90);
    bench.links.iter_mut().for_each(|link| link.peer_wants = true);
    for _ in 0..200 {
        assert_eq!(bench.plan().retiring, []);
    }
    bench.links.iter_mut().for_each(|link| link.peer_wants = link.peer != region(3));
    for _ in 0..60 {
        let plan = bench.plan();
        assert_eq!(plan.close, [], "somebody's routes still lead over it");
        bench.talk(3, 1);
    }
}

#[test]
fn at_the_limit_a_better_link_takes_the_place_of_the_least_useful() {
    let config = MeshConfig { max_out: 3, ..MeshConfig::default() };
    let mut bench = Bench::bare(6, config);
    bench.link(1, 2, 40).link(1, 3, 40).link(1, 4, 40);
    for (a, b) in [(2, 3), (3, 4), (4, 5), (5, 6), (6, 2), (2, 5)] {
        bench.link(a, b, 60);
    }
    let mut room = false;
    for _ in 0..60 {
        for peer in [2, 3] {
            bench.talk(peer, 5);
        }
        bench.talk(6, 50);
        let plan = bench.plan();
        assert!(!plan.wanted.iter().any(|wanted| wanted.peer == region(6)) || room);
        assert!(plan.close.iter().all(|peer| *peer == region(4)), "4 is the one nobody talks to");
        if plan.close.contains(&region(4)) {
            bench.unlink(4);
            room = true;
        }
    }
    assert!(room && bench.wants(6));
}

#[test]
fn incoming_links_have_a_limit_and_the_least_useful_makes_room() {
    let config = MeshConfig { max_in: 2, ..MeshConfig::default() };
    let mut bench = Bench::bare(8, config);
    for peer in [4, 5, 6] {
        bench.link(1, peer, 10);
    }
    bench.links.iter_mut().for_each(|link| link.dialed = false);
    bench.plan();
    bench.now += Micros::from_secs(20);
    let links = bench.links.clone();
    let db = LinkStateDb::new();
    let admit = |bench: &Bench, links: &[OpenLink], peer: u16| {
        let view = MeshView {
            registry: &bench.registry,
            db: &db,
            links,
            strained: false,
            path: &|_| None,
            set_up: &|_| SetUpEstimate::new(),
            dialable: &|_| true,
        };
        bench.planner.admit(region(peer), bench.now, &view)
    };
    assert_eq!(admit(&bench, &links, 7), Admission::Replace(region(4)));
    let mut wanted = links.clone();
    wanted.iter_mut().for_each(|link| link.peer_wants = true);
    assert_eq!(admit(&bench, &wanted, 7), Admission::Refuse);
    assert_eq!(admit(&bench, &wanted, 2), Admission::Take, "a child");
    assert_eq!(admit(&bench, &wanted, 9), Admission::Take, "a newcomer");
    assert_eq!(admit(&bench, &links[..1], 7), Admission::Take, "there is room");
}

#[test]
fn a_region_that_cannot_be_reached_or_refuses_is_left_alone_for_a_while() {
    let mut bench = square(MeshConfig::default());
    assert!(bench.wants_after(3, 50));
    for _ in 0..3 {
        let now = bench.now;
        bench.planner.handle_unreachable(region(3), now);
    }
    assert!(!bench.wants_after(3, 50));
    bench.now += Micros::from_secs(61);
    assert!(bench.wants_after(3, 50));
    bench.nobody_answers.push(3);
    let now = bench.now;
    bench.planner.handle_refused(region(3), now);
    bench.now += Micros::from_secs(600);
    assert!(!bench.wants_after(3, 5_000), "it has no address");
}

#[test]
fn two_that_both_have_no_address_want_no_link_to_each_other() {
    let mut registry = federation(12);
    for id in [5, 6, 7] {
        let held = registry.get(region(id)).unwrap().clone();
        let change = Change::Update {
            id: held.id,
            addresses: vec![],
            parent: held.parent,
            coordinates: held.coordinates,
        };
        registry.propose(1, change).unwrap();
    }
    let dialable = |id: RegionId| ![5, 6, 7].contains(&id.get());
    let view = MeshView {
        registry: &registry,
        db: &LinkStateDb::new(),
        links: &[],
        strained: false,
        path: &|_| None,
        set_up: &|_| SetUpEstimate::new(),
        dialable: &dialable,
    };
    let mut planner = MeshPlanner::new(region(6), MeshConfig::default());
    let plan = planner.plan(Micros::from_secs(1), &view);
    assert!(plan.wanted.len() >= 4, "{plan:?}");
    assert!(plan.wanted.iter().all(|wanted| dialable(wanted.peer)), "{plan:?}");
    assert!(plan.wanted.iter().all(|wanted| wanted.turn == DialTurn::First), "nobody else can");
}

// ---- what is told at run time ------------------------------------------------------------------

#[test]
fn a_kept_region_has_a_link_as_long_as_it_is_kept_in_whatever_shape() {
    for topology in [Topology::Adaptive, Topology::Tree] {
        let config = MeshConfig { topology, ..MeshConfig::default() };
        let mut bench = Bench::bare(4, config);
        bench.link(1, 2, 10).link(2, 4, 10).link(1, 3, 10).link(3, 4, 10);
        assert!(!bench.wants(4));
        bench.planner.keep([(region(4), LinkReason::Discovered)].into());
        let plan = bench.plan();
        let wanted = plan.wanted.iter().find(|wanted| wanted.peer == region(4)).unwrap();
        assert_eq!((wanted.reason, wanted.turn), (LinkReason::Discovered, DialTurn::First));
        bench.link(1, 4, 20);
        bench.plan();
        assert_eq!(bench.planner.reason(region(4)), Some((LinkReason::Discovered, false)));
        for _ in 0..300 {
            assert!(bench.plan().retiring.is_empty(), "idle, and there is a way of the same cost");
        }
        bench.planner.keep(Default::default());
        let mut seconds = 0;
        while bench.plan().close.is_empty() {
            seconds += 1;
            assert!(seconds < 30, "it is judged at once, and not only when it is its turn");
        }
    }
}

#[test]
fn a_region_that_is_parted_from_is_let_go_whatever_speaks_for_it() {
    let registry = federation(8);
    let mut bench =
        Bench::new(registry, MeshConfig { extra: regions(&[5]), ..MeshConfig::default() });
    bench.link(1, 2, 10).link(1, 5, 10).link(2, 5, 50).link(1, 3, 10);
    for link in &mut bench.links {
        link.peer_wants = true;
    }
    assert!(bench.wants(5));
    bench.planner.keep([(region(5), LinkReason::Connected)].into());
    bench.planner.part(regions(&[5]).into_iter().collect());
    let plan = bench.plan();
    assert_eq!(plan.retiring, regions(&[5]), "it leaves the routes at once");
    assert!(plan.wanted.iter().all(|wanted| wanted.peer != region(5)));
    let mut seconds = 1;
    loop {
        let plan = bench.plan();
        seconds += 1;
        if plan.close == regions(&[5]) {
            break;
        }
        assert!(plan.close.is_empty() && seconds <= 6, "{plan:?}");
    }
    assert!(seconds >= 3, "not before all have heard");
    bench.unlink(5);
    bench.talk(5, 10_000);
    let view_of = |bench: &Bench, now| {
        let view = MeshView {
            registry: &bench.registry,
            db: &LinkStateDb::new(),
            links: &bench.links,
            strained: false,
            path: &|_| None,
            set_up: &|_| SetUpEstimate::new(),
            dialable: &|_| true,
        };
        bench.planner.admit(region(5), now, &view)
    };
    assert!(!bench.wants_after(5, 10_000), "traffic buys none");
    assert_eq!(view_of(&bench, bench.now), Admission::Refuse);
    bench.planner.part(Default::default());
    assert!(bench.wants(5));
    assert_eq!(view_of(&bench, bench.now), Admission::Take);
}

#[test]
fn a_link_to_be_parted_from_goes_after_ten_seconds_even_if_it_is_busy_and_stays_if_that_is_taken_back()
 {
    let mut bench = square(MeshConfig::default());
    bench.planner.part(regions(&[2]).into_iter().collect());
    let mut seconds = 0;
    loop {
        bench.talk(2, 10);
        seconds += 1;
        if bench.plan().close == regions(&[2]) {
            break;
        }
        assert!(seconds < 15);
    }
    assert!(seconds >= 10, "{seconds}");
    let mut bench = square(MeshConfig::default());
    bench.planner.part(regions(&[2]).into_iter().collect());
    assert_eq!(bench.plan().retiring, regions(&[2]));
    bench.planner.part(Default::default());
    bench.planner.keep([(region(2), LinkReason::Connected)].into());
    bench.plan();
    assert!(bench.plan().retiring.is_empty());
}

#[test]
fn a_parent_that_wants_no_link_is_asked_again_only_where_there_is_no_other_way() {
    let registry = federation(8);
    let mut planner = MeshPlanner::new(region(4), MeshConfig::default());
    let now = Micros::from_secs(1);
    let mut wants = |path: Option<LinkCost>| {
        let view = MeshView {
            registry: &registry,
            db: &LinkStateDb::new(),
            links: &[],
            strained: false,
            path: &|_| path,
            set_up: &|_| SetUpEstimate::new(),
            dialable: &|_| true,
        };
        planner.handle_refused(region(2), now);
        planner.plan(now, &view).wanted.iter().any(|wanted| wanted.peer == region(2))
    };
    assert!(!wants(Some(LinkCost::from_micros(1_000))));
    assert!(wants(None));
}
