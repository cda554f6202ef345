//! Actors and tasks that are started from afar.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{AsyncContext, WrapFuture};
use fedist_actors::{
    Context, Node, NodeBuilder, OnTimeout, PidSend, SpawnAtError, StartRefused, TaskCx, TaskError,
    TaskShutdown, await_many, task,
};
use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::{probe::*, support::*, table::debug};

/// The tasks and factories of every node.
pub(crate) fn offers(builder: NodeBuilder) -> NodeBuilder {
    builder
        .task(double)
        .task(after)
        .task(endless)
        .task(gated)
        .task(careful)
        .task(bug)
        .task(print_two)
        .factory(
            "probe",
            1,
            |dies: bool| {
                Probe::with_start(move |_, ctx| {
                    if dies {
                        ctx.exit(custom("at once"));
                    }
                })
            },
            |export| export.handles::<Note>().handles::<Sync>(),
        )
}

#[task(name = "verbs.double", version = 1, crate = "fedist_actors")]
async fn double(_cx: TaskCx, number: u64) -> u64 {
    number * 2
}

/// Gives the number after so many milliseconds, and marks the end with the key.
#[task(name = "verbs.after", version = 1, crate = "fedist_actors")]
async fn after(_cx: TaskCx, (key, number, milliseconds): (u64, u64, u64)) -> u64 {
    let mut mark = Mark { key, done: false };
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    mark.done = true;
    number
}

/// Waits for the word of its test.
#[task(name = "verbs.gated", version = 1, crate = "fedist_actors")]
async fn gated(_cx: TaskCx, key: u64) -> u64 {
    while !has(key, "go on") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    14
}

/// Runs until it is cancelled.
#[task(name = "verbs.endless", version = 1, crate = "fedist_actors")]
async fn endless(_cx: TaskCx, key: u64) -> u64 {
    let _mark = Mark { key, done: false };
    note(key, "started");
    std::future::pending().await
}

/// Runs until it is asked to stop, and then says that it has finished.
#[task(name = "verbs.careful", version = 1, crate = "fedist_actors")]
async fn careful(cx: TaskCx, key: u64) -> String {
    cx.trap_shutdown(true);
    note(key, "started");
    cx.cancelled().await;
    "finished".to_owned()
}

#[task(name = "verbs.bug", version = 1, crate = "fedist_actors")]
async fn bug(_cx: TaskCx, (): ()) -> u64 {
    panic!("a bug")
}

#[task(name = "verbs.print", version = 1, crate = "fedist_actors")]
async fn print_two(cx: TaskCx, (): ()) -> u64 {
    cx.print("one");
    cx.print("two");
    2
}

#[task(name = "verbs.unlisted", version = 1, crate = "fedist_actors")]
async fn unlisted(_cx: TaskCx, (): ()) {}

/// What is known of tasks, by the key of the one that started them.
static FATES: Mutex<Vec<(u64, &str)>> = Mutex::new(Vec::new());

struct Mark {
    key: u64,
    done: bool,
}

impl Drop for Mark {
    fn drop(&mut self) {
        let fate = if self.done { "ran to its end" } else { "cancelled" };
        note(self.key, fate);
    }
}

fn note(key: u64, word: &'static str) {
    FATES.lock().unwrap().push((key, word));
}

fn new_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn has(key: u64, fate: &str) -> bool {
    FATES.lock().unwrap().contains(&(key, fate))
}

async fn started(key: u64) {
    eventually("the task runs", || async { has(key, "started") }).await;
}

/// Waits for the end of a task, and says how it came.
async fn fate(key: u64) -> &'static str {
    eventually("the task is over", || async {
        has(key, "cancelled") || has(key, "ran to its end")
    })
    .await;
    if has(key, "cancelled") { "cancelled" } else { "ran to its end" }
}

/// The outcome of a task without what differs from run to run.
fn outcome<T: std::fmt::Debug>(outcome: Result<T, TaskError>) -> String {
    match outcome {
        Err(TaskError::Timeout(_)) => "Timeout".to_owned(),
        Err(TaskError::Refused(_)) => "Refused".to_owned(),
        Err(other) => debug(other),
        Ok(value) => format!("Ok({value:?})"),
    }
}

/// Lets an actor await something in the midst of its life.
async fn within_actor<T, F>(
    proc: &Proc,
    work: impl FnOnce(&mut Context<Probe>) -> F + Send + 'static,
) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (tell, told) = oneshot::channel();
    proc.cast(move |probe, ctx| {
        let future = work(ctx);
        let run = async move {
            let _ = tell.send(future.await);
        };
        ctx.spawn(run.into_actor(probe));
    });
    told.await.expect("the actor lives")
}

