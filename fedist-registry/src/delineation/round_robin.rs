//! Turns.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Caching, Delineator, FederationView, NoHome, PlaceKey};
use crate::RegionId;

/// Piece `n` belongs to the live region number `n` modulo their count: even shares, and every piece moves when one joins.
///
/// A key that has only a number is piece `n` itself; others take turns in the order in which they are asked about.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicU64,
}

impl RoundRobin {
    /// Starts with the first live region.
    pub const fn new() -> Self {
        RoundRobin { next: AtomicU64::new(0) }
    }

    /// The home of the next piece, for callers that do not number their own.
    ///
    /// # Errors
    /// [`NoHome::NoLiveRegion`]; the turn is used up then.
    pub fn next(&self, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        nth_live(self.next.fetch_add(1, Ordering::Relaxed), view)
    }
}

impl Delineator for RoundRobin {
    type Key = PlaceKey;

    fn home(&self, piece: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        match piece.get_number() {
            Some(number) if piece.name().is_empty() => nth_live(number, view),
            _ => self.next(view),
        }
    }

    fn caching(&self) -> Caching {
        Caching::Never
    }
}

fn nth_live(piece: u64, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
    let live = view.live_regions().count() as u64;
    let turn = piece.checked_rem(live).and_then(|turn| usize::try_from(turn).ok());
    turn.and_then(|turn| view.live_regions().nth(turn)).ok_or(NoHome::NoLiveRegion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Change, Registry,
        delineation::testing::{federation, home, region},
    };

    #[test]
    fn round_robin_deals_pieces_evenly_over_the_live_regions() {
        let mut registry = federation(&[1, 3, 7]);
        let rule = RoundRobin::new();
        let dealt: Vec<_> =
            (0..5_u64).map(|piece| home(&rule, piece, &registry).unwrap().get()).collect();
        assert_eq!(dealt, [1, 3, 7, 1, 3]);
        let dealt: Vec<_> =
            (0..4).map(|_| home(&rule, "named", &registry).unwrap().get()).collect();
        assert_eq!(dealt, [1, 3, 7, 1]);
        registry.propose(1, Change::Leave(region(3))).unwrap();
        assert_eq!(home(&rule, 1, &registry), Ok(region(7)));
        assert_eq!(home(&rule, 0, &Registry::new()), Err(NoHome::NoLiveRegion));
    }
}
