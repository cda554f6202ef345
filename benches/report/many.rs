//! Many actors on one thread, beside plain actix: fan-in, a ring, and being spawned.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Handler, System};
use anyhow::{Result, ensure};
use fedist::prelude::{
    Context, LocalAddr, Message, Node, RegionAddr, RegionId, RegionPid, Serialize,
};
use fedist::transport::memory::MemoryNet;
use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::actors::{BODY, Counter, Ours, Plain, Tick, Total, measure_in_actix, measure_in_node};
use crate::resident::Growth;
use crate::run::{Outcome, Run};
use crate::stopwatch::rate;
use crate::work::SPAN;

/// Microseconds to spawn one actor, and until it has started, too; bytes that it takes.
pub(crate) const SPAWN: &str = "spawn";
pub(crate) const STARTED: &str = "started";
pub(crate) const BYTES: &str = "bytes";

/// Runs `work` in an actor of plain actix, on a thread of its own as a node's: glibc gives the first thread of a process memory
/// in larger pieces than all others, which makes a third of what a spawn takes.
fn plain<F>(run: &Run, work: impl FnOnce(Run) -> F + Send + 'static) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    let run = run.clone();
    let thread = std::thread::spawn(move || {
        System::new().block_on(async move { measure_in_actix(move || work(run)).await })
    });
    thread.join().map_err(|_| anyhow::anyhow!("the thread of the floor panicked"))?
}

/// Runs `work` in an actor of a node.
pub(crate) fn ours<F>(
    run: &Run,
    work: impl FnOnce(Run, Node) -> F + Send + 'static,
) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    let run = run.clone();
    System::new().block_on(async move {
        let region = RegionId::new(1)?;
        let node = Node::builder(region).memory(MemoryNet::new(1).port(region)).start().await?;
        let handed = node.clone();
        let outcome = measure_in_node(&node, move || work(run, handed)).await;
        node.stop().await;
        outcome
    })
}

/// Sends ticks to one receiver, a burst each time it is told to.
struct Sender<T>(T);

impl Actor for Sender<Addr<Counter<Plain>>> {
    type Context = actix::Context<Self>;
}

impl Actor for Sender<RegionAddr<Counter<Ours>>> {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Burst;

impl Handler<Burst> for Sender<Addr<Counter<Plain>>> {
    type Result = ();

    fn handle(&mut self, _: Burst, _: &mut Self::Context) {
        (0..BURST).for_each(|_| self.0.do_send(Tick { body: BODY }));
    }
}

impl Handler<Burst> for Sender<RegionAddr<Counter<Ours>>> {
    type Result = ();

    fn handle(&mut self, _: Burst, _: &mut Self::Context) {
        (0..BURST).for_each(|_| self.0.do_send(Tick { body: BODY }));
    }
}

pub(crate) fn fan_in_of_actix(run: &Run) -> Result<Outcome> {
    plain(run, async |run: Run| {
        let counter = Counter::<Plain>::default().start();
        let senders: Vec<_> = (0..SENDERS).map(|_| Sender(counter.clone()).start()).collect();
        let burst = async || {
            try_join_all(senders.iter().map(|sender| sender.send(Burst))).await?;
            Ok(())
        };
        fan_in(&run, burst, async || Ok(counter.send(Total).await?)).await
    })
}

pub(crate) fn fan_in_of_fedist(run: &Run) -> Result<Outcome> {
    ours(run, async |run: Run, node: Node| {
        let counter = node.spawn(Counter::<Ours>::default())?.region_addr();
        let senders: Result<Vec<LocalAddr<_>>, _> =
            (0..SENDERS).map(|_| node.spawn(Sender(counter.clone()))).collect();
        let senders = senders?;
        let burst = async || {
            try_join_all(senders.iter().map(|sender| sender.send(Burst))).await?;
            Ok(())
        };
        fan_in(&run, burst, async || Ok(counter.send(Total).await?)).await
    })
}

async fn fan_in(
    run: &Run,
    burst: impl AsyncFn() -> Result<()>,
    total: impl AsyncFn() -> Result<u64>,
) -> Result<Outcome> {
    let mut outcome = Outcome::new();
    for span in [run.warm_up, run.span] {
        let (start, mut sent, before) = (Instant::now(), 0, total().await?);
        while start.elapsed() < span {
            burst().await?;
            sent += SENDERS * BURST;
            let handled = total().await? - before;
            ensure!(handled == sent, "{handled} of {sent} messages were handled");
        }
        outcome = rate(sent, start.elapsed());
    }
    Ok(outcome)
}

/// How the members of a ring know each other.
trait Kin: 'static {
    type Address: Unpin + Send + 'static;

    fn pass(next: &Self::Address, token: Token);
}

impl Kin for Plain {
    type Address = Addr<Member<Plain>>;

    fn pass(next: &Self::Address, token: Token) {
        next.do_send(token);
    }
}

impl Kin for Ours {
    type Address = RegionAddr<Member<Ours>>;

    fn pass(next: &Self::Address, token: Token) {
        next.do_send(token);
    }
}

/// One of a ring; passes a token on until it has made its way.
struct Member<K: Kin> {
    next: Option<K::Address>,
    home: Arc<Notify>,
}

impl Actor for Member<Plain> {
    type Context = actix::Context<Self>;
}

