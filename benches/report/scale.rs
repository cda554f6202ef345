//! A node that has much and does little: what it takes of a processor and of memory. It is the server, a process of its own;
//! the client is the regions that are linked to it.

use std::any::Any;
use std::time::{Duration, Instant};

use actix::System;
use anyhow::{Context, Result, ensure};
use fedist::prelude::{Node, RegionAddr, RegionId};
use fedist::registry::Topology;

use crate::actors::{BODY, Counter, Echo, Ours, Total};
use crate::child::say;
use crate::many::Idle;
use crate::processor_time::ProcessorTime;
use crate::resident::resident;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::ask_in_turn;

/// MiB of resident memory of the node, and KiB that a link added to it.
pub(crate) const RESIDENT: &str = "resident";
pub(crate) const LINK: &str = "link";

/// The root; nobody asks anything of it.
pub(crate) fn serve_nothing(run: &Run) -> Result<Box<dyn Any>> {
    serve(root(run)?)
}

/// The root with a million actors, of which a hundred thousand have names. Some of these answer others.
pub(crate) fn serve_a_million(run: &Run) -> Result<Box<dyn Any>> {
    let node = root(run)?;
    for number in 0..names(run) {
        let name = format!("actor-{number}");
        if number % ANSWERING == 0 {
            let actor = node.spawn(Counter::<Ours>::default())?;
            node.export(&actor).handles::<Echo>().publish()?;
            node.register(name, &actor)?;
        } else {
            node.register(name, node.spawn(Idle::<Ours>::new())?.pid())?;
        }
    }
    let mut last = node.spawn(Idle::<Ours>::new())?;
    for _ in names(run) + 1..of_this_span(run, 1_000_000) {
        last = node.spawn(Idle::<Ours>::new())?;
    }
    // Actors start in the order in which they were spawned.
    System::new().block_on(last.send(Total))?;
    serve(node)
}

fn names(run: &Run) -> usize {
    of_this_span(run, 100_000)
}

/// Fewer in a short run.
fn of_this_span(run: &Run, usual: u32) -> usize {
    (f64::from(usual) * run.span.div_duration_f64(REST)).ceil() as usize
}

fn root(run: &Run) -> Result<Node> {
    let builder = Node::builder(RegionId::new(1)?).data_dir(run.directory.join("region-1"));
    Ok(builder.mtu_upper(run.mtu).topology(Topology::Star).start_blocking()?)
}

fn serve(node: Node) -> Result<Box<dyn Any>> {
    say(&Said::Ready { address: node.local_address().to_owned(), actors: Vec::new() })?;
    Ok(Box::new(node))
}

/// The processor time of the root while nothing happens.
pub(crate) fn idle(run: &Run, links: u16) -> Result<Outcome> {
    with_leaves(run, links, async |run, _| share_of_a_core(&run).await)
}

/// The same with more links; every one of them is used before.
pub(crate) fn loaded(run: &Run) -> Result<Outcome> {
    let process = run.server()?.process;
    let before = resident(process)?;
    let links = u16::try_from(of_this_span(run, 64))?.max(2);
    with_leaves(run, links, async move |run, leaves| {
        let mut number = 0;
        for leaf in &leaves {
            let name = format!("1/actor-{number}");
            let actor: RegionAddr<Counter<Ours>> = leaf.lookup(&name).await?;
            let answer = actor.send(Echo { body: BODY }).await?;
            ensure!(answer.0 == BODY.0, "{name} answered something else");
            number = (number + 100 * ANSWERING) % names(&run);
        }
        let after = resident(process)?;
        let mut outcome = share_of_a_core(&run).await?;
        let actor: RegionAddr<Counter<Ours>> =
            leaves.first().context("no leaf")?.lookup("1/actor-0").await?;
        let echo = async || {
            actor.send(Echo { body: BODY }).await?;
            Ok(())
        };
        outcome.extend(ask_in_turn(run.warm_up / 4, 1, echo).await?.1);
        outcome.insert(RESIDENT.to_owned(), after / MIB);
        outcome.insert(LINK.to_owned(), (after - before) / 1024.0 / f64::from(links));
        Ok(outcome)
    })
}

/// Runs `work` with so many regions below the root, which have no links but those with it.
fn with_leaves<F>(run: &Run, count: u16, work: impl FnOnce(Run, Vec<Node>) -> F) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>>,
{
    let run = run.clone();
    System::new().block_on(async move {
        let mut leaves = Vec::new();
        for number in 2..=count + 1 {
            let builder = Node::builder(RegionId::new(number)?)
                .parent(RegionId::new(1)?)
                .join(&run.server()?.address)
                .data_dir(run.directory.join(format!("region-{number}")))
                .ca_dir(run.directory.join("region-1"))
                .mtu_upper(run.mtu)
                .topology(Topology::Star);
            leaves.push(builder.start().await?);
        }
        for leaf in &leaves {
            let start = Instant::now();
            while leaf.reachable_regions().len() < leaves.len() {
                ensure!(start.elapsed() < REACH_TIME, "not every region has a way to all others");
                actix::clock::sleep(Duration::from_millis(20)).await;
            }
        }
        work(run, leaves).await
        // The process ends with its nodes; saying goodbye to all would take longer than the run.
    })
}

/// In percent, of the root, after a while in which it comes to rest.
async fn share_of_a_core(run: &Run) -> Result<Outcome> {
    actix::clock::sleep(run.warm_up).await;
    let (time, start) = (ProcessorTime::start(&run.servers), Instant::now());
    actix::clock::sleep(run.span).await;
    let hundredths = start.elapsed().as_micros() / 100;
    let mut outcome = Outcome::new();
    time.stop(u64::try_from(hundredths)?, &mut outcome);
    Ok(outcome)
}

/// The usual span, long enough for a probe of each link.
pub(crate) const REST: Duration = Duration::from_secs(6);
/// Every so many of those with names answer.
const ANSWERING: usize = 10;
const MIB: f64 = 1024.0 * 1024.0;
const REACH_TIME: Duration = Duration::from_secs(30);
