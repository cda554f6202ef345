//! Tasks follow the rules that Elixir documents for `Task` and `Task.Supervisor`, at 0, 1 and 3 hops.

use std::time::{Duration, Instant};

use actix::{AsyncContext, WrapFuture};
use fedist_actors::{
    ExitReason, LocalAddr, Node, TaskError, TaskHandle, TaskShutdown, await_many, yield_many,
};
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::memory::MemoryNet;
use tokio::sync::oneshot;

use crate::{
    actors::*,
    spawn::{at_hops, chain_with},
    support::*,
    work::{self, seen},
};

const SOON: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test for a task in each of the regions at 0, 1 and 3 hops, with a key of its own.
fn at_any_distance<F: Future<Output = ()>>(
    name: &str,
    seed: u64,
    test: impl Fn(Node, RegionId, String) -> F,
) {
    run(async {
        let net = MemoryNet::new(seed);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            test(nodes[0].clone(), region, format!("{name} {region}")).await;
        }
        stop(&nodes).await;
    });
}

async fn started(key: &str) {
    eventually("the task runs", || async { seen(key).started > 0 }).await;
}

async fn ended(key: &str) {
    eventually("the task has ended", || async { seen(key).started == seen(key).ended }).await;
}

async fn start_endless(node: &Node, region: RegionId, key: &str) -> TaskHandle<u64> {
    let handle = node.tasks().at(region).start(work::endless, key.to_owned()).await.unwrap();
    started(key).await;
    handle
}

/// Task.await/2: waits for the reply and gives it.
#[test]
fn await_gives_the_reply() {
    at_any_distance("await", 420, async |node, region, _| {
        let task = node.tasks().at(region).start(work::double, 21).await.unwrap();
        assert_eq!(task.await_for(PATIENCE).await, Ok(42));
    });
}

/// Task.await/2: past the time-out the caller gives up, and a linked task ends as well.
#[test]
fn await_past_its_timeout_ends_the_task() {
    at_any_distance("await timeout", 421, async |node, region, key| {
        let task = start_endless(&node, region, &key).await;
        assert_eq!(task.await_for(SOON).await, Err(TaskError::Timeout(SOON)));
        ended(&key).await;
    });
}

/// Task.yield/2: nil while there is no reply; it may be called again and again.
#[test]
fn yield_gives_none_in_time_and_the_reply_later() {
    at_any_distance("yield", 422, async |node, region, key| {
        let mut task = node.tasks().at(region).start(work::sleep, (key, 150)).await.unwrap();
        assert_eq!(task.yield_for(Duration::from_millis(10)).await, None);
        assert_eq!(task.yield_for(Duration::from_millis(10)).await, None);
        assert_eq!(task.yield_for(PATIENCE).await, Some(Ok(150)));
        assert_eq!(task.yield_for(SOON).await, Some(Err(TaskError::Settled)));
    });
}

/// Task.yield/2: `{:exit, reason}` when the task has exited and no link brings the caller down.
#[test]
fn yield_tells_how_a_task_that_crashed_ended() {
    at_any_distance("yield crash", 423, async |node, region, _| {
        let tasks = node.tasks().at(region).nolink();
        let mut task = tasks.start(work::crash, "planned".to_owned()).await.unwrap();
        let told = task.yield_for(PATIENCE).await;
        assert_eq!(told, Some(Err(TaskError::Panicked("planned".into()))));
    });
}

/// Task.shutdown/2: nil when the task stopped without a reply; one that does not trap exits stops at once.
#[test]
fn shutdown_ends_a_task_that_does_not_trap_at_once_and_gives_none() {
    at_any_distance("shutdown", 424, async |node, region, key| {
        let task = start_endless(&node, region, &key).await;
        let begun = Instant::now();
        assert_eq!(task.shutdown(PATIENCE).await, None);
        assert!(begun.elapsed() < PATIENCE / 2, "it did not wait for its time-out");
        assert_eq!(seen(&key).ended, 1, "shutdown returns when the task has ended");
    });
}

