//! Replication in all orders: regions with queues between them, splits, restarts.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn region(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

fn local(number: u64) -> LocalId {
    LocalId::new(1_000 + number).unwrap()
}

fn meta(value: u64) -> Meta {
    Meta::new(&value).unwrap()
}

const NOW: Micros = Micros::from_secs(1);

fn alone() -> Membership {
    let mut groups = Membership::new(region(1), 1, 1 << 20);
    groups.take_part();
    groups
}

fn pids(members: &[Member]) -> Vec<String> {
    members.iter().map(|member| member.pid.to_string()).collect()
}

#[test]
fn an_actor_leaves_as_often_as_it_joined_and_is_listed_once() {
    let mut groups = alone();
    groups.join("g", local(1), meta(1)).unwrap();
    groups.join("g", local(1), meta(2)).unwrap();
    let members = groups.members("g");
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].joins, members[0].meta.get::<u64>().unwrap()), (2, 2));
    assert!(groups.leave("g", local(1)));
    assert_eq!(groups.members("g")[0].joins, 1);
    assert!(groups.leave("g", local(1)));
    assert!(groups.members("g").is_empty());
    assert!(!groups.leave("g", local(1)), "nothing to leave any more");
    assert_eq!(groups.groups("").count(), 0, "a group without members is no group");
}

#[test]
fn the_end_of_an_actor_ends_all_its_memberships_with_its_reason() {
    let mut groups = alone();
    for group in ["a", "b"] {
        groups.join(group, local(1), meta(0)).unwrap();
        groups.join(group, local(2), meta(0)).unwrap();
    }
    groups.take_events();
    groups.ended(local(1), &ExitReason::Killed);
    let left: Vec<_> = groups
        .take_events()
        .into_iter()
        .map(|event| match event {
            GroupEvent::Left { group, member, reason } => (group.to_string(), member.pid, reason),
            other => panic!("{other:?}"),
        })
        .collect();
    let pid = fedist_registry::RegionPid::new(region(1), local(1));
    let killed = LeaveReason::Ended(ExitReason::Killed);
    assert_eq!(left, [("a".to_owned(), pid, killed.clone()), ("b".to_owned(), pid, killed)]);
    assert_eq!(pids(&groups.members("a")), ["1.1002"]);
}

#[test]
fn groups_are_found_by_prefix() {
    let mut groups = alone();
    for group in ["room/a", "room/b", "roof", "room", "s"] {
        groups.join(group, local(1), meta(0)).unwrap();
    }
    let found: Vec<&str> = groups.groups("room/").map(|group| &**group).collect();
    assert_eq!(found, ["room/a", "room/b"]);
    assert_eq!(groups.groups("").count(), 5);
}

#[test]
fn names_metadata_and_memberships_are_bounded() {
    let mut groups = alone();
    for bad in ["", "a\nb", &"x".repeat(256)] {
        let refused = groups.join(bad, local(1), meta(0));
        assert!(matches!(refused, Err(JoinError::MalformedGroup { .. })), "{bad:?}");
    }
    let long = "x".repeat(Meta::MAX_LEN);
    assert!(matches!(Meta::new(&long), Err(JoinError::MetaTooLarge { .. })));
    let large = Meta::new(&"x".repeat(4_000)).unwrap();
    let mut joined = 0;
    while groups.join("g", local(joined), large.clone()).is_ok() {
        joined += 1;
    }
    assert!((1_000..1_100).contains(&joined), "{joined} memberships of 4 KB");
    assert!(groups.update_meta("g", local(0), meta(1)).unwrap(), "smaller is allowed");
}

#[test]
fn what_a_region_sends_past_the_bounds_is_refused_and_counted() {
    let mut groups = alone();
    groups.handle_hello(NOW, region(2), 1);
    let entry = |number| Entry { local: local(number), joins: 1, meta: meta(0) };
    let mut changes: Vec<Change> = (0..MEMBERS_MAX as u64 + 10)
        .map(|number| Change::Set { group: "g".to_owned(), entry: entry(number) })
        .collect();
    changes.push(Change::Set { group: "bad\n".to_owned(), entry: entry(1) });
    let first = Update::Full { version: 1, part: 0, last: true, groups: Vec::new() };
    groups.handle_update(NOW, region(2), 1, first);
    groups.handle_update(NOW, region(2), 1, Update::Delta { from: 1, to: 2, changes });
    assert_eq!(groups.members("g").len(), MEMBERS_MAX);
    assert_eq!(groups.refused(), 11);
}

