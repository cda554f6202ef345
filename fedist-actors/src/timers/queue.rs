//! Which timer is due next: an ordered queue with cancellation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fedist_registry::Micros;

/// What a timer does when it is due; called without any lock held.
pub(crate) type Fire = Arc<dyn Fn() + Send + Sync>;

/// The timers of one node, by their time.
pub(crate) struct TimerQueue {
    capacity: usize,
    next: u64,
    /// When each timer is due.
    due: HashMap<u64, Micros>,
    /// Timers of one moment fire in the order in which they were set.
    queue: BTreeMap<(Micros, u64), Scheduled>,
}

struct Scheduled {
    period: Option<Micros>,
    fire: Fire,
}

/// As many timers as may be are set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl TimerQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, next: 0, due: HashMap::new(), queue: BTreeMap::new() }
    }

    /// Sets a timer. With a period it fires again and again until it is cancelled.
    pub(crate) fn schedule(
        &mut self,
        at: Micros,
        period: Option<Micros>,
        fire: Fire,
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

    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Up to `max` timers that are due, in order. An interval that missed some of its moments fires
    /// once and goes on at its next one.
    pub(crate) fn take_due(&mut self, now: Micros, max: usize) -> Vec<Fire> {
        let mut fired = Vec::new();
        while fired.len() < max
            && let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= now
        {
            let ((at, id), scheduled) = entry.remove_entry();
            fired.push(Arc::clone(&scheduled.fire));
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

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A queue whose timers write their names down.
    struct Bench {
        queue: TimerQueue,
        log: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Bench {
        fn new(capacity: usize) -> Self {
            Self { queue: TimerQueue::new(capacity), log: Arc::default() }
        }

        fn set(
            &mut self,
            at: u64,
            period: Option<u64>,
            name: &'static str,
        ) -> Result<u64, QueueFull> {
            let log = Arc::clone(&self.log);
            let fire = Arc::new(move || log.lock().unwrap().push(name));
            self.queue.schedule(Micros(at), period.map(Micros), fire)
        }

        fn advance(&mut self, now: u64) -> Vec<&'static str> {
            for fire in self.queue.take_due(Micros(now), 1_000) {
                fire();
            }
            std::mem::take(&mut *self.log.lock().unwrap())
        }
    }

    #[test]
    fn timers_fire_in_the_order_of_their_moments_then_of_their_setting() {
        let mut bench = Bench::new(10);
        bench.set(20, None, "late").unwrap();
        bench.set(10, None, "first").unwrap();
        bench.set(10, None, "second").unwrap();
        assert_eq!(bench.queue.next_deadline(), Some(Micros(10)));
        assert_eq!(bench.advance(9), [""; 0]);
        assert_eq!(bench.advance(10), ["first", "second"]);
        assert_eq!(bench.advance(30), ["late"]);
        assert_eq!(bench.queue.len(), 0);
    }

    #[test]
    fn cancelling_tells_the_time_left_and_only_once() {
        let mut bench = Bench::new(10);
        let timer = bench.set(50, None, "x").unwrap();
        assert_eq!(bench.queue.cancel(Micros(20), timer), Some(Micros(30)));
        assert_eq!(bench.queue.cancel(Micros(20), timer), None);
        assert_eq!(bench.advance(60), [""; 0]);
        let fired = bench.set(70, None, "y").unwrap();
        bench.advance(70);
        assert_eq!(bench.queue.cancel(Micros(70), fired), None);
    }

    #[test]
    fn an_interval_keeps_its_rhythm_and_does_not_catch_up_what_it_missed() {
        let mut bench = Bench::new(10);
        let timer = bench.set(10, Some(10), "tick").unwrap();
        assert_eq!(bench.advance(12), ["tick"]);
        assert_eq!(bench.queue.next_deadline(), Some(Micros(20)), "not 22");
        assert_eq!(bench.advance(57), ["tick"], "four were missed");
        assert_eq!(bench.queue.next_deadline(), Some(Micros(60)));
        assert_eq!(bench.queue.cancel(Micros(57), timer), Some(Micros(3)));
        assert_eq!(bench.queue.len(), 0);
    }

    #[test]
    fn the_number_of_timers_is_bounded() {
        let mut bench = Bench::new(2);
        bench.set(1, None, "a").unwrap();
        bench.set(1, Some(1), "b").unwrap();
        assert_eq!(bench.set(1, None, "c"), Err(QueueFull));
        assert_eq!(bench.advance(1), ["a", "b"]);
        bench.set(2, None, "c").unwrap();
        assert_eq!(bench.queue.take_due(Micros(9), 1).len(), 1, "no more than asked for");
    }
}
