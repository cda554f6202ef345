//! A federation of real processes behind an emulated WAN.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use fedist::{
    NodeStatus,
    registry::{Coordinates, RegionId},
    transport::{
        emulator::{Emulator, LinkProfile},
        identity::CertificateAuthority,
    },
};
use serde::de::DeserializeOwned;

use super::{
    fleet::{self, Call, Fleet, Hold},
    order::Heard,
    protocol::{Command, Mesh, Start},
    scratch::ScratchDir,
};

/// What a federation is made of.
pub(crate) struct Plan {
    pub(crate) sites: Vec<Site>,
    /// One way, between two sites by their places in the list; none for a direct way over loopback.
    pub(crate) delay: Option<Box<dyn Fn(usize, usize) -> Duration>>,
    pub(crate) mesh: Mesh,
}

/// One region of a plan.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) parent: Option<RegionId>,
    pub(crate) coordinates: Option<Coordinates>,
}

/// A plan that runs. Dropping it kills the processes and removes what they wrote.
pub(crate) struct Federation {
    plan: Plan,
    /// Sites of the plan itself; those behind them came later.
    known: usize,
    base: PathBuf,
    ca_dir: PathBuf,
    pub(crate) fleet: Fleet,
    pub(crate) wan: Emulator,
    listen: BTreeMap<RegionId, SocketAddr>,
}

/// The region at a place in the list of sites.
pub(crate) fn region(at: usize) -> RegionId {
    RegionId::new(u16::try_from(at + 1).unwrap_or(u16::MAX)).expect("a plan has few sites")
}

impl Federation {
    /// Starts all regions, the root first and each after its parent, and waits until all see all.
    pub(crate) fn start(plan: Plan) -> anyhow::Result<Self> {
        let scratch = ScratchDir::create().context("no temporary directory could be made")?;
        let base = scratch.path().to_owned();
        let ca_dir = base.join("ca");
        CertificateAuthority::load_or_create(&ca_dir)?;
        let count = plan.sites.len();
        let wan = Emulator::start(1)?;
        let mut listen = BTreeMap::new();
        for at in 0..count {
            listen.insert(region(at), free_address(&listen)?);
        }
        if let Some(delay) = &plan.delay {
            for a in 0..count {
                for b in (0..count).filter(|b| *b != a) {
                    wan.set(region(a), region(b), LinkProfile::with_delay(delay(a, b)));
                }
            }
        }
        // Logs of the regions are shown where they were asked for.
        let verbose = std::env::var_os("FEDIST_LOG").is_some();
        let fleet = Fleet::new(Hold::new(scratch), verbose);
        let mut federation = Self { plan, known: count, base, ca_dir, fleet, wan, listen };
        let mut waiting: Vec<usize> = (0..count).collect();
        let mut up: Vec<RegionId> = Vec::new();
        while !waiting.is_empty() {
            let ready = |at: &usize| {
                federation.plan.sites[*at].parent.is_none_or(|parent| up.contains(&parent))
            };
            let wave: Vec<usize> = waiting.iter().copied().filter(ready).take(WAVE).collect();
            if wave.is_empty() {
                bail!("the plan has regions whose parents do not exist");
            }
            waiting.retain(|at| !wave.contains(at));
            let calls: Vec<Call> =
                wave.iter().map(|at| federation.begin(*at)).collect::<anyhow::Result<_>>()?;
            for (at, call) in wave.iter().zip(calls) {
                call.answer::<()>(PATIENCE)
                    .with_context(|| format!("region {} did not start", region(*at)))?;
                up.push(region(*at));
            }
        }
        federation.wait_until_all_see_all()?;
        Ok(federation)
    }

    /// How many regions the plan has.
    pub(crate) fn len(&self) -> usize {
        self.plan.sites.len()
    }

    /// All regions of the plan.
    pub(crate) fn regions(&self) -> Vec<RegionId> {
        (0..self.len()).map(region).collect()
    }

    /// Starts the process of a region, again if it was killed; answered when it is live.
    pub(crate) fn begin(&mut self, at: usize) -> anyhow::Result<Call> {
        let id = region(at);
        let site = self.plan.sites[at].clone();
        let mut dial = Vec::new();
        for other in self.regions().into_iter().filter(|other| *other != id) {
            dial.push((other, self.door(id, other)?));
        }
        let data_dir = fleet::data_dir(&self.base, id);
        self.fleet.spawn(id, &site.name, &data_dir)?;
        let start = Start {
            parent: site.parent,
            listen: self.listen[&id].to_string(),
            join: site.parent.map(|parent| self.door(id, parent)).transpose()?,
            ca_dir: self.ca_dir.clone(),
            dial,
            coordinates: site.coordinates,
            mesh: self.plan.mesh.clone(),
        };
        self.fleet.region(id)?.order(Command::Start(Box::new(start)))
    }

    fn door(&self, from: RegionId, to: RegionId) -> anyhow::Result<String> {
        let target = self.listen[&to];
        match self.plan.delay {
            Some(_) => Ok(self.wan.link(from, to, target)?.to_string()),
            None => Ok(target.to_string()),
        }
    }

