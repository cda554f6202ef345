//! FeDist's side: a line of regions, each a process with a QUIC link to the next.
//!
//! The first that starts is the root and has the actors that the others send to. Each one after it
//! joins below the last, and keeps no link but that to its parent and its child; the client is the
//! last. With two links or more, what the client sends passes relays.

mod crowd;
mod flow;
mod question;

use std::any::Any;
use std::time::{Duration, Instant};

use actix::System;
use anyhow::{Context as _, Result, bail, ensure};
use fedist::NodeBuilder;
use fedist::prelude::{
    Actor, AsyncHandler, Context, Node, RegionAddr, RegionId, RegionPid, async_handler,
};
use fedist::registry::Topology;

use crate::actors::{
    Counter, Echo, Load, Ours, Tick, Total, Volume, measure_in_actix, measure_in_node,
};
use crate::child::say;
use crate::run::{Outcome, Run, Said, ServerAt};
use crowd::{Crowd, End, Gather};

pub(crate) use crowd::{DOWN, SET, monitor};
pub(crate) use flow::{tell, tell_beside_a_slow_one, tell_bytes, tell_from_many};
pub(crate) use question::{ask, ask_at_once, ask_near_and_far, call};

/// Where the sending code runs.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// In an actor of the node.
    Node,
    /// On a thread of its own.
    Outside,
}

/// The next region of the line, with actors that all may send to.
pub(crate) fn serve(run: &Run) -> Result<Box<dyn Any>> {
    let node = builder(run)?.task(question::same).start_blocking()?;
    let mut actors = Vec::new();
    for _ in 0..COUNTERS {
        let counter = node.spawn(Counter::<Ours>::default())?;
        let export = node.export(&counter).handles::<Tick>().handles::<Load>();
        actors.push(export.handles::<Echo>().handles::<Total>().handles::<Volume>().publish()?);
    }
    actors.push(node.export(&node.spawn(Slow)?).handles::<Tick>().publish()?);
    let crowd = node.spawn(Crowd::new(&node))?;
    actors.push(node.export(&crowd).handles::<Gather>().handles::<End>().publish()?);
    let actors = actors.iter().map(RegionPid::to_string).collect();
    say(&Said::Ready { address: node.local_address().to_owned(), actors })?;
    Ok(Box::new(node))
}

fn builder(run: &Run) -> Result<NodeBuilder> {
    let place = u16::try_from(run.servers.len())? + 1;
    let directory = |place: u16| run.directory.join(format!("region-{place}"));
    let mut builder = Node::builder(RegionId::new(place)?)
        .data_dir(directory(place))
        .ca_dir(directory(1))
        .mtu_upper(run.mtu);
    if let Some(parent) = run.servers.last() {
        builder = builder.parent(RegionId::new(place - 1)?).join(&parent.address);
    }
    if run.links > 1 {
        builder = builder.topology(Topology::Tree);
    }
    Ok(builder)
}

/// The client's end of the line.
struct Line {
    run: Run,
    node: Node,
}

impl Line {
    /// The first of [`counters`](Self::counters).
    fn counter(&self) -> Result<RegionAddr<Counter<Ours>>> {
        self.actor(self.run.server()?, 0)
    }

    /// Actors of the first server.
    fn counters(&self) -> Result<Vec<RegionAddr<Counter<Ours>>>> {
        let server = self.run.server()?;
        (0..COUNTERS).map(|index| self.actor(server, index)).collect()
    }

    fn neighbours_counter(&self) -> Result<RegionAddr<Counter<Ours>>> {
        self.actor(self.run.next_hop()?, 0)
    }

    fn slow(&self) -> Result<RegionAddr<Slow>> {
        self.actor(self.run.server()?, COUNTERS)
    }

    fn crowd(&self) -> Result<RegionAddr<Crowd>> {
        self.actor(self.run.server()?, COUNTERS + 1)
    }

    fn actor<A: Actor>(&self, server: &ServerAt, index: usize) -> Result<RegionAddr<A>> {
        let pid: RegionPid = server.actors.get(index).context("no actor to send to")?.parse()?;
        Ok(self.node.address(pid))
    }

    /// Waits until the first server answers; the route may come a moment after the node is live.
    async fn reach(&self) -> Result<()> {
        let (counter, start) = (self.counter()?, Instant::now());
        while let Err(error) = counter.send(Total).await {
            if start.elapsed() > REACH_TIME {
                bail!("the root cannot be reached: {error}");
            }
            actix::clock::sleep(Duration::from_millis(20)).await;
        }
        let root = RegionId::new(1)?;
        let view = self.node.view();
        let relays = view.routes.get(root).context("no route to the root")?.relays().len();
        ensure!(relays + 1 == self.run.links, "{relays} relays over {} links", self.run.links);
        Ok(())
    }
}

/// Joins, does `work`, and leaves.
fn measure<F>(
    run: &Run,
    from: From,
    work: impl FnOnce(Line) -> F + Send + 'static,
) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    let run = run.clone();
    System::new().block_on(async move {
        let node = builder(&run)?.start().await?;
        let line = Line { run, node: node.clone() };
        line.reach().await?;
        let outcome = match from {
            From::Node => measure_in_node(&node, move || work(line)).await,
            From::Outside => measure_in_actix(move || work(line)).await,
        };
        node.stop().await;
        outcome
    })
}

/// Takes its time for each message.
struct Slow;

impl Actor for Slow {
    type Context = Context<Self>;
}

#[async_handler]
impl AsyncHandler<Tick> for Slow {
    async fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        actix::clock::sleep(SLOWNESS).await;
    }
}

/// Counting actors of a region.
pub(crate) const COUNTERS: usize = 16;
const SLOWNESS: Duration = Duration::from_millis(100);
const REACH_TIME: Duration = Duration::from_secs(10);
