//! The tree and the links of a large federation.

use std::collections::BTreeSet;

use fedist_registry::{
    Change, KeyHash, LinkAdvert, LinkCost, LinkState, RegionId, RegionRecord, Registry, Status,
};

use crate::World;
use crate::mix::mix;

/// Who is whose parent, and who has a link to whom; regions are numbered from 0, region 0 is the root.
///
/// The links are those that the mesh planner always keeps: parent, a second parent outside the parent's subtree, the two
/// nearest, and two random far ones by the planner's rule (neighbours in a ring whose order is a hash). The planner itself
/// asks every region about every other, which is a billion questions here; so "nearest" is sought in the own city, and
/// what traffic adds is left out. Nobody takes in more than 32 links beside its children, as in the planner.
#[derive(Clone, Debug)]
pub struct Wiring {
    parents: Vec<Option<u32>>,
    links: Vec<Vec<u32>>,
}

impl Wiring {
    /// The tree has a hub per city below the root, and at most [`FAN_OUT`](Self::FAN_OUT) regions below each other region.
    pub fn generate(world: &World, seed: u64) -> Wiring {
        let mut cities: Vec<Vec<u32>> = vec![Vec::new(); world.cities().max(1)];
        for region in 0..world.len() {
            if let Some(members) = cities.get_mut(world.city(region)) {
                members.push(region as u32);
            }
        }
        let mut wiring =
            Wiring { parents: vec![None; world.len()], links: vec![Vec::new(); world.len()] };
        let mut taken_in = vec![0_u32; world.len()];
        for members in &cities {
            // The root, if it is one of them, is the first and so the hub.
            for (rank, region) in members.iter().enumerate().skip(1) {
                let above = members.get((rank - 1) / Self::FAN_OUT).copied();
                wiring.set_parent(*region, above);
            }
            if let Some(hub) = members.first().filter(|hub| **hub != 0) {
                wiring.set_parent(*hub, Some(0));
            }
        }
        let hubs: Vec<u32> = cities.iter().filter_map(|members| members.first().copied()).collect();
        for members in &cities {
            for region in members {
                let near = wiring.nearest(world, *region, members);
                let second = if members.first() == Some(region) {
                    let others = wiring.nearest(world, *region, &hubs);
                    others.into_iter().find(|hub| *hub != 0)
                } else {
                    wiring.second_parent(*region, &near, &hubs, &taken_in)
                };
                let mut take = |wiring: &mut Wiring, peer: u32| {
                    let Some(count) = taken_in.get_mut(peer as usize) else { return false };
                    let free = wiring.linked(*region, peer);
                    if !free && *count < Self::MAX_IN {
                        *count += 1;
                        wiring.link(*region, peer);
                        return true;
                    }
                    free
                };
                if let Some(second) = second {
                    take(&mut wiring, second);
                }
                let mut wanted = 2;
                for peer in near {
                    if wanted > 0 && take(&mut wiring, peer) {
                        wanted -= 1;
                    }
                }
            }
        }
        let mut ring: Vec<u32> = (0..world.len() as u32).collect();
        ring.sort_unstable_by_key(|region| mix(seed ^ u64::from(*region)));
        for (at, region) in ring.iter().enumerate() {
            if let Some(next) = ring.get((at + 1) % ring.len()) {
                wiring.link(*region, *next);
            }
        }
        wiring
    }

    /// Regions below a region, at most; the root has one per city.
    pub const FAN_OUT: usize = 16;
    const MAX_IN: u32 = 32;

    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The region above; none for the root.
    pub fn parent(&self, region: usize) -> Option<usize> {
        self.parents.get(region).copied().flatten().map(|parent| parent as usize)
    }