// ---- actors ------------------------------------------------------------------------------------

pub(crate) async fn spawn_at(near: &Node, far: &Node) -> String {
    let pid = near.spawn_at(far.region(), "probe", &false).await.unwrap();
    assert_eq!(pid.region(), far.region());
    pid.tell(near, Note(1)).await.unwrap();
    let answer = pid.send(near, Sync).await;
    far.kill(pid);
    if answer == Ok(1) { "counts".to_owned() } else { debug(answer) }
}

pub(crate) async fn spawn_at_unknown(near: &Node, far: &Node) -> String {
    match near.spawn_at(far.region(), "unheard of", &false).await {
        Err(SpawnAtError::Refused(StartRefused::UnknownFactory { available, .. })) => {
            assert_eq!(available, ["probe 1"]);
            "UnknownFactory".to_owned()
        }
        other => debug(other),
    }
}

pub(crate) async fn spawn_link_at(near: &Node, far: &Node) -> String {
    let region = far.region();
    let link = move |ctx: &mut Context<Probe>| {
        let node = ctx.node().clone();
        node.spawn_link_at(region, "probe", &false)
    };
    let a = Proc::new(near);
    let pid = within_actor(&a, link).await.unwrap();
    far.exit(pid, custom("over"));
    let forth = a.ended().await;

    let a = Proc::new(near);
    let pid = within_actor(&a, link).await.unwrap();
    let down = far.monitor(pid);
    a.exit(custom("over"));
    let back = down.await.reason;
    if forth == back { format!("{forth:?}, both ways") } else { format!("{forth:?}, {back:?}") }
}

pub(crate) async fn spawn_monitor_at(near: &Node, far: &Node) -> String {
    let (pid, monitor) = near.spawn_monitor_at(far.region(), "probe", &true).await.unwrap();
    let down = monitor.await;
    assert_eq!(down.pid, pid);
    debug(down.reason)
}

// ---- tasks -------------------------------------------------------------------------------------

pub(crate) async fn task_await(near: &Node, far: &Node) -> String {
    let handle = near.tasks().at(far.region()).start(double, 7).await.unwrap();
    outcome(handle.await_for(ms(15_000)).await)
}

pub(crate) async fn task_await_past_its_time(near: &Node, far: &Node) -> String {
    let key = new_key();
    let handle = near.tasks().at(far.region()).start(endless, key).await.unwrap();
    started(key).await;
    let awaited = outcome(handle.await_for(ms(20)).await);
    format!("{awaited}, and it was {}", fate(key).await)
}

pub(crate) async fn task_that_panics(near: &Node, far: &Node) -> String {
    let handle = near.tasks().at(far.region()).start(bug, ()).await.unwrap();
    match handle.await_for(ms(15_000)).await {
        Err(error) => debug(error),
        Ok(value) => debug(value),
    }
}

pub(crate) async fn task_unknown(near: &Node, far: &Node) -> String {
    match near.tasks().at(far.region()).start(unlisted, ()).await {
        Err(error) => outcome::<()>(Err(error)),
        Ok(_) => "started".to_owned(),
    }
}

pub(crate) async fn task_yield(near: &Node, far: &Node) -> String {
    let key = new_key();
    let mut handle = near.tasks().at(far.region()).start(gated, key).await.unwrap();
    let first = handle.yield_for(ms(0)).await.map(outcome);
    note(key, "go on");
    let second = handle.yield_for(ms(15_000)).await.map(outcome);
    let third = handle.yield_for(ms(0)).await.map(outcome);
    let said = |said: Option<String>| said.unwrap_or_else(|| "None".to_owned());
    format!("{}, then {}, then {}", said(first), said(second), said(third))
}

pub(crate) async fn task_shutdown(near: &Node, far: &Node) -> String {
    let key = new_key();
    let handle = near.tasks().at(far.region()).start(endless, key).await.unwrap();
    started(key).await;
    let result = handle.shutdown(TaskShutdown::Brutal).await;
    format!("{result:?}, and it was {}", fate(key).await)
}

pub(crate) async fn task_shutdown_with_time(near: &Node, far: &Node) -> String {
    let key = new_key();
    let handle = near.tasks().at(far.region()).start(careful, key).await.unwrap();
    started(key).await;
    match handle.shutdown(ms(15_000)).await {
        Some(Ok(text)) => text,
        other => debug(other),
    }
}

