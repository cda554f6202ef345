//! What happens to each packet of one directed link: the pure part of the emulator.
//!
//! Times are durations since the start of the emulator. Every packet draws the same number of
//! random values whatever the profile says, so that a change of the loss, say, leaves the jitter
//! of all packets as it was.

use std::time::Duration;

use super::profile::{LinkProfile, MAX_BACKLOG_BYTES};
use super::report::DropReason;

/// Packets of one directed link that may be on the way at once.
pub(crate) const MAX_LINK_PACKETS: usize = 65_536;
/// Bytes of one directed link that may be on the way at once: 250 MB/s over 250 ms.
pub(crate) const MAX_LINK_BYTES: usize = 64 << 20;

/// The decision for one packet that came in.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// Send at `due`, and a copy at `copy_due` if that is set.
    Carry {
        due: Duration,
        copy_due: Option<Duration>,
        /// For [`Shaper::exit`], when it is due.
        ticket: Ticket,
    },
    Drop(DropReason),
}

/// What a packet on the way remembers of the profile that it was admitted under.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) struct Ticket(u64);

/// The decision for a packet whose time has come.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Exit {
    /// Send; the delay belongs to the figures of the present profile if `measure` is set.
    Send {
        measure: bool,
    },
    Drop(DropReason),
}

pub(crate) struct Shaper {
    profile: LinkProfile,
    rng: fastrand::Rng,
    /// When the sending end of a link with a rate has sent all it holds.
    idle_at: Duration,
    /// The due time of the packet before, which keeps the order.
    last_due: Duration,
    /// Counts changes of the profile's timing, and cuts.
    epoch: u64,
    /// Packets of an epoch before this were on the way when the link was cut.
    lost_before: u64,
    packets: usize,
    bytes: usize,
}

impl Shaper {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            profile: LinkProfile::default(),
            rng: fastrand::Rng::with_seed(seed),
            idle_at: Duration::ZERO,
            last_due: Duration::ZERO,
            epoch: 0,
            lost_before: 0,
            packets: 0,
            bytes: 0,
        }
    }

    pub(crate) fn profile(&self) -> &LinkProfile {
        &self.profile
    }

    /// Copies that were admitted and have not left.
    pub(crate) fn on_the_way(&self) -> usize {
        self.packets
    }

    /// Takes the profile from here on, and says whether the timing changed. What is on the way
    /// keeps its due time, and later packets do not overtake it; only a cut loses it.
    pub(crate) fn set(&mut self, now: Duration, profile: LinkProfile) -> bool {
        let profile = profile.within_limits();
        let before = std::mem::replace(&mut self.profile, profile);
        let retimed = !before.same_timing(&profile);
        let newly_cut = profile.cut && !before.cut;
        if retimed || newly_cut {
            self.epoch += 1;
        }
        if newly_cut {
            self.lost_before = self.epoch;
            self.idle_at = Duration::ZERO;
            self.last_due = Duration::ZERO;
        } else if before.rate_bytes_per_s != profile.rate_bytes_per_s {
            let waiting = self.backlog_bytes(now, before.rate_bytes_per_s);
            self.idle_at = now.saturating_add(transmit_time(waiting, profile.rate_bytes_per_s));
        }
        retimed
    }

    pub(crate) fn admit(&mut self, now: Duration, len: usize) -> Fate {
        let lost = self.rng.f64() < self.profile.loss;
        let doubled = self.rng.f64() < self.profile.duplicate;
        let swings = [self.rng.f64(), self.rng.f64()];
        if self.profile.cut {
            return Fate::Drop(DropReason::Cut);
        }
        if lost {
            return Fate::Drop(DropReason::Loss);
        }
        let copies = 1 + usize::from(doubled);
        if self.packets.saturating_add(copies) > MAX_LINK_PACKETS
            || self.bytes.saturating_add(copies.saturating_mul(len)) > MAX_LINK_BYTES
        {
            return Fate::Drop(DropReason::TooManyOnTheWay);
        }
        let Some(sent) = self.transmit(now, len) else {
            return Fate::Drop(DropReason::Rate);
        };
        let due = self.arrival(sent, swings[0]);
        let copy_due = doubled.then(|| self.arrival(sent, swings[1]));
        self.packets += copies;
        self.bytes += copies * len;
        Fate::Carry { due, copy_due, ticket: Ticket(self.epoch) }
    }

    /// Decides about a copy whose time has come.
    pub(crate) fn exit(&self, ticket: Ticket) -> Exit {
        if ticket.0 < self.lost_before {
            Exit::Drop(DropReason::Cut)
        } else {
            Exit::Send { measure: ticket.0 == self.epoch }
        }
    }

    /// Ends the way of one copy, sent or dropped. Called once for each that was admitted.
    pub(crate) fn leave(&mut self, len: usize) {
        self.packets = self.packets.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
    }

    /// When the packet has gone out at the link's rate; `None` if the queue before it is full.
    fn transmit(&mut self, now: Duration, len: usize) -> Option<Duration> {
        let rate = self.profile.rate_bytes_per_s;
        if rate.is_none() {
            return Some(now);
        }
        let len = len as u64;
        let waiting = self.backlog_bytes(now, rate);
        if rate == Some(0) || waiting.saturating_add(len) > MAX_BACKLOG_BYTES {
            return None;
        }
        let start = self.idle_at.max(now);
        self.idle_at = start.saturating_add(transmit_time(len, rate));
        Some(self.idle_at)
    }

    fn backlog_bytes(&self, now: Duration, rate: Option<u64>) -> u64 {
        let wait = self.idle_at.saturating_sub(now).as_nanos();
        let bytes = wait.saturating_mul(u128::from(rate.unwrap_or(0))) / NANOS_PER_S;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// `swing` is in 0..1 and spreads evenly over the jitter.
    fn arrival(&mut self, sent: Duration, swing: f64) -> Duration {
        let LinkProfile { delay, jitter, .. } = self.profile;
        let travel =
            (delay + jitter.mul_f64(2.0 * swing)).saturating_sub(jitter).max(self.profile.floor());
        let mut due = sent.saturating_add(travel);
        if !self.profile.reorder {
            due = due.max(self.last_due);
        }
        self.last_due = self.last_due.max(due);
        due
    }
}

