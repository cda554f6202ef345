//! What areas leave to be known and to be told.

use std::collections::BTreeMap;
use std::hint::black_box;

use fedist_registry::{
    AdvertPace, AreaConfig, Areas, Avoid, LinkAdvert, LinkCost, LinkEstimate, LinkState,
    LinkStateDb, Micros, RegionId, Registry, Route, RouteTable, ShortestPaths,
};
use serde::Serialize;

use crate::goal::percentile;
use crate::rtt_model::RttModel;
use crate::scale::{DIGEST_LINE_BYTES, PACKET_BYTES, packed_len};
use crate::wiring::region_id;
use crate::{Wiring, World};

/// A federation that is divided into areas, as one region of it sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AreaLoad {
    /// Areas.
    pub areas: usize,
    /// Regions of the largest one.
    pub largest_area: usize,
    /// Regions whose links to other areas everybody knows.
    pub borders: usize,
    /// Heap of the states of the own area, of the borders' states, of the graph and of the map, in the largest area.
    pub state_bytes: usize,
    /// Heap of the route table.
    pub table_bytes: usize,
    /// Regions that the table reaches.
    pub reached: usize,
    /// Frames that were sent from those regions to random others.
    pub frames: usize,
    /// Of them, those that arrived: a header holds six relays, which is not enough for every way.
    pub arrived: f64,
    /// What their ways cost against the cheapest of all, as somebody would find it who knows all links: the median.
    pub stretch_p50: f64,
    /// 99 of 100 are at most this.
    pub stretch_p99: f64,
    /// One run of shortest paths over that graph, in ms: the median of a sample of regions.
    pub spf_median_ms: f64,
    /// Building the graph, in ms: the median.
    pub rebuild_median_ms: f64,
    /// New states per region and hour inside an area.
    pub inner_states_per_hour: f64,
    /// New states per border and hour.
    pub border_states_per_hour: f64,
    /// One border's state as it travels, in bytes, in the mean.
    pub border_state_bytes: f64,
    /// What a region of the largest area receives, in kbit/s.
    pub kbit_per_s: f64,
}

