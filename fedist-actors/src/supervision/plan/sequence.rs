//! What happens in order: the first start, the rounds of `one_for_all` and `rest_for_one`, the end.

use fedist_registry::Micros;

use super::{Action, Child, ChildKey, Outcome, Phase, Plan, Round, State};
use crate::supervision::rules::{ChildError, Restart, Strategy};

impl Plan {
    /// Takes every step that is possible now.
    pub(super) fn advance(&mut self, now: Micros) {
        if self.starting == 0 {
            self.early.clear();
        }
        while self.ending.is_none()
            && let Some(round) = self.round
        {
            let goes_on = match round.phase {
                Phase::Stopping => self.stop_next(now, round),
                Phase::Backoff if now < round.until => false,
                Phase::Backoff => self.enter(Phase::Starting),
                Phase::Starting => self.start_next(now, round),
            };
            if !goes_on {
                break;
            }
        }
        if self.ending.is_some() {
            self.advance_end(now);
        }
    }

    fn enter(&mut self, phase: Phase) -> bool {
        if let Some(round) = &mut self.round {
            round.phase = phase;
        }
        true
    }

    /// The last child that is not down is stopped; true when nothing has to be waited for.
    fn stop_next(&mut self, now: Micros, round: Round) -> bool {
        let next = self
            .children
            .range(round.from..)
            .rev()
            .map(|(key, child)| (*key, child.state))
            .find(|(_, state)| *state != State::Down);
        match next {
            None => self.enter(Phase::Backoff),
            Some((key, State::Waiting { .. })) => {
                self.set(key, State::Down);
                true
            }
            Some((key, State::Running { .. })) => {
                self.begin_stop(now, key);
                false
            }
            Some(_) => false,
        }
    }

    /// The first child that is to run and does not is started; true when nothing has to be waited for.
    fn start_next(&mut self, now: Micros, round: Round) -> bool {
        // The children of a `one_for_one` do not wait for one that has no place yet.
        let patient = self.is_ordered();
        let next = self
            .children
            .range(round.from..)
            .filter(|(_, child)| child.wanted)
            .map(|(key, child)| (*key, child.state))
            .find(|(_, state)| match state {
                State::Running { .. } => false,
                State::Waiting { .. } => patient,
                State::Down | State::Starting | State::Stopping { .. } => true,
            });
        match next {
            None => {
                self.end_round(now, round);
                true
            }
            Some((_, State::Waiting { until })) if now < until => false,
            Some((key, State::Waiting { .. } | State::Down)) => {
                self.begin_start(key);
                false
            }
            Some(_) => false,
        }
    }

    fn end_round(&mut self, now: Micros, round: Round) {
        self.round = None;
        if round.initial {
            self.actions.push_back(Action::Ready);
            for (key, reason) in std::mem::take(&mut self.deferred) {
                if self.ending.is_none() && self.children.contains_key(&key) {
                    self.judge(now, key, &reason);
                }
            }
        }
    }

    /// Begins the round that a failure of `key` calls for, or widens the one under way.
    pub(super) fn begin_round(&mut self, key: ChildKey, until: Micros) {
        let mut from = match self.flags.strategy {
            Strategy::OneForAll => ChildKey(0),
            _ => key,
        };
        let mut until = until;
        if let Some(round) = self.round.filter(|round| round.phase != Phase::Starting) {
            from = from.min(round.from);
            until = until.max(round.until);
        }
        for (_, child) in self.children.range_mut(from..) {
            // Temporary children are not restarted for another's sake, but one that waits for its
            // first start still gets it.
            child.wanted = child.rules.restart != Restart::Temporary || child.asked.is_some();
        }
        self.round = Some(Round { from, phase: Phase::Stopping, until, initial: false });
    }

    /// Whether the round is stopping this child, so that its end is no news.
    pub(super) fn is_being_cleared(&self, key: ChildKey) -> bool {
        self.round.is_some_and(|round| round.phase != Phase::Starting && key >= round.from)
    }

    /// Whether a child that is down is about to be started.
    pub(super) fn is_queued(&self, key: ChildKey, child: &Child) -> bool {
        self.deferred.iter().any(|(deferred, _)| *deferred == key)
            || (child.wanted && self.round.is_some_and(|round| key >= round.from))
    }

    // ---- the end -------------------------------------------------------------------------------

    pub(super) fn begin_ending(&mut self, now: Micros, outcome: Outcome) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(outcome);
        self.round = None;
        self.deferred.clear();
        let mut running = Vec::new();
        let mut waiting = Vec::new();
        for (key, child) in &mut self.children {
            match child.state {
                State::Running { .. } => running.push(*key),
                State::Waiting { .. } => waiting.push(*key),
                State::Down => {
                    if let Some(token) = child.asked.take() {
                        self.actions.push_back(Action::Reply(token, Err(ChildError::Stopping)));
                    }
                }
                State::Starting => self.actions.push_back(Action::Abandon(*key)),
                State::Stopping { .. } => {}
            }
        }
        for key in waiting {
            self.set(key, State::Down);
        }
        if self.is_dynamic() {
            for key in running {
                self.begin_stop(now, key);
            }
        }
    }

    fn advance_end(&mut self, now: Micros) {
        if self.is_dynamic() {
            if self.by_pid.is_empty() && self.starting == 0 {
                self.finish();
            }
            return;
        }
        while let Some(last) = self.children.last_entry() {
            let key = *last.key();
            match last.get().state {
                State::Down | State::Waiting { .. } => self.forget(key),
                State::Running { .. } => {
                    self.begin_stop(now, key);
                    return;
                }
                State::Starting | State::Stopping { .. } => return,
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        if !self.finished
            && let Some(outcome) = self.ending.clone()
        {
            self.finished = true;
            self.actions.push_back(Action::Finish(outcome));
        }
    }
}
