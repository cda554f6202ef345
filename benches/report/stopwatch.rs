//! The loops that measure, the same for both sides.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;

use crate::processor_time::ProcessorTime;
use crate::run::{Outcome, Run};
use crate::work::{ADDED, DIRECT, KILO_RATE, P50, P99, P999, RATE};

/// Does `work` to warm up and again to measure it, and adds the processor time of each message.
pub(crate) async fn warm_and_measure(
    run: &Run,
    mut work: impl AsyncFnMut(Duration) -> Result<(u64, Outcome)>,
) -> Result<Outcome> {
    work(run.warm_up).await?;
    let time = ProcessorTime::start(&run.servers);
    let (count, mut outcome) = work(run.span).await?;
    time.stop(count, &mut outcome);
    Ok(outcome)
}

/// Asks the neighbour for half of the time and the far end for the other half, so that what the
/// links between them add is seen in one run.
pub(crate) async fn ask_near_and_far(
    run: &Run,
    mut near: impl AsyncFnMut() -> Result<()>,
    mut far: impl AsyncFnMut() -> Result<()>,
) -> Result<Outcome> {
    let mut outcome = Outcome::new();
    for span in [run.warm_up / 2, run.span / 2] {
        let (_, direct) = ask_in_turn(span, 1, &mut near).await?;
        let time = ProcessorTime::start(&run.servers);
        let (count, mut over_all) = ask_in_turn(span, 1, &mut far).await?;
        time.stop(count, &mut over_all);
        if let (Some(direct), Some(all)) = (direct.get(P50), over_all.get(P50).copied()) {
            over_all.insert(DIRECT.to_owned(), *direct);
            over_all.insert(ADDED.to_owned(), all - direct);
        }
        outcome = over_all;
    }
    Ok(outcome)
}

/// Keeps `at_once` questions open until `span` is over: each answer is followed by the next one.
pub(crate) async fn ask_at_once(
    span: Duration,
    at_once: usize,
    ask: impl AsyncFn() -> Result<()>,
) -> Result<(u64, Outcome)> {
    let over = Cell::new(false);
    let start = Instant::now();
    let askers = (0..at_once).map(async |asker| {
        let mut count: u64 = 0;
        while !over.get() {
            ask().await?;
            count += 1;
            // One looks at the clock for all.
            if asker == 0 && start.elapsed() >= span {
                over.set(true);
            }
        }
        anyhow::Ok(count)
    });
    let count = try_join_all(askers).await?.into_iter().sum();
    Ok((count, rate(count, start.elapsed())))
}

/// Tells in bursts until `span` is over. `flush` asks for how many have been handled since ever, so
/// it comes back when the last is.
pub(crate) async fn tell_in_bursts(
    span: Duration,
    mut tell: impl FnMut(),
    flush: impl AsyncFn() -> Result<u64>,
) -> Result<Outcome> {
    let before = flush().await?;
    let start = Instant::now();
    let mut sent = 0;
    loop {
        for _ in 0..BURST {
            tell();
        }
        sent += BURST;
        let handled = flush().await? - before;
        ensure!(handled == sent, "{handled} of {sent} messages were handled");
        let elapsed = start.elapsed();
        if elapsed >= span {
            return Ok(rate(sent, elapsed));
        }
    }
}

/// Asks one after the other until `span` is over, and reads the clock after each `group`.
pub(crate) async fn ask_in_turn(
    span: Duration,
    group: u32,
    mut ask: impl AsyncFnMut() -> Result<()>,
) -> Result<(u64, Outcome)> {
    let mut nanos = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let start = Instant::now();
    let mut last = start;
    let mut count = 0;
    while last.duration_since(start) < span {
        for _ in 0..group {
            ask().await?;
        }
        count += u64::from(group);
        let now = Instant::now();
        let each = now.duration_since(last).as_nanos() / u128::from(group);
        nanos.saturating_record(u64::try_from(each)?.max(1));
        last = now;
    }
    Ok((count, percentiles(&nanos)))
}

fn percentiles(nanos: &Histogram<u64>) -> Outcome {
    [(P50, 0.5), (P99, 0.99), (P999, 0.999)]
        .map(|(key, share)| (key.to_owned(), nanos.value_at_quantile(share) as f64 / 1e3))
        .into()
}

/// The outcome of `count` messages that took `elapsed` together.
pub(crate) fn rate(count: u64, elapsed: Duration) -> Outcome {
    let millis = elapsed.as_secs_f64() * 1e3;
    let rates = [(RATE, count as f64 / millis / 1e3), (KILO_RATE, count as f64 / millis)];
    rates.map(|(key, rate)| (key.to_owned(), rate)).into()
}

/// Well below the bound of a mailbox, so that nothing is refused.
const BURST: u64 = 1000;
