//! Wakes the task that runs a process.

use std::{
    sync::{
        OnceLock,
        atomic::{Ordering, fence},
    },
    task::Waker,
};

/// A process is one task from its first poll to its end, and a task has one waker: it is noted once and costs nothing more, in
/// contrast to an `AtomicWaker`, which is emptied by each wake and filled by each poll.
#[derive(Default)]
pub(crate) struct TaskWaker(OnceLock<Waker>);

impl TaskWaker {
    /// To be called in each poll, before it looks at what it might be woken for.
    pub(super) fn register(&self, waker: &Waker) {
        if self.0.get().is_none() && self.0.set(waker.clone()).is_ok() {
            // Either the look that follows sees what was written before a `wake`, or that sees the waker.
            fence(Ordering::SeqCst);
        }
    }

    /// To be called after what the task is to see was written. Before the first poll there is nothing to wake.
    pub(super) fn wake(&self) {
        if self.0.get().is_none() {
            fence(Ordering::SeqCst);
        }
        if let Some(waker) = self.0.get() {
            waker.wake_by_ref();
        }
    }
}
