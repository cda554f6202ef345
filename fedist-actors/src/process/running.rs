//! The future that runs a process to its end.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use fedist_registry::{LocalId, RegionId, RegionPid};
use pin_project_lite::pin_project;

use super::{Body, Process};
use crate::{ExitReason, Node, exit::panic_text};

/// The actor (or task) that runs on this thread right now.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) node: Node,
    pub(crate) pid: RegionPid,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// The actor or task that is running now, if it was spawned by a node.
pub(crate) fn current() -> Option<Current> {
    CURRENT.with_borrow(Clone::clone)
}

/// Whether an actor or task of a node runs now on this thread.
pub(crate) fn is_running() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// The pid of the running actor, without the cost of cloning its node handle.
pub(crate) fn current_local(region: RegionId) -> Option<LocalId> {
    CURRENT.with_borrow(|current| {
        let current = current.as_ref()?;
        (current.pid.region() == region).then(|| current.pid.local())
    })
}

/// Runs `work` as if it were the work of another process, or of none.
pub(crate) fn with_current<T>(current: Option<Current>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Current>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(current));
    work()
}

/// Whether `pid` runs now, in a handler that keeps its mailbox waiting.
pub(crate) fn is_blocking(pid: RegionPid) -> bool {
    BLOCKING.get() && CURRENT.with_borrow(|current| current.as_ref().is_some_and(|c| c.pid == pid))
}

/// Polls a handler that keeps the mailbox of the running actor waiting.
pub(crate) fn while_blocking<T>(poll: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            BLOCKING.set(self.0);
        }
    }
    let _restore = Restore(BLOCKING.replace(true));
    poll()
}

pin_project! {
    /// Runs a process's future to its end: sets [`current`] around every poll, catches panics, ends
    /// it when an exit signal says so, and reports the exit to the node exactly once (also when it
    /// is dropped unfinished).
    pub(crate) struct ProcessFuture<F, B: ?Sized> {
        #[pin]
        future: Option<F>,
        process: Arc<Process<B>>,
        current: Option<Current>,
    }

    impl<F, B: ?Sized> PinnedDrop for ProcessFuture<F, B> {
        fn drop(this: Pin<&mut Self>) {
            this.finish(ExitReason::Shutdown);
        }
    }
}

impl<F: Future<Output = ExitReason>, B: Body> ProcessFuture<F, B> {
    pub(crate) fn new(node: Node, process: Arc<Process<B>>, future: F) -> Self {
        let current = Some(Current { node, pid: process.pid });
        Self { future: Some(future), process, current }
    }
}

impl<F, B: ?Sized> ProcessFuture<F, B> {
    fn finish(self: Pin<&mut Self>, reason: ExitReason) {
        let mut this = self.project();
        let Some(current) = this.current.take() else {
            return;
        };
        // What the actor sends while it is dropped is still its own.
        let node = current.node.clone();
        let outer = CURRENT.replace(Some(current));
        // The actor's own `Drop` may panic too; that must not take the node down.
        let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        CURRENT.set(outer);
        let reason = match dropped {
            Ok(()) => reason,
            Err(payload) => ExitReason::Panicked(panic_text(&*payload)),
        };
        node.process_ended(this.process.pid.local(), reason);
    }
}

impl<F: Future<Output = ExitReason>, B: ?Sized> Future for ProcessFuture<F, B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        this.process.waker.register(cx.waker());
        if let Some(reason) = this.process.exit_requested() {
            self.finish(reason);
            return Poll::Ready(());
        }
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Ready(());
        };
        let outer = CURRENT.replace(this.current.take());
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
        *this.current = CURRENT.replace(outer);
        let reason = match polled {
            // Decided while it ran, by itself perhaps.
            Ok(Poll::Pending) => match this.process.exit_requested() {
                Some(reason) => reason,
                None => return Poll::Pending,
            },
            Ok(Poll::Ready(reason)) => reason,
            Err(payload) => ExitReason::Panicked(panic_text(&*payload)),
        };
        self.finish(reason);
        Poll::Ready(())
    }
}
