//! When a cheaper path is worth leaving the present one for.

use super::RouteChange;
use crate::{LinkCost, Micros};

/// What a small advantage is, and how long it must last.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct SmallTier {
    /// More than one part in so many of the present cost.
    part: u32,
    /// And more than this.
    floor: LinkCost,
    patience: Micros,
}

impl SmallTier {
    pub(super) const USUAL: SmallTier =
        SmallTier { part: 100, floor: LinkCost::from_units(30), patience: Micros::from_secs(60) };
    /// While a region settles. The second is there so that the states that several regions send at the same time are in.
    pub(super) const SETTLING: SmallTier =
        SmallTier { part: 200, floor: LinkCost::from_units(15), patience: Micros::from_secs(1) };
}

/// What to do about a path that is not the cheapest.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The other is not cheaper by enough.
    Stay,
    /// The other is cheaper by enough to be taken if that lasts until then.
    Wait(Micros),
    Leave(RouteChange),
}

/// Two tiers: the other path is taken when it is cheaper by more than max(5 %, 1 ms) now, or was cheaper by more than
/// max(1 %, 0.3 ms) for a minute without a break. (A flat 5 % keeps 76 % of what the cheapest paths would gain over the
/// PlanetLab series, a flat 1 % keeps 98 % and flaps.)
///
/// `deadline` is what the last verdict about this path said to wait for, if it did; `small` is the second tier, less strict
/// where the present path was chosen by costs that were not worth much.
pub(super) fn weigh(
    now: Micros,
    present: LinkCost,
    other: LinkCost,
    deadline: Option<Micros>,
    small: SmallTier,
) -> Verdict {
    let saved = LinkCost::from_units(present.units().saturating_sub(other.units()));
    let more_than = |share: u32, floor: u32| saved.units() > (present.units() / share).max(floor);
    if more_than(20, 100) {
        return Verdict::Leave(RouteChange::Cheaper { saved });
    }
    if !more_than(small.part, small.floor.units()) {
        return Verdict::Stay;
    }
    match deadline {
        Some(at) if at <= now => Verdict::Leave(RouteChange::SlowlyCheaper { saved }),
        Some(at) => Verdict::Wait(at.min(now + small.patience)),
        None => Verdict::Wait(now + small.patience),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> LinkCost {
        LinkCost::from_micros(us)
    }

    #[test]
    fn a_large_advantage_counts_at_once_and_a_small_one_after_a_minute() {
        let start = Micros::from_secs(7);
        let due = start + SmallTier::USUAL.patience;
        let check = |present, other, deadline, now, expected| {
            assert_eq!(
                weigh(now, us(present), us(other), deadline, SmallTier::USUAL),
                expected,
                "{present} {other} {deadline:?}"
            );
        };
        let saved = us(5_010);
        check(100_000, 94_990, None, start, Verdict::Leave(RouteChange::Cheaper { saved }));
        let saved = us(1_010);
        check(2_000, 990, None, start, Verdict::Leave(RouteChange::Cheaper { saved }));
        // Exactly at the first margin; then below it for a minute.
        check(100_000, 95_000, None, start, Verdict::Wait(due));
        check(2_000, 1_000, None, start, Verdict::Wait(due));
        check(100_000, 98_000, Some(due), start + Micros(1), Verdict::Wait(due));
        let saved = us(2_000);
        let slowly = Verdict::Leave(RouteChange::SlowlyCheaper { saved });
        check(100_000, 98_000, Some(due), due, slowly);
        // Exactly at the second margin, and dearer.
        check(100_000, 99_000, Some(due), due, Verdict::Stay);
        check(2_000, 1_700, Some(due), due, Verdict::Stay);
        check(2_000, 3_000, Some(due), due, Verdict::Stay);
    }

    #[test]
    fn while_it_settles_half_the_advantage_for_a_second_is_enough() {
        let start = Micros::from_secs(7);
        let hurried =
            |now, deadline| weigh(now, us(100_000), us(98_000), deadline, SmallTier::SETTLING);
        let soon = Verdict::Wait(start + SmallTier::SETTLING.patience);
        assert_eq!(hurried(start, None), soon);
        assert_eq!(hurried(start, Some(start + SmallTier::USUAL.patience)), soon);
        let sooner = start + Micros::from_millis(500);
        assert_eq!(hurried(start, Some(sooner)), Verdict::Wait(sooner));
        // And half as much is enough.
        let small = |other| weigh(start, us(20_000), us(other), None, SmallTier::SETTLING);
        assert_eq!((small(19_840), small(19_850)), (soon, Verdict::Stay));
    }
}
