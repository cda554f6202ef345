//! The scale model: one table of what a federation of a given size costs and how it reacts.

use std::fmt;

use fedist_registry::{AreaConfig, Change, LogEntry, Micros, RegionId, RegionKey};
use serde::Serialize;

use crate::outage::Spread;
use crate::{
    AdvertRate, AreaLoad, Follow, Footprint, GoalRow, Outage, Propagation, Storm, StormConfig,
    Wiring, World, advert_rate, area_load, footprint, join_storm, link_losses, propagate,
    region_losses,
};

/// What to simulate.
#[derive(Copy, Clone, Debug)]
pub struct ScaleConfig {
    /// Regions; at most as many as there are numbers, 65,534.
    pub regions: usize,
    /// One seed gives one result (but for the times that are measured on the machine).
    pub seed: u64,
    /// Shifts of the way per link and hour; see [`RttModel`](crate::RttModel).
    pub shifts_per_hour: f64,
    /// When and how the federation is divided into areas.
    pub areas: AreaConfig,
    /// Regions whose full state is held, one after the other.
    pub samples: usize,
    /// Links that are cut, one after the other.
    pub link_losses: usize,
    /// Regions that are taken away, one after the other.
    pub region_losses: usize,
    /// Regions that join at once.
    pub newcomers: usize,
}

impl ScaleConfig {
    /// The figures of the design for this many regions; more than 65,534 are taken as 65,534.
    pub fn new(regions: usize, seed: u64) -> ScaleConfig {
        ScaleConfig {
            regions: regions.min(usize::from(RegionId::MAX.get())),
            seed,
            shifts_per_hour: 0.5,
            areas: AreaConfig::default(),
            samples: 12,
            link_losses: 20,
            region_losses: 6,
            newcomers: 1_000.min(regions),
        }
    }
}

/// What the machine is asked for.
pub struct Machine<'a> {
    /// A real clock, for the times of shortest paths and of the registry.
    pub clock: &'a mut dyn FnMut() -> Micros,
    /// Bytes of memory that this process has resident now; none where that is not known.
    pub resident: &'a mut dyn FnMut() -> Option<u64>,
    /// Told what comes next.
    pub progress: &'a mut dyn FnMut(&str),
}

impl fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct ScaleReport {
    /// Regions.
    pub regions: usize,
    /// Of this run.
    pub seed: u64,
    /// Links of a region, in the mean.
    pub links_per_region: f64,
    /// Of the region with the most.
    pub most_links: usize,
    /// Regions above the lowest one.
    pub tree_depth: usize,
    /// Time and memory of routes.
    pub footprint: Footprint,
    /// Memory that the process grew by when it built the registry; none where that is not known.
    pub registry_bytes: Option<u64>,
    /// Entries of the registry's log.
    pub registry_entries: usize,
    /// What the root needs for one change, in µs, without signing and storing it.
    pub registry_change_us: f64,
    /// Link state with everybody's links known everywhere.
    pub link_state: LinkStateLoad,
    /// The same in areas; none for a federation that is one.
    pub areas: Option<AreaLoad>,
    /// A link is cut.
    pub link_loss: Outage,
    /// A region is gone.
    pub region_loss: Outage,
    /// A change of the registry.
    pub propagation: Propagation,
    /// The same while a region below the root is down.
    pub propagation_without_hub: Propagation,
    /// Newcomers at once.
    pub storm: Storm,
}

/// Bytes of link state.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct LinkStateLoad {
    /// New states per region and hour.
    pub states_per_region_hour: f64,
    /// The same per direction of one link; a state that is due for one link says all of them.
    pub adverts_per_link_hour: f64,
    /// Shifts of the way per link and hour that the model makes.
    pub shifts_per_link_hour: f64,
    /// One state as it travels, in bytes, in the mean.
    pub state_bytes: f64,
    /// What one state costs a region, digests and headers included, in bytes.
    pub cost_bytes: f64,
    /// What a region receives, in kbit/s. It sends as much, in the mean.
    pub kbit_per_s: f64,
}

