//! The planner of the mesh in a measured world: how few links give ways that are nearly direct.

use std::collections::{BTreeMap, BTreeSet};

use fedist_registry::{
    Avoid, Change, Coordinates, DialTurn, KeyHash, LinkAdvert, LinkCost, LinkState, LinkStateDb,
    MeshConfig, MeshPlanner, MeshView, Micros, OpenLink, RegionId, RegionRecord, Registry,
    SetUpEstimate, ShortestPaths, Status,
};

use crate::goal::percentile;
use crate::wiring::region_id;
use crate::{GoalRow, RttMatrix};

/// A federation in which every region plans its links once a second, everybody talks to everybody, and frames go by the
/// cheapest way. What somebody advertises is known everywhere at once.
#[derive(Debug)]
pub struct AdaptiveMesh {
    matrix: RttMatrix,
    registry: Registry,
    regions: Vec<Region>,
    /// By the lower and the higher end.
    links: BTreeMap<(usize, usize), Link>,
    seconds: u64,
    changes: usize,
}

#[derive(Debug)]
struct Region {
    planner: MeshPlanner,
    wants: BTreeSet<usize>,
    retiring: BTreeSet<usize>,
    /// Since when this region waits for the other end to dial.
    waiting: BTreeMap<usize, u64>,
}

#[derive(Debug)]
struct Link {
    dialed_by: usize,
    since: Micros,
    carried: u64,
}

impl AdaptiveMesh {
    /// The first of `hubs` is the root, the others are below it, and every other region is below its nearest hub.
    pub fn new(
        matrix: RttMatrix,
        hubs: &[usize],
        place: impl Fn(usize) -> Option<Coordinates>,
    ) -> AdaptiveMesh {
        let mut registry = Registry::new();
        let others = (0..matrix.len()).filter(|region| !hubs.contains(region));
        for region in hubs.iter().copied().chain(others) {
            let parent = match hubs.iter().position(|hub| *hub == region) {
                Some(0) => None,
                Some(_) => hubs.first().copied(),
                None => hubs
                    .iter()
                    .copied()
                    .min_by_key(|hub| matrix.one_way_us(region, *hub).unwrap_or(u64::MAX)),
            };
            let (Some(id), Ok(name)) = (region_id(region), format!("region-{region}").parse())
            else {
                continue;
            };
            let mut key = [1; 32];
            key[..8].copy_from_slice(&(region as u64).to_be_bytes());
            let record = RegionRecord {
                id,
                name,
                parent: parent.and_then(region_id),
                addresses: vec![format!("r{region}.example:4433")],
                key_hash: KeyHash(key),
                status: Status::Joining,
                coordinates: place(region),
            };
            // Refused only where the hubs make no tree: such a region stays outside.
            let _ = registry.propose(1, Change::Join(record));
            let _ = registry.propose(1, Change::Live(id));
        }
        let planner = |id| MeshPlanner::new(id, MeshConfig::default());
        let regions = (0..matrix.len()).filter_map(region_id).map(|id| Region {
            planner: planner(id),
            wants: BTreeSet::new(),
            retiring: BTreeSet::new(),
            waiting: BTreeMap::new(),
        });
        AdaptiveMesh {
            regions: regions.collect(),
            matrix,
            registry,
            links: BTreeMap::new(),
            seconds: 0,
            changes: 0,
        }
    }

