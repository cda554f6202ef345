//! Which way to every region: cheapest paths over the link states, held steady.
//!
//! Every region computes its own table, from its own copy of the link states, and writes the whole path into each frame's
//! header. A table's paths are simple, so a frame cannot loop even while the copies differ.
//!
//! [`ShortestPaths`] is one run over the graph, [`RouteTable`] holds the paths in use and decides when to leave them,
//! [`SpfPace`] says when to run, [`RouteExplanation`] says why.

mod explanation;
mod hysteresis;
mod pace;
mod shortest_paths;
mod table;

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

pub use explanation::{DirectWay, ExplainedHop, ExplainedPath, RouteExplanation, SetUp};
pub use pace::{RouteNews, SpfPace};
pub use shortest_paths::{Avoid, ShortestPaths, detour, second_path};
pub use table::{RouteHistory, RouteTable};

use crate::{LinkCost, RegionId};

/// One way to one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The regions that a frame passes, after the origin; the last is the destination. 1 to [`MAX_HOPS`](Self::MAX_HOPS).
    pub hops: Hops,
    /// Of the whole way, in one direction: its links, and the relay delay of every region in between.
    pub cost: LinkCost,
}

impl Route {
    /// Regions on the way, the destination included, at most: 6 relays fit the header.
    pub const MAX_HOPS: usize = Hops::MAX;

    /// The regions in between, in order.
    pub fn relays(&self) -> &[RegionId] {
        self.hops.split_last().map_or(&[], |(_, relays)| relays)
    }

    /// The region at the other end of the first link; none only for a route without hops, which no table holds.
    pub fn next_hop(&self) -> Option<RegionId> {
        self.hops.first().copied()
    }

    /// Where it leads; none only for a route without hops, which no table holds.
    pub fn destination(&self) -> Option<RegionId> {
        self.hops.last().copied()
    }

    /// Whether both pass one region, other than at their ends.
    pub fn shares_relay(&self, other: &Route) -> bool {
        self.relays().iter().any(|relay| other.relays().contains(relay))
    }
}

/// The regions on a route after its origin, in place: a table has one for every region there is.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Hops {
    /// Those from `len` on are [`RegionId::MIN`].
    ids: [RegionId; Hops::MAX],
    len: u8,
}

impl Hops {
    /// Regions in it, at most.
    pub const MAX: usize = 7;

    /// No region at all.
    pub const NONE: Hops = Hops { ids: [RegionId::MIN; Hops::MAX], len: 0 };

    /// The regions in order; none for more than [`MAX`](Self::MAX).
    pub fn new(regions: &[RegionId]) -> Option<Hops> {
        let mut hops = Hops::NONE;
        hops.ids.get_mut(..regions.len())?.copy_from_slice(regions);
        hops.len = u8::try_from(regions.len()).ok()?;
        Some(hops)
    }
}

impl Deref for Hops {
    type Target = [RegionId];

    fn deref(&self) -> &[RegionId] {
        self.ids.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl fmt::Debug for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: AsRef<[RegionId]>> PartialEq<T> for Hops {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl<'a> IntoIterator for &'a Hops {
    type Item = &'a RegionId;
    type IntoIter = std::slice::Iter<'a, RegionId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a route became what it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouteChange {
    /// The region was not reached before.
    FirstSeen,
    /// The region was reached before, then not, and is again.
    Recovered,
    /// Cheaper than the path before by more than the larger of 5 % and 1 ms.
    Cheaper {
        /// By how much.
        saved: LinkCost,
    },
    /// Cheaper than the path before by more than the larger of 1 % and 0.3 ms, for a minute; by half as much for a
    /// second in a region that settles.
    SlowlyCheaper {
        /// By how much, at the end of that time.
        saved: LinkCost,
    },
    /// A link of the path before is not there any more.
    LinkDown {
        /// The near end.
        from: RegionId,
        /// The far end.
        to: RegionId,
    },
    /// A region on the path before takes no frames in transit any more.
    NoTransit {
        /// Which.
        relay: RegionId,
    },
    /// A link of the path before is about to be closed, or the region at its near end to leave.
    Closing {
        /// The near end.
        from: RegionId,
        /// The far end.
        to: RegionId,
    },
    /// A neighbour on the path before does not answer.
    Suspect {
        /// Which.
        neighbour: RegionId,
    },
}

impl fmt::Display for RouteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstSeen => f.write_str("the region was seen for the first time"),
            Self::Recovered => f.write_str("the region can be reached again"),
            Self::Cheaper { saved } => write!(f, "cheaper by {saved}"),
            Self::SlowlyCheaper { saved } => write!(f, "cheaper by {saved} for long enough"),
            Self::LinkDown { from, to } => write!(f, "link {from} → {to} is down"),
            Self::NoTransit { relay } => write!(f, "region {relay} takes no transit"),
            Self::Closing { from, to } => write!(f, "link {from} → {to} is about to close"),
            Self::Suspect { neighbour } => write!(f, "region {neighbour} does not answer"),
        }
    }
}

#[cfg(test)]
mod tests;
