//! Random events against a naive model: whatever happens, no child lives twice, starts and stops
//! keep their order, the intensity is kept, and the end leaves nobody alive.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use fedist_registry::{LocalId, Micros, RegionId, RegionPid};
use proptest::{
    prelude::{Just, ProptestConfig, any, prop_assert, prop_oneof, proptest},
    strategy::Strategy as PropStrategy,
};

use super::{
    Action, ChildKey, Outcome, Plan, Token,
    world::{panicked, worker},
};
use crate::{
    ExitReason,
    supervision::rules::{ChildRef, ChildRules, ChildState, Flags, Restart, Shutdown, Strategy},
};

#[derive(Clone, Debug)]
enum Event {
    /// The n-th pending start succeeds, fails, or finds no place.
    Starts(usize),
    Fails(usize),
    NoPlace(usize),
    /// The n-th living process ends by itself.
    Ends(usize, bool),
    /// The n-th process that was told to stop obeys.
    Obeys(usize),
    Passes(u64),
    Adds(Restart),
    Terminates(usize),
    Restarts(usize),
    Deletes(usize),
    Stops,
}

fn events() -> impl PropStrategy<Value = Vec<Event>> {
    let n = 0_usize..6;
    let event = prop_oneof![
        12 => n.clone().prop_map(Event::Starts),
        1 => n.clone().prop_map(Event::Fails),
        1 => n.clone().prop_map(Event::NoPlace),
        5 => (n.clone(), any::<bool>()).prop_map(|(n, normal)| Event::Ends(n, normal)),
        8 => n.clone().prop_map(Event::Obeys),
        4 => (0_u64..3_000).prop_map(Event::Passes),
        2 => restart().prop_map(Event::Adds),
        2 => n.clone().prop_map(Event::Terminates),
        2 => n.clone().prop_map(Event::Restarts),
        1 => n.prop_map(Event::Deletes),
        1 => Just(Event::Stops),
    ];
    proptest::collection::vec(event, 0..120)
}

fn restart() -> impl PropStrategy<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

fn shutdown() -> impl PropStrategy<Value = Shutdown> {
    prop_oneof![
        Just(Shutdown::BrutalKill),
        Just(Shutdown::Infinity),
        (0_u64..4_000).prop_map(|ms| Shutdown::Timeout(Duration::from_millis(ms))),
    ]
}

fn strategy() -> impl PropStrategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::OneForOne),
        Just(Strategy::OneForAll),
        Just(Strategy::RestForOne),
        Just(Strategy::Dynamic),
    ]
}

#[derive(Debug)]
struct Life {
    key: ChildKey,
    told: bool,
}

/// The naive model: what is alive, and what may happen to it.
struct Model {
    plan: Plan,
    flags: Flags,
    now: Micros,
    names: HashMap<ChildKey, String>,
    pending: Vec<ChildKey>,
    alive: BTreeMap<RegionPid, Life>,
    next: u64,
    asked: Vec<Token>,
    /// When children ended or failed to start in a way that may be followed by a counted restart.
    failures: Vec<Micros>,
    outcome: Option<Outcome>,
}