impl Actor for Member<Ours> {
    type Context = Context<Self>;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[wire(name = "bench.token", version = 1)]
struct Token {
    left: u64,
}

/// Closes the ring.
struct Next<K: Kin>(K::Address);

impl<K: Kin> actix::Message for Next<K> {
    type Result = ();
}

impl<K: Kin> Handler<Token> for Member<K>
where
    Self: Actor,
{
    type Result = ();

    fn handle(&mut self, Token { left }: Token, _: &mut Self::Context) {
        match (&self.next, left.checked_sub(1)) {
            (Some(next), Some(left)) => K::pass(next, Token { left }),
            _ => self.home.notify_one(),
        }
    }
}

impl<K: Kin> Handler<Next<K>> for Member<K>
where
    Self: Actor,
{
    type Result = ();

    fn handle(&mut self, Next(next): Next<K>, _: &mut Self::Context) {
        self.next = Some(next);
    }
}

pub(crate) fn ring_of_actix(run: &Run) -> Result<Outcome> {
    plain(run, async |run: Run| {
        let home = Arc::new(Notify::new());
        let member = |next| Member::<Plain> { next, home: Arc::clone(&home) }.start();
        let first = member(None);
        let last = (1..MEMBERS).fold(first.clone(), |next, _| member(Some(next)));
        first.send(Next(last)).await?;
        ring(&run, &home, |token| first.do_send(token)).await
    })
}

pub(crate) fn ring_of_fedist(run: &Run) -> Result<Outcome> {
    ours(run, async |run: Run, node: Node| {
        let home = Arc::new(Notify::new());
        let member = |next| node.spawn(Member::<Ours> { next, home: Arc::clone(&home) });
        let first = member(None)?;
        let mut last = first.region_addr();
        for _ in 1..MEMBERS {
            last = member(Some(last))?.region_addr();
        }
        first.send(Next(last)).await?;
        let first = first.region_addr();
        ring(&run, &home, |token| first.do_send(token)).await
    })
}

async fn ring(run: &Run, home: &Notify, begin: impl Fn(Token)) -> Result<Outcome> {
    let mut outcome = Outcome::new();
    for span in [run.warm_up, run.span] {
        let (start, mut passed) = (Instant::now(), 0);
        while start.elapsed() < span {
            begin(Token { left: WAY });
            home.notified().await;
            passed += WAY;
        }
        outcome = rate(passed, start.elapsed());
    }
    Ok(outcome)
}

/// Does nothing, and says that it lives.
pub(crate) struct Idle<K>(PhantomData<fn(K)>);

impl<K> Idle<K> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl Actor for Idle<Plain> {
    type Context = actix::Context<Self>;
}

impl Actor for Idle<Ours> {
    type Context = Context<Self>;
}

impl<K: 'static> Handler<Total> for Idle<K>
where
    Self: Actor,
{
    type Result = u64;

    fn handle(&mut self, _: Total, _: &mut Self::Context) -> u64 {
        1
    }
}

pub(crate) fn spawn_in_actix(run: &Run) -> Result<Outcome> {
    plain(run, async |run: Run| {
        let (count, growth, start) = (actors_of(&run), Growth::start()?, Instant::now());
        let actors: Vec<_> = (0..count).map(|_| Idle::<Plain>::new().start()).collect();
        let spawned = start.elapsed();
        let last = actors.last().map(|last| last.send(Total));
        if let Some(answer) = last {
            answer.await?;
        }
        spawning(count, spawned, start.elapsed(), &growth)
    })
}

pub(crate) fn spawn_in_fedist(run: &Run) -> Result<Outcome> {
    ours(run, async |run: Run, node: Node| {
        let (count, before) = (actors_of(&run), node.process_count());
        let (growth, start) = (Growth::start()?, Instant::now());
        let mut pids: Vec<RegionPid> = Vec::with_capacity(count);
        let mut last = None;
        for _ in 0..count {
            let actor = node.spawn(Idle::<Ours>::new())?;
            pids.push(actor.pid());
            last = Some(actor);
        }
        let spawned = start.elapsed();
        if let Some(last) = last {
            last.send(Total).await?;
        }
        let outcome = spawning(count, spawned, start.elapsed(), &growth);
        ensure!(node.process_count() == before + pids.len(), "not all actors live");
        outcome
    })
}

/// 200,000 in the usual span.
fn actors_of(run: &Run) -> usize {
    things(run, 200_000)
}

/// How many of what is made `usual` times in the usual span.
pub(crate) fn things(run: &Run, usual: u32) -> usize {
    (f64::from(usual) * run.span.as_secs_f64() / SPAN.as_secs_f64()).ceil() as usize
}

fn spawning(
    count: usize,
    spawned: Duration,
    started: Duration,
    growth: &Growth,
) -> Result<Outcome> {
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    let figures = [(SPAWN, each(spawned)), (STARTED, each(started)), (BYTES, growth.each(count)?)];
    Ok(figures.map(|(key, figure)| (key.to_owned(), figure)).into())
}

const SENDERS: u64 = 8;
/// Ticks that a sender sends at once: those of all fit the mailbox.
const BURST: u64 = 125;
const MEMBERS: usize = 1_000;
/// How often a token is passed on, before somebody looks at the clock.
const WAY: u64 = 20_000;
