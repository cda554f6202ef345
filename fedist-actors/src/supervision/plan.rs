//! The mind of a supervisor: what to start, stop and restart, and when.
//!
//! Pure. Events come in through `handle_*` and the orders (`start_child` and so on), time with
//! them; what is to be done comes out of [`Plan::poll_action`], and [`Plan::next_timer`] says when
//! to call [`Plan::handle_timer`]. The rules are those of OTP's `supervisor` and of Elixir's
//! `DynamicSupervisor`, with these differences:
//!
//! - Starts may take their time (a child may live in another region). While one child of a
//!   `one_for_one` starts or stops, the others are looked after; OTP's supervisor blocks.
//! - Between an end and the restart lies a back-off.
//! - The end of a region's session is not counted against the intensity, and neither is a start
//!   for which there was no place: nothing failed in the child, and the loss of one region would
//!   otherwise take down every supervisor with more than a few children there.
//!
//! Whatever happens, a child is started only when its last life is known to have ended.

mod orders;
mod sequence;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod strategies;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use fedist_registry::{Micros, RegionPid};

use super::{
    pace::{Backoff, Intensity},
    rules::{
        AutoShutdown, ChildCounts, ChildError, ChildKind, ChildRules, ChildState, ChildStatus,
        Flags, Restart, Shutdown, Strategy,
    },
};
use crate::ExitReason;

/// One child spec of one supervisor, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChildKey(u64);

/// Whoever waits for the answer to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) u64);

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the child; answer with `handle_started`, `handle_start_failed` or `handle_no_place`.
    Start(ChildKey),
    /// Send the exit signal `Shutdown`.
    Stop(RegionPid),
    /// Kill.
    Kill(RegionPid),
    /// The start that is under way is not wanted any more. It still has to be answered.
    Abandon(ChildKey),
    /// The spec is gone; its factory can go.
    Forget(ChildKey),
    /// Answer an order: the pid of a child that was started, nothing for one that was ended.
    Reply(Token, Result<Option<RegionPid>, ChildError>),
    /// The first start is done.
    Ready,
    /// No child is left: end.
    Finish(Outcome),
}

/// Why a supervisor ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A child did not start when the supervisor did.
    StartFailed { child: String, error: String },
    /// More restarts than the intensity allows; `child` ended last.
    Intensity { child: String, why: String },
    /// Significant children ended.
    AutoShutdown,
    /// It was told to, by its parent or its owner.
    Told(ExitReason),
}

/// The state of all children of one supervisor.
#[derive(Debug)]
pub(crate) struct Plan {
    flags: Flags,
    intensity: Intensity,
    random: fastrand::Rng,
    children: BTreeMap<ChildKey, Child>,
    next_key: u64,
    by_pid: HashMap<RegionPid, ChildKey>,
    /// Empty in dynamic supervisors.
    by_name: HashMap<String, ChildKey>,
    /// Ends of back-offs, and when to kill.
    deadlines: BTreeSet<(Micros, ChildKey)>,
    /// How many children are being started.
    starting: usize,
    round: Option<Round>,
    /// Children that ended by themselves during the first start, to be judged after it.
    deferred: Vec<(ChildKey, ExitReason)>,
    /// Ends that were told before the start they belong to.
    early: VecDeque<(RegionPid, ExitReason)>,
    begun: bool,
    ending: Option<Outcome>,
    finished: bool,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Child {
    rules: ChildRules,
    state: State,
    /// Whether it is to run once the round has come to it.
    wanted: bool,
    /// Who waits for its start. A start that was asked for is not tried again.
    asked: Option<Token>,
    /// Added by the order that waits in `asked`: forgotten when that start fails.
    fresh: bool,
    /// Who waits for its end.
    terminators: Vec<Token>,
    backoff: Backoff,
    lives: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Waiting { until: Micros },
    Starting,
    Running { pid: RegionPid, since: Micros },
    Stopping { pid: RegionPid, kill_at: Option<Micros> },
}

impl State {
    fn pid(self) -> Option<RegionPid> {
        match self {
            State::Running { pid, .. } | State::Stopping { pid, .. } => Some(pid),
            State::Down | State::Waiting { .. } | State::Starting => None,
        }
    }

