//! Round trips measured from the stamps that frames carry anyway.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fedist_registry::ClockSample;

use super::NodeClock;
use crate::wire::{Class, Stamp};

/// The node's clock at one end of a link, and the peer's last stamp until it is echoed.
pub(crate) struct StampClock {
    clock: NodeClock,
    heard: Mutex<Option<Heard>>,
}

struct Heard {
    sent_us: u32,
    at: Instant,
}

impl StampClock {
    pub(super) fn new(clock: NodeClock) -> Self {
        Self { clock, heard: Mutex::new(None) }
    }

    /// The stamp of a frame of `class` that is written now. The peer's last stamp is echoed once, and not by bulk, which
    /// waits in its own stream: the answer would look as old as that queue is long.
    pub(crate) fn stamp(&self, now: Instant, class: Class) -> Stamp {
        let heard = if class == Class::Bulk { None } else { self.lock().take() };
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

    /// Takes note of a stamp that arrived, and gives the exchange if it is an echo of ours.
    pub(crate) fn arrive(&self, now: Instant, class: Class, stamp: Stamp) -> Option<ClockSample> {
        // A bulk frame waits behind megabytes in its own stream between stamp and wire; its stamp
        // tells how long that queue is, and nothing about the path.
        if class != Class::Bulk {
            *self.lock() = Some(Heard { sent_us: stamp.sent_us, at: now });
        }
        if stamp.held_us == Stamp::NO_ECHO {
            return None;
        }
        let sample = ClockSample {
            sent_us: stamp.echo_us,
            peer_received_us: stamp.sent_us.wrapping_sub(stamp.held_us),
            peer_sent_us: stamp.sent_us,
            received_us: self.micros(now),
        };
        (u128::from(sample.round_trip_us()) <= OLDEST.as_micros()).then_some(sample)
    }

    fn micros(&self, now: Instant) -> u32 {
        // Wraps on purpose, every 71 minutes.
        self.clock.reading(now) as u32
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

    fn rtt(sample: ClockSample) -> u32 {
        sample.round_trip_us()
    }

    #[test]
    fn a_round_trip_is_the_time_away_less_the_time_held() {
        let start = Instant::now();
        // Clocks of different ages: only differences on one's own clock count.
        let (here, there) = (
            StampClock::new(NodeClock::starting(start, 0)),
            StampClock::new(NodeClock::starting(start - ms(98_765), 1 << 40)),
        );
        let out = here.stamp(start + ms(1_000), Class::Message);
        assert_eq!(out.held_us, Stamp::NO_ECHO);
        assert_eq!(there.arrive(start + ms(1_030), Class::Message, out), None);
        let back = there.stamp(start + ms(1_530), Class::Message);
        assert_eq!(here.arrive(start + ms(1_560), Class::Control, back).map(rtt), Some(60_000));
    }

    #[test]
    fn a_round_trip_over_the_wrap_of_the_clock_is_measured_the_same() {
        let start = Instant::now();
        let (here, there) = (
            StampClock::new(NodeClock::starting(start, 0)),
            StampClock::new(NodeClock::starting(start, 0)),
        );
        let wrap = Duration::from_micros(1 << 32);
        let out = here.stamp(start + wrap - ms(10), Class::Message);
        there.arrive(start + wrap - ms(5), Class::Control, out);
        let back = there.stamp(start + wrap + ms(2), Class::Message);
        assert_eq!(here.arrive(start + wrap + ms(8), Class::Control, back).map(rtt), Some(11_000));
    }

    #[test]
    fn a_stamp_is_echoed_once_and_never_from_bulk() {
        let start = Instant::now();
        let (here, there) = (
            StampClock::new(NodeClock::starting(start, 0)),
            StampClock::new(NodeClock::starting(start, 0)),
        );
        there.arrive(start + ms(1), Class::Bulk, here.stamp(start, Class::Message));
        assert_eq!(there.stamp(start + ms(2), Class::Message).held_us, Stamp::NO_ECHO);
        there.arrive(start + ms(3), Class::Message, here.stamp(start, Class::Message));
        assert_eq!(there.stamp(start + ms(4), Class::Message).held_us, 1_000);
        assert_eq!(there.stamp(start + ms(5), Class::Message).held_us, Stamp::NO_ECHO);
    }

    #[test]
    fn nonsense_and_old_stamps_give_no_sample() {
        let start = Instant::now();
        let clock = StampClock::new(NodeClock::starting(start, 0));
        let from_the_future = Stamp { sent_us: 1, echo_us: 5_000_000, held_us: 0 };
        assert_eq!(clock.arrive(start + ms(1_000), Class::Control, from_the_future), None);
        let held_for_ever = Stamp { sent_us: 1, echo_us: 0, held_us: u32::MAX - 1 };
        assert_eq!(clock.arrive(start, Class::Control, held_for_ever).map(rtt), Some(2));
        assert_eq!(
            clock.arrive(start + ms(61_000), Class::Control, Stamp { held_us: 0, ..held_for_ever }),
            None
        );
        let minute_later = clock.stamp(start + ms(122_000), Class::Message);
        assert_eq!(minute_later.held_us, Stamp::NO_ECHO);
    }
}
