//! Starts the processes, alternates the sides, reports.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::Process;
use crate::cores::{Cores, Places};
use crate::figure::{Measured, Round};
use crate::options::Options;
use crate::report::Report;
use crate::run::{Outcome, Role, Run, Said, ServerAt, Side};
use crate::work::Work;
use crate::works;

/// Measures, prints the tables, writes the files.
///
/// # Errors
///
/// Runs have broken off; the report of the others is written all the same.
pub(crate) fn report(options: &Options) -> Result<()> {
    if Cores::choose(Places::TwoCores).is_none() {
        eprintln!(
            "threads cannot be tied to two processors here; the figures depend on where they run"
        );
    }
    let mut report = Report::new(options);
    for group in works::GROUPS {
        for work in group.works.iter().filter(|work| options.wants(work)) {
            let (rounds, failures) = alternate(work, options);
            for failure in failures {
                eprintln!("broke off: {failure}");
                report.failures.push(failure);
            }
            let figures = work.figures.iter();
            let figures = figures.map(|figure| Measured::new(work, figure, &rounds));
            report.add(group, figures.collect());
        }
    }
    println!("{}", report.markdown(None));
    report.write(options.keep.as_deref())?;
    if options.json {
        println!("{}", report.json()?);
    }
    if !report.failures.is_empty() {
        bail!("{} runs broke off", report.failures.len());
    }
    Ok(())
}

/// Runs everything once and so briefly that the figures mean nothing, several works at a time.
///
/// # Errors
///
/// A run has broken off, or has not given all its figures.
pub(crate) fn smoke() -> Result<()> {
    let works: Mutex<Vec<&Work>> = Mutex::new(works::all().collect());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SMOKE_AT_ONCE {
            scope.spawn(|| {
                while let Some(work) = { works.lock().ok().and_then(|mut works| works.pop()) } {
                    if let Err(error) = try_out(work)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(format!("{}, {error:#}", work.name));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if !failures.is_empty() {
        bail!(failures.join("; "));
    }
    println!("{} works run", works::all().count());
    Ok(())
}

fn try_out(work: &Work) -> Result<()> {
    let rounds = [round(work, &Options::smoke())?];
    for figure in work.figures {
        if !Measured::new(work, figure, &rounds).is_complete(work, figure) {
            bail!("a figure is missing: {}", figure.key);
        }
    }
    Ok(())
}

/// The rounds in which both sides came to an end, and what became of the others.
fn alternate(work: &Work, options: &Options) -> (Vec<Round>, Vec<String>) {
    let (mut rounds, mut failures) = (Vec::new(), Vec::new());
    eprintln!("{}: {} rounds", work.name, options.rounds);
    for _ in 0..options.rounds {
        match round(work, options) {
            Ok(round) => rounds.push(round),
            Err(error) => failures.push(format!("{}, {error:#}", work.name)),
        }
    }
    (rounds, failures)
}

fn round(work: &Work, options: &Options) -> Result<Round> {
    let floor = work.floor.as_ref().map(|_| run(work, Side::Floor, options).context("floor"));
    let floor = floor.transpose()?;
    let fedist = run(work, Side::Fedist, options).context("FeDist")?;
    Ok(Round { floor, fedist })
}

fn run(work: &Work, side: Side, options: &Options) -> Result<Outcome> {
    let cast = work.cast(side).context("nothing to run")?;
    let directory = tempfile::tempdir().context("temporary directory")?;
    let span = options.span(work);
    let mut run = Run {
        work: work.name.to_owned(),
        side,
        role: Role::Client,
        links: cast.servers.len(),
        servers: Vec::new(),
        warm_up: span / 3,
        span,
        mtu: options.mtu,
        cores: Cores::choose(work.places),
        directory: directory.path().to_owned(),
    };
    // Those that were started last are ended first: a relay before what it relays to.
    let mut processes = Vec::new();
    for index in 0..cast.servers.len() {
        run.role = Role::Server(index);
        let mut process = Process::start(&run)?;
        match process.listen(PATIENCE).with_context(|| format!("server {index}"))? {
            Said::Ready { address, actors } => {
                run.servers.push(ServerAt { address, actors, process: process.id() });
            }
            other => bail!("server {index} said {other:?}"),
        }
        processes.push(process);
    }
    run.role = Role::Client;
    let mut client = Process::start(&run)?;
    let outcome = client.listen(PATIENCE + 2 * span).context("client")?;
    drop(client);
    while processes.pop().is_some() {}
    match outcome {
        Said::Measured(outcome) => Ok(outcome),
        other => bail!("the client said {other:?}"),
    }
}

/// They mostly wait for each other.
const SMOKE_AT_ONCE: usize = 6;

/// Joining, warming up and draining take far less.
const PATIENCE: Duration = Duration::from_secs(60);