    fn deadline(self) -> Option<Micros> {
        match self {
            State::Waiting { until } => Some(until),
            State::Stopping { kill_at, .. } => kill_at,
            State::Down | State::Starting | State::Running { .. } => None,
        }
    }
}

/// Children from one on that are stopped in reverse order and started in order, one at a time.
#[derive(Clone, Copy, Debug)]
struct Round {
    from: ChildKey,
    phase: Phase,
    /// The back-off of the child that caused it.
    until: Micros,
    /// The first start of the supervisor: a failure ends it.
    initial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopping,
    Backoff,
    Starting,
}

impl Plan {
    pub(crate) fn new(flags: Flags, random: fastrand::Rng) -> Self {
        Self {
            intensity: Intensity::new(flags.max_restarts, flags.period),
            flags,
            random,
            children: BTreeMap::new(),
            next_key: 0,
            by_pid: HashMap::new(),
            by_name: HashMap::new(),
            deadlines: BTreeSet::new(),
            starting: 0,
            round: None,
            deferred: Vec::new(),
            early: VecDeque::new(),
            begun: false,
            ending: None,
            finished: false,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, oldest first.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Plan::handle_timer`] has something to do.
    pub(crate) fn next_timer(&self) -> Option<Micros> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let round = self.round.filter(|round| round.phase == Phase::Backoff).map(|r| r.until);
        deadline.into_iter().chain(round).min()
    }

    // ---- events ------------------------------------------------------------------------------

    /// Starts the children that were added so far.
    pub(crate) fn handle_start(&mut self, now: Micros) {
        self.begun = true;
        self.round =
            Some(Round { from: ChildKey(0), phase: Phase::Starting, until: now, initial: true });
        self.advance(now);
    }

    /// A start succeeded.
    pub(crate) fn handle_started(&mut self, now: Micros, key: ChildKey, pid: RegionPid) {
        if !self.start_ended(key) {
            self.actions.push_back(Action::Kill(pid));
            return;
        }
        self.set(key, State::Running { pid, since: now });
        let mut wanted = true;
        if let Some(child) = self.children.get_mut(&key) {
            child.lives += 1;
            child.fresh = false;
            wanted = child.wanted;
            if let Some(token) = child.asked.take() {
                self.actions.push_back(Action::Reply(token, Ok(Some(pid))));
            }
        }
        if let Some(at) = self.early.iter().position(|(early, _)| *early == pid)
            && let Some((_, reason)) = self.early.remove(at)
        {
            self.handle_exited(now, pid, &reason);
            return;
        }
        let all_at_once = self.ending.is_some() && self.is_dynamic();
        if all_at_once || (self.ending.is_none() && !wanted) {
            self.begin_stop(now, key);
        }
        self.advance(now);
    }

    /// A start failed: the child itself is to blame.
    pub(crate) fn handle_start_failed(&mut self, now: Micros, key: ChildKey, error: String) {
        if self.start_came_to_nothing(key, &error) {
            if self.round.is_some_and(|round| round.initial) {
                let child = self.name(key);
                self.begin_ending(now, Outcome::StartFailed { child, error });
            } else {
                self.restart(now, key, error, true);
            }
        }
        self.advance(now);
    }

    /// A start was not possible because no place for the child can be reached at present. It is
    /// tried again after a back-off; this is not counted as a restart.
    pub(crate) fn handle_no_place(&mut self, now: Micros, key: ChildKey, error: &str) {
        if self.start_came_to_nothing(key, error) {
            let until = now + self.pause(key);
            self.set(key, State::Waiting { until });
        }
        self.advance(now);
    }

    /// A process ended. Those that are not children are ignored.
    pub(crate) fn handle_exited(&mut self, now: Micros, pid: RegionPid, reason: &ExitReason) {
        let Some(key) = self.by_pid.get(&pid).copied() else {
            if self.starting > 0 {
                // The pid may be that of a child whose start is not yet reported here.
                if self.early.len() == MAX_EARLY {
                    self.early.pop_front();
                }
                self.early.push_back((pid, reason.clone()));
            }
            return;
        };
        let initial = self.round.is_some_and(|round| round.initial);
        let expected = self.ending.is_some() || self.is_being_cleared(key);
        match self.children.get_mut(&key) {
            Some(child) if let State::Running { since, .. } = child.state => {
                if now.saturating_sub(since) >= Micros::from_duration(self.flags.period) {
                    child.backoff.reset();
                }
                if expected {
                    self.went_down(key);
                } else if initial {
                    child.wanted = false;
                    self.set(key, State::Down);
                    self.deferred.push((key, reason.clone()));
                } else {
                    self.judge(now, key, reason);
                }
            }
            _ => self.went_down(key),
        }
        self.advance(now);
    }

    /// Time has passed.
    pub(crate) fn handle_timer(&mut self, now: Micros) {
        while let Some((at, key)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            match self.children.get(&key).map(|child| child.state) {
                Some(State::Waiting { .. }) if !self.is_ordered() => self.begin_start(key),
                Some(State::Stopping { pid, .. }) => {
                    self.set(key, State::Stopping { pid, kill_at: None });
                    self.actions.push_back(Action::Kill(pid));
                }
                _ => {}
            }
        }
        self.advance(now);
    }

    /// The supervisor is to end: its parent ended, or it was told so.
    pub(crate) fn handle_stop(&mut self, now: Micros, reason: ExitReason) {
        self.begin_ending(now, Outcome::Told(reason));
        self.advance(now);
    }

    // ---- looking in ---------------------------------------------------------------------------

    /// All children, in the order in which they were added.
    pub(crate) fn which_children(&self) -> Vec<ChildStatus> {
        self.children.iter().map(|(key, child)| self.status(*key, child)).collect()
    }

    pub(crate) fn count_children(&self) -> ChildCounts {
        let mut counts = ChildCounts { active: self.by_pid.len(), ..ChildCounts::default() };
        for child in self.children.values() {
            counts.specs += 1;
            match child.rules.kind {
                ChildKind::Worker => counts.workers += 1,
                ChildKind::Supervisor => counts.supervisors += 1,
            }
        }
        counts
    }

    pub(crate) fn strategy(&self) -> Strategy {
        self.flags.strategy
    }

    pub(crate) fn name(&self, key: ChildKey) -> String {
        self.children.get(&key).map(|child| child.rules.name.clone()).unwrap_or_default()
    }

    fn status(&self, key: ChildKey, child: &Child) -> ChildStatus {
        let state = match child.state {
            State::Waiting { .. } => ChildState::Restarting,
            State::Starting if child.lives > 0 => ChildState::Restarting,
            State::Starting => ChildState::Starting,
            State::Running { .. } => ChildState::Running,
            State::Stopping { .. } => ChildState::Stopping,
            State::Down if self.is_queued(key, child) && child.lives > 0 => ChildState::Restarting,
            State::Down if self.is_queued(key, child) => ChildState::Starting,
            State::Down => ChildState::Stopped,
        };
        ChildStatus {
            name: child.rules.name.clone(),
            pid: child.state.pid(),
            kind: child.rules.kind,
            state,
            restart: child.rules.restart,
            restarts: child.lives.saturating_sub(1),
        }
    }

    // ---- the rules -----------------------------------------------------------------------------

    /// A running child ended by itself: restarted, or let go.
    fn judge(&mut self, now: Micros, key: ChildKey, reason: &ExitReason) {
        let Some(child) = self.children.get_mut(&key) else {
            return;
        };
        let normal = reason.is_normal();
        let again = match child.rules.restart {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        };
        if again {
            let counts = !matches!(reason, ExitReason::Unreachable { .. });
            self.set(key, State::Down);
            self.restart(now, key, reason.to_string(), counts);
            return;
        }
        child.wanted = false;
        let significant = child.rules.significant;
        self.went_down(key);
        let another_runs = || {
            self.children.values().any(|child| {
                child.rules.significant && (child.state != State::Down || child.wanted)
            })
        };
        let ends = significant
            && match self.flags.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !another_runs(),
            };
        if ends {
            self.begin_ending(now, Outcome::AutoShutdown);
        }
    }

    /// Restarts a child that is down, and with it whom the strategy names.
    fn restart(&mut self, now: Micros, key: ChildKey, why: String, counts: bool) {
        if counts && !self.intensity.allows(now) {
            let child = self.name(key);
            self.begin_ending(now, Outcome::Intensity { child, why });
            return;
        }
        let until = now + self.pause(key);
        if let Some(child) = self.children.get_mut(&key) {
            child.wanted = true;
        }
        if self.is_ordered() {
            self.begin_round(key, until);
        } else if until <= now {
            self.begin_start(key);
        } else {
            self.set(key, State::Waiting { until });
        }
    }

    /// The back-off before the next start of a child.
    fn pause(&mut self, key: ChildKey) -> Micros {
        let (first, max) = (self.flags.backoff, self.flags.backoff_max);
        match self.children.get_mut(&key) {
            Some(child) => child.backoff.next(first, max, &mut self.random),
            None => Micros::ZERO,
        }
    }

    // ---- steps ---------------------------------------------------------------------------------

    fn begin_start(&mut self, key: ChildKey) {
        self.set(key, State::Starting);
        self.starting += 1;
        self.actions.push_back(Action::Start(key));
    }

    /// False when no start of this child is under way.
    fn start_ended(&mut self, key: ChildKey) -> bool {
        let under_way = self.children.get(&key).is_some_and(|child| child.state == State::Starting);
        if under_way {
            self.starting -= 1;
            self.set(key, State::Down);
        }
        under_way
    }

    /// The books of a start without a child; true when it is up to the caller what comes next.
    fn start_came_to_nothing(&mut self, key: ChildKey, error: &str) -> bool {
        if !self.start_ended(key) {
            return false;
        }
        if self.starting == 0 {
            self.early.clear();
        }
        let Some(child) = self.children.get_mut(&key) else {
            return false;
        };
        if let Some(token) = child.asked.take() {
            let name = child.rules.name.clone();
            let error = ChildError::StartFailed { name, error: error.to_owned() };
            self.actions.push_back(Action::Reply(token, Err(error)));
            child.wanted = false;
            let fresh = child.fresh;
            self.went_down(key);
            if fresh {
                self.forget(key);
            }
            return false;
        }
        if !child.wanted || self.ending.is_some() || self.is_being_cleared(key) {
            self.went_down(key);
            return false;
        }
        true
    }

    fn begin_stop(&mut self, now: Micros, key: ChildKey) {
        let Some(child) = self.children.get(&key) else {
            return;
        };
        let State::Running { pid, .. } = child.state else {
            return;
        };
        let (action, kill_at) = match child.rules.shutdown {
            Shutdown::BrutalKill => (Action::Kill(pid), None),
            Shutdown::Infinity => (Action::Stop(pid), None),
            Shutdown::Timeout(time) => (Action::Stop(pid), Some(now + Micros::from_duration(time))),
        };
        self.set(key, State::Stopping { pid, kill_at });
        self.actions.push_back(action);
    }

    /// A child is down and not for this round's sake restarted at once: whoever waited for that is
    /// told, and specs that do not outlive their process go.
    fn went_down(&mut self, key: ChildKey) {
        self.set(key, State::Down);
        let dynamic = self.is_dynamic();
        let Some(child) = self.children.get_mut(&key) else {
            return;
        };
        for token in std::mem::take(&mut child.terminators) {
            self.actions.push_back(Action::Reply(token, Ok(None)));
        }
        if child.asked.is_none() && (dynamic || child.rules.restart == Restart::Temporary) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: ChildKey) {
        self.set(key, State::Down);
        if let Some(child) = self.children.remove(&key) {
            if self.by_name.get(&child.rules.name) == Some(&key) {
                self.by_name.remove(&child.rules.name);
            }
            self.actions.push_back(Action::Forget(key));
        }
    }

    /// Changes the state of a child, and what is kept by pid and by deadline with it.
    fn set(&mut self, key: ChildKey, state: State) {
        let Some(child) = self.children.get_mut(&key) else {
            return;
        };
        let old = std::mem::replace(&mut child.state, state);
        if old.pid() != state.pid() {
            if let Some(pid) = old.pid() {
                self.by_pid.remove(&pid);
            }
            if let Some(pid) = state.pid() {
                self.by_pid.insert(pid, key);
            }
        }
        if let Some(at) = old.deadline() {
            self.deadlines.remove(&(at, key));
        }
        if let Some(at) = state.deadline() {
            self.deadlines.insert((at, key));
        }
    }

    fn is_dynamic(&self) -> bool {
        self.flags.strategy == Strategy::Dynamic
    }

    fn is_ordered(&self) -> bool {
        matches!(self.flags.strategy, Strategy::OneForAll | Strategy::RestForOne)
    }
}

/// Ends that may wait for the start they belong to.
const MAX_EARLY: usize = 1_024;