/// Task.shutdown/2: `{:ok, reply}` when the reply comes while the task is shut down.
#[test]
fn shutdown_gives_the_late_reply_of_a_task_that_traps() {
    at_any_distance("shutdown late", 425, async |node, region, key| {
        let input = (key.clone(), 30);
        let task = node.tasks().at(region).start(work::careful, input).await.unwrap();
        started(&key).await;
        assert_eq!(task.shutdown(PATIENCE).await, Some(Ok("finished".to_owned())));
    });
}

/// Task.shutdown/2: a task that traps exits and does not stop in time is killed.
#[test]
fn shutdown_kills_a_trapping_task_after_its_timeout() {
    at_any_distance("shutdown kill", 426, async |node, region, key| {
        let input = (key.clone(), 600_000);
        let task = node.tasks().at(region).start(work::careful, input).await.unwrap();
        started(&key).await;
        assert_eq!(task.shutdown(SOON).await, None);
        assert_eq!(seen(&key).ended, 1);
    });
}

/// Task.shutdown/2 with `:brutal_kill`: the task is killed without being asked first.
#[test]
fn brutal_shutdown_does_not_let_a_trapping_task_finish() {
    at_any_distance("brutal", 427, async |node, region, key| {
        let input = (key.clone(), 0);
        let task = node.tasks().at(region).start(work::careful, input).await.unwrap();
        started(&key).await;
        assert_eq!(task.shutdown(TaskShutdown::Brutal).await, None);
    });
}

/// Task.shutdown/2: `{:exit, reason}` when the task died of something else meanwhile.
#[test]
fn shutdown_tells_of_a_crash() {
    at_any_distance("shutdown crash", 428, async |node, region, key| {
        let tasks = node.tasks().at(region).nolink();
        let task = tasks.start(work::sulky, key.clone()).await.unwrap();
        started(&key).await;
        let told = task.shutdown(PATIENCE).await;
        assert_eq!(told, Some(Err(TaskError::Panicked("not now".into()))));
    });
}

/// Task.shutdown/2 after the reply has come: the reply is given.
#[test]
fn shutdown_of_a_task_that_is_done_gives_its_reply() {
    at_any_distance("shutdown done", 429, async |node, region, _| {
        let task = node.tasks().at(region).start(work::double, 1).await.unwrap();
        let pid = task.pid().unwrap();
        node.monitor(pid).await;
        assert_eq!(task.shutdown(TaskShutdown::Brutal).await, Some(Ok(2)));
    });
}

/// Task.await_many/2: results in the order of the tasks given; the time-out is one for all.
#[test]
fn await_many_gives_results_in_the_order_of_the_tasks_within_one_timeout() {
    at_any_distance("await many", 430, async |node, region, key| {
        let tasks = node.tasks().at(region);
        let mut handles = Vec::new();
        for millis in [60, 1, 30] {
            handles.push(tasks.start(work::sleep, (key.clone(), millis)).await.unwrap());
        }
        assert_eq!(await_many(handles, PATIENCE).await, [Ok(60), Ok(1), Ok(30)]);

        let late = format!("{key} late");
        let quick = tasks.start(work::sleep, (key, 1)).await.unwrap();
        node.monitor(quick.pid().unwrap()).await;
        let endless = start_endless(&node, region, &late).await;
        let timeout = Duration::from_millis(300);
        let results = await_many([quick, endless], timeout).await;
        assert_eq!(results, [Ok(1), Err(TaskError::Timeout(timeout))]);
        ended(&late).await;
    });
}

/// Task.yield_many/2: nil for those that have not replied, which go on.
#[test]
fn yield_many_leaves_the_late_ones_running() {
    at_any_distance("yield many", 431, async |node, region, key| {
        let late = format!("{key} late");
        let quick = node.tasks().at(region).start(work::sleep, (key, 1)).await.unwrap();
        node.monitor(quick.pid().unwrap()).await;
        let endless = start_endless(&node, region, &late).await;
        let mut handles = [quick, endless];
        let results = yield_many(&mut handles, Duration::from_millis(300)).await;
        assert_eq!(results, [Some(Ok(1)), None]);
        assert_eq!(seen(&late).ended, 0);
        drop(handles);
        ended(&late).await;
    });
}

