//! Areas: what a region of a large federation needs to know, and how a path goes on where its knowledge ends.
//!
//! Inside an area everybody knows all links. Of the links between areas each area *chooses* some; the regions at their ends
//! are its *borders*. What a border says about its chosen links, and about the ways inside to the other borders, is known
//! everywhere: that is the *backbone*. A region computes its routes over the links of its own area, the backbone, and for
//! each region that it knows nothing about, a stub at known regions of the same area.
//!
//! So a path may name a region that is no neighbour of the one before it: the next border of an area, or the destination
//! inside its area. A frame's header is a loose source route there (RFC 791, section 3.1, has the idea): the region that has
//! the frame puts its own best way inside in front of the name, avoiding every region that the header has already. A region
//! never comes twice in a header, so a frame cannot loop, whatever the copies of different regions say.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::visit::{EdgeRef, IntoEdges};

use crate::route::{Avoid, Route, ShortestPaths, detour};
use crate::{
    AreaConfig, AreaMap, LinkAdvert, LinkCost, LinkState, LinkStateDb, RegionId, Registry,
};

/// What one region knows about areas, and what it tells others.
///
/// `inner` stands for the states of the own area: the owner keeps them, and gives them to nobody outside. While the federation
/// is one area, they are all there is, and this holds nothing.
#[derive(Clone, Debug)]
pub struct Areas {
    me: RegionId,
    config: AreaConfig,
    map: AreaMap,
    backbone: LinkStateDb,
    view: LinkStateDb,
    /// Where each other area is entered.
    entries: BTreeMap<RegionId, Vec<RegionId>>,
}

impl Areas {
    /// For a federation that is one area so far.
    pub fn new(me: RegionId, config: AreaConfig) -> Areas {
        let (backbone, view) = (LinkStateDb::new(), LinkStateDb::new());
        Areas { me, config, map: AreaMap::flat(), backbone, view, entries: BTreeMap::new() }
    }

    /// The same knowledge in the place of another region, for simulations; to be [rebuilt](Self::rebuild).
    pub fn move_to(&mut self, me: RegionId) {
        self.me = me;
        self.entries.clear();
    }

    /// Whether there is more than one area.
    pub fn is_split(&self) -> bool {
        self.map.is_split()
    }

    /// Who belongs where.
    pub fn map(&self) -> &AreaMap {
        &self.map
    }

    /// Whether states are exchanged with a region as with one of the own area.
    pub fn is_inside(&self, region: RegionId) -> bool {
        self.map.same_area(self.me, region)
    }

    /// What the borders say, the own state included.
    pub fn backbone(&self) -> &LinkStateDb {
        &self.backbone
    }

    /// To be flooded to and from everybody.
    pub fn backbone_mut(&mut self) -> &mut LinkStateDb {
        &mut self.backbone
    }

    /// The registry has changed. True if the areas did; what is known about regions in other areas is then no longer to be
    /// held among the inner states, and all has to be announced anew.
    pub fn handle_registry(&mut self, registry: &Registry) -> bool {
        let map = AreaMap::new(registry, &self.config);
        if map == self.map {
            return false;
        }
        self.map = map;
        let gone: Vec<RegionId> =
            self.backbone.regions().filter(|region| self.map.area_of(*region).is_none()).collect();
        for region in gone {
            self.backbone.remove(region);
        }
        true
    }

    /// What routes are computed over.
    pub fn graph<'a>(&'a self, inner: &'a LinkStateDb) -> &'a LinkStateDb {
        if self.is_split() { &self.view } else { inner }
    }

    /// Whether the states of these regions as they are now take something from the graph as it was built.
    pub fn is_outdated(&self, inner: &LinkStateDb, regions: &[RegionId]) -> bool {
        let holds = |region| inner.contains(region) || self.backbone.contains(region);
        self.is_split()
            && regions.iter().filter(|region| holds(**region)).any(|region| {
                let mut links = self.view.links(*region);
                let lost = links.any(|link| {
                    link.hops() == 1
                        && holds(link.to)
                        && self.view.link(*region, link.to).is_some()
                        && !self.is_held(inner, *region, link.to)
                });
                let refuses = inner.no_transit(*region) || self.backbone.no_transit(*region);
                lost || (refuses && !self.view.no_transit(*region))
            })
    }

