//! The deadlines of asks within the node.
//!
//! Nearly all asks have the same deadline and are answered long before it. So the asks of actors share one timer for each
//! thread: their deadlines come in the order in which they were set, and the timer waits for the first of them. An ask costs a
//! place in a list then, not a timer of its own, and a look at a clock that is cheap because it goes in steps of some milliseconds:
//! so much earlier it may be over. Asks with another deadline, and from elsewhere, have their own timer.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use clock::{uptime, uptime_in_steps};

use crate::{DEFAULT_DEADLINE, Node, node::Timer, process::is_running, this_thread};

/// The deadline of one ask. It begins to run when it is first polled.
pub(crate) struct AskDeadline {
    node: Node,
    after: Duration,
    clock: Clock,
}

enum Clock {
    Stopped,
    Listed(Place),
    Own(Timer),
}

impl AskDeadline {
    pub(crate) fn new(node: Node, after: Duration) -> Self {
        Self { node, after, clock: Clock::Stopped }
    }

    /// Ready with its length when it is over. Only the first waker is kept while all polls come from one task, as those of an
    /// `.await` do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let over = match &mut self.clock {
            Clock::Stopped if self.after == DEFAULT_DEADLINE && is_running() => {
                self.clock = Clock::Listed(Place::take(self.after, cx.waker()));
                return Poll::Pending;
            }
            Clock::Stopped => self.wait_apart(self.after, cx),
            Clock::Listed(place) => match place.look(cx.waker()) {
                Look::Waits => return Poll::Pending,
                Look::Over => Poll::Ready(()),
                Look::Elsewhere(left) => self.wait_apart(left, cx),
            },
            Clock::Own(timer) => Pin::new(timer).poll(cx),
        };
        over.map(|()| self.after)
    }

    fn wait_apart(&mut self, left: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.node.sleep(left);
        let over = Pin::new(&mut timer).poll(cx);
        self.clock = Clock::Own(timer);
        over
    }
}

thread_local! {
    static LIST: RefCell<List> = const { RefCell::new(List::new()) };
}

/// A place in the list of a thread; given back when it is dropped there.
struct Place {
    thread: u64,
    due: Uptime,
    slot: usize,
    round: u32,
}

enum Look {
    Waits,
    Over,
    /// The ask was moved to another thread: how much time it has left.
    Elsewhere(Duration),
}

impl Place {
    fn take(after: Duration, waker: &Waker) -> Self {
        let due = uptime_in_steps() + after;
        let (slot, round, begins) = LIST.with_borrow_mut(|list| {
            let (slot, round) = list.push(due, waker.clone());
            (slot, round, !std::mem::replace(&mut list.is_watched, true))
        });
        if begins {
            actix_rt::spawn(watch(WatchedScope));
        }
        Self { thread: this_thread::number(), due, slot, round }
    }

