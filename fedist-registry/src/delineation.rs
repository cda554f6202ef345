//! Which region something belongs to: the application's rule, and rules in the box.
//!
//! A [`Delineator`] takes a key and a [`FederationView`] and names a region. The rules in the box take a [`PlaceKey`], which
//! says of a thing what a rule may want to know: its name, its number, how much work it is, where its data lies. They are
//! values themselves, [`Rule`], so they can be written in a file and sent in a message; [`RegionTable`] is what the
//! application tells about its regions, [`Performance`] what the library has measured of them.
//!
//! Reading order: [`PlaceKey`], [`FederationView`], [`RegionTable`], [`Performance`]; the rules, one a file; [`Rule`];
//! [`HomeCache`].

mod by_capacity;
mod by_id;
mod by_privilege;
mod choice;
mod consistent_hash;
mod fixed;
mod hierarchy_walk;
mod home_cache;
mod nearest;
mod performance;
mod place_key;
mod random;
mod range_table;
mod region_table;
mod round_robin;
mod rule;
#[cfg(test)]
mod testing;
mod view;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{RegionId, Status};

pub use by_capacity::ByCapacity;
pub use by_id::{ById, Homed};
pub use by_privilege::ByPrivilege;
pub use choice::{Fallback, FirstOf};
pub use consistent_hash::ConsistentHash;
pub use fixed::Fixed;
pub use hierarchy_walk::HierarchyWalk;
pub use home_cache::{HomeCache, HomeStamp};
pub use nearest::Nearest;
pub use performance::{MeasuredRegion, Performance};
pub use place_key::{DataAt, Near, PlaceKey};
pub use random::Random;
pub use range_table::{RangeEntry, RangeTable, RangeTableError};
pub use region_table::{Affinity, RegionFacts, RegionTable, RegionTableError};
pub use round_robin::RoundRobin;
pub use rule::{BoxedRule, BuildRuleError, Rule, Weight};
pub use view::FederationView;

/// The application's rule for which region a key belongs to.
///
/// The same key and the same federation should give the same answer in every region, or two regions will both believe that
/// they are home. Rules that take turns, draw lots or look at routes and load do not, and are for placing work only.
///
/// A rule decides at once, from what it is given: it must not block, since it runs on the thread that carries the node's
/// messages. What it needs from a database belongs into the [`RegionTable`] or into the rule itself, before it is asked.
pub trait Delineator: Send + 'static {
    /// What is asked about. It is decoded from what the asker's key was encoded to, so any type with the same shape asks.
    type Key: DeserializeOwned + 'static;

    /// The region that `key` belongs to.
    ///
    /// # Errors
    /// See [`NoHome`]; an application's rule says no with [`NoHome::refused`].
    fn home(&self, key: &Self::Key, view: &FederationView<'_>) -> Result<RegionId, NoHome>;

    /// For how long an answer holds. By default until the registry, the routes or the table of regions change.
    fn caching(&self) -> Caching {
        Caching::View
    }
}

/// For how long the answer of a rule holds for the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caching {
    /// It is another one each time: rules that take turns, draw lots, or look at the load.
    Never,
    /// Until the registry, the routes from here or the table of regions change.
    View,
    /// Until the registry or the table of regions change; routes do not matter.
    Registry,
}

/// Why a key has no home now. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NoHome {
    /// Nobody is live. Retry when a region is.
    #[error("no region is live; keys belong to live regions; wait until one has joined")]
    NoLiveRegion,
    /// The key names a region that never joined, as far as is known here. Retry after the registry caught up.
    #[error(
        "region {region} is unknown here; it never joined, or this registry copy is behind; check the key"
    )]
    UnknownRegion {
        /// The region.
        region: RegionId,
    },
    /// The key names a region that left for good.
    #[error("region {region} has left; what belonged to it has no home; move it to another region")]
    Left {
        /// The region.
        region: RegionId,
    },
    /// No entry of a table covers the key. The same table says the same again.
    #[error("could not find entry for \"{key}\" in table {table}")]
    NoEntry {
        /// The key.
        key: String,
        /// The table, as text.
        table: String,
    },
    /// The rule has no answer.
    #[error("no home for this key ({reason})")]
    Refused {
        /// In the rule's own words.
        reason: String,
    },
    /// The key is not of the form that the rule takes. Ask with another key.
    #[error(
        "key does not suit the rule ({reason}); a rule takes keys of one form; ask with such a one"
    )]
    WrongKey {
        /// What was missing, or where decoding stopped.
        reason: String,
    },
    /// None of several rules has an answer.
    #[error("no rule has a home for this key ({})", .reasons.join("; "))]
    NoneOf {
        /// What each of them said.
        reasons: Vec<String>,
    },
    /// The rule panicked. It was made anew, and other keys have homes; the same key may do it again.
    #[error(
        "the delineation rule panicked ({text}); it was restarted; put the rule right for this key"
    )]
    Panicked {
        /// What the panic said.
        text: String,
    },
    /// The rule named a region that does not exist. It was made anew.
    #[error(
        "the delineation rule named region {region}, which {why}; homes are regions of the federation; put the rule right"
    )]
    Nonsense {
        /// What it named.
        region: RegionId,
        /// Why that is no home.
        why: String,
    },
}

impl NoHome {
    /// The answer of a rule that has none, with its reason.
    pub fn refused(reason: impl Into<String>) -> Self {
        NoHome::Refused { reason: reason.into() }
    }
}

/// A region that is a member, or why it is none.
fn present(region: RegionId, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
    match view.registry.get(region).map(|record| record.status) {
        None => Err(NoHome::UnknownRegion { region }),
        Some(Status::Left) => Err(NoHome::Left { region }),
        Some(Status::Joining | Status::Live) => Ok(region),
    }
}

/// The finaliser of SplitMix64 (S. Vigna's reference, public domain).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
