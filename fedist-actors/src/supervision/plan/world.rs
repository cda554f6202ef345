//! A world of make-believe processes for the tests of the plan, and a log of what it does to them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use fedist_registry::{LocalId, Micros, RegionId, RegionPid};

use super::{Action, ChildKey, Outcome, Plan, Token};
use crate::{
    ExitReason,
    supervision::rules::{
        ChildError, ChildRef, ChildRules, ChildState, Flags, Restart, Shutdown, Strategy,
    },
};

pub(super) type Answer = Result<Option<RegionPid>, ChildError>;

/// Drives a plan: starts succeed and stops are obeyed at once, unless told otherwise.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Micros,
    names: HashMap<ChildKey, String>,
    alive: BTreeMap<RegionPid, String>,
    pending: Vec<(String, ChildKey)>,
    log: Vec<String>,
    next_pid: u64,
    next_token: u64,
    answers: HashMap<Token, Answer>,
    pub(super) outcome: Option<Outcome>,
    pub(super) ready: bool,
    /// Starts of these fail this many times.
    failing: HashMap<String, u32>,
    /// Starts of these find no place this many times.
    placeless: HashMap<String, u32>,
    /// Starts of these wait for [`World::let_start`].
    slow: HashSet<String>,
    /// These do not react to the exit signal `Shutdown`.
    deaf: HashSet<String>,
}

pub(super) fn flags(strategy: Strategy) -> Flags {
    Flags {
        backoff: Duration::ZERO,
        backoff_max: Duration::ZERO,
        max_restarts: 100,
        ..Flags::new(strategy)
    }
}

pub(super) fn worker(name: &str) -> ChildRules {
    ChildRules::worker(name)
}

pub(super) fn of(name: &str, restart: Restart) -> ChildRules {
    ChildRules { restart, ..ChildRules::worker(name) }
}

pub(super) fn significant(name: &str, restart: Restart) -> ChildRules {
    ChildRules { significant: true, ..of(name, restart) }
}

pub(super) fn ending(name: &str, shutdown: Shutdown) -> ChildRules {
    ChildRules { shutdown, ..ChildRules::worker(name) }
}

pub(super) fn panicked() -> ExitReason {
    ExitReason::Panicked("test".to_owned())
}

impl World {
    pub(super) fn new(flags: Flags, children: Vec<ChildRules>) -> Self {
        let mut plan = Plan::new(flags, fastrand::Rng::with_seed(7));
        let mut names = HashMap::new();
        for rules in children {
            let name = rules.name.clone();
            names.insert(plan.add_child(rules).unwrap(), name);
        }
        Self {
            plan,
            now: Micros::from_secs(1),
            names,
            alive: BTreeMap::new(),
            pending: Vec::new(),
            log: Vec::new(),
            next_pid: 100,
            next_token: 0,
            answers: HashMap::new(),
            outcome: None,
            ready: false,
            failing: HashMap::new(),
            placeless: HashMap::new(),
            slow: HashSet::new(),
            deaf: HashSet::new(),
        }
    }

    /// Started, with the log of the start thrown away.
    pub(super) fn started(flags: Flags, children: Vec<ChildRules>) -> Self {
        let mut world = Self::new(flags, children);
        world.start();
        world.log();
        world
    }

    /// Permanent workers `a`, `b`, `c`, `d` under a strategy.
    pub(super) fn abcd(strategy: Strategy) -> Self {
        Self::started(flags(strategy), ["a", "b", "c", "d"].map(worker).into())
    }

    pub(super) fn start(&mut self) {
        self.plan.handle_start(self.now);
        self.settle();
    }

    pub(super) fn fail(&mut self, name: &str, times: u32) {
        self.failing.insert(name.to_owned(), times);
    }

    pub(super) fn no_place(&mut self, name: &str, times: u32) {
        self.placeless.insert(name.to_owned(), times);
    }

    pub(super) fn slow(&mut self, name: &str) {
        self.slow.insert(name.to_owned());
    }

    pub(super) fn deaf(&mut self, name: &str) {
        self.deaf.insert(name.to_owned());
    }

    /// What was done since the last look, as text: `stop b, start a`.
    pub(super) fn log(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }

    pub(super) fn pid(&self, name: &str) -> RegionPid {
        let found: Vec<_> = self.alive.iter().filter(|(_, known)| *known == name).collect();
        assert_eq!(found.len(), 1, "one {name} is alive: {found:?}");
        *found[0].0
    }

    pub(super) fn alive(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.alive.values().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// A process ends by itself.
    pub(super) fn exit(&mut self, name: &str, reason: ExitReason) {
        let pid = self.pid(name);
        self.end(pid, reason);
        self.settle();
    }

    pub(super) fn crash(&mut self, name: &str) {
        self.exit(name, panicked());
    }

    fn end(&mut self, pid: RegionPid, reason: ExitReason) {
        if self.alive.remove(&pid).is_some() {
            self.plan.handle_exited(self.now, pid, &reason);
        }
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + Micros::from_duration(time);
        while let Some(at) = self.plan.next_timer().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.plan.handle_timer(self.now);
            self.settle();
        }
        self.now = until;
    }

