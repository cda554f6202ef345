//! Keys that are moving: messages to them wait until the move is done.

use bytes::Bytes;
use dashmap::{DashMap, mapref::entry::Entry};
use serde::Serialize;
use tokio::sync::watch;

use super::home::HomeError;
use crate::{Node, message::encode};

/// The keys of a node that are handled or held right now. Others have no entry.
#[derive(Default)]
pub(super) struct Holds {
    keys: DashMap<Bytes, watch::Sender<KeyState>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct KeyState {
    /// Handlers that run.
    running: usize,
    /// Messages that wait.
    waiting: usize,
    holds: usize,
}

/// A key that is on the move: as long as this lives, messages that come to the key at this node wait. Dropped, each of them goes
/// where the rule of that moment says. Made by [`Node::hold_home`].
#[must_use = "dropping the hold lets the messages go on"]
pub struct HomeHold {
    node: Node,
    key: Bytes,
}

impl Node {
    /// Holds the messages to a key that come to this node by [`ask_home`](Self::ask_home), while the key moves to another home. Resolves
    /// when no handler of an earlier message to the key runs any more, so that what is moved is complete.
    ///
    /// ```text
    /// let hold = node.hold_home("user-1").await?;    // messages wait here
    /// .. hand the state of user-1 over to its new home ..
    /// node.delineator(region).replace(rule).await??;  // at every node that asks
    /// drop(hold);                                     // what waited is passed on
    /// ```
    ///
    /// At most 10,000 messages wait for one key, each until its own deadline; more are refused as `Full`.
    ///
    /// # Errors
    /// [`HomeError::Encode`].
    ///
    /// # Cancel safety
    /// Dropped before it resolves, nothing is held.
    pub async fn hold_home<K: Serialize + ?Sized>(&self, key: &K) -> Result<HomeHold, HomeError> {
        let key = encode("fedist.delineator.key", key)
            .map_err(|error| HomeError::Encode(error.to_string()))?;
        let mut state = self.inner().delineation.holds.hold(&key);
        let hold = HomeHold { node: self.clone(), key };
        // Its sender lives as long as the hold.
        let _ = state.wait_for(|state| state.running == 0).await;
        Ok(hold)
    }
}

impl Drop for HomeHold {
    fn drop(&mut self) {
        let holds = &self.node.inner().delineation.holds;
        holds.change(&self.key, |state| state.holds = state.holds.saturating_sub(1));
    }
}

/// What the gate of a key says.
pub(super) enum Passage<'a> {
    /// The message may be handled; the key counts as busy until this is dropped.
    Open(Running<'a>),
    /// It waits until the key is held no longer.
    Held(Waiting<'a>),
    /// Too many wait already.
    Full,
}

impl Holds {
    fn hold(&self, key: &Bytes) -> watch::Receiver<KeyState> {
        let entry = self.keys.entry(key.clone()).or_default();
        entry.send_modify(|state| state.holds += 1);
        entry.subscribe()
    }

    pub(super) fn pass(&self, key: &Bytes) -> Passage<'_> {
        let entry = self.keys.entry(key.clone()).or_default();
        let state = *entry.borrow();
        if state.holds == 0 {
            entry.send_modify(|state| state.running += 1);
            return Passage::Open(Running { holds: self, key: key.clone() });
        }
        if state.waiting >= MAX_WAITING {
            return Passage::Full;
        }
        entry.send_modify(|state| state.waiting += 1);
        Passage::Held(Waiting { holds: self, key: key.clone(), changes: entry.subscribe() })
    }

    fn change(&self, key: &Bytes, change: impl FnOnce(&mut KeyState)) {
        let Entry::Occupied(entry) = self.keys.entry(key.clone()) else { return };
        entry.get().send_modify(change);
        let state = *entry.get().borrow();
        if state == KeyState::default() {
            entry.remove();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A message to a key is being handled.
pub(super) struct Running<'a> {
    holds: &'a Holds,
    key: Bytes,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.holds.change(&self.key, |state| state.running = state.running.saturating_sub(1));
    }
}

/// A message to a key waits.
pub(super) struct Waiting<'a> {
    holds: &'a Holds,
    key: Bytes,
    changes: watch::Receiver<KeyState>,
}

impl Waiting<'_> {
    pub(super) async fn released(mut self) {
        let _ = self.changes.wait_for(|state| state.holds == 0).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.holds.change(&self.key, |state| state.waiting = state.waiting.saturating_sub(1));
    }
}

const MAX_WAITING: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_key_waits_for_what_runs_and_lets_others_wait() {
        let (holds, key) = (Holds::default(), Bytes::from_static(b"k"));
        let Passage::Open(running) = holds.pass(&key) else { panic!("nothing is held") };
        let mut state = holds.hold(&key);
        assert_eq!(state.borrow_and_update().running, 1);
        let Passage::Held(waiting) = holds.pass(&key) else { panic!("it is held") };
        assert!(matches!(holds.pass(&Bytes::from_static(b"other")), Passage::Open(_)));
        drop(running);
        assert_eq!(state.borrow_and_update().running, 0);
        holds.change(&key, |state| state.holds -= 1);
        waiting.released().await;
        drop(state);
        assert_eq!(holds.len(), 0, "a key that is neither handled nor held has no entry");
    }

    #[test]
    fn a_bounded_number_waits() {
        let (holds, key) = (Holds::default(), Bytes::from_static(b"k"));
        let _state = holds.hold(&key);
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| holds.pass(&key)).collect();
        assert!(matches!(holds.pass(&key), Passage::Full));
        drop(waiting);
        assert!(matches!(holds.pass(&key), Passage::Held(_)));
    }
}
