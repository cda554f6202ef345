//! How long a link that keeps failing is left alone after it came back.

use crate::Micros;

/// Holds down one link, or the dialing of one region, that goes up and down again and again.
///
/// The first failure costs nothing. Each further one that comes before the link has been quiet for ten times its last
/// penalty doubles the penalty, from 1 s to 60 s; after such a quiet time all is forgiven. So a link that fails at any pace
/// whatsoever is announced at most twice per penalty (cf. route flap damping, RFC 2439, without its slow decay).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldDown {
    /// Failures in a row, each within the quiet time of the one before.
    failures: u32,
    failed_at: Micros,
}

impl HoldDown {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The link went down; gives the time until which it is held.
    pub fn handle_down(&mut self, now: Micros) -> Micros {
        if self.is_forgiven(now) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.held_until()
    }

    /// When it last went down.
    pub fn failed_at(&self) -> Micros {
        self.failed_at
    }

    /// Until when it is held; a time in the past if it is not.
    pub fn held_until(&self) -> Micros {
        self.failed_at + self.penalty()
    }

    /// Whether it is held at `now`.
    pub fn is_held(&self, now: Micros) -> bool {
        now < self.held_until()
    }

    /// Whether it was quiet for long enough that there is nothing left to remember.
    pub fn is_forgiven(&self, now: Micros) -> bool {
        self.failures == 0 || now - self.failed_at >= self.quiet_time()
    }

    fn penalty(&self) -> Micros {
        match self.failures {
            0 | 1 => Micros::ZERO,
            again => Micros(LEAST.0.saturating_mul(1 << (again - 2).min(16)).min(MOST.0)),
        }
    }

    fn quiet_time(&self) -> Micros {
        Micros(self.penalty().0.max(LEAST.0).saturating_mul(QUIET_FACTOR))
    }
}

const LEAST: Micros = Micros::from_secs(1);
const MOST: Micros = Micros::from_secs(60);
/// Quiet for this many penalties, and the link is as good as any other.
const QUIET_FACTOR: u64 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    #[test]
    fn the_first_failure_is_free_and_each_further_one_doubles_up_to_a_minute() {
        let mut link = HoldDown::new();
        assert!(!link.is_held(ms(0)) && link.is_forgiven(ms(0)));
        let mut now = ms(5_000);
        let mut held = Vec::new();
        for _ in 0..10 {
            let until = link.handle_down(now);
            held.push((until - now).as_millis());
            now = until + ms(10);
            assert!(!link.is_held(now));
        }
        assert_eq!(held, [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn it_is_forgiven_after_ten_times_its_penalty() {
        let mut link = HoldDown::new();
        link.handle_down(ms(0));
        link.handle_down(ms(100));
        let until = link.handle_down(ms(200));
        assert_eq!(until, ms(2_200));
        assert!(!link.is_forgiven(ms(200 + 19_999)));
        assert!(link.is_forgiven(ms(200 + 20_000)));
        assert_eq!(link.handle_down(ms(20_200)), ms(20_200), "as if for the first time");
    }

    #[test]
    fn a_quiet_time_that_was_too_short_is_not_forgiven() {
        let mut link = HoldDown::new();
        link.handle_down(ms(0));
        assert_eq!(link.handle_down(ms(9_999)), ms(10_999));
    }

    proptest! {
        /// Whoever brings it up as soon as it is let, and lets it fail right then, does so rarely.
        #[test]
        fn a_link_that_fails_at_any_pace_comes_up_seldom(
            lives in prop::collection::vec(1_u64..3_000, 1..200)
        ) {
            let mut link = HoldDown::new();
            let mut now = Micros::ZERO;
            let mut ups = 0_u64;
            for life in lives {
                now += ms(life);
                now = now.max(link.handle_down(now));
                ups += 1;
            }
            // 1 + 2 + 4 + .. + 32 s, then one a minute, and two before it is held at all.
            prop_assert!(ups <= 9 + now.as_millis() / 60_000, "{ups} times up in {now}");
        }
    }
}
