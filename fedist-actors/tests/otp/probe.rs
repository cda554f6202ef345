//! The process of the cases: runs what a test tells it to, and writes down what reaches it.

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use fedist_actors::{
    AskError, Context, Down, DropReason, Exit, ExitReason, LocalAddr, Message, MonitorRef, Node,
    PidSend, RegionChange, RegionEvent, Undelivered,
};
use fedist_registry::{LocalId, RegionPid};
use fedist_transport::memory::MemoryNet;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::support::*;

/// Runs a rule between two nodes that are 0, 1 and 3 hops apart.
///
/// All rules of a test binary share one federation, which is what takes time to start; their processes
/// do not know of each other.
pub(crate) fn at_every_distance(rule: impl AsyncFn(&Node, &Node)) {
    static FEDERATION: LazyLock<Vec<Node>> = LazyLock::new(|| {
        // In a thread of its own: the one that asks first has its test's runtime.
        let start = || run(async { chain(&MemoryNet::new(40), 4).await });
        std::thread::spawn(start).join().unwrap()
    });
    let nodes = &*FEDERATION;
    run(async {
        for hops in [0, 1, 3] {
            println!("at {hops} hops");
            rule(&nodes[0], &nodes[hops]).await;
        }
    });
}

/// What reached a process, in the order in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Note(u64),
    Down(MonitorRef, RegionPid, ExitReason),
    Exit(RegionPid, ExitReason),
    Region(MonitorRef, RegionChange),
    /// A note of its own reached nobody.
    Undelivered(RegionPid, DropReason),
    /// The actor was asked to stop and has agreed: its `stopped()` ran.
    Stopped,
    /// Its value is gone.
    Dropped,
}

type Log = Arc<Mutex<Vec<Event>>>;

/// An actor that runs closures.
pub(crate) struct Probe {
    log: Log,
    start: Option<Work>,
}

type Work = Box<dyn FnOnce(&mut Probe, &mut Context<Probe>) + Send>;

struct Run(Work);

impl actix::Message for Run {
    type Result = ();
}

/// Answered behind everything that the asking node had sent to the process before.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.sync", version = 1, crate = "fedist_actors")]
pub(crate) struct Sync;

impl Probe {
    /// A probe for `ctx.spawn_link` and the like, and its log; `start` runs in `started()`.
    pub(crate) fn with_start(
        start: impl FnOnce(&mut Probe, &mut Context<Probe>) + Send + 'static,
    ) -> Self {
        Self { log: Log::default(), start: Some(Box::new(start)) }
    }

    pub(crate) fn write(&self, event: Event) {
        self.log.lock().unwrap().push(event);
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(start) = self.start.take() {
            start(self, ctx);
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.write(Event::Stopped);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A test that failed in the middle may have poisoned the log.
        if let Ok(mut log) = self.log.lock() {
            log.push(Event::Dropped);
        }
    }
}

impl Handler<Run> for Probe {
    type Result = ();

    fn handle(&mut self, Run(work): Run, ctx: &mut Context<Self>) {
        work(self, ctx);
    }
}

impl Handler<Note> for Probe {
    type Result = ();

    fn handle(&mut self, Note(number): Note, _: &mut Context<Self>) {
        self.write(Event::Note(number));
    }
}

impl Handler<Sync> for Probe {
    type Result = u64;

    fn handle(&mut self, _: Sync, _: &mut Context<Self>) -> u64 {
        self.log.lock().unwrap().len() as u64
    }
}

impl Handler<Down> for Probe {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        self.write(Event::Down(down.monitor, down.pid, down.reason));
    }
}

impl Handler<Exit> for Probe {
    type Result = ();

    fn handle(&mut self, exit: Exit, _: &mut Context<Self>) {
        self.write(Event::Exit(exit.from, exit.reason));
    }
}

impl Handler<Undelivered<Note>> for Probe {
    type Result = ();

    fn handle(&mut self, lost: Undelivered<Note>, _: &mut Context<Self>) {
        self.write(Event::Undelivered(lost.to, lost.reason));
    }
}

impl Handler<RegionEvent> for Probe {
    type Result = ();

    fn handle(&mut self, event: RegionEvent, _: &mut Context<Self>) {
        self.write(Event::Region(event.monitor, event.change));
    }
}

/// A process under test, driven from outside.
pub(crate) struct Proc {
    pub(crate) node: Node,
    pub(crate) addr: LocalAddr<Probe>,
    pub(crate) pid: RegionPid,
    log: Log,
    end: Shared<BoxFuture<'static, ExitReason>>,
}

impl Proc {
    /// A process that takes part in links of any region.
    pub(crate) fn new(node: &Node) -> Self {
        let this = Self::private(node);
        let export = node.export(&this.addr).handles::<Note>().handles::<Sync>().links();
        export.publish().unwrap();
        this
    }

    /// A process that other regions may send to and monitor, and neither link to nor end.
    pub(crate) fn unlinkable(node: &Node) -> Self {
        let this = Self::private(node);
        node.export(&this.addr).handles::<Note>().handles::<Sync>().publish().unwrap();
        this
    }

    fn private(node: &Node) -> Self {
        let log = Log::default();
        let addr = node.spawn(Probe { log: Arc::clone(&log), start: None }).unwrap();
        let pid = addr.pid();
        let end = node.monitor(pid).map(|down| down.reason).boxed().shared();
        Self { node: node.clone(), addr, pid, log, end }
    }

    /// A process that traps exit signals.
    pub(crate) async fn trapping(node: &Node) -> Self {
        let this = Self::new(node);
        this.trap(true).await;
        this
    }

