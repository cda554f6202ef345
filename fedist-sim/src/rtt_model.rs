//! How the round trips of a link move, and what its region advertises of that.

use fedist_registry::{AdvertPace, LinkEstimate, Micros};

/// A round trip over time: the way itself, a queue that changes with every packet, and now and then another way.
///
/// - jitter: each sample has an exponentially distributed queueing time on top, 2 % of the way + 0.2 ms in the mean; one in a
///   hundred has ten times as much;
/// - shifts: the way changes by 3 to 25 %, up or down, [`shifts_per_hour`](Self::shifts_per_hour) times in the mean, and
///   stays there until the next shift. (Between two slices of the PlanetLab series hours apart one pair in eight moves by
///   more than the advertised threshold; half a shift per hour is far more than that.)
#[derive(Clone, Debug)]
pub struct RttModel {
    way_us: f64,
    base_us: f64,
    /// Shifts of the way per hour, in the mean.
    pub shifts_per_hour: f64,
    random: fastrand::Rng,
}

impl RttModel {
    /// A link with this round trip at first.
    pub fn new(rtt_us: u64, shifts_per_hour: f64, seed: u64) -> RttModel {
        let way_us = rtt_us as f64;
        let random = fastrand::Rng::with_seed(seed);
        RttModel { way_us, base_us: way_us, shifts_per_hour, random }
    }

    /// The round trip of a packet that is sent `since` after the last one, in µs.
    pub fn sample(&mut self, since: Micros) -> u32 {
        let hours = since.0 as f64 / 3.6e9;
        if self.random.f64() < 1.0 - (-hours * self.shifts_per_hour).exp() {
            let by = 0.03 + 0.22 * self.random.f64();
            let by = if self.random.bool() { 1.0 + by } else { 1.0 / (1.0 + by) };
            // Around the first way, so that it does not drift off.
            self.way_us = self.base_us * by;
        }
        let mean = 0.02 * self.way_us + 200.0;
        let mean = if self.random.u32(0..100) == 0 { 10.0 * mean } else { mean };
        let queue = -mean * (1.0 - self.random.f64()).ln();
        (self.way_us + queue).min(f64::from(u32::MAX)) as u32
    }
}

/// What [`advert_rate`] found.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct AdvertRate {
    /// New link states per region and hour, in the mean.
    pub per_hour: f64,
    /// Moves of one direction of one link that were worth telling.
    pub per_link_hour: f64,
    /// Directions of links that were followed.
    pub links: usize,
}

/// How often a region has to say something new about its links: runs the estimate and the advertising rule of the hub (a
/// move by more than max(5 %, 1 ms), at most once per 5 s) over made-up series.
///
/// `links` are the round trips of the links of each followed region, in µs; a sample comes every `interval`, over `span`.
/// The first ten minutes, in which the estimate settles, are not counted.
pub fn advert_rate(
    links: &[Vec<u64>],
    shifts_per_hour: f64,
    interval: Micros,
    span: Micros,
    seed: u64,
) -> AdvertRate {
    let warm_up = Micros::from_secs(600);
    let (mut states, mut moves, mut followed) = (0_u64, 0_u64, 0);
    for (region, rtts) in links.iter().enumerate() {
        let ends = rtts.iter().enumerate().map(|(link, rtt)| {
            let seed = crate::mix::mix(seed ^ ((region as u64) << 16) ^ link as u64);
            Followed {
                model: RttModel::new(*rtt, shifts_per_hour, seed),
                estimate: LinkEstimate::new(),
                pace: AdvertPace::proven(),
            }
        });
        let mut ends: Vec<Followed> = ends.collect();
        followed += ends.len();
        let mut now = Micros::ZERO;
        while now < span + warm_up {
            now += interval;
            let mut wanting = 0;
            for end in &mut ends {
                end.estimate.sample(now, end.model.sample(interval));
                let cost = end.estimate.cost(now);
                wanting += u64::from(cost.is_some_and(|cost| end.pace.wants(now, cost)));
            }
            if wanting == 0 {
                continue;
            }
            // One state says all links anew.
            for end in &mut ends {
                if let Some(cost) = end.estimate.cost(now) {
                    end.pace.record(now, cost);
                }
            }
            if now > warm_up {
                states += 1;
                moves += wanting;
            }
        }
    }
    let hours = span.0 as f64 / 3.6e9;
    AdvertRate {
        per_hour: states as f64 / links.len().max(1) as f64 / hours,
        per_link_hour: moves as f64 / followed.max(1) as f64 / hours,
        links: followed,
    }
}

struct Followed {
    model: RttModel,
    estimate: LinkEstimate,
    pace: AdvertPace,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Micros = Micros::from_secs(3_600);

    #[test]
    fn jitter_alone_is_rarely_advertised_and_shifts_are() {
        let links = vec![vec![40_000, 90_000, 3_000, 150_000]; 5];
        let calm = advert_rate(&links, 0.0, Micros::from_secs(2), HOUR, 1);
        assert!(calm.per_link_hour < 5.0, "of 1,800 samples: {calm:?}");
        let shifting = advert_rate(&links, 4.0, Micros::from_secs(2), HOUR, 1);
        assert!(shifting.per_link_hour > calm.per_link_hour + 0.5, "{shifting:?}");
        assert!(shifting.per_hour <= 4.0 * shifting.per_link_hour + 1e-9);
        assert_eq!(shifting.links, 20);
    }

    #[test]
    fn samples_stay_around_the_way() {
        let mut model = RttModel::new(100_000, 1.0, 9);
        for _ in 0..10_000 {
            let rtt = model.sample(Micros::from_secs(1));
            assert!((79_000..700_000).contains(&rtt), "{rtt}");
        }
    }
}