    /// One second, in which every region sends `messages` to every other one.
    pub fn run_second(&mut self, messages: u64) {
        self.seconds += 1;
        let now = Micros::from_secs(self.seconds);
        let db = self.database();
        if messages > 0 {
            self.send(&db, messages);
        }
        let mut plans = Vec::new();
        for at in 0..self.regions.len() {
            let links = self.open_links(at);
            let matrix = &self.matrix;
            let view = MeshView {
                registry: &self.registry,
                db: &db,
                links: &links,
                strained: false,
                path: &|_| None,
                set_up: &|_| SetUpEstimate::new(),
                dialable: &|peer| matrix.one_way_us(at, index(peer)).is_some(),
            };
            if let Some(region) = self.regions.get_mut(at) {
                plans.push(region.planner.plan(now, &view));
            }
        }
        for (at, (plan, region)) in plans.iter().zip(&mut self.regions).enumerate() {
            for wanted in &plan.wanted {
                let peer = index(wanted.peer);
                if self.links.contains_key(&pair(at, peer)) {
                    continue;
                }
                let since = *region.waiting.entry(peer).or_insert(self.seconds);
                let dials = match wanted.turn {
                    DialTurn::First => true,
                    DialTurn::Second => self.seconds >= since + 2,
                    DialTurn::Theirs => false,
                };
                if dials {
                    self.changes += 1;
                    let link = Link { dialed_by: at, since: now, carried: 0 };
                    self.links.insert(pair(at, peer), link);
                    region.waiting.remove(&peer);
                }
            }
            region.wants = plan.wanted.iter().map(|wanted| index(wanted.peer)).collect();
            region.retiring = plan.retiring.iter().map(|peer| index(*peer)).collect();
        }
        for (at, plan) in plans.iter().enumerate() {
            for peer in plan.close.iter().map(|peer| index(*peer)) {
                self.changes += usize::from(self.links.remove(&pair(at, peer)).is_some());
                for (end, other) in [(at, peer), (peer, at)] {
                    if let Some(region) = self.regions.get_mut(end) {
                        region.retiring.remove(&other);
                    }
                }
            }
        }
    }

    /// Links of a region, in the mean.
    pub fn links_per_region(&self) -> f64 {
        2.0 * self.links.len() as f64 / self.regions.len().max(1) as f64
    }

    /// Links opened and closed since the start.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// The way against the direct one, of all measured pairs.
    pub fn stretches(&self) -> Vec<f64> {
        let db = self.database();
        let mut all = Vec::new();
        for from in 0..self.regions.len() {
            let Some(origin) = region_id(from) else { continue };
            let paths = ShortestPaths::compute(origin, &db, &Avoid::NOTHING);
            for to in from + 1..self.regions.len() {
                let Some(direct) = self.matrix.one_way_us(from, to) else { continue };
                let way = region_id(to).and_then(|to| paths.cost(to));
                let way = way.map_or(f64::INFINITY, |cost| cost.as_micros() as f64);
                all.push(way / direct.max(1) as f64);
            }
        }
        all
    }

    /// Pairs (in both directions) that the failure of one region would separate.
    pub fn cut_off(&self) -> usize {
        let db = self.database();
        let mut cut = 0;
        for lost in 0..self.regions.len() {
            let (Some(gone), Some(origin)) = (region_id(lost), region_id(usize::from(lost == 0)))
            else {
                continue;
            };
            let without = |region| region == gone;
            let avoid = Avoid { first_links: &without, relays: &without };
            let paths = ShortestPaths::compute(origin, &db, &avoid);
            let others = (0..self.regions.len()).filter_map(region_id);
            cut += others
                .filter(|to| *to != gone && *to != origin && paths.cost(*to).is_none())
                .count();
        }
        cut
    }

    fn send(&mut self, db: &LinkStateDb, messages: u64) {
        for from in 0..self.regions.len() {
            let Some(origin) = region_id(from) else { continue };
            let paths = ShortestPaths::compute(origin, db, &Avoid::NOTHING);
            for to in (0..self.regions.len()).filter(|to| *to != from).filter_map(region_id) {
                if let Some(region) = self.regions.get_mut(from) {
                    region.planner.handle_traffic(to, messages, 100 * messages);
                }
                let mut at = from;
                for hop in paths.route(to).iter().flat_map(|route| &route.hops) {
                    if let Some(link) = self.links.get_mut(&pair(at, index(*hop))) {
                        link.carried += messages;
                    }
                    at = index(*hop);
                }
            }
        }
    }

