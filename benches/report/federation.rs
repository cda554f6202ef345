//! Two nodes, two processes, one QUIC link.

use std::any::Any;
use std::time::{Duration, Instant};

use actix::System;
use anyhow::{Context, Result, bail, ensure};
use fedist::prelude::{Node, RegionAddr, RegionId, RegionPid};

use crate::actors::{BODY, Counter, Echo, Ours, Tick, Total, measure_in_actix, measure_in_node};
use crate::child::say;
use crate::processor_time::ProcessorTime;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{ask_in_turn, rate};

/// Where the sending code runs.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// In an actor of the node.
    Node,
    /// On a thread of its own.
    Outside,
}

/// The root region with a counter that all may send to. Comes back at once; the node goes on.
pub(crate) fn serve(run: &Run) -> Result<Box<dyn Any>> {
    let node = Node::builder(RegionId::new(ROOT)?)
        .data_dir(run.directory.join("root"))
        .mtu_upper(run.mtu)
        .start_blocking()?;
    let counter = node.spawn(Counter::<Ours>::default())?;
    let pid =
        node.export(&counter).handles::<Tick>().handles::<Echo>().handles::<Total>().publish()?;
    say(&Said::Ready { address: node.local_address().to_owned(), actor: Some(pid.to_string()) })?;
    Ok(Box::new(node))
}

/// A second region, whose actor (or a thread outside of it) sends to the root's counter.
fn measure<F>(
    run: &Run,
    from: From,
    work: impl FnOnce(Run, RegionAddr<Counter<Ours>>) -> F + Send + 'static,
) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    let run = run.clone();
    System::new().block_on(async move {
        let node = Node::builder(RegionId::new(LEAF)?)
            .parent(RegionId::new(ROOT)?)
            .join(&run.next_hop()?.address)
            .data_dir(run.directory.join("leaf"))
            .ca_dir(run.directory.join("root"))
            .mtu_upper(run.mtu)
            .start()
            .await?;
        let pid: RegionPid =
            run.server()?.actor.as_deref().context("no actor to send to")?.parse()?;
        let counter = node.address::<Counter<Ours>>(pid);
        reach(&counter).await?;
        let outcome = match from {
            From::Node => measure_in_node(&node, move || work(run, counter)).await,
            From::Outside => measure_in_actix(move || work(run, counter)).await,
        };
        node.stop().await;
        outcome
    })
}

/// The route may come a moment after the node is live.
async fn reach(counter: &RegionAddr<Counter<Ours>>) -> Result<()> {
    let start = Instant::now();
    loop {
        match counter.send(Total).await {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > REACH_TIME => {
                bail!("the root cannot be reached: {error}")
            }
            Err(_) => actix::clock::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Asks one after the other.
pub(crate) fn ask(run: &Run, from: From) -> Result<Outcome> {
    measure(run, from, async |run, counter| {
        let mut outcome = Outcome::new();
        for span in [run.warm_up, run.span] {
            let time = ProcessorTime::start(&run.servers);
            let echo = async || {
                counter.send(Echo { body: BODY }).await?;
                Ok(())
            };
            let (count, mut measured) = ask_in_turn(span, 1, echo).await?;
            time.stop(count, &mut measured);
            outcome = measured;
        }
        Ok(outcome)
    })
}

/// Sends and does not wait.
pub(crate) fn tell(run: &Run, from: From) -> Result<Outcome> {
    measure(run, from, async |run, counter| {
        let mut outcome = Outcome::new();
        for span in [run.warm_up, run.span] {
            let time = ProcessorTime::start(&run.servers);
            let (count, mut measured) = tell_for(span, &counter).await?;
            time.stop(count, &mut measured);
            outcome = measured;
        }
        Ok(outcome)
    })
}

async fn tell_for(span: Duration, counter: &RegionAddr<Counter<Ours>>) -> Result<(u64, Outcome)> {
    let before = counter.send(Total).await?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < span {
        for _ in 0..STRETCH {
            counter.tell(Tick { body: BODY }).await?;
        }
        sent += STRETCH;
        // An actor that never gives its thread away would keep the link from it.
        tokio::task::yield_now().await;
    }
    // Arrives behind all ticks (contract C5).
    let after = counter.send(Total).deadline(DRAIN_TIME).await?;
    let elapsed = start.elapsed();
    let handled = after - before;
    ensure!(handled == sent, "{handled} of {sent} messages were handled");
    Ok((sent, rate(sent, elapsed)))
}

const ROOT: u16 = 1;
const LEAF: u16 = 2;

/// Ticks between two moments at which others may run.
const STRETCH: u64 = 256;

const REACH_TIME: Duration = Duration::from_secs(10);
const DRAIN_TIME: Duration = Duration::from_secs(30);
