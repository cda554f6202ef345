//! What a region remembers of the links that it has had.

use crate::{LinkCost, Micros};

/// What is remembered of a link, open or closed.
#[derive(Copy, Clone, Debug)]
pub(super) struct Remembered {
    /// The least cost since `since`, and in the time before. What a link costs at most times is little more; a region
    /// that starts among many, or is short of processor time, measures much more for a while, and must not hold that
    /// against a link that it has closed meanwhile.
    least: LinkCost,
    least_before: LinkCost,
    since: Micros,
    pub(super) at: Micros,
    /// How often it was not worth keeping, and when the last time. Each time the next one is twice as dear, for a while, and
    /// less is enough to keep it.
    pub(super) closed: u32,
    pub(super) closed_at: Micros,
}

impl Remembered {
    pub(super) fn new(now: Micros, cost: LinkCost) -> Self {
        Remembered {
            least: cost,
            least_before: LinkCost::MAX,
            since: now,
            at: now,
            closed: 0,
            closed_at: now,
        }
    }

    pub(super) fn take(&mut self, now: Micros, cost: LinkCost) {
        if now.saturating_sub(self.since) >= LEAST_OVER {
            (self.least_before, self.least, self.since) = (self.least, cost, now);
        }
        self.least = self.least.min(cost);
        self.at = now;
    }

    /// What the link costs when nothing is in the way: the least of the last one to two minutes in which it was open.
    pub(super) fn cost(&self) -> LinkCost {
        self.least.min(self.least_before)
    }

    /// How many doublings of its price are left: each minute takes one away, so that what was opened and closed in the
    /// turmoil of a start is not too dear for an hour.
    pub(super) fn dearer(&self, now: Micros) -> u32 {
        let minutes = now.saturating_sub(self.closed_at).0 / FORGIVEN_AFTER.0;
        self.closed.min(6).saturating_sub(u32::try_from(minutes).unwrap_or(u32::MAX))
    }

    /// By how many percent less a way around may be longer before a link is worth keeping that came and went. The
    /// threshold of opening stays, or such pairs would have long ways for good.
    pub(super) fn band(&self) -> u32 {
        self.closed.min(4) * 2
    }
}

/// Over how long the least cost of a link is kept, and that time again.
const LEAST_OVER: Micros = Micros::from_secs(60);
/// After how long one closing in vain is forgiven.
const FORGIVEN_AFTER: Micros = Micros::from_secs(60);