    /// A slow start succeeds.
    pub(super) fn let_start(&mut self, name: &str) {
        let at = self.pending.iter().position(|(known, _)| known == name).expect("it is starting");
        let (name, key) = self.pending.remove(at);
        self.run(name, key);
        self.settle();
    }

    /// A slow start succeeds, but its process has ended before that is known.
    pub(super) fn let_start_late(&mut self, name: &str, pid: RegionPid) {
        let at = self.pending.iter().position(|(known, _)| known == name).expect("it is starting");
        let (_, key) = self.pending.remove(at);
        self.slow.remove(name);
        self.plan.handle_started(self.now, key, pid);
        self.settle();
    }

    fn run(&mut self, name: String, key: ChildKey) {
        let pid = self.new_pid();
        self.alive.insert(pid, name);
        self.plan.handle_started(self.now, key, pid);
    }

    pub(super) fn new_pid(&mut self) -> RegionPid {
        self.next_pid += 1;
        pid(self.next_pid)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn answer(&mut self, token: Token, taken: Result<(), ChildError>) -> Option<Answer> {
        self.settle();
        match taken {
            Ok(()) => self.answers.remove(&token),
            Err(error) => Some(Err(error)),
        }
    }

    pub(super) fn start_child(&mut self, rules: ChildRules) -> Option<Answer> {
        let token = self.token();
        let name = rules.name.clone();
        let taken = self.plan.start_child(self.now, rules, token);
        let taken = taken.map(|key| {
            self.names.insert(key, name);
        });
        self.answer(token, taken)
    }

    pub(super) fn terminate(&mut self, which: impl Into<ChildRef>) -> Option<Answer> {
        let token = self.token();
        let taken = self.plan.terminate_child(self.now, &which.into(), token);
        self.answer(token, taken)
    }

    pub(super) fn restart(&mut self, which: impl Into<ChildRef>) -> Option<Answer> {
        let token = self.token();
        let taken = self.plan.restart_child(self.now, &which.into(), token);
        self.answer(token, taken)
    }

    pub(super) fn delete(&mut self, which: impl Into<ChildRef>) -> Result<(), ChildError> {
        let done = self.plan.delete_child(&which.into());
        self.settle();
        done
    }

    pub(super) fn stop(&mut self) {
        self.plan.handle_stop(self.now, ExitReason::Shutdown);
        self.settle();
    }

    pub(super) fn state(&self, name: &str) -> Option<ChildState> {
        self.plan.which_children().into_iter().find(|c| c.name == name).map(|child| child.state)
    }

    /// Answers that came late: of orders whose call returned `None`.
    pub(super) fn late_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers).into_values().collect()
    }

    fn settle(&mut self) {
        while let Some(action) = self.plan.poll_action() {
            match action {
                Action::Start(key) => {
                    let name = self.names[&key].clone();
                    let twin = self.alive.values().any(|known| *known == name);
                    let dynamic = self.plan.strategy() == Strategy::Dynamic;
                    assert!(dynamic || !twin, "two lives of {name}");
                    self.log.push(format!("start {name}"));
                    if take_one(&mut self.failing, &name) {
                        self.plan.handle_start_failed(self.now, key, "no luck".to_owned());
                    } else if take_one(&mut self.placeless, &name) {
                        self.plan.handle_no_place(self.now, key, "no place");
                    } else if self.slow.contains(&name) {
                        self.pending.push((name, key));
                    } else {
                        self.run(name, key);
                    }
                }
                Action::Stop(pid) => {
                    let name = self.alive.get(&pid).cloned().unwrap_or_default();
                    self.log.push(format!("stop {name}"));
                    if !self.deaf.contains(&name) {
                        self.end(pid, ExitReason::Shutdown);
                    }
                }
                Action::Kill(pid) => {
                    let name = self.alive.get(&pid).cloned().unwrap_or_default();
                    self.log.push(format!("kill {name}"));
                    self.end(pid, ExitReason::Killed);
                }
                Action::Abandon(_) => {}
                Action::Forget(key) => {
                    self.names.remove(&key);
                }
                Action::Reply(token, answer) => {
                    assert!(self.answers.insert(token, answer).is_none(), "one answer each");
                }
                Action::Ready => self.ready = true,
                Action::Finish(outcome) => {
                    assert!(self.outcome.replace(outcome).is_none(), "it ends once");
                    self.log.push("end".to_owned());
                }
            }
        }
    }
}

fn take_one(times: &mut HashMap<String, u32>, name: &str) -> bool {
    match times.get_mut(name) {
        Some(left @ 1..) => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

fn pid(number: u64) -> RegionPid {
    RegionPid::new(RegionId::new(1).unwrap(), LocalId::new(number).unwrap())
}
