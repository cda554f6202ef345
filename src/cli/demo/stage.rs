//! The federation of the demo: the plan, the emulated WAN, and the processes that run on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use fedist::{
    NodeStatus,
    registry::{Coordinates, RegionId, RegionName},
    transport::{
        emulator::{Emulator, LatencyMatrix, LinkProfile},
        identity::CertificateAuthority,
    },
};

use super::{
    fleet::{self, Fleet, Hold},
    plan::{Plan, Role},
    protocol::{Command, Start, Started},
    region::CA_DIR,
    report::{EmulatedLink, PlaceReport, Report},
    show::{Ink, Show},
    text::Text,
};

/// What the federation is made from.
pub(crate) struct Cast {
    /// The directory for everything on disk.
    pub(crate) base: PathBuf,
    pub(crate) matrix: LatencyMatrix,
    /// The places of the matrix that take part.
    pub(crate) picked: Vec<usize>,
    pub(crate) verbose: bool,
}

/// Everything that runs.
pub(crate) struct Stage<'a> {
    pub(crate) show: &'a Show,
    pub(crate) plan: Plan,
    pub(crate) fleet: Fleet,
    /// Until it is counted.
    pub(crate) text: Option<Text>,
    /// Names of the regions, in the order of the plan.
    names: Vec<String>,
    wan: Emulator,
}

impl<'a> Stage<'a> {
    /// Starts everything, wave by wave, and waits until every region knows its way to every other.
    pub(crate) fn set_up(
        show: &'a Show,
        hold: &Hold,
        cast: &Cast,
        text: Text,
        report: &mut Report,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        show.section("Regions");
        let Cast { base, matrix, picked, verbose } = cast;
        let row = |from: &usize| {
            let cell = |to: &usize| {
                if from == to { Some(0.0) } else { matrix.one_way_ms(*from, *to) }
            };
            picked.iter().map(cell).collect()
        };
        let delay_ms: Option<Vec<Vec<f64>>> = picked.iter().map(row).collect();
        let plan = delay_ms
            .and_then(|delay_ms| Plan::new(&delay_ms))
            .context("the matrix lacks delays between the places")?;
        let places: Vec<usize> =
            plan.regions.iter().filter_map(|region| picked.get(region.place).copied()).collect();
        let names = names(matrix, &places);
        let mut stage = Self {
            show,
            plan,
            fleet: Fleet::new(hold.clone(), *verbose),
            text: Some(text),
            names,
            wan: Emulator::start(SEED).context("the emulated WAN could not be started")?,
        };
        report.pairs = stage.plan.regions.len() * (stage.plan.regions.len() - 1);
        report.links_all_to_all = stage.plan.links_all_to_all();
        stage.start_processes(base, matrix, &places, report)?;
        let statuses = stage.settle()?;
        report.links = links(&statuses).len();
        stage.show_tree(matrix, &places);
        let core =
            stage.plan.regions.iter().enumerate().filter(|(_, region)| region.role != Role::Leaf);
        let sturdy = core.into_iter().all(|(i, _)| stage.plan.survives(i));
        let few = report.links < report.links_all_to_all;
        show.verdict(
            few,
            format_args!(
                "{} regions live after {:.1} s, over {} links (all-to-all would be {})",
                stage.plan.regions.len(),
                started.elapsed().as_secs_f64(),
                report.links,
                report.links_all_to_all
            ),
        );
        show.verdict(
            sturdy,
            "any one of root and hubs can be lost without cutting off another region",
        );
        if !sturdy {
            report.failed("plan: a region hangs on a single other one");
        }
        if !few {
            report.failed(format!("links: {} are all-to-all", report.links));
        }
        Ok(stage)
    }

    /// What every region says of itself.
    pub(crate) fn statuses(&self) -> anyhow::Result<BTreeMap<RegionId, NodeStatus>> {
        let calls: Vec<_> = self
            .fleet
            .running()
            .map(|region| Ok((region.id, region.order(Command::Status)?)))
            .collect::<anyhow::Result<_>>()?;
        calls.into_iter().map(|(id, call)| Ok((id, call.answer(ANSWER_PATIENCE)?))).collect()
    }

    /// A region as people read it: `2 us-east-1`.
    pub(crate) fn label(&self, id: RegionId) -> String {
        format!("{id} {}", self.name(id))
    }

    /// The name of a region.
    pub(crate) fn name(&self, id: RegionId) -> String {
        let name = self.plan.index(id).and_then(|i| self.names.get(i));
        name.cloned().unwrap_or_else(|| id.to_string())
    }

    /// A path by names, for stories: `sa-east-1 → us-east-1 → ap-northeast-1`.
    pub(crate) fn named_path(&self, path: &[RegionId]) -> String {
        let names: Vec<String> = path.iter().map(|id| self.name(*id)).collect();
        names.join(" → ")
    }

