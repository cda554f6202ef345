//! The mesh of the demo: who is root, hub and leaf, who links to whom. Pure.
//!
//! Root and hubs are the most central places. A hub links to the root and to the two nearest hubs
//! before it, a leaf to its parent and to the nearest other of root and hubs. So there are about
//! two links to a region, and any one of root and hubs can be lost without cutting off another region.

use fedist::registry::RegionId;

/// What a region is in the tree.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Region 1, where the registry is written.
    Root,
    /// Child of the root; relays for its leaves.
    Hub,
    /// Child of a hub, or of the root where that is much nearer.
    Leaf,
}

/// One region of the plan. Regions are named by their place in [`Plan::regions`], counted from 0.
#[derive(Clone, Debug)]
pub(crate) struct PlannedRegion {
    /// Its number.
    pub(crate) id: RegionId,
    /// Its row in the delays that the plan was made from.
    pub(crate) place: usize,
    /// Root, hub or leaf.
    pub(crate) role: Role,
    /// The parent in the hierarchy.
    pub(crate) parent: Option<usize>,
    /// Whom it dials: the parent first. All of them start in an earlier wave.
    pub(crate) dials: Vec<usize>,
    /// Regions of one wave start together, once those of the waves before are live.
    pub(crate) wave: usize,
}

/// A way to lose a relay: traffic from leaf to leaf, and the hub on its best route.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Detour {
    pub(crate) source: usize,
    pub(crate) sink: usize,
    pub(crate) hub: usize,
    /// How much longer the best route without the hub is, in ms.
    pub(crate) margin_ms: f64,
}

/// The whole mesh.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) regions: Vec<PlannedRegion>,
    /// One-way delay from region to region, in ms.
    delay_ms: Vec<Vec<f64>>,
    /// The other ends of each region's links.
    neighbours: Vec<Vec<usize>>,
}

impl Plan {
    /// Plans a mesh of `delay_ms.len()` places, 4 to 32, with these one-way delays between them.
    /// `None` if there are fewer than 4.
    pub(crate) fn new(delay_ms: &[Vec<f64>]) -> Option<Plan> {
        let n = delay_ms.len();
        if n < FEWEST {
            return None;
        }
        let hubs = ((n as f64).sqrt().round() as usize).clamp(1, n - 3);
        let cores = if n <= 8 { subsets(n, hubs + 1) } else { vec![medoids(delay_ms, hubs + 1)] };
        let plans = cores
            .iter()
            .flat_map(|core| core.iter().map(|root| Plan::build(delay_ms, core, *root)));
        plans.min_by(|a, b| a.badness().total_cmp(&b.badness()))
    }

    /// The planned links, each once, the dialing region first.
    pub(crate) fn links(&self) -> Vec<(usize, usize)> {
        let of = |(from, region): (usize, &PlannedRegion)| {
            region.dials.iter().map(|to| (from, *to)).collect::<Vec<_>>()
        };
        self.regions.iter().enumerate().flat_map(of).collect()
    }

    /// How many links all-to-all would have.
    pub(crate) fn links_all_to_all(&self) -> usize {
        let n = self.regions.len();
        n * (n - 1) / 2
    }

    /// The number of waves.
    pub(crate) fn waves(&self) -> usize {
        self.regions.iter().map(|region| region.wave + 1).max().unwrap_or(0)
    }

    /// The sum of the delays along a path of region numbers; `None` if one is not of the plan.
    pub(crate) fn path_ms(&self, path: &[RegionId]) -> Option<f64> {
        let mut sum = 0.0;
        for pair in path.windows(2) {
            sum += self.delay_ms[self.index(pair[0])?][self.index(pair[1])?];
        }
        Some(sum)
    }

    /// The place of a region number in [`Plan::regions`].
    pub(crate) fn index(&self, id: RegionId) -> Option<usize> {
        self.regions.iter().position(|region| region.id == id)
    }

    /// The delay of the best route, and the route, without one of the regions.
    pub(crate) fn route(
        &self,
        from: usize,
        to: usize,
        without: Option<usize>,
    ) -> Option<(f64, Vec<usize>)> {
        let best = self.routes_from(from, without);
        let mut path = vec![to];
        let mut at = to;
        while at != from {
            at = best[at]?.1;
            path.push(at);
        }
        path.reverse();
        best[to].map(|(cost, _)| (cost, path))
    }