#[test]
fn a_late_message_of_an_earlier_life_changes_nothing() {
    let mut groups = alone();
    groups.handle_hello(NOW, region(2), 2);
    let entry = Entry { local: local(1), joins: 1, meta: meta(0) };
    let full = |version| Update::Full {
        version,
        part: 0,
        last: true,
        groups: vec![("g".to_owned(), vec![entry.clone()])],
    };
    groups.handle_update(NOW, region(2), 1, full(9));
    assert!(groups.members("g").is_empty());
    groups.handle_update(NOW, region(2), 2, full(1));
    assert_eq!(pids(&groups.members("g")), ["2.1001"]);
    groups.handle_hello(NOW, region(2), 3);
    assert!(groups.members("g").is_empty(), "the new life starts empty");
}

#[test]
fn what_is_left_over_from_a_session_that_ended_brings_nobody_back() {
    let mut groups = alone();
    groups.handle_hello(NOW, region(2), 1);
    let entry = Entry { local: local(1), joins: 1, meta: meta(0) };
    let full = || Update::Full {
        version: 1,
        part: 0,
        last: true,
        groups: vec![("g".to_owned(), vec![entry.clone()])],
    };
    groups.handle_update(NOW, region(2), 1, full());
    groups.region_lost(NOW, region(2));
    groups.handle_update(NOW, region(2), 1, full());
    assert!(groups.members("g").is_empty());
    groups.handle_hello(NOW, region(2), 1);
    groups.handle_update(NOW, region(2), 1, full());
    assert_eq!(groups.members("g").len(), 1);
}

#[test]
fn a_region_that_takes_no_part_is_asked_once_and_hears_nothing() {
    let mut groups = alone();
    let live = BTreeSet::from([region(1), region(2)]);
    groups.handle_regions(NOW, &live);
    assert_eq!(groups.poll(NOW, |_| true), [Action::Hello(region(2))]);
    let absent = HelloAnswer { takes_part: false, boot: 1 };
    groups.handle_hello_answer(NOW, region(2), Some(absent));
    groups.join("g", local(1), meta(0)).unwrap();
    for second in 2..100 {
        assert_eq!(groups.poll(Micros::from_secs(second), |_| true), []);
    }
}

/// It was asked, began to take part, was lost and found, was asked again, and only then its first answer came.
#[test]
fn a_region_that_sends_updates_takes_part_whatever_an_old_answer_said() {
    let mut groups = alone();
    groups.handle_regions(NOW, &BTreeSet::from([region(1), region(2)]));
    assert_eq!(groups.poll(NOW, |_| true), [Action::Hello(region(2))]);
    let first_answer = HelloAnswer { takes_part: false, boot: 1 };
    groups.handle_hello(NOW, region(2), 1);
    groups.region_lost(NOW, region(2));
    assert_eq!(groups.poll(NOW, |_| true), [Action::Hello(region(2))]);
    groups.handle_hello_answer(NOW, region(2), Some(first_answer));
    groups.handle_hello_answer(NOW, region(2), Some(HelloAnswer { takes_part: true, boot: 1 }));
    let digest = Update::Digest { version: 1 };
    assert_eq!(groups.handle_update(NOW, region(2), 1, digest), None);
    assert_eq!(groups.poll(NOW, |_| true), [Action::Hello(region(2))], "it is asked again");
}

#[test]
fn a_large_state_goes_in_parts_and_arrives_whole() {
    let mut source = alone();
    for number in 0..1_000 {
        source
            .join(
                &format!("g{}", number % 7),
                local(number),
                Meta::new(&"x".repeat(1_000)).unwrap(),
            )
            .unwrap();
    }
    source.handle_hello(NOW, region(2), 1);
    let parts = source.poll(NOW, |_| true);
    assert!(parts.len() > 5, "{} parts", parts.len());
    let mut target = Membership::new(region(2), 1, 1 << 20);
    target.take_part();
    target.handle_hello(NOW, region(1), 1);
    for action in parts {
        let Action::Update(_, update) = action else { panic!("{action:?}") };
        assert_eq!(target.handle_update(NOW, region(1), 1, update), None);
    }
    assert_eq!(target.snapshot(""), source.snapshot(""));
}

#[test]
fn a_missing_change_is_noticed_by_the_digest_and_made_up_for() {
    let mut target = alone();
    target.handle_hello(NOW, region(2), 1);
    let full = Update::Full { version: 4, part: 0, last: true, groups: Vec::new() };
    assert_eq!(target.handle_update(NOW, region(2), 1, full), None);
    assert_eq!(target.handle_update(NOW, region(2), 1, Update::Digest { version: 4 }), None);
    let answer = target.handle_update(NOW, region(2), 1, Update::Digest { version: 5 });
    assert_eq!(answer, Some(Action::Update(region(2), Update::Resync)));
}