pub(crate) async fn task_dropped(near: &Node, far: &Node) -> String {
    let key = new_key();
    let handle = near.tasks().at(far.region()).start(endless, key).await.unwrap();
    started(key).await;
    drop(handle);
    fate(key).await.to_owned()
}

pub(crate) async fn task_of_an_actor_that_ends(near: &Node, far: &Node) -> String {
    let (a, key, region) = (Proc::new(near), new_key(), far.region());
    let handle = within_actor(&a, move |ctx| ctx.node().tasks().at(region).start(endless, key));
    let handle = handle.await.unwrap();
    started(key).await;
    a.exit(custom("over"));
    let fate = fate(key).await.to_owned();
    drop(handle);
    fate
}

pub(crate) async fn task_that_panics_takes_its_actor_along(near: &Node, far: &Node) -> String {
    let (a, region) = (Proc::new(near), far.region());
    a.cast(move |probe, ctx| {
        let start = ctx.node().tasks().at(region).start(bug, ());
        let run = async move {
            if let Ok(handle) = start.await {
                let _ = handle.await_for(ms(15_000)).await;
            }
        };
        ctx.spawn(run.into_actor(probe));
    });
    debug(a.ended().await)
}

pub(crate) async fn task_nolink_outlives_its_handle(near: &Node, far: &Node) -> String {
    let key = new_key();
    let tasks = near.tasks().at(far.region()).nolink();
    drop(tasks.start(after, (key, 1, 100)).await.unwrap());
    fate(key).await.to_owned()
}

pub(crate) async fn task_start_child(near: &Node, far: &Node) -> String {
    let key = new_key();
    near.tasks().at(far.region()).start_child(after, (key, 1, 50)).await.unwrap();
    fate(key).await.to_owned()
}

pub(crate) async fn task_prints(near: &Node, far: &Node) -> String {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let tasks = near.tasks().at(far.region()).on_print({
        let lines = Arc::clone(&lines);
        move |line| lines.lock().unwrap().push(line.to_owned())
    });
    let result = tasks.start(print_two, ()).await.unwrap().await_for(ms(15_000)).await;
    let lines = lines.lock().unwrap().join(", ");
    match result {
        Ok(count) => format!("{lines}, then {count}"),
        other => format!("{lines}, then {other:?}"),
    }
}

pub(crate) async fn task_stream_ordered(near: &Node, far: &Node) -> String {
    let stream = near.tasks().stream(0..6, double).regions([far.region()]).max_in_flight(3);
    let results: Vec<_> = stream.timeout(ms(15_000)).start().collect().await;
    match results.into_iter().collect::<Result<Vec<u64>, TaskError>>() {
        Ok(numbers) => debug(numbers),
        Err(error) => debug(error),
    }
}

pub(crate) async fn task_stream_with_a_late_one(near: &Node, far: &Node) -> String {
    // The second takes longer than its time, however long the way is.
    let inputs = [(new_key(), 1, 0), (new_key(), 9, 60_000), (new_key(), 2, 0)];
    let stream = near.tasks().stream(inputs, after).regions([far.region()]).timeout(ms(4_000));
    let results = stream.on_timeout(OnTimeout::KillTask).start().map(outcome);
    format!("[{}]", results.collect::<Vec<_>>().await.join(", "))
}

pub(crate) async fn task_call(near: &Node, far: &Node) -> String {
    outcome(near.call(far.region(), double, 7).deadline(ms(15_000)).await)
}

pub(crate) async fn task_call_past_its_deadline(near: &Node, far: &Node) -> String {
    let key = new_key();
    // Long enough for the start to be known.
    let call = near.call(far.region(), endless, key).deadline(ms(1_500));
    let called = outcome(call.await);
    format!("{called}, and it was {}", fate(key).await)
}

pub(crate) async fn task_multicall(near: &Node, far: &Node) -> String {
    let results = near.multicall([far.region(), near.region()], double, &7, ms(15_000)).await;
    assert!(results.iter().map(|result| result.0).eq([far.region(), near.region()]));
    let results: Vec<String> = results.into_iter().map(|(_, result)| outcome(result)).collect();
    results.join(", ")
}

pub(crate) async fn task_await_many(near: &Node, far: &Node) -> String {
    let mut handles = Vec::new();
    for number in 1..=3 {
        handles.push(near.tasks().at(far.region()).start(double, number).await.unwrap());
    }
    let results = await_many(handles, ms(15_000)).await;
    format!("[{}]", results.into_iter().map(outcome).collect::<Vec<_>>().join(", "))
}