/// Runs the whole model.
pub fn simulate(config: &ScaleConfig, machine: &mut Machine<'_>) -> ScaleReport {
    (machine.progress)("regions and links");
    let world = World::generate(config.regions, config.seed);
    let wiring = Wiring::generate(&world, config.seed);
    let regions = wiring.len();
    let depth = |mut at: usize| {
        let mut depth = 0;
        while let Some(above) = wiring.parent(at) {
            at = above;
            depth += 1;
        }
        depth
    };

    (machine.progress)("registry");
    let before = (machine.resident)();
    let mut registry = wiring.registry();
    let registry_bytes =
        before.zip((machine.resident)()).map(|(before, after)| after.saturating_sub(before));
    let registry_entries = registry.version().index as usize;
    let entry_bytes = signed_len(&registry);
    let log_bytes: usize = registry.snapshot().map_or(0, |snapshot| {
        let header = snapshot.header();
        let buckets = header.buckets.iter().filter_map(|it| snapshot.bucket(it.0));
        packed_len(&header) + buckets.map(|bucket| bucket.len()).sum::<usize>()
    });
    let registry_change_us = change_time(&mut registry, machine);
    (machine.progress)("areas");
    let follow = Follow {
        shifts_per_hour: config.shifts_per_hour,
        interval: Micros::from_secs(5),
        span: Micros::from_secs(1_800),
        seed: config.seed,
    };
    let areas = area_load(
        &world,
        &wiring,
        &registry,
        &config.areas,
        &follow,
        config.samples,
        machine.clock,
    );
    drop(registry);

    (machine.progress)("shortest paths");
    let footprint = footprint(&world, &wiring, config.samples, config.seed, machine.clock);
    (machine.progress)("link state");
    let link_state = link_state_load(&world, &wiring, config);
    (machine.progress)("losses");
    let link_loss = link_losses(&world, &wiring, config.link_losses, config.seed);
    let region_loss = region_losses(&world, &wiring, config.region_losses, config.seed);
    (machine.progress)("registry over the WAN");
    let propagation = propagate(&world, &wiring, &[]);
    let mut below = vec![0_usize; regions];
    for region in 1..regions {
        let mut at = region;
        while let Some(above) = wiring.parent(at).filter(|above| *above != 0) {
            at = above;
        }
        below[at] += 1;
    }
    let hub = (1..regions).max_by_key(|region| below[*region]);
    let without: Vec<usize> = hub.into_iter().collect();
    let propagation_without_hub = propagate(&world, &wiring, &without);
    let storm = StormConfig {
        newcomers: config.newcomers,
        within: Micros::from_secs(1),
        root_service: Micros(registry_change_us as u64 + SIGN_AND_STORE_US),
        snapshot_bytes: log_bytes as u64,
        bandwidth: 125_000_000,
        entry_bytes: entry_bytes as u64,
    };
    let storm = join_storm(&world, &wiring, &storm, config.seed);
    ScaleReport {
        regions,
        seed: config.seed,
        links_per_region: 2.0 * wiring.link_count() as f64 / regions.max(1) as f64,
        most_links: (0..regions).map(|region| wiring.neighbours(region).count()).max().unwrap_or(0),
        tree_depth: (0..regions).map(depth).max().unwrap_or(0),
        footprint,
        registry_bytes,
        registry_entries,
        registry_change_us,
        link_state,
        areas,
        link_loss,
        region_loss,
        propagation,
        propagation_without_hub,
        storm,
    }
}

/// Link states of a sample of regions, and what their links have them say.
fn link_state_load(world: &World, wiring: &Wiring, config: &ScaleConfig) -> LinkStateLoad {
    let step = (wiring.len() / 200).max(1);
    let sampled: Vec<usize> = (0..wiring.len()).step_by(step).collect();
    let rtts = |region: &usize| -> Vec<u64> {
        let ways = wiring.neighbours(*region);
        ways.filter_map(|peer| Some(2 * world.one_way_us(*region, peer)?)).collect()
    };
    let links: Vec<Vec<u64>> = sampled.iter().map(rtts).collect();
    let AdvertRate { per_hour, per_link_hour, .. } = advert_rate(
        &links,
        config.shifts_per_hour,
        Micros::from_secs(5),
        Micros::from_secs(4 * 3_600),
        config.seed,
    );
    let states: Vec<usize> = sampled
        .iter()
        .filter_map(|region| Some(packed_len(&wiring.link_state(world, *region)?)))
        .collect();
    let state_bytes = states.iter().sum::<usize>() as f64 / states.len().max(1) as f64;
    let degree = 2.0 * wiring.link_count() as f64 / wiring.len().max(1) as f64;
    // One full copy over the tree; on each other link a line of a digest.
    let cost_bytes = state_bytes + PACKET_BYTES + (degree - 2.0).max(0.0) * DIGEST_LINE_BYTES;
    let per_second = per_hour * wiring.len() as f64 / 3_600.0;
    LinkStateLoad {
        states_per_region_hour: per_hour,
        adverts_per_link_hour: per_link_hour,
        shifts_per_link_hour: config.shifts_per_hour,
        state_bytes,
        cost_bytes,
        kbit_per_s: per_second * cost_bytes * 8.0 / 1e3,
    }
}