    fn look(&self, waker: &Waker) -> Look {
        if self.thread != this_thread::number() {
            return Look::Elsewhere(self.due.saturating_sub(uptime()));
        }
        LIST.with_borrow_mut(|list| match list.entry(self.slot, self.round) {
            None => Look::Over,
            Some(entry) => {
                if !entry.waker.will_wake(waker) {
                    entry.waker = waker.clone();
                }
                Look::Waits
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // On another thread the entry stays until it is due, and wakes a task that does not wait for it any more. When the
        // thread itself ends, its list is gone.
        if self.thread == this_thread::number() {
            let _ = LIST.try_with(|list| list.borrow_mut().remove(self.slot, self.round));
        }
    }
}

/// Wakes the asks of this thread whose time is over, until none is left.
async fn watch(_scope: WatchedScope) {
    while let Some(due) = LIST.with_borrow(List::first_due) {
        tokio::time::sleep(due.saturating_sub(uptime())).await;
        while let Some(waker) = LIST.with_borrow_mut(|list| list.pop_due(uptime())) {
            waker.wake();
        }
    }
}

/// The watching task may be dropped before its end.
struct WatchedScope;

impl Drop for WatchedScope {
    fn drop(&mut self) {
        let _ = LIST.try_with(|list| list.borrow_mut().is_watched = false);
    }
}

/// Deadlines in the order in which they were set, which is that in which they are due: a doubly linked list in one vector.
struct List {
    entries: Vec<Slot>,
    /// The first and last entry, and the first free slot.
    first: usize,
    last: usize,
    free: usize,
    is_watched: bool,
}

struct Slot {
    /// Grows with every use of the slot.
    round: u32,
    entry: Option<Entry>,
    /// The neighbours of an entry; the next free slot.
    previous: usize,
    next: usize,
}

struct Entry {
    due: Uptime,
    waker: Waker,
}

const NONE: usize = usize::MAX;

impl List {
    const fn new() -> Self {
        Self { entries: Vec::new(), first: NONE, last: NONE, free: NONE, is_watched: false }
    }

    fn push(&mut self, due: Uptime, waker: Waker) -> (usize, u32) {
        let entry = Some(Entry { due, waker });
        let previous = self.last;
        let slot = match self.free {
            NONE => {
                self.entries.push(Slot { round: 0, entry, previous, next: NONE });
                self.entries.len() - 1
            }
            free => {
                let slot = &mut self.entries[free];
                self.free = slot.next;
                (slot.entry, slot.previous, slot.next) = (entry, previous, NONE);
                free
            }
        };
        match previous {
            NONE => self.first = slot,
            previous => self.entries[previous].next = slot,
        }
        self.last = slot;
        (slot, self.entries[slot].round)
    }

    fn entry(&mut self, slot: usize, round: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot).filter(|slot| slot.round == round)?.entry.as_mut()
    }

    fn remove(&mut self, slot: usize, round: u32) -> Option<Waker> {
        let at = self.entries.get_mut(slot).filter(|slot| slot.round == round)?;
        let entry = at.entry.take()?;
        at.round = at.round.wrapping_add(1);
        let (previous, next) = (at.previous, at.next);
        at.next = self.free;
        self.free = slot;
        match previous {
            NONE => self.first = next,
            previous => self.entries[previous].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.entries[next].previous = previous,
        }
        Some(entry.waker)
    }

    fn first_due(&self) -> Option<Uptime> {
        Some(self.entries.get(self.first)?.entry.as_ref()?.due)
    }

    /// Takes the first deadline out if it is due.
    fn pop_due(&mut self, now: Uptime) -> Option<Waker> {
        let slot = self.first;
        let round = self.entries.get(slot)?.round;
        self.first_due().filter(|due| *due <= now)?;
        self.remove(slot, round)
    }
}

/// Time since the machine, or else this process, started.
type Uptime = Duration;

#[cfg(target_os = "linux")]
mod clock {
    use rustix::time::{ClockId, clock_gettime};

    use super::{Duration, Uptime};

    pub(super) fn uptime() -> Uptime {
        read(ClockId::Monotonic)
    }

    /// The time of the last tick of the same clock: 1 to 10 ms behind.
    pub(super) fn uptime_in_steps() -> Uptime {
        read(ClockId::MonotonicCoarse)
    }

    fn read(clock: ClockId) -> Uptime {
        Duration::try_from(clock_gettime(clock)).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
mod clock {
    use std::{sync::LazyLock, time::Instant};

    use super::Uptime;

    pub(super) fn uptime() -> Uptime {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    pub(super) fn uptime_in_steps() -> Uptime {
        uptime()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waker() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn deadlines_are_due_in_their_order_whatever_was_taken_out_before() {
        let at = Duration::from_millis;
        let mut list = List::new();
        let places: Vec<_> = (0..6).map(|n| list.push(at(n), waker())).collect();
        for n in [0, 3, 5] {
            assert!(list.remove(places[n].0, places[n].1).is_some());
            assert!(list.remove(places[n].0, places[n].1).is_none(), "once");
        }
        assert_eq!(list.first_due(), Some(at(1)));
        let again = list.push(at(6), waker());
        assert!(list.entry(places[5].0, places[5].1).is_none(), "the slot has another now");
        assert!(list.pop_due(at(0)).is_none());
        for due in [1, 2, 4, 6] {
            assert_eq!(list.first_due(), Some(at(due)));
            assert!(list.pop_due(at(due)).is_some());
        }
        assert_eq!(list.first_due(), None);
        assert!(list.entry(again.0, again.1).is_none());
        assert!(list.pop_due(at(100)).is_none());
        assert_eq!(list.entries.len(), 6, "slots are used again");
    }

    #[test]
    fn slots_are_used_again() {
        let now = uptime();
        let mut list = List::new();
        for _ in 0..1000 {
            let first = list.push(now, waker());
            let second = list.push(now, waker());
            list.remove(first.0, first.1);
            list.remove(second.0, second.1);
        }
        assert_eq!(list.entries.len(), 2);
        assert_eq!((list.first, list.last), (NONE, NONE));
    }
}
