//! Homes by hash.

use std::{cmp::Ordering, collections::BTreeMap};

use sha2::{Digest, Sha256};

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey, mix};
use crate::RegionId;

/// Rendezvous hashing over the live regions: when a region joins or leaves, only the keys that it gains or had move.
///
/// (D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 6, 1998.) The score of a
/// region for a key is `mix(h ^ mix(region))`, where `h` is the first 8 bytes of the key's SHA-256, big-endian, and `mix`
/// is the finaliser of SplitMix64; the highest score wins.
///
/// With weights the highest `w / -log2(score / 2^64)` wins (the logarithmic method of C. Schindelhauer and G. Schomaker,
/// "Weighted Distributed Hash Tables", SPAA 2005), so a region's share is in proportion to its weight, and a changed
/// weight moves only keys to or from its region. The logarithm is computed in whole numbers, alike on every machine.
/// Weights are counted in thousandths; regions without one have 1, and one of 0 has no keys. With equal weights both rules
/// agree. All of it is part of what stored data depends on and never changes.
#[derive(Clone, Debug, Default)]
pub struct ConsistentHash {
    weights: Weights,
}

#[derive(Clone, Debug, Default)]
enum Weights {
    #[default]
    Equal,
    Listed(BTreeMap<RegionId, f64>),
    /// The capacities of the application's table.
    Capacity,
}

impl ConsistentHash {
    /// Equal shares.
    pub const fn new() -> Self {
        ConsistentHash { weights: Weights::Equal }
    }

    /// Shares in proportion to these weights; a region that is not listed has 1.
    pub fn weighted(weights: impl IntoIterator<Item = (RegionId, f64)>) -> Self {
        ConsistentHash { weights: Weights::Listed(weights.into_iter().collect()) }
    }

    /// Shares in proportion to the capacities that the application's table tells.
    pub const fn by_capacity() -> Self {
        ConsistentHash { weights: Weights::Capacity }
    }

    /// In thousandths.
    fn weight(&self, region: RegionId, view: &FederationView<'_>) -> u64 {
        let weight = match &self.weights {
            Weights::Equal => 1.0,
            Weights::Listed(weights) => weights.get(&region).copied().unwrap_or(1.0),
            Weights::Capacity => view.capacity(region),
        };
        // The conversion saturates, and what is no number is 0.
        u64::from((weight * 1_000.0).round() as u32)
    }
}

impl Delineator for ConsistentHash {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let digest = Sha256::digest(key.bytes());
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        let score = |region: RegionId| mix(hash ^ mix(u64::from(region.get())));
        if matches!(self.weights, Weights::Equal) {
            return view
                .live_regions()
                .max_by_key(|region| (score(*region), *region))
                .ok_or(NoHome::NoLiveRegion);
        }
        view.live_regions()
            .map(|region| Ticket {
                region,
                score: score(region),
                weight: self.weight(region, view),
            })
            .filter(|ticket| ticket.weight > 0)
            .max_by(Ticket::compare)
            .map(|ticket| ticket.region)
            .ok_or(NoHome::NoLiveRegion)
    }

    fn caching(&self) -> Caching {
        Caching::Registry
    }
}

struct Ticket {
    region: RegionId,
    score: u64,
    weight: u64,
}

impl Ticket {
    /// By `weight / -log2(score)`, in whole numbers; ties as without weights.
    fn compare(&self, other: &Self) -> Ordering {
        if self.weight == other.weight {
            return (self.score, self.region).cmp(&(other.score, other.region));
        }
        let ours = u128::from(self.weight) * u128::from(minus_log2(other.score));
        let theirs = u128::from(other.weight) * u128::from(minus_log2(self.score));
        ours.cmp(&theirs).then((self.score, self.region).cmp(&(other.score, other.region)))
    }
}

/// `-log2((score + 1) / 2^64)` with 40 bits behind the point, by squaring the mantissa again and again; at least one unit.
fn minus_log2(score: u64) -> u64 {
    let value = score.max(1);
    let whole = 63 - value.leading_zeros();
    // The mantissa, 1 <= m < 2, with 63 bits behind the point.
    let mut mantissa = value << value.leading_zeros();
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        fraction <<= 1;
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        if square >> 64 != 0 {
            fraction |= 1;
            mantissa = (square >> 1) as u64;
        } else {
            mantissa = square as u64;
        }
    }
    let log2 = (u64::from(whole) << FRACTION_BITS) | fraction;
    ((64_u64 << FRACTION_BITS) - log2).max(1)
}