fn change_time(registry: &mut fedist_registry::Registry, machine: &mut Machine<'_>) -> f64 {
    const CHANGES: u64 = 64;
    let Some(record) = registry.live_regions().last().cloned() else { return 0.0 };
    let start = (machine.clock)();
    for number in 0..CHANGES {
        let addresses = vec![format!("r{number}.example.org:4433")];
        let change = Change::Update {
            id: record.id,
            addresses,
            parent: record.parent,
            coordinates: record.coordinates,
        };
        // A change that is refused takes its time as well.
        let _ = registry.propose(1, change);
    }
    (machine.clock)().saturating_sub(start).0 as f64 / CHANGES as f64
}

/// An entry as it travels, with the master's signature.
fn signed_len(registry: &fedist_registry::Registry) -> usize {
    let (Some(last), Ok(key)) = (registry.log().last(), RegionKey::from_seed(&[7; 32])) else {
        return 0;
    };
    let mut entry = LogEntry::clone(last);
    entry.sign(RegionId::MIN, &key);
    packed_len(&entry)
}

pub(crate) fn packed_len<T: Serialize>(value: &T) -> usize {
    rmp_serde::to_vec(value).map_or(0, |bytes| bytes.len())
}

/// Hop header, and UDP, IP and QUIC of a packet of its own.
pub(crate) const PACKET_BYTES: f64 = 40.0 + 60.0;
/// Region, start and count of a sequence number.
pub(crate) const DIGEST_LINE_BYTES: f64 = 6.0;
/// One signature and one write to disk that many changes share.
const SIGN_AND_STORE_US: u64 = 200;

impl ScaleReport {
    /// The goals of the design for 65,536 regions: for areas, which such a federation has, and beside them for everybody
    /// knowing all links.
    pub fn rows(&self) -> Vec<GoalRow> {
        let found = &self.footprint;
        let flat_state = (found.database_bytes + found.table_bytes) as f64 / MIB;
        let (flat_spf, flat_kbit) = (found.spf_median_ms, self.link_state.kbit_per_s);
        let mut rows = Vec::new();
        let (mut spf, mut state, mut kbit) = (flat_spf, flat_state, flat_kbit);
        if let Some(areas) = &self.areas {
            spf = areas.spf_median_ms;
            let built = areas.rebuild_median_ms;
            rows.push(GoalRow::beside("scale-graph-built", built, "ms", "once per computation"));
            state = (areas.state_bytes + areas.table_bytes) as f64 / MIB;
            kbit = areas.kbit_per_s;
            rows.push(GoalRow::beside("scale-flat-spf", flat_spf, "ms", "without areas"));
            rows.push(GoalRow::beside("scale-flat-state", flat_state, "MiB", "without areas"));
            rows.push(GoalRow::beside(
                "scale-flat-link-state",
                flat_kbit,
                "kbit/s",
                "without areas",
            ));
        }
        let goals = vec![
            GoalRow::at_most("scale-spf", spf, 50.0, "ms", "one pass over all links"),
            GoalRow::at_most("scale-state", state, 16.0, "MiB", "12 bytes per link and direction"),
            GoalRow::at_most("scale-link-state", kbit, 256.0, "kbit/s", "changes x 64 B"),
        ];
        goals.into_iter().chain(rows).collect()
    }
}

const MIB: f64 = 1_048_576.0;

