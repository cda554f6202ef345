//! Starts the processes, alternates the sides, prints.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::Process;
use crate::cores::Cores;
use crate::figure::{Measured, table};
use crate::options::Options;
use crate::run::{Outcome, Role, Run, Said, ServerAt, Side};
use crate::work::{self, Work};

/// Measures, prints the table, and with `--json` the same as JSON.
pub(crate) fn report(options: &Options) -> Result<()> {
    if Cores::choose(2).is_none() {
        eprintln!(
            "threads cannot be tied to two processors here; the figures depend on where they run"
        );
    }
    let mut figures = Vec::new();
    for work in &options.works {
        figures.extend(alternate(work, options)?);
    }
    println!("{}", table(&figures));
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
    }
    Ok(())
}

/// Runs everything once and so briefly that the figures mean nothing.
pub(crate) fn smoke() -> Result<()> {
    let options = Options {
        works: work::ALL.iter().collect(),
        rounds: 1,
        span: Duration::from_millis(20),
        mtu: 1452,
        json: false,
    };
    for work in &options.works {
        for figure in alternate(work, &options)? {
            if !figure.is_complete() {
                bail!("{}: a figure is missing", work.name);
            }
        }
    }
    println!("{} works run", options.works.len());
    Ok(())
}

fn alternate(work: &Work, options: &Options) -> Result<Vec<Measured>> {
    let mut rounds = Vec::new();
    eprintln!("{}: {} rounds", work.name, options.rounds);
    for _ in 0..options.rounds {
        let floor =
            run(work, Side::Floor, options).with_context(|| format!("{}, floor", work.name))?;
        let fedist =
            run(work, Side::Fedist, options).with_context(|| format!("{}, FeDist", work.name))?;
        rounds.push((floor, fedist));
    }
    let figures = work.figures.iter();
    Ok(figures.map(|figure| Measured::new(work, figure, &rounds)).collect())
}

fn run(work: &Work, side: Side, options: &Options) -> Result<Outcome> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let mut run = Run {
        side,
        task: work.task,
        apart: work.apart,
        warm_up: options.span / 3,
        span: options.span,
        mtu: options.mtu,
        cores: Cores::choose(work.cores),
        directory: directory.path().to_owned(),
        role: Role::Server,
    };
    let mut server = None;
    let mut server_at = None;
    if work.task.needs_a_server() {
        let process = server.insert(Process::start(&run)?);
        server_at = match process.listen(PATIENCE).context("server")? {
            Said::Ready { address, actor } => {
                Some(ServerAt { address, actor, process: process.id() })
            }
            other => bail!("the server said {other:?}"),
        };
    }
    run.role = Role::Client { server: server_at };
    let mut client = Process::start(&run)?;
    match client.listen(PATIENCE + 2 * options.span).context("client")? {
        Said::Measured(outcome) => Ok(outcome),
        other => bail!("the client said {other:?}"),
    }
}

/// Joining, warming up and draining take far less.
const PATIENCE: Duration = Duration::from_secs(60);
