//! Messages inside one process: FeDist's addresses against actix's own.

use actix::{Actor, Addr, Arbiter, System};
use anyhow::Result;
use fedist::prelude::{Node, RegionAddr, RegionId};
use fedist::transport::memory::MemoryNet;

use crate::actors::{
    BODY, Counter, Echo, Ours, Plain, Tick, Total, measure_in_actix, measure_in_node,
};
use crate::cores::Cores;
use crate::run::{Outcome, Run};
use crate::stopwatch::{ask_in_turn, tell_in_bursts};

#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    Tell,
    Ask,
}

/// Whether the sender runs on the thread of what it sends to.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Threads {
    Same,
    Apart,
}

/// Plain actix; the counter shares the thread of its sender, or has one of its own.
pub(crate) fn floor(run: &Run, task: Task, threads: Threads) -> Result<Outcome> {
    let run = run.clone();
    System::new().block_on(async move {
        let counter = if threads == Threads::Apart {
            Counter::<Plain>::start_in_arbiter(&Arbiter::new().handle(), |_| Counter::default())
        } else {
            Counter::<Plain>::default().start()
        };
        take_senders_core(&run)?;
        measure_in_actix(move || use_actix(run, task, threads, counter)).await
    })
}

/// A node; its counter runs on the node's thread, and the sender there, too, or outside of it.
pub(crate) fn fedist(run: &Run, task: Task, threads: Threads) -> Result<Outcome> {
    let run = run.clone();
    System::new().block_on(async move {
        let region = RegionId::new(1)?;
        let node = Node::builder(region).memory(MemoryNet::new(1).port(region)).start().await?;
        let counter = node.spawn(Counter::<Ours>::default())?.region_addr();
        take_senders_core(&run)?;
        let outcome = if threads == Threads::Apart {
            measure_in_actix(move || use_fedist(run, task, threads, counter)).await
        } else {
            measure_in_node(&node, move || use_fedist(run, task, threads, counter)).await
        };
        node.stop().await;
        outcome
    })
}

/// The receiver's thread runs by now and stays where it is.
fn take_senders_core(run: &Run) -> Result<()> {
    run.cores.as_ref().map_or(Ok(()), Cores::take_senders)
}

async fn use_actix(
    run: Run,
    task: Task,
    threads: Threads,
    counter: Addr<Counter<Plain>>,
) -> Result<Outcome> {
    let total = async || Ok(counter.send(Total).await?);
    let echo = async || {
        counter.send(Echo { body: BODY }).await?;
        Ok(())
    };
    let mut outcome = Outcome::new();
    for span in [run.warm_up, run.span] {
        outcome = match task {
            Task::Tell => {
                tell_in_bursts(span, || counter.do_send(Tick { body: BODY }), total).await?
            }
            Task::Ask => ask_in_turn(span, group(threads), echo).await?.1,
        };
    }
    Ok(outcome)
}

async fn use_fedist(
    run: Run,
    task: Task,
    threads: Threads,
    counter: RegionAddr<Counter<Ours>>,
) -> Result<Outcome> {
    let total = async || Ok(counter.send(Total).await?);
    let echo = async || {
        counter.send(Echo { body: BODY }).await?;
        Ok(())
    };
    let mut outcome = Outcome::new();
    for span in [run.warm_up, run.span] {
        outcome = match task {
            Task::Tell => {
                tell_in_bursts(span, || counter.do_send(Tick { body: BODY }), total).await?
            }
            Task::Ask => ask_in_turn(span, group(threads), echo).await?.1,
        };
    }
    Ok(outcome)
}

/// An ask on one thread takes hardly longer than reading the clock.
fn group(threads: Threads) -> u32 {
    match threads {
        Threads::Same => 64,
        Threads::Apart => 1,
    }
}
