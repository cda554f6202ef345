//! Which region serves ids whose upper bits name another one, after a region was split.

use serde::{Deserialize, Serialize};

use crate::{LocalId, RegionId, RegionPid};

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
    /// Where the range lies among the receiver's own ids: local id `first + n` has its seat at `to`'s local id `seat + n`.
    /// The receiver has reserved these and gives them to nobody else.
    pub seat: LocalId,
}

impl Forwarding {
    /// Ranges that one region may have given away, at most; neighbouring ones of the same receiver count once.
    pub const MAX_PER_REGION: usize = 64;

    /// Where an id of the range lives: the same place in the receiver's own numbers.
    pub fn seat_of(&self, local: LocalId) -> RegionPid {
        let offset = local.get().saturating_sub(self.first.get());
        let seat = LocalId::new(self.seat.get().saturating_add(offset));
        // The rules keep the whole range inside of 48 bits.
        RegionPid::new(self.to, seat.unwrap_or(LocalId::MAX))
    }

    /// The last seat; none where the range would reach past 48 bits.
    pub(crate) fn last_seat(&self) -> Option<LocalId> {
        let len = self.last.get().checked_sub(self.first.get())?;
        LocalId::new(self.seat.get().checked_add(len)?).ok()
    }

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
            laid.push(Forwarding { first, seat: range.seat_of(first).local(), ..*range });
        }
    }
    if new.to != new.from {
        laid.push(new);
    }
    laid.sort_unstable_by_key(|range| range.first);
    laid.dedup_by(|next, before| {
        let adjoins = before.last.get() + 1 == next.first.get()
            && RegionPid::new(next.to, next.seat) == before.seat_of(next.first);
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
            // Each id has the seat of its own number, so that neighbours can be joined.
            seat: LocalId::new(first).unwrap(),
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
    fn what_is_left_of_a_range_keeps_its_seats() {
        let seat = |first| LocalId::new(first).unwrap();
        let moved = Forwarding { seat: seat(1_000), ..range(10, 30, 2) };
        let laid = overlay(&[moved], Forwarding { seat: seat(7), ..range(15, 20, 3) });
        let text = |local| {
            let local = seat(local);
            let found = laid.iter().find(|range| range.covers(RegionId::MIN, local)).unwrap();
            found.seat_of(local).to_string()
        };
        assert_eq!(
            [10, 14, 15, 20, 21, 30].map(text),
            ["2.1000", "2.1004", "3.7", "3.12", "2.1011", "2.1020"]
        );
        let again = overlay(&laid, Forwarding { seat: seat(1_005), ..range(15, 20, 2) });
        assert_eq!(again, [moved], "neighbours are joined where their seats are");
        let elsewhere = overlay(&laid, Forwarding { seat: seat(9_000), ..range(15, 20, 2) });
        assert_eq!(elsewhere.len(), 3);
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
                prop_assert!(found.iter().all(|range| range.seat_of(local).local() == local));
            }
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].last < pair[1].first);
                prop_assert!(pair[0].to != pair[1].to || pair[0].last.get() + 1 < pair[1].first.get());
            }
        }
    }
}