    /// Dijkstra: the cost to each region, and the region before it on the way.
    fn routes_from(&self, from: usize, without: Option<usize>) -> Vec<Option<(f64, usize)>> {
        let n = self.regions.len();
        let mut best: Vec<Option<(f64, usize)>> = vec![None; n];
        let mut open: Vec<usize> = (0..n).collect();
        best[from] = Some((0.0, from));
        loop {
            let costs = open.iter().filter_map(|i| best[*i].map(|(cost, _)| (cost, *i)));
            let Some((cost, here)) = costs.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                return best;
            };
            open.retain(|i| *i != here);
            for there in &self.neighbours[here] {
                let cost = cost + self.delay_ms[here][*there] + RELAY_MS;
                let better = best[*there].is_none_or(|(known, _)| cost < known);
                if Some(*there) != without && better {
                    best[*there] = Some((cost, here));
                }
            }
        }
    }

    /// Pairs of leaves with a hub between them, and a route without it; the clearest cases first.
    pub(crate) fn detours(&self) -> Vec<Detour> {
        let leaves: Vec<usize> = self.with_role(Role::Leaf).collect();
        let hubs = self.with_role(Role::Hub).map(|hub| (hub, self.routes_from(hub, None)));
        let hubs: Vec<_> = hubs.collect();
        let mut detours = Vec::new();
        for source in &leaves {
            let with = self.routes_from(*source, None);
            for (hub, from_hub) in &hubs {
                let without = self.routes_from(*source, Some(*hub));
                for sink in leaves.iter().filter(|sink| *sink != source) {
                    let costs = (with[*sink], without[*sink], with[*hub], from_hub[*sink]);
                    let (Some(best), Some(other), Some(to_hub), Some(onwards)) = costs else {
                        continue;
                    };
                    // Of equally good routes any may be the one in use.
                    if to_hub.0 + onwards.0 <= best.0 + 1e-9 {
                        detours.push(Detour {
                            source: *source,
                            sink: *sink,
                            hub: *hub,
                            margin_ms: other.0 - best.0,
                        });
                    }
                }
            }
        }
        detours.sort_by(|a, b| b.margin_ms.total_cmp(&a.margin_ms));
        detours
    }

    /// Whether every two others can still reach each other when `lost` is gone.
    pub(crate) fn survives(&self, lost: usize) -> bool {
        let others: Vec<usize> = (0..self.regions.len()).filter(|i| *i != lost).collect();
        let Some(first) = others.first() else {
            return true;
        };
        let reached = self.routes_from(*first, Some(lost));
        others.iter().all(|to| reached[*to].is_some())
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = usize> {
        (0..self.regions.len()).filter(move |i| self.regions[*i].role == role)
    }

    /// The mean delay of all pairs, and half of that to the root; worse with hubs that have no
    /// children, and much worse without a clear detour for the failover.
    fn badness(&self) -> f64 {
        let n = self.regions.len();
        let sum = |from: usize| -> f64 {
            let costs = self.routes_from(from, None).into_iter();
            costs.map(|best| best.map_or(1e9, |(cost, _)| cost)).sum()
        };
        let all: f64 = (0..n).map(sum).sum();
        let mean = all / (n * (n - 1)) as f64 + sum(0) / (2 * (n - 1)) as f64;
        let childless = self.with_role(Role::Hub).filter(|hub| {
            let parents = self.regions.iter().map(|region| region.parent);
            !parents.into_iter().any(|parent| parent == Some(*hub))
        });
        let mean = mean * (1.0 + 0.25 * childless.count() as f64);
        let margin = self.detours().first().map_or(0.0, |detour| detour.margin_ms);
        let wanted = (mean * 0.25).max(CLEAR_MARGIN_MS);
        if margin >= wanted { mean } else { mean + (wanted - margin) * 1e3 }
    }

    fn build(delay_ms: &[Vec<f64>], core: &[usize], root: usize) -> Plan {
        let n = delay_ms.len();
        let by_distance =
            |a: &usize, b: &usize| delay_ms[root][*a].total_cmp(&delay_ms[root][*b]).then(a.cmp(b));
        let mut hubs: Vec<usize> = core.iter().copied().filter(|i| *i != root).collect();
        hubs.sort_by(by_distance);
        let mut leaves: Vec<usize> = (0..n).filter(|i| !core.contains(i)).collect();
        leaves.sort_by(by_distance);
        let places: Vec<usize> = [root].into_iter().chain(hubs).chain(leaves).collect();
        let delay_ms: Vec<Vec<f64>> = places
            .iter()
            .map(|from| places.iter().map(|to| delay_ms[*from][*to]).collect())
            .collect();
        let hubs_end = core.len();
        let nearest = |me: usize, among: &mut dyn Iterator<Item = usize>| {
            among.min_by(|a, b| delay_ms[me][*a].total_cmp(&delay_ms[me][*b]))
        };
        let mut regions: Vec<PlannedRegion> = Vec::new();
        let mut id = RegionId::MIN;
        for (i, place) in places.iter().enumerate() {
            let (role, dials) = match i {
                0 => (Role::Root, [None; 3]),
                _ if i < hubs_end => {
                    let second = nearest(i, &mut (1..i));
                    let third = nearest(i, &mut (1..i).filter(|j| Some(*j) != second));
                    (Role::Hub, [Some(0), second, third])
                }
                _ => {
                    let hub = nearest(i, &mut (1..hubs_end));
                    // Beside the root it would be odd to belong to a hub far away.
                    let at_root = hub.is_some_and(|hub| 2.0 * delay_ms[i][0] < delay_ms[i][hub]);
                    let parent = if at_root { Some(0) } else { hub };
                    let second = nearest(i, &mut (0..hubs_end).filter(|j| Some(*j) != parent));
                    (Role::Leaf, [parent, second, None])
                }
            };
            let parent = dials[0];
            let dials: Vec<usize> = dials.into_iter().flatten().collect();
            let earlier = dials.iter().filter_map(|j| regions.get(*j));
            let after_dialed = earlier.map(|region| region.wave + 1).max().unwrap_or(0);
            regions.push(PlannedRegion {
                id,
                place: *place,
                role,
                parent,
                dials,
                wave: after_dialed,
            });
            id = RegionId::new(id.get().saturating_add(1)).unwrap_or(RegionId::MAX);
        }
        // All leaves in one wave: they wait for one another's hubs anyway.
        let last = regions.iter().map(|region| region.wave).max().unwrap_or(0);
        for leaf in regions.iter_mut().filter(|region| region.role == Role::Leaf) {
            leaf.wave = last;
        }
        let mut neighbours = vec![Vec::new(); n];
        for (i, region) in regions.iter().enumerate() {
            for to in &region.dials {
                neighbours[i].push(*to);
                neighbours[*to].push(i);
            }
        }
        Plan { regions, delay_ms, neighbours }
    }
}

