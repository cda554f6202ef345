//! How far the clock at the other end of a link is from the own one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Micros;

/// Bounds of the difference between two clocks, in µs: positive where the other one is ahead. `low <= high`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockInterval {
    /// The difference is at least this.
    pub low: i64,
    /// And at most this.
    pub high: i64,
}

impl ClockInterval {
    /// A clock compared with itself.
    pub const ZERO: ClockInterval = ClockInterval { low: 0, high: 0 };

    /// Whether it may be used at all; what comes from a peer must be asked.
    pub fn is_valid(self) -> bool {
        self.low <= self.high && self.low >= -MOST && self.high <= MOST
    }

    /// The middle: the estimate.
    pub fn offset_us(self) -> i64 {
        self.low.midpoint(self.high)
    }

    /// How far the true difference is from the middle at most.
    pub fn error_us(self) -> u64 {
        self.high.abs_diff(self.low).div_ceil(2)
    }

    /// The difference `a → c` from `a → b` (this one) and `b → c`.
    pub fn then(self, next: ClockInterval) -> ClockInterval {
        ClockInterval {
            low: self.low.saturating_add(next.low),
            high: self.high.saturating_add(next.high),
        }
    }

    /// What is known of it `age` later, as both clocks may have drifted.
    pub fn aged(self, age: Micros) -> ClockInterval {
        let drift = i64::try_from(age.0 / 1_000_000 * DRIFT_PPM)
            .unwrap_or(MOST)
            .saturating_add((age.0 % 1_000_000 * DRIFT_PPM).div_ceil(1_000_000) as i64);
        ClockInterval { low: self.low.saturating_sub(drift), high: self.high.saturating_add(drift) }
    }