#[test]
fn a_full_copy_takes_the_place_of_what_was_known() {
    let mut target = alone();
    target.handle_hello(NOW, region(2), 1);
    let entry = |number, value| Entry { local: local(number), joins: 1, meta: meta(value) };
    let full = |version, entries: Vec<Entry>| Update::Full {
        version,
        part: 0,
        last: true,
        groups: vec![("g".to_owned(), entries)],
    };
    target.handle_update(NOW, region(2), 1, full(2, vec![entry(1, 0), entry(2, 0)]));
    target.take_events();
    target.handle_update(NOW, region(2), 1, full(9, vec![entry(2, 5), entry(3, 0)]));
    assert_eq!(pids(&target.members("g")), ["2.1002", "2.1003"]);
    let kinds: Vec<_> = target
        .take_events()
        .iter()
        .map(|event| match event {
            GroupEvent::Left { member, .. } => ("left", member.pid.local()),
            GroupEvent::Updated { member, .. } => ("updated", member.pid.local()),
            GroupEvent::Joined { member, .. } => ("joined", member.pid.local()),
            GroupEvent::Snapshot(_) => unreachable!(),
        })
        .collect();
    assert_eq!(kinds, [("left", local(1)), ("updated", local(2)), ("joined", local(3))]);
}

/// A federation of membership engines; the sessions between them are queues that can be ended.
struct Federation {
    now: Micros,
    nodes: Vec<Membership>,
    boots: Vec<u32>,
    queues: HashMap<(usize, usize), VecDeque<Wire>>,
    split: BTreeSet<(usize, usize)>,
    /// Members as the watcher of a region's events has them.
    watched: Vec<BTreeMap<(Arc<str>, String), Member>>,
}

enum Wire {
    Hello(u32),
    Answer(Option<HelloAnswer>),
    Update(u32, Update),
}

impl Federation {
    fn new(count: usize) -> Self {
        let mut nodes: Vec<Membership> = (0..count).map(|at| Self::node(at, 1)).collect();
        nodes.iter_mut().for_each(Membership::take_part);
        Self {
            now: NOW,
            nodes,
            boots: vec![1; count],
            queues: HashMap::new(),
            split: BTreeSet::new(),
            watched: vec![BTreeMap::new(); count],
        }
    }

    fn node(at: usize, boot: u32) -> Membership {
        Membership::new(Self::id(at), boot, 2_000)
    }

    fn id(at: usize) -> RegionId {
        region(u16::try_from(at).unwrap() + 1)
    }

    fn cut(&self, a: usize, b: usize) -> bool {
        self.split.contains(&(a.min(b), a.max(b)))
    }

    fn lose(&mut self, a: usize, b: usize) {
        self.queues.remove(&(a, b));
        self.queues.remove(&(b, a));
        self.nodes[a].region_lost(self.now, Self::id(b));
        self.nodes[b].region_lost(self.now, Self::id(a));
    }

