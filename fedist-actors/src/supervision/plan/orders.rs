//! What a supervisor can be told to do with single children.

use fedist_registry::{Micros, RegionPid};

use super::{Action, Child, ChildKey, Plan, State, Token};
use crate::supervision::{
    pace::Backoff,
    rules::{ChildError, ChildRef, ChildRules, Restart},
};

impl Plan {
    /// Adds a child that starts with the supervisor.
    pub(crate) fn add_child(&mut self, rules: ChildRules) -> Result<ChildKey, ChildError> {
        if self.ending.is_some() {
            return Err(ChildError::Stopping);
        }
        rules.check(self.flags.auto_shutdown)?;
        if let Some(present) = self.by_name.get(&rules.name)
            && let Some(child) = self.children.get(present)
        {
            let name = rules.name;
            return Err(match child.state.pid() {
                Some(pid) => ChildError::AlreadyStarted { name, pid },
                None => ChildError::AlreadyPresent(name),
            });
        }
        if self.children.len() >= self.flags.max_children {
            return Err(ChildError::MaxChildren(self.flags.max_children));
        }
        let key = ChildKey(self.next_key);
        self.next_key += 1;
        if !self.is_dynamic() {
            self.by_name.insert(rules.name.clone(), key);
        }
        self.children.insert(
            key,
            Child {
                rules,
                state: State::Down,
                wanted: true,
                asked: None,
                fresh: false,
                terminators: Vec::new(),
                backoff: Backoff::default(),
                lives: 0,
            },
        );
        Ok(key)
    }

    /// Adds a child and starts it, the last in order. The answer to `token` comes as an action.
    pub(crate) fn start_child(
        &mut self,
        now: Micros,
        rules: ChildRules,
        token: Token,
    ) -> Result<ChildKey, ChildError> {
        let key = self.add_child(rules)?;
        if let Some(child) = self.children.get_mut(&key) {
            child.asked = Some(token);
            child.fresh = true;
        }
        self.start_in_turn(now, key);
        Ok(key)
    }

    /// Ends a child. Its spec stays, unless it is temporary or the supervisor dynamic.
    pub(crate) fn terminate_child(
        &mut self,
        now: Micros,
        which: &ChildRef,
        token: Token,
    ) -> Result<(), ChildError> {
        let key = self.find(which)?;
        let Some(child) = self.children.get_mut(&key) else {
            return Err(ChildError::NotFound(which.clone()));
        };
        if child.terminators.len() >= MAX_TERMINATORS {
            return Err(ChildError::Busy(child.rules.name.clone()));
        }
        child.wanted = false;
        child.terminators.push(token);
        match child.state {
            State::Running { .. } => self.begin_stop(now, key),
            State::Starting => self.actions.push_back(Action::Abandon(key)),
            State::Stopping { .. } => {}
            State::Down | State::Waiting { .. } => {
                self.deferred.retain(|(deferred, _)| *deferred != key);
                if let Some(token) = child.asked.take() {
                    let name = child.rules.name.clone();
                    let error = "terminated before its turn came".to_owned();
                    let error = ChildError::StartFailed { name, error };
                    self.actions.push_back(Action::Reply(token, Err(error)));
                }
                self.went_down(key);
            }
        }
        self.advance(now);
        Ok(())
    }

    /// Starts a child that was terminated, or that ended and was not restarted.
    pub(crate) fn restart_child(
        &mut self,
        now: Micros,
        which: &ChildRef,
        token: Token,
    ) -> Result<(), ChildError> {
        let key = self.find_resting(which)?;
        if let Some(child) = self.children.get_mut(&key) {
            child.wanted = true;
            child.asked = Some(token);
        }
        self.start_in_turn(now, key);
        Ok(())
    }

    /// Removes the spec of a child that does not run.
    pub(crate) fn delete_child(&mut self, which: &ChildRef) -> Result<(), ChildError> {
        let key = self.find_resting(which)?;
        self.forget(key);
        Ok(())
    }

    /// Takes in a process that runs already, as a child that is not restarted.
    pub(crate) fn adopt(
        &mut self,
        now: Micros,
        rules: ChildRules,
        pid: RegionPid,
    ) -> Result<ChildKey, ChildError> {
        let key = self.add_child(ChildRules { restart: Restart::Temporary, ..rules })?;
        self.set(key, State::Running { pid, since: now });
        if let Some(child) = self.children.get_mut(&key) {
            child.lives = 1;
        }
        Ok(key)
    }

    fn start_in_turn(&mut self, now: Micros, key: ChildKey) {
        if self.begun && self.round.is_none_or(|round| key < round.from) {
            self.begin_start(key);
        }
        self.advance(now);
    }

    fn find(&self, which: &ChildRef) -> Result<ChildKey, ChildError> {
        if self.ending.is_some() {
            return Err(ChildError::Stopping);
        }
        let found = match which {
            ChildRef::Name(_) if self.is_dynamic() => {
                return Err(ChildError::Dynamic(which.clone()));
            }
            ChildRef::Name(name) => self.by_name.get(name),
            ChildRef::Pid(pid) => self.by_pid.get(pid),
        };
        found.copied().ok_or_else(|| ChildError::NotFound(which.clone()))
    }

    /// A child that is down and stays so by itself.
    fn find_resting(&self, which: &ChildRef) -> Result<ChildKey, ChildError> {
        if self.is_dynamic() && self.ending.is_none() {
            return Err(ChildError::Dynamic(which.clone()));
        }
        let key = self.find(which)?;
        let Some(child) = self.children.get(&key) else {
            return Err(ChildError::NotFound(which.clone()));
        };
        let name = child.rules.name.clone();
        match child.state {
            State::Running { pid, .. } | State::Stopping { pid, .. } => {
                Err(ChildError::Running { name, pid })
            }
            State::Starting | State::Waiting { .. } => Err(ChildError::Restarting(name)),
            State::Down if self.is_queued(key, child) => Err(ChildError::Restarting(name)),
            State::Down if child.rules.restart == Restart::Temporary => {
                Err(ChildError::NotFound(which.clone()))
            }
            State::Down => Ok(key),
        }
    }
}

/// Requests that may wait for the end of one child.
const MAX_TERMINATORS: usize = 64;
