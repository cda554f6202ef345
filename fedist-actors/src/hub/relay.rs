//! The relay: the supervised actor that runs one link.

use std::{rc::Rc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, Handler, WrapFuture};
use fedist_registry::RegionId;
use fedist_transport::{
    link::{LinkError, LinkRx, LinkWriter},
    wire::Class,
};
use tokio::time::Instant;

use super::CoreRef;
use crate::Context;

/// Moves frames between one link and the hub's core. It ends with its link; when it panics,
/// the link ends with it. Either way its hub hears `Down` and restarts it.
pub(crate) struct Relay {
    pub(super) core: CoreRef,
    pub(super) peer: RegionId,
    pub(super) serial: u64,
    pub(super) halves: Option<(LinkWriter, LinkRx)>,
}

/// The supervisor below which relays hang.
pub(super) const RELAYS: &str = "relays";

/// Fault injection: makes the relay panic in its handler.
pub(crate) struct Crash;

impl actix::Message for Crash {
    type Result = ();
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Some((writer, reader)) = self.halves.take() else {
            ctx.stop();
            return;
        };
        let reading = read_link(Rc::clone(&self.core), self.peer, self.serial, reader);
        let ended = |end: LinkError, relay: &mut Self, ctx: &mut Context<Self>| {
            relay.core.borrow_mut().link_said(relay.peer, relay.serial, &end);
            ctx.stop();
        };
        // Whichever ends first takes the other one with it.
        ctx.spawn_apart(writer.run().into_actor(self).map(ended));
        ctx.spawn_apart(reading.into_actor(self).map(ended));
    }
}

impl Handler<Crash> for Relay {
    type Result = ();

    #[allow(clippy::panic, reason = "the point of the message is to panic")]
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("crash of the relay to region {} was asked for", self.peer);
    }
}

/// Hands what comes over the link to the hub, until it has ended.
async fn read_link(core: CoreRef, peer: RegionId, serial: u64, mut reader: LinkRx) -> LinkError {
    let mut frames = Vec::with_capacity(64);
    let mut brake = Brake::default();
    loop {
        brake.release(&core, &mut reader);
        let mut waited = false;
        let received = match brake.is_on() {
            false => noting_wait(reader.recv(&mut frames), &mut waited).await,
            true => {
                tokio::time::timeout(BRAKE_STEP, reader.recv(&mut frames)).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = received {
            return error;
        }
        if frames.is_empty() {
            continue;
        }
        if !waited {
            // The actors that got something have their turn before they get more.
            tokio::task::yield_now().await;
        }
        let crowded =
            core.borrow_mut().in_turn(|core| core.handle_frames(peer, serial, &mut frames));
        brake.apply(crowded, &mut reader);
    }
}

/// Notes whether a future was not ready at once.
async fn noting_wait<F: Future>(future: F, waited: &mut bool) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        *waited |= polled.is_pending();
        polled
    })
    .await
}

/// Withholds credit from a link that brings more for another one than that can carry: the class is not read for a while, so
/// that the peer's window fills and the peer holds back in its turn (C17). Other classes go on, control first of all.
///
/// A pause ends when the crowded link has room again, and after [`BRAKE_MAX`] in any case: then one batch is read, so that
/// one slow link never stops what the same peer sends to others.
#[derive(Default)]
struct Brake([Option<(RegionId, Instant)>; 3]);

impl Brake {
    fn is_on(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    fn apply(&mut self, crowded: [Option<RegionId>; 3], reader: &mut LinkRx) {
        for ((class, next), pause) in Class::ALL.into_iter().zip(crowded).zip(&mut self.0) {
            if let Some(next) = next {
                *pause = Some((next, Instant::now() + BRAKE_MAX));
                reader.set_paused(class, true);
            }
        }
    }

    fn release(&mut self, core: &CoreRef, reader: &mut LinkRx) {
        for (class, pause) in Class::ALL.into_iter().zip(&mut self.0) {
            if let Some((next, until)) = *pause
                && (Instant::now() >= until || core.borrow().has_room(next, class))
            {
                *pause = None;
                reader.set_paused(class, false);
            }
        }
    }
}

/// How often a relay that holds back looks whether there is room again.
const BRAKE_STEP: Duration = Duration::from_millis(1);
/// How long one slow link may hold up what the same peer sends to others.
const BRAKE_MAX: Duration = Duration::from_millis(200);
