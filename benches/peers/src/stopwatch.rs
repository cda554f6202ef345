//! The loops that measure: the same for FeDist and for every peer that is a Rust library.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{FutureExt, poll};
use hdrhistogram::Histogram;

use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::work::{BYTE_RATE, COUNT, MEMORY, P50, P99, RATE, SPAWN, Task};

/// A way to an actor that counts, as a peer offers it.
pub(crate) trait Way {
    /// Sends a body to be counted, and waits where the peer has its senders wait.
    async fn tell(&self) -> Result<()>;

    /// Sends a body and takes it back.
    async fn echo(&self) -> Result<()>;

    /// How many bodies have been counted.
    async fn total(&self) -> Result<u64>;

    /// Whether the peer holds a sender back that is faster than the receiver. If not, the loop
    /// does, by asking for the total now and then; else memory would fill, or messages be lost.
    const HOLDS_BACK: bool = true;
}

/// Warms up and measures what the run asks for.
pub(crate) async fn measure(run: &Run, way: &impl Way) -> Result<Outcome> {
    pass(run.task, run.warm_up, way).await.context("warm-up")?;
    say(&Said::Begin {})?;
    pass(run.task, run.span, way).await
}

async fn pass(task: Task, span: Duration, way: &impl Way) -> Result<Outcome> {
    match task {
        Task::LocalTell { .. } => tell_in_bursts(span, way).await,
        // An ask on one thread takes hardly longer than reading the clock.
        Task::LocalAsk { apart } => ask_in_turn(span, if apart { 1 } else { 64 }, way).await,
        Task::Ask { in_flight: 1 } => ask_in_turn(span, 1, way).await,
        Task::Ask { in_flight } => ask_side_by_side(span, in_flight, way).await,
        Task::OneWay { bytes } => tell_all_the_time(span, bytes, way).await,
        Task::Idle => bail!("idle actors have no way to them"),
    }
}

/// Tells in bursts, each of which is waited for.
async fn tell_in_bursts(span: Duration, way: &impl Way) -> Result<Outcome> {
    let before = way.total().await?;
    let start = Instant::now();
    let mut sent = 0;
    loop {
        for _ in 0..BURST {
            way.tell().await?;
        }
        sent += BURST;
        let handled = way.total().await? - before;
        ensure!(handled == sent, "{handled} of {sent} messages were handled");
        let elapsed = start.elapsed();
        if elapsed >= span {
            return Ok(rate(sent, elapsed, 0));
        }
    }
}

/// Tells for all of `span`, and counts until the last is handled.
async fn tell_all_the_time<W: Way>(span: Duration, bytes: usize, way: &W) -> Result<Outcome> {
    let stretch = (STRETCH_BYTES / bytes as u64).clamp(1, STRETCH);
    let ahead = (AHEAD_BYTES / bytes as u64).clamp(2, AHEAD) / stretch;
    let mut asked: VecDeque<LocalBoxFuture<'_, Result<u64>>> = VecDeque::new();
    let before = way.total().await?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < span {
        for _ in 0..stretch {
            way.tell().await?;
        }
        sent += stretch;
        // A sender that never gives its thread away would keep the link from it.
        tokio::task::yield_now().await;
        if !W::HOLDS_BACK {
            let mut total = way.total().boxed_local();
            // It is under way from here on, behind what was told.
            if poll!(&mut total).is_pending() {
                asked.push_back(total);
            }
            if asked.len() as u64 > ahead
                && let Some(oldest) = asked.pop_front()
            {
                oldest.await?;
            }
        }
    }
    // Where a question may overtake messages, it is asked again.
    loop {
        let handled = way.total().await? - before;
        if handled == sent {
            break;
        }
        ensure!(
            handled < sent && start.elapsed() < span + DRAIN_TIME,
            "{handled} of {sent} messages were handled"
        );
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok(rate(sent, start.elapsed(), bytes))
}

/// Asks one after the other, and reads the clock after each `group`.
async fn ask_in_turn(span: Duration, group: u32, way: &impl Way) -> Result<Outcome> {
    let mut nanos = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let start = Instant::now();
    let mut last = start;
    let mut count = 0.0;
    while last.duration_since(start) < span {
        for _ in 0..group {
            way.echo().await?;
        }
        count += f64::from(group);
        let now = Instant::now();
        let each = now.duration_since(last).as_nanos() / u128::from(group);
        nanos.saturating_record(u64::try_from(each)?.max(1));
        last = now;
    }
    let micros = |quantile: f64| nanos.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Outcome::from([
        (P50.to_owned(), micros(0.5)),
        (P99.to_owned(), micros(0.99)),
        (COUNT.to_owned(), count),
    ]))
}