    /// Stops all regions and notes what the emulator gave.
    pub(crate) fn tear_down(mut self, report: &mut Report) {
        report.emulator = self.emulated();
        let bar = self.show.spinner("stopping the regions");
        self.fleet.stop(STOP_PATIENCE);
        drop(bar);
    }

    /// What the emulator asked of its links and what it gave, so far.
    pub(crate) fn emulated(&self) -> Vec<EmulatedLink> {
        let links = self.wan.report();
        links.iter().filter(|link| link.measured > 0).map(EmulatedLink::from).collect()
    }

    fn start_processes(
        &mut self,
        base: &std::path::Path,
        matrix: &LatencyMatrix,
        places: &[usize],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let ca_dir = base.join(CA_DIR);
        CertificateAuthority::load_or_create(&ca_dir)?;
        let total = self.plan.regions.len();
        let bar = self.show.bar(total, "starting processes");
        let mut addresses: BTreeMap<usize, SocketAddr> = BTreeMap::new();
        for wave in 0..self.plan.waves() {
            let members: Vec<usize> =
                (0..total).filter(|i| self.plan.regions[*i].wave == wave).collect();
            for i in &members {
                let (id, name) = (self.plan.regions[*i].id, &self.names[*i]);
                self.fleet.spawn(id, name, &fleet::data_dir(base, id))?;
            }
            let mut calls = Vec::new();
            for i in members {
                let region = self.plan.regions[i].clone();
                let dial = self.doors(i, &addresses)?;
                let place = matrix.place(places[i]);
                report.places.push(PlaceReport {
                    region: region.id,
                    name: self.names[i].clone(),
                    place: place.map_or_else(|| self.names[i].clone(), |place| place.city.clone()),
                    role: role_text(region.role),
                    parent: region.parent.map(|parent| self.plan.regions[parent].id),
                });
                let start = Start {
                    parent: region.parent.map(|parent| self.plan.regions[parent].id),
                    join: dial.first().map(|(_, door)| door.clone()),
                    ca_dir: ca_dir.clone(),
                    dial,
                    coordinates: place.and_then(|place| Coordinates::new(place.lat, place.lon)),
                };
                let call = self.fleet.region(region.id)?.order(Command::Start(Box::new(start)))?;
                calls.push((i, call));
            }
            for (i, call) in calls {
                let started: Started = call.answer(START_PATIENCE)?;
                let address = started.address.parse();
                addresses.insert(i, address.context("a region listens at no address")?);
                bar.at(addresses.len());
            }
        }
        Ok(())
    }

    /// Opens the doors through which region `i` reaches those that it dials.
    fn doors(
        &self,
        i: usize,
        addresses: &BTreeMap<usize, SocketAddr>,
    ) -> anyhow::Result<Vec<(RegionId, String)>> {
        let from = &self.plan.regions[i];
        let mut doors = Vec::new();
        for j in &from.dials {
            let to = self.plan.regions[*j].id;
            let target = addresses.get(j).context("a region is dialed before it runs")?;
            let there = self.plan.path_ms(&[from.id, to]).unwrap_or_default();
            let back = self.plan.path_ms(&[to, from.id]).unwrap_or_default();
            self.wan.set(from.id, to, LinkProfile::with_delay(millis(there)));
            self.wan.set(to, from.id, LinkProfile::with_delay(millis(back)));
            let door =
                self.wan.link(from.id, to, *target).context("the emulated WAN has no socket")?;
            doors.push((to, door.to_string()));
        }
        Ok(doors)
    }

    /// Waits until all links are up and measured, and all routes are known and stay as they are.
    fn settle(&self) -> anyhow::Result<BTreeMap<RegionId, NodeStatus>> {
        let bar = self.show.spinner("measuring links, learning routes");
        let until = Instant::now() + SETTLE_PATIENCE;
        let mut before = BTreeMap::new();
        let mut same = 0;
        loop {
            let statuses = self.statuses()?;
            let missing = self.missing(&statuses);
            let paths: BTreeMap<_, _> = statuses
                .iter()
                .flat_map(|(id, status)| {
                    status.routes.iter().map(|route| ((*id, route.to), route.path.clone()))
                })
                .collect();
            same = if paths == before { same + 1 } else { 0 };
            before = paths;
            match missing {
                None if same >= 2 => return Ok(statuses),
                Some(missing) if Instant::now() >= until => {
                    bail!("{missing}, {SETTLE_PATIENCE:?} after the start")
                }
                // Routes that keep changing are no reason to fail; the pairs are measured against what they are then.
                None if Instant::now() >= until => return Ok(statuses),
                Some(missing) => {
                    bar.say(format_args!("measuring links, learning routes ({missing})"))
                }
                None => {}
            }
            thread::sleep(POLL);
        }
    }

