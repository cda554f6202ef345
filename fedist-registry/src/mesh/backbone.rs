//! The links that a region always keeps, whatever the traffic.

use std::collections::BTreeMap;

use super::{LinkReason, MeshConfig};
use crate::{LinkCost, RegionId, Registry, Status};

/// What the choice depends on.
pub(super) struct Backbone<'a> {
    pub(super) me: RegionId,
    pub(super) registry: &'a Registry,
    pub(super) config: &'a MeshConfig,
    /// Regions that are kept besides those that the configuration names, and why.
    pub(super) kept: &'a BTreeMap<RegionId, LinkReason>,
    /// Whether a region gets no link, whatever speaks for it.
    pub(super) avoided: &'a dyn Fn(RegionId) -> bool,
    /// Whether a link to a region can come about at all: it has an address, or it is linked already.
    pub(super) possible: &'a dyn Fn(RegionId) -> bool,
    /// Cost of a direct link, measured or guessed; the largest where nothing is known.
    pub(super) nearness: &'a dyn Fn(RegionId) -> LinkCost,
    /// The choice made last time. It stays until another region is nearer by a fifth.
    pub(super) before: &'a [(RegionId, LinkReason)],
    /// How many of the nearest are wanted.
    pub(super) nearest: usize,
    /// Whether a second way up is needed, or another link is one already.
    pub(super) second_parent: bool,
    /// How many random far links are needed beside those that lead far already.
    pub(super) random: usize,
}

impl Backbone<'_> {
    /// Parent, configured, connected and discovered ones, second parent, the nearest, the random ones; each region once, with the first reason.
    pub(super) fn choose(&self) -> Vec<(RegionId, LinkReason)> {
        let mut chosen: Vec<(RegionId, LinkReason)> = Vec::new();
        let mut add = |id: RegionId, reason| {
            let wanted = id != self.me
                && self.registry.is_live(id)
                && !(self.avoided)(id)
                && chosen.iter().all(|(held, _)| *held != id);
            if wanted {
                chosen.push((id, reason));
            }
        };
        let own = self.registry.get(self.me).filter(|record| record.status != Status::Left);
        let parent = own.and_then(|record| record.parent);
        if let Some(parent) = parent {
            add(parent, LinkReason::Parent);
        }
        for id in &self.config.extra {
            add(*id, LinkReason::Configured);
        }
        for (id, reason) in self.kept {
            add(*id, *reason);
        }
        if !self.registry.is_live(self.me) {
            return chosen;
        }
        if let Some(parent) = parent.filter(|_| self.second_parent)
            && let Some(second) = self.second_parent(parent)
        {
            add(second, LinkReason::SecondParent);
        }
        for id in self.nearest() {
            add(id, LinkReason::Nearest);
        }
        for id in self.far_ones().into_iter().take(self.random) {
            add(id, LinkReason::Random);
        }
        chosen
    }

    /// Live regions that a link may lead to, each with its number as a tie-break.
    fn candidates(&self) -> impl Iterator<Item = RegionId> {
        self.registry
            .live_regions()
            .map(|record| record.id)
            .filter(|id| *id != self.me && !(self.avoided)(*id) && (self.possible)(*id))
    }

    fn key(&self, id: RegionId, reason: LinkReason) -> (LinkCost, RegionId) {
        let cost = (self.nearness)(id);
        let held = self.before.contains(&(id, reason));
        let cost = if held { LinkCost::from_units(cost.units() / 5 * 4) } else { cost };
        (cost, id)
    }

    /// Another way up: the nearest region outside the parent's subtree, the grandparent or one beside it. Directly below the
    /// root there is no way past it; there the nearest one outside the region's own subtree keeps it connected when
    /// the root fails.
    fn second_parent(&self, parent: RegionId) -> Option<RegionId> {
        let beside = |top: RegionId| {
            self.candidates()
                .filter(|id| *id != parent && !is_below(self.registry, *id, top))
                .min_by_key(|id| self.key(*id, LinkReason::SecondParent))
        };
        beside(parent).or_else(|| beside(self.me))
    }

    /// The nearest ones, parent and children among them.
    fn nearest(&self) -> Vec<RegionId> {
        let mut near: Vec<_> =
            self.candidates().map(|id| self.key(id, LinkReason::Nearest)).collect();
        near.sort_unstable();
        near.into_iter().take(self.nearest).map(|(_, id)| id).collect()
    }

    /// The neighbours in closed rings of all regions that have an address, in an order as random as a hash makes it: two
    /// random links for each region, and both ends know them. The union of such rings is an expander with high probability
    /// (C. Law and K.-Y. Siu, "Distributed construction of random expander networks", INFOCOM 2003). A join changes the ring
    /// at one place. A region without an address dials its neighbours of the ring, which goes on without it.
    fn far_ones(&self) -> Vec<RegionId> {
        let mut found = Vec::new();
        for salt in 0..self.config.random.div_ceil(2) as u64 {
            let place = |id: RegionId| (mix(u64::from(id.get()) | (salt << 32)), id);
            let here = place(self.me);
            let ring = || self.candidates().map(place);
            let after = ring().filter(|at| *at > here).min().or_else(|| ring().min());
            let before = ring().filter(|at| *at < here).max().or_else(|| ring().max());
            found.extend([after, before].into_iter().flatten().map(|(_, id)| id));
        }
        found.truncate(self.config.random);
        found
    }
}

/// Whether a region is `top` or in the tree below it.
pub(super) fn is_below(registry: &Registry, id: RegionId, top: RegionId) -> bool {
    id == top || registry.hierarchy().ancestors(id).any(|up| up == top)
}

/// The finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
