//! How much somebody may still ask for.

use crate::Micros;

/// A token bucket whose size and pace its owner states with each refill, because they may follow the size of something.
///
/// ```
/// use fedist_registry::{Allowance, Micros};
///
/// let mut requests = Allowance::new();
/// requests.refill(Micros::ZERO, 2, 1);
/// assert!(requests.take(1) && requests.take(1) && !requests.take(1));
/// requests.refill(Micros::from_secs(1), 2, 1);
/// assert!(requests.take(1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    left: u64,
    /// Tokens times a million that did not make a whole one yet.
    rest: u64,
    at: Option<Micros>,
}

impl Allowance {
    /// Full at its first refill.
    pub const fn new() -> Allowance {
        Allowance { left: 0, rest: 0, at: None }
    }

    /// Adds what came since the last refill, up to `burst`.
    pub fn refill(&mut self, now: Micros, burst: u64, per_second: u64) {
        match self.at {
            None => self.left = burst,
            Some(at) => {
                let earned = (now - at).0.saturating_mul(per_second).saturating_add(self.rest);
                self.rest = earned % 1_000_000;
                self.left = self.left.saturating_add(earned / 1_000_000).min(burst);
            }
        }
        self.at = Some(now);
    }

    /// Takes some, all or nothing.
    pub fn take(&mut self, count: u64) -> bool {
        let enough = self.left >= count;
        if enough {
            self.left -= count;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_with_time_and_never_beyond_the_burst() {
        let mut allowance = Allowance::new();
        allowance.refill(Micros::ZERO, 10, 2);
        assert!(allowance.take(10) && !allowance.take(1));
        // Three quarters of a second in small steps: one and a half, of which one is whole.
        for step in 1..=75 {
            allowance.refill(Micros::from_millis(step * 10), 10, 2);
        }
        assert!(allowance.take(1) && !allowance.take(1));
        allowance.refill(Micros::from_secs(3_600), 10, 2);
        assert!(!allowance.take(11) && allowance.take(10));
    }
}
