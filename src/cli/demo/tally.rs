//! What arrived of a numbered flow, and how. Pure: time comes in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts the arrivals of messages numbered from 0.
#[derive(Debug)]
pub(crate) struct Tally {
    seen: Vec<bool>,
    distinct: u64,
    doubled: u64,
    reordered: u64,
    unknown: u64,
    highest: Option<u64>,
    last_at: Option<Duration>,
    longest_pause: Duration,
    pause_before: u64,
}

/// The figures of a [`Tally`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TallyReport {
    /// Different messages that arrived.
    pub(crate) delivered: u64,
    /// Arrivals of a message that had arrived before.
    pub(crate) doubled: u64,
    /// First arrivals behind one with a higher number.
    pub(crate) reordered: u64,
    /// Arrivals of numbers that were never sent.
    pub(crate) unknown: u64,
    /// The longest time between two arrivals, in ms.
    pub(crate) longest_pause_ms: f64,
    /// The number that ended that pause.
    pub(crate) pause_before: u64,
}

impl Tally {
    /// For messages 0 to `expected` - 1.
    pub(crate) fn new(expected: usize) -> Self {
        Self {
            seen: vec![false; expected],
            distinct: 0,
            doubled: 0,
            reordered: 0,
            unknown: 0,
            highest: None,
            last_at: None,
            longest_pause: Duration::ZERO,
            pause_before: 0,
        }
    }

    /// Message `seq` arrived at `now`.
    pub(crate) fn arrived(&mut self, now: Duration, seq: u64) {
        if let Some(last) = self.last_at {
            let pause = now.saturating_sub(last);
            if pause > self.longest_pause {
                self.longest_pause = pause;
                self.pause_before = seq;
            }
        }
        self.last_at = Some(now);
        let slot = usize::try_from(seq).ok().and_then(|at| self.seen.get_mut(at));
        match slot {
            None => self.unknown += 1,
            Some(seen) if *seen => self.doubled += 1,
            Some(seen) => {
                *seen = true;
                self.distinct += 1;
                if self.highest.is_some_and(|highest| seq < highest) {
                    self.reordered += 1;
                }
            }
        }
        self.highest = self.highest.max(Some(seq));
    }

    /// The figures so far.
    pub(crate) fn report(&self) -> TallyReport {
        TallyReport {
            delivered: self.distinct,
            doubled: self.doubled,
            reordered: self.reordered,
            unknown: self.unknown,
            longest_pause_ms: self.longest_pause.as_secs_f64() * 1e3,
            pause_before: self.pause_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arrivals: &[(u64, u64)]) -> TallyReport {
        let mut tally = Tally::new(4);
        for (at_ms, seq) in arrivals {
            tally.arrived(Duration::from_millis(*at_ms), *seq);
        }
        tally.report()
    }

    #[test]
    fn a_clean_flow_has_no_findings() {
        let report = of(&[(0, 0), (1, 1), (9, 2), (10, 3)]);
        assert_eq!(
            (report.delivered, report.doubled, report.reordered, report.unknown),
            (4, 0, 0, 0)
        );
        assert_eq!((report.longest_pause_ms, report.pause_before), (8.0, 2));
    }

    #[test]
    fn doubles_late_ones_and_strangers_are_told_apart() {
        let report = of(&[(0, 0), (1, 2), (2, 1), (3, 2), (4, 1), (5, 9)]);
        assert_eq!(
            (report.delivered, report.doubled, report.reordered, report.unknown),
            (3, 2, 1, 1)
        );
    }

    #[test]
    fn nothing_arrived_is_a_report_too() {
        assert_eq!(of(&[]).delivered, 0);
    }
}
