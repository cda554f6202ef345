//! What an actor costs: memory and time to spawn of 1,000,000 idle ones, with plain actix beside
//! them in the same run; and 100,000 monitors across two regions.
//!
//!     cargo run --release --example million_actors [actors [monitors]]
//!
//! Every figure comes from a process of its own, which this program starts: actix and FeDist in
//! turn, three rounds, medians. Memory is what the resident set grew by, all tables included.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Arbiter, Handler, System};
use anyhow::{Context as _, Result, bail, ensure};
use fedist::{FnAddr, MailboxEvent, RegionChange, prelude::*, transport::memory::MemoryNet};

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| match arguments.get(at) {
        None => Ok(default),
        Some(text) => text.parse().with_context(|| {
            format!("count ({text}); it must be a whole number; write e.g. 1000000")
        }),
    };
    match arguments.first().map(String::as_str) {
        Some("actix") => actix_actors(number(1, 0)?),
        Some("fedist") => fedist_actors(number(1, 0)?),
        Some("monitors") => monitors(number(1, 0)?),
        _ => compare(number(0, 1_000_000)?, number(1, 100_000)?),
    }
}

/// The one process that starts the others and shows the medians.
fn compare(actors: usize, watched: usize) -> Result<()> {
    ensure!(actors > 0 && watched > 0, "count (0); there must be something to measure");
    println!("{actors} idle actors with pids in one process, medians of {ROUNDS} rounds");
    println!("{:8} {:>12} {:>14} {:>18}", "", "bytes each", "us to spawn", "us until started");
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (kind, rounds) in ["actix", "fedist"].iter().zip(&mut rounds) {
            rounds.push(child(kind, actors)?);
        }
    }
    for (kind, rounds) in ["actix", "fedist"].iter().zip(&rounds) {
        let [bytes, spawn, started] = [0, 1, 2].map(|column| median(rounds, column));
        println!("{kind:8} {bytes:>12.0} {spawn:>14.2} {started:>18.2}");
    }
    println!();
    println!("{watched} monitors from one region on actors of another, median of {ROUNDS} rounds");
    let rounds = (0..ROUNDS).map(|_| child("monitors", watched)).collect::<Result<Vec<_>>>()?;
    let [set, fired, lost, frames] = [0, 1, 2, 3].map(|column| median(&rounds, column));
    println!("  over QUIC: set in {set:.0} ms, all fired in {fired:.0} ms: {:.0} ms", set + fired);
    println!("  the region lost: {watched} `Down` in {lost:.0} ms from {frames:.0} frames");
    Ok(())
}

