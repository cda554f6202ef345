//! Round trips measured from the stamps that frames carry anyway.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::{Class, Stamp};

/// The clock of one end of a link, and the peer's last stamp until it is echoed.
pub(crate) struct StampClock {
    start: Instant,
    heard: Mutex<Option<Heard>>,
}

struct Heard {
    sent_us: u32,
    at: Instant,
}

impl StampClock {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, heard: Mutex::new(None) }
    }

    /// The stamp of a frame that is written now. The peer's last stamp is echoed once.
    pub(crate) fn stamp(&self, now: Instant) -> Stamp {
        let heard = self.lock().take();
        let sent_us = self.micros(now);
        let echo = heard.and_then(|heard| {
            let held = now.saturating_duration_since(heard.at);
            let held_us = u32::try_from(held.as_micros()).ok()?;
            (held <= OLDEST).then_some((heard.sent_us, held_us))
        });
        match echo {
            Some((echo_us, held_us)) => Stamp { sent_us, echo_us, held_us },
            None => Stamp { sent_us, ..Stamp::EMPTY },
        }
    }

    /// Takes note of a stamp that arrived, and gives the round trip if it is an echo of ours.
    pub(crate) fn arrive(&self, now: Instant, class: Class, stamp: Stamp) -> Option<u32> {
        // A bulk frame waits behind megabytes in its own stream between stamp and wire; its stamp
        // tells how long that queue is, and nothing about the path.
        if class != Class::Bulk {
            *self.lock() = Some(Heard { sent_us: stamp.sent_us, at: now });
        }
        if stamp.held_us == Stamp::NO_ECHO {
            return None;
        }
        let since = self.micros(now).wrapping_sub(stamp.echo_us);
        let sample = since.wrapping_sub(stamp.held_us);
        (u128::from(sample) <= OLDEST.as_micros()).then_some(sample)
    }

    fn micros(&self, now: Instant) -> u32 {
        // Wraps on purpose, every 71 minutes.
        now.saturating_duration_since(self.start).as_micros() as u32
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stamps and samples above this are not believed.
const OLDEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_round_trip_is_the_time_away_less_the_time_held() {
        let start = Instant::now();
        // Clocks of different ages: only differences on one's own clock count.
        let (here, there) = (StampClock::new(start), StampClock::new(start - ms(98_765)));
        let out = here.stamp(start + ms(1_000));
        assert_eq!(out.held_us, Stamp::NO_ECHO);
        assert_eq!(there.arrive(start + ms(1_030), Class::Message, out), None);
        let back = there.stamp(start + ms(1_530));
        assert_eq!(here.arrive(start + ms(1_560), Class::Control, back), Some(60_000));
    }

    #[test]
    fn a_round_trip_over_the_wrap_of_the_clock_is_measured_the_same() {
        let start = Instant::now();
        let (here, there) = (StampClock::new(start), StampClock::new(start));
        let wrap = Duration::from_micros(1 << 32);
        let out = here.stamp(start + wrap - ms(10));
        there.arrive(start + wrap - ms(5), Class::Control, out);
        let back = there.stamp(start + wrap + ms(2));
        assert_eq!(here.arrive(start + wrap + ms(8), Class::Control, back), Some(11_000));
    }

    #[test]
    fn a_stamp_is_echoed_once_and_never_from_bulk() {
        let start = Instant::now();
        let (here, there) = (StampClock::new(start), StampClock::new(start));
        there.arrive(start + ms(1), Class::Bulk, here.stamp(start));
        assert_eq!(there.stamp(start + ms(2)).held_us, Stamp::NO_ECHO);
        there.arrive(start + ms(3), Class::Message, here.stamp(start));
        assert_eq!(there.stamp(start + ms(4)).held_us, 1_000);
        assert_eq!(there.stamp(start + ms(5)).held_us, Stamp::NO_ECHO);
    }

    #[test]
    fn nonsense_and_old_stamps_give_no_sample() {
        let start = Instant::now();
        let clock = StampClock::new(start);
        let from_the_future = Stamp { sent_us: 1, echo_us: 5_000_000, held_us: 0 };
        assert_eq!(clock.arrive(start + ms(1_000), Class::Control, from_the_future), None);
        let held_for_ever = Stamp { sent_us: 1, echo_us: 0, held_us: u32::MAX - 1 };
        assert_eq!(clock.arrive(start, Class::Control, held_for_ever), Some(2));
        assert_eq!(
            clock.arrive(start + ms(61_000), Class::Control, Stamp { held_us: 0, ..held_for_ever }),
            None
        );
        let minute_later = clock.stamp(start + ms(122_000));
        assert_eq!(minute_later.held_us, Stamp::NO_ECHO);
    }
}
