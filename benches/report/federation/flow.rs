//! Messages without an answer. Every count is checked at the end: what was sent has been handled,
//! no more and no less.

use std::time::{Duration, Instant};

use actix::Handler;
use anyhow::{Result, ensure};
use bytes::Bytes;
use fedist::prelude::{RegionAddr, WireMessage};
use futures_util::future::{join, try_join_all};

use super::{From, Line, Slow, measure};
use crate::actors::{BODY, BODY_LEN, Counter, Load, Ours, Tick, Total, Volume, measure_in_node};
use crate::run::{Outcome, Run};
use crate::stopwatch::{rate, warm_and_measure};
use crate::work::{RATE, RATE_WITHOUT};

/// Sends and does not wait.
pub(crate) fn tell(run: &Run, from: From) -> Result<Outcome> {
    measure(run, from, async |line| {
        let counter = line.counter()?;
        warm_and_measure(&line.run, async |span| {
            let start = Instant::now();
            let sent = flood(span, &counter, Tick { body: BODY }, BODY_LEN).await?;
            Ok((sent, rate(sent, start.elapsed())))
        })
        .await
    })
}

/// The same with bodies of another length.
pub(crate) fn tell_bytes(run: &Run, len: usize) -> Result<Outcome> {
    measure(run, From::Node, async move |line| {
        let counter = line.counter()?;
        let body = Bytes::from(vec![0x5a; len]);
        warm_and_measure(&line.run, async |span| {
            let before = counter.send(Volume).await?;
            let start = Instant::now();
            let sent = flood(span, &counter, Load { body: body.clone() }, len).await?;
            let elapsed = start.elapsed();
            let volume = counter.send(Volume).await? - before;
            ensure!(volume == sent * len as u64, "{volume} bytes of {sent} messages of {len}");
            Ok((sent, rate(sent, elapsed)))
        })
        .await
    })
}

/// As many actors as there are counters send to one counter each.
pub(crate) fn tell_from_many(run: &Run) -> Result<Outcome> {
    measure(run, From::Outside, async |line| {
        let counters = line.counters()?;
        warm_and_measure(&line.run, async |span| flood_each(&line, &counters, span).await).await
    })
}

/// All counters but one are flooded; then again while the slow actor is flooded, too.
pub(crate) fn tell_beside_a_slow_one(run: &Run) -> Result<Outcome> {
    measure(run, From::Outside, async |line| {
        let (mut counters, slow) = (line.counters()?, line.slow()?);
        counters.pop();
        flood_each(&line, &counters, line.run.warm_up).await?;
        let span = line.run.span / 2;
        let (_, without) = flood_each(&line, &counters, span).await?;
        let (with, slowed) = join(flood_each(&line, &counters, span), {
            measure_in_node(&line.node, move || flood_the_slow_one(slow, span))
        })
        .await;
        let (mut outcome, _) = (with?.1, slowed?);
        outcome.extend(without.get(RATE).map(|rate| (RATE_WITHOUT.to_owned(), *rate)));
        Ok(outcome)
    })
}

/// An actor of the line's node for each counter floods it.
async fn flood_each(
    line: &Line,
    counters: &[RegionAddr<Counter<Ours>>],
    span: Duration,
) -> Result<(u64, Outcome)> {
    let start = Instant::now();
    let senders = counters.iter().cloned().map(|counter| {
        measure_in_node(&line.node, move || async move {
            let sent = flood(span, &counter, Tick { body: BODY }, BODY_LEN).await?;
            Ok(Outcome::from([(SENT.to_owned(), sent as f64)]))
        })
    });
    let outcomes = try_join_all(senders).await?;
    let sent = outcomes.iter().filter_map(|outcome| outcome.get(SENT)).sum::<f64>() as u64;
    Ok((sent, rate(sent, start.elapsed())))
}

/// Sends as fast as it may; comes back when `span` is over, with most of it unhandled.
async fn flood_the_slow_one(slow: RegionAddr<Slow>, span: Duration) -> Result<Outcome> {
    let flood = async {
        loop {
            for _ in 0..STRETCH {
                slow.tell(Tick { body: BODY }).await?;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(span, flood).await {
        Err(_) => Ok(Outcome::new()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) => Ok(Outcome::new()),
    }
}

/// Sends until `span` is over, and comes back when all is handled.
async fn flood<M>(
    span: Duration,
    counter: &RegionAddr<Counter<Ours>>,
    message: M,
    len: usize,
) -> Result<u64>
where
    M: WireMessage + actix::Message<Result = ()> + Clone + Sync,
    Counter<Ours>: Handler<M>,
{
    let stretch = (STRETCH_BYTES / len as u64).clamp(1, STRETCH);
    let before = total(counter).await?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < span {
        for _ in 0..stretch {
            counter.tell(message.clone()).await?;
        }
        sent += stretch;
        // An actor that never gives its thread away would keep the link from it.
        tokio::task::yield_now().await;
    }
    // Arrives behind all that was sent (contract C5).
    let handled = total(counter).await? - before;
    ensure!(handled == sent, "{handled} of {sent} messages were handled");
    Ok(sent)
}

async fn total(counter: &RegionAddr<Counter<Ours>>) -> Result<u64> {
    Ok(counter.send(Total).deadline(DRAIN_TIME).await?)
}

/// Messages between two moments at which others may run: so many, or so many bytes.
const STRETCH: u64 = 256;
const STRETCH_BYTES: u64 = 64 << 10;

const DRAIN_TIME: Duration = Duration::from_secs(30);
const SENT: &str = "sent";
