//! Which way to every region: cheapest paths over the link states, held steady.
//!
//! Every region computes its own table, from its own copy of the link states, and writes the whole path into each frame's
//! header. A table's paths are simple, so a frame cannot loop even while the copies differ.

use std::collections::BTreeMap;
use std::ops::Add;

use petgraph::Direction;
use petgraph::algo::dijkstra;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::{LinkCost, LinkStateDb, RegionId};

/// One way to one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The regions that a frame passes, after the origin; the last is the destination. 1 to [`MAX_HOPS`](Self::MAX_HOPS).
    pub hops: Vec<RegionId>,
    /// Of the whole way, in one direction: its links, and the relay delay of every region in between.
    pub cost: LinkCost,
}

impl Route {
    /// Regions on the way, the destination included, at most: 6 relays fit the header.
    pub const MAX_HOPS: usize = 7;

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
}

/// The best route from one region to every other that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    origin: RegionId,
    routes: BTreeMap<RegionId, Route>,
}

impl RouteTable {
    /// A table that reaches nobody.
    pub fn empty(origin: RegionId) -> RouteTable {
        RouteTable { origin, routes: BTreeMap::new() }
    }

    /// Finds the cheapest path of at most [`Route::MAX_HOPS`] hops to every region.
    ///
    /// A link counts only if both ends advertise it; a region that says *no transit* is never in between. Of paths that
    /// cost the same, the one with fewer hops wins, then the one with the lower region numbers towards its end: the result
    /// depends on the arguments only.
    ///
    /// A path in `previous` stays, at its present cost, while all its links are there and the new one is not cheaper by
    /// more than 5 % of it or 1 ms, whichever is more. A path with a link or a relay that is gone is left at once.
    pub fn compute(
        origin: RegionId,
        db: &LinkStateDb,
        previous: Option<&RouteTable>,
    ) -> RouteTable {
        let mut routes = Topology::new(origin, db, &Avoid::default()).cheapest_paths();
        if let Some(previous) = previous.filter(|table| table.origin == origin) {
            for (destination, best) in &mut routes {
                if let Some(kept) =
                    previous.get(*destination).and_then(|old| worth_keeping(origin, db, old, best))
                {
                    *best = kept;
                }
            }
        }
        RouteTable { origin, routes }
    }

    /// The same table, but a route that passes one of `suspects` makes way for the cheapest one that does not, where there is
    /// one. For the time after a link went silent, when it is not known yet whether only the link or the region is gone:
    /// the other links of a dead region are still advertised until its other neighbours notice.
    pub fn around(mut self, db: &LinkStateDb, suspects: &[RegionId]) -> RouteTable {
        let doubtful = |route: &Route| route.relays().iter().any(|relay| suspects.contains(relay));
        if self.routes.values().any(doubtful) {
            let avoid = Avoid { first_links: &[], relays: suspects };
            let others = Topology::new(self.origin, db, &avoid).cheapest_paths();
            for (destination, route) in &mut self.routes {
                if doubtful(route)
                    && let Some(other) = others.get(destination)
                {
                    *route = other.clone();
                }
            }
        }
        self
    }

    /// Where all these routes start.
    pub fn origin(&self) -> RegionId {
        self.origin
    }

    /// The route to a region; none for one that cannot be reached, and for the origin itself.
    pub fn get(&self, destination: RegionId) -> Option<&Route> {
        self.routes.get(&destination)
    }

    /// All routes in the order of their destinations.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, &Route)> {
        self.routes.iter().map(|(destination, route)| (*destination, route))
    }

    /// How many regions can be reached.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether nobody can be reached.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The destinations whose path is another one than in `old`, those that came or went included. A cost alone is no change.
    pub fn changed_from(&self, old: &RouteTable) -> Vec<RegionId> {
        let path = |table: &RouteTable, to: RegionId| table.get(to).map(|route| route.hops.clone());
        let mut changed: Vec<RegionId> =
            self.routes.keys().chain(old.routes.keys()).copied().collect();
        changed.sort_unstable();
        changed.dedup();
        changed.retain(|to| path(self, *to) != path(old, *to));
        changed
    }
}

