//! The planner of the mesh on the latencies of real clouds: all regions plan once a second, every pair talks, frames go by
//! the cheapest way. The goals are those of the design: stretch against direct, links per region, nobody cut off.

use std::collections::{BTreeMap, BTreeSet};

use fedist_registry::{
    Change, Coordinates, DialTurn, KeyHash, LinkAdvert, LinkCost, LinkState, LinkStateDb,
    MeshConfig, MeshPlanner, MeshView, Micros, OpenLink, RegionId, RegionRecord, Registry,
    SetUpEstimate, Status,
};
use fedist_transport::emulator::LatencyMatrix;

/// A relay's own time, in µs.
const RELAY: u64 = 50;

#[derive(Clone)]
struct Link {
    dialed_by: usize,
    since: Micros,
    carried: u64,
}

pub(crate) struct Federation {
    /// One way in µs; `None` where the matrix has no figure, so no link can be there.
    latency: Vec<Vec<Option<u64>>>,
    registry: Registry,
    planners: Vec<MeshPlanner>,
    links: BTreeMap<(usize, usize), Link>,
    /// Who keeps which link, and who has taken which out of the routes.
    wants: Vec<BTreeSet<usize>>,
    retiring: Vec<BTreeSet<usize>>,
    second_since: BTreeMap<(usize, usize), u64>,
    seconds: u64,
    opened: usize,
    closed: usize,
    /// By how much measured costs are off, in per mille, anew every ten seconds for each link.
    noise: u64,
}

fn id(index: usize) -> RegionId {
    RegionId::new(u16::try_from(index).unwrap() + 1).unwrap()
}

