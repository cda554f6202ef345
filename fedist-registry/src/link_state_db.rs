//! The newest link state of every region, and the graph that they make.

use std::mem;

pub use graph::{LinkEdge, LinkEdges, LinkEnds};

use crate::{LinkAdvert, LinkCost, LinkState, RegionId};

/// The newest link state of every region that is known here, and at the same time the graph of the links that both ends
/// advertise: it is updated state by state, never built anew.
///
/// Who may be in it is for the caller to say: apply states of registered regions only, and [`remove`](Self::remove) those
/// that left, else it grows with whatever comes in, up to one state per region number.
///
/// A state is held as 12 bytes per link in one piece, sorted by the far ends; of a link that is advertised twice, the
/// cheapest. Regions sit at the index that is their number, so a region costs 32 bytes for each lower number too.
///
/// [`petgraph`] reads it through its `visit` traits: a node is a region, an edge is one direction of a link, its weight the
/// advertised cost. What a frame in transit costs is not part of the weight; see [`relay`](Self::relay).
#[derive(Clone, Debug, Default)]
pub struct LinkStateDb {
    /// By region number.
    slots: Vec<Slot>,
    known: usize,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Sorted by `to`. [`MUTUAL`] is set in the flags of those that the other end advertises too.
    links: Box<[LinkAdvert]>,
    seq: u64,
    relay: LinkCost,
    no_transit: bool,
    held: bool,
}

/// Not on the wire: the other end advertises the link as well.
const MUTUAL: u8 = 0x80;

impl LinkStateDb {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a state; `true` if it was newer than what is held, so that it should be flooded on. A state with too many links
    /// is not taken.
    pub fn apply(&mut self, state: LinkState) -> bool {
        let newer = self.seq(state.region).is_none_or(|held| held < state.seq);
        let taken = newer && state.links.len() <= LinkState::MAX_LINKS;
        if taken {
            self.put(state);
        }
        taken
    }