fn child(kind: &str, count: usize) -> Result<Vec<f64>> {
    let output =
        Command::new(std::env::current_exe()?).args([kind, &count.to_string()]).output()?;
    if !output.status.success() {
        bail!("the run of {kind} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|figure| figure.parse().context("a figure")).collect()
}

fn median(rounds: &[Vec<f64>], column: usize) -> f64 {
    let mut figures: Vec<f64> =
        rounds.iter().filter_map(|round| round.get(column)).copied().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The resident set in bytes; 0 where there is no `/proc`.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}

fn report(count: usize, before: f64, spawned: Duration, started: Duration) {
    let each = |total: f64| total / count as f64;
    println!(
        "{} {} {}",
        each(resident() - before),
        each(spawned.as_secs_f64() * 1e6),
        each(started.as_secs_f64() * 1e6)
    );
}

/// Adds up what it is sent.
struct Idle<C> {
    sum: u64,
    kind: std::marker::PhantomData<fn(C)>,
}

enum Plain {}
enum Ours {}

impl<C> Idle<C> {
    fn new(sum: u64) -> Self {
        Self { sum, kind: std::marker::PhantomData }
    }
}

impl Actor for Idle<Plain> {
    type Context = actix::Context<Self>;
}

impl Actor for Idle<Ours> {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

impl<C: 'static> Handler<Add> for Idle<C>
where
    Self: Actor,
{
    type Result = u64;

    fn handle(&mut self, Add(number): Add, _: &mut Self::Context) -> u64 {
        self.sum += number;
        self.sum
    }
}

fn actix_actors(count: usize) -> Result<()> {
    System::new().block_on(async {
        let (done, end) = tokio::sync::oneshot::channel();
        let arbiter = Arbiter::new();
        arbiter.spawn(async move {
            let before = resident();
            let begun = Instant::now();
            let actors: Vec<Addr<Idle<Plain>>> =
                (0..count).map(|n| Idle::new(n as u64).start()).collect();
            let spawned = begun.elapsed();
            let last = actors[count - 1].send(Add(1)).await;
            let started = begun.elapsed();
            report(count, before, spawned, started);
            let _ = done.send(last.is_ok_and(|sum| sum == count as u64));
        });
        ensure!(end.await?, "the last actor did not answer");
        // As the other one, without taking it all apart.
        std::process::exit(0);
    })
}

fn fedist_actors(count: usize) -> Result<()> {
    System::new().block_on(async {
        let region = RegionId::new(1)?;
        let node = Node::builder(region).memory(MemoryNet::new(1).port(region)).start().await?;
        let (done, end) = tokio::sync::oneshot::channel();
        let services = node.process_count();
        let spawner = node.clone();
        let _: FnAddr<Add> = node.spawn_fn(move |_| async move {
            let before = resident();
            let begun = Instant::now();
            let mut last = None;
            let mut pids: Vec<RegionPid> = Vec::with_capacity(count);
            for n in 0..count {
                let Ok(actor) = spawner.spawn(Idle::<Ours>::new(n as u64)) else {
                    return;
                };
                pids.push(actor.pid());
                last = Some(actor);
            }
            let spawned = begun.elapsed();
            let Some(last) = last else {
                return;
            };
            let answer = last.send(Add(1)).await;
            let started = begun.elapsed();
            report(count, before, spawned, started);
            let alive = spawner.process_count() == services + 1 + pids.len();
            let _ = done.send(alive && answer.is_ok_and(|sum| sum == count as u64));
        })?;
        ensure!(end.await?, "the last actor did not answer, or not all of them live");
        std::process::exit(0);
    })
}

/// Sets monitors across two regions and lets them fire: by the end of each actor, and by the loss of the region.
fn monitors(count: usize) -> Result<()> {
    System::new().block_on(async {
        let directory = tempfile::tempdir()?;
        let near = Node::builder(RegionId::new(1)?).data_dir(directory.path().join("near"));
        let near = near.start().await?;
        let far = Node::builder(RegionId::new(2)?).data_dir(directory.path().join("far"));
        let far = far.under(&near).start().await?;
        let (set, fired) = each_ends(&near, &far, count).await?;
        far.stop().await;
        near.stop().await;
        let (lost, frames) = region_lost(count).await?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{} {} {} {frames}", ms(set), ms(fired), ms(lost));
        // The exit would leave it behind.
        drop(directory);
        std::process::exit(0);
    })
}

async fn idle_actors(node: &Node, count: usize) -> Result<Vec<RegionPid>> {
    (0..count).map(|n| Ok(node.spawn(Idle::<Ours>::new(n as u64))?.pid())).collect()
}

/// Monitors every one of `pids` from an actor of `node`; the receiver gets one time when all are
/// set (the other side has answered behind them), and one when all have fired.
fn watch_all(
    node: &Node,
    pids: Vec<RegionPid>,
) -> Result<tokio::sync::mpsc::UnboundedReceiver<Instant>> {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let _: FnAddr<Add> = node.spawn_fn(move |mut mailbox| async move {
        let last = pids[pids.len() - 1];
        let mut open: std::collections::HashSet<_> =
            pids.iter().map(|pid| mailbox.monitor(*pid)).collect();
        let target = fedist::PingTarget::Actor(last);
        if mailbox.node().ping(target, Duration::from_secs(30)).await.is_err() {
            return;
        }
        let _ = tell.send(Instant::now());
        while !open.is_empty() {
            if let MailboxEvent::Down(down) = mailbox.next().await {
                assert!(open.remove(&down.monitor), "a monitor fired twice");
            }
        }
        let _ = tell.send(Instant::now());
    })?;
    Ok(told)
}

async fn each_ends(near: &Node, far: &Node, count: usize) -> Result<(Duration, Duration)> {
    let pids = idle_actors(far, count).await?;
    let begun = Instant::now();
    let mut told = watch_all(near, pids.clone())?;
    let set = told.recv().await.context("the monitors were not set")?.duration_since(begun);
    let begun = Instant::now();
    for pid in pids {
        far.kill(pid);
    }
    let end = told.recv().await.context("not all monitors fired")?;
    Ok((set, end.duration_since(begun)))
}

/// How long the loss of a region takes to reach all who watch its actors, and how many frames of it
/// arrived for that.
async fn region_lost(count: usize) -> Result<(Duration, u64)> {
    let net = MemoryNet::new(2);
    let (one, two) = (RegionId::new(1)?, RegionId::new(2)?);
    let timeout = Duration::from_secs(2);
    let near = Node::builder(one).memory(net.port(one)).session_timeout(timeout).start().await?;
    let far = Node::builder(two).memory(net.port(two)).parent(one).join("memory:1");
    let far = far.session_timeout(timeout).start().await?;
    let (tell, mut lost) = tokio::sync::mpsc::unbounded_channel();
    let _: FnAddr<Add> = near.spawn_fn(move |mut mailbox| async move {
        mailbox.monitor_region(two);
        loop {
            if let MailboxEvent::Region(event) = mailbox.next().await
                && matches!(event.change, RegionChange::Unreachable { .. })
            {
                let _ = tell.send(Instant::now());
            }
        }
    })?;
    let pids = idle_actors(&far, count).await?;
    let mut told = watch_all(&near, pids)?;
    told.recv().await.context("the monitors were not set")?;
    let frames = async || {
        let status = near.status().await.context("the node has stopped")?;
        Ok::<u64, anyhow::Error>(status.links.iter().map(|link| link.frames_received).sum())
    };
    let before = frames().await?;
    net.crash(two);
    let begun = lost.recv().await.context("the loss was not noticed")?;
    let end = told.recv().await.context("not all monitors fired")?;
    let after = frames().await?;
    Ok((end.saturating_duration_since(begun), after.saturating_sub(before)))
}
