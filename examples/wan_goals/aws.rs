//! The AWS regions as real processes: what routes over relays save, and how few links are enough.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Context as _;
use fedist::{
    NodeStatus,
    registry::{Coordinates, RegionId},
    transport::emulator::LatencyMatrix,
};

use super::{
    Row, note, percentile,
    protocol::{Command, Mesh},
    say,
    stage::{Federation, Plan, Site, region},
};

/// What a relay costs each way, in ms, as the design's figures assume.
const RELAY_MS: f64 = 0.05;

pub(crate) const SAVING_ROWS: &[&str] = &["aws-saving-at-once", "aws-saving-2min"];

pub(crate) const STRETCH_ROWS: &[&str] =
    &["aws-stretch-p50", "aws-stretch-p99", "aws-links-per-region", "registry-everywhere-p99"];

/// The first `count` places of the matrix, spread over the world. The parents are the nearest of the first four, whose
/// parent is the first.
pub(crate) fn plan(count: usize, mesh: Mesh) -> (Plan, Oracle) {
    let matrix = LatencyMatrix::aws();
    let picked = matrix.pick(count);
    let oracle = Oracle::new(&matrix, &picked);
    let sites = picked.iter().enumerate().map(|(at, place)| Site {
        name: matrix.id(*place).unwrap_or("place").to_owned(),
        parent: match at {
            0 => None,
            1..HUBS => Some(region(0)),
            _ => (0..HUBS.min(count))
                .min_by(|a, b| oracle.direct[at][*a].total_cmp(&oracle.direct[at][*b]))
                .map(region),
        },
        coordinates: matrix.place(*place).and_then(|place| Coordinates::new(place.lat, place.lon)),
    });
    let direct = oracle.direct.clone();
    let plan = Plan {
        sites: sites.collect(),
        delay: Some(Box::new(move |a, b| Duration::from_secs_f64(direct[a][b] / 1e3))),
        mesh,
    };
    (plan, oracle)
}

/// What is known of the places from outside: one-way times in ms, direct and over the best relays.
pub(crate) struct Oracle {
    pub(crate) direct: Vec<Vec<f64>>,
    best: Vec<Vec<f64>>,
}

impl Oracle {
    fn new(matrix: &LatencyMatrix, picked: &[usize]) -> Self {
        let one_way = |a: usize, b: usize| match a == b {
            true => 0.0,
            // A round trip is the same from either end: the emulated link takes one value for both directions.
            false => {
                let there = matrix.rtt_ms(picked[a], picked[b]);
                let back = matrix.rtt_ms(picked[b], picked[a]);
                there.into_iter().chain(back).fold(f64::INFINITY, f64::min) / 2.0
            }
        };
        let count = picked.len();
        let direct: Vec<Vec<f64>> =
            (0..count).map(|a| (0..count).map(|b| one_way(a, b)).collect()).collect();
        // Floyd and Warshall, each relay at its price.
        let mut best = direct.clone();
        for via in 0..count {
            for a in (0..count).filter(|a| *a != via) {
                for b in (0..count).filter(|b| *b != via && *b != a) {
                    best[a][b] = best[a][b].min(best[a][via] + RELAY_MS + best[via][b]);
                }
            }
        }
        Self { direct, best }
    }

    /// What a path costs, by the matrix.
    pub(crate) fn cost(&self, path: &[RegionId]) -> f64 {
        let at = |id: RegionId| usize::from(id.get()) - 1;
        let links: f64 = path.windows(2).map(|hop| self.direct[at(hop[0])][at(hop[1])]).sum();
        links + RELAY_MS * path.len().saturating_sub(2) as f64
    }

    /// Whether every place has a route to every other.
    fn is_whole(&self, statuses: &BTreeMap<RegionId, NodeStatus>) -> anyhow::Result<()> {
        let (seen, all) =
            (self.paths(statuses).count(), self.direct.len() * (self.direct.len() - 1));
        anyhow::ensure!(seen == all, "only {seen} of {all} pairs have a route");
        Ok(())
    }

    /// Of what offline Dijkstra saves against the direct ways of all pairs, the share that these routes save.
    fn saving_kept(&self, statuses: &BTreeMap<RegionId, NodeStatus>) -> f64 {
        let (mut kept, mut possible) = (0.0, 0.0);
        for (pair, cost) in self.paths(statuses) {
            kept += self.direct[pair.0][pair.1] - cost;
            possible += self.direct[pair.0][pair.1] - self.best[pair.0][pair.1];
        }
        100.0 * kept / possible
    }