    /// Builds the graph anew from what is known now.
    pub fn rebuild(&mut self, inner: &LinkStateDb) {
        let mut view = LinkStateDb::new();
        if !self.is_split() {
            (self.backbone, self.entries) = (LinkStateDb::new(), BTreeMap::new());
            self.view = view;
            return;
        }
        let inside = ShortestPaths::compute(self.me, inner, &Avoid::NOTHING);
        // An area that fell apart inside is reached from outside: its other part counts as another area.
        for region in inner.regions().filter(|region| self.is_inside(*region)) {
            if region == self.me || inside.cost(region).is_some() {
                inner.get(region).into_iter().for_each(|state| view.put(state));
            }
        }
        let exits = self.exits(&view);
        let mut outside: BTreeSet<RegionId> =
            self.backbone.regions().filter(|region| !view.contains(*region)).collect();
        outside.extend(exits.keys().copied());
        for region in &outside {
            let unknown = || LinkState {
                region: *region,
                seq: 0,
                relay: UNKNOWN_RELAY,
                no_transit: false,
                links: Vec::new(),
            };
            let mut state = self.backbone.get(*region).unwrap_or_else(unknown);
            for exit in exits.get(region).into_iter().flatten() {
                if state.cost_to(exit.to).is_none() {
                    state.links.push(*exit);
                }
            }
            view.put(state);
        }
        self.add_stubs(&mut view, &outside);
        self.view = view;
    }

    /// The links from the own area, as seen from their far ends. The own area's word is enough for them, so that it can use
    /// those as well that it did not choose for everybody.
    fn exits(&self, view: &LinkStateDb) -> BTreeMap<RegionId, Vec<LinkAdvert>> {
        let mut exits: BTreeMap<RegionId, Vec<LinkAdvert>> = BTreeMap::new();
        for from in view.regions() {
            for link in view.links(from) {
                if self.map.area_of(link.to).is_some() && !self.is_inside(link.to) {
                    exits.entry(link.to).or_default().push(LinkAdvert { to: from, ..link });
                }
            }
        }
        exits
    }