    fn open_links(&self, at: usize) -> Vec<OpenLink> {
        let own = self.links.iter().filter(|((a, b), _)| *a == at || *b == at);
        own.filter_map(|((a, b), link)| {
            let peer = if *a == at { *b } else { *a };
            Some(OpenLink {
                peer: region_id(peer)?,
                dialed: link.dialed_by == at,
                since: link.since,
                cost: self.matrix.one_way_us(at, peer).map(LinkCost::from_micros),
                carried: link.carried,
                peer_wants: self.regions.get(peer).is_some_and(|peer| peer.wants.contains(&at)),
            })
        })
        .collect()
    }

    /// What everybody advertises: its links, but for those that one end is about to close.
    fn database(&self) -> LinkStateDb {
        let mut adverts: Vec<Vec<LinkAdvert>> = vec![Vec::new(); self.regions.len()];
        let retires = |at: usize, peer: usize| {
            self.regions.get(at).is_some_and(|region| region.retiring.contains(&peer))
        };
        for (a, b) in self.links.keys().copied() {
            if retires(a, b) || retires(b, a) {
                continue;
            }
            for (from, to) in [(a, b), (b, a)] {
                if let (Some(links), Some(id), Some(us)) =
                    (adverts.get_mut(from), region_id(to), self.matrix.one_way_us(from, to))
                {
                    links.push(LinkAdvert::new(id, LinkCost::from_micros(us)));
                }
            }
        }
        let mut db = LinkStateDb::new();
        for (at, links) in adverts.into_iter().enumerate() {
            if let Some(region) = region_id(at) {
                let relay = LinkCost::from_micros(RELAY_US);
                db.apply(LinkState { region, seq: 1, relay, no_transit: false, links });
            }
        }
        db
    }
}

/// Stretch and links of the mesh after two minutes of traffic, under names that start with `name`.
pub fn mesh_rows(
    name: &str,
    matrix: RttMatrix,
    hubs: &[usize],
    place: impl Fn(usize) -> Option<Coordinates>,
    links_goal: f64,
    links_limit: &str,
) -> Vec<GoalRow> {
    let mut mesh = AdaptiveMesh::new(matrix, hubs, place);
    for _ in 0..120 {
        mesh.run_second(2);
    }
    let mut stretches = mesh.stretches();
    let links = mesh.links_per_region();
    let limit = format!("1.0; greedy lower bound {links_limit} links");
    let row = |what: &str| format!("{name}-{what}");
    let (p50, p99) = (percentile(&mut stretches, 0.5), percentile(&mut stretches, 0.99));
    vec![
        GoalRow::at_most(&row("stretch-p50"), p50, 1.02, "x", &limit),
        GoalRow::at_most(&row("stretch-p99"), p99, 1.10, "x", &limit),
        GoalRow::at_most(&row("links-per-region"), links, links_goal, "links", links_limit),
        GoalRow::at_most(&row("cut-off-by-one-loss"), mesh.cut_off() as f64, 0.0, "pairs", "0"),
    ]
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn index(id: RegionId) -> usize {
    usize::from(id.get()) - 1
}

const RELAY_US: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn after_two_minutes_the_mesh_is_nearly_direct_whole_and_at_rest() {
        let world = World::generate(24, 3);
        let rtt =
            |a, b| (a != b).then(|| world.one_way_us(a, b)).flatten().map(|us| us as f64 / 500.0);
        let matrix = RttMatrix::from_fn(24, rtt);
        let mut mesh = AdaptiveMesh::new(matrix, &[0, 1, 2, 3], |_| None);
        for _ in 0..120 {
            mesh.run_second(2);
        }
        let mut stretches = mesh.stretches();
        assert_eq!(stretches.len(), 24 * 23 / 2);
        let p99 = percentile(&mut stretches, 0.99);
        assert!(p99 < 1.2, "{p99}");
        assert!(mesh.links_per_region() < 14.0, "{}", mesh.links_per_region());
        assert_eq!(mesh.cut_off(), 0);
        let changes = mesh.changes();
        for _ in 0..20 {
            mesh.run_second(2);
        }
        assert!(mesh.changes() - changes <= 4, "{} changes", mesh.changes() - changes);
    }
}