/// A table.
impl fmt::Display for ScaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, value: String| writeln!(f, "{what:<44} {value}");
        let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / MIB);
        let spread = |s: &Spread| format!("{:.0} / {:.0} / {:.0} ms", s.p50, s.p99, s.max);
        let (found, load, storm) = (&self.footprint, &self.link_state, &self.storm);
        line("regions", self.regions.to_string())?;
        line(
            "links per region, mean / most",
            format!("{:.1} / {}", self.links_per_region, self.most_links),
        )?;
        line("levels of the tree below the root", self.tree_depth.to_string())?;
        line(
            "shortest paths, median / max",
            format!("{:.1} / {:.1} ms", found.spf_median_ms, found.spf_max_ms),
        )?;
        line("whole table with hysteresis, median", format!("{:.1} ms", found.update_median_ms))?;
        line("  regions reached by each table", found.reached.to_string())?;
        line("memory: link states, which are the graph", mib(found.database_bytes))?;
        line("memory: route table", mib(found.table_bytes))?;
        let registry = self.registry_bytes.map_or("not known".to_owned(), |b| mib(b as usize));
        line(
            "memory: registry with its log",
            format!("{registry}, {} entries", self.registry_entries),
        )?;
        line("one change at the root, not signed", format!("{:.1} µs", self.registry_change_us))?;
        line(
            "link states per region",
            format!(
                "{:.2} per hour ({:.2} per link, of {:.2} shifts)",
                load.states_per_region_hour, load.adverts_per_link_hour, load.shifts_per_link_hour
            ),
        )?;
        line(
            "  one of them, packed / with all it costs",
            format!("{:.0} / {:.0} bytes", load.state_bytes, load.cost_bytes),
        )?;
        line("  received per region", format!("{:.1} kbit/s", load.kbit_per_s))?;
        if let Some(areas) = &self.areas {
            line(
                "in areas: number / largest / borders",
                format!("{} / {} / {}", areas.areas, areas.largest_area, areas.borders),
            )?;
            line(
                "  graph built / shortest paths, median",
                format!("{:.1} / {:.1} ms", areas.rebuild_median_ms, areas.spf_median_ms),
            )?;
            line("  regions reached by each table, at least", areas.reached.to_string())?;
            line(
                "  frames that arrived / stretch p50 / p99",
                format!(
                    "{:.1} % of {} / {:.2} / {:.2}",
                    100.0 * areas.arrived,
                    areas.frames,
                    areas.stretch_p50,
                    areas.stretch_p99
                ),
            )?;
            line("  memory: link states, borders, graph, map", mib(areas.state_bytes))?;
            line("  memory: route table", mib(areas.table_bytes))?;
            line(
                "  states per region inside / per border",
                format!(
                    "{:.2} / {:.2} per hour, the latter {:.0} bytes",
                    areas.inner_states_per_hour,
                    areas.border_states_per_hour,
                    areas.border_state_bytes
                ),
            )?;
            line("  received per region", format!("{:.1} kbit/s", areas.kbit_per_s))?;
        }
        line("link loss: noticed, p50 / p99 / max", spread(&self.link_loss.detection))?;
        line("  then heard of everywhere", spread(&self.link_loss.flood))?;
        line("region loss: noticed by its last neighbour", spread(&self.region_loss.detection))?;
        line("  then heard of everywhere", spread(&self.region_loss.flood))?;
        line("registry change known", spread(&self.propagation.known))?;
        line(
            "  with a hub down",
            format!(
                "{}, {:.2} % of the regions",
                spread(&self.propagation_without_hub.known),
                100.0 * self.propagation_without_hub.reached
            ),
        )?;
        line("join storm: entries", storm.entries.to_string())?;
        line("  a newcomer is live after", spread(&storm.live))?;
        line("  everybody knows everybody after", format!("{:.0} ms", storm.all_known_ms))?;
        line(
            "  log per region / snapshots in all",
            format!(
                "{:.0} KiB / {:.0} MiB",
                storm.bytes_per_region as f64 / 1024.0,
                storm.snapshot_bytes as f64 / MIB
            ),
        )?;
        line(
            "  waiting at the root / at one parent, at most",
            format!("{} / {}", storm.root_backlog, storm.parent_backlog),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(regions: usize, seed: u64) -> ScaleReport {
        let mut config = ScaleConfig::new(regions, seed);
        (config.samples, config.link_losses, config.region_losses) = (2, 3, 2);
        config.newcomers = 20;
        let mut now = 0;
        let mut clock = || {
            now += 100;
            Micros(now)
        };
        let mut machine =
            Machine { clock: &mut clock, resident: &mut || None, progress: &mut |_| {} };
        simulate(&config, &mut machine)
    }

    #[test]
    fn one_seed_gives_one_report() {
        let (a, b) = (run(200, 7), run(200, 7));
        assert_eq!(a.to_string(), b.to_string());
        assert_ne!(a.to_string(), run(200, 8).to_string());
        assert_eq!(a.regions, 200);
        assert!(a.rows().iter().all(|row| row.figure >= 0.0));
    }

    #[test]
    fn more_regions_than_numbers_are_cut_to_them() {
        assert_eq!(ScaleConfig::new(65_536, 1).regions, 65_534);
        assert_eq!(ScaleConfig::new(usize::MAX, 1).regions, 65_534);
    }

    #[test]
    fn a_federation_of_one_or_two_has_a_report_too() {
        for regions in 1..4 {
            assert_eq!(run(regions, 1).regions, regions);
        }
    }
}
