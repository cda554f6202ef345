//! Timers of the node: messages to any pid, later or again and again, set from any thread.
//!
//! One task on the hub's thread fires them all, from one queue; an actor's own timers are in its
//! context.

mod queue;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use fedist_registry::{Micros, RegionPid};
use tokio::sync::Notify;

use crate::{
    Node, PidSend, WireMessage,
    process::{Current, current, with_current},
};
use queue::{QueueFull, TimerQueue};

/// Names one timer of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerRef(u64);

/// A timer could not be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimerError {
    /// The node's timers are at their bound. Nothing was set; some other must fire or be cancelled first.
    #[error("too many timers ({0} are set); a node keeps no more; cancel some or set fewer")]
    TooMany(usize),
    /// The node is stopped.
    #[error("the node is stopped; nothing is sent any more")]
    Stopped,
}

/// Timers that one node keeps at a time.
const MAX_TIMERS: usize = 1 << 20;
/// Timers fired before the hub's other work has its turn.
const BATCH: usize = 256;
/// The shortest period: below it the clock's own steps show.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// What a timer does; called without the queue's lock.
type Fire = Arc<dyn Fn(&Node) + Send + Sync>;

pub(crate) struct Timers {
    queue: Mutex<TimerQueue<Fire>>,
    /// The first deadline has changed.
    changed: Notify,
}

impl Default for Timers {
    fn default() -> Self {
        Self { queue: Mutex::new(TimerQueue::new(MAX_TIMERS)), changed: Notify::new() }
    }
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, TimerQueue<Fire>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, now: Micros, timer: TimerRef) -> Option<Micros> {
        self.lock().cancel(now, timer.0)
    }
}

impl Node {
    /// Sends `message` to an actor of any region once `delay` has passed, as Erlang's
    /// `send_after/3`. It comes from the actor that calls this, as a
    /// [`do_send`](crate::RegionAddr::do_send) of that moment: what cannot be delivered then is a
    /// dead letter. The resolution is a millisecond. Timers end with the node.
    ///
    /// # Errors
    /// [`TimerError`]; nothing was set then.
    pub fn send_after<M: WireMessage>(
        &self,
        delay: Duration,
        pid: RegionPid,
        message: M,
    ) -> Result<TimerRef, TimerError> {
        let message = Mutex::new(Some(message));
        let send = move |node: &Node| {
            let message = message.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(message) = message {
                pid.do_send(node, message);
            }
        };
        self.set_timer(delay, None, send)
    }

    /// Sends a copy of `message` to an actor of any region once every `period` (at least 1 ms), first
    /// after one period, until it is [cancelled](Self::cancel_timer), the actor ends, or the session
    /// with its region does. A node that was late sends once for all the moments that it missed.
    ///
    /// # Errors
    /// [`TimerError`]; nothing was set then.
    pub fn send_interval<M: WireMessage + Clone>(
        &self,
        period: Duration,
        pid: RegionPid,
        message: M,
    ) -> Result<TimerRef, TimerError> {
        let period = period.max(PERIOD_MIN);
        let message = Mutex::new(message);
        // The copy is made before the lock is let go of; the sending happens behind it.
        let send = move |node: &Node| {
            let copy = message.lock().unwrap_or_else(PoisonError::into_inner).clone();
            pid.do_send(node, copy);
        };
        let timer = self.set_timer(period, Some(period), send)?;
        let node = self.clone();
        let monitor = self.watch(
            pid,
            Box::new(move |_| {
                node.cancel_timer(timer);
            }),
        );
        let cancelled = !self.inner().timers.lock().set_monitor(timer.0, (pid, monitor));
        if cancelled {
            self.unwatch(pid, monitor);
        }
        Ok(timer)
    }

    /// Takes a timer back, from any thread: the time that was left until it would have fired next,
    /// `None` when it has fired (or was cancelled) before.
    pub fn cancel_timer(&self, timer: TimerRef) -> Option<Duration> {
        let now = self.inner().clock.now();
        let monitor = self.inner().timers.lock().take_monitor(timer.0);
        if let Some((pid, monitor)) = monitor {
            self.unwatch(pid, monitor);
        }
        self.inner().timers.cancel(now, timer).map(Micros::as_duration)
    }

    fn set_timer(
        &self,
        delay: Duration,
        period: Option<Duration>,
        send: impl Fn(&Node) + Send + Sync + 'static,
    ) -> Result<TimerRef, TimerError> {
        let inner = self.inner();
        if inner.stopped.load(Ordering::Acquire) {
            return Err(TimerError::Stopped);
        }
        let at = inner.clock.now() + Micros::from_duration(delay);
        let setter = current().map(|current| current.pid);
        let fire = move |node: &Node| {
            let current = setter.map(|pid| Current { node: node.clone(), pid });
            with_current(current, || send(node));
        };
        let mut queue = inner.timers.lock();
        let first = queue.next_deadline();
        let id = queue
            .schedule(at, period.map(Micros::from_duration), Arc::new(fire))
            .map_err(|QueueFull| TimerError::TooMany(MAX_TIMERS))?;
        drop(queue);
        if first.is_none_or(|first| at < first) {
            inner.timers.changed.notify_one();
        }
        Ok(TimerRef(id))
    }
}

/// Fires the node's timers, for as long as the node runs.
pub(crate) async fn run(node: Node) {
    let _close = Close(node.clone());
    let timers = &node.inner().timers;
    loop {
        let now = node.inner().clock.now();
        let due = timers.lock().take_due(now, BATCH);
        for (id, fire) in due {
            // Copying and encoding are the application's code.
            if catch_unwind(AssertUnwindSafe(|| fire(&node))).is_err() {
                tracing::error!(
                    timer = id,
                    "the message of a timer panicked; the timer is cancelled"
                );
                node.cancel_timer(TimerRef(id));
            }
        }
        let next = timers.lock().next_deadline();
        match next {
            Some(at) if at <= now => tokio::task::yield_now().await,
            Some(at) => {
                let wait = at.saturating_sub(node.inner().clock.now()).as_duration();
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = timers.changed.notified() => {}
                }
            }
            None => timers.changed.notified().await,
        }
    }
}

/// Ends the timers with the task that fires them.
struct Close(Node);

impl Drop for Close {
    fn drop(&mut self) {
        let watched = self.0.inner().timers.lock().clear();
        for (pid, monitor) in watched {
            self.0.unwatch(pid, monitor);
        }
    }
}
