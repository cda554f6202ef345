//! Starts the processes, alternates the peers, prints.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cores::{Cores, Places};
use crate::figure::{Row, tables};
use crate::machine;
use crate::options::Options;
use crate::peer::Peer;
use crate::process::{Place, Process};
use crate::run::{Outcome, Role, Run, Said};
use crate::work::{COUNT, CPU, Work};

/// Measures, prints the table and keeps the figures as JSON.
pub(crate) fn report(options: &Options) -> Result<()> {
    if Cores::choose(Places::TwoCores).is_none() {
        eprintln!(
            "threads cannot be tied to two processors here; the figures depend on where they run"
        );
    }
    let mut peers = Vec::new();
    let mut notes = Vec::new();
    for &peer in &options.peers {
        match peer.excluded() {
            None => peers.push(peer),
            Some(reason) => notes.push(format!("- {} is left out: {reason}.\n", peer.name())),
        }
    }
    let start = Instant::now();
    let mut rows = Vec::new();
    for &work in &options.works {
        rows.extend(alternate(work, &peers, options, &mut notes)?);
    }
    let mut text = tables(&rows, &peers);
    if !notes.is_empty() {
        text += "\n";
        text.extend(notes);
    }
    println!("{text}");
    eprintln!("{} rounds in {:.0?}", options.rounds, start.elapsed());
    if let Some(directory) = &options.keep {
        fs::create_dir_all(directory)?;
        let text = machine::describe(options) + &text;
        fs::write(directory.join("peers.md"), text)?;
    }
    let figures: Vec<_> = rows.iter().flat_map(|row| &row.peers).collect();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    fs::create_dir_all(&target)?;
    let path = target.join("peers-report.json");
    fs::write(&path, serde_json::to_string_pretty(&figures)?).with_context(|| format!("{path:?}"))
}

/// All rounds of one work. A peer that fails leaves the work and a note; FeDist may not.
fn alternate(
    work: &'static Work,
    peers: &[&'static dyn Peer],
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Vec<Row>> {
    eprintln!("{}: {} rounds", work.name, options.rounds);
    let mut taking_part: Vec<bool> = peers.iter().map(|peer| peer.does(work.task)).collect();
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut round = vec![None; peers.len()];
        for (index, &peer) in peers.iter().enumerate() {
            if !taking_part[index] {
                continue;
            }
            // Somebody else on the machine may take a port in between; what fails twice, fails.
            match run(work, peer, options).or_else(|_| run(work, peer, options)) {
                Ok(outcome) => round[index] = Some(outcome),
                Err(error) if index == 0 => {
                    return Err(error.context(format!("{}, FeDist", work.name)));
                }
                Err(error) => {
                    taking_part[index] = false;
                    notes.push(format!("- {} failed in {}: {error:#}.\n", peer.name(), work.name));
                    eprint!("{}", notes[notes.len() - 1]);
                }
            }
        }
        rounds.push(round);
    }
    let figures = work.figures.iter();
    Ok(figures.map(|figure| Row::new(work, figure, peers, &rounds)).collect())
}

fn run(work: &Work, peer: &dyn Peer, options: &Options) -> Result<Outcome> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let mut run = Run {
        peer: peer.name().to_owned(),
        task: work.task,
        warm_up: options.span / 3,
        span: options.span,
        cores: Cores::choose(work.places),
        directory: directory.path().to_owned(),
        port: free_port()?,
        role: Role::Server,
    };
    let one_core = if work.places == Places::OneCore { Place::Receiver } else { Place::Anywhere };
    let mut processes = Vec::new();
    if work.task.needs_a_server() {
        peer.prepare(&run)?;
        if let Some(broker) = peer.broker(&run)? {
            processes.push(Process::start(broker, one_core, run.cores)?);
        }
        let mut server = Process::start(peer.command(&run)?, Place::Receiver, run.cores)?;
        let address = match server.listen(PATIENCE).context("server")? {
            Said::Ready { address } => address,
            other => bail!("the server said {other:?}"),
        };
        processes.push(server);
        run.role = Role::Client { server: Some(address) };
        processes.push(Process::start(peer.command(&run)?, Place::Sender, run.cores)?);
    } else {
        run.role = Role::Client { server: None };
        processes.push(Process::start(peer.command(&run)?, one_core, run.cores)?);
    }
    watch(processes, options.span)
}

/// The client, which is the last of `processes`, measures; the time of all counts meanwhile.
fn watch(mut processes: Vec<Process>, span: Duration) -> Result<Outcome> {
    let time =
        |processes: &[Process]| processes.iter().map(Process::time).sum::<Option<Duration>>();
    let listen = |processes: &mut [Process]| {
        let client = processes.last_mut().context("no client")?;
        client.listen(PATIENCE + 2 * span).context("client")
    };
    match listen(&mut processes)? {
        Said::Begin {} => {}
        other => bail!("the client said {other:?}"),
    }
    let before = time(&processes);
    let mut outcome = match listen(&mut processes)? {
        Said::Measured(outcome) => outcome,
        other => bail!("the client said {other:?}"),
    };
    if let (Some(before), Some(after), Some(count)) =
        (before, time(&processes), outcome.get(COUNT).copied())
    {
        let each = after.saturating_sub(before).as_secs_f64() * 1e6 / count;
        outcome.insert(CPU.to_owned(), each);
    }
    Ok(outcome)
}

/// Nobody else's a moment ago, neither for TCP nor for UDP.
pub(crate) fn free_port() -> Result<u16> {
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
}

/// Joining, warming up and draining take far less.
const PATIENCE: Duration = Duration::from_secs(60);
