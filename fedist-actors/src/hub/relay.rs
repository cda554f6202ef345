//! The relay: the supervised actor that runs one link.

use std::rc::Rc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, WrapFuture};
use fedist_registry::RegionId;
use fedist_transport::link::{LinkError, LinkRx, LinkWriter};
use futures_util::future::{Either, select};

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
        let run = run_link(Rc::clone(&self.core), self.peer, self.serial, writer, reader);
        ctx.spawn(run.into_actor(self).map(|end, relay, ctx| {
            relay.core.borrow_mut().link_said(relay.peer, &end);
            ctx.stop();
        }));
    }
}

impl Handler<Crash> for Relay {
    type Result = ();

    #[allow(clippy::panic, reason = "the point of the message is to panic")]
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("crash of the relay to region {} was asked for", self.peer);
    }
}

async fn run_link(
    core: CoreRef,
    peer: RegionId,
    serial: u64,
    writer: LinkWriter,
    mut reader: LinkRx,
) -> LinkError {
    let reading = async {
        let mut frames = Vec::with_capacity(64);
        loop {
            if let Err(error) = reader.recv(&mut frames).await {
                return error;
            }
            core.borrow_mut().handle_frames(peer, serial, &mut frames);
            // The actors that got something have their turn before more is read for them.
            tokio::task::yield_now().await;
        }
    };
    match select(std::pin::pin!(writer.run()), std::pin::pin!(reading)).await {
        Either::Left((error, _)) | Either::Right((error, _)) => error,
    }
}
