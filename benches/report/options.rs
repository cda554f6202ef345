//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::Run;
use crate::work::Work;
use crate::works;

/// What this process is to do.
pub(crate) enum Command {
    /// Measure and print.
    Report(Options),
    /// Under `cargo test`: see that every work still runs.
    Smoke,
    List,
    /// See what became worse between two reports; the later one is the last of this tree, if not named.
    Compare {
        old: PathBuf,
        new: Option<PathBuf>,
    },
    Help,
    /// One side of one run, started by the driver.
    Child(Box<Run>),
}

/// How to measure.
pub(crate) struct Options {
    /// Parts of names; empty for all works.
    only: Vec<String>,
    /// Rounds of floor and FeDist.
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// What a work's span is divided by.
    shorter: u32,
    /// Largest UDP payload that either side tries.
    pub(crate) mtu: u16,
    pub(crate) json: bool,
    /// A directory for a second copy of the report.
    pub(crate) keep: Option<PathBuf>,
}

impl Options {
    /// One round, as short as can be.
    pub(crate) fn smoke() -> Self {
        Self { rounds: 1, shorter: 30, ..Self::default() }
    }

    pub(crate) fn wants(&self, work: &Work) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| work.name.contains(name))
    }

    /// How long a run of this work measures.
    pub(crate) fn span(&self, work: &Work) -> Duration {
        work.span / self.shorter
    }
}

impl Default for Options {
    fn default() -> Self {
        let only = Vec::new();
        Self { only, rounds: 7, quick: false, shorter: 1, mtu: 1452, json: false, keep: None }
    }
}

pub(crate) const HELP: &str = "\
cargo bench --bench report -- [--quick] [--only NAME] [--rounds N] [--mtu BYTES] [--keep DIR] [--json] | --list | --compare OLD.json [NEW.json]
  --quick       3 rounds instead of 7, each of half the span
  --only NAME   works whose name contains NAME; may be repeated
  --rounds N    rounds of floor and FeDist, alternating
  --mtu BYTES   largest UDP payload that both sides try; default 1452
  --keep DIR    the report, into this directory, too: report.md, report.json and the plots
  --json        the array of target/bench-report.json as the last line, too
  --list        the names of all works
  --compare OLD.json [NEW.json]
                what is worse in NEW, or else in target/bench-report.json, than in OLD; exit code 1 if
                anything is, 2 if that cannot be told";

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
    if let Some(place) = args.iter().position(|arg| arg == "--compare") {
        let mut files =
            args.iter().skip(place + 1).filter(|arg| *arg != "--bench").map(PathBuf::from);
        let old = files.next().with_context(|| format!("--compare needs a file\n{HELP}"))?;
        return Ok(Command::Compare { old, new: files.next() });
    }
    if has("--list") {
        return Ok(Command::List);
    }
    if has("--test") || !has("--bench") {
        return Ok(Command::Smoke);
    }
    let mut options = Options::default();
    if has("--quick") {
        (options.quick, options.rounds, options.shorter) = (true, 3, 2);
    }
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{HELP}"));
        match arg.as_str() {
            "--bench" | "--quick" => {}
            "--json" => options.json = true,
            "--only" => {
                let name = value()?;
                if !works::all().any(|work| work.name.contains(&name)) {
                    bail!("no work is called {name:?}; --list names them");
                }
                options.only.push(name);
            }
            "--rounds" => options.rounds = value()?.parse::<usize>().context("--rounds")?.max(1),
            "--mtu" => options.mtu = value()?.parse().context("--mtu")?,
            "--keep" => options.keep = Some(value()?.into()),
            other => bail!("unknown argument {other:?}\n{HELP}"),
        }
    }
    Ok(Command::Report(options))
}
