//! What every region tells all others about its links.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{LinkCost, RegionId};

/// One link, as the region at its near end sees it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAdvert {
    /// The region at the far end.
    pub to: RegionId,
    /// The cost of sending there.
    pub cost: LinkCost,
}

/// All links of one region, flooded to all others whenever they change enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Whose links.
    pub region: RegionId,
    /// The higher one is the newer one; [`sequence`](Self::sequence) keeps it growing over restarts.
    pub seq: u64,
    /// What a frame in transit costs here.
    pub relay: LinkCost,
    /// Whether frames in transit should go elsewhere (overloaded, or about to leave).
    pub no_transit: bool,
    /// At most [`MAX_LINKS`](Self::MAX_LINKS).
    #[serde(deserialize_with = "bounded_links")]
    pub links: Vec<LinkAdvert>,
}

impl LinkState {
    /// Links of one region, at most.
    pub const MAX_LINKS: usize = 256;

    /// The sequence number of the `count`th announcement since start number `boot`.
    pub const fn sequence(boot: u32, count: u32) -> u64 {
        ((boot as u64) << 32) | count as u64
    }

    /// What this region says about its link to `to`; the cheapest, if it says it twice.
    pub fn cost_to(&self, to: RegionId) -> Option<LinkCost> {
        self.links.iter().filter(|link| link.to == to).map(|link| link.cost).min()
    }
}

/// The newest link state of every region that is known here.
///
/// Who may be in it is for the caller to say: apply states of registered regions only, and [`remove`](Self::remove) those
/// that left, else it grows with whatever comes in, up to one state per region number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStateDb {
    states: BTreeMap<RegionId, LinkState>,
}

impl LinkStateDb {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a state; `true` if it was newer than what is held, so that it should be flooded on. A state with too many links
    /// is not taken.
    pub fn apply(&mut self, state: LinkState) -> bool {
        let newer = self.states.get(&state.region).is_none_or(|held| held.seq < state.seq);
        let taken = newer && state.links.len() <= LinkState::MAX_LINKS;
        if taken {
            self.states.insert(state.region, state);
        }
        taken
    }

    /// A region's newest state.
    pub fn get(&self, region: RegionId) -> Option<&LinkState> {
        self.states.get(&region)
    }

    /// All states in the order of their regions' numbers.
    pub fn iter(&self) -> impl Iterator<Item = &LinkState> {
        self.states.values()
    }

    /// How many regions are known.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Forgets a region, and with it which of its states was the newest.
    pub fn remove(&mut self, region: RegionId) -> Option<LinkState> {
        self.states.remove(&region)
    }

    /// What is held, in a few bytes per region, for a neighbour to compare.
    pub fn digest(&self) -> Vec<(RegionId, u64)> {
        self.iter().map(|state| (state.region, state.seq)).collect()
    }

    /// The states that somebody with this digest lacks.
    pub fn newer_than(&self, digest: &[(RegionId, u64)]) -> Vec<LinkState> {
        let theirs: BTreeMap<RegionId, u64> = digest.iter().copied().collect();
        let lacking =
            |state: &&LinkState| theirs.get(&state.region).is_none_or(|seq| *seq < state.seq);
        self.iter().filter(lacking).cloned().collect()
    }

    /// The cost of sending from `from` to `to`, if both ends say that the link is there.
    pub(crate) fn link(&self, from: RegionId, to: RegionId) -> Option<LinkCost> {
        self.get(to)?.cost_to(from)?;
        self.get(from)?.cost_to(to)
    }
}

/// Stops reading at the bound instead of trusting the sender's list.
fn bounded_links<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LinkAdvert>, D::Error> {
    struct Links;

    impl<'de> de::Visitor<'de> for Links {
        type Value = Vec<LinkAdvert>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} links", LinkState::MAX_LINKS)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut links = Vec::new();
            while let Some(link) = seq.next_element()? {
                if links.len() == LinkState::MAX_LINKS {
                    return Err(de::Error::invalid_length(links.len() + 1, &self));
                }
                links.push(link);
            }
            Ok(links)
        }
    }

    deserializer.deserialize_seq(Links)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn state(id: u16, seq: u64, links: usize) -> LinkState {
        let advert = LinkAdvert { to: region(9), cost: LinkCost::from_units(seq as u32) };
        LinkState {
            region: region(id),
            seq,
            relay: LinkCost::ZERO,
            no_transit: false,
            links: vec![advert; links],
        }
    }

    #[test]
    fn only_newer_states_are_taken_and_flooded_on() {
        let mut db = LinkStateDb::new();
        assert!(db.apply(state(1, 5, 1)));
        assert!(!db.apply(state(1, 5, 2)));
        assert!(!db.apply(state(1, 4, 2)));
        assert!(db.apply(state(1, 6, 2)));
        assert_eq!(db.get(region(1)).unwrap().links.len(), 2);
        assert!(LinkState::sequence(2, 0) > LinkState::sequence(1, u32::MAX));
    }

    #[test]
    fn more_than_256_links_are_refused_where_they_come_in() {
        assert!(!LinkStateDb::new().apply(state(1, 5, 257)));
        let packed = rmp_serde::to_vec(&state(1, 5, 257)).unwrap();
        assert!(rmp_serde::from_slice::<LinkState>(&packed).is_err());
        let packed = rmp_serde::to_vec(&state(1, 5, 256)).unwrap();
        assert_eq!(rmp_serde::from_slice::<LinkState>(&packed).unwrap(), state(1, 5, 256));
    }

    #[test]
    fn a_link_is_there_only_if_both_ends_say_so() {
        let mut db = LinkStateDb::new();
        let advert = |to, cost| LinkAdvert { to: region(to), cost: LinkCost::from_units(cost) };
        db.apply(LinkState {
            links: vec![advert(2, 7), advert(2, 5), advert(3, 1)],
            ..state(1, 1, 0)
        });
        db.apply(LinkState { links: vec![advert(1, 9)], ..state(2, 1, 0) });
        db.apply(state(3, 1, 0));
        assert_eq!(db.link(region(1), region(2)), Some(LinkCost::from_units(5)));
        assert_eq!(db.link(region(2), region(1)), Some(LinkCost::from_units(9)));
        assert_eq!(db.link(region(1), region(3)), None);
        assert_eq!(db.link(region(1), region(4)), None);
    }

    fn any_db() -> impl Strategy<Value = Vec<LinkState>> {
        prop::collection::vec(
            (1_u16..8, 0_u64..20, 0_usize..3).prop_map(|(id, seq, links)| state(id, seq, links)),
            0..20,
        )
    }

    proptest! {
        #[test]
        fn two_neighbours_that_exchange_digests_hold_the_newest_of_both(left in any_db(), right in any_db()) {
            let (mut a, mut b) = (LinkStateDb::new(), LinkStateDb::new());
            left.iter().cloned().for_each(|state| { a.apply(state); });
            right.iter().cloned().for_each(|state| { b.apply(state); });
            let (for_b, for_a) = (a.newer_than(&b.digest()), b.newer_than(&a.digest()));
            for state in for_b { prop_assert!(b.apply(state), "nothing is sent in vain"); }
            for state in for_a { prop_assert!(a.apply(state), "nothing is sent in vain"); }
            prop_assert_eq!(a.digest(), b.digest());
            for (region, seq) in a.digest() {
                let newest = left.iter().chain(&right).filter(|s| s.region == region).map(|s| s.seq).max();
                prop_assert_eq!(newest, Some(seq));
            }
            prop_assert!(a.newer_than(&b.digest()).is_empty());
        }
    }
}
