//! Which of an actor's futures was woken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use crate::process::{Body, Process};

/// The waker of one future of an actor: notes that it is this one, and wakes the actor.
pub(super) struct Woken {
    flag: Arc<dyn Flag>,
    waker: Waker,
}

trait Flag: Send + Sync {
    fn take(&self) -> bool;
}

struct ItemWake<B: ?Sized> {
    woken: AtomicBool,
    process: Arc<Process<B>>,
}

impl Woken {
    /// Woken once from the beginning, for the first poll.
    pub(super) fn new<B: Body>(process: Arc<Process<B>>) -> Self {
        let wake = Arc::new(ItemWake { woken: AtomicBool::new(true), process });
        Self { waker: Waker::from(Arc::clone(&wake)), flag: wake }
    }

    /// Whether the future was woken since the last call.
    pub(super) fn take(&self) -> bool {
        self.flag.take()
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl<B: Body> Flag for ItemWake<B> {
    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }
}

impl<B: Body> Wake for ItemWake<B> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.process.wake();
        }
    }
}
