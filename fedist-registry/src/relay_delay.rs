//! How long frames in transit stay in this region.

use crate::{LinkCost, Micros};

/// The time from receiving a frame to sending it on, as a histogram that forgets.
///
/// Four buckets per octave, so a value is known to 25 %; counts halve every 10 s, so the last half minute is what counts.
#[derive(Clone, Debug)]
pub struct RelayDelay {
    counts: [u32; BUCKETS],
    decayed_at: Micros,
}

impl RelayDelay {
    /// Nothing was relayed yet.
    pub fn new() -> Self {
        RelayDelay { counts: [0; BUCKETS], decayed_at: Micros::ZERO }
    }

    /// Takes the delay of one frame.
    pub fn record(&mut self, now: Micros, delay_us: u32) {
        self.decay(now);
        if let Some(count) = self.counts.get_mut(bucket(delay_us)) {
            *count = count.saturating_add(1);
        }
    }

    /// What nine of ten frames stay below; 50 µs until [`ENOUGH`](Self::ENOUGH) frames were seen.
    pub fn p90_us(&self) -> u32 {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        if total < Self::ENOUGH {
            return BASE_US;
        }
        let wanted = (total * 9).div_ceil(10);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return upper_bound_us(index);
            }
        }
        BASE_US
    }

    /// Frames that must be in the histogram before it is believed.
    pub const ENOUGH: u64 = 16;

    /// What to advertise: the p90, stretched by 1/(1−u) at a utilisation of `u`, taken as 0.95 at most.
    pub fn advertised(&self, utilisation: f64) -> LinkCost {
        let busy = if utilisation.is_nan() { 0.0 } else { utilisation.clamp(0.0, 0.95) };
        LinkCost::from_micros((f64::from(self.p90_us()) / (1.0 - busy)).round() as u64)
    }

    fn decay(&mut self, now: Micros) {
        let halvings = (now - self.decayed_at).0 / HALF_LIFE.0;
        if halvings == 0 {
            return;
        }
        for count in &mut self.counts {
            *count = count.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
        }
        self.decayed_at += Micros(halvings.saturating_mul(HALF_LIFE.0));
    }
}

impl Default for RelayDelay {
    fn default() -> Self {
        Self::new()
    }
}

const BASE_US: u32 = 50;
const HALF_LIFE: Micros = Micros::from_secs(10);
/// 0 to 3 have a bucket each; each of the 30 octaves from 4 up has four.
const BUCKETS: usize = 4 + 30 * 4;

fn bucket(us: u32) -> usize {
    if us < 4 {
        return us as usize;
    }
    let octave = us.ilog2();
    let quarter = (us >> (octave - 2)) & 3;
    (4 * (octave - 1) + quarter) as usize
}

/// The largest value that falls into a bucket.
fn upper_bound_us(index: usize) -> u32 {
    let index = index as u64;
    if index < 4 {
        return index as u32;
    }
    let bound = ((5 + index % 4) << (index / 4 - 1)) - 1;
    u32::try_from(bound).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_frames_are_not_believed() {
        let mut delay = RelayDelay::new();
        for _ in 0..15 {
            delay.record(Micros(1), 9_000);
            assert_eq!(delay.p90_us(), 50);
        }
        delay.record(Micros(1), 9_000);
        assert!(delay.p90_us() >= 9_000);
    }

    #[test]
    fn an_outlier_does_not_count_and_every_tenth_does() {
        let mut delay = RelayDelay::new();
        for frame in 0..100 {
            delay.record(Micros(1), if frame % 20 == 0 { 100_000 } else { 100 });
        }
        assert!((100..128).contains(&delay.p90_us()), "{}", delay.p90_us());
        for _ in 0..20 {
            delay.record(Micros(1), 100_000);
        }
        assert!(delay.p90_us() >= 100_000);
    }

    #[test]
    fn a_slow_past_is_forgotten() {
        let mut delay = RelayDelay::new();
        for _ in 0..1_000 {
            delay.record(Micros::ZERO, 50_000);
        }
        for second in 0..60 {
            for _ in 0..20 {
                delay.record(Micros::from_secs(second), 80);
            }
        }
        assert!(delay.p90_us() < 128, "{}", delay.p90_us());
        delay.record(Micros::from_secs(100_000), 80);
        assert_eq!(delay.p90_us(), 50, "after a long pause nothing is known");
    }

    #[test]
    fn a_busy_region_advertises_more_and_never_infinity() {
        let delay = RelayDelay::new();
        assert_eq!(delay.advertised(0.0).as_micros(), 50);
        assert_eq!(delay.advertised(0.5).as_micros(), 100);
        for utilisation in [0.95, 1.0, 7.0, f64::INFINITY] {
            assert_eq!(delay.advertised(utilisation).as_micros(), 1_000);
        }
        assert_eq!(delay.advertised(f64::NAN).as_micros(), 50);
    }

    proptest! {
        #[test]
        fn every_value_is_in_the_bucket_that_says_so(us in any::<u32>()) {
            let index = bucket(us);
            prop_assert!(index < BUCKETS);
            prop_assert!(us <= upper_bound_us(index));
            prop_assert!(index == 0 || us > upper_bound_us(index - 1));
        }

        #[test]
        fn the_p90_is_the_exact_one_to_a_quarter(values in prop::collection::vec(0_u32..1_000_000, 16..200)) {
            let mut delay = RelayDelay::new();
            for us in &values {
                delay.record(Micros(1), *us);
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 9).div_ceil(10) - 1];
            prop_assert!(exact <= delay.p90_us() && u64::from(delay.p90_us()) <= u64::from(exact) * 5 / 4);
        }
    }
}
