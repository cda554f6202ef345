//! A task started in another region: awaited, refused, moved when it panics, cancelled with its caller.
//!
//! Run it with `cargo run --release --example supervised_task`.

use std::time::Duration;

use fedist::prelude::*;

/// Sums the squares up to `n`; in region 2 it has a defect.
#[fedist::task(name = "example.squares", version = 1)]
async fn squares(cx: TaskCx, n: u64) -> u64 {
    assert!(cx.pid().region().get() != 2, "a defect that shows in region 2 only");
    (1..=n).map(|k| k * k).sum()
}

#[fedist::task(name = "example.unlisted", version = 1)]
async fn unlisted(_cx: TaskCx, (): ()) {}

#[fedist::task(name = "example.endless", version = 1)]
async fn endless(_cx: TaskCx, (): ()) {
    std::future::pending::<()>().await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let id = |n| RegionId::new(n);
    let root = Node::builder(id(1)?).data_dir(dir.path().join("1")).start().await?;
    let mut workers = Vec::new();
    for n in [2, 3] {
        let worker = Node::builder(id(n)?)
            .under(&root)
            .data_dir(dir.path().join(n.to_string()))
            .task(squares)
            .task(endless)
            .start()
            .await?;
        workers.push(worker);
    }

    let tasks = root.tasks();
    let done = tasks.supervised(squares, 1000, [id(2)?, id(3)?], Duration::from_secs(5)).await?;
    println!(
        "sum of squares {} from region {} after {} attempts",
        done.value, done.region, done.attempts
    );

    let refused = tasks.at(id(3)?).start(unlisted, ()).await.err();
    println!("unlisted: {}", refused.map(|error| error.to_string()).unwrap_or_default());

    let running = tasks.at(id(3)?).start(endless, ()).await?;
    let pid = running.pid().ok_or("a started task has a pid")?;
    println!("endless runs as {pid}; dropping its handle cancels it");
    drop(running);
    while root.ping(fedist::PingTarget::Actor(pid), Duration::from_secs(1)).await?.echo.alive {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{pid} is gone");

    for node in workers.iter().chain([&root]) {
        node.stop().await;
    }
    Ok(())
}