    /// The pairs with the greatest stretch, with what their regions measured of the links in between, and of a direct link if
    /// there is one.
    fn tell_worst(&self, statuses: &BTreeMap<RegionId, NodeStatus>) {
        let measured = |a: RegionId, b: RegionId| {
            let link = statuses.get(&a)?.links.iter().find(|link| link.peer == b)?;
            Some((link.cost_ms?, link.reason, link.closing))
        };
        let mut pairs: Vec<_> = statuses
            .iter()
            .flat_map(|(from, status)| status.routes.iter().map(move |route| (*from, route)))
            .map(|(from, route)| {
                let cost = self.cost(&route.path);
                (cost / self.cost(&[from, route.to]), cost, from, route)
            })
            .collect();
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut counters: BTreeMap<&str, u64> = BTreeMap::new();
        for (what, count) in statuses.values().flat_map(|status| &status.counters) {
            *counters.entry(what).or_default() += count;
        }
        let told = counters.iter().filter(|(what, _)| {
            ["link", "dial", "flood"].iter().any(|group| what.starts_with(group))
        });
        let told: Vec<String> = told.map(|(what, count)| format!("{what} {count}")).collect();
        note(&format!("  all regions together: {}", told.join(", ")));
        for (stretch, cost, from, route) in pairs.iter().take(WORST) {
            let links = route.path.windows(2).map(|hop| {
                let told = measured(hop[0], hop[1]).map_or(f64::NAN, |(ms, ..)| ms);
                format!("-{told:.1}/{:.1}-> {}", self.cost(hop), hop[1])
            });
            let links: Vec<String> = links.collect();
            let direct = match measured(*from, route.to) {
                None => "no link".to_owned(),
                Some((ms, reason, closing)) => {
                    format!("a link of {ms:.1} ms, {reason}, closing {closing}")
                }
            };
            note(&format!(
                "  {from} {}: {stretch:.3}, {cost:.1} ms for {:.1} direct, told {:.1}, for {} s; {direct}",
                links.join(" "),
                self.cost(&[*from, route.to]),
                route.cost_ms,
                route.since_ms / 1_000,
            ));
        }
    }

    /// Says how far what the regions measure is from what the emulator does, and what would be saved if all took the cheapest
    /// paths by what they were told: what is missing then lies in the measurements, the rest in how routes are held.
    fn tell_measured(&self, statuses: &BTreeMap<RegionId, NodeStatus>) {
        let at = |id: RegionId| usize::from(id.get()) - 1;
        let count = self.direct.len();
        let (mut excess, mut queueing) = (Vec::new(), Vec::new());
        let mut told = vec![vec![f64::INFINITY; count]; count];
        for (from, link) in statuses
            .iter()
            .flat_map(|(from, status)| status.links.iter().map(move |link| (at(*from), link)))
        {
            let to = at(link.peer);
            excess.extend(link.rtt_min_ms.map(|least| least / 2.0 - self.direct[from][to]));
            queueing.extend(link.queueing_ms);
            told[from][to] = link.told_ms.unwrap_or(f64::INFINITY);
        }
        let spread = |of: &[f64]| {
            let shares = [0.5, 0.9, 0.99].map(|share| format!("{:.2}", percentile(of, share)));
            shares.join(" ")
        };
        let relay: BTreeMap<usize, f64> = statuses
            .iter()
            .map(|(id, status)| (at(*id), status.relay_cost_us as f64 / 1e3))
            .collect();
        let mut paid = self.direct.clone();
        for via in 0..count {
            let price = relay.get(&via).copied().unwrap_or(f64::INFINITY);
            for a in (0..count).filter(|a| *a != via) {
                for b in (0..count).filter(|b| *b != via && *b != a) {
                    let over = told[a][via] + price + told[via][b];
                    if over < told[a][b] {
                        told[a][b] = over;
                        paid[a][b] = paid[a][via] + RELAY_MS + paid[via][b];
                    }
                }
            }
        }
        let sum = |matrix: &[Vec<f64>]| matrix.iter().flatten().sum::<f64>();
        let (direct, best) = (sum(&self.direct), sum(&self.best));
        note(&format!(
            "   p50, p90, p99 in ms: least one-way times are {} too long, queueing {}; cheapest by what was told {:.1} %",
            spread(&excess),
            spread(&queueing),
            100.0 * (direct - sum(&paid)) / (direct - best),
        ));
    }

    fn stretches(&self, statuses: &BTreeMap<RegionId, NodeStatus>) -> Vec<f64> {
        self.paths(statuses).map(|(pair, cost)| cost / self.direct[pair.0][pair.1]).collect()
    }

    /// Every pair of places that has a route, and what the route costs.
    fn paths(
        &self,
        statuses: &BTreeMap<RegionId, NodeStatus>,
    ) -> impl Iterator<Item = ((usize, usize), f64)> {
        statuses.iter().flat_map(move |(from, status)| {
            status.routes.iter().map(move |route| {
                let pair = (usize::from(from.get()) - 1, usize::from(route.to.get()) - 1);
                (pair, self.cost(&route.path))
            })
        })
    }
}

