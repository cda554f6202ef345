//! The messages and the actor of the works.

use std::fmt;

use fedist::prelude::*;
use serde::{
    Deserializer, Serializer,
    de::{Error, Visitor},
};

/// 64 bytes; not a list of 64 numbers.
#[derive(Clone, Debug)]
pub(crate) struct Body(pub(crate) [u8; 64]);

pub(crate) const BODY: Body = Body([0x5a; 64]);

/// Wants no answer.
#[derive(Message, Serialize, Deserialize)]
#[wire(name = "count.tick", version = 1)]
pub(crate) struct Tick {
    pub(crate) body: Body,
}

/// Comes back.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Body")]
#[wire(name = "count.echo", version = 1)]
pub(crate) struct Echo {
    pub(crate) body: Body,
}

/// How many ticks were there?
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "count.total", version = 1)]
pub(crate) struct Total;

/// Counts ticks, and gives bodies back.
#[derive(Default)]
pub(crate) struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Tick> for Counter {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Context<Self>) {
        std::hint::black_box(&tick.body);
        self.0 += 1;
    }
}

impl Handler<Echo> for Counter {
    type Result = MessageResult<Echo>;

    fn handle(&mut self, echo: Echo, _: &mut Context<Self>) -> Self::Result {
        MessageResult(echo.body)
    }
}

impl Handler<Total> for Counter {
    type Result = u64;

    fn handle(&mut self, _: Total, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Body, E> {
                bytes.try_into().map(Body).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
