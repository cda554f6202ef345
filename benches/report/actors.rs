//! The messages and the actors of both sides: what differs is only the way to them.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Handler, MessageResult, ResponseActFuture, WrapFuture,
};
use anyhow::Result;
use bytes::Bytes;
use fedist::prelude::{Context, Message, Node};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::run::Outcome;

/// Wants no answer.
#[derive(Clone, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[wire(name = "bench.tick", version = 1)]
pub(crate) struct Tick {
    pub(crate) body: Body,
}

/// Comes back.
#[derive(Clone, Message, Serialize, Deserialize)]
#[rtype(result = "Body")]
#[wire(name = "bench.echo", version = 1)]
pub(crate) struct Echo {
    pub(crate) body: Body,
}

/// Wants no answer, and is longer than a tick.
#[derive(Clone, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[wire(name = "bench.load", version = 1)]
pub(crate) struct Load {
    pub(crate) body: Bytes,
}

/// How many bytes have been in the loads?
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "bench.volume", version = 1)]
pub(crate) struct Volume;

/// How many ticks and loads have been handled?
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "bench.total", version = 1)]
pub(crate) struct Total;

/// 64 bytes.
#[derive(Clone)]
pub(crate) struct Body(pub(crate) [u8; BODY_LEN]);

pub(crate) const BODY_LEN: usize = 64;

pub(crate) const BODY: Body = Body([0x5a; BODY_LEN]);

/// An actor of plain actix: of the floor.
pub(crate) enum Plain {}

/// An actor of a node.
pub(crate) enum Ours {}

/// Counts ticks and loads, and echoes.
pub(crate) struct Counter<K> {
    ticks: u64,
    volume: u64,
    kind: PhantomData<fn(K)>,
}

impl<K> Default for Counter<K> {
    fn default() -> Self {
        Self { ticks: 0, volume: 0, kind: PhantomData }
    }
}

impl Actor for Counter<Plain> {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // As FeDist's default; actix's of 16 would park the flush of each burst.
        context.set_mailbox_capacity(16_384);
    }
}

impl Actor for Counter<Ours> {
    type Context = Context<Self>;
}

impl<K: 'static> Handler<Tick> for Counter<K>
where
    Self: Actor,
{
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        std::hint::black_box(&tick.body);
        self.ticks += 1;
    }
}

impl<K: 'static> Handler<Load> for Counter<K>
where
    Self: Actor,
{
    type Result = ();

    fn handle(&mut self, load: Load, _: &mut Self::Context) {
        self.ticks += 1;
        self.volume += std::hint::black_box(&load.body).len() as u64;
    }
}

impl<K: 'static> Handler<Volume> for Counter<K>
where
    Self: Actor,
{
    type Result = MessageResult<Volume>;

    fn handle(&mut self, _: Volume, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.volume)
    }
}

impl<K: 'static> Handler<Echo> for Counter<K>
where
    Self: Actor,
{
    type Result = MessageResult<Echo>;

    fn handle(&mut self, echo: Echo, _: &mut Self::Context) -> Self::Result {
        MessageResult(echo.body)
    }
}

impl<K: 'static> Handler<Total> for Counter<K>
where
    Self: Actor,
{
    type Result = MessageResult<Total>;

    fn handle(&mut self, _: Total, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.ticks)
    }
}

/// An actor that measures: what it sends is sent from the thread and by the pid of an actor.
struct Measurer<K>(PhantomData<fn(K)>);

impl Actor for Measurer<Plain> {
    type Context = actix::Context<Self>;
}

impl Actor for Measurer<Ours> {
    type Context = Context<Self>;
}

type Measurement = Pin<Box<dyn Future<Output = Result<Outcome>>>>;

struct Measure(Box<dyn FnOnce() -> Measurement + Send>);

impl actix::Message for Measure {
    type Result = Result<Outcome>;
}

impl<K: 'static> Handler<Measure> for Measurer<K>
where
    Self: Actor<Context: AsyncContext<Self>>,
{
    type Result = ResponseActFuture<Self, Result<Outcome>>;

    fn handle(&mut self, measure: Measure, _: &mut Self::Context) -> Self::Result {
        (measure.0)().into_actor(self).boxed_local()
    }
}

/// Runs `work` inside an actor of `node`.
pub(crate) async fn measure_in_node<F>(
    node: &Node,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    let measurer = node.spawn(Measurer::<Ours>(PhantomData))?;
    let work = Measure(Box::new(move || Box::pin(work())));
    measurer.send(work).await?
}

/// Runs `work` inside an actor of plain actix, on this thread.
pub(crate) async fn measure_in_actix<F>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    let work = Measure(Box::new(move || Box::pin(work())));
    Measurer::<Plain>(PhantomData).start().send(work).await?
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Exactly;
        impl Visitor<'_> for Exactly {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{BODY_LEN} bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Body, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Body(bytes))
            }
        }
        deserializer.deserialize_bytes(Exactly)
    }
}
