//! Whole nodes, one thread for each, on the memory fabric: no encryption and no system call in between.

use std::time::Duration;

use fedist::{FnAddr, prelude::*, transport::memory::MemoryNet};
use fedist_testkit::{Failed, TestResult};

use crate::messages::{BODY, Counter, Echo, Tick, Total};

/// Tells to another region, up to the queue of the hub: their sender does not let go of the thread, so nothing takes them
/// out of it before this process ends.
pub(crate) fn encode(messages: u64) -> TestResult {
    chain(2, async move |nodes| {
        let counter = counter_at(&nodes[1], &nodes[0])?;
        counter.send(Total).await?;
        for _ in 0..messages {
            counter.try_send(Tick { body: BODY })?;
        }
        Ok(())
    })
}

/// Bursts of tells into a mailbox of the same thread, each waited for.
pub(crate) fn local_tells(messages: u64) -> TestResult {
    chain(1, async move |nodes| {
        tells(&nodes[0].spawn(Counter::default())?.region_addr(), messages).await
    })
}

/// Asks of an actor of the same thread, one after the other.
pub(crate) fn local_asks(messages: u64) -> TestResult {
    chain(1, async move |nodes| {
        asks(&nodes[0].spawn(Counter::default())?.region_addr(), messages).await
    })
}

/// The same bursts to another node.
pub(crate) fn remote_tells(messages: u64) -> TestResult {
    chain(2, async move |nodes| tells(&counter_at(&nodes[1], &nodes[0])?, messages).await)
}

/// Asks of the next node but one.
pub(crate) fn relayed_asks(messages: u64) -> TestResult {
    chain(3, async move |nodes| asks(&counter_at(&nodes[2], &nodes[0])?, messages).await)
}

async fn tells(counter: &RegionAddr<Counter>, messages: u64) -> TestResult {
    for _ in 0..messages.div_ceil(BURST) {
        for _ in 0..BURST {
            counter.try_send(Tick { body: BODY })?;
        }
        counter.send(Total).await?;
    }
    let total = counter.send(Total).await?;
    if total != messages {
        return Err(format!("{total} of {messages} messages were handled").into());
    }
    Ok(())
}

async fn asks(counter: &RegionAddr<Counter>, messages: u64) -> TestResult {
    for _ in 0..messages {
        counter.send(Echo { body: BODY }).await?;
    }
    Ok(())
}

/// An actor of `node`, as `sender` knows it.
fn counter_at(node: &Node, sender: &Node) -> Result<RegionAddr<Counter>, Failed> {
    let counter = node.spawn(Counter::default())?;
    let pid =
        node.export(&counter).handles::<Tick>().handles::<Echo>().handles::<Total>().publish()?;
    Ok(sender.address::<Counter>(pid))
}

/// Runs `work` in an actor of the first of `count` nodes in a row, and ends the process with it.
fn chain<W>(count: u16, work: W) -> TestResult
where
    W: AsyncFnOnce(Vec<Node>) -> TestResult + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let nodes = runtime.block_on(async {
        let net = MemoryNet::new(1);
        let mut nodes: Vec<Node> = Vec::new();
        for number in 1..=count {
            let region = RegionId::new(number)?;
            let mut builder = Node::builder(region).memory(net.port(region)).nearest(0);
            if number > 1 {
                builder = builder
                    .parent(RegionId::new(number - 1)?)
                    .join(format!("memory:{}", number - 1));
            }
            nodes.push(builder.start().await?);
        }
        routed(&nodes).await?;
        Ok::<_, Failed>(nodes)
    })?;
    let (done, end) = std::sync::mpsc::channel();
    let first = nodes[0].clone();
    let _: FnAddr<Total> = first.spawn_fn(move |_| async move {
        let _ = done.send(work(nodes).await);
    })?;
    end.recv()??;
    // Without taking it apart.
    std::process::exit(0);
}

/// Routes may come a moment after a node is live; links that are not tree links are not waited for.
async fn routed(nodes: &[Node]) -> TestResult {
    let all = async || nodes.iter().all(|node| node.reachable_regions().len() + 1 == nodes.len());
    for _ in 0..PATIENCE_MS / 10 {
        if all().await {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("not every node has a route to every other one".into())
}

const BURST: u64 = 500;
const PATIENCE_MS: u64 = 60_000;