/// The cheapest path that does not start with the link to `not_first`: the spare for when that link breaks.
pub fn second_path(
    origin: RegionId,
    destination: RegionId,
    db: &LinkStateDb,
    not_first: RegionId,
) -> Option<Route> {
    let avoid = Avoid { first_links: &[not_first], relays: &[] };
    Topology::new(origin, db, &avoid).cheapest_paths().remove(&destination)
}

/// The cheapest path with none of `avoid` in between, nor over an own link to one of them: how a relay whose next link is
/// dead sends a frame on, around every region that the frame's header already names. Where that dead link led to the
/// destination itself, name the destination too; it is then reached from another side.
pub fn detour(
    origin: RegionId,
    destination: RegionId,
    db: &LinkStateDb,
    avoid: &[RegionId],
) -> Option<Route> {
    let avoid = Avoid { first_links: avoid, relays: avoid };
    Topology::new(origin, db, &avoid).cheapest_paths().remove(&destination)
}

/// What a path must not use, beside what the link states forbid.
#[derive(Default)]
struct Avoid<'a> {
    first_links: &'a [RegionId],
    relays: &'a [RegionId],
}

/// Cost first, then hops; growing along any path, so that equal costs make no loops.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Length {
    cost: u64,
    hops: u32,
}

impl Add for Length {
    type Output = Length;

    fn add(self, other: Length) -> Length {
        Length {
            cost: self.cost.saturating_add(other.cost),
            hops: self.hops.saturating_add(other.hops),
        }
    }
}

/// The usable links as a graph. A link's weight holds the relay delay of the region at its near end, except the origin's.
struct Topology {
    graph: DiGraph<RegionId, Length>,
    origin: Option<NodeIndex>,
}

impl Topology {
    fn new(origin: RegionId, db: &LinkStateDb, avoid: &Avoid<'_>) -> Topology {
        let mut graph = DiGraph::new();
        let nodes: BTreeMap<RegionId, NodeIndex> =
            db.iter().map(|state| (state.region, graph.add_node(state.region))).collect();
        for state in db.iter() {
            let here = state.region;
            let transit = here != origin;
            if transit && (state.no_transit || avoid.relays.contains(&here)) {
                continue;
            }
            let mut neighbours: Vec<RegionId> = state.links.iter().map(|link| link.to).collect();
            neighbours.sort_unstable();
            neighbours.dedup();
            for to in neighbours {
                let skipped =
                    to == here || to == origin || (!transit && avoid.first_links.contains(&to));
                if let (false, Some(cost), Some(from_node), Some(to_node)) =
                    (skipped, db.link(here, to), nodes.get(&here), nodes.get(&to))
                {
                    let relay = if transit { state.relay.units() } else { 0 };
                    let cost = u64::from(cost.units()).saturating_add(u64::from(relay));
                    graph.add_edge(*from_node, *to_node, Length { cost, hops: 1 });
                }
            }
        }
        Topology { graph, origin: nodes.get(&origin).copied() }
    }

    fn cheapest_paths(&self) -> BTreeMap<RegionId, Route> {
        let Some(origin) = self.origin else {
            return BTreeMap::new();
        };
        let lengths = dijkstra(&self.graph, origin, None, |edge| *edge.weight());
        let mut paths = BTreeMap::new();
        let mut too_long = Vec::new();
        for (node, length) in &lengths {
            if *node == origin {
                continue;
            }
            if length.hops as usize > Route::MAX_HOPS {
                too_long.push(*node);
                continue;
            }
            let mut hops = Vec::with_capacity(length.hops as usize);
            let mut at = *node;
            while at != origin {
                hops.push(at);
                let before = self.graph.edges_directed(at, Direction::Incoming).filter(|edge| {
                    let reached =
                        lengths.get(&edge.source()).map(|length| *length + *edge.weight());
                    reached.is_some() && reached == lengths.get(&at).copied()
                });
                match before
                    .map(|edge| edge.source())
                    .min_by_key(|node| self.graph.node_weight(*node))
                {
                    Some(node) => at = node,
                    None => break,
                }
            }
            self.insert(&mut paths, hops, length.cost);
        }
        if !too_long.is_empty() {
            self.add_short_paths(origin, &too_long, &mut paths);
        }
        paths
    }