/// Runs `work` in an actor of `node` whose future then never ends; gives the actor.
async fn caller(
    node: &Node,
    work: impl AsyncFnOnce(Node) + Send + 'static,
) -> (Driver, LocalAddr<Driver>) {
    let (driver, addr) = Driver::spawn(node);
    addr.do_send(Do(Box::new(move |ctx| {
        let node = ctx.node().clone();
        let run = async move {
            work(node).await;
            std::future::pending::<()>().await;
        };
        ctx.spawn(run.into_actor(&Driver::default()));
    })));
    (driver, addr)
}

/// Task.Supervisor.async/3: the task is linked to its caller, so it ends with it.
#[test]
fn a_linked_task_is_ended_by_the_death_of_its_caller() {
    at_any_distance("linked", 432, async |node, region, key| {
        let task_key = key.clone();
        let (_, addr) = caller(&node, async move |node| {
            let task = node.tasks().at(region).start(work::endless, task_key).await.unwrap();
            // Not even the handle's own end is needed.
            std::mem::forget(task);
        })
        .await;
        started(&key).await;
        node.kill(addr.pid());
        ended(&key).await;
    });
}

/// Task.Supervisor.async/3: the task is linked to its caller, so a crash of one is a crash of both.
#[test]
fn a_linked_task_that_crashes_takes_its_caller_along() {
    at_any_distance("linked crash", 433, async |node, region, _| {
        let (_, addr) = Driver::spawn(&node);
        let watch = node.monitor(addr.pid());
        addr.do_send(Do(Box::new(move |ctx| {
            let start = ctx.node().tasks().at(region).start(work::crash, "planned".to_owned());
            let run = async move {
                let _task = start.await;
                std::future::pending::<()>().await;
            };
            ctx.spawn(run.into_actor(&Driver::default()));
        })));
        assert_eq!(watch.await.reason, ExitReason::Panicked("planned".into()));
    });
}

/// Task.async/1 with `Process.flag(:trap_exit, true)`: the caller gets `{:EXIT, pid, reason}` instead,
/// `:normal` included.
#[test]
fn a_caller_that_traps_exits_is_told_of_the_end_of_its_linked_tasks() {
    at_any_distance("trapping", 434, async |node, region, _| {
        let (driver, addr) = Driver::spawn(&node);
        let (crashed, done) = within(&addr, move |ctx| {
            ctx.trap_exit(true);
            let tasks = ctx.node().tasks().at(region);
            let crash = tasks.start(work::crash, "planned".to_owned());
            let double = tasks.start(work::double, 1);
            async move {
                let (crash, double) = (crash.await.unwrap(), double.await.unwrap());
                let pids = (crash.pid().unwrap(), double.pid().unwrap());
                let crashed = crash.await_for(PATIENCE).await;
                assert_eq!(crashed, Err(TaskError::Panicked("planned".into())));
                assert_eq!(double.await_for(PATIENCE).await, Ok(2));
                pids
            }
        })
        .await;
        eventually("two exit signals", || async { driver.trapped().len() == 2 }).await;
        let trapped = driver.trapped();
        assert!(
            trapped.contains(&(crashed, ExitReason::Panicked("planned".into()))),
            "{trapped:?}"
        );
        assert!(trapped.contains(&(done, ExitReason::Normal)), "{trapped:?}");
    });
}

/// Task.shutdown/2 unlinks first: whoever ends a linked task, in whatever way, is not ended by it.
#[test]
fn ending_a_linked_task_on_purpose_leaves_its_caller_alone() {
    at_any_distance("unlinks", 444, async |node, region, key| {
        let (driver, addr) = Driver::spawn(&node);
        let sulky = format!("{key} sulky");
        let (endless_key, sulky_key) = (key.clone(), sulky.clone());
        let ends = within(&addr, move |ctx| {
            let tasks = ctx.node().tasks().at(region);
            async move {
                let start = || tasks.start(work::endless, endless_key.clone());
                let late = start().await.unwrap().await_for(SOON).await;
                let shut = start().await.unwrap().shutdown(PATIENCE).await;
                let brutal = start().await.unwrap().shutdown(TaskShutdown::Brutal).await;
                drop(start().await.unwrap());
                let sulky = tasks.start(work::sulky, sulky_key.clone()).await.unwrap();
                started(&sulky_key).await;
                (late, shut, brutal, sulky.shutdown(PATIENCE).await)
            }
        })
        .await;
        let crash = Some(Err(TaskError::Panicked("not now".into())));
        assert_eq!(ends, (Err(TaskError::Timeout(SOON)), None, None, crash));
        ended(&key).await;
        ended(&sulky).await;
        // Whatever their ends have sent here is here before this.
        assert_eq!(node.call(region, work::double, 1).await, Ok(2));
        within(&addr, |_| std::future::ready(())).await;
        assert_eq!(driver.trapped(), []);
    });
}