    fn restart(&mut self, at: usize) {
        self.boots[at] += 1;
        self.nodes[at] = Self::node(at, self.boots[at]);
        self.nodes[at].take_part();
        self.watched[at].clear();
        let boot = self.boots[at];
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.queues.remove(&(at, other));
            self.queues.remove(&(other, at));
            // An ask that was on its way ends unanswered.
            self.nodes[other].handle_hello_answer(self.now, Self::id(at), None);
            self.nodes[other].region_restarted(self.now, Self::id(at), boot);
        }
    }

    fn poll(&mut self, at: usize) {
        let live = (0..self.nodes.len()).map(Self::id).collect();
        self.nodes[at].handle_regions(self.now, &live);
        for action in self.nodes[at].poll(self.now, |_| true) {
            let (to, wire) = match action {
                Action::Hello(to) => (to, Wire::Hello(self.boots[at])),
                Action::Update(to, update) => (to, Wire::Update(self.boots[at], update)),
            };
            let to = usize::from(to.get()) - 1;
            if !self.cut(at, to) {
                self.queues.entry((at, to)).or_default().push_back(wire);
            } else if matches!(wire, Wire::Hello(_)) {
                self.nodes[at].handle_hello_answer(self.now, Self::id(to), None);
            } else {
                self.nodes[at].undelivered(self.now, Self::id(to));
            }
        }
        self.watch(at);
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(wire) = self.queues.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        let (now, source) = (self.now, Self::id(from));
        let answer = match wire {
            Wire::Hello(boot) => {
                let answer = self.nodes[to].handle_hello(now, source, boot);
                Some(Wire::Answer(Some(answer)))
            }
            Wire::Answer(answer) => {
                self.nodes[to].handle_hello_answer(now, source, answer);
                None
            }
            Wire::Update(boot, update) => {
                match self.nodes[to].handle_update(now, source, boot, update) {
                    Some(Action::Update(_, update)) => Some(Wire::Update(self.boots[to], update)),
                    _ => None,
                }
            }
        };
        if let Some(answer) = answer {
            self.queues.entry((to, from)).or_default().push_back(answer);
        }
        self.watch(to);
        true
    }

    fn watch(&mut self, at: usize) {
        for event in self.nodes[at].take_events() {
            let watched = &mut self.watched[at];
            match event {
                GroupEvent::Joined { group, member } => {
                    let before = watched.insert((group, member.pid.to_string()), member);
                    assert_eq!(before, None, "joined twice");
                }
                GroupEvent::Updated { group, member } => {
                    assert!(watched.insert((group, member.pid.to_string()), member).is_some());
                }
                GroupEvent::Left { group, member, .. } => {
                    let before = watched.remove(&(group, member.pid.to_string()));
                    assert_eq!(before, Some(member), "left as it was known");
                }
                GroupEvent::Snapshot(_) => unreachable!(),
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            self.now = self.now.saturating_add(Micros::from_millis(500));
            for at in 0..self.nodes.len() {
                self.poll(at);
            }
            for from in 0..self.nodes.len() {
                for to in 0..self.nodes.len() {
                    while self.deliver(from, to) {}
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, u8, u8),
    Leave(usize, u8, u8),
    End(usize, u8),
    Meta(usize, u8, u8),
    Poll(usize),
    Deliver(usize, usize),
    Split(usize, usize),
    Heal(usize, usize),
    Restart(usize),
    Pause(u16),
}

fn step(count: usize) -> impl Strategy<Value = Step> {
    let (at, actor, group) = (0..count, 0_u8..4, 0_u8..3);
    prop_oneof![
        6 => (at.clone(), group.clone(), actor.clone()).prop_map(|(a, g, l)| Step::Join(a, g, l)),
        3 => (at.clone(), group.clone(), actor.clone()).prop_map(|(a, g, l)| Step::Leave(a, g, l)),
        2 => (at.clone(), actor.clone()).prop_map(|(a, l)| Step::End(a, l)),
        2 => (at.clone(), group, actor).prop_map(|(a, g, l)| Step::Meta(a, g, l)),
        8 => at.clone().prop_map(Step::Poll),
        12 => (at.clone(), at.clone()).prop_map(|(a, b)| Step::Deliver(a, b)),
        2 => (at.clone(), at.clone()).prop_map(|(a, b)| Step::Split(a, b)),
        2 => (at.clone(), at.clone()).prop_map(|(a, b)| Step::Heal(a, b)),
        1 => at.prop_map(Step::Restart),
        2 => (0_u16..3_000).prop_map(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_any_splits_and_restarts_all_regions_agree_and_nobody_is_a_ghost(
        steps in proptest::collection::vec(step(3), 1..120),
    ) {
        let mut federation = Federation::new(3);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Join(at, group, actor) => {
                    let number = meta(number as u64);
                    federation.nodes[at].join(&format!("g{group}"), local(actor.into()), number).unwrap();
                }
                Step::Leave(at, group, actor) => {
                    federation.nodes[at].leave(&format!("g{group}"), local(actor.into()));
                }
                Step::End(at, actor) => {
                    federation.nodes[at].ended(local(actor.into()), &ExitReason::Normal);
                }
                Step::Meta(at, group, actor) => {
                    let number = meta(number as u64);
                    federation.nodes[at].update_meta(&format!("g{group}"), local(actor.into()), number).unwrap();
                }
                Step::Poll(at) => federation.poll(at),
                Step::Deliver(a, b) if a != b => { federation.deliver(a, b); }
                Step::Split(a, b) if a != b => {
                    federation.split.insert((a.min(b), a.max(b)));
                    federation.lose(a, b);
                }
                Step::Heal(a, b) => { federation.split.remove(&(a.min(b), a.max(b))); }
                Step::Restart(at) => federation.restart(at),
                Step::Pause(ms) => {
                    federation.now = federation.now.saturating_add(Micros::from_millis(ms.into()));
                }
                Step::Deliver(..) | Step::Split(..) => {}
            }
        }
        federation.split.clear();
        federation.settle();
        for at in 0..3 {
            let seen = federation.nodes[at].snapshot("");
            prop_assert_eq!(&seen, &federation.nodes[0].snapshot(""));
            let known: usize = seen.iter().map(|(_, members)| members.len()).sum();
            prop_assert_eq!(known, federation.watched[at].len(), "the events tell the same");
            let own: usize = ["g0", "g1", "g2"]
                .iter()
                .map(|group| federation.nodes[at].local_members(group).count())
                .sum();
            let me = Federation::id(at);
            let others: usize = federation.nodes[(at + 1) % 3]
                .snapshot("")
                .iter()
                .flat_map(|(_, members)| members)
                .filter(|member| member.pid.region() == me)
                .count();
            prop_assert_eq!(own, others, "exactly the living members");
        }
    }
}