    /// What is not there yet, the first such thing.
    fn missing(&self, statuses: &BTreeMap<RegionId, NodeStatus>) -> Option<String> {
        let n = self.plan.regions.len();
        let planned: BTreeSet<(RegionId, RegionId)> = self
            .plan
            .links()
            .iter()
            .map(|(a, b)| ordered(self.plan.regions[*a].id, self.plan.regions[*b].id))
            .collect();
        for (id, status) in statuses {
            let routes = status.routes.iter().filter(|route| route.to != *id).count();
            let unmeasured = status.links.iter().find(|link| link.rtt_ms.is_none());
            if !status.live {
                return Some(format!("region {id} is not live"));
            }
            if routes < n - 1 {
                return Some(format!("region {id} knows {routes} of {} routes", n - 1));
            }
            if let Some(link) = unmeasured {
                return Some(format!("link {id}–{} is not measured", link.peer));
            }
        }
        let up = links(statuses);
        let absent = planned.iter().find(|link| !up.contains(link));
        absent.map(|(a, b)| format!("link {a}–{b} is not up"))
    }

    fn show_tree(&self, matrix: &LatencyMatrix, places: &[usize]) {
        let under = |parent: Option<usize>| {
            let children =
                (0..self.plan.regions.len()).filter(|i| self.plan.regions[*i].parent == parent);
            children.collect::<Vec<_>>()
        };
        let mut open: Vec<(usize, String, String)> = Vec::new();
        let push = |open: &mut Vec<_>, parent: Option<usize>, trunk: &str| {
            for (at, i) in under(parent).into_iter().rev().enumerate() {
                let (branch, below) = match (parent, at) {
                    (None, _) => ("", ""),
                    (_, 0) => ("└─ ", "   "),
                    _ => ("├─ ", "│  "),
                };
                open.push((i, format!("{trunk}{branch}"), format!("{trunk}{below}")));
            }
        };
        push(&mut open, None, "");
        while let Some((i, before, below)) = open.pop() {
            self.show_region(i, &before, matrix, places);
            push(&mut open, Some(i), &below);
        }
    }

    fn show_region(&self, i: usize, before: &str, matrix: &LatencyMatrix, places: &[usize]) {
        let region = &self.plan.regions[i];
        let city = |place: &usize| {
            let city = matrix.place(*place).map_or("", |place| place.city.as_str());
            city.chars().take(20).collect::<String>()
        };
        let city_width = places.iter().map(|place| city(place).chars().count());
        let city_width = city_width.max().unwrap_or(0);
        let city = places.get(i).map(city).unwrap_or_default();
        let links: Vec<String> = region
            .dials
            .iter()
            .map(|j| {
                let to = self.plan.regions[*j].id;
                let delay = self.plan.path_ms(&[region.id, to]).unwrap_or_default();
                format!("{to} ({delay:.0} ms)")
            })
            .collect();
        let links = match links.is_empty() {
            true => String::new(),
            false => format!("links to {}", links.join(", ")),
        };
        let trunk = self.show.paint(Ink::Dim, before);
        let width = 24_usize.saturating_sub(before.chars().count());
        let name = format!("{} {}", region.id, self.names[i]);
        let line = format!(
            "{name:<width$} {city:<city_width$}  {:<4} {}",
            role_text(region.role),
            self.show.paint(Ink::Dim, &links)
        );
        self.show.line(format_args!("    {trunk}{}", line.trim_end()));
    }
}

/// The links that are up, each once.
fn links(statuses: &BTreeMap<RegionId, NodeStatus>) -> BTreeSet<(RegionId, RegionId)> {
    let of = |(id, status): (&RegionId, &NodeStatus)| {
        let id = *id;
        status.links.iter().map(move |link| ordered(id, link.peer)).collect::<Vec<_>>()
    };
    statuses.iter().flat_map(of).collect()
}

fn ordered(a: RegionId, b: RegionId) -> (RegionId, RegionId) {
    (a.min(b), a.max(b))
}

/// Names that regions may have, after the places; numbers where a place's id cannot be one.
fn names(matrix: &LatencyMatrix, places: &[usize]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let id = matrix.id(*place).unwrap_or_default().to_lowercase();
        let fits = id.parse::<RegionName>().is_ok() && !names.contains(&id);
        names.push(if fits { id } else { format!("place-{}", i + 1) });
    }
    names
}

fn role_text(role: Role) -> &'static str {
    match role {
        Role::Root => "root",
        Role::Hub => "hub",
        Role::Leaf => "leaf",
    }
}

fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

/// The emulated links have no chance in them; the number only has to be one.
const SEED: u64 = 1;
const POLL: Duration = Duration::from_millis(250);
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
const START_PATIENCE: Duration = Duration::from_secs(75);
const SETTLE_PATIENCE: Duration = Duration::from_secs(45);
const STOP_PATIENCE: Duration = Duration::from_secs(4);