    /// Ties the regions that nothing is known about to the two known ones of their area that are reached best.
    fn add_stubs(&mut self, view: &mut LinkStateDb, outside: &BTreeSet<RegionId>) {
        let paths = ShortestPaths::compute(self.me, view, &Avoid::NOTHING);
        let fewest = fewest_hops(self.me, view);
        let mut found: BTreeMap<RegionId, Vec<(u32, RegionId)>> = BTreeMap::new();
        let mut shortest: Vec<Way> = vec![Way::NONE; usize::from(u16::MAX)];
        for region in outside.iter().filter(|region| !view.no_transit(**region)) {
            let Some((area, cost)) = self.map.area_of(*region).zip(paths.cost(*region)) else {
                continue;
            };
            // An entry stays until another one is nearer by a fifth.
            let held = self.entries.get(&area).is_some_and(|held| held.contains(region));
            let near = if held { cost.units() - cost.units() / 5 } else { cost.units() };
            found.entry(area).or_default().push((near, *region));
            if let (Some(way), Some(hops)) =
                (shortest.get_mut(usize::from(region.get())), fewest.get(region))
            {
                *way = Way { hops: *hops, cost: cost.units(), entry: Some(*region), inside: 0 };
            }
        }
        self.spread(&mut shortest);
        let nearest = |mut ways: Vec<(u32, RegionId)>| {
            ways.sort_unstable();
            ways.truncate(ENTRIES);
            ways.into_iter().map(|(_, region)| region).collect()
        };
        self.entries = found.into_iter().map(|(area, ways)| (area, nearest(ways))).collect();
        // How far the regions of an area are below each of its entries, over the tree.
        let mut below: Vec<Way> = vec![Way::NONE; shortest.len()];
        for entry in self.entries.values().flatten() {
            if let Some(way) = below.get_mut(usize::from(entry.get())) {
                *way = Way { hops: 0, cost: 0, entry: Some(*entry), inside: 0 };
            }
        }
        self.spread(&mut below);
        let mut ties: BTreeMap<RegionId, Vec<LinkAdvert>> = BTreeMap::new();
        for (region, _) in self.map.iter().filter(|(region, _)| *region != self.me) {
            if view.contains(region) {
                continue;
            }
            let at = usize::from(region.get());
            let ways = [shortest.get(at), below.get(at)].into_iter().flatten();
            for way in ways {
                if let Some(entry) = way.entry {
                    // The tree is the longest that a way inside can be. Where it leaves no room in the header, the shortest
                    // way of all is tried nevertheless.
                    let to_entry = fewest.get(&entry).copied().unwrap_or(0);
                    let left = Route::MAX_HOPS.saturating_sub(to_entry).max(1);
                    let is_shortest =
                        shortest.get(at).is_some_and(|best| best.entry == Some(entry));
                    let inside = if is_shortest { way.inside.min(left) } else { way.inside };
                    let tie = LinkAdvert::new(region, LinkCost::ZERO).over_hops(inside);
                    ties.entry(entry).or_default().push(tie);
                }
            }
        }
        for (entry, ties) in ties {
            view.tie(entry, ties, UNKNOWN_RELAY);
        }
    }

    /// From the ways to some regions, the shortest ones to all: each area is gone through over its tree, up and down again.
    fn spread(&self, ways: &mut [Way]) {
        let mut step = |from: RegionId, to: RegionId| {
            let way = ways.get(usize::from(from.get())).copied().map(Way::further);
            if let (Some(way), Some(held)) = (way, ways.get_mut(usize::from(to.get())))
                && way < *held
            {
                *held = way;
            }
        };
        let tree = self.map.tree();
        for (region, parent) in tree.iter().rev() {
            parent.iter().for_each(|parent| step(*region, *parent));
        }
        for (region, parent) in tree {
            parent.iter().for_each(|parent| step(*parent, *region));
        }
    }

    /// What this region has to say as a border of its area; none if it is no border and never was. `own` is its state inside
    /// the area.
    pub fn border_links(&self, inner: &LinkStateDb, own: &LinkState) -> Option<Vec<LinkAdvert>> {
        self.border_links_by(inner, own, &self.chosen_links(inner))
    }

    /// The same with a choice that was made before, for whoever asks for many regions of one area.
    pub fn border_links_by(
        &self,
        inner: &LinkStateDb,
        own: &LinkState,
        chosen: &BTreeSet<(RegionId, RegionId)>,
    ) -> Option<Vec<LinkAdvert>> {
        if !self.is_split() {
            return None;
        }
        let mut links: Vec<LinkAdvert> = Vec::new();
        for link in own.links.iter().filter(|link| !self.is_inside(link.to)) {
            let here = chosen.contains(&(self.me, link.to));
            let there = self
                .backbone
                .advert(link.to, self.me)
                .is_some_and(|back| back.flags & LinkAdvert::CHOSEN != 0);
            if here || there {
                let flag = if here { LinkAdvert::CHOSEN } else { 0 };
                links.push(LinkAdvert { flags: link.flags | flag, ..*link });
            }
        }
        if links.is_empty() {
            return self.backbone.contains(self.me).then(Vec::new);
        }
        let inside = ShortestPaths::compute(self.me, inner, &Avoid::NOTHING);
        let mut ways: Vec<LinkAdvert> = self
            .backbone
            .regions()
            .filter(|border| *border != self.me && self.is_inside(*border))
            .filter(|border| self.backbone.links(*border).any(|link| !self.is_inside(link.to)))
            .filter_map(|border| {
                let route = inside.route(border)?;
                Some(LinkAdvert::new(border, route.cost).over_hops(route.hops.len()))
            })
            .collect();
        ways.sort_unstable_by_key(|way| (way.cost, way.to));
        links.extend(ways);
        links.truncate(LinkState::MAX_LINKS);
        links.sort_unstable_by_key(|link| link.to);
        Some(links)
    }

