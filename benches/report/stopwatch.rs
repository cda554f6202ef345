//! The loops that measure, the same for both sides.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use crate::run::Outcome;
use crate::work::{P50, P99, P999, RATE};

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
    Outcome::from([(RATE.to_owned(), count as f64 / elapsed.as_secs_f64() / 1e6)])
}

/// Well below the bound of a mailbox, so that nothing is refused.
const BURST: u64 = 1000;
