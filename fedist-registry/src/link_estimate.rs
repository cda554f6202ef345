//! What the round trips on one link say about it.

use std::cmp::Ordering;

use crate::{LinkCost, Micros};

/// Smooths the round-trip times of one link and turns them into its cost.
///
/// Mean and deviation follow RFC 6298 (gains 1/8 and 1/4). On a link that is measured rarely a change would take many probes
/// to be seen: where two samples in a row are off by more than a quarter of the mean, and to the same side, the gain of the
/// mean is the time since the last one over 4 s, up to 1/3, that of the deviation the double. A single outlier never counts
/// for more than 1/8. The minimum is over two windows of 30 s that take turns, so it
/// forgets a faster past within a minute, and a link that went quiet keeps its last value. A window with fewer than four
/// samples lasts longer, two minutes at most: of the two that an idle link is probed for in 30 s both may be late.
///
/// The cost of one direction is `P + Q`, plus what losses cost:
///
/// - `P` propagation: half the minimum;
/// - `Q` queueing: half of (mean − minimum), counted up to 50 ms, times a weight: 0.3 while the link is steady, rising to 1
///   as the deviation goes from 25 % to 100 % of the mean. So a small standing queue makes nobody change routes, an
///   unsteady link is priced in full;
/// - lost share × (mean + 3 deviations).
///
/// While the own region is short of processor time its own queue is in every sample
/// ([`set_own_queue`](Self::set_own_queue)): then only the minimum and the losses count, and the mean begins at the minimum
/// when that is over.
#[derive(Clone, Debug, Default)]
pub struct LinkEstimate {
    /// Mean and deviation with 8 bits of fraction, enough for the gains to work on round trips of a few microseconds.
    smoothed: Option<Smoothed>,
    window_start: Micros,
    window_min: Option<u32>,
    window_samples: u32,
    previous_min: Option<u32>,
    loss_permille: u16,
    samples: u64,
    sampled_at: Micros,
    /// The side on which the last sample was far off the mean, if it was.
    off_side: Option<Ordering>,
    /// Whether what seems to be the link's queue is the own region's.
    own_queue: bool,
}

#[derive(Copy, Clone, Debug)]
struct Smoothed {
    mean_x256: u64,
    deviation_x256: u64,
}

impl LinkEstimate {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a measured round trip.
    pub fn sample(&mut self, now: Micros, rtt_us: u32) {
        self.samples = self.samples.saturating_add(1);
        let rtt = u64::from(rtt_us) << 8;
        let pause = now - self.sampled_at;
        let gain = self.gain(now, rtt);
        let mix = |old: u64, new: u64, gain: u64| (old * (256 - gain) + new * gain + 128) >> 8;
        self.smoothed = Some(match self.smoothed {
            None => Smoothed { mean_x256: rtt, deviation_x256: rtt / 2 },
            Some(Smoothed { mean_x256, deviation_x256 }) => Smoothed {
                mean_x256: mix(mean_x256, rtt, gain),
                deviation_x256: mix(deviation_x256, mean_x256.abs_diff(rtt), 2 * gain),
            },
        });
        self.rotate(now, pause);
        self.window_min = Some(self.window_min.map_or(rtt_us, |min| min.min(rtt_us)));
        self.window_samples = self.window_samples.saturating_add(1);
    }

    /// Says what share of packets is lost, in thousandths; the shell reads it from the transport's own statistics.
    pub fn set_loss_permille(&mut self, permille: u16) {
        self.loss_permille = permille.min(1_000);
    }

    /// Says whether the own region is what queues; see [`Strain::hides_queues`](crate::Strain::hides_queues). When it no longer
    /// is, the mean is the minimum again. Time-outs are as long as before, since the deviation stays.
    pub fn set_own_queue(&mut self, now: Micros, own_queue: bool) {
        let over = self.own_queue && !own_queue;
        self.own_queue = own_queue;
        if over
            && let Some(min) = self.min_rtt_us(now)
            && let Some(smoothed) = &mut self.smoothed
        {
            smoothed.mean_x256 = u64::from(min) << 8;
            self.off_side = None;
        }
    }

    /// The smoothed round trip; none before the first sample.
    pub fn srtt_us(&self) -> Option<u32> {
        self.smoothed.map(|s| whole(s.mean_x256))
    }

    /// The least round trip of the last 30 to 60 s; on a link that went quiet, of its last time of use.
    pub fn min_rtt_us(&self, now: Micros) -> Option<u32> {
        match (self.window_min, self.previous_min) {
            (Some(min), Some(_)) if self.is_over(now) => Some(min),
            (Some(min), Some(previous)) => Some(min.min(previous)),
            (min, previous) => min.or(previous),
        }
    }

