//! Lots.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey, mix};
use crate::RegionId;

/// Any live region that can be reached, each as likely as the other. The sequence is decided by the seed.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    drawn: AtomicU64,
}

impl Random {
    /// Draws from this seed on.
    pub const fn seeded(seed: u64) -> Self {
        Random { seed, drawn: AtomicU64::new(0) }
    }
}

impl Delineator for Random {
    type Key = PlaceKey;

    fn home(&self, _: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let draw = mix(self.seed ^ mix(self.drawn.fetch_add(1, Ordering::Relaxed)));
        let count = view.reachable_regions().count() as u64;
        // The bias of the remainder is below count / 2^64.
        let lot = draw.checked_rem(count).and_then(|lot| usize::try_from(lot).ok());
        lot.and_then(|lot| view.reachable_regions().nth(lot)).ok_or(NoHome::NoLiveRegion)
    }

    fn caching(&self) -> Caching {
        Caching::Never
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        Registry,
        delineation::testing::{federation, home},
    };

    #[test]
    fn lots_are_even_and_the_seed_decides_them() {
        let registry = federation(&[1, 2, 3, 4]);
        let draw = |seed| -> Vec<RegionId> {
            let rule = Random::seeded(seed);
            (0..4_000).map(|_| home(&rule, "same key", &registry).unwrap()).collect()
        };
        let drawn = draw(1);
        let mut shares = BTreeMap::new();
        drawn.iter().for_each(|region| *shares.entry(*region).or_insert(0) += 1);
        assert!(
            shares.len() == 4 && shares.values().all(|n| (880..1_120).contains(n)),
            "{shares:?}"
        );
        assert_eq!(draw(1), drawn);
        assert_ne!(draw(2), drawn);
        assert_eq!(home(&Random::seeded(1), 0, &Registry::new()), Err(NoHome::NoLiveRegion));
    }
}
