//! The actor that asks the strategies, each at its own pace.

use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration};

use actix::{Actor, AsyncContext, WrapFuture};
use fedist_registry::SourceId;
use futures_util::FutureExt;
use tokio::sync::Mutex;

use super::{Answer, AnyDiscovery, DiscoveryError};
use crate::{Context, exit::panic_text, hub::CoreRef};

/// A strategy, and the source that its answers are.
#[derive(Clone)]
pub(crate) struct Strategy {
    pub(crate) source: SourceId,
    pub(crate) every: Duration,
    /// Whoever asks holds it; a successor of this actor goes on with the same ones.
    pub(crate) discovery: Rc<Mutex<Box<dyn AnyDiscovery>>>,
}

/// Asks every strategy again and again, and hands the answers to the hub.
pub(crate) struct DiscoveryService {
    pub(crate) core: CoreRef,
    pub(crate) strategies: Vec<Strategy>,
}

impl Actor for DiscoveryService {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for strategy in self.strategies.clone() {
            ctx.spawn(ask(Rc::clone(&self.core), strategy).into_actor(self));
        }
    }
}

async fn ask(core: CoreRef, strategy: Strategy) {
    let mut discovery = strategy.discovery.lock().await;
    loop {
        let answer = answer(&mut **discovery).await;
        core.borrow_mut().handle_discovery(strategy.source, answer);
        tokio::time::sleep(strategy.every).await;
    }
}

async fn answer(discovery: &mut dyn AnyDiscovery) -> Answer {
    // The strategy comes from outside, and a panic in it must not become one of its restarts each few milliseconds.
    let asked = AssertUnwindSafe(async { discovery.discover().await }).catch_unwind();
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(DiscoveryError::Panicked(panic_text(&*panic))),
        Err(_) => Err(DiscoveryError::TimedOut { after: PATIENCE }),
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