/// `k` places with the least sum of delays from each place to the nearest of them: greedy, then by swaps.
fn medoids(delay_ms: &[Vec<f64>], k: usize) -> Vec<usize> {
    let n = delay_ms.len();
    let cost = |core: &[usize]| -> f64 {
        let to_core = |i: usize| core.iter().map(|c| delay_ms[i][*c]).fold(f64::INFINITY, f64::min);
        (0..n).map(to_core).sum()
    };
    let mut core: Vec<usize> = Vec::new();
    while core.len() < k {
        let with = |i: usize| cost(&[core.as_slice(), &[i]].concat());
        let left = (0..n).filter(|i| !core.contains(i));
        let Some(next) = left.min_by(|a, b| with(*a).total_cmp(&with(*b))) else {
            break;
        };
        core.push(next);
    }
    let mut best = cost(&core);
    let mut improved = true;
    while improved {
        improved = false;
        for at in 0..core.len() {
            for i in 0..n {
                let mut other = core.clone();
                other[at] = i;
                if !core.contains(&i) && cost(&other) < best - 1e-9 {
                    best = cost(&other);
                    core = other;
                    improved = true;
                }
            }
        }
    }
    core
}

fn subsets(n: usize, k: usize) -> Vec<Vec<usize>> {
    let bits = 0_u32..1 << n;
    bits.filter(|bits| bits.count_ones() as usize == k)
        .map(|bits| (0..n).filter(|i| bits & (1 << i) != 0).collect())
        .collect()
}