/// All links open: the share of the possible saving that is there at once, and after two minutes.
pub(crate) fn saving(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (plan, oracle) = plan(REGIONS, Mesh::Full);
    let federation = Federation::start(plan)?;
    federation.chatter(Some(Duration::from_millis(2_000)))?;
    wait_for_links(&federation, REGIONS - 1)?;
    // The links are there and not measured yet: that takes processor time, which all handshakes of all regions on this
    // machine have used up. Link costs settle for 3 s after that, and are advertised within 5 s.
    wait_for_calm(&federation)?;
    thread::sleep(Duration::from_secs(8));
    let statuses = federation.statuses()?;
    oracle.is_whole(&statuses)?;
    let at_once = oracle.saving_kept(&statuses);
    oracle.tell_measured(&statuses);
    let row = Row::at_least("aws-saving-at-once", at_once, 75.0, "%", "100 by offline Dijkstra");
    say(rows, row);
    for _ in 0..4 {
        thread::sleep(Duration::from_secs(30));
        let statuses = federation.statuses()?;
        note(&format!("   {:.1} %", oracle.saving_kept(&statuses)));
        oracle.tell_measured(&statuses);
    }
    let statuses = federation.statuses()?;
    oracle.is_whole(&statuses)?;
    let later = oracle.saving_kept(&statuses);
    say(rows, Row::at_least("aws-saving-2min", later, 95.0, "%", "100 by offline Dijkstra"));
    federation.end();
    Ok(())
}

/// The mesh that the regions choose by themselves, with everybody talking to everybody.
pub(crate) fn stretch(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (plan, oracle) = plan(REGIONS, Mesh::Adaptive);
    let mut federation = Federation::start(plan)?;
    federation.chatter(Some(Duration::from_millis(1_000)))?;
    thread::sleep(Duration::from_secs(180));
    let statuses = federation.statuses()?;
    oracle.is_whole(&statuses)?;
    let stretches = oracle.stretches(&statuses);
    oracle.tell_worst(&statuses);
    let limit = "1.0; greedy lower bound 5.2 links";
    say(rows, Row::at_most("aws-stretch-p50", percentile(&stretches, 0.5), 1.02, "x", limit));
    say(rows, Row::at_most("aws-stretch-p99", percentile(&stretches, 0.99), 1.10, "x", limit));
    let links: usize = statuses.values().map(|status| status.links.len()).sum();
    let links = links as f64 / statuses.len() as f64;
    say(rows, Row::at_most("aws-links-per-region", links, 8.0, "links", "5.2"));
    newcomer_known_everywhere(&mut federation, rows)?;
    federation.end();
    Ok(())
}

/// How long it takes until a change of the registry is known everywhere: a region leaves the list of those that are
/// unknown when it joins.
fn newcomer_known_everywhere(
    federation: &mut Federation,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let mut spread = Vec::new();
    for _ in 0..NEWCOMERS {
        let (newcomer, join) = federation.newcomer()?;
        let watch =
            federation.watchers(|_| Command::Knows { region: newcomer, patience_ms: 60_000 })?;
        join.answer::<()>(super::stage::PATIENCE)?;
        let known = watch.answers::<super::protocol::At>(super::stage::PATIENCE)?;
        let times: Vec<u64> = known.iter().map(|(_, at)| at.at_us).collect();
        let first = times.iter().min().context("nobody watches")?;
        spread.extend(times.iter().map(|at| (at - first) as f64 / 1e3));
    }
    let limit = "61-68 median flood";
    say(
        rows,
        Row::at_most("registry-everywhere-p99", percentile(&spread, 0.99), 1_000.0, "ms", limit),
    );
    Ok(())
}

/// Waits until no region's thread is short of time any more, two minutes at most; says how it went.
fn wait_for_calm(federation: &Federation) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    loop {
        let statuses = federation.statuses()?;
        let busiest = statuses.values().map(|status| status.utilisation).fold(0.0, f64::max);
        let waited = begun.elapsed();
        note(&format!(
            "   after {:.0} s the busiest region is busy for {:.0} %",
            waited.as_secs_f64(),
            100.0 * busiest
        ));
        if busiest < CALM || waited >= Duration::from_secs(120) {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(5));
    }
}

fn wait_for_links(federation: &Federation, count: usize) -> anyhow::Result<()> {
    for _ in 0..300 {
        let statuses = federation.statuses()?;
        if statuses.values().all(|status| status.links.len() >= count) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(200));
    }
    anyhow::bail!("not all links came up")
}

/// All places of the AWS matrix.
pub(crate) const REGIONS: usize = 32;
const HUBS: usize = 4;
/// Pairs that are told of as the worst: beyond the 99th percentile, and some more.
const WORST: usize = 24;
/// Of its time: a thread that waits for a processor this long measures the processor and not its links.
const CALM: f64 = 0.2;
const NEWCOMERS: usize = 5;