    /// What both allow; none if they contradict each other.
    pub fn intersection(self, other: ClockInterval) -> Option<ClockInterval> {
        let both = ClockInterval { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    /// What either allows, and all in between.
    pub fn hull(self, other: ClockInterval) -> ClockInterval {
        ClockInterval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// One exchange of stamps as in NTP (RFC 5905, section 8): the low 32 bits of four readings, in µs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ClockSample {
    /// T1, own clock: our stamp was written.
    pub sent_us: u32,
    /// T2, the peer's clock: it was read there.
    pub peer_received_us: u32,
    /// T3, the peer's clock: its answer was written.
    pub peer_sent_us: u32,
    /// T4, own clock: the answer was read here.
    pub received_us: u32,
}

impl ClockSample {
    /// The time away less the time held, T4 − T1 − (T3 − T2), modulo 2^32.
    pub fn round_trip_us(self) -> u32 {
        let away = self.received_us.wrapping_sub(self.sent_us);
        away.wrapping_sub(self.peer_sent_us.wrapping_sub(self.peer_received_us))
    }
}

/// Follows the difference between the clocks at the two ends of one link.
///
/// An exchange bounds it without any assumption about the path: nothing arrives before it was sent, so the difference is at
/// most T2 − T1 and at least T3 − T4, an interval as wide as the round trip. The last eight intervals, a second apart
/// or more, are widened by 100 ppm of their age (two clocks of 50 ppm each) and intersected, which is the minimum filter of
/// NTP with its error bound. Intervals that contradict the newest one are dropped: a clock was set, or a machine slept.
///
/// Stamps have 32 bits and wrap every 71 minutes. Which turn they are in follows from full readings that the two ends tell
/// each other; before the first one nothing is known.
#[derive(Clone, Debug, Default)]
pub struct LinkClock {
    /// The peer's reading less the own one, to some seconds.
    coarse: Option<i64>,
    kept: VecDeque<Kept>,
}

#[derive(Copy, Clone, Debug)]
struct Kept {
    since: Micros,
    at: Micros,
    interval: ClockInterval,
}

impl LinkClock {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the peer's whole reading, as it came in a message at `own` by the own clock.
    pub fn set_readings(&mut self, own: u64, peer: u64) {
        let difference = (i128::from(peer) - i128::from(own)).clamp(-i128::from(MOST), MOST.into());
        let difference = i64::try_from(difference).unwrap_or(0);
        if self.coarse.is_none_or(|coarse| coarse.abs_diff(difference) > HALF_TURN) {
            self.coarse = Some(difference);
            self.kept.clear();
        }
    }

    /// Takes an exchange.
    pub fn sample(&mut self, now: Micros, sample: ClockSample) {
        let Some(coarse) = self.coarse else {
            return;
        };
        let away = sample.received_us.wrapping_sub(sample.sent_us);
        let held = sample.peer_sent_us.wrapping_sub(sample.peer_received_us);
        // An answer that was held for longer than it was away is a lie, or older than half a turn.
        let Some(delay) = away.checked_sub(held).filter(|delay| *delay <= LONGEST_US) else {
            return;
        };
        let low = sample.peer_sent_us.wrapping_sub(sample.received_us);
        let low = coarse + i64::from(low.wrapping_sub(coarse as u32) as i32);
        let interval =
            ClockInterval { low: low - ROUNDING_US, high: low + i64::from(delay) + ROUNDING_US };
        match self.kept.back_mut().filter(|last| now - last.since < SPACING) {
            Some(last) => {
                let before = last.interval.aged(now - last.at);
                last.interval = before.intersection(interval).unwrap_or(interval);
                last.at = now;
            }
            None => {
                if self.kept.len() == KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back(Kept { since: now, at: now, interval });
            }
        }
        let Some(newest) = self.kept.back().copied() else {
            return;
        };
        // Backwards in time, so that one contradiction leaves all that is newer.
        let mut all = newest.interval.aged(now - newest.at);
        let mut agreeing = 0;
        for kept in self.kept.iter().rev() {
            match all.intersection(kept.interval.aged(now - kept.at)) {
                Some(both) => all = both,
                None => break,
            }
            agreeing += 1;
        }
        self.kept.drain(..self.kept.len() - agreeing);
    }

    /// The peer's reading less the own one, at `now`.
    pub fn interval(&self, now: Micros) -> Option<ClockInterval> {
        let mut kept = self.kept.iter().map(|kept| kept.interval.aged(now - kept.at));
        let first = kept.next()?;
        Some(kept.fold(first, |all, next| all.intersection(next).unwrap_or(next)))
    }
}

/// Clocks of 50 ppm each.
const DRIFT_PPM: u64 = 100;
/// Each of the four readings was cut to whole microseconds.
const ROUNDING_US: i64 = 2;
/// Round trips above this are not believed.
const LONGEST_US: u32 = 60_000_000;
/// Half of the time after which stamps repeat.
const HALF_TURN: u64 = 1 << 31;
/// Differences above this are not believed: 9,000 years.
const MOST: i64 = 1 << 58;
const KEPT: usize = 8;
const SPACING: Micros = Micros::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An exchange at `at` with a clock that is `ahead`, held for 7 ms.
    fn exchange(at: u64, ahead: i64, forth: u64, back: u64) -> ClockSample {
        let peer = |own: u64| own.wrapping_add_signed(ahead) as u32;
        ClockSample {
            sent_us: at as u32,
            peer_received_us: peer(at + forth),
            peer_sent_us: peer(at + forth + 7_000),
            received_us: (at + forth + 7_000 + back) as u32,
        }
    }

    fn started(own: u64, ahead: i64) -> LinkClock {
        let mut clock = LinkClock::new();
        clock.set_readings(own, own.wrapping_add_signed(ahead));
        clock
    }

    #[test]
    fn a_symmetric_path_gives_the_difference_and_half_the_round_trip_as_its_error() {
        let mut clock = started(0, 123_456_789_000);
        clock.sample(Micros(0), exchange(0, 123_456_789_000, 10_000, 10_000));
        let seen = clock.interval(Micros(0)).unwrap();
        assert_eq!((seen.offset_us(), seen.error_us()), (123_456_789_000, 10_002));
    }

    #[test]
    fn a_fast_exchange_tells_more_than_slow_ones_until_it_is_old() {
        let mut clock = started(0, -5_000);
        for second in 0..8 {
            let way = if second == 2 { 500 } else { 40_000 };
            clock.sample(Micros::from_secs(second), exchange(second * 1_000_000, -5_000, way, way));
        }
        let error = clock.interval(Micros::from_secs(7)).unwrap().error_us();
        assert!((500..=502 + 500).contains(&error), "half a millisecond and five seconds: {error}");
        for second in 8..20 {
            clock.sample(
                Micros::from_secs(second),
                exchange(second * 1_000_000, -5_000, 40_000, 40_000),
            );
        }
        assert!(clock.interval(Micros::from_secs(20)).unwrap().error_us() > 39_000);
    }

    #[test]
    fn the_bound_grows_with_the_time_since_the_last_exchange() {
        let mut clock = started(0, 0);
        clock.sample(Micros(0), exchange(0, 0, 1_000, 1_000));
        assert_eq!(clock.interval(Micros::from_secs(10)).unwrap().error_us(), 1_002 + 1_000);
    }

    #[test]
    fn nothing_is_claimed_before_a_full_reading_and_of_impossible_stamps() {
        let mut clock = LinkClock::new();
        clock.sample(Micros(0), exchange(0, 0, 10, 10));
        assert_eq!(clock.interval(Micros(0)), None);
        clock.set_readings(0, 0);
        let held_longer_than_away =
            ClockSample { sent_us: 0, peer_received_us: 0, peer_sent_us: 50, received_us: 10 };
        clock.sample(Micros(0), held_longer_than_away);
        assert_eq!(clock.interval(Micros(0)), None);
    }

    #[test]
    fn a_clock_that_was_set_is_followed_at_once() {
        let mut clock = started(0, 0);
        for second in 0..8 {
            clock.sample(Micros::from_secs(second), exchange(second * 1_000_000, 0, 500, 500));
        }
        clock.sample(Micros::from_secs(9), exchange(9_000_000, 60_000_000, 500, 500));
        assert_eq!(clock.interval(Micros::from_secs(9)).unwrap().offset_us(), 60_000_000);
    }

    proptest! {
        #[test]
        fn the_true_difference_is_always_within_the_bound(
            start in 0_u64..1 << 50,
            ahead in -(1_i64 << 50)..1 << 50,
            off_by in -1_000_000_000_i64..1_000_000_000,
            steps in prop::collection::vec((1_u64..20_000_000, 0_u64..400_000, 0_u64..400_000), 1..40),
        ) {
            // The full reading comes with a message that may have waited, and counts for nothing but the turn.
            let mut clock = LinkClock::new();
            clock.set_readings(start, (start as i64 + ahead + off_by).max(0) as u64);
            prop_assume!(start as i64 + ahead + off_by >= 0);
            let mut at = start;
            for (pause, forth, back) in steps {
                at += pause;
                let now = at + forth + 7_000 + back;
                clock.sample(Micros(now), exchange(at, ahead, forth, back));
                let seen = clock.interval(Micros(now)).unwrap();
                prop_assert!(seen.low <= ahead && ahead <= seen.high, "{ahead} in {seen:?}");
                prop_assert!(seen.error_us() <= (forth + back) / 2 + 3);
                at = now;
            }
        }

        #[test]
        fn any_stamps_and_readings_are_harmless(
            steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<[u32; 4]>()), 1..40),
        ) {
            let mut clock = LinkClock::new();
            for (own, peer, [sent_us, peer_received_us, peer_sent_us, received_us]) in steps {
                clock.set_readings(own, peer);
                clock.sample(Micros(own), ClockSample { sent_us, peer_received_us, peer_sent_us, received_us });
                prop_assert!(clock.kept.len() <= KEPT);
                prop_assert!(clock.interval(Micros(own)).is_none_or(|seen| seen.low <= seen.high));
            }
        }
    }
}
