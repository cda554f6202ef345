//! Actors that do as they are told, and tell what they see.

use std::sync::{Arc, Mutex};

use actix::{Actor, Handler, MessageResult};
use fedist_actors::{Context, Down, Exit, ExitReason, LocalAddr, Message, Node, NodeBuilder};
use fedist_registry::RegionPid;
use serde::{Deserialize, Serialize};

/// Runs what it is sent; keeps the `Down`s and the trapped exit signals that it gets.
#[derive(Clone, Default)]
pub(crate) struct Driver {
    pub(crate) downs: Arc<Mutex<Vec<Down>>>,
    pub(crate) exits: Arc<Mutex<Vec<Exit>>>,
}

impl Driver {
    pub(crate) fn spawn(node: &Node) -> (Driver, LocalAddr<Driver>) {
        let driver = Driver::default();
        let addr = node.spawn(driver.clone()).unwrap();
        (driver, addr)
    }

    pub(crate) fn reasons(&self) -> Vec<(RegionPid, ExitReason)> {
        let downs = self.downs.lock().unwrap();
        downs.iter().map(|down| (down.pid, down.reason.clone())).collect()
    }

    pub(crate) fn trapped(&self) -> Vec<(RegionPid, ExitReason)> {
        let exits = self.exits.lock().unwrap();
        exits.iter().map(|exit| (exit.from, exit.reason.clone())).collect()
    }
}

impl Actor for Driver {
    type Context = Context<Self>;
}

pub(crate) type Work = Box<dyn FnOnce(&mut Context<Driver>) + Send>;

pub(crate) struct Do(pub(crate) Work);

impl actix::Message for Do {
    type Result = ();
}

impl Handler<Do> for Driver {
    type Result = ();

    fn handle(&mut self, Do(work): Do, ctx: &mut Context<Self>) {
        work(ctx);
    }
}

impl Handler<Down> for Driver {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        self.downs.lock().unwrap().push(down);
    }
}

impl Handler<Exit> for Driver {
    type Result = ();

    fn handle(&mut self, exit: Exit, _: &mut Context<Self>) {
        self.exits.lock().unwrap().push(exit);
    }
}

/// Runs `work` in the driver and gives what the future it returns gives.
pub(crate) async fn within<T, F>(
    driver: &LocalAddr<Driver>,
    work: impl FnOnce(&mut Context<Driver>) -> F + Send + 'static,
) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    use actix::{AsyncContext, WrapFuture};
    let (tell, told) = tokio::sync::oneshot::channel();
    let work = move |ctx: &mut Context<Driver>| {
        let future = work(ctx);
        let run = async move {
            let _ = tell.send(future.await);
        };
        ctx.spawn(run.into_actor(&Driver::default()));
    };
    driver.do_send(Do(Box::new(work)));
    told.await.expect("the driver has ended")
}

/// Counts from a number; made by the factories `counter 1` and `counter 2`.
pub(crate) struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        assert!(self.0 != DIES_AT_ONCE, "dies at once");
    }
}

pub(crate) const DIES_AT_ONCE: u64 = 13;
pub(crate) const PANICS_IN_FACTORY: u64 = 666;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CounterArgs {
    pub(crate) from: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.add", version = 1, crate = "fedist_actors")]
pub(crate) struct Add(pub(crate) u64);

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.counter_crash", version = 1, crate = "fedist_actors")]
pub(crate) struct CrashNow;

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.counter_stop", version = 1, crate = "fedist_actors")]
pub(crate) struct StopNow;

impl Handler<Add> for Counter {
    type Result = MessageResult<Add>;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Self::Result {
        self.0 += n;
        MessageResult(self.0)
    }
}

impl Handler<CrashNow> for Counter {
    type Result = ();

    fn handle(&mut self, _: CrashNow, _: &mut Context<Self>) {
        panic!("told to crash");
    }
}

impl Handler<StopNow> for Counter {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        use actix::ActorContext;
        ctx.stop();
    }
}

/// Lists the counter in two versions: the second counts from ten times as much.
pub(crate) fn with_factories(builder: NodeBuilder) -> NodeBuilder {
    let make = |args: CounterArgs| {
        assert!(args.from != PANICS_IN_FACTORY, "no such counter");
        Counter(args.from)
    };
    builder
        .factory("counter", 1, make, |export| {
            export.handles::<Add>().handles::<CrashNow>().handles::<StopNow>()
        })
        .factory(
            "counter",
            2,
            |args: CounterArgs| Counter(args.from * 10),
            |export| export.handles::<Add>(),
        )
        .factory(
            "counter.bad_export",
            1,
            |args: CounterArgs| Counter(args.from),
            |_| panic!("cannot be exported"),
        )
        .factory(
            "counter.named",
            1,
            |args: CounterArgs| Counter(args.from),
            |export| export.handles::<Add>().name("the counter"),
        )
}
