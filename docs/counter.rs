// What the examples of the guides have in common: a counter, its messages, and two regions in one
// process. Each example includes this file, so that it shows nothing but its subject.

use std::time::Duration;

use fedist::{prelude::*, transport::memory::MemoryNet};

/// Adds to the count.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[wire(name = "counter.add", version = 1)]
struct Add(u64);

/// Asks for the count.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "counter.total", version = 1)]
struct Total;

/// Makes the counter panic.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "counter.crash", version = 1)]
struct Crash;

#[derive(Debug, Default)]
struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Add> for Counter {
    type Result = ();

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) {
        self.0 += n;
    }
}

impl Handler<Total> for Counter {
    type Result = u64;

    fn handle(&mut self, Total: Total, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

impl Handler<Crash> for Counter {
    type Result = ();

    fn handle(&mut self, Crash: Crash, _: &mut Context<Self>) {
        panic!("as asked");
    }
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A node of region 1, `home`, and one of region 2, `away`, over a network in memory.
async fn two_regions() -> Outcome<(Node, Node)> {
    let net = MemoryNet::new(1);
    let (one, two) = (RegionId::new(1)?, RegionId::new(2)?);
    let home = Node::builder(one).name("home").memory(net.port(one)).start().await?;
    let away = Node::builder(two).name("away").memory(net.port(two)).parent(one).join("memory:1");
    Ok((home, away.start().await?))
}

/// A counter that every region may use, but not link to.
fn exported_counter(node: &Node) -> Outcome<RegionPid> {
    let counter = node.spawn(Counter::default())?;
    let export = node.export(&counter).handles::<Add>().handles::<Total>().handles::<Crash>();
    Ok(export.publish()?)
}

/// Waits until something holds, at most for ten seconds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain");
}