    /// Whether what a border would say now is worth telling everybody: a link came or went, or a cost has moved by more than
    /// max(5 %, 1 ms).
    pub fn differs(said: &[LinkAdvert], now: &[LinkAdvert]) -> bool {
        let mut said = said.to_vec();
        said.sort_unstable_by_key(|link| link.to);
        said.len() != now.len()
            || said.iter().zip(now).any(|(old, new)| {
                let (was, is) = (old.cost.units(), new.cost.units());
                let slack = (was / 20).max(100);
                old.to != new.to || old.flags != new.flags || was.abs_diff(is) > slack
            })
    }

    /// The links to other areas that this area is for: to each the cheapest ones, to the areas next to it in the tree first.
    /// All regions of an area come to the same choice as far as their copies are the same. A link that was chosen stays until
    /// another one is cheaper by a fifth.
    pub fn chosen_links(&self, inner: &LinkStateDb) -> BTreeSet<(RegionId, RegionId)> {
        let Some(here) = self.map.area_of(self.me) else { return BTreeSet::new() };
        let mut by_area: BTreeMap<RegionId, Vec<(u32, RegionId, RegionId)>> = BTreeMap::new();
        for from in inner.regions().filter(|region| self.is_inside(*region)) {
            for link in inner.links(from) {
                let Some(area) = self.map.area_of(link.to).filter(|area| *area != here) else {
                    continue;
                };
                let held = self.backbone.advert(from, link.to);
                let held = held.is_some_and(|said| said.flags & LinkAdvert::CHOSEN != 0);
                let cost = link.cost.units();
                let cost = if held { cost - cost / 5 } else { cost };
                by_area.entry(area).or_default().push((cost, from, link.to));
            }
        }
        let mut areas: Vec<(bool, u32, RegionId)> = Vec::new();
        for (area, links) in &mut by_area {
            links.sort_unstable();
            let nearest = links.first().map_or(u32::MAX, |(cost, _, _)| *cost);
            areas.push((!self.map.are_tree_neighbours(here, *area), nearest, *area));
        }
        areas.sort_unstable();
        // First one link to each area, as far as it goes, then the next one to each.
        let mut chosen = BTreeSet::new();
        for rank in 0..self.config.links_between {
            for (far, _, area) in &areas {
                let room = chosen.len() < self.config.max_cross || (!far && rank == 0);
                let link = by_area.get(area).and_then(|links| links.get(rank));
                if let (true, Some((_, from, to))) = (room, link) {
                    chosen.insert((*from, *to));
                }
            }
        }
        chosen
    }

    /// Whether both ends say that there is a link, each in the place where it says so, or the near end of a link out of the
    /// own area.
    fn is_held(&self, inner: &LinkStateDb, from: RegionId, to: RegionId) -> bool {
        let says = |a, b| inner.advert(a, b).is_some() || self.backbone.advert(a, b).is_some();
        let leaves = |a, b| self.is_inside(a) && !self.is_inside(b) && inner.advert(a, b).is_some();
        (says(from, to) && says(to, from)) || leaves(from, to) || leaves(to, from)
    }

    /// The relays to put in front of `next`, which a frame's header names and which is no neighbour: the cheapest way inside
    /// the area with at most `room` relays, none of them `named` in the header. None where there is none, so also for a region
    /// of another area.
    pub fn way_inside(
        &self,
        inner: &LinkStateDb,
        next: RegionId,
        named: &[RegionId],
        room: usize,
    ) -> Option<Vec<RegionId>> {
        if !self.is_split() || !self.is_inside(next) {
            return None;
        }
        let mut avoid = named.to_vec();
        // There is no link to it, whatever the states say.
        avoid.push(next);
        let best = detour(self.me, next, inner, &avoid).map(|route| route.relays().to_vec());
        best.filter(|relays| relays.len() <= room)
            .or_else(|| self.short_way(inner, next, &avoid, room))
    }

