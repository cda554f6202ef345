//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::peer::{self, Peer};
use crate::run::Run;
use crate::work::{self, Work};

/// What this process is to do.
pub(crate) enum Command {
    /// Measure and print.
    Report(Options),
    Help,
    /// One side of one run, started by the driver.
    Child(Box<Run>),
}

/// How to measure.
pub(crate) struct Options {
    pub(crate) works: Vec<&'static Work>,
    /// FeDist first, and always.
    pub(crate) peers: Vec<&'static dyn Peer>,
    pub(crate) rounds: usize,
    /// How long a run measures, after a warm-up of a third of it.
    pub(crate) span: Duration,
    /// Where the Markdown is kept.
    pub(crate) keep: Option<PathBuf>,
}

pub(crate) const HELP: &str = "\
cargo run --release --manifest-path benches/peers/Cargo.toml -- [OPTIONS]
  --quick       3 rounds of 0.3 s instead of 7 of 0.6 s
  --only NAME   works whose name contains NAME; may be repeated
  --peer NAME   peers whose name contains NAME, besides FeDist; may be repeated
  --rounds N    rounds of FeDist and all peers, alternating
  --span MS     how long a run measures
  --keep DIR    also write the table to DIR/peers.md";

/// The first argument of a process that the driver starts.
pub(crate) const CHILD: &str = "--child-of-the-peers";

/// Reads the arguments.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command> {
    let mut options = Options {
        works: Vec::new(),
        peers: vec![peer::ALL[0]],
        rounds: 7,
        span: Duration::from_millis(600),
        keep: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{HELP}"));
        match arg.as_str() {
            CHILD => return Ok(Command::Child(serde_json::from_str(&value()?)?)),
            "--help" | "-h" => return Ok(Command::Help),
            "--quick" => {
                options.rounds = 3;
                options.span = Duration::from_millis(300);
            }
            "--only" => {
                let name = value()?;
                let found = work::ALL.iter().filter(|work| work.name.contains(&name));
                let before = options.works.len();
                options.works.extend(found);
                if options.works.len() == before {
                    let names: Vec<_> = work::ALL.iter().map(|work| work.name).collect();
                    bail!("no work is called {name:?}; there are {}", names.join(", "));
                }
            }
            "--peer" => {
                let name = value()?;
                let found = peer::ALL[1..].iter().filter(|peer| peer.name().contains(&name));
                let before = options.peers.len();
                options.peers.extend(found);
                if options.peers.len() == before && name != "none" {
                    let names: Vec<_> = peer::ALL[1..].iter().map(|peer| peer.name()).collect();
                    bail!("no peer is called {name:?}; there are {}, and none", names.join(", "));
                }
            }
            "--rounds" => options.rounds = value()?.parse::<usize>().context("--rounds")?.max(1),
            "--span" => options.span = Duration::from_millis(value()?.parse().context("--span")?),
            "--keep" => options.keep = Some(value()?.into()),
            other => bail!("unknown argument {other:?}\n{HELP}"),
        }
    }
    if options.works.is_empty() {
        options.works.extend(work::ALL);
    }
    if options.peers.len() == 1 && !std::env::args().any(|arg| arg == "--peer") {
        options.peers.extend(&peer::ALL[1..]);
    }
    Ok(Command::Report(options))
}
