//! Which region serves ids whose upper bits name another one, after a region was split.

use serde::{Deserialize, Serialize};

use crate::{LocalId, RegionId};

/// A range of one region's ids, and who serves it.
///
/// Ids never change: a pid or record id of the range keeps its text and its bits, and names the same actor or record.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forwarding {
    /// The region in the ids' upper bits.
    pub from: RegionId,
    /// The first local id of the range.
    pub first: LocalId,
    /// The last local id of the range, itself included.
    pub last: LocalId,
    /// Who serves the range; never `from` itself.
    pub to: RegionId,
}

impl Forwarding {
    /// Ranges that one region may have given away, at most; neighbouring ones of the same receiver count once.
    pub const MAX_PER_REGION: usize = 64;

    /// Whether the range has this id.
    pub fn covers(&self, region: RegionId, local: LocalId) -> bool {
        self.from == region && self.first <= local && local <= self.last
    }
}

/// Lays `new` over the ranges of one region, which are sorted and do not overlap; what it covers of them goes. With `to`
/// equal to `from` the range goes back to its region. Gives sorted ranges again, neighbours of one receiver joined.
pub(crate) fn overlay(ranges: &[Forwarding], new: Forwarding) -> Vec<Forwarding> {
    let mut laid = Vec::with_capacity(ranges.len() + 2);
    for range in ranges {
        if range.last < new.first || range.first > new.last {
            laid.push(*range);
            continue;
        }
        // What sticks out on either side stays. The neighbours exist: the range reaches past `new` there.
        if range.first < new.first
            && let Ok(last) = LocalId::new(new.first.get() - 1)
        {
            laid.push(Forwarding { last, ..*range });
        }
        if range.last > new.last
            && let Ok(first) = LocalId::new(new.last.get() + 1)
        {
            laid.push(Forwarding { first, ..*range });
        }
    }
    if new.to != new.from {
        laid.push(new);
    }
    laid.sort_unstable_by_key(|range| range.first);
    laid.dedup_by(|next, before| {
        let adjoins = before.to == next.to && before.last.get() + 1 == next.first.get();
        if adjoins {
            before.last = next.last;
        }
        adjoins
    });
    laid
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, last: u64, to: u16) -> Forwarding {
        Forwarding {
            from: RegionId::MIN,
            first: LocalId::new(first).unwrap(),
            last: LocalId::new(last).unwrap(),
            to: RegionId::new(to).unwrap(),
        }
    }

    #[test]
    fn a_range_in_the_middle_of_another_splits_it() {
        let laid = overlay(&[range(10, 30, 2)], range(15, 20, 3));
        assert_eq!(laid, [range(10, 14, 2), range(15, 20, 3), range(21, 30, 2)]);
        assert_eq!(overlay(&laid, range(15, 20, 2)), [range(10, 30, 2)], "and back again");
        assert_eq!(overlay(&laid, range(1, 40, 1)), [], "all goes back to its region");
    }

    #[test]
    fn the_last_id_of_all_can_be_given_away() {
        let all = range(1, LocalId::MAX.get(), 2);
        let end = range(LocalId::MAX.get(), LocalId::MAX.get(), 3);
        assert_eq!(overlay(&[all], end), [range(1, LocalId::MAX.get() - 1, 2), end]);
    }

    proptest! {
        #[test]
        fn each_id_is_served_by_the_last_range_that_was_laid_over_it(
            laid in prop::collection::vec((1_u64..40, 0_u64..12, 1_u16..5), 0..12)
        ) {
            let mut ranges = Vec::new();
            let mut served = [1_u16; 60];
            for (first, more, to) in laid {
                ranges = overlay(&ranges, range(first, first + more, to));
                served[first as usize..=(first + more) as usize].fill(to);
            }
            for (local, to) in served.iter().enumerate().skip(1) {
                let local = LocalId::new(local as u64).unwrap();
                let found: Vec<_> = ranges.iter().filter(|range| range.covers(RegionId::MIN, local)).collect();
                prop_assert_eq!(found.len(), usize::from(*to != 1));
                prop_assert_eq!(found.first().map_or(1, |range| range.to.get()), *to);
            }
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].last < pair[1].first);
                prop_assert!(pair[0].to != pair[1].to || pair[0].last.get() + 1 < pair[1].first.get());
            }
        }
    }
}
