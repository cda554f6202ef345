//! The command line.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::Run;
use crate::work::{self, Work};

/// What this process is to do.
pub(crate) enum Command {
    /// Measure and print.
    Report(Options),
    /// Under `cargo test`: see that every work still runs.
    Smoke,
    Help,
    /// One side of one run, started by the driver.
    Child(Box<Run>),
}

/// How to measure.
pub(crate) struct Options {
    pub(crate) works: Vec<&'static Work>,
    /// Rounds of floor and FeDist.
    pub(crate) rounds: usize,
    /// How long a run measures, after a warm-up of a third of it.
    pub(crate) span: Duration,
    /// Largest UDP payload that either side tries.
    pub(crate) mtu: u16,
    pub(crate) json: bool,
}

pub(crate) const HELP: &str = "\
cargo bench --bench report -- [--quick] [--only NAME] [--rounds N] [--mtu BYTES] [--json]
  --quick       3 rounds of 0.4 s instead of 5 of 1.5 s
  --only NAME   works whose name contains NAME; may be repeated
  --rounds N    rounds of floor and FeDist, alternating
  --mtu BYTES   largest UDP payload that both sides try; default 1452
  --json        one JSON array with all figures as the last line";

/// The first argument of a process that the driver starts.
pub(crate) const CHILD: &str = "--child-of-the-report";

/// Reads the arguments. cargo adds `--bench` under `cargo bench` and nothing under `cargo test`.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Command> {
    let mut args = args.peekable();
    if args.next_if(|first| first == CHILD).is_some() {
        let run = args.next().context("a child needs its run")?;
        return Ok(Command::Child(serde_json::from_str(&run)?));
    }
    let args: Vec<String> = args.collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    if has("--help") || has("-h") {
        return Ok(Command::Help);
    }
    if has("--test") || !has("--bench") {
        return Ok(Command::Smoke);
    }
    let mut options = Options {
        works: Vec::new(),
        rounds: 5,
        span: Duration::from_millis(1500),
        mtu: 1452,
        json: false,
    };
    if has("--quick") {
        options.rounds = 3;
        options.span = Duration::from_millis(400);
    }
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{HELP}"));
        match arg.as_str() {
            "--bench" | "--quick" => {}
            "--json" => options.json = true,
            "--only" => {
                let name = value()?;
                let found: Vec<_> =
                    work::ALL.iter().filter(|work| work.name.contains(&name)).collect();
                if found.is_empty() {
                    let names: Vec<_> = work::ALL.iter().map(|work| work.name).collect();
                    bail!("no work is called {name:?}; there are {}", names.join(", "));
                }
                options.works.extend(found);
            }
            "--rounds" => options.rounds = value()?.parse::<usize>().context("--rounds")?.max(1),
            "--mtu" => options.mtu = value()?.parse().context("--mtu")?,
            other => bail!("unknown argument {other:?}\n{HELP}"),
        }
    }
    if options.works.is_empty() {
        options.works.extend(work::ALL);
    }
    Ok(Command::Report(options))
}
