//! Many monitors on actors of another region, all of which end at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fedist::prelude::{
    Actor, Context, Handler, MailboxEvent, Message, MessageResult, Node, RegionPid,
};
use fedist::{FnAddr, PingTarget};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{From, measure};
use crate::actors::Tick;
use crate::run::{Outcome, Run};
use crate::work::SPAN;

/// Sets monitors from one actor on many of the root region, has all of them killed, and waits for
/// every `Down`. Fewer than [`MONITORS`] in a run that is shorter than usual.
pub(crate) fn monitor(run: &Run) -> Result<Outcome> {
    measure(run, From::Outside, async |line| {
        let share = line.run.span.as_secs_f64() / SPAN.as_secs_f64();
        let count = (f64::from(MONITORS) * share.min(1.0)) as u32;
        let crowd = line.crowd()?;
        let pids = crowd.send(Gather { count }).deadline(PATIENCE).await?;
        let begun = Instant::now();
        let mut told = watch(&line.node, pids)?;
        let set = told.recv().await.context("the monitors were not set")? - begun;
        let begun = Instant::now();
        crowd.send(End).deadline(PATIENCE).await?;
        let down = told.recv().await.context("not all monitors fired")? - begun;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
        Ok(Outcome::from([(SET.to_owned(), each(set)), (DOWN.to_owned(), each(down))]))
    })
}

/// Tells when all are set, which the other side has confirmed behind them, and when all have fired.
fn watch(node: &Node, pids: Vec<RegionPid>) -> Result<mpsc::UnboundedReceiver<Instant>> {
    let (tell, told) = mpsc::unbounded_channel();
    let _: FnAddr<Tick> = node.spawn_fn(move |mut mailbox| async move {
        let Some(last) = pids.last().copied() else {
            return;
        };
        let mut open: HashSet<_> = pids.iter().map(|pid| mailbox.monitor(*pid)).collect();
        if mailbox.node().ping(PingTarget::Actor(last), PATIENCE).await.is_err() {
            return;
        }
        let _ = tell.send(Instant::now());
        while !open.is_empty() {
            if let MailboxEvent::Down(down) = mailbox.next().await {
                open.remove(&down.monitor);
            }
        }
        let _ = tell.send(Instant::now());
    })?;
    Ok(told)
}

/// Spawns idle actors of its node, and kills them.
pub(super) struct Crowd {
    node: Node,
    pids: Vec<RegionPid>,
}

impl Crowd {
    pub(super) fn new(node: &Node) -> Self {
        Self { node: node.clone(), pids: Vec::new() }
    }
}

impl Actor for Crowd {
    type Context = Context<Self>;
}

/// Spawns so many; their pids.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Vec<RegionPid>")]
#[wire(name = "bench.gather", version = 1)]
pub(super) struct Gather {
    count: u32,
}

impl Handler<Gather> for Crowd {
    type Result = MessageResult<Gather>;

    fn handle(&mut self, gather: Gather, _: &mut Context<Self>) -> Self::Result {
        let idle = (0..gather.count).filter_map(|_| self.node.spawn(Idle).ok());
        self.pids = idle.map(|idle| idle.pid()).collect();
        MessageResult(self.pids.clone())
    }
}

/// Kills them all.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[wire(name = "bench.end", version = 1)]
pub(super) struct End;

impl Handler<End> for Crowd {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut Context<Self>) {
        for pid in self.pids.drain(..) {
            self.node.kill(pid);
        }
    }
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

/// Microseconds per monitor: to set it, and from the kill to its `Down`.
pub(crate) const SET: &str = "set";
pub(crate) const DOWN: &str = "down";

const MONITORS: u32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);