    /// The smoothed deviation of the round trip; zero before the first sample.
    pub fn deviation_us(&self) -> u32 {
        self.smoothed.map_or(0, |s| whole(s.deviation_x256))
    }

    /// How long to wait for the answer to a probe before counting it as missing: mean + 4 deviations + 10 ms for the other
    /// end, which answers at once, to get its turn; at least 15 ms; 300 ms before the first sample.
    pub fn probe_timeout_us(&self) -> u32 {
        match self.srtt_us() {
            None => FIRST_TIMEOUT_US,
            Some(srtt) => {
                let timeout = srtt
                    .saturating_add(self.deviation_us().saturating_mul(4))
                    .saturating_add(ANSWER_DELAY_US);
                timeout.max(LEAST_TIMEOUT_US)
            }
        }
    }

    /// The cost of one direction, without relay delays; none before the first sample.
    pub fn cost(&self, now: Micros) -> Option<LinkCost> {
        let min = u64::from(self.min_rtt_us(now)?);
        Some(LinkCost::from_micros(min / 2 + self.queueing_and_losses_us(now)?))
    }

    /// The part of [`cost`](Self::cost) that is queueing and losses, and not the length of the way.
    pub fn queueing(&self, now: Micros) -> Option<LinkCost> {
        self.queueing_and_losses_us(now).map(LinkCost::from_micros)
    }

    /// What share of packets is lost, in thousandths.
    pub fn loss_permille(&self) -> u16 {
        self.loss_permille
    }

    fn queueing_and_losses_us(&self, now: Micros) -> Option<u64> {
        let mean = u64::from(self.srtt_us()?);
        let min = u64::from(self.min_rtt_us(now)?);
        let deviation = u64::from(self.deviation_us());
        let queueing = (mean.saturating_sub(min) / 2).min(QUEUEING_MAX_US);
        let queueing = match self.own_queue {
            true => 0,
            false => queueing * queueing_weight_permille(mean, deviation) / 1_000,
        };
        let losses = u64::from(self.loss_permille) * (mean + 3 * deviation) / 1_000;
        Some(queueing + losses)
    }

    /// Whether `rtt_us` is far from the mean: by an eighth of it and by 2 ms. A link that carries nothing should then be
    /// measured again soon, or its mean stays wrong until it is probed eight times.
    pub fn contradicts(&self, rtt_us: u32) -> bool {
        self.srtt_us().is_some_and(|mean| mean.abs_diff(rtt_us) > (mean / 8).max(SETTLED_US))
    }

    /// How many round trips were measured.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// What the next sample counts for in the mean, in 256ths.
    fn gain(&mut self, now: Micros, rtt_x256: u64) -> u64 {
        let pause = now - self.sampled_at;
        self.sampled_at = now;
        let mean = self.smoothed.map_or(rtt_x256, |smoothed| smoothed.mean_x256);
        let far = mean.abs_diff(rtt_x256) > mean / 4;
        let side = far.then(|| rtt_x256.cmp(&mean));
        let again = side.is_some() && self.off_side == side;
        self.off_side = side;
        let gain = pause.0.saturating_mul(256) / SLOWEST.0;
        if again { gain.clamp(LEAST_GAIN, MOST_GAIN) } else { LEAST_GAIN }
    }

    fn rotate(&mut self, now: Micros, pause: Micros) {
        if self.window_min.is_none() {
            self.window_start = now;
            return;
        }
        if !self.is_over(now) {
            return;
        }
        // After a pause of a whole window the one that just ended is too old to count.
        self.previous_min = self.window_min.take().filter(|_| pause < WINDOW);
        (self.window_start, self.window_samples) = (now, 0);
    }

    /// Whether the window has lasted long enough for what it measured.
    fn is_over(&self, now: Micros) -> bool {
        let age = now - self.window_start;
        age >= LONGEST || (age >= WINDOW && self.window_samples >= ENOUGH)
    }
}

const WINDOW: Micros = Micros::from_secs(30);
/// Of a window with fewer samples than this.
const LONGEST: Micros = Micros::from_secs(120);
const ENOUGH: u32 = 4;
/// Gains are in 256ths.
const LEAST_GAIN: u64 = 32;
const MOST_GAIN: u64 = 85;
const SLOWEST: Micros = Micros::from_secs(4);
const ANSWER_DELAY_US: u32 = 10_000;
const LEAST_TIMEOUT_US: u32 = 15_000;
const FIRST_TIMEOUT_US: u32 = 300_000;
const SETTLED_US: u32 = 2_000;
const QUEUEING_MAX_US: u64 = 50_000;

fn whole(x256: u64) -> u32 {
    u32::try_from((x256 + 128) >> 8).unwrap_or(u32::MAX)
}

