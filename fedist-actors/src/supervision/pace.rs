//! How fast restarts may follow one another: the intensity of a supervisor, the back-off of a child.

use std::{collections::VecDeque, time::Duration};

use fedist_registry::Micros;

/// The restarts of the last period. Holds at most `max + 1` points in time.
#[derive(Debug)]
pub(super) struct Intensity {
    max: usize,
    period: Micros,
    recent: VecDeque<Micros>,
}

impl Intensity {
    pub(super) fn new(max: usize, period: Duration) -> Self {
        Self { max, period: Micros::from_duration(period), recent: VecDeque::new() }
    }

    /// Counts one restart; false when it is one too many.
    pub(super) fn allows(&mut self, now: Micros) -> bool {
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) > self.period) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.max {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

/// The pauses before the restarts of one child: doubled each time, with a fifth of jitter so that
/// children that fail together do not come back in step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn next(
        &mut self,
        first: Duration,
        max: Duration,
        random: &mut fastrand::Rng,
    ) -> Micros {
        let base = first.saturating_mul(1 << self.failures.min(20)).min(max);
        self.failures = self.failures.saturating_add(1);
        let base = Micros::from_duration(base);
        base + Micros(random.u64(0..=base.0 / 5))
    }

    /// The child has run long enough: the next failure is a first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_restarts_as_the_intensity_are_allowed_within_the_period_and_one_more_is_not() {
        let mut intensity = Intensity::new(2, Duration::from_secs(5));
        assert!(intensity.allows(Micros::from_secs(1)));
        assert!(intensity.allows(Micros::from_secs(2)));
        assert!(!intensity.allows(Micros::from_secs(3)));
        assert!(intensity.allows(Micros::from_secs(7)), "the first is out of the window");
    }

    #[test]
    fn pauses_double_up_to_their_bound_with_at_most_a_fifth_of_jitter() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::default();
        let (first, max) = (Duration::from_millis(10), Duration::from_millis(50));
        for base in [10, 20, 40, 50, 50] {
            let pause = backoff.next(first, max, &mut random).0;
            assert!((base * 1_000..=base * 1_200).contains(&pause), "{pause} for {base} ms");
        }
        backoff.reset();
        assert!(backoff.next(first, max, &mut random).0 <= 12_000);
        assert_eq!(backoff.next(Duration::ZERO, max, &mut random), Micros::ZERO);
    }
}