/// Root, hub and two leaves.
pub(crate) const FEWEST: usize = 4;

/// What a relay takes itself; makes the shorter of two equal routes the better one.
const RELAY_MS: f64 = 0.05;

/// Costs are measured, so a route that is better by less may not be the one in use.
const CLEAR_MARGIN_MS: f64 = 8.0;

#[cfg(test)]
mod tests {
    use fedist::transport::emulator::LatencyMatrix;

    use super::*;

    fn of_matrix(matrix: &LatencyMatrix, n: usize) -> Plan {
        let picked = matrix.pick(n);
        let row = |from: &usize| {
            let cell = |to: &usize| {
                if from == to { 0.0 } else { matrix.one_way_ms(*from, *to).unwrap() }
            };
            picked.iter().map(cell).collect()
        };
        Plan::new(&picked.iter().map(row).collect::<Vec<_>>()).unwrap()
    }

    fn check(plan: &Plan, n: usize) {
        let links = plan.links();
        assert_eq!(plan.regions.len(), n);
        assert!(links.len() < plan.links_all_to_all(), "{} links of {n}", links.len());
        let mut once: Vec<_> = links.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), links.len(), "a link is planned once");
        for (i, region) in plan.regions.iter().enumerate() {
            assert_eq!(usize::from(region.id.get()), i + 1);
            assert_eq!(region.parent.is_none(), region.role == Role::Root);
            assert_eq!(region.dials.first().copied(), region.parent);
            for to in &region.dials {
                assert!(plan.regions[*to].wave < region.wave, "who is dialed starts before");
            }
            if region.role != Role::Leaf {
                assert!(plan.survives(i), "{n} regions survive the loss of region {}", region.id);
            }
        }
        let mut places: Vec<usize> = plan.regions.iter().map(|region| region.place).collect();
        places.sort_unstable();
        assert_eq!(places, (0..n).collect::<Vec<_>>());
        assert!(plan.with_role(Role::Leaf).count() >= 2);
        assert!(plan.waves() <= 9);
    }

    #[test]
    fn every_size_survives_the_loss_of_any_hub_with_fewer_links_than_all_to_all() {
        for matrix in [LatencyMatrix::aws(), LatencyMatrix::azure()] {
            for n in FEWEST..=32 {
                let plan = of_matrix(&matrix, n);
                check(&plan, n);
                let detours = plan.detours();
                let best = detours.first().expect("traffic between leaves through a hub");
                assert!(best.margin_ms >= CLEAR_MARGIN_MS, "{n}: {best:?}");
            }
        }
    }

    #[test]
    fn places_that_are_all_equally_far_or_at_one_spot_can_be_planned() {
        for delay in [0.0, 10.0] {
            for n in [4, 5, 9, 32] {
                let row = |i: usize| (0..n).map(|j| if i == j { 0.0 } else { delay }).collect();
                let plan = Plan::new(&(0..n).map(row).collect::<Vec<_>>()).unwrap();
                check(&plan, n);
                assert!(!plan.detours().is_empty());
            }
        }
        assert!(Plan::new(&vec![vec![0.0; 3]; 3]).is_none());
    }

    #[test]
    fn a_route_goes_around_the_region_left_out() {
        let plan = of_matrix(&LatencyMatrix::aws(), 5);
        let detour = plan.detours().remove(0);
        let (short, with) = plan.route(detour.source, detour.sink, None).unwrap();
        let (long, without) = plan.route(detour.source, detour.sink, Some(detour.hub)).unwrap();
        assert!(with.contains(&detour.hub) && !without.contains(&detour.hub));
        assert!((long - short - detour.margin_ms).abs() < 1e-9);
        let ids: Vec<_> = with.iter().map(|i| plan.regions[*i].id).collect();
        let relays = RELAY_MS * (with.len() - 1) as f64;
        assert!((plan.path_ms(&ids).unwrap() + relays - short).abs() < 1e-9);
    }

    #[test]
    fn the_same_delays_give_the_same_plan() {
        let (a, b) = (of_matrix(&LatencyMatrix::aws(), 12), of_matrix(&LatencyMatrix::aws(), 12));
        assert_eq!(a.links(), b.links());
    }
}