    /// Takes a state in place of the one that is held, whatever its sequence number and the number of its links.
    pub(crate) fn put(&mut self, state: LinkState) {
        let LinkState { region, seq, relay, no_transit, mut links } = state;
        links.retain(|link| link.to != region);
        links.sort_unstable_by_key(|link| (link.to, link.cost));
        links.dedup_by_key(|link| link.to);
        for link in &mut links {
            link.flags &= !MUTUAL;
            link.queueing = link.queueing.min(link.cost);
        }
        self.unlink(region);
        for link in &mut links {
            if let Some(back) = self.held_mut(link.to, region) {
                back.flags |= MUTUAL;
                link.flags |= MUTUAL;
            }
        }
        let index = usize::from(region.get());
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            self.known += usize::from(!slot.held);
            let links = links.into_boxed_slice();
            *slot = Slot { links, seq, relay, no_transit, held: true };
        }
    }

    /// Adds links from a region that is held to others, which count without a word from the far ends; those are then held too,
    /// with `leaf` as what a frame in transit costs there, and nothing is passed on over them.
    pub(crate) fn tie(&mut self, from: RegionId, ties: Vec<LinkAdvert>, leaf: LinkCost) {
        for tie in &ties {
            let index = usize::from(tie.to.get());
            if index >= self.slots.len() {
                self.slots.resize_with(index + 1, Slot::default);
            }
            if let Some(slot) = self.slots.get_mut(index).filter(|slot| !slot.held) {
                self.known += 1;
                (slot.held, slot.no_transit, slot.relay) = (true, true, leaf);
            }
        }
        let slot = self.slots.get_mut(usize::from(from.get())).filter(|slot| slot.held);
        if let Some(slot) = slot {
            let mut links = mem::take(&mut slot.links).into_vec();
            links.extend(
                ties.into_iter().map(|tie| LinkAdvert { flags: tie.flags | MUTUAL, ..tie }),
            );
            links.sort_by_key(|link| link.to);
            links.dedup_by_key(|link| link.to);
            slot.links = links.into_boxed_slice();
        }
    }

    /// A region's newest state, with its links sorted by their far ends. It is made anew with each call: where one fact is
    /// wanted, [`seq`](Self::seq), [`relay`](Self::relay), [`links`](Self::links) and so on are cheaper.
    pub fn get(&self, region: RegionId) -> Option<LinkState> {
        let slot = self.slot(region)?;
        Some(LinkState {
            region,
            seq: slot.seq,
            relay: slot.relay,
            no_transit: slot.no_transit,
            links: self.links(region).collect(),
        })
    }

    /// Whether anything is known about the region.
    pub fn contains(&self, region: RegionId) -> bool {
        self.slot(region).is_some()
    }

    /// The sequence number of a region's newest state.
    pub fn seq(&self, region: RegionId) -> Option<u64> {
        self.slot(region).map(|slot| slot.seq)
    }

    /// What a frame in transit costs in a region.
    pub fn relay(&self, region: RegionId) -> Option<LinkCost> {
        self.slot(region).map(|slot| slot.relay)
    }

    /// Whether a region that is known says that it takes no frames in transit.
    pub fn no_transit(&self, region: RegionId) -> bool {
        self.slot(region).is_some_and(|slot| slot.no_transit)
    }

    /// What a region says about its links, whether or not the other ends say so too, in the order of the far ends.
    pub fn links(&self, region: RegionId) -> impl Iterator<Item = LinkAdvert> {
        let links = self.slot(region).map_or(&[][..], |slot| &slot.links);
        links.iter().map(|link| LinkAdvert { flags: link.flags & !MUTUAL, ..*link })
    }

    /// What `from` says about its link to `to`, whether or not `to` says that there is one.
    pub fn advert(&self, from: RegionId, to: RegionId) -> Option<LinkAdvert> {
        let link = self.held(from, to)?;
        Some(LinkAdvert { flags: link.flags & !MUTUAL, ..*link })
    }

    /// What `from` says about its link to `to`, if both ends say that the link is there.
    pub fn link(&self, from: RegionId, to: RegionId) -> Option<LinkAdvert> {
        let link = self.held(from, to).filter(|link| link.flags & MUTUAL != 0)?;
        Some(LinkAdvert { flags: link.flags & !MUTUAL, ..*link })
    }

    /// All states in the order of their regions' numbers, each made anew.
    pub fn iter(&self) -> impl Iterator<Item = LinkState> {
        self.regions().filter_map(|region| self.get(region))
    }

    /// The regions that are known, in the order of their numbers.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        let held = self.slots.iter().enumerate().filter(|(_, slot)| slot.held);
        held.filter_map(|(index, _)| region_at(index))
    }

    /// How many regions are known.
    pub fn len(&self) -> usize {
        self.known
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// Forgets a region, and with it which of its states was the newest.
    pub fn remove(&mut self, region: RegionId) -> Option<LinkState> {
        let state = self.get(region)?;
        self.unlink(region);
        if let Some(slot) = self.slots.get_mut(usize::from(region.get())) {
            *slot = Slot::default();
            self.known -= 1;
        }
        Some(state)
    }

    /// What is held, in a few bytes per region, for a neighbour to compare.
    pub fn digest(&self) -> Vec<(RegionId, u64)> {
        self.regions().filter_map(|region| Some((region, self.seq(region)?))).collect()
    }

    /// The states that somebody with this digest lacks.
    pub fn newer_than(&self, digest: &[(RegionId, u64)]) -> Vec<LinkState> {
        let mut theirs = digest.to_vec();
        theirs.sort_unstable();
        let lacking = |region: &RegionId| {
            // Of a region that is named twice, the highest number is believed.
            let after = theirs.partition_point(|(id, _)| id <= region);
            let seq = after.checked_sub(1).and_then(|last| theirs.get(last));
            let seq = seq.filter(|(id, _)| id == region).map(|(_, seq)| *seq);
            seq.is_none_or(|seq| self.seq(*region).is_some_and(|held| seq < held))
        };
        self.regions().filter(lacking).filter_map(|region| self.get(region)).collect()
    }

    /// Bytes of heap that this holds, what the allocator adds per piece included (16 bytes, as with glibc).
    pub fn memory_bytes(&self) -> usize {
        let pieces = self.slots.iter().filter(|slot| !slot.links.is_empty());
        let links: usize =
            pieces.map(|slot| mem::size_of_val::<[LinkAdvert]>(&slot.links) + 16).sum();
        self.slots.capacity() * size_of::<Slot>() + links
    }

    /// The highest number that is known, and so the size of tables by region number less one.
    pub(crate) fn bound(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, region: RegionId) -> Option<&Slot> {
        self.slots.get(usize::from(region.get())).filter(|slot| slot.held)
    }

    fn held(&self, from: RegionId, to: RegionId) -> Option<&LinkAdvert> {
        let links = &self.slot(from)?.links;
        links.get(links.binary_search_by_key(&to, |link| link.to).ok()?)
    }

    fn held_mut(&mut self, from: RegionId, to: RegionId) -> Option<&mut LinkAdvert> {
        let slot = self.slots.get_mut(usize::from(from.get()))?;
        let at = slot.links.binary_search_by_key(&to, |link| link.to).ok()?;
        slot.links.get_mut(at)
    }

    /// Takes a region's links away; the other ends' are no longer mutual.
    fn unlink(&mut self, region: RegionId) {
        let Some(slot) = self.slots.get_mut(usize::from(region.get())) else {
            return;
        };
        for link in mem::take(&mut slot.links) {
            if let Some(back) = self.held_mut(link.to, region) {
                back.flags &= !MUTUAL;
            }
        }
    }
}

