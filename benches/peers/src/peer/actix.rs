//! actix within a process. A sender is an actor, too.

use actix::prelude::*;
use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{BODY, Body, Peer, take_receivers_core, take_senders_core};
use crate::run::{Outcome, Run};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Actix;

impl Peer for Actix {
    fn name(&self) -> &'static str {
        "actix"
    }

    fn does(&self, task: Task) -> bool {
        !task.needs_a_server()
    }

    fn local(&self, run: &Run) -> Result<Outcome> {
        let run = run.clone();
        System::new().block_on(async move {
            take_receivers_core(&run)?;
            if run.task == Task::Idle {
                return in_actor(|| stopwatch::idle(async || Ok(Idle.start()))).await;
            }
            let counter = if run.task.is_apart() {
                Counter::start_in_arbiter(&Arbiter::new().handle(), |_| Counter(0))
            } else {
                Counter(0).start()
            };
            take_senders_core(&run)?;
            in_actor(move || async move { stopwatch::measure(&run, &counter).await }).await
        })
    }
}

impl Way for Addr<Counter> {
    async fn tell(&self) -> Result<()> {
        self.do_send(Tick(BODY));
        Ok(())
    }

    async fn echo(&self) -> Result<()> {
        self.send(Echo(BODY)).await?;
        Ok(())
    }

    async fn total(&self) -> Result<u64> {
        Ok(self.send(Total).await?)
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick(Body);

#[derive(Message)]
#[rtype(result = "Body")]
struct Echo(Body);

#[derive(Message)]
#[rtype(result = "u64")]
struct Total;

struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // `do_send` passes the bound, but the ask that ends a burst would be parked at 16.
        context.set_mailbox_capacity(16_384);
    }
}

impl Handler<Tick> for Counter {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        std::hint::black_box(&tick.0);
        self.0 += 1;
    }
}

impl Handler<Echo> for Counter {
    type Result = MessageResult<Echo>;

    fn handle(&mut self, echo: Echo, _: &mut Self::Context) -> Self::Result {
        MessageResult(echo.0)
    }
}

impl Handler<Total> for Counter {
    type Result = MessageResult<Total>;

    fn handle(&mut self, _: Total, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.0)
    }
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        stopwatch::started();
    }
}

/// Runs `work` inside an actor of this thread.
async fn in_actor<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>> + 'static,
{
    Sender.start().send(Measure(Box::new(move || work().boxed_local()))).await?
}

struct Sender;

impl Actor for Sender {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<Outcome>")]
struct Measure(Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<Outcome>> + Send>);

impl Handler<Measure> for Sender {
    type Result = ResponseActFuture<Self, Result<Outcome>>;

    fn handle(&mut self, measure: Measure, _: &mut Self::Context) -> Self::Result {
        (measure.0)().into_actor(self).boxed_local()
    }
}
