//! Tasks for the tests.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use fedist_actors::{NodeBuilder, TaskCx, task};

#[task(name = "work.double", version = 1, crate = "fedist_actors")]
pub(crate) async fn double(_cx: TaskCx, n: u64) -> u64 {
    n * 2
}

/// What a test sees of a task that runs in whatever thread, by the test's own key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) started: u64,
    pub(crate) ended: u64,
    /// How many have run at a time at most.
    pub(crate) most: u64,
}

static SEEN: LazyLock<Mutex<HashMap<String, Seen>>> = LazyLock::new(Mutex::default);

pub(crate) fn seen(key: &str) -> Seen {
    SEEN.lock().unwrap().get(key).copied().unwrap_or_default()
}

struct Guard(String);

impl Guard {
    fn begin(key: &str) -> Self {
        let mut seen = SEEN.lock().unwrap();
        let seen = seen.entry(key.to_owned()).or_default();
        seen.started += 1;
        seen.most = seen.most.max(seen.started - seen.ended);
        Guard(key.to_owned())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SEEN.lock().unwrap().entry(self.0.clone()).or_default().ended += 1;
    }
}

/// Sleeps for so many milliseconds, and gives the number back.
#[task(name = "work.sleep", version = 1, crate = "fedist_actors")]
pub(crate) async fn sleep(_cx: TaskCx, (key, millis): (String, u64)) -> u64 {
    let _guard = Guard::begin(&key);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    millis
}

#[task(name = "work.endless", version = 1, crate = "fedist_actors")]
pub(crate) async fn endless(_cx: TaskCx, key: String) -> u64 {
    let _guard = Guard::begin(&key);
    std::future::pending().await
}

#[task(name = "work.crash", version = 1, crate = "fedist_actors")]
pub(crate) async fn crash(_cx: TaskCx, text: String) -> u64 {
    panic!("{text}");
}

/// Traps shutdowns, and needs so many milliseconds to finish once it is asked to.
#[task(name = "work.careful", version = 1, crate = "fedist_actors")]
pub(crate) async fn careful(cx: TaskCx, (key, millis): (String, u64)) -> String {
    cx.trap_shutdown(true);
    let _guard = Guard::begin(&key);
    cx.cancelled().await;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    "finished".to_owned()
}

/// Crashes when it is asked to stop.
#[task(name = "work.sulky", version = 1, crate = "fedist_actors")]
pub(crate) async fn sulky(cx: TaskCx, key: String) -> u64 {
    cx.trap_shutdown(true);
    let _guard = Guard::begin(&key);
    cx.cancelled().await;
    panic!("not now");
}

/// Blocks a thread until it is cancelled.
#[task(name = "work.blocking", version = 1, crate = "fedist_actors")]
pub(crate) async fn blocking(cx: TaskCx, key: String) -> u64 {
    cx.spawn_blocking(move |cancel| {
        let _guard = Guard::begin(&key);
        while !cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        0
    })
    .await
}

#[task(name = "work.blocking_crash", version = 1, crate = "fedist_actors")]
pub(crate) async fn blocking_crash(cx: TaskCx, (): ()) -> u64 {
    cx.spawn_blocking(|_| panic!("on another thread")).await
}

/// Prints so many lines and gives their number.
#[task(name = "work.print", version = 1, crate = "fedist_actors")]
pub(crate) async fn print(cx: TaskCx, (lines, len): (u64, usize)) -> u64 {
    for line in 0..lines {
        cx.print(format_args!("{line} {}", "x".repeat(len)));
    }
    lines
}

#[task(name = "work.large", version = 1, crate = "fedist_actors")]
pub(crate) async fn large(_cx: TaskCx, len: usize) -> String {
    "x".repeat(len)
}

#[task(name = "work.where", version = 1, crate = "fedist_actors")]
pub(crate) async fn where_am_i(cx: TaskCx, (): ()) -> u16 {
    cx.node().region().get()
}

#[task(name = "work.unlisted", version = 1, crate = "fedist_actors")]
pub(crate) async fn unlisted(_cx: TaskCx, (): ()) {}

/// The name of a listed task, with another input.
#[task(name = "work.double", version = 1, crate = "fedist_actors")]
pub(crate) async fn double_of_text(_cx: TaskCx, text: String) -> String {
    text
}

#[task(name = "work.double", version = 2, crate = "fedist_actors")]
pub(crate) async fn double_version_2(_cx: TaskCx, n: u64) -> u64 {
    n * 2
}

pub(crate) fn with_tasks(builder: NodeBuilder) -> NodeBuilder {
    builder
        .task(double)
        .task(sleep)
        .task(endless)
        .task(crash)
        .task(careful)
        .task(sulky)
        .task(blocking)
        .task(blocking_crash)
        .task(print)
        .task(large)
        .task(where_am_i)
}
