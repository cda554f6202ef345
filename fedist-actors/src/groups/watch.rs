//! Watching groups: a snapshot, then every change, in a queue with a bound.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::{Stream, task::AtomicWaker};

use super::GroupEvent;
use crate::Node;

/// The changes of all groups under a prefix, from [`Groups::watch`](super::Groups::watch).
///
/// The first event is a [`GroupEvent::Snapshot`]; every later change of the watched groups follows, in order and
/// without a gap. Whoever falls 4,096 events behind gets a new snapshot in place of what was
/// missed. Dropping it ends the watch. Also a [`Stream`].
#[must_use = "dropping a watch ends it"]
pub struct GroupWatch {
    node: Node,
    queue: Arc<WatchQueue>,
}

/// The events that wait for one watcher.
pub(super) struct WatchQueue {
    prefix: String,
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    events: VecDeque<GroupEvent>,
    /// Events were let go of: a snapshot comes next.
    lagged: bool,
    closed: bool,
}

/// Events that may wait for one watcher.
const QUEUE_LEN: usize = 4096;

impl GroupWatch {
    pub(super) fn new(node: Node, queue: Arc<WatchQueue>) -> Self {
        Self { node, queue }
    }

    /// The next event; `None` once the node has stopped.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, no event is lost.
    pub async fn next(&mut self) -> Option<GroupEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event if one waits already.
    pub fn try_next(&mut self) -> Option<GroupEvent> {
        match self.queue.pop() {
            Popped::Event(event) => Some(event),
            Popped::Lagged => Some(self.node.inner().groups.catch_up(&self.queue)),
            Popped::Empty | Popped::Closed => None,
        }
    }

    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<GroupEvent>> {
        self.queue.waker.register(cx.waker());
        match self.queue.pop() {
            Popped::Event(event) => Poll::Ready(Some(event)),
            Popped::Lagged => Poll::Ready(Some(self.node.inner().groups.catch_up(&self.queue))),
            Popped::Closed => Poll::Ready(None),
            Popped::Empty => Poll::Pending,
        }
    }
}

impl Stream for GroupWatch {
    type Item = GroupEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<GroupEvent>> {
        self.get_mut().poll_event(cx)
    }
}

enum Popped {
    Event(GroupEvent),
    Lagged,
    Empty,
    Closed,
}

impl WatchQueue {
    pub(super) fn new(prefix: String, snapshot: GroupEvent) -> Self {
        let state = State { events: VecDeque::from([snapshot]), ..State::default() };
        Self { prefix, state: Mutex::new(state), waker: AtomicWaker::new() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Queues an event of a watched group. Called with the groups locked, so that the order holds.
    pub(super) fn push(&self, event: &GroupEvent) {
        if !event.group().is_some_and(|group| group.starts_with(&self.prefix)) {
            return;
        }
        let mut state = self.lock();
        if state.lagged {
            return;
        }
        if state.events.len() >= QUEUE_LEN {
            state.events = VecDeque::new();
            state.lagged = true;
        } else {
            state.events.push_back(event.clone());
        }
        drop(state);
        self.waker.wake();
    }

    /// The watcher gets a snapshot now. Called with the groups locked.
    pub(super) fn caught_up(&self) {
        self.lock().lagged = false;
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.waker.wake();
    }

    fn pop(&self) -> Popped {
        let mut state = self.lock();
        match state.events.pop_front() {
            Some(event) => Popped::Event(event),
            None if state.lagged => Popped::Lagged,
            None if state.closed => Popped::Closed,
            None => Popped::Empty,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