/// `in_flight` askers, each of which asks one after the other.
async fn ask_side_by_side(span: Duration, in_flight: usize, way: &impl Way) -> Result<Outcome> {
    let start = Instant::now();
    let count = Cell::new(0);
    let asker = async || -> Result<()> {
        while start.elapsed() < span {
            way.echo().await?;
            count.set(count.get() + 1);
        }
        Ok(())
    };
    try_join_all((0..in_flight).map(|_| asker())).await?;
    Ok(rate(count.get(), start.elapsed(), 0))
}

/// Actors that do nothing: how long it takes until all have started, and what each takes.
///
/// Their first act must be [`started`].
pub(crate) async fn idle<T>(mut spawn: impl AsyncFnMut() -> Result<T>) -> Result<Outcome> {
    let mut actors = Vec::with_capacity(IDLE_WARM_UP + IDLE);
    // Touched, so that it is in the memory before.
    actors.resize_with(IDLE_WARM_UP + IDLE, || None);
    let (warm_up, idle) = actors.split_at_mut(IDLE_WARM_UP);
    spawn_all(warm_up, &mut spawn).await?;
    say(&Said::Begin {})?;
    let before = resident()?;
    let start = Instant::now();
    spawn_all(idle, &mut spawn).await?;
    let elapsed = start.elapsed();
    let taken = resident()?.saturating_sub(before);
    Ok(Outcome::from([
        (SPAWN.to_owned(), elapsed.as_secs_f64() * 1e6 / IDLE as f64),
        (MEMORY.to_owned(), taken as f64 / IDLE as f64),
        (COUNT.to_owned(), IDLE as f64),
    ]))
}

async fn spawn_all<T>(
    actors: &mut [Option<T>],
    spawn: &mut impl AsyncFnMut() -> Result<T>,
) -> Result<()> {
    let goal = STARTED.load(Ordering::Relaxed) + actors.len() as u64;
    for actor in actors {
        *actor = Some(spawn().await?);
    }
    while STARTED.load(Ordering::Relaxed) < goal {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Called by an idle actor when it starts.
pub(crate) fn started() {
    STARTED.fetch_add(1, Ordering::Relaxed);
}

static STARTED: AtomicU64 = AtomicU64::new(0);

/// Bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm").context("/proc/self/statm")?;
    let pages: u64 = text.split_whitespace().nth(1).context("statm has no second word")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The outcome of `count` messages that took `elapsed` together.
fn rate(count: u64, elapsed: Duration, bytes: usize) -> Outcome {
    let micros = elapsed.as_secs_f64() * 1e6;
    Outcome::from([
        (RATE.to_owned(), count as f64 / micros),
        (BYTE_RATE.to_owned(), count as f64 * bytes as f64 / micros / 1e3),
        (COUNT.to_owned(), count as f64),
    ])
}

/// Well below the bound of a mailbox, so that nothing is refused.
const BURST: u64 = 1000;
/// Messages, and bytes, between two moments at which others may run.
const STRETCH: u64 = 256;
const STRETCH_BYTES: u64 = 4 << 20;
/// How far a sender that is not held back may be ahead of the receiver.
const AHEAD: u64 = 32_768;
const AHEAD_BYTES: u64 = 16 << 20;

const DRAIN_TIME: Duration = Duration::from_secs(30);

pub(crate) const IDLE: usize = 100_000;
const IDLE_WARM_UP: usize = 2_000;
