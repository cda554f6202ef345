//! What every region tells all others about its links.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{LinkCost, RegionId};

/// One link, as the region at its near end sees it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAdvert {
    /// The region at the far end.
    pub to: RegionId,
    /// The cost of sending there: propagation and queueing.
    pub cost: LinkCost,
    /// The part of `cost` that is queueing and loss.
    pub queueing: LinkCost,
    /// [`CLOSING`](Self::CLOSING), [`DRAINING`](Self::DRAINING), [`CHOSEN`](Self::CHOSEN), and in the bits 4 to 6 the links
    /// that one of several stands for; other bits are kept and mean nothing.
    pub flags: u8,
}

impl LinkAdvert {
    /// This link is about to be closed: taken only where there is no other way.
    pub const CLOSING: u8 = 1;
    /// The region at the near end is about to leave: its links are taken only where there is no other way.
    pub const DRAINING: u8 = 2;

    /// Between areas: the near end's area is for this link; see [`Areas`](crate::Areas).
    pub const CHOSEN: u8 = 4;

    /// The same advert for a way of `hops` links, 1 to 8, whose regions in between are not named.
    #[must_use]
    pub const fn over_hops(self, hops: usize) -> LinkAdvert {
        let more = if hops > 8 { 7 } else { hops.saturating_sub(1) as u8 };
        LinkAdvert { flags: (self.flags & !HOP_BITS) | (more << HOP_SHIFT), ..self }
    }

    /// The links that this stands for: 1, and up to 8 for a way through an area.
    pub const fn hops(&self) -> usize {
        1 + ((self.flags & HOP_BITS) >> HOP_SHIFT) as usize
    }

    /// A link that costs propagation only, with no flags.
    pub const fn new(to: RegionId, cost: LinkCost) -> LinkAdvert {
        LinkAdvert { to, cost, queueing: LinkCost::ZERO, flags: 0 }
    }

    /// The part of the cost that is propagation; zero where somebody says that queueing is more than the whole.
    pub const fn propagation(&self) -> LinkCost {
        LinkCost::from_units(self.cost.units().saturating_sub(self.queueing.units()))
    }

    /// Whether routes should leave this link where there is another way.
    pub const fn is_discouraged(&self) -> bool {
        self.flags & (Self::CLOSING | Self::DRAINING) != 0
    }
}

const HOP_SHIFT: u8 = 4;
const HOP_BITS: u8 = 7 << HOP_SHIFT;

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
    use super::*;

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn state(links: usize) -> LinkState {
        let advert = LinkAdvert::new(region(9), LinkCost::from_units(5));
        LinkState {
            region: region(1),
            seq: 5,
            relay: LinkCost::ZERO,
            no_transit: false,
            links: vec![advert; links],
        }
    }

    #[test]
    fn more_than_256_links_are_refused_where_they_come_in() {
        let packed = rmp_serde::to_vec(&state(257)).unwrap();
        assert!(rmp_serde::from_slice::<LinkState>(&packed).is_err());
        let packed = rmp_serde::to_vec(&state(256)).unwrap();
        assert_eq!(rmp_serde::from_slice::<LinkState>(&packed).unwrap(), state(256));
    }

    #[test]
    fn later_starts_outbid_all_announcements_of_earlier_ones() {
        assert!(LinkState::sequence(2, 0) > LinkState::sequence(1, u32::MAX));
    }

    #[test]
    fn propagation_is_what_queueing_leaves_and_never_less_than_nothing() {
        let units = LinkCost::from_units;
        let advert = LinkAdvert { queueing: units(30), ..LinkAdvert::new(region(2), units(100)) };
        assert_eq!(advert.propagation(), units(70));
        assert_eq!(LinkAdvert { queueing: LinkCost::MAX, ..advert }.propagation(), LinkCost::ZERO);
    }

    #[test]
    fn only_the_known_flags_discourage() {
        let advert = LinkAdvert::new(region(2), LinkCost::ZERO);
        assert!(!advert.is_discouraged());
        assert!(LinkAdvert { flags: LinkAdvert::CLOSING, ..advert }.is_discouraged());
        assert!(LinkAdvert { flags: LinkAdvert::DRAINING | 128, ..advert }.is_discouraged());
        assert!(!LinkAdvert { flags: 0xFC, ..advert }.is_discouraged());
    }

    #[test]
    fn an_advert_stands_for_one_to_eight_links() {
        let advert = LinkAdvert::new(region(2), LinkCost::ZERO);
        assert_eq!(advert.hops(), 1);
        for (hops, held) in [(0, 1), (1, 1), (3, 3), (8, 8), (9, 8), (usize::MAX, 8)] {
            let far = LinkAdvert { flags: LinkAdvert::CHOSEN, ..advert }.over_hops(hops);
            assert_eq!((far.hops(), far.flags & 15), (held, LinkAdvert::CHOSEN));
        }
    }
}