/// Task.Supervisor.async_nolink/3: a failure of the task does not take the caller down.
#[test]
fn an_unlinked_task_that_crashes_leaves_its_caller_alone() {
    at_any_distance("nolink crash", 435, async |node, region, _| {
        let (_, addr) = Driver::spawn(&node);
        let result = within(&addr, move |ctx| {
            let tasks = ctx.node().tasks().at(region).nolink();
            let start = tasks.start(work::crash, "planned".to_owned());
            async move { start.await.unwrap().await_for(PATIENCE).await }
        })
        .await;
        assert_eq!(result, Err(TaskError::Panicked("planned".into())));
        within(&addr, |_| std::future::ready(())).await;
    });
}

/// Lets the caller of a running task die, and sees that the task does not.
async fn outlives_its_caller(node: &Node, addr: LocalAddr<Driver>, task: RegionPid, key: &str) {
    started(key).await;
    let gone = node.monitor(addr.pid());
    node.kill(addr.pid());
    gone.await;
    // Whatever the death has sent there is there before this.
    assert_eq!(node.call(task.region(), work::double, 1).await, Ok(2));
    assert_eq!(seen(key).ended, 0);
    node.kill(task);
    ended(key).await;
}

/// Task.Supervisor.async_nolink/3: the task outlives its caller.
#[test]
fn an_unlinked_task_runs_on_when_its_caller_dies() {
    at_any_distance("nolink", 436, async |node, region, key| {
        let (tell, told) = oneshot::channel();
        let task_key = key.clone();
        let (_, addr) = caller(&node, async move |node| {
            let tasks = node.tasks().at(region).nolink();
            let task = tasks.start(work::endless, task_key).await.unwrap();
            tell.send(task.pid().unwrap()).unwrap();
            let _ = task.await_for(PATIENCE).await;
        })
        .await;
        outlives_its_caller(&node, addr, told.await.unwrap(), &key).await;
    });
}

/// Task.Supervisor.start_child/3: the task is not linked to its caller, gives no reply, and outlives it.
#[test]
fn a_child_outlives_its_caller() {
    at_any_distance("child", 437, async |node, region, key| {
        let (tell, told) = oneshot::channel();
        let task_key = key.clone();
        let (_, addr) = caller(&node, async move |node| {
            let tasks = node.tasks().at(region);
            tell.send(tasks.start_child(work::endless, task_key).await.unwrap()).unwrap();
        })
        .await;
        outlives_its_caller(&node, addr, told.await.unwrap(), &key).await;
    });
}

/// Task.Supervisor.start_child/3: a crash of the child is no concern of the caller's; and
/// Task.Supervisor.terminate_child/2: it can be ended by its pid.
#[test]
fn a_child_crashes_alone_and_is_ended_by_its_pid() {
    at_any_distance("child crash", 438, async |node, region, key| {
        let (_, addr) = Driver::spawn(&node);
        let endless = key.clone();
        let (crashed, pid) = within(&addr, move |ctx| {
            let tasks = ctx.node().tasks().at(region);
            let crash = tasks.start_child(work::crash, "planned".to_owned());
            let endless = tasks.start_child(work::endless, endless);
            async move { (crash.await.unwrap(), endless.await.unwrap()) }
        })
        .await;
        node.monitor(crashed).await;
        within(&addr, |_| std::future::ready(())).await;
        started(&key).await;
        let watch = node.monitor(pid);
        node.exit(pid, ExitReason::Shutdown);
        assert_eq!(watch.await.reason, ExitReason::Shutdown);
        assert_eq!(seen(&key).ended, 1);
    });
}