/// Divides a federation and looks at it from `samples` regions of its largest area. None if it is one area.
///
/// All borders' states are made by the engine from what their areas know. How often they change comes from one area that is
/// followed for `span`: made-up round trips of all its links, the estimates, the pace of announcements, and what each of its
/// borders then says anew.
pub fn area_load(
    world: &World,
    wiring: &Wiring,
    registry: &Registry,
    config: &AreaConfig,
    follow: &Follow,
    samples: usize,
    clock: &mut dyn FnMut() -> Micros,
) -> Option<AreaLoad> {
    let me = region_id(0)?;
    let mut engine = Areas::new(me, *config);
    if !engine.handle_registry(registry) || !engine.is_split() {
        return None;
    }
    let mut members: BTreeMap<RegionId, Vec<usize>> = BTreeMap::new();
    for (region, area) in engine.map().iter() {
        members.entry(area).or_default().push(usize::from(region.get()) - 1);
    }
    let inner_of = |regions: &[usize]| {
        let mut inner = LinkStateDb::new();
        for region in regions {
            if let Some(state) = wiring.link_state(world, *region) {
                inner.apply(state);
            }
        }
        inner
    };
    // The first round tells who is chosen, the second what follows: the other ends, and the ways between borders.
    for round in 0..2 {
        for regions in members.values() {
            let inner = inner_of(regions);
            let Some(first) = regions.first().copied().and_then(region_id) else { continue };
            engine.move_to(first);
            let chosen = engine.chosen_links(&inner);
            for region in regions {
                let Some((id, own)) = region_id(*region).zip(wiring.link_state(world, *region))
                else {
                    continue;
                };
                let crosses = own.links.iter().any(|link| !engine.is_inside(link.to));
                engine.move_to(id);
                let links = crosses.then(|| engine.border_links_by(&inner, &own, &chosen));
                if let Some(links) = links.flatten() {
                    let seq = round + 1;
                    engine.backbone_mut().apply(LinkState { seq, links, ..own });
                }
            }
        }
    }
    let (_, largest) = members.iter().max_by_key(|(_, regions)| regions.len())?;
    let inner = inner_of(largest);
    let (mut spf, mut rebuilds, mut reached) = (Vec::new(), Vec::new(), usize::MAX);
    let (mut state_bytes, mut table_bytes) = (0, 0);
    let (mut frames, mut stretches) = (0, Vec::new());
    let mut everything = LinkStateDb::new();
    for region in 0..wiring.len() {
        wiring.link_state(world, region).into_iter().for_each(|state| {
            everything.apply(state);
        });
    }
    let mut random = fastrand::Rng::with_seed(follow.seed);
    for sample in 0..samples {
        let at = largest.get(sample * largest.len() / samples.max(1)).copied();
        let Some(origin) = at.and_then(region_id) else { continue };
        engine.move_to(origin);
        let mut timed = |work: &mut dyn FnMut()| {
            let start = clock();
            work();
            clock().saturating_sub(start).0 as f64 / 1e3
        };
        rebuilds.push(timed(&mut || engine.rebuild(&inner)));
        let graph = engine.graph(&inner);
        spf.push(timed(&mut || {
            black_box(ShortestPaths::compute(origin, graph, &Avoid::NOTHING));
        }));
        let table = RouteTable::compute(origin, graph);
        state_bytes = state_bytes.max(inner.memory_bytes() + engine.memory_bytes());
        table_bytes = table_bytes.max(table.memory_bytes());
        reached = reached.min(table.len());
        let cheapest = ShortestPaths::compute(origin, &everything, &Avoid::NOTHING);
        for _ in 0..FRAMES {
            let to = region_id(random.usize(0..wiring.len())).filter(|to| *to != origin);
            let Some((to, least)) = to.and_then(|to| Some((to, cheapest.cost(to)?))) else {
                continue;
            };
            frames += 1;
            let route = table.get(to).map(|route| route.hops.to_vec()).unwrap_or_default();
            let inner_of = |area| members.get(&area).map(|area| inner_of(area)).unwrap_or_default();
            if let Some(cost) = send(&mut engine, &everything, origin, route, inner_of) {
                stretches.push(f64::from(cost.units()) / f64::from(least.units().max(1)));
            }
        }
    }
    let arrived = stretches.len() as f64 / f64::from(u32::try_from(frames.max(1)).unwrap_or(1));
    let borders = engine.backbone().len();
    let state_sizes: Vec<usize> =
        engine.backbone().iter().map(|state| packed_len(&state)).collect();
    let border_state_bytes = state_sizes.iter().sum::<usize>() as f64 / borders.max(1) as f64;
    let inner_bytes: usize = inner.iter().map(|state| packed_len(&state)).sum();
    let inner_state_bytes = inner_bytes as f64 / largest.len().max(1) as f64;
    // An area of middling size is followed.
    let mut by_size: Vec<&Vec<usize>> = members.values().filter(|area| area.len() > 1).collect();
    by_size.sort_unstable_by_key(|area| area.len());
    let followed = by_size.get(by_size.len() / 2)?;
    let rates = follow_area(world, &mut engine, inner_of(followed), followed, follow);
    let degree = 2.0 * wiring.link_count() as f64 / wiring.len().max(1) as f64;
    let beside = PACKET_BYTES + (degree - 2.0).max(0.0) * DIGEST_LINE_BYTES;
    let inner_bytes_per_hour =
        largest.len() as f64 * rates.inner_per_hour * (inner_state_bytes + beside);
    let border_bytes_per_hour =
        borders as f64 * rates.border_per_hour * (border_state_bytes + beside);
    Some(AreaLoad {
        areas: members.len(),
        largest_area: largest.len(),
        borders,
        state_bytes,
        table_bytes,
        reached: if reached == usize::MAX { 0 } else { reached },
        frames,
        arrived,
        stretch_p50: percentile(&mut stretches, 0.5),
        stretch_p99: percentile(&mut stretches, 0.99),
        spf_median_ms: percentile(&mut spf, 0.5),
        rebuild_median_ms: percentile(&mut rebuilds, 0.5),
        inner_states_per_hour: rates.inner_per_hour,
        border_states_per_hour: rates.border_per_hour,
        border_state_bytes,
        kbit_per_s: (inner_bytes_per_hour + border_bytes_per_hour) * 8.0 / 3_600.0 / 1e3,
    })
}

/// Sends a frame along a route as hubs do: whoever is to send it to a region that is no neighbour puts its own way inside in
/// front. What the way cost; none if it got stuck.
fn send(
    engine: &mut Areas,
    links: &LinkStateDb,
    origin: RegionId,
    route: Vec<RegionId>,
    inner_of: impl Fn(RegionId) -> LinkStateDb,
) -> Option<LinkCost> {
    let destination = route.last().copied()?;
    let mut passed = vec![origin];
    let mut ahead = route;
    let mut cost = LinkCost::ZERO;
    while let Some(next) = ahead.first().copied() {
        let at = passed.last().copied()?;
        if let Some(link) = links.link(at, next) {
            let relay = if at == origin { LinkCost::ZERO } else { links.relay(at)? };
            cost = cost + link.cost + relay;
            passed.push(next);
            ahead.remove(0);
            continue;
        }
        let relays = passed.len() - 1 + ahead.len() - 1;
        let named: Vec<RegionId> = passed.iter().chain(&ahead).copied().collect();
        engine.move_to(at);
        let inner = inner_of(engine.map().area_of(at)?);
        let room = (Route::MAX_HOPS - 1).checked_sub(relays)?;
        let more = engine.way_inside(&inner, next, &named, room)?;
        ahead.splice(0..0, more);
    }
    (passed.last() == Some(&destination)).then_some(cost)
}

const FRAMES: usize = 40;