/// Two are equal if they hold the same states.
impl PartialEq for LinkStateDb {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known && self.iter().eq(other.iter())
    }
}

impl Eq for LinkStateDb {}

pub(crate) fn region_at(index: usize) -> Option<RegionId> {
    RegionId::new(u16::try_from(index).ok()?).ok()
}

/// How petgraph reads the database.
mod graph {
    use petgraph::visit::{
        Data, EdgeRef, GraphBase, IntoEdgeReferences, IntoEdges, IntoNeighbors,
        IntoNodeIdentifiers, NodeCount, NodeIndexable, Visitable,
    };
    use std::{collections::HashSet, slice};

    use super::{LinkStateDb, MUTUAL, region_at};
    use crate::{LinkAdvert, LinkCost, RegionId};

    /// One direction of a link that both ends advertise.
    #[derive(Copy, Clone, Debug)]
    pub struct LinkEdge<'a> {
        from: RegionId,
        advert: &'a LinkAdvert,
    }

    impl LinkEdge<'_> {
        pub(crate) fn cost(&self) -> LinkCost {
            self.advert.cost
        }

        pub(crate) fn hops(&self) -> usize {
            self.advert.hops()
        }

        pub(crate) fn is_discouraged(&self) -> bool {
            self.advert.is_discouraged()
        }
    }

    impl EdgeRef for LinkEdge<'_> {
        type NodeId = RegionId;
        type EdgeId = (RegionId, RegionId);
        type Weight = LinkCost;

        fn source(&self) -> RegionId {
            self.from
        }

        fn target(&self) -> RegionId {
            self.advert.to
        }

        fn weight(&self) -> &LinkCost {
            &self.advert.cost
        }

        fn id(&self) -> (RegionId, RegionId) {
            (self.from, self.advert.to)
        }
    }

    /// The links of one region that both ends advertise.
    #[derive(Clone, Debug)]
    pub struct LinkEdges<'a> {
        from: RegionId,
        links: slice::Iter<'a, LinkAdvert>,
    }

    impl<'a> Iterator for LinkEdges<'a> {
        type Item = LinkEdge<'a>;

        fn next(&mut self) -> Option<LinkEdge<'a>> {
            let advert = self.links.find(|link| link.flags & MUTUAL != 0)?;
            Some(LinkEdge { from: self.from, advert })
        }
    }

    /// The far ends of one region's links that both ends advertise.
    #[derive(Clone, Debug)]
    pub struct LinkEnds<'a>(LinkEdges<'a>);

    impl Iterator for LinkEnds<'_> {
        type Item = RegionId;

        fn next(&mut self) -> Option<RegionId> {
            self.0.next().map(|edge| edge.target())
        }
    }

    impl GraphBase for LinkStateDb {
        type EdgeId = (RegionId, RegionId);
        type NodeId = RegionId;
    }

    impl Data for LinkStateDb {
        type NodeWeight = ();
        type EdgeWeight = LinkCost;
    }

    impl<'a> IntoNeighbors for &'a LinkStateDb {
        type Neighbors = LinkEnds<'a>;

        fn neighbors(self, region: RegionId) -> LinkEnds<'a> {
            LinkEnds(self.edges(region))
        }
    }

    impl<'a> IntoEdges for &'a LinkStateDb {
        type Edges = LinkEdges<'a>;

        fn edges(self, from: RegionId) -> LinkEdges<'a> {
            let links = self.slot(from).map_or(&[][..], |slot| &slot.links);
            LinkEdges { from, links: links.iter() }
        }
    }

    impl<'a> IntoEdgeReferences for &'a LinkStateDb {
        type EdgeRef = LinkEdge<'a>;
        type EdgeReferences = Box<dyn Iterator<Item = LinkEdge<'a>> + 'a>;

        fn edge_references(self) -> Self::EdgeReferences {
            Box::new(self.regions().flat_map(|region| self.edges(region)))
        }
    }

    impl<'a> IntoNodeIdentifiers for &'a LinkStateDb {
        type NodeIdentifiers = Box<dyn Iterator<Item = RegionId> + 'a>;

        fn node_identifiers(self) -> Self::NodeIdentifiers {
            Box::new(self.regions())
        }
    }

    impl NodeCount for LinkStateDb {
        fn node_count(&self) -> usize {
            self.len()
        }
    }

    impl NodeIndexable for LinkStateDb {
        fn node_bound(&self) -> usize {
            self.bound()
        }

        fn to_index(&self, region: RegionId) -> usize {
            usize::from(region.get())
        }

        fn from_index(&self, index: usize) -> RegionId {
            region_at(index).unwrap_or(RegionId::MIN)
        }
    }

    impl Visitable for LinkStateDb {
        type Map = HashSet<RegionId>;

        fn visit_map(&self) -> HashSet<RegionId> {
            HashSet::new()
        }

        fn reset_map(&self, map: &mut HashSet<RegionId>) {
            map.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use petgraph::visit::{EdgeRef, IntoEdges};
    use proptest::prelude::*;

    use super::*;

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn advert(to: u16, cost: u32) -> LinkAdvert {
        LinkAdvert::new(region(to), LinkCost::from_units(cost))
    }

    fn state(id: u16, seq: u64, links: &[LinkAdvert]) -> LinkState {
        LinkState {
            region: region(id),
            seq,
            relay: LinkCost::ZERO,
            no_transit: false,
            links: links.to_vec(),
        }
    }

    #[test]
    fn only_newer_states_are_taken_and_flooded_on() {
        let mut db = LinkStateDb::new();
        assert!(db.apply(state(1, 5, &[advert(2, 1)])));
        assert!(!db.apply(state(1, 5, &[])));
        assert!(!db.apply(state(1, 4, &[])));
        assert!(db.apply(state(1, 6, &[advert(2, 1), advert(3, 1)])));
        assert_eq!(db.get(region(1)).unwrap().links.len(), 2);
        let too_many: Vec<LinkAdvert> = (2..259).map(|to| advert(to, 1)).collect();
        assert!(!db.apply(state(4, 1, &too_many)));
        assert!(db.apply(state(4, 1, &too_many[1..])));
        assert_eq!(db.len(), 2);
    }

    #[test]
    fn a_tie_needs_no_word_from_its_far_end_and_leads_no_further() {
        let mut db = LinkStateDb::new();
        db.put(state(1, 1, &[advert(2, 7)]));
        db.put(state(2, 1, &[advert(1, 7)]));
        db.tie(region(2), vec![advert(9, 3), advert(5, 4)], LinkCost::ZERO);
        assert_eq!(db.link(region(2), region(9)).map(|link| link.cost.units()), Some(3));
        assert_eq!(db.link(region(9), region(2)), None);
        assert!(db.no_transit(region(9)) && db.contains(region(5)));
        assert_eq!((db.len(), db.links(region(9)).count()), (4, 0));
        assert!(db.link(region(1), region(2)).is_some(), "what was there stays");
    }

    #[test]
    fn a_link_is_there_only_if_both_ends_say_so() {
        let mut db = LinkStateDb::new();
        db.apply(state(1, 1, &[advert(3, 1), advert(2, 7), advert(2, 5), advert(1, 0)]));
        db.apply(state(2, 1, &[advert(1, 9)]));
        db.apply(state(3, 1, &[]));
        let cost = |from, to| db.link(region(from), region(to)).map(|link| link.cost.units());
        assert_eq!(cost(1, 2), Some(5));
        assert_eq!(cost(2, 1), Some(9));
        assert_eq!(cost(1, 3), None);
        assert_eq!(cost(1, 4), None);
        assert_eq!(cost(1, 1), None, "nobody has a link to itself");
        assert_eq!(db.advert(region(1), region(3)), Some(advert(3, 1)));
    }

    #[test]
    fn what_a_state_says_beyond_sense_is_put_right() {
        let mut db = LinkStateDb::new();
        let odd = LinkAdvert { queueing: LinkCost::MAX, flags: 0xFF, ..advert(2, 7) };
        db.apply(state(1, 1, &[odd]));
        let held = db.links(region(1)).next().unwrap();
        assert_eq!((held.queueing.units(), held.flags), (7, 0x7F));
        assert_eq!(db.link(region(1), region(2)), None, "no bit of the wire makes a link mutual");
        db.apply(state(2, 1, &[advert(1, 7)]));
        assert_eq!(db.link(region(1), region(2)), Some(held));
    }

    /// What the database says, worked out from plain maps.
    fn naive_link(states: &BTreeMap<u16, LinkState>, from: u16, to: u16) -> Option<LinkCost> {
        states.get(&to)?.cost_to(region(from))?;
        states.get(&from)?.cost_to(region(to)).filter(|_| from != to)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Apply(u16, u64, Vec<(u16, u32)>),
        Remove(u16),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let links = prop::collection::vec((1_u16..8, 0_u32..9), 0..6);
        prop_oneof![
            6 => (1_u16..8, 0_u64..20, links).prop_map(|(id, seq, links)| Step::Apply(id, seq, links)),
            1 => (1_u16..8).prop_map(Step::Remove),
        ]
    }

    fn any_states() -> impl Strategy<Value = Vec<LinkState>> {
        let one = (1_u16..8, 0_u64..20, 1_u16..8);
        let one = one.prop_map(|(id, seq, to)| state(id, seq, &[advert(to + 8, seq as u32)]));
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn the_graph_is_that_of_the_held_states_after_any_sequence(steps in prop::collection::vec(any_step(), 0..40)) {
            let (mut db, mut naive) = (LinkStateDb::new(), BTreeMap::<u16, LinkState>::new());
            for step in steps {
                match step {
                    Step::Apply(id, seq, links) => {
                        let links: Vec<_> = links.into_iter().map(|(to, cost)| advert(to, cost)).collect();
                        let newer = naive.get(&id).is_none_or(|held| held.seq < seq);
                        prop_assert_eq!(db.apply(state(id, seq, &links)), newer);
                        if newer { naive.insert(id, state(id, seq, &links)); }
                    }
                    Step::Remove(id) => {
                        prop_assert_eq!(db.remove(region(id)).is_some(), naive.remove(&id).is_some());
                    }
                }
            }
            prop_assert_eq!(db.len(), naive.len());
            for from in 1..9 {
                for to in 1..9 {
                    let link = db.link(region(from), region(to)).map(|link| link.cost);
                    prop_assert_eq!(link, naive_link(&naive, from, to));
                }
                let edges: Vec<_> = db.edges(region(from)).map(|edge| (edge.target().get(), *edge.weight())).collect();
                let expected: Vec<_> = (1..9).filter_map(|to| Some((to, naive_link(&naive, from, to)?))).collect();
                prop_assert_eq!(edges, expected);
            }
        }

        #[test]
        fn two_neighbours_that_exchange_digests_hold_the_newest_of_both(left in any_states(), right in any_states()) {
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