    /// The regions at the other ends of a region's links.
    pub fn neighbours(&self, region: usize) -> impl Iterator<Item = usize> + '_ {
        self.links.get(region).into_iter().flatten().map(|peer| *peer as usize)
    }

    /// Links, each counted once.
    pub fn link_count(&self) -> usize {
        self.links.iter().map(Vec::len).sum::<usize>() / 2
    }

    /// What a region says about its links when nothing is queued.
    pub fn link_state(&self, world: &World, region: usize) -> Option<LinkState> {
        let links = self.neighbours(region).filter_map(|peer| {
            let cost = LinkCost::from_micros(world.one_way_us(region, peer)?);
            Some(LinkAdvert::new(region_id(peer)?, cost))
        });
        Some(LinkState {
            region: region_id(region)?,
            seq: LinkState::sequence(1, 1),
            relay: LinkCost::from_micros(50),
            no_transit: false,
            links: links.take(LinkState::MAX_LINKS).collect(),
        })
    }

    /// The registry that this federation has when all regions are live; built through the master's own rules.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::new();
        // Parents before children, level by level.
        let mut levels: Vec<Vec<u32>> = vec![Vec::new(); self.len()];
        let mut roots = Vec::new();
        for region in 0..self.len() {
            match self.parent(region).and_then(|parent| levels.get_mut(parent)) {
                Some(children) => children.push(region as u32),
                None => roots.push(region as u32),
            }
        }
        let mut at = 0;
        while let Some(region) = roots.get(at).copied() {
            at += 1;
            roots.extend(levels.get(region as usize).into_iter().flatten());
            for change in self.join(region as usize) {
                // Only a federation of more regions than there are numbers has one that is refused.
                let _ = registry.propose(1, change);
                if registry.checkpoint_due(1024) {
                    let _ = registry.propose(1, registry.checkpoint());
                }
            }
        }
        let _ = registry.propose(1, registry.checkpoint());
        registry
    }

    fn join(&self, region: usize) -> Vec<Change> {
        let (Some(id), Ok(name)) = (region_id(region), format!("region-{}", region + 1).parse())
        else {
            return Vec::new();
        };
        let mut key = [0; 32];
        for (piece, salt) in key.chunks_exact_mut(8).zip(0_u64..) {
            piece.copy_from_slice(&mix(region as u64 ^ (salt << 32)).to_be_bytes());
        }
        let record = RegionRecord {
            id,
            name,
            parent: self.parent(region).and_then(region_id),
            addresses: vec![format!("r{}.example.net:4433", region + 1)],
            key_hash: KeyHash(key),
            status: Status::Joining,
            coordinates: None,
        };
        vec![Change::Join(record), Change::Live(id)]
    }

    fn set_parent(&mut self, region: u32, parent: Option<u32>) {
        if let Some(slot) = self.parents.get_mut(region as usize) {
            *slot = parent;
        }
        if let Some(parent) = parent {
            self.link(region, parent);
        }
    }

    fn linked(&self, a: u32, b: u32) -> bool {
        self.links.get(a as usize).is_some_and(|links| links.contains(&b))
    }

    fn link(&mut self, a: u32, b: u32) {
        if a == b || self.linked(a, b) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            if let Some(links) = self.links.get_mut(from as usize) {
                links.push(to);
            }
        }
    }

    /// The 40 nearest of `among`, nearest first.
    fn nearest(&self, world: &World, region: u32, among: &[u32]) -> Vec<u32> {
        let mut near: Vec<(u64, u32)> = among
            .iter()
            .filter(|peer| **peer != region)
            .filter_map(|peer| Some((world.one_way_us(region as usize, *peer as usize)?, *peer)))
            .collect();
        if near.len() > NEAR {
            near.select_nth_unstable(NEAR);
            near.truncate(NEAR);
        }
        near.sort_unstable();
        near.into_iter().map(|(_, peer)| peer).collect()
    }

    /// The nearest region that is not below the parent and has room; for a city of few a hub elsewhere.
    fn second_parent(
        &self,
        region: u32,
        near: &[u32],
        hubs: &[u32],
        taken_in: &[u32],
    ) -> Option<u32> {
        let parent = self.parent(region as usize)? as u32;
        let has_room =
            |peer: u32| taken_in.get(peer as usize).is_some_and(|count| *count < Self::MAX_IN);
        let fits = |peer: &u32| *peer != region && has_room(*peer) && !self.is_below(*peer, parent);
        near.iter().copied().find(fits).or_else(|| hubs.iter().copied().find(fits))
    }

    fn is_below(&self, region: u32, top: u32) -> bool {
        let mut at = Some(region as usize);
        while let Some(here) = at {
            if here == top as usize {
                return true;
            }
            at = self.parent(here);
        }
        false
    }

    /// The regions that can be reached from region 0 without `gone`.
    pub fn reached_without(&self, gone: &BTreeSet<usize>) -> usize {
        let mut seen = vec![false; self.len()];
        let mut at = Vec::new();
        if let Some(first) = (0..self.len()).find(|region| !gone.contains(region)) {
            at.push(first);
            seen[first] = true;
        }
        let mut count = 0;
        while let Some(region) = at.pop() {
            count += 1;
            for peer in self.neighbours(region) {
                if !seen[peer] && !gone.contains(&peer) {
                    seen[peer] = true;
                    at.push(peer);
                }
            }
        }
        count
    }
}

const NEAR: usize = 40;

/// The number that region `index` has in the registry; none past the last number there is.
pub(crate) fn region_id(index: usize) -> Option<RegionId> {
    RegionId::new(u16::try_from(index.checked_add(1)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_has_its_links_and_the_loss_of_any_cuts_nobody_off() {
        let world = World::generate(600, 5);
        let wiring = Wiring::generate(&world, 5);
        let per_region = 2.0 * wiring.link_count() as f64 / 600.0;
        assert!((6.0..12.0).contains(&per_region), "{per_region}");
        for region in 0..600 {
            assert_eq!(wiring.parent(region).is_none(), region == 0);
            assert!(
                wiring.neighbours(region).all(|peer| wiring.neighbours(peer).any(|b| b == region))
            );
            assert_eq!(wiring.reached_without(&BTreeSet::from([region])), 599, "without {region}");
        }
    }

    #[test]
    fn the_registry_takes_all_regions_below_their_parents() {
        let world = World::generate(300, 5);
        let wiring = Wiring::generate(&world, 5);
        let registry = wiring.registry();
        assert_eq!(registry.live_regions().count(), 300);
        assert_eq!(registry.hierarchy().root(), region_id(0));
        for region in 1..300 {
            let parent = registry.get(region_id(region).unwrap()).unwrap().parent;
            assert_eq!(parent, wiring.parent(region).and_then(region_id));
        }
    }
}