    /// The cheapest path is too long for the header, but a dearer one may fit: Bellman and Ford's layers, one per hop.
    fn add_short_paths(
        &self,
        origin: NodeIndex,
        wanted: &[NodeIndex],
        paths: &mut BTreeMap<RegionId, Route>,
    ) {
        type Layer = BTreeMap<NodeIndex, (u64, NodeIndex)>;
        let mut layers: Vec<Layer> = vec![Layer::from([(origin, (0, origin))])];
        for _ in 0..Route::MAX_HOPS {
            let mut next = Layer::new();
            for (from, (cost, _)) in layers.last().into_iter().flatten() {
                for edge in self.graph.edges(*from) {
                    let reached = (cost.saturating_add(edge.weight().cost), *from);
                    let best = next.entry(edge.target()).or_insert(reached);
                    *best = reached.min(*best);
                }
            }
            layers.push(next);
        }
        for node in wanted {
            // The cheapest, then the shortest: with a loop in it, a shorter one without would be no dearer.
            let reached = layers
                .iter()
                .enumerate()
                .filter_map(|(hops, layer)| Some((layer.get(node)?.0, hops)));
            let Some((cost, length)) = reached.min() else {
                continue;
            };
            let mut hops = Vec::with_capacity(length);
            let mut at = *node;
            for layer in layers.iter().take(length + 1).skip(1).rev() {
                hops.push(at);
                at = layer.get(&at).map_or(origin, |(_, before)| *before);
            }
            self.insert(paths, hops, cost);
        }
    }

    /// `backwards` starts with the destination and ends before the origin.
    fn insert(&self, paths: &mut BTreeMap<RegionId, Route>, backwards: Vec<NodeIndex>, cost: u64) {
        let hops: Vec<RegionId> = backwards
            .iter()
            .rev()
            .filter_map(|node| self.graph.node_weight(*node))
            .copied()
            .collect();
        if let Some(destination) = hops.last() {
            paths.insert(*destination, Route { cost: as_cost(cost), hops });
        }
    }
}

/// The old path at its present cost, unless it broke or `best` is cheaper by enough to move for.
fn worth_keeping(origin: RegionId, db: &LinkStateDb, old: &Route, best: &Route) -> Option<Route> {
    let cost = present_cost(origin, db, &old.hops)?;
    let margin = (u64::from(cost.units()) / 20).max(MARGIN_UNITS);
    let gain = u64::from(cost.units()).saturating_sub(u64::from(best.cost.units()));
    (gain <= margin).then(|| Route { hops: old.hops.clone(), cost })
}

/// What a path costs now; none if a link is gone or a relay takes no transit.
fn present_cost(origin: RegionId, db: &LinkStateDb, hops: &[RegionId]) -> Option<LinkCost> {
    let mut cost = LinkCost::ZERO;
    let mut at = origin;
    for hop in hops {
        if at != origin {
            let relay = db.get(at).filter(|state| !state.no_transit)?;
            cost += relay.relay;
        }
        cost += db.link(at, *hop)?;
        at = *hop;
    }
    Some(cost)
}

fn as_cost(units: u64) -> LinkCost {
    LinkCost::from_units(u32::try_from(units).unwrap_or(u32::MAX))
}

/// 1 ms.
const MARGIN_UNITS: u64 = 100;

#[cfg(test)]
mod tests;
