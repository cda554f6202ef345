//! One slow actor among 1,000 fast ones, all flooded from another region: the slow one holds back
//! its own senders and nobody else, and nothing is lost.
//!
//!     cargo run --release --example slow_actor [seconds]
//!
//! First the fast ones alone, then with the flood on the slow one, each for half of the time
//! (default 60 s of flood). Two regions over QUIC in this one process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fedist::prelude::*;

const FAST: usize = 1_000;
const SLOW_SENDERS: usize = 100;
const SLOW_PAUSE: Duration = Duration::from_millis(100);
/// What may wait for one actor at its node beside the mailbox: the bound stated in docs/performance.md.
const WAITING_BOUND: u64 = 64 << 20;

#[derive(Clone, Message, Serialize, Deserialize)]
#[wire(name = "slow.work", version = 1)]
struct Work {
    text: String,
}

struct Fast {
    handled: Arc<AtomicU64>,
}

impl Actor for Fast {
    type Context = Context<Self>;
}

impl Handler<Work> for Fast {
    type Result = ();

    fn handle(&mut self, _: Work, _: &mut Context<Self>) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes 100 ms for each message, until it may hurry.
struct Slow {
    handled: Arc<AtomicU64>,
    hurry: Arc<AtomicBool>,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

#[async_handler]
impl AsyncHandler<Work> for Slow {
    async fn handle(&mut self, _: Work, _: &mut Context<Self>) {
        if !self.hurry.load(Ordering::Relaxed) {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
    }
}

#[actix::main]
async fn main() -> Result<()> {
    let seconds = match std::env::args().nth(1) {
        None => 60,
        Some(text) => text.parse().with_context(|| {
            format!("seconds ({text}); it must be a whole number; write e.g. 60")
        })?,
    };
    let phase = Duration::from_secs(seconds);
    let directory = tempfile::tempdir()?;
    let near = Node::builder(RegionId::new(1)?).data_dir(directory.path().join("near"));
    let near = near.start().await?;
    let far = Node::builder(RegionId::new(2)?).data_dir(directory.path().join("far"));
    let far = far.under(&near).start().await?;
    near.ping(fedist::PingTarget::Region(far.region()), Duration::from_secs(5)).await?;

    let (fast, slow, sent) = (counter(), counter(), counter());
    let (hurry, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let work = Work { text: "x".repeat(200) };
    let mut fast_pids = Vec::with_capacity(FAST);
    for _ in 0..FAST {
        let actor = far.spawn(Fast { handled: Arc::clone(&fast) })?;
        fast_pids.push(far.export(&actor).handles::<Work>().publish()?);
    }
    let slow_actor = far.spawn(Slow { handled: Arc::clone(&slow), hurry: Arc::clone(&hurry) })?;
    let slow_pid = far.export(&slow_actor).handles::<Work>().publish()?;

    let fast_sent = counter();
    for pid in fast_pids {
        flood(&near, pid, work.clone(), &fast_sent, &stop)?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alone = rate(&fast, phase / 2).await;
    println!("fast ones alone:            {alone:>10.0} messages/s");

    for _ in 0..SLOW_SENDERS {
        flood(&near, slow_pid, work.clone(), &sent, &stop)?;
    }
    let before = resident();
    let begun = Instant::now();
    let beside = rate(&fast, phase).await;
    let grown = (resident() - before) / f64::from(1 << 20);
    println!(
        "beside the flooded one:     {beside:>10.0} messages/s, {:.1} %",
        100.0 * beside / alone
    );
    let handled = slow.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    println!(
        "the slow one:               {handled:>10.1} messages/s, {} under way",
        sent.load(Ordering::Relaxed) - slow.load(Ordering::Relaxed)
    );
    println!(
        "resident memory grew by     {grown:>10.1} MiB (bound of what waits for one actor: {} MiB)",
        WAITING_BOUND >> 20
    );

    stop.store(true, Ordering::Relaxed);
    hurry.store(true, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(60);
    let settled = |sent: &AtomicU64, handled: &AtomicU64| {
        sent.load(Ordering::Relaxed) == handled.load(Ordering::Relaxed)
    };
    while !(settled(&sent, &slow) && settled(&fast_sent, &fast)) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "sent {} = handled {}; to the slow one {} = {}",
        total(&fast_sent),
        total(&fast),
        total(&sent),
        total(&slow)
    );
    println!("dropped: {:?} and {:?}", near.dropped(), far.dropped());
    ensure!(settled(&sent, &slow) && settled(&fast_sent, &fast), "messages were lost");
    ensure!(near.dropped().is_empty() && far.dropped().is_empty(), "messages were dropped");
    far.stop().await;
    near.stop().await;
    Ok(())
}

fn counter() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(0))
}

/// Sends to `pid` as fast as it lets itself be sent to.
fn flood(
    node: &Node,
    pid: RegionPid,
    work: Work,
    sent: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let (sent, stop) = (Arc::clone(sent), Arc::clone(stop));
    let _: fedist::FnAddr<Work> = node.spawn_fn(move |mailbox| async move {
        let target = pid.recipient::<Work>(mailbox.node());
        while !stop.load(Ordering::Relaxed) {
            if target.tell(work.clone()).await.is_err() {
                return;
            }
            sent.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    })?;
    Ok(())
}

/// Messages handled per second: the median of its windows, because a machine has other work too.
async fn rate(handled: &AtomicU64, span: Duration) -> f64 {
    let windows = 20;
    let mut rates = Vec::with_capacity(windows);
    for _ in 0..windows {
        let before = handled.load(Ordering::Relaxed);
        let begun = Instant::now();
        tokio::time::sleep(span / 20).await;
        let handled = handled.load(Ordering::Relaxed) - before;
        rates.push(handled as f64 / begun.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    rates[windows / 2]
}

/// The resident set in bytes; 0 where there is no `/proc`.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}
