//! Which part of a future was woken, where one task polls several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// The waker of one part: notes that it was woken, and wakes the task.
pub(super) struct PartWaker {
    state: Arc<State>,
    waker: Waker,
}

struct State {
    woken: AtomicBool,
    task: Arc<AtomicWaker>,
}

impl PartWaker {
    /// Woken once from the beginning, for the first poll.
    pub(super) fn new(task: &Arc<AtomicWaker>) -> Self {
        let state = Arc::new(State { woken: AtomicBool::new(true), task: Arc::clone(task) });
        Self { waker: Waker::from(Arc::clone(&state)), state }
    }

    /// Whether the part was woken since the last call. The task must be registered before.
    pub(super) fn take(&self) -> bool {
        self.state.woken.swap(false, Ordering::AcqRel)
    }

    /// Has the part polled again, without waking the task.
    pub(super) fn set(&self) {
        self.state.woken.store(true, Ordering::Release);
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}
