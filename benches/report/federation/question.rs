//! Questions: one after the other, many at once, over relays; and a task as a question.

use anyhow::{Result, ensure};
use fedist::prelude::{RegionAddr, RegionId, TaskCx};

use super::{From, measure};
use crate::actors::{BODY, Counter, Echo, Ours};
use crate::run::{Outcome, Run};
use crate::stopwatch::{self, ask_in_turn, warm_and_measure};

/// Asks one after the other.
pub(crate) fn ask(run: &Run, from: From) -> Result<Outcome> {
    measure(run, from, async |line| {
        let counter = line.counter()?;
        let ask = async |span| ask_in_turn(span, 1, async || echo(&counter).await).await;
        warm_and_measure(&line.run, ask).await
    })
}

/// Asks the neighbour and the root in turn.
pub(crate) fn ask_near_and_far(run: &Run) -> Result<Outcome> {
    measure(run, From::Node, async |line| {
        let (near, far) = (line.neighbours_counter()?, line.counter()?);
        let (near, far) = (async || echo(&near).await, async || echo(&far).await);
        stopwatch::ask_near_and_far(&line.run, near, far).await
    })
}

/// Keeps so many questions open.
pub(crate) fn ask_at_once(run: &Run, at_once: usize) -> Result<Outcome> {
    measure(run, From::Node, async move |line| {
        let counter = line.counter()?;
        let echo = async || echo(&counter).await;
        warm_and_measure(&line.run, async |span| stopwatch::ask_at_once(span, at_once, &echo).await)
            .await
    })
}

/// Starts a task in the root region and waits for its result, one after the other.
pub(crate) fn call(run: &Run) -> Result<Outcome> {
    measure(run, From::Node, async |line| {
        let root = RegionId::new(1)?;
        let call = async || {
            ensure!(line.node.call(root, same, ANSWER).await? == ANSWER, "another result");
            Ok(())
        };
        warm_and_measure(&line.run, async |span| ask_in_turn(span, 1, call).await).await
    })
}

#[fedist::task(name = "bench.same", version = 1)]
pub(super) async fn same(_cx: TaskCx, value: u64) -> u64 {
    value
}

async fn echo(counter: &RegionAddr<Counter<Ours>>) -> Result<()> {
    counter.send(Echo { body: BODY }).await?;
    Ok(())
}

const ANSWER: u64 = 42;