fn index(id: RegionId) -> usize {
    usize::from(id.get()) - 1
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Federation {
    /// Six hubs far apart, the first one the root; every other region is below the hub that is nearest to it.
    fn new(matrix: &LatencyMatrix, with_coordinates: bool) -> Federation {
        let count = matrix.len();
        let one_way = |a: usize, b: usize| {
            let ms = matrix.one_way_ms(a, b).filter(|_| a != b)?;
            Some((ms * 1000.0).round() as u64)
        };
        let latency: Vec<Vec<Option<u64>>> =
            (0..count).map(|a| (0..count).map(|b| one_way(a, b)).collect()).collect();
        let hubs = matrix.pick(6);
        let mut registry = Registry::new();
        let others = (0..count).filter(|index| !hubs.contains(index));
        for region in hubs.iter().copied().chain(others) {
            let parent = match hubs.iter().position(|hub| *hub == region) {
                Some(0) => None,
                Some(_) => Some(hubs[0]),
                None => {
                    hubs.iter().copied().min_by_key(|hub| latency[region][*hub].unwrap_or(u64::MAX))
                }
            };
            let place = matrix.place(region).filter(|_| with_coordinates);
            registry
                .propose(
                    1,
                    Change::Join(RegionRecord {
                        id: id(region),
                        name: format!("r{region}").parse().unwrap(),
                        parent: parent.map(id),
                        addresses: vec![format!("r{region}.example:4433")],
                        key_hash: KeyHash([region as u8 + 1; 32]),
                        status: Status::Joining,
                        coordinates: place.and_then(|at| Coordinates::new(at.lat, at.lon)),
                    }),
                )
                .unwrap();
            registry.propose(1, Change::Live(id(region))).unwrap();
        }
        Federation {
            latency,
            registry,
            planners: (0..count)
                .map(|region| MeshPlanner::new(id(region), MeshConfig::default()))
                .collect(),
            links: BTreeMap::new(),
            wants: vec![BTreeSet::new(); count],
            retiring: vec![BTreeSet::new(); count],
            second_since: BTreeMap::new(),
            seconds: 0,
            opened: 0,
            closed: 0,
            noise: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.latency.len()
    }

    /// The links in use, with their latencies.
    fn edges(&self) -> Vec<(usize, usize, u64)> {
        self.links
            .keys()
            .filter(|(a, b)| !self.retiring[*a].contains(b) && !self.retiring[*b].contains(a))
            .map(|(a, b)| (*a, *b, self.latency[*a][*b].unwrap()))
            .collect()
    }

    /// What the two ends of a link measure now.
    fn measured(&self, a: usize, b: usize) -> LinkCost {
        let micros = self.latency[a][b].unwrap();
        let (a, b) = pair(a, b);
        let seed = (self.seconds / 10 * 1000 + a as u64) * 1000 + b as u64;
        let off = fastrand::Rng::with_seed(seed).u64(0..=2 * self.noise);
        LinkCost::from_micros(micros * (1000 + off - self.noise) / 1000)
    }

    fn database(&self) -> LinkStateDb {
        let mut adverts: Vec<Vec<LinkAdvert>> = vec![Vec::new(); self.len()];
        for (a, b, _) in self.edges() {
            let cost = self.measured(a, b);
            adverts[a].push(LinkAdvert::new(id(b), cost));
            adverts[b].push(LinkAdvert::new(id(a), cost));
        }
        let mut db = LinkStateDb::new();
        for (region, links) in adverts.into_iter().enumerate() {
            db.apply(LinkState {
                region: id(region),
                seq: 1,
                relay: LinkCost::from_micros(RELAY),
                no_transit: false,
                links,
            });
        }
        db
    }

    fn neighbours(&self) -> Vec<Vec<(usize, u64)>> {
        let mut near = vec![Vec::new(); self.len()];
        for (a, b, micros) in self.edges() {
            near[a].push((b, micros));
            near[b].push((a, micros));
        }
        near
    }

    /// Cheapest ways from one region by Dijkstra, with the region before each, without `lost`.
    fn ways(
        &self,
        near: &[Vec<(usize, u64)>],
        from: usize,
        lost: Option<usize>,
    ) -> Vec<(u64, usize)> {
        let mut ways = vec![(u64::MAX, from); self.len()];
        let mut done = vec![false; self.len()];
        ways[from].0 = 0;
        for _ in 0..self.len() {
            let open = (0..self.len()).filter(|at| !done[*at] && ways[*at].0 < u64::MAX);
            let Some(at) = open.min_by_key(|at| ways[*at].0) else {
                break;
            };
            done[at] = true;
            let relay = if at == from { 0 } else { RELAY };
            for (to, micros) in near[at].iter().filter(|(to, _)| Some(*to) != lost) {
                let cost = ways[at].0 + relay + micros;
                if cost < ways[*to].0 {
                    ways[*to] = (cost, at);
                }
            }
        }
        ways
    }

    /// One second: every region sends `messages` to every other, and plans.
    fn second(&mut self, messages: u64) {
        self.seconds += 1;
        let now = Micros::from_secs(self.seconds);
        if messages > 0 {
            let near = self.neighbours();
            for from in 0..self.len() {
                let ways = self.ways(&near, from, None);
                for to in (0..self.len()).filter(|to| *to != from) {
                    self.planners[from].handle_traffic(id(to), messages, 100 * messages);
                    let mut at = to;
                    while at != from && ways[to].0 < u64::MAX {
                        let before = ways[at].1;
                        if let Some(link) = self.links.get_mut(&pair(at, before)) {
                            link.carried += messages;
                        }
                        at = before;
                    }
                }
            }
        }
        let db = self.database();
        let plans: Vec<_> = (0..self.len())
            .map(|region| {
                let links: Vec<OpenLink> = self
                    .links
                    .iter()
                    .filter(|((a, b), _)| *a == region || *b == region)
                    .map(|((a, b), link)| {
                        let peer = if *a == region { *b } else { *a };
                        OpenLink {
                            peer: id(peer),
                            dialed: link.dialed_by == region,
                            since: link.since,
                            cost: Some(self.measured(*a, *b)),
                            carried: link.carried,
                            peer_wants: self.wants[peer].contains(&region),
                        }
                    })
                    .collect();
                let latency = &self.latency[region];
                let view = MeshView {
                    registry: &self.registry,
                    db: &db,
                    links: &links,
                    strained: false,
                    path: &|_| None,
                    set_up: &|_| SetUpEstimate::new(),
                    dialable: &|peer| latency[index(peer)].is_some(),
                };
                self.planners[region].plan(now, &view)
            })
            .collect();
        for (region, plan) in plans.iter().enumerate() {
            for wanted in &plan.wanted {
                let peer = index(wanted.peer);
                if self.links.contains_key(&pair(region, peer)) {
                    continue;
                }
                let since = *self.second_since.entry((region, peer)).or_insert(self.seconds);
                let dials = match wanted.turn {
                    DialTurn::First => true,
                    DialTurn::Second => self.seconds >= since + 2,
                    DialTurn::Theirs => false,
                };
                if dials {
                    self.opened += 1;
                    let link = Link { dialed_by: region, since: now, carried: 0 };
                    self.links.insert(pair(region, peer), link);
                    self.second_since.remove(&(region, peer));
                }
            }
            self.wants[region] = plan.wanted.iter().map(|wanted| index(wanted.peer)).collect();
            self.retiring[region] = plan.retiring.iter().map(|peer| index(*peer)).collect();
        }
        for (region, plan) in plans.iter().enumerate() {
            for peer in &plan.close {
                let peer = index(*peer);
                self.closed += usize::from(self.links.remove(&pair(region, peer)).is_some());
                self.retiring[region].remove(&peer);
                self.retiring[peer].remove(&region);
            }
        }
    }

    /// Links opened and closed in so many seconds of traffic.
    fn changes_in(&mut self, seconds: u64) -> usize {
        let before = self.opened + self.closed;
        for _ in 0..seconds {
            self.second(2);
        }
        self.opened + self.closed - before
    }

    pub(crate) fn links_per_region(&self) -> f64 {
        2.0 * self.links.len() as f64 / self.len() as f64
    }

    /// Way against direct latency, of all pairs with a figure: the median and the 99th percentile.
    pub(crate) fn stretch(&self) -> (f64, f64) {
        let (near, mut all) = (self.neighbours(), Vec::new());
        for from in 0..self.len() {
            let ways = self.ways(&near, from, None);
            for (to, (cost, _)) in ways.iter().enumerate().skip(from + 1) {
                if let Some(direct) = self.latency[from][to] {
                    all.push(*cost as f64 / direct.max(1) as f64);
                }
            }
        }
        all.sort_by(f64::total_cmp);
        (all[all.len() / 2], all[all.len() * 99 / 100])
    }

    /// Pairs that the failure of one region would separate.
    pub(crate) fn cut_off(&self) -> usize {
        let (near, mut cut) = (self.neighbours(), 0);
        for lost in 0..self.len() {
            let from = usize::from(lost == 0);
            let ways = self.ways(&near, from, Some(lost));
            cut += (0..self.len()).filter(|to| *to != lost && ways[*to].0 == u64::MAX).count();
        }
        cut
    }
}

/// A federation after two minutes of traffic between all pairs.
pub(crate) fn converged(matrix: &LatencyMatrix, with_coordinates: bool) -> Federation {
    let mut federation = Federation::new(matrix, with_coordinates);
    for _ in 0..120 {
        federation.second(2);
    }
    federation
}

/// Two minutes of traffic to reach the goals, one more to stay there.
#[cfg(test)]
fn check(matrix: &LatencyMatrix, links_at_most: f64, with_coordinates: bool) {
    let mut federation = converged(matrix, with_coordinates);
    let (p50, p99) = federation.stretch();
    let links = federation.links_per_region();
    println!("{links:.2} links per region, stretch p50 {p50:.4}, p99 {p99:.4}");
    assert!(p50 <= 1.02, "stretch p50 {p50:.4}");
    assert!(p99 <= 1.10, "stretch p99 {p99:.4}");
    assert!(links <= links_at_most, "{links:.2} links per region");
    assert_eq!(federation.cut_off(), 0, "pairs that one failure would separate");
    let quiet = federation.changes_in(30);
    assert!(quiet <= federation.len() / 5, "{quiet} links opened or closed in half a minute");
    // Measurements that are off by up to 3 %, anew every ten seconds, do not make links come and go.
    federation.noise = 30;
    federation.changes_in(60);
    let noisy = federation.changes_in(60);
    println!("{quiet} links opened or closed after that, {noisy} in a minute of noise");
    let some = federation.links.len() * 3 / 10;
    assert!(noisy <= some, "{noisy} links opened or closed in a minute");
    let (_, p99) = federation.stretch();
    assert!(p99 <= 1.10, "stretch p99 {p99:.4}");
}

#[test]
fn on_the_aws_matrix_ways_are_nearly_direct_with_eight_links() {
    check(&LatencyMatrix::aws(), 8.0, true);
}

#[test]
fn on_the_azure_matrix_ways_are_nearly_direct_with_eleven_links() {
    check(&LatencyMatrix::azure(), 11.0, true);
}

#[test]
fn regions_that_are_on_no_map_find_the_same_links_by_trying() {
    check(&LatencyMatrix::aws(), 8.0, false);
}

#[test]
fn without_traffic_the_always_set_alone_is_there_and_nobody_is_cut_off_by_one_failure() {
    let mut federation = Federation::new(&LatencyMatrix::aws(), true);
    for _ in 0..60 {
        federation.second(0);
    }
    assert_eq!(federation.cut_off(), 0);
    let quiet = federation.links_per_region();
    assert!(quiet <= 8.0, "{quiet:.2} links per region");
    for _ in 0..60 {
        federation.second(2);
    }
    // Nobody talks any more: what the traffic had paid for goes, slowly and without cutting anybody off.
    for _ in 0..300 {
        federation.second(0);
    }
    assert!(federation.links_per_region() <= quiet + 0.5, "{:.2}", federation.links_per_region());
    assert_eq!(federation.cut_off(), 0);
}