fn transmit_time(bytes: u64, rate: Option<u64>) -> Duration {
    let Some(rate) = rate.filter(|rate| *rate > 0) else {
        return Duration::ZERO;
    };
    let nanos = u128::from(bytes) * NANOS_PER_S / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

const NANOS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shaper(profile: LinkProfile) -> Shaper {
        let mut shaper = Shaper::new(7);
        shaper.set(Duration::ZERO, profile);
        shaper
    }

    fn dues(fate: Fate) -> Vec<Duration> {
        match fate {
            Fate::Carry { due, copy_due, .. } => std::iter::once(due).chain(copy_due).collect(),
            Fate::Drop(_) => Vec::new(),
        }
    }

    #[test]
    fn loss_and_duplicates_come_in_the_share_that_was_asked() {
        let mut shaper =
            shaper(LinkProfile { loss: 0.25, duplicate: 0.1, ..LinkProfile::default() });
        let (mut lost, mut doubled) = (0, 0);
        for _ in 0..10_000 {
            match dues(shaper.admit(Duration::ZERO, 1)).len() {
                0 => lost += 1,
                2 => doubled += 1,
                _ => {}
            }
        }
        assert!((2_350..=2_650).contains(&lost), "{lost}");
        assert!((650..=850).contains(&doubled), "{doubled}");
    }

    #[test]
    fn loss_does_not_change_the_jitter_of_the_packets_that_pass() {
        let jittery = LinkProfile {
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(10),
            reorder: true,
            ..LinkProfile::default()
        };
        let mut clean = shaper(jittery);
        let mut lossy = shaper(LinkProfile { loss: 0.5, ..jittery });
        let mut passed = 0;
        for _ in 0..200 {
            let wanted = dues(clean.admit(Duration::ZERO, 1));
            let got = dues(lossy.admit(Duration::ZERO, 1));
            if !got.is_empty() {
                assert_eq!(got, wanted);
                passed += 1;
            }
        }
        assert!((50..150).contains(&passed), "{passed}");
    }

    #[test]
    fn a_rate_spaces_packets_and_drops_past_the_backlog() {
        let mut shaper =
            shaper(LinkProfile { rate_bytes_per_s: Some(1_000_000), ..LinkProfile::default() });
        let mut carried = Vec::new();
        for _ in 0..400 {
            carried.extend(dues(shaper.admit(Duration::ZERO, 1_000)));
        }
        // 262,144 bytes of backlog hold 262 packets of 1,000 bytes, each 1 ms long.
        let wanted: Vec<_> = (1..=262).map(Duration::from_millis).collect();
        assert_eq!(carried, wanted);
        let later = Duration::from_millis(10);
        assert_eq!(dues(shaper.admit(later, 1_000)), [Duration::from_millis(263)]);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_through() {
        let mut shaper =
            shaper(LinkProfile { rate_bytes_per_s: Some(0), ..LinkProfile::default() });
        assert_eq!(shaper.admit(Duration::ZERO, 1), Fate::Drop(DropReason::Rate));
    }

    #[test]
    fn a_cut_loses_what_is_on_the_way_even_if_it_is_mended_before_the_due_time() {
        let clean = LinkProfile::with_delay(Duration::from_millis(100));
        let mut shaper = shaper(clean);
        let Fate::Carry { ticket, .. } = shaper.admit(Duration::ZERO, 10) else {
            panic!("a clean link carries");
        };
        shaper.set(Duration::ZERO, LinkProfile { cut: true, ..clean });
        assert_eq!(shaper.admit(Duration::ZERO, 10), Fate::Drop(DropReason::Cut));
        shaper.set(Duration::ZERO, clean);
        assert_eq!(shaper.exit(ticket), Exit::Drop(DropReason::Cut));
        let Fate::Carry { ticket, .. } = shaper.admit(Duration::ZERO, 10) else {
            panic!("a mended link carries");
        };
        assert_eq!(shaper.exit(ticket), Exit::Send { measure: true });
    }

    #[test]
    fn a_packet_of_an_earlier_delay_is_sent_but_not_measured() {
        let mut shaper = shaper(LinkProfile::with_delay(Duration::from_millis(100)));
        let Fate::Carry { due, ticket, .. } = shaper.admit(Duration::ZERO, 10) else {
            panic!("a clean link carries");
        };
        shaper.set(Duration::ZERO, LinkProfile::with_delay(Duration::from_millis(1)));
        assert_eq!(dues(shaper.admit(Duration::ZERO, 10)), [due]);
        assert_eq!(shaper.exit(ticket), Exit::Send { measure: false });
    }

    #[test]
    fn packets_on_the_way_are_bounded_and_room_comes_back() {
        let mut shaper = shaper(LinkProfile::default());
        for _ in 0..MAX_LINK_PACKETS {
            match shaper.admit(Duration::ZERO, 1) {
                Fate::Carry { .. } => {}
                Fate::Drop(reason) => panic!("{reason:?}"),
            }
        }
        let full = Fate::Drop(DropReason::TooManyOnTheWay);
        assert_eq!(shaper.admit(Duration::ZERO, 1), full);
        shaper.leave(1);
        assert_ne!(shaper.admit(Duration::ZERO, 1), full);
    }

    #[test]
    fn values_out_of_range_are_brought_into_it() {
        let profile = LinkProfile {
            delay: Duration::MAX,
            jitter: Duration::MAX,
            loss: f64::NAN,
            duplicate: 7.0,
            ..LinkProfile::default()
        };
        let mut shaper = shaper(profile);
        let due = dues(shaper.admit(Duration::MAX, usize::MAX >> 1));
        assert!(due.is_empty(), "too long for the link's bound: {due:?}");
        assert_eq!(dues(shaper.admit(Duration::MAX, 1)).len(), 2);
    }

    proptest! {
        #[test]
        fn without_reorder_packets_leave_in_order_and_never_early(
            delay_us in 0_u64..200_000,
            jitter_us in 0_u64..50_000,
            rate in proptest::option::of(1_000_u64..10_000_000),
            duplicate in 0.0..0.5_f64,
            gaps_us in proptest::collection::vec(0_u64..5_000, 1..60),
        ) {
            let profile = LinkProfile {
                delay: Duration::from_micros(delay_us),
                jitter: Duration::from_micros(jitter_us),
                duplicate,
                rate_bytes_per_s: rate,
                ..LinkProfile::default()
            };
            let mut shaper = shaper(profile);
            let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
            for gap_us in gaps_us {
                now += Duration::from_micros(gap_us);
                for due in dues(shaper.admit(now, 500)) {
                    prop_assert!(due >= last);
                    prop_assert!(due >= now + profile.floor());
                    last = due;
                }
            }
        }
    }
}
