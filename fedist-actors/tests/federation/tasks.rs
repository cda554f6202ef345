//! Remote tasks: results, refusals, panics, cancellation.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use actix::{Actor, AsyncContext, WrapFuture};
use fedist_actors::{Context, PidSend, PingTarget, StartRefused, TaskCx, TaskError, task};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

#[task(name = "test.double", version = 1, crate = "fedist_actors")]
async fn double(_cx: TaskCx, n: u64) -> Result<u64, String> {
    n.checked_mul(2).ok_or_else(|| "too large".to_owned())
}

#[task(name = "test.panics", version = 1, crate = "fedist_actors")]
async fn panics(cx: TaskCx, text: String) -> u64 {
    assert!(cx.pid().region() != id(2), "{text}");
    u64::from(cx.pid().region().get())
}

static STARTED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        ENDED.fetch_add(1, Ordering::SeqCst);
    }
}

#[task(name = "test.endless", version = 1, crate = "fedist_actors")]
async fn endless(_cx: TaskCx, (): ()) {
    let _guard = Guard;
    STARTED.fetch_add(1, Ordering::SeqCst);
    std::future::pending::<()>().await;
}

#[task(name = "test.unlisted_task", version = 1, crate = "fedist_actors")]
async fn unlisted(_cx: TaskCx, (): ()) {}

#[test]
fn tasks_give_results_errors_panics_and_refusals_by_name() {
    run(async {
        let net = MemoryNet::new(40);
        let root = root(&net).task(panics).task(double).start().await.unwrap();
        let near = below(&net, 1, 2).task(panics).task(double).start().await.unwrap();
        let far = below(&net, 2, 3).task(panics).start().await.unwrap();
        let nodes = [root, near, far];
        routed(&nodes).await;
        let tasks = nodes[0].tasks();
        let patience = Duration::from_secs(10);
        for region in [1, 2] {
            let done = tasks.at(id(region)).start(double, 21).await.unwrap();
            assert_eq!(done.await_for(patience).await.unwrap(), Ok(42));
        }
        let overflow = tasks.at(id(2)).start(double, u64::MAX).await.unwrap();
        assert_eq!(overflow.await_for(patience).await.unwrap(), Err("too large".to_owned()));
        let panic = tasks.at(id(2)).start(panics, "planned".into()).await.unwrap();
        assert_eq!(panic.await_for(patience).await, Err(TaskError::Panicked("planned".into())));
        let moved = tasks
            .supervised(panics, "planned".into(), [id(2), id(3), id(1)], patience)
            .await
            .unwrap();
        assert_eq!((moved.value, moved.region, moved.attempts), (3, id(3), 2));
        let refused = tasks.at(id(3)).start(double, 1).await.err().unwrap();
        assert_eq!(
            refused,
            TaskError::Refused(StartRefused::UnknownTask {
                name: "test.double".into(),
                version: 1,
                available: vec!["test.panics 1".into()],
            })
        );
        assert!(matches!(tasks.at(id(9)).start(unlisted, ()).await.err(), Some(TaskError::Ask(_))));
        stop(&nodes).await;
    });
}

/// Starts an endless task and panics when told.
struct Caller {
    region: fedist_registry::RegionId,
}

impl Actor for Caller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (tasks, region) = (ctx.node().tasks(), self.region);
        let run = async move {
            let handle = tasks.at(region).start(endless, ()).await.unwrap();
            let _ = handle.await_for(Duration::from_secs(60)).await;
        };
        ctx.spawn(run.into_actor(self));
    }
}

impl actix::Handler<Crash> for Caller {
    type Result = ();

    fn handle(&mut self, Crash(text): Crash, _: &mut Context<Self>) {
        panic!("{text}");
    }
}

#[test]
fn a_task_ends_with_its_handle_its_caller_and_its_callers_region() {
    run(async {
        let net = MemoryNet::new(41);
        let timeout = Duration::from_millis(1_500);
        let nodes = [
            root(&net).session_timeout(timeout).start().await.unwrap(),
            below(&net, 1, 2).session_timeout(timeout).task(endless).start().await.unwrap(),
        ];
        routed(&nodes).await;
        let ended = |count: u64| eventually_counts(&ENDED, count);

        let handle = nodes[0].tasks().at(id(2)).start(endless, ()).await.unwrap();
        let pid = handle.pid().unwrap();
        eventually_counts(&STARTED, 1).await;
        drop(handle);
        ended(1).await;
        eventually("the pid is gone", || async {
            let pong = nodes[0].ping(PingTarget::Actor(pid), Duration::from_secs(5)).await.unwrap();
            !pong.echo.alive
        })
        .await;

        let late = nodes[0].tasks().at(id(2)).start(endless, ()).await.unwrap();
        let timed_out = late.await_for(Duration::from_millis(50)).await;
        assert_eq!(timed_out, Err(TaskError::Timeout(Duration::from_millis(50))));
        ended(2).await;

        let caller = nodes[0].spawn(Caller { region: id(2) }).unwrap();
        let caller = nodes[0].export(&caller).handles::<Crash>().publish().unwrap();
        eventually_counts(&STARTED, 3).await;
        caller.tell(&nodes[0], Crash("the caller ends".into())).await.unwrap();
        ended(3).await;

        let _kept = nodes[0].tasks().at(id(2)).start(endless, ()).await.unwrap();
        eventually_counts(&STARTED, 4).await;
        net.cut(id(1), id(2));
        ended(4).await;
        stop(&nodes).await;
    });
}

async fn eventually_counts(counter: &AtomicU64, count: u64) {
    eventually("the counter", || async { counter.load(Ordering::SeqCst) == count }).await;
}