fn queueing_weight_permille(mean: u64, deviation: u64) -> u64 {
    let relative = (deviation * 1_000).checked_div(mean).unwrap_or(0).clamp(250, 1_000);
    300 + (relative - 250) * 700 / 750
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(s: u64) -> Micros {
        Micros::from_secs(s)
    }

    fn steady(rtt_us: u32) -> LinkEstimate {
        let mut estimate = LinkEstimate::new();
        for tick in 0..100 {
            estimate.sample(Micros::from_millis(tick * 100), rtt_us);
        }
        estimate
    }

    #[test]
    fn nothing_is_claimed_before_the_first_sample() {
        let estimate = LinkEstimate::new();
        assert_eq!(
            (estimate.srtt_us(), estimate.min_rtt_us(secs(9)), estimate.cost(secs(9))),
            (None, None, None)
        );
        assert_eq!(
            (estimate.deviation_us(), estimate.probe_timeout_us(), estimate.samples()),
            (0, 300_000, 0)
        );
    }

    #[test]
    fn a_steady_link_costs_half_its_round_trip() {
        let estimate = steady(80_000);
        assert_eq!(estimate.srtt_us(), Some(80_000));
        assert_eq!(estimate.cost(secs(10)), Some(LinkCost::from_micros(40_000)));
        assert_eq!(estimate.probe_timeout_us(), 90_000);
        assert_eq!(steady(500).probe_timeout_us(), 15_000, "the floor");
        assert_eq!(steady(500).cost(secs(10)), Some(LinkCost::from_micros(250)));
    }

    #[test]
    fn the_first_two_samples_are_smoothed_as_in_rfc_6298() {
        let mut estimate = LinkEstimate::new();
        estimate.sample(secs(0), 80_000);
        assert_eq!((estimate.srtt_us(), estimate.deviation_us()), (Some(80_000), 40_000));
        assert_eq!(estimate.probe_timeout_us(), 80_000 + 4 * 40_000 + 10_000);
        estimate.sample(Micros::from_millis(100), 120_000);
        assert_eq!((estimate.srtt_us(), estimate.deviation_us()), (Some(85_000), 40_000));
    }

    #[test]
    fn samples_contradict_the_mean_until_it_has_followed_them() {
        let mut estimate = steady(20_000);
        assert!(!estimate.contradicts(22_000) && estimate.contradicts(23_000));
        let mut samples = 0;
        while estimate.contradicts(200_000) {
            samples += 1;
            estimate.sample(secs(10), 200_000);
        }
        assert!((3..=20).contains(&samples), "{samples} samples");
        assert!(!LinkEstimate::new().contradicts(9), "nothing is known");
    }

    #[test]
    fn a_link_that_is_probed_once_per_second_follows_a_change_within_a_dozen_probes() {
        let mut estimate = LinkEstimate::new();
        for second in 0..100 {
            estimate.sample(secs(second), if second < 20 { 200_000 } else { 20_000 });
            let off = estimate.srtt_us().unwrap() - 20_000;
            assert!(second < 31 || off < 180_000 / 15, "{off} µs off after {second} s");
        }
        assert!(estimate.srtt_us().unwrap() < 20_010 && estimate.deviation_us() < 10);
        // One outlier counts for an eighth, however rare samples are.
        estimate.sample(secs(200), 100_000);
        assert!(estimate.srtt_us().unwrap() < 30_020);
    }

    #[test]
    fn a_minimum_is_forgotten_after_one_to_two_windows() {
        let mut estimate = LinkEstimate::new();
        estimate.sample(secs(0), 10_000);
        for second in 1..=60 {
            estimate.sample(secs(second), 20_000);
            let expected = if second < 60 { 10_000 } else { 20_000 };
            assert_eq!(estimate.min_rtt_us(secs(second)), Some(expected), "after {second} s");
        }
    }

    #[test]
    fn late_answers_on_a_link_that_is_probed_rarely_do_not_change_its_minimum() {
        let mut estimate = LinkEstimate::new();
        for probe in 0..40 {
            let now = secs(15 * probe);
            estimate.sample(now, if probe % 4 == 0 { 40_000 } else { 43_500 });
            assert_eq!(estimate.min_rtt_us(now), Some(40_000), "probe {probe}");
        }
        // One that became longer is believed after two to four minutes.
        for probe in 40..60 {
            let now = secs(15 * probe);
            estimate.sample(now, 43_500);
            let expected = if probe < 56 { None } else { Some(43_500) };
            assert!(expected.is_none() || estimate.min_rtt_us(now) == expected, "probe {probe}");
        }
    }

    #[test]
    fn a_quiet_link_keeps_its_minimum_and_a_pause_forgets_it_at_the_next_sample() {
        let mut estimate = LinkEstimate::new();
        estimate.sample(secs(0), 10_000);
        assert_eq!(estimate.min_rtt_us(secs(500)), Some(10_000));
        estimate.sample(secs(500), 20_000);
        assert_eq!(estimate.min_rtt_us(secs(500)), Some(20_000));
    }

    #[test]
    fn a_standing_queue_is_counted_in_part_and_no_further_than_50_ms() {
        let mut estimate = steady(20_000);
        for tick in 0..200 {
            estimate.sample(secs(10) + Micros::from_millis(tick * 10), 40_000);
        }
        assert_eq!(estimate.cost(secs(12)), Some(LinkCost::from_micros(10_000 + 3_000)));
        for tick in 0..400 {
            estimate.sample(secs(12) + Micros::from_millis(tick * 10), 900_000);
        }
        assert_eq!(estimate.cost(secs(16)), Some(LinkCost::from_micros(10_000 + 15_000)));
    }

    #[test]
    fn an_unsteady_link_costs_more_than_a_steady_one_with_the_same_mean() {
        let mut unsteady = LinkEstimate::new();
        let mut steadier = LinkEstimate::new();
        for tick in 0..400 {
            let now = Micros::from_millis(tick * 10);
            unsteady.sample(now, if tick % 2 == 0 { 10_000 } else { 90_000 });
            steadier.sample(now, if tick == 0 { 10_000 } else { 50_000 });
        }
        assert!(
            unsteady.cost(secs(4))
                > steadier.cost(secs(4)).map(|cost| cost + LinkCost::from_micros(3_000))
        );
    }

    #[test]
    fn losses_cost_the_time_to_send_again() {
        let mut estimate = steady(100_000);
        estimate.set_loss_permille(20);
        assert_eq!(estimate.cost(secs(10)), Some(LinkCost::from_micros(50_000 + 2_000)));
        assert_eq!(estimate.queueing(secs(10)), Some(LinkCost::from_micros(2_000)));
    }

    #[test]
    fn the_regions_own_queue_is_none_of_the_link_while_it_is_there_and_afterwards() {
        let mut estimate = steady(80_000);
        estimate.set_own_queue(secs(10), true);
        for tick in 0..40 {
            let late = if tick % 7 == 0 { 300 } else { 40_000 };
            estimate.sample(secs(10) + Micros::from_millis(tick * 100), 80_000 + late);
        }
        let least = LinkCost::from_micros(40_000);
        assert_eq!(estimate.cost(secs(14)), Some(least));
        let patience = estimate.probe_timeout_us();
        assert!(patience > 120_000, "answers are waited for as long as they take: {patience}");
        estimate.set_own_queue(secs(14), false);
        assert_eq!(estimate.cost(secs(14)), Some(least));
        assert!(estimate.probe_timeout_us() > 100_000, "the deviation stays");
        // From here on a queue is the link's.
        for tick in 0..200 {
            estimate.sample(secs(14) + Micros::from_millis(tick * 10), 100_000);
        }
        assert_eq!(estimate.cost(secs(16)), Some(LinkCost::from_micros(40_000 + 3_000)));
    }

    #[test]
    fn a_queue_that_was_never_its_own_is_not_forgotten() {
        let mut estimate = steady(20_000);
        for tick in 0..200 {
            estimate.sample(secs(10) + Micros::from_millis(tick * 10), 40_000);
        }
        let before = estimate.cost(secs(12));
        estimate.set_own_queue(secs(12), false);
        assert_eq!(estimate.cost(secs(12)), before);
        let mut new = LinkEstimate::new();
        new.set_own_queue(secs(1), true);
        new.set_own_queue(secs(2), false);
        assert_eq!(new.cost(secs(2)), None);
    }

    proptest! {
        #[test]
        fn any_samples_keep_the_estimate_within_what_was_measured(
            samples in prop::collection::vec((0_u64..20_000_000, any::<u32>()), 1..60)
        ) {
            let mut estimate = LinkEstimate::new();
            let mut now = Micros::ZERO;
            for (step, rtt) in &samples {
                now += Micros(*step);
                estimate.sample(now, *rtt);
            }
            let (least, most) = (samples.iter().map(|s| s.1).min().unwrap(), samples.iter().map(|s| s.1).max().unwrap());
            let srtt = estimate.srtt_us().unwrap();
            // Each step may lose a fraction of a microsecond.
            prop_assert!(srtt.saturating_add(1) >= least && srtt <= most.saturating_add(1));
            // The naive minimum over the last 30 s, and over everything.
            let recent = samples.iter().rev().scan(0_u64, |age, (step, rtt)| { let at = *age; *age += step; Some((at, *rtt)) });
            let recent = recent.take_while(|(age, _)| *age < 30_000_000).map(|(_, rtt)| rtt).min().unwrap();
            let min = estimate.min_rtt_us(now).unwrap();
            prop_assert!(least <= min && min <= recent);
            prop_assert!(estimate.cost(now).is_some());
            prop_assert!(estimate.probe_timeout_us() >= 15_000);
        }
    }
}
