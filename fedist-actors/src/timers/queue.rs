//! Which timer is due next: an ordered queue with cancellation.

use std::collections::{BTreeMap, HashMap};

use fedist_registry::{Micros, RegionPid};

use crate::exit::MonitorRef;

/// The timers of one node, by their time. `F` is what is to be done when one is due.
pub(crate) struct TimerQueue<F> {
    capacity: usize,
    next: u64,
    /// When each timer is due.
    due: HashMap<u64, Micros>,
    /// Timers of one moment fire in the order in which they were set.
    queue: BTreeMap<(Micros, u64), Scheduled<F>>,
    /// What watches the receivers of intervals.
    monitors: HashMap<u64, Watched>,
}

struct Scheduled<F> {
    period: Option<Micros>,
    fire: F,
}

/// A receiver and the monitor on it.
pub(crate) type Watched = (RegionPid, MonitorRef);

/// As many timers as may be are set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl<F: Clone> TimerQueue<F> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            next: 0,
            due: HashMap::new(),
            queue: BTreeMap::new(),
            monitors: HashMap::new(),
        }
    }

    /// Sets a timer. With a period it fires again and again until it is cancelled.
    pub(crate) fn schedule(
        &mut self,
        at: Micros,
        period: Option<Micros>,
        fire: F,
    ) -> Result<u64, QueueFull> {
        if self.due.len() >= self.capacity {
            return Err(QueueFull);
        }
        self.next += 1;
        let id = self.next;
        self.due.insert(id, at);
        self.queue.insert((at, id), Scheduled { period, fire });
        Ok(id)
    }

    /// Takes a timer back; the time that was left, `None` when it has fired or was cancelled before.
    pub(crate) fn cancel(&mut self, now: Micros, id: u64) -> Option<Micros> {
        let at = self.due.remove(&id)?;
        self.queue.remove(&(at, id));
        Some(at - now)
    }

    /// Notes what watches the receiver of a timer. False when the timer has ended meanwhile.
    pub(crate) fn set_monitor(&mut self, id: u64, monitor: Watched) -> bool {
        let is_set = self.due.contains_key(&id);
        if is_set {
            self.monitors.insert(id, monitor);
        }
        is_set
    }

    /// What watches the receiver of a timer that is about to end.
    pub(crate) fn take_monitor(&mut self, id: u64) -> Option<Watched> {
        self.monitors.remove(&id)
    }

    /// Ends every timer; gives what watched their receivers.
    pub(crate) fn clear(&mut self) -> Vec<Watched> {
        self.due.clear();
        self.queue.clear();
        self.monitors.drain().map(|(_, watched)| watched).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Up to `max` timers that are due, in order. An interval that missed some of its moments fires
    /// once and goes on at its next one.
    pub(crate) fn take_due(&mut self, now: Micros, max: usize) -> Vec<(u64, F)> {
        let mut fired = Vec::new();
        while fired.len() < max
            && let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= now
        {
            let ((at, id), scheduled) = entry.remove_entry();
            fired.push((id, scheduled.fire.clone()));
            match scheduled.period {
                Some(period) => {
                    let missed = (now - at).0 / period.0.max(1);
                    let next = at + Micros(period.0.max(1).saturating_mul(missed + 1));
                    self.due.insert(id, next);
                    self.queue.insert((next, id), scheduled);
                }
                None => {
                    self.due.remove(&id);
                }
            }
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(
        queue: &mut TimerQueue<&'static str>,
        at: u64,
        period: Option<u64>,
        name: &'static str,
    ) -> Result<u64, QueueFull> {
        queue.schedule(Micros(at), period.map(Micros), name)
    }

    fn advance(queue: &mut TimerQueue<&'static str>, now: u64) -> Vec<&'static str> {
        queue.take_due(Micros(now), 1_000).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn timers_fire_in_the_order_of_their_moments_then_of_their_setting() {
        let mut queue = TimerQueue::new(10);
        set(&mut queue, 20, None, "late").unwrap();
        set(&mut queue, 10, None, "first").unwrap();
        set(&mut queue, 10, None, "second").unwrap();
        assert_eq!(queue.next_deadline(), Some(Micros(10)));
        assert_eq!(advance(&mut queue, 9), [""; 0]);
        assert_eq!(advance(&mut queue, 10), ["first", "second"]);
        assert_eq!(advance(&mut queue, 30), ["late"]);
        assert_eq!(queue.due.len(), 0);
    }

    #[test]
    fn cancelling_tells_the_time_left_and_only_once() {
        let mut queue = TimerQueue::new(10);
        let timer = set(&mut queue, 50, None, "x").unwrap();
        assert_eq!(queue.cancel(Micros(20), timer), Some(Micros(30)));
        assert_eq!(queue.cancel(Micros(20), timer), None);
        assert_eq!(advance(&mut queue, 60), [""; 0]);
        let fired = set(&mut queue, 70, None, "y").unwrap();
        advance(&mut queue, 70);
        assert_eq!(queue.cancel(Micros(70), fired), None);
    }

    #[test]
    fn an_interval_keeps_its_rhythm_and_does_not_catch_up_what_it_missed() {
        let mut queue = TimerQueue::new(10);
        let timer = set(&mut queue, 10, Some(10), "tick").unwrap();
        assert_eq!(advance(&mut queue, 12), ["tick"]);
        assert_eq!(queue.next_deadline(), Some(Micros(20)), "not 22");
        assert_eq!(advance(&mut queue, 57), ["tick"], "four were missed");
        assert_eq!(queue.next_deadline(), Some(Micros(60)));
        assert_eq!(queue.cancel(Micros(57), timer), Some(Micros(3)));
        assert_eq!(queue.due.len(), 0);
    }

    #[test]
    fn the_number_of_timers_is_bounded() {
        let mut queue = TimerQueue::new(2);
        set(&mut queue, 1, None, "a").unwrap();
        set(&mut queue, 1, Some(1), "b").unwrap();
        assert_eq!(set(&mut queue, 1, None, "c"), Err(QueueFull));
        assert_eq!(advance(&mut queue, 1), ["a", "b"]);
        set(&mut queue, 2, None, "c").unwrap();
        assert_eq!(queue.take_due(Micros(9), 1).len(), 1, "no more than asked for");
    }
}
