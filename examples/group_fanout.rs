//! What a publish to a group costs on every link, beside one tell for each member.
//!
//! Five regions on the memory fabric with 5 ms between neighbours: 1 - 2 - 3, and 4 and 5 below 3. Regions 3, 4
//! and 5 have ten members each; region 1 sends 200 messages of 1,000 bytes to all of them, first as
//! tells and then as publishes.
//!
//! Run it with `cargo run --release --example group_fanout`.

use std::{collections::BTreeMap, time::Duration};

use fedist::{prelude::*, transport::memory::MemoryNet};

const MEMBERS: usize = 10;
const MESSAGES: usize = 200;
const LENGTH: usize = 1_000;

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "example.news", version = 1)]
struct News(String);

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
#[wire(name = "example.count", version = 1)]
struct Count;

#[derive(Default)]
struct Reader(usize);

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<News> for Reader {
    type Result = ();
    fn handle(&mut self, _: News, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

impl Handler<Count> for Reader {
    type Result = MessageResult<Count>;
    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0)
    }
}

type Bytes = BTreeMap<(RegionId, RegionId), u64>;

/// Bytes of frames sent so far, by link and direction.
async fn sent(nodes: &[Node]) -> Bytes {
    let mut bytes = Bytes::new();
    for node in nodes {
        for link in node.status().await.map(|status| status.links).unwrap_or_default() {
            bytes.insert((node.region(), link.peer), link.bytes_sent);
        }
    }
    bytes
}

/// Waits until every member has `count` messages.
async fn arrived(node: &Node, members: &[RegionPid], count: usize) -> Result<(), fedist::AskError> {
    for member in members {
        while member.send(node, Count).await? < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let net = MemoryNet::new(1);
    net.default_latency(Duration::from_millis(5));
    let mut nodes: Vec<Node> = Vec::new();
    for (number, parent) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3)] {
        let id = RegionId::new(number)?;
        // With no nearest links, the only links are those of the tree.
        let mut builder = Node::builder(id).memory(net.port(id)).nearest(0);
        if parent > 0 {
            builder = builder.parent(RegionId::new(parent)?).join(format!("memory:{parent}"));
        }
        nodes.push(builder.start().await?);
    }
    let mut members = Vec::new();
    for node in &nodes[2..] {
        for _ in 0..MEMBERS {
            let reader = node.spawn(Reader::default())?;
            let pid = node.export(&reader).handles::<News>().handles::<Count>().publish()?;
            node.groups().join("readers", &reader, &())?;
            members.push(pid);
        }
    }
    let source = &nodes[0];
    while source.groups().members("readers").len() < members.len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let news = || News("x".repeat(LENGTH));
    // The first messages open the sessions.
    arrived(source, &members, 0).await?;

    let begin = sent(&nodes).await;
    for _ in 0..MESSAGES {
        for member in &members {
            member.tell(source, news()).await?;
        }
    }
    arrived(source, &members, MESSAGES).await?;
    let told = sent(&nodes).await;
    for _ in 0..MESSAGES {
        source.groups().publish("readers", news()).await?;
    }
    arrived(source, &members, 2 * MESSAGES).await?;
    while source.groups().counters().in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let published = sent(&nodes).await;

    println!(
        "{MESSAGES} messages of {LENGTH} B from region 1 to {} members in regions 3, 4 and 5",
        members.len()
    );
    println!("{:>8} {:>18} {:>12} {:>8}", "link", "a tell per member", "publish", "saving");
    let mut total = (0, 0);
    for (link @ (from, to), bytes) in &published {
        let tells = told[link] - begin.get(link).copied().unwrap_or(0);
        let publishes = bytes - told[link];
        total = (total.0 + tells, total.1 + publishes);
        println!(
            "{:>8} {tells:>16} B {publishes:>10} B {}",
            format!("{from} -> {to}"),
            saving(tells, publishes)
        );
    }
    println!("{:>8} {:>16} B {:>10} B {}", "all", total.0, total.1, saving(total.0, total.1));
    println!("{:?}", source.groups().counters());
    for node in nodes.iter().rev() {
        node.stop().await;
    }
    Ok(())
}

fn saving(tells: u64, publishes: u64) -> String {
    format!("{:>6.1} x", tells as f64 / publishes.max(1) as f64)
}
