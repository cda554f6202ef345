//! FeDist with its default settings. A sender is an actor of its node, as most are; only a local
//! sender on a thread of its own is none.

use std::time::{Duration, Instant};

use ::actix::{ResponseActFuture, System};
use anyhow::{Result, bail};
use bytes::Bytes;
use fedist::prelude::*;
use fedist::transport::memory::MemoryNet;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{BODY, Body, Peer, take_receivers_core, take_senders_core};
use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Fedist;

impl Peer for Fedist {
    fn name(&self) -> &'static str {
        "fedist"
    }

    fn encrypted(&self) -> bool {
        true
    }

    fn does(&self, _: Task) -> bool {
        true
    }

    fn local(&self, run: &Run) -> Result<Outcome> {
        let run = run.clone();
        System::new().block_on(async move {
            take_receivers_core(&run)?;
            let region = RegionId::new(ROOT)?;
            let node = Node::builder(region).memory(MemoryNet::new(1).port(region)).start().await?;
            if run.task == Task::Idle {
                let spawner = node.clone();
                return in_node(&node, move || async move {
                    stopwatch::idle(async || Ok(spawner.spawn(Idle)?)).await
                })
                .await;
            }
            let counter = node.spawn(Counter::default())?.region_addr();
            take_senders_core(&run)?;
            let apart = run.task.is_apart();
            let work = move || async move { stopwatch::measure(&run, &Local(counter)).await };
            if apart { work().await } else { in_node(&node, work).await }
        })
    }

    fn serve(&self, run: &Run) -> Result<()> {
        let node = Node::builder(RegionId::new(ROOT)?)
            .data_dir(run.directory.join("root"))
            .start_blocking()?;
        let counter = node.spawn(Counter::default())?;
        let exported = node.export(&counter).handles::<Tick>().handles::<Echo>();
        exported.handles::<Total>().name("counter").publish()?;
        say(&Said::Ready { address: node.local_address().to_owned() })?;
        loop {
            std::thread::park();
        }
    }

    fn measure(&self, run: &Run, server: &str) -> Result<Outcome> {
        let run = run.clone();
        System::new().block_on(async move {
            let node = Node::builder(RegionId::new(LEAF)?)
                .parent(RegionId::new(ROOT)?)
                .join(server)
                .data_dir(run.directory.join("leaf"))
                .ca_dir(run.directory.join("root"))
                .start()
                .await?;
            let counter = reach(&node).await?;
            let body = Bytes::from(vec![0x5a; run.task.bytes()]);
            in_node(&node, move || async move {
                stopwatch::measure(&run, &Remote { counter, body }).await
            })
            .await
        })
    }
}

/// The route may come a moment after the node is live.
async fn reach(node: &Node) -> Result<RegionAddr<Counter>> {
    let start = Instant::now();
    loop {
        match node.lookup("region-1/counter").await {
            Ok(counter) => return Ok(counter),
            Err(error) if start.elapsed() > REACH_TIME => {
                bail!("the root cannot be reached: {error}")
            }
            Err(_) => ::actix::clock::sleep(Duration::from_millis(20)).await,
        }
    }
}

struct Local(RegionAddr<Counter>);

impl Way for Local {
    async fn tell(&self) -> Result<()> {
        self.0.do_send(LocalTick(BODY));
        Ok(())
    }

    async fn echo(&self) -> Result<()> {
        self.0.send(LocalEcho(BODY)).await?;
        Ok(())
    }

    async fn total(&self) -> Result<u64> {
        Ok(self.0.send(Total).await?)
    }
}

struct Remote {
    counter: RegionAddr<Counter>,
    body: Bytes,
}

impl Way for Remote {
    async fn tell(&self) -> Result<()> {
        Ok(self.counter.tell(Tick(self.body.clone())).await?)
    }

    async fn echo(&self) -> Result<()> {
        self.counter.send(Echo(self.body.clone())).await?;
        Ok(())
    }

    async fn total(&self) -> Result<u64> {
        Ok(self.counter.send(Total).deadline(REACH_TIME).await?)
    }
}

#[derive(Message, Serialize, Deserialize)]
#[wire(name = "peers.tick", version = 1)]
struct Tick(Bytes);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Bytes")]
#[wire(name = "peers.echo", version = 1)]
struct Echo(Bytes);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "peers.total", version = 1)]
struct Total;

#[derive(Message, Serialize, Deserialize)]
#[wire(name = "peers.local_tick", version = 1)]
struct LocalTick(Body);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Body")]
#[wire(name = "peers.local_echo", version = 1)]
struct LocalEcho(Body);

#[derive(Default)]
struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Tick> for Counter {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Context<Self>) {
        std::hint::black_box(&tick.0);
        self.0 += 1;
    }
}

impl Handler<LocalTick> for Counter {
    type Result = ();

    fn handle(&mut self, tick: LocalTick, _: &mut Context<Self>) {
        std::hint::black_box(&tick.0);
        self.0 += 1;
    }
}

impl Handler<Echo> for Counter {
    type Result = MessageResult<Echo>;

    fn handle(&mut self, echo: Echo, _: &mut Context<Self>) -> Self::Result {
        MessageResult(echo.0)
    }
}

impl Handler<LocalEcho> for Counter {
    type Result = MessageResult<LocalEcho>;

    fn handle(&mut self, echo: LocalEcho, _: &mut Context<Self>) -> Self::Result {
        MessageResult(echo.0)
    }
}

impl Handler<Total> for Counter {
    type Result = MessageResult<Total>;

    fn handle(&mut self, _: Total, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0)
    }
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        stopwatch::started();
    }
}

/// Runs `work` inside an actor of `node`.
async fn in_node<F>(node: &Node, work: impl FnOnce() -> F + Send + 'static) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    node.spawn(Sender)?.send(Measure(Box::new(move || work().boxed_local()))).await?
}

struct Sender;

impl Actor for Sender {
    type Context = Context<Self>;
}

struct Measure(Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<Outcome>> + Send>);

impl ::actix::Message for Measure {
    type Result = Result<Outcome>;
}

impl Handler<Measure> for Sender {
    type Result = ResponseActFuture<Self, Result<Outcome>>;

    fn handle(&mut self, measure: Measure, _: &mut Context<Self>) -> Self::Result {
        (measure.0)().into_actor(self).boxed_local()
    }
}

const ROOT: u16 = 1;
const LEAF: u16 = 2;
const REACH_TIME: Duration = Duration::from_secs(30);
