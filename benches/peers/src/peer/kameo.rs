//! kameo within a process, and its libp2p swarm between two: TCP with Noise and yamux, as its
//! `bootstrap`, but dialled by address instead of found by mDNS. A sender is the main task of a
//! tokio runtime with one thread; so is what answers.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use kameo::actor::{ActorRef, RemoteActorRef, Spawn};
use kameo::message::{Context, Message};
use kameo::remote::messaging;
use kameo::{Actor, RemoteActor, Reply, remote_message};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, SwarmBuilder, noise, tcp, yamux};
use serde::{Deserialize, Serialize};

use super::{BODY, Body, Peer, on_receivers_thread, on_this_thread, take_receivers_core};
use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Kameo;

impl Peer for Kameo {
    fn name(&self) -> &'static str {
        "kameo"
    }

    fn encrypted(&self) -> bool {
        true
    }

    fn does(&self, _: Task) -> bool {
        true
    }

    fn local(&self, run: &Run) -> Result<Outcome> {
        let start = async || Ok(Counter::spawn(Counter(0)));
        if run.task.is_apart() {
            let counter = on_receivers_thread(run, start)?;
            return on_this_thread(async { stopwatch::measure(run, &counter).await });
        }
        take_receivers_core(run)?;
        on_this_thread(async {
            if run.task == Task::Idle {
                return stopwatch::idle(async || Ok(Idle::spawn(Idle))).await;
            }
            stopwatch::measure(run, &start().await?).await
        })
    }

    fn serve(&self, run: &Run) -> Result<()> {
        on_this_thread(async {
            let address = format!("/ip4/127.0.0.1/tcp/{}", run.port);
            let id = start_swarm(Some(&address), None)?;
            let counter = Counter::spawn(Counter(0));
            counter.register("counter").await?;
            say(&Said::Ready { address: format!("{id} {address}") })?;
            std::future::pending().await
        })
    }

    fn measure(&self, run: &Run, server: &str) -> Result<Outcome> {
        on_this_thread(async {
            start_swarm(None, Some(server))?;
            let start = Instant::now();
            let counter = loop {
                let found = RemoteActorRef::<Counter>::lookup("counter").await;
                if let Ok(Some(counter)) = found {
                    break counter;
                }
                let waited = start.elapsed();
                ensure!(waited < Duration::from_secs(20), "no counter: {:?}", found.err());
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let body = Bytes::from(vec![0x5a; run.task.bytes()]);
            let under_way = RefCell::default();
            stopwatch::measure(run, &Remote { counter, body, under_way }).await
        })
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    kameo: kameo::remote::Behaviour,
}

fn start_swarm(listen: Option<&str>, dial: Option<&str>) -> Result<PeerId> {
    let messaging = messaging::Config::default()
        // The defaults are 100 and 1 MiB; the works have 256 asks in flight and bodies of 1 MiB.
        .with_max_concurrent_streams(2 * UNDER_WAY)
        .with_request_size_maximum(16 << 20);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| {
            let kameo = kameo::remote::Behaviour::new(key.public().to_peer_id(), messaging);
            Behaviour { kameo }
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.behaviour().kameo.init_global();
    if let Some(address) = listen {
        swarm.listen_on(address.parse()?)?;
    }
    if let Some((id, address)) = dial.and_then(|server| server.split_once(' ')) {
        let (id, address) = (id.parse()?, address.parse()?);
        swarm.dial(DialOpts::peer_id(id).addresses(vec![address]).build())?;
    }
    let id = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            let event = swarm.select_next_some().await;
            if let SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } = event
                && endpoint.is_dialer()
            {
                // What `bootstrap` does with a peer that mDNS has found: now it can be asked.
                swarm.add_peer_address(peer_id, endpoint.get_remote_address().clone());
            }
        }
    });
    Ok(id)
}