impl Model {
    fn act(&mut self) {
        while let Some(action) = self.plan.poll_action() {
            assert!(self.outcome.is_none(), "{action:?} after the end");
            match action {
                Action::Start(key) => {
                    assert!(!self.pending.contains(&key), "two starts of {key:?} at a time");
                    assert!(
                        self.alive.values().all(|life| life.key != key),
                        "a start of {key:?}, which is alive"
                    );
                    if self.is_ordered() && self.asked.is_empty() {
                        // A start never overtakes a stop of the same round.
                        let later = self.alive.values().any(|life| life.key > key && life.told);
                        assert!(!later, "{key:?} starts before a later one has ended");
                    }
                    self.pending.push(key);
                }
                Action::Stop(pid) => {
                    let life = self.alive.get_mut(&pid).expect("only the living are stopped");
                    assert!(!life.told, "told twice");
                    life.told = true;
                }
                Action::Kill(pid) => {
                    self.alive.remove(&pid).expect("only the living are killed");
                    self.plan.handle_exited(self.now, pid, &ExitReason::Killed);
                }
                Action::Abandon(_) => {}
                Action::Forget(key) => {
                    assert!(self.names.remove(&key).is_some(), "forgotten twice");
                    assert!(self.alive.values().all(|life| life.key != key));
                }
                Action::Reply(token, _) => {
                    let at = self.asked.iter().position(|known| *known == token);
                    self.asked.swap_remove(at.expect("one answer to each order"));
                }
                // What ended during the first start is judged, and counted, now.
                Action::Ready => self.failures.fill(self.now),
                Action::Finish(outcome) => {
                    assert!(self.alive.is_empty(), "children outlive their supervisor");
                    assert!(self.pending.is_empty(), "a start outlives its supervisor");
                    assert!(self.asked.is_empty(), "an order without an answer");
                    self.outcome = Some(outcome);
                }
            }
        }
    }

    fn is_ordered(&self) -> bool {
        matches!(self.flags.strategy, Strategy::OneForAll | Strategy::RestForOne)
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        let token = Token(self.next);
        self.asked.push(token);
        token
    }

    fn refused(&mut self) {
        self.asked.pop();
    }

    fn nth_name(&self, n: usize) -> Option<ChildRef> {
        if self.flags.strategy == Strategy::Dynamic {
            return self.alive.keys().nth(n).map(|pid| ChildRef::Pid(*pid));
        }
        let mut keys: Vec<_> = self.names.iter().collect();
        keys.sort_unstable();
        keys.get(n).map(|(_, name)| ChildRef::Name((*name).clone()))
    }