/// How one area is followed.
#[derive(Copy, Clone, Debug)]
pub struct Follow {
    /// Shifts of the way per link and hour; see [`RttModel`].
    pub shifts_per_hour: f64,
    /// Time between two measurements of a link.
    pub interval: Micros,
    /// For how long; ten minutes before are not counted.
    pub span: Micros,
    /// Of the round trips.
    pub seed: u64,
}

struct Rates {
    inner_per_hour: f64,
    border_per_hour: f64,
}

struct End {
    to: RegionId,
    model: RttModel,
    estimate: LinkEstimate,
    pace: AdvertPace,
}

fn follow_area(
    world: &World,
    engine: &mut Areas,
    mut inner: LinkStateDb,
    area: &[usize],
    follow: &Follow,
) -> Rates {
    let mut ends: Vec<(RegionId, Vec<End>)> = Vec::new();
    for (at, state) in area.iter().zip(inner.iter()) {
        let end = |link: &LinkAdvert| {
            let far = usize::from(link.to.get()) - 1;
            let rtt = 2 * world.one_way_us(*at, far)?;
            let seed = crate::mix::mix(follow.seed ^ ((*at as u64) << 16) ^ far as u64);
            Some(End {
                to: link.to,
                model: RttModel::new(rtt, follow.shifts_per_hour, seed),
                estimate: LinkEstimate::new(),
                pace: AdvertPace::proven(),
            })
        };
        ends.push((state.region, state.links.iter().filter_map(end).collect()));
    }
    let borders: Vec<RegionId> =
        engine.backbone().regions().filter(|id| ends.iter().any(|(held, _)| held == id)).collect();
    let mut said: BTreeMap<RegionId, Vec<LinkAdvert>> = BTreeMap::new();
    let warm_up = Micros::from_secs(600);
    let (mut inner_states, mut border_states) = (0_u64, 0_u64);
    let mut now = Micros::ZERO;
    while now < warm_up + follow.span {
        now += follow.interval;
        let mut moved = false;
        for (region, ends) in &mut ends {
            let mut wanting = false;
            for end in ends.iter_mut() {
                end.estimate.sample(now, end.model.sample(follow.interval));
                wanting |= end.estimate.cost(now).is_some_and(|cost| end.pace.wants(now, cost));
            }
            if !wanting {
                continue;
            }
            let Some(mut state) = inner.get(*region) else { continue };
            for end in ends.iter_mut() {
                if let Some(cost) = end.estimate.cost(now) {
                    end.pace.record(now, cost);
                    let link = state.links.iter_mut().find(|link| link.to == end.to);
                    link.into_iter().for_each(|link| link.cost = cost);
                }
            }
            state.seq += 1;
            inner.apply(state);
            moved = true;
            inner_states += u64::from(now > warm_up);
        }
        // Borders look at what their area says when routes are computed, a few seconds after the change at most.
        if !moved || !(now.0 / follow.interval.0).is_multiple_of(4) {
            continue;
        }
        let Some(first) = borders.first().copied() else { continue };
        engine.move_to(first);
        let chosen = engine.chosen_links(&inner);
        for border in &borders {
            engine.move_to(*border);
            let Some(own) = inner.get(*border) else { continue };
            let Some(links) = engine.border_links_by(&inner, &own, &chosen) else { continue };
            let held = said.entry(*border).or_default();
            if Areas::differs(held, &links) {
                *held = links;
                border_states += u64::from(now > warm_up);
            }
        }
    }
    let hours = follow.span.0 as f64 / 3.6e9;
    Rates {
        inner_per_hour: inner_states as f64 / area.len().max(1) as f64 / hours,
        border_per_hour: border_states as f64 / borders.len().max(1) as f64 / hours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_reached_over_areas_and_much_less_is_told() {
        let world = World::generate(300, 8);
        let wiring = Wiring::generate(&world, 8);
        let config = AreaConfig { above: 100, max_area: 40, ..AreaConfig::default() };
        let follow = Follow {
            shifts_per_hour: 0.5,
            interval: Micros::from_secs(5),
            span: Micros::from_secs(600),
            seed: 1,
        };
        let mut now = 0;
        let mut clock = || {
            now += 1_000;
            Micros(now)
        };
        let registry = wiring.registry();
        let load = area_load(&world, &wiring, &registry, &config, &follow, 3, &mut clock).unwrap();
        assert!(load.areas > 5 && load.largest_area <= 40, "{load:?}");
        assert!(load.borders > load.areas / 2 && load.borders < 300, "{load:?}");
        assert!(load.reached >= 290, "{load:?}");
        assert!(load.frames > 100 && load.arrived > 0.95, "{load:?}");
        assert!(load.stretch_p50 >= 1.0 && load.stretch_p50 < 1.5, "{load:?}");
        let all = AreaConfig { above: 300, ..config };
        assert_eq!(area_load(&world, &wiring, &registry, &all, &follow, 3, &mut clock), None);
    }
}
