//! ractor within a process, and ractor_cluster between two. A sender is the main task of a tokio
//! runtime with one thread; so is what answers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::{NodeServer, NodeServerMessage, RactorClusterMessage, RactorMessage};

use super::{BODY, Body, Peer, on_receivers_thread, on_this_thread, take_receivers_core};
use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Ractor;

impl Peer for Ractor {
    fn name(&self) -> &'static str {
        "ractor"
    }

    fn does(&self, _: Task) -> bool {
        true
    }

    fn local(&self, run: &Run) -> Result<Outcome> {
        let start = async || Ok(Actor::spawn(None, Counter, ()).await?.0);
        if run.task.is_apart() {
            let counter = on_receivers_thread(run, start)?;
            return on_this_thread(async { stopwatch::measure(run, &counter).await });
        }
        take_receivers_core(run)?;
        on_this_thread(async {
            if run.task == Task::Idle {
                return stopwatch::idle(async || Ok(Actor::spawn(None, Idle, ()).await?.0)).await;
            }
            stopwatch::measure(run, &start().await?).await
        })
    }

    fn serve(&self, run: &Run) -> Result<()> {
        on_this_thread(async {
            let _node = start_node(run.port, "server").await?;
            let (counter, _) = Actor::spawn(None, RemoteCounter, ()).await?;
            pg::join(GROUP.to_owned(), vec![counter.get_cell()]);
            say(&Said::Ready { address: format!("127.0.0.1:{}", run.port) })?;
            std::future::pending().await
        })
    }

    fn measure(&self, run: &Run, server: &str) -> Result<Outcome> {
        on_this_thread(async {
            let node = start_node(0, "client").await?;
            ractor_cluster::client_connect(&node, server).await?;
            let start = Instant::now();
            let counter = loop {
                if let Some(counter) = pg::get_members(&GROUP.to_owned()).pop() {
                    break ActorRef::from(counter);
                }
                ensure!(start.elapsed() < Duration::from_secs(10), "the server's group is empty");
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            let body = vec![0x5a; run.task.bytes()];
            stopwatch::measure(run, &Remote { counter, body }).await
        })
    }
}

async fn start_node(port: u16, name: &str) -> Result<ActorRef<NodeServerMessage>> {
    let host = "localhost".to_owned();
    let node = NodeServer::new(port, "peers".to_owned(), name.to_owned(), host, None, None)
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(Actor::spawn(None, node, ()).await?.0)
}

impl Way for ActorRef<Local> {
    async fn tell(&self) -> Result<()> {
        Ok(self.cast(Local::Tick(BODY))?)
    }

    async fn echo(&self) -> Result<()> {
        answer(self.call(|port| Local::Echo(BODY, port), None).await?).map(drop)
    }

    async fn total(&self) -> Result<u64> {
        answer(self.call(Local::Total, None).await?)
    }
}

struct Remote {
    counter: ActorRef<Wire>,
    body: Vec<u8>,
}

impl Way for Remote {
    async fn tell(&self) -> Result<()> {
        Ok(self.counter.cast(Wire::Tick(self.body.clone()))?)
    }

    async fn echo(&self) -> Result<()> {
        let body = self.body.clone();
        answer(self.counter.call(|port| Wire::Echo(body, port), None).await?).map(drop)
    }

    async fn total(&self) -> Result<u64> {
        answer(self.counter.call(Wire::Total, None).await?)
    }

    /// Its queues have no bound.
    const HOLDS_BACK: bool = false;
}

fn answer<T>(result: CallResult<T>) -> Result<T> {
    match result {
        CallResult::Success(answer) => Ok(answer),
        CallResult::Timeout => Err(anyhow!("a call timed out")),
        CallResult::SenderError => Err(anyhow!("a call was not answered")),
    }
}

#[derive(RactorMessage)]
enum Local {
    Tick(Body),
    Echo(Body, RpcReplyPort<Body>),
    Total(RpcReplyPort<u64>),
}

#[derive(RactorClusterMessage)]
enum Wire {
    Tick(Vec<u8>),
    #[rpc]
    Echo(Vec<u8>, RpcReplyPort<Vec<u8>>),
    #[rpc]
    Total(RpcReplyPort<u64>),
}

struct Counter;

impl Actor for Counter {
    type Msg = Local;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Local>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Local>,
        message: Local,
        ticks: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Local::Tick(body) => {
                std::hint::black_box(&body);
                *ticks += 1;
            }
            Local::Echo(body, port) => port.send(body)?,
            Local::Total(port) => port.send(*ticks)?,
        }
        Ok(())
    }
}

struct RemoteCounter;

impl Actor for RemoteCounter {
    type Msg = Wire;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Wire>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Wire>,
        message: Wire,
        ticks: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Wire::Tick(body) => {
                std::hint::black_box(&body);
                *ticks += 1;
            }
            Wire::Echo(body, port) => port.send(body)?,
            Wire::Total(port) => port.send(*ticks)?,
        }
        Ok(())
    }
}

struct Idle;

impl Actor for Idle {
    type Msg = Local;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Local>, (): ()) -> Result<(), ActorProcessingErr> {
        stopwatch::started();
        Ok(())
    }
}

const GROUP: &str = "counter";