    /// Asks one region.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        id: RegionId,
        command: Command,
    ) -> anyhow::Result<T> {
        self.fleet.region(id)?.ask(command, PATIENCE)
    }

    /// Asks all that run at once, and waits for all answers.
    pub(crate) fn ask_all<T: DeserializeOwned>(
        &self,
        command: impl Fn(RegionId) -> Command,
    ) -> anyhow::Result<BTreeMap<RegionId, T>> {
        let calls: Vec<(RegionId, Call)> = self
            .fleet
            .running()
            .map(|process| Ok((process.id, process.order(command(process.id))?)))
            .collect::<anyhow::Result<_>>()?;
        calls.into_iter().map(|(id, call)| Ok((id, call.answer(PATIENCE)?))).collect()
    }

    /// What every node shows of itself.
    pub(crate) fn statuses(&self) -> anyhow::Result<BTreeMap<RegionId, NodeStatus>> {
        self.ask_all(|_| Command::Status)
    }

    /// One small request from everybody to everybody, again and again; a period of none stops it.
    pub(crate) fn chatter(&self, period: Option<Duration>) -> anyhow::Result<()> {
        let all = self.regions();
        self.ask_all::<()>(|id| Command::Chatter {
            to: match period {
                Some(_) => all.iter().copied().filter(|to| *to != id).collect(),
                None => Vec::new(),
            },
            period_ms: period.map_or(1_000, |period| period.as_millis() as u64),
        })?;
        Ok(())
    }

    /// Waits until every region has a route to every other.
    pub(crate) fn wait_until_all_see_all(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses()?;
            let want = statuses.len().saturating_sub(1);
            if statuses.values().all(|status| status.routes.len() >= want) {
                return Ok(());
            }
            if Instant::now() > until {
                let short: Vec<String> = statuses
                    .iter()
                    .filter(|(_, status)| status.routes.len() < want)
                    .map(|(id, status)| format!("{id} sees {}", status.routes.len()))
                    .collect();
                bail!("not all regions see all others ({want}): {}", short.join(", "));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A region more, just below the root; answered when it is live.
    pub(crate) fn newcomer(&mut self) -> anyhow::Result<(RegionId, Call)> {
        let at = self.plan.sites.len();
        let listen = free_address(&self.listen)?;
        self.listen.insert(region(at), listen);
        self.plan.sites.push(Site {
            name: format!("newcomer-{at}"),
            parent: Some(region(0)),
            coordinates: self.plan.sites[0].coordinates,
        });
        // It lies where the root lies, and so do other newcomers.
        for other in 1..at {
            let far = self.plan.delay.as_ref().filter(|_| other < self.known);
            let delay = far.map(|delay| delay(0, other)).unwrap_or_default();
            self.wan.set(region(at), region(other), LinkProfile::with_delay(delay));
            self.wan.set(region(other), region(at), LinkProfile::with_delay(delay));
        }
        Ok((region(at), self.begin(at)?))
    }

    /// Gives an order to all that were there from the beginning of the plan and run; answers come as they come.
    pub(crate) fn watchers(
        &self,
        command: impl Fn(RegionId) -> Command,
    ) -> anyhow::Result<Gathering> {
        let mut gathering = Gathering::new();
        let known: Vec<RegionId> = self.fleet.running().map(|process| process.id).collect();
        for id in known {
            gathering.order(self, id, command(id))?;
        }
        Ok(gathering)
    }

    /// Stops everything in order.
    pub(crate) fn end(mut self) {
        self.fleet.stop(Duration::from_secs(20));
    }
}

/// An address that nobody uses, below the ports that the system gives to the emulator's own sockets: a region that was
/// killed finds its own again.
fn free_address(taken: &BTreeMap<RegionId, SocketAddr>) -> anyhow::Result<SocketAddr> {
    let begin = u16::try_from(10_000 + std::process::id() % 10_000)?;
    (begin..begin + 10_000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .filter(|address| taken.values().all(|held| held != address))
        .find(|address| UdpSocket::bind(address).is_ok())
        .context("no free UDP port")
}

/// Collects the answers of several regions as they come.
pub(crate) struct Gathering(
    mpsc::Sender<(RegionId, Heard)>,
    mpsc::Receiver<(RegionId, Heard)>,
    usize,
);

impl Gathering {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self(sender, receiver, 0)
    }

    pub(crate) fn order(
        &mut self,
        federation: &Federation,
        id: RegionId,
        command: Command,
    ) -> anyhow::Result<()> {
        federation.fleet.region(id)?.order_into(command, self.0.clone())?;
        self.2 += 1;
        Ok(())
    }

    /// All answers; a failed order is an error.
    pub(crate) fn answers<T: DeserializeOwned>(
        mut self,
        patience: Duration,
    ) -> anyhow::Result<Vec<(RegionId, T)>> {
        let until = Instant::now() + patience;
        let mut answers = Vec::new();
        while self.2 > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let (id, heard) = self.1.recv_timeout(left).context("a region did not answer")?;
            match heard {
                Heard::Event(_) => {}
                Heard::Done(value) => {
                    answers.push((id, serde_json::from_value(value)?));
                    self.2 -= 1;
                }
                Heard::Failed(error) => bail!("region {id}: {error}"),
            }
        }
        Ok(answers)
    }
}

/// Regions that start at the same time: more only compete for the processor.
const WAVE: usize = 8;
/// For any one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