const FRACTION_BITS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Registry,
        delineation::testing::{federation, home, region},
        delineation::{RegionFacts, RegionTable},
    };

    fn keys() -> Vec<String> {
        (0..4_000).map(|n| format!("user-{n}")).collect()
    }

    fn homes(rule: &ConsistentHash, registry: &Registry) -> Vec<RegionId> {
        keys().into_iter().map(|key| home(rule, key, registry).unwrap()).collect()
    }

    fn shares(homes: &[RegionId]) -> BTreeMap<RegionId, usize> {
        let mut shares = BTreeMap::new();
        homes.iter().for_each(|region| *shares.entry(*region).or_insert(0) += 1);
        shares
    }

    #[test]
    fn consistent_hashing_spreads_evenly_and_moves_only_what_a_newcomer_gains() {
        let rule = ConsistentHash::new();
        let before = homes(&rule, &federation(&[1, 2, 3, 4]));
        let shares = shares(&before);
        assert!(
            shares.len() == 4 && shares.values().all(|share| (850..1_150).contains(share)),
            "{shares:?}"
        );
        let after = homes(&rule, &federation(&[1, 2, 3, 4, 5]));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
        assert!((600..1_000).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|(_, new)| **new == region(5)));
        assert_eq!(home(&rule, "x", &Registry::new()), Err(NoHome::NoLiveRegion));
    }

    #[test]
    fn the_homes_of_known_keys_stay_where_they_are() {
        // Computed from the documented rule by another program; stored data depends on these.
        let registry = federation(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let rule = ConsistentHash::new();
        let homes: Vec<_> = ["", "a", "user-1", "user-2", "room/rust"]
            .map(|key| home(&rule, key, &registry).unwrap().get())
            .into();
        assert_eq!(homes, [5, 6, 5, 8, 3]);
        assert_eq!(home(&rule, b"user-1".to_vec(), &registry), home(&rule, "user-1", &registry));
    }

    #[test]
    fn shares_follow_the_weights() {
        let registry = federation(&[1, 2, 3, 4]);
        let weights = [1.0, 1.0, 2.0, 4.0];
        let listed = weights.iter().zip(1..).map(|(weight, id)| (region(id), *weight));
        let rule = ConsistentHash::weighted(listed);
        let seen = shares(&homes(&rule, &registry));
        for (id, weight) in (1..).zip(weights) {
            let want = 4_000.0 * weight / 8.0;
            let got = seen[&region(id)] as f64;
            assert!((got - want).abs() < want * 0.12 + 20.0, "{id}: {got} of {want}");
        }
        let table = RegionTable::new(
            (1..)
                .zip(weights)
                .map(|(id, weight)| RegionFacts::new(region(id)).capacity(weight))
                .take(4),
        )
        .unwrap();
        let view = FederationView::new(region(1), &registry).with_table(&table);
        for (key, listed) in keys().into_iter().zip(homes(&rule, &registry)) {
            assert_eq!(ConsistentHash::by_capacity().home(&key.into(), &view), Ok(listed));
        }
    }

    #[test]
    fn a_raised_weight_moves_keys_to_its_region_only_and_equal_ones_move_none() {
        let registry = federation(&[1, 2, 3]);
        let plain = homes(&ConsistentHash::new(), &registry);
        let same = ConsistentHash::weighted((1..=3).map(|id| (region(id), 7.0)));
        assert_eq!(homes(&same, &registry), plain);
        let raised = homes(&ConsistentHash::weighted([(region(2), 1.5)]), &registry);
        let moved: Vec<_> = plain.iter().zip(&raised).filter(|(old, new)| old != new).collect();
        assert!(!moved.is_empty() && moved.iter().all(|(_, new)| **new == region(2)));
        let none = ConsistentHash::weighted([(region(2), 0.0), (region(3), f64::NAN)]);
        assert!(homes(&none, &registry).iter().all(|home| *home == region(1)));
    }

    #[test]
    fn the_logarithm_agrees_with_the_floating_one() {
        for score in [0, 1, 2, 3, 1 << 20, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
            let exact = 64.0 - (score.max(1) as f64).log2();
            let ours = minus_log2(score) as f64 / (1_u64 << FRACTION_BITS) as f64;
            assert!((exact - ours).abs() < 1e-9, "{score}: {exact} {ours}");
        }
    }
}
