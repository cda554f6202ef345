//! What a GET costs: local, over one link, over two hops; beside a plain server, bare or behind as many forwarders.
//!
//! Every server is a process of its own on this machine, with one thread that does all its work. Rounds alternate between all
//! paths, so that a change of the machine's mood meets all of them; figures are medians over the rounds, and ratios medians of
//! the rounds' own ratios.

pub(crate) mod driver;
mod figures;
pub(crate) mod plain;
mod process;
pub(crate) mod proxy;

use std::{net::SocketAddr, time::Duration};

use figures::{Figures, Round};
use process::Process;

use super::say;

/// A way to a value.
struct Path {
    label: &'static str,
    address: SocketAddr,
    bucket: &'static str,
    /// The path that does the same with nothing of FeDist.
    floor: Option<usize>,
}

/// Measures everything and prints it.
pub(crate) fn run(quick: bool, json: bool) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let plain = Process::plain()?;
    let near = Process::proxy(plain.address)?;
    let far = Process::proxy(near.address)?;
    let one = Process::region(dir.path(), 1, None, "l..l => 1, m..n => 2")?;
    let two = Process::region(dir.path(), 2, Some((1, one.quic()?)), "m..m => 2, n..n => 3")?;
    let three = Process::region(dir.path(), 3, Some((2, two.quic()?)), "n..n => 3")?;
    let paths = [
        Path { label: "plain server", address: plain.address, bucket: "local", floor: None },
        Path {
            label: "plain server behind a forwarder",
            address: near.address,
            bucket: "local",
            floor: None,
        },
        Path {
            label: "plain server behind two",
            address: far.address,
            bucket: "local",
            floor: None,
        },
        Path { label: "GET local", address: one.address, bucket: "local", floor: Some(0) },
        Path { label: "GET over one link", address: one.address, bucket: "middle", floor: Some(1) },
        Path { label: "GET over two hops", address: one.address, bucket: "north", floor: Some(2) },
    ];
    for path in &paths {
        driver::fill(path.address, path.bucket)?;
    }
    let span = Duration::from_millis(if quick { 150 } else { 1_500 });
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    for round in 0..ROUNDS {
        let measured = paths.iter().map(|path| {
            let (p50, p99) = driver::latency(path.address, path.bucket, span)?;
            let (rate, _) = driver::rate(path.address, path.bucket, span, CLIENTS)?;
            Ok(Round { p50, p99, rate })
        });
        rounds.push(measured.collect::<anyhow::Result<_>>()?);
        if !json {
            eprintln!("round {} of {ROUNDS}", round + 1);
        }
    }
    let figures = paths
        .iter()
        .enumerate()
        .map(|(at, path)| Figures::new(path.label, &rounds, at, path.floor));
    let figures: Vec<Figures> = figures.collect();
    say(&figures::table(&figures, CLIENTS));
    if json {
        say(&format!("{}\n", serde_json::to_string(&figures)?));
    }
    drop((three, two, one, far, near, plain));
    Ok(())
}

const ROUNDS: usize = 5;
pub(crate) const CLIENTS: usize = 50;