impl Way for ActorRef<Counter> {
    async fn tell(&self) -> Result<()> {
        self.tell(LocalTick(BODY)).await.map_err(|error| anyhow!("{error}"))
    }

    async fn echo(&self) -> Result<()> {
        self.ask(LocalEcho(BODY)).await.map(drop).map_err(|error| anyhow!("{error}"))
    }

    async fn total(&self) -> Result<u64> {
        self.ask(Total).await.map_err(|error| anyhow!("{error}"))
    }
}

struct Remote {
    counter: RemoteActorRef<Counter>,
    body: Bytes,
    under_way: RefCell<FuturesUnordered<BoxFuture<'static, Result<()>>>>,
}

impl Way for Remote {
    /// More tells at once than the receiver allows streams are lost, so each is acknowledged, and
    /// as many are under way.
    #[allow(clippy::await_holding_refcell_ref, reason = "one task only tells")]
    async fn tell(&self) -> Result<()> {
        let (counter, tick) = (self.counter.clone(), Tick(self.body.clone()));
        let told = async move { Ok(counter.tell(&tick).send_ack().await?) };
        let mut under_way = self.under_way.borrow_mut();
        under_way.push(told.boxed());
        if under_way.len() >= UNDER_WAY {
            under_way.next().await.transpose()?;
        }
        Ok(())
    }

    async fn echo(&self) -> Result<()> {
        let echo = Echo(self.body.clone());
        self.counter.ask(&echo).await.map(drop).map_err(|error| anyhow!("{error}"))
    }

    #[allow(clippy::await_holding_refcell_ref, reason = "one task only tells")]
    async fn total(&self) -> Result<u64> {
        let mut under_way = self.under_way.borrow_mut();
        while let Some(told) = under_way.next().await {
            told?;
        }
        self.counter.ask(&Total).await.map_err(|error| anyhow!("{error}"))
    }
}

const UNDER_WAY: usize = 256;

struct LocalTick(Body);

struct LocalEcho(Body);

#[derive(Serialize, Deserialize)]
struct Tick(Bytes);

#[derive(Serialize, Deserialize)]
struct Echo(Bytes);

#[derive(Serialize, Deserialize)]
struct Total;

#[derive(Reply)]
#[allow(dead_code, reason = "the asker only waits for it")]
struct Echoed(Body);

#[derive(Reply, Serialize, Deserialize)]
struct RemoteEchoed(Bytes);

#[derive(Actor, RemoteActor)]
struct Counter(u64);

impl Message<LocalTick> for Counter {
    type Reply = ();

    async fn handle(&mut self, tick: LocalTick, _: &mut Context<Self, ()>) {
        std::hint::black_box(&tick.0);
        self.0 += 1;
    }
}

impl Message<LocalEcho> for Counter {
    type Reply = Echoed;

    async fn handle(&mut self, echo: LocalEcho, _: &mut Context<Self, Echoed>) -> Echoed {
        Echoed(echo.0)
    }
}

#[remote_message]
impl Message<Tick> for Counter {
    type Reply = ();

    async fn handle(&mut self, tick: Tick, _: &mut Context<Self, ()>) {
        std::hint::black_box(&tick.0);
        self.0 += 1;
    }
}

#[remote_message]
impl Message<Echo> for Counter {
    type Reply = RemoteEchoed;

    async fn handle(&mut self, echo: Echo, _: &mut Context<Self, RemoteEchoed>) -> RemoteEchoed {
        RemoteEchoed(echo.0)
    }
}

#[remote_message]
impl Message<Total> for Counter {
    type Reply = u64;

    async fn handle(&mut self, _: Total, _: &mut Context<Self, u64>) -> u64 {
        self.0
    }
}

struct Idle;

impl Actor for Idle {
    type Args = Self;
    type Error = kameo::error::Infallible;

    async fn on_start(idle: Self, _: ActorRef<Self>) -> Result<Self, Self::Error> {
        stopwatch::started();
        Ok(idle)
    }
}