    /// The cheapest way with few relays, where the cheapest of all has too many: one layer per hop.
    fn short_way(
        &self,
        inner: &LinkStateDb,
        next: RegionId,
        avoid: &[RegionId],
        room: usize,
    ) -> Option<Vec<RegionId>> {
        let mut layer: BTreeMap<RegionId, (u64, Vec<RegionId>)> =
            BTreeMap::from([(self.me, (0, Vec::new()))]);
        let mut best: Option<(u64, Vec<RegionId>)> = None;
        for hop in 0..=room.min(Route::MAX_HOPS - 1) {
            let mut ahead: BTreeMap<RegionId, (u64, Vec<RegionId>)> = BTreeMap::new();
            for (here, (cost, path)) in &layer {
                let relay =
                    if hop == 0 { LinkCost::ZERO } else { inner.relay(*here).unwrap_or_default() };
                if hop > 0 && inner.no_transit(*here) {
                    continue;
                }
                for link in inner.links(*here) {
                    if inner.link(*here, link.to).is_none() || path.contains(&link.to) {
                        continue;
                    }
                    let cost = cost + u64::from(link.cost.units()) + u64::from(relay.units());
                    if link.to == next {
                        if hop > 0 && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                            best = Some((cost, path.clone()));
                        }
                    } else if !avoid.contains(&link.to) && link.to != self.me {
                        let better = ahead.get(&link.to).is_none_or(|(least, _)| cost < *least);
                        if better {
                            let path = path.iter().copied().chain([link.to]).collect();
                            ahead.insert(link.to, (cost, path));
                        }
                    }
                }
            }
            layer = ahead;
        }
        best.map(|(_, path)| path)
    }

    /// Bytes of heap that the backbone and the graph take.
    pub fn memory_bytes(&self) -> usize {
        let entry = size_of::<(RegionId, RegionId)>() + 8;
        self.backbone.memory_bytes() + self.view.memory_bytes() + self.map.iter().count() * entry
    }
}

/// The links of the shortest path to each region that the header can hold, whatever it costs.
fn fewest_hops(from: RegionId, view: &LinkStateDb) -> BTreeMap<RegionId, usize> {
    let mut fewest = BTreeMap::new();
    let mut layers: Vec<Vec<RegionId>> = vec![Vec::new(); Route::MAX_HOPS + 1];
    layers.first_mut().into_iter().for_each(|layer| layer.push(from));
    for hops in 0..=Route::MAX_HOPS {
        for here in layers.get_mut(hops).map(std::mem::take).unwrap_or_default() {
            if fewest.contains_key(&here) {
                continue;
            }
            fewest.insert(here, hops);
            if hops > 0 && view.no_transit(here) {
                continue;
            }
            for edge in view.edges(here) {
                if let Some(layer) = layers.get_mut(hops + edge.hops()) {
                    layer.push(edge.target());
                }
            }
        }
    }
    fewest
}

/// A way into another area and on over its tree; those with fewer hops come first.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    hops: usize,
    cost: u32,
    entry: Option<RegionId>,
    /// Of the hops, those after the entry.
    inside: usize,
}

impl Way {
    const NONE: Way = Way { hops: usize::MAX, cost: u32::MAX, entry: None, inside: 0 };

    fn further(self) -> Way {
        Way { hops: self.hops.saturating_add(1), inside: self.inside.saturating_add(1), ..self }
    }
}

/// Entries of an area that are taken because they are near.
const ENTRIES: usize = 2;
/// Of a region that has not said what a frame in transit costs there: 50 µs.
const UNKNOWN_RELAY: LinkCost = LinkCost::from_units(5);

#[cfg(test)]
mod tests;
