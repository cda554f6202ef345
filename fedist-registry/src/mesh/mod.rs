//! Which links a region opens, keeps and closes.
//!
//! Some links are always there ([`backbone`]): the parent, a second way up, the nearest, random far ones. Others the traffic
//! pays for ([`TrafficLedger`]), and the [`MeshPlanner`] opens them, and closes those that are not worth keeping, by what the
//! mesh would be without them ([`survey`]). A federation may have a fixed shape instead: a [`Topology`].

mod backbone;
mod ledger;
mod planner;
mod remembered;
mod survey;
mod topology;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use ledger::{Account, TrafficLedger};
pub use planner::{Admission, DialTurn, MeshPlan, MeshPlanner, MeshView, OpenLink, WantedLink};
pub use topology::{Topology, TopologyError};

use crate::{Coordinates, LinkCost, Micros, RegionId};

/// What shapes the partial mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// The shape; [`Topology::Adaptive`] by default, to which all numbers below belong. The same on all regions.
    pub topology: Topology,
    /// How many of the nearest regions always have a link; 2 by default. More shortens paths and adds links to keep alive.
    pub nearest: usize,
    /// How many links lead to random regions, unless as many others lead far; 2 by default. They keep the mesh in one piece
    /// when what is near fails together.
    pub random: usize,
    /// Regions that always get a link. None by default.
    pub extra: Vec<RegionId>,
    /// Regions that never get a link from here, whatever else speaks for it, the parent too; they may still dial in. None
    /// by default.
    pub avoid: Vec<RegionId>,
    /// Above this number of links those go that a path of at most `open_percent` replaces; 12 by default.
    pub target: usize,
    /// Links opened from here, at most; 16 by default. The always-set and `extra` may exceed it.
    pub max_out: usize,
    /// Links that others may have opened, at most, children and newcomers not counted; 32 by default.
    pub max_in: usize,
    /// A link is worth its price when the way without it costs more than this share of it; 108 by default, so that few
    /// pairs exceed 110.
    pub open_percent: u32,
    /// A link is not worth keeping when the way without it costs at most this share of it; 106 by default. The distance from
    /// `open_percent` keeps links from being opened and closed in turn.
    pub close_percent: u32,
    /// A link that carried nothing for this long is closed; 2 min by default.
    pub idle_after: Micros,
    /// For how long the cost of a closed link counts as known; 1 h by default. A link opened in vain is not tried sooner.
    pub memory: Micros,
    /// A link is not judged before it is this old; 10 s by default. Less than its measurements need makes wrong judgements.
    pub settle: Micros,
    /// How long a link that is about to be closed stays open at least, so that all regions take their routes off it; 3 s by
    /// default.
    pub drain: Micros,
}

impl Default for MeshConfig {
    fn default() -> Self {
        MeshConfig {
            topology: Topology::Adaptive,
            nearest: 2,
            random: 2,
            extra: Vec::new(),
            avoid: Vec::new(),
            target: 12,
            max_out: 16,
            max_in: 32,
            open_percent: 108,
            close_percent: 106,
            idle_after: Micros::from_secs(120),
            memory: Micros::from_secs(3600),
            settle: Micros::from_secs(10),
            drain: Micros::from_secs(3),
        }
    }
}

/// Why a link is open.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LinkReason {
    /// It leads to the parent.
    Parent,
    /// The other way up.
    SecondParent,
    /// It leads to one of the nearest regions.
    Nearest,
    /// One of the random far ones.
    Random,
    /// The configuration names it.
    Configured,
    /// Somebody asked for it by `connect`.
    Connected,
    /// Its address was discovered.
    Discovered,
    /// The federation's shape has it.
    Topology,
    /// The traffic has paid for it.
    Traffic,
    /// A child opened it.
    Child,
    /// The region joined over it.
    Join,
    /// The other region opened it, for reasons of its own.
    Incoming,
}

/// As people read it: `second parent`.
impl fmt::Display for LinkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LinkReason::Parent => "parent",
            LinkReason::SecondParent => "second parent",
            LinkReason::Nearest => "nearest",
            LinkReason::Random => "random",
            LinkReason::Configured => "configured",
            LinkReason::Connected => "connected",
            LinkReason::Discovered => "discovered",
            LinkReason::Topology => "topology",
            LinkReason::Traffic => "traffic",
            LinkReason::Child => "child",
            LinkReason::Join => "join",
            LinkReason::Incoming => "incoming",
        })
    }
}

/// What the distance between two places would take over cables, one way: a guess for a link that was never measured.
pub fn fibre_estimate(from: &Coordinates, to: &Coordinates) -> LinkCost {
    LinkCost::from_micros(light_us(from, to).saturating_mul(DETOUR_PERCENT) / 100)
}

/// The time that light in a fibre along the globe takes, in µs.
fn light_us(from: &Coordinates, to: &Coordinates) -> u64 {
    (from.distance_km(to) * FIBRE_MICROS_PER_KM) as u64
}

/// Light takes 4.9 µs per km of fibre (refractive index 1.468).
const FIBRE_MICROS_PER_KM: f64 = 4.9;
/// Cables are about half as long again as the way on the globe, until measured links say otherwise.
const DETOUR_PERCENT: u64 = 150;