/// A handle is what links plain code to its task: dropping it, or `cancel`, ends the task.
#[test]
fn a_dropped_handle_ends_its_task_unless_it_is_unlinked() {
    at_any_distance("dropped", 439, async |node, region, key| {
        drop(start_endless(&node, region, &key).await);
        ended(&key).await;
        let free = format!("{key} free");
        let tasks = node.tasks().at(region).nolink();
        let task = tasks.start(work::endless, free.clone()).await.unwrap();
        started(&free).await;
        let pid = task.pid().unwrap();
        drop(task);
        let asked_after = node.tasks().at(region).start(work::double, 1).await.unwrap();
        asked_after.await_for(PATIENCE).await.unwrap();
        assert_eq!(seen(&free).ended, 0);
        node.kill(pid);
        ended(&free).await;
        let cancelled = format!("{key} cancelled");
        let task = tasks.start(work::endless, cancelled.clone()).await.unwrap();
        started(&cancelled).await;
        task.cancel();
        ended(&cancelled).await;
    });
}

/// A cancelled task's blocking work is told, and a panic in it is the task's.
#[test]
fn blocking_work_is_told_to_stop_and_its_panic_is_the_tasks() {
    at_any_distance("blocking", 440, async |node, region, key| {
        let tasks = node.tasks().at(region);
        let task = tasks.start(work::blocking, key.clone()).await.unwrap();
        started(&key).await;
        assert_eq!(task.shutdown(TaskShutdown::Brutal).await, None);
        ended(&key).await;
        let task = tasks.start(work::blocking_crash, ()).await.unwrap();
        let result = task.await_for(PATIENCE).await;
        assert_eq!(result, Err(TaskError::Panicked("on another thread".into())));
    });
}

/// erpc:call/5: gives the function's value, or raises what it raised, or `timeout`.
#[test]
fn a_call_gives_the_value_the_crash_or_the_timeout() {
    at_any_distance("call", 441, async |node, region, key| {
        assert_eq!(node.call(region, work::double, 4).await, Ok(8));
        let crash = node.call(region, work::crash, "planned".to_owned()).await;
        assert_eq!(crash, Err(TaskError::Panicked("planned".into())));
        let late =
            node.call(region, work::endless, key.clone()).deadline(Duration::from_millis(500));
        assert_eq!(late.await, Err(TaskError::Timeout(Duration::from_millis(500))));
        ended(&key).await;
    });
}

/// erpc:call/5 spawns an unlinked process: a crash there does not end an actor that calls.
#[test]
fn a_call_that_crashes_leaves_the_calling_actor_alone_and_ends_when_it_does() {
    at_any_distance("call actor", 442, async |node, region, key| {
        let (_, addr) = Driver::spawn(&node);
        let crash = within(&addr, move |ctx| {
            use std::future::IntoFuture;
            ctx.node().call(region, work::crash, "planned".to_owned()).into_future()
        })
        .await;
        assert_eq!(crash, Err(TaskError::Panicked("planned".into())));
        let endless = key.clone();
        addr.do_send(Do(Box::new(move |ctx| {
            let call = ctx.node().call(region, work::endless, endless).deadline(PATIENCE);
            let run = async move {
                let _ = call.await;
            };
            ctx.spawn(run.into_actor(&Driver::default()));
        })));
        started(&key).await;
        node.kill(addr.pid());
        ended(&key).await;
    });
}

/// erpc:multicall/5: each result stands where its node stood in the list; one node's failure is its own.
#[test]
fn a_multicall_gives_each_regions_result_in_the_order_given() {
    run(async {
        let net = MemoryNet::new(443);
        let nodes = chain_with(&net, 4).await;
        let regions = [id(4), id(9), id(1), id(2)];
        let results = nodes[0].multicall(regions, work::where_am_i, &(), PATIENCE).await;
        let order: Vec<_> = results.iter().map(|(region, _)| *region).collect();
        assert_eq!(order, regions);
        let places: Vec<_> = results.into_iter().map(|(_, result)| result.ok()).collect();
        assert_eq!(places, [Some(4), None, Some(1), Some(2)]);
        let timeout = Duration::from_millis(500);
        let late = nodes[0]
            .multicall([id(1), id(2)], work::endless, &"multicall".to_owned(), timeout)
            .await;
        assert!(late.iter().all(|(_, result)| *result == Err(TaskError::Timeout(timeout))));
        ended("multicall").await;
        stop(&nodes).await;
    });
}
