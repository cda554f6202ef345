//! Where the regions are, and how long a packet takes between them.

use crate::RttMatrix;
use crate::cities::CITIES;
use crate::mix::{mix, share};

/// One-way latencies between regions, numbered from 0.
#[derive(Clone, Debug)]
pub struct World {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Generated { places: Vec<Place>, seed: u64 },
    Measured(RttMatrix),
}

/// A generated place.
#[derive(Copy, Clone, Debug)]
struct Place {
    /// On the unit sphere.
    at: [f32; 3],
    access_us: u32,
    city: u16,
}

impl World {
    /// `regions` places around 64 cities.
    ///
    /// A region lies within some 60 km of its city. A packet takes 4.9 µs per km of fibre (refractive index 1.468) over a
    /// cable that is 1.35 to 1.46 times as long as the way on the globe, and for one pair of cities in ten up to 2.26 times: so,
    /// as in the clouds' matrices, a relay pays for about a third of the pairs. On top comes the access delay of both ends:
    /// 0.1 to 0.5 ms in a data centre (four of five regions), 1 to 8 ms elsewhere.
    pub fn generate(regions: usize, seed: u64) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let total: u32 = CITIES.iter().map(|city| city.weight).sum();
        let places = (0..regions).map(|_| {
            let mut ticket = random.u32(0..total);
            let mut index = 0;
            for (at, city) in CITIES.iter().enumerate() {
                index = at;
                if ticket < city.weight {
                    break;
                }
                ticket -= city.weight;
            }
            let city = &CITIES[index.min(CITIES.len() - 1)];
            let (lat, lon) = (city.lat + random.f64() - 0.5, city.lon + (random.f64() - 0.5) * 1.4);
            let access_us =
                if random.u32(0..5) > 0 { random.u32(100..500) } else { random.u32(1_000..8_000) };
            Place { at: on_sphere(lat, lon), access_us, city: index as u16 }
        });
        World { source: Source::Generated { places: places.collect(), seed } }
    }

    /// The places of a measured matrix. Pairs that were not measured have no latency.
    pub fn measured(matrix: RttMatrix) -> World {
        World { source: Source::Measured(matrix) }
    }

    /// How many regions there are.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Generated { places, .. } => places.len(),
            Source::Measured(matrix) => matrix.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time a packet takes from `a` to `b` in µs, without queues; the same as from `b` to `a`. None for a pair that was
    /// not measured and for regions that do not exist.
    pub fn one_way_us(&self, a: usize, b: usize) -> Option<u64> {
        match &self.source {
            Source::Generated { places, seed } => {
                let (from, to) = (places.get(a)?, places.get(b)?);
                let ordered = |x: u64, y: u64| mix(seed ^ mix((x.min(y) << 32) | x.max(y)));
                let cities = ordered(u64::from(from.city), u64::from(to.city));
                Some(travel_us(from, to, cities, ordered(a as u64, b as u64)))
            }
            Source::Measured(matrix) => matrix.one_way_us(a, b),
        }
    }

    /// The number of the city that a generated region belongs to; 0 for measured ones.
    pub(crate) fn city(&self, a: usize) -> usize {
        match &self.source {
            Source::Generated { places, .. } => {
                places.get(a).map_or(0, |place| usize::from(place.city))
            }
            Source::Measured(_) => 0,
        }
    }

    /// How many cities there are.
    pub(crate) fn cities(&self) -> usize {
        match &self.source {
            Source::Generated { .. } => CITIES.len(),
            Source::Measured(_) => 1,
        }
    }
}

fn travel_us(from: &Place, to: &Place, cities: u64, pair: u64) -> u64 {
    let chord: f32 = from.at.iter().zip(&to.at).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    let km = f64::from(2.0 * (chord / 2.0).min(1.0).asin()) * EARTH_KM;
    let mut inflation = 1.35 + 0.10 * share(cities) + 0.01 * share(pair);
    if share(mix(cities)) < 0.1 {
        inflation += 0.8 * share(mix(cities ^ 1));
    }
    let cable = km * FIBRE_US_PER_KM * inflation;
    cable as u64 + u64::from(from.access_us) + u64::from(to.access_us)
}

fn on_sphere(lat: f64, lon: f64) -> [f32; 3] {
    let (lat, lon) = (lat.to_radians(), lon.to_radians());
    [(lat.cos() * lon.cos()) as f32, (lat.cos() * lon.sin()) as f32, lat.sin() as f32]
}

const EARTH_KM: f64 = 6_371.0;
const FIBRE_US_PER_KM: f64 = 4.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_symmetrical_and_like_those_of_the_earth() {
        let world = World::generate(300, 7);
        let mut longest = 0;
        for a in 0..300 {
            for b in 0..a {
                let there = world.one_way_us(a, b).unwrap();
                assert_eq!(Some(there), world.one_way_us(b, a));
                assert!(there >= 200, "two access delays at least");
                longest = longest.max(there);
            }
        }
        assert!((120_000..270_000).contains(&longest), "half the globe: {longest} µs");
        assert_eq!(world.one_way_us(0, 300), None);
    }

    #[test]
    fn a_seed_gives_one_world() {
        let (a, b) = (World::generate(50, 3), World::generate(50, 3));
        assert!((0..50).all(|at| a.one_way_us(0, at) == b.one_way_us(0, at)));
        let other = World::generate(50, 4);
        assert!((1..50).any(|at| a.one_way_us(0, at) != other.one_way_us(0, at)));
    }

    #[test]
    fn a_relay_pays_for_some_pairs_as_in_the_clouds() {
        let world = World::generate(80, 1);
        let (mut pairs, mut paying) = (0, 0);
        for a in 0..80 {
            for b in 0..a {
                let direct = world.one_way_us(a, b).unwrap();
                let over = |c| world.one_way_us(a, c).unwrap() + world.one_way_us(c, b).unwrap();
                pairs += 1;
                paying +=
                    u32::from((0..80).filter(|c| *c != a && *c != b).any(|c| over(c) < direct));
            }
        }
        let share = f64::from(paying) / f64::from(pairs);
        assert!((0.1..0.5).contains(&share), "{share}");
    }
}