    fn take_pending(&mut self, n: usize) -> Option<ChildKey> {
        (n < self.pending.len()).then(|| self.pending.remove(n))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Starts(n) => {
                if let Some(key) = self.take_pending(n) {
                    self.next += 1;
                    let id = LocalId::new(1_000 + self.next).unwrap();
                    let pid = RegionPid::new(RegionId::new(1).unwrap(), id);
                    self.alive.insert(pid, Life { key, told: false });
                    self.plan.handle_started(self.now, key, pid);
                }
            }
            Event::Fails(n) => {
                if let Some(key) = self.take_pending(n) {
                    self.failures.push(self.now);
                    self.plan.handle_start_failed(self.now, key, "no luck".to_owned());
                }
            }
            Event::NoPlace(n) => {
                if let Some(key) = self.take_pending(n) {
                    self.plan.handle_no_place(self.now, key, "no place");
                }
            }
            Event::Ends(n, normal) => {
                if let Some(pid) = self.alive.keys().nth(n).copied() {
                    self.alive.remove(&pid);
                    self.failures.push(self.now);
                    let reason = if normal { ExitReason::Normal } else { panicked() };
                    self.plan.handle_exited(self.now, pid, &reason);
                }
            }
            Event::Obeys(n) => {
                let told = self.alive.iter().filter(|(_, life)| life.told).nth(n);
                if let Some(pid) = told.map(|(pid, _)| *pid) {
                    self.alive.remove(&pid);
                    self.plan.handle_exited(self.now, pid, &ExitReason::Shutdown);
                }
            }
            Event::Passes(ms) => self.pass(Micros::from_millis(ms)),
            Event::Adds(restart) => {
                let token = self.token();
                let name = format!("added {}", self.next);
                let rules = ChildRules { restart, ..worker(&name) };
                match self.plan.start_child(self.now, rules, token) {
                    Ok(key) => {
                        self.names.insert(key, name);
                    }
                    Err(_) => self.refused(),
                }
            }
            Event::Terminates(n) => {
                if let Some(which) = self.nth_name(n) {
                    let token = self.token();
                    if self.plan.terminate_child(self.now, &which, token).is_err() {
                        self.refused();
                    }
                }
            }
            Event::Restarts(n) => {
                if let Some(which) = self.nth_name(n) {
                    let token = self.token();
                    if self.plan.restart_child(self.now, &which, token).is_err() {
                        self.refused();
                    }
                }
            }
            Event::Deletes(n) => {
                if let Some(which) = self.nth_name(n) {
                    let _ = self.plan.delete_child(&which);
                }
            }
            Event::Stops => self.plan.handle_stop(self.now, ExitReason::Shutdown),
        }
        self.act();
        self.check();
    }

    fn pass(&mut self, time: Micros) {
        let until = self.now + time;
        while let Some(at) = self.plan.next_timer().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.plan.handle_timer(self.now);
            self.act();
            assert!(self.plan.next_timer().is_none_or(|next| next > at), "a timer that stays due");
        }
        self.now = until;
    }

    /// What holds between any two events.
    fn check(&self) {
        let children = self.plan.which_children();
        let shown = children.iter().filter(|child| child.pid.is_some()).count();
        assert_eq!(shown, self.alive.len(), "the books show who is alive");
        for child in children {
            if let Some(pid) = child.pid {
                let life = &self.alive[&pid];
                assert_eq!(life.told, child.state == ChildState::Stopping, "{child:?}");
            }
        }
        if let Some(Outcome::Intensity { .. }) = &self.plan.ending {
            let (max, period) = (self.flags.max_restarts, self.flags.period);
            let window = Micros::from_duration(period);
            let bursts = self.failures.iter().enumerate().any(|(at, first)| {
                self.failures.get(at + max).is_some_and(|last| *last - *first <= window)
            });
            assert!(bursts, "it gave up without {} failures within {period:?}", max + 1);
        }
    }

    /// The world becomes kind: starts succeed, stops are obeyed. All comes to rest.
    fn calm_down(&mut self) {
        for _ in 0..10_000 {
            if self.outcome.is_some() {
                return;
            }
            if !self.pending.is_empty() {
                self.happen(Event::Starts(0));
            } else if self.alive.values().any(|life| life.told) {
                self.happen(Event::Obeys(0));
            } else if let Some(at) = self.plan.next_timer() {
                self.pass(at - self.now);
                self.check();
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_child_lives_twice_and_all_comes_to_rest(
        strategy in strategy(),
        children in proptest::collection::vec((restart(), shutdown()), 0..5),
        max_restarts in 0_usize..8,
        backoff in 0_u64..50,
        events in events(),
    ) {
        let flags = Flags {
            max_restarts,
            backoff: Duration::from_millis(backoff),
            backoff_max: Duration::from_millis(500),
            ..Flags::new(strategy)
        };
        let mut plan = Plan::new(flags.clone(), fastrand::Rng::with_seed(3));
        let mut names = HashMap::new();
        for (number, (restart, shutdown)) in children.into_iter().enumerate() {
            let name = format!("child {number}");
            let rules = ChildRules { restart, shutdown, ..worker(&name) };
            names.insert(plan.add_child(rules).unwrap(), name);
        }
        let mut model = Model {
            plan,
            flags,
            now: Micros::from_secs(1),
            names,
            pending: Vec::new(),
            alive: BTreeMap::new(),
            next: 0,
            asked: Vec::new(),
            failures: Vec::new(),
            outcome: None,
        };
        model.plan.handle_start(model.now);
        model.act();
        for event in events {
            if model.outcome.is_some() {
                break;
            }
            model.happen(event);
        }
        model.calm_down();
        prop_assert!(model.asked.is_empty(), "orders without an answer: {:?}", model.asked);
        if model.outcome.is_none() {
            for child in model.plan.which_children() {
                prop_assert!(
                    matches!(child.state, ChildState::Running | ChildState::Stopped),
                    "at rest, but {child:?}"
                );
                let idle = child.state == ChildState::Stopped;
                prop_assert!(!(idle && child.restart == Restart::Temporary), "{child:?} is kept");
            }
            // And it can always be ended.
            model.happen(Event::Stops);
            model.calm_down();
            prop_assert!(model.outcome.is_some());
        }
    }
}