    /// Runs `work` as the process; `None` when it has ended before it could.
    pub(crate) async fn try_run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Probe, &mut Context<Probe>) -> R + Send + 'static,
    ) -> Option<R> {
        let (reply, outcome) = oneshot::channel();
        self.cast(move |probe, ctx| {
            let _ = reply.send(work(probe, ctx));
        });
        within("the process runs it or has ended", outcome).await.ok()
    }

    /// Runs `work` as the process, which must live.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Probe, &mut Context<Probe>) -> R + Send + 'static,
    ) -> R {
        self.try_run(work).await.expect("the process lives")
    }

    /// Has `work` run without waiting for it.
    pub(crate) fn cast(&self, work: impl FnOnce(&mut Probe, &mut Context<Probe>) + Send + 'static) {
        self.addr.do_send(Run(Box::new(work)));
    }

    pub(crate) async fn alive(&self) -> bool {
        self.try_run(|_, _| ()).await.is_some()
    }

    /// Waits for its end and gives the reason.
    pub(crate) async fn ended(&self) -> ExitReason {
        within("the process ends", self.end.clone()).await
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.log.lock().unwrap().clone()
    }

    /// The trapped exit signals so far.
    pub(crate) fn exits(&self) -> Vec<(RegionPid, ExitReason)> {
        let exit = |event| match event {
            Event::Exit(from, reason) => Some((from, reason)),
            _ => None,
        };
        self.events().into_iter().filter_map(exit).collect()
    }

    /// The `Down`s so far.
    pub(crate) fn downs(&self) -> Vec<(MonitorRef, ExitReason)> {
        let down = |event| match event {
            Event::Down(monitor, _, reason) => Some((monitor, reason)),
            _ => None,
        };
        self.events().into_iter().filter_map(down).collect()
    }

    /// What whole regions did so far.
    pub(crate) fn changes(&self) -> Vec<RegionChange> {
        let change = |event| match event {
            Event::Region(_, change) => Some(change),
            _ => None,
        };
        self.events().into_iter().filter_map(change).collect()
    }

    /// Waits until what reached the process satisfies `condition`.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        eventually(what, || async { condition(self) }).await;
    }

    /// Links to the other and waits until both sides know.
    pub(crate) async fn link(&self, other: &Proc) {
        let pid = other.pid;
        self.run(move |_, ctx| ctx.link(pid)).await;
        reach(self, other).await;
    }

    /// Takes the link back and waits until both sides know.
    pub(crate) async fn unlink(&self, other: &Proc) {
        let pid = other.pid;
        self.run(move |_, ctx| ctx.unlink(pid)).await;
        reach(self, other).await;
    }

    /// Monitors the other and waits until its node knows.
    pub(crate) async fn monitor(&self, other: &Proc) -> MonitorRef {
        let pid = other.pid;
        let monitor = self.run(move |_, ctx| ctx.monitor(pid)).await;
        reach(self, other).await;
        monitor
    }

    pub(crate) async fn demonitor(&self, monitor: MonitorRef) -> bool {
        self.run(move |_, ctx| ctx.demonitor(monitor)).await
    }

    pub(crate) async fn trap(&self, on: bool) {
        self.run(move |_, ctx| ctx.trap_exit(on)).await;
    }

    /// Ends itself, as `exit/1`.
    pub(crate) fn exit(&self, reason: ExitReason) {
        self.cast(move |_, ctx| ctx.exit(reason));
    }

    /// Ends itself normally, as a process with nothing left to do.
    pub(crate) fn stop(&self) {
        self.cast(|_, ctx| actix::ActorContext::stop(ctx));
    }

    /// Panics.
    pub(crate) fn crash(&self, text: &str) {
        let text = text.to_owned();
        self.cast(move |_, _| panic!("{text}"));
    }

    /// Sends the other an exit signal, as `exit/2`.
    pub(crate) async fn signal(&self, other: &Proc, reason: ExitReason) {
        let pid = other.pid;
        self.try_run(move |_, ctx| ctx.node().exit(pid, reason)).await;
    }

    pub(crate) async fn kill(&self, other: &Proc) {
        let pid = other.pid;
        self.try_run(move |_, ctx| ctx.node().kill(pid)).await;
    }

    /// Tells the other a number, as a message of this process.
    pub(crate) async fn note(&self, other: &Proc, number: u64) {
        let pid = other.pid;
        self.run(move |_, ctx| pid.do_send(ctx.node(), Note(number))).await;
    }
}

/// Waits until everything that `from`'s node has sent to `to` has reached it.
pub(crate) async fn reach(from: &Proc, to: &Proc) {
    match to.pid.send(&from.node, Sync).deadline(Duration::from_secs(20)).await {
        // That it has ended is an answer as well.
        Ok(_) | Err(AskError::NoActor(_) | AskError::NoReply(_)) => {}
        Err(error) => panic!("{} does not answer: {error}", to.pid),
    }
}

/// Waits until everything that the two have sent each other has reached them, and what that set off.
pub(crate) async fn settle(a: &Proc, b: &Proc) {
    for _ in 0..2 {
        reach(a, b).await;
        reach(b, a).await;
    }
}

/// A pid of the node at which nothing ever lived, another one each time.
pub(crate) fn nobody(node: &Node) -> RegionPid {
    static NEXT: AtomicU64 = AtomicU64::new(77_777_777);
    let local = LocalId::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
    RegionPid::new(node.region(), local)
}

pub(crate) fn custom(text: &str) -> ExitReason {
    ExitReason::Custom(text.to_owned())
}

pub(crate) fn panicked(text: &str) -> ExitReason {
    ExitReason::Panicked(text.to_owned())
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Waits for a future, at most 20 s.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("never came true: {what}"),
    }
}
