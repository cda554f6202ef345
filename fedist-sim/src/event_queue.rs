//! What happens next, in virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use fedist_registry::Micros;

/// Events in the order of their times; those of one time in the order in which they were planned, so that a run depends on
/// its seed only.
#[derive(Debug)]
pub struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
    now: Micros,
}

#[derive(Debug)]
struct Planned<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> EventQueue<E> {
    /// Nothing is planned; the time is zero.
    pub fn new() -> Self {
        EventQueue { heap: BinaryHeap::new(), planned: 0, now: Micros::ZERO }
    }

    /// Plans an event. A time that has passed counts as now.
    pub fn plan(&mut self, at: Micros, event: E) {
        let number = self.planned;
        self.planned += 1;
        self.heap.push(Reverse(Planned { at: at.max(self.now), number, event }));
    }

    /// Takes the next event and moves the time on to it.
    pub fn pop(&mut self) -> Option<(Micros, E)> {
        let Reverse(Planned { at, event, .. }) = self.heap.pop()?;
        self.now = at;
        Some((at, event))
    }

    /// The time of the event that was taken last.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// How many events are planned.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Planned<E> {
    fn key(&self) -> (Micros, u64) {
        (self.at, self.number)
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_planning() {
        let mut queue = EventQueue::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            queue.plan(Micros(at), name);
        }
        let mut seen = String::new();
        while let Some((at, name)) = queue.pop() {
            seen.push(name);
            if name == 'b' {
                queue.plan(Micros(0), 'x');
                assert_eq!(queue.len(), 3);
            }
            assert_eq!(queue.now(), at);
        }
        assert_eq!(seen, "abxcd");
        assert!(queue.is_empty());
    }
}
