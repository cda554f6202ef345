//! Regions for the tests: a net, nodes on it, and waiting with a bound.

use std::{future::Future, time::Duration};

use actix::{Actor, Handler, MessageResult};
use fedist_actors::{Context, Message, Node, NodeBuilder, PidSend};
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

pub(crate) fn id(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

/// Runs a test with a bound on its whole time, in a runtime of its own.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(180), test).await.expect("the test takes too long")
    })
}

/// Waits until `condition` holds, at most 60 s.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    for _ in 0..6_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

/// The root, region 1.
pub(crate) fn root(net: &MemoryNet) -> NodeBuilder {
    Node::builder(id(1)).name("root").memory(net.port(id(1))).nearest(0)
}

/// A region below `parent`, joining through it.
pub(crate) fn below(net: &MemoryNet, parent: u16, number: u16) -> NodeBuilder {
    Node::builder(id(number))
        .parent(id(parent))
        .join(format!("memory:{parent}"))
        .memory(net.port(id(number)))
        .nearest(0)
}

/// A chain 1 - 2 - .. - n, each the parent of the next, and no other links.
pub(crate) async fn chain(net: &MemoryNet, length: u16) -> Vec<Node> {
    let mut nodes = vec![root(net).start().await.unwrap()];
    for number in 2..=length {
        nodes.push(below(net, number - 1, number).start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}

/// A diamond: 4 and 5 below the hubs 2 and 3, each linked to both hubs.
pub(crate) async fn diamond(net: &MemoryNet) -> Vec<Node> {
    net.default_latency(Duration::from_millis(2));
    let root = root(net).start().await.unwrap();
    let left = below(net, 1, 2).start().await.unwrap();
    let right = below(net, 1, 3).start().await.unwrap();
    let source = below(net, 2, 4).link(id(3)).start().await.unwrap();
    let target = below(net, 3, 5).link(id(2)).start().await.unwrap();
    let nodes = vec![root, left, right, source, target];
    routed(&nodes).await;
    nodes
}

pub(crate) async fn send_numbered(
    from: &Node,
    to: RegionPid,
    count: u64,
    mut between: impl FnMut(u64),
) {
    for number in 0..count {
        to.tell(from, Note(number)).await.unwrap();
        if number % 50 == 0 {
            between(number);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) async fn arrives_in_order(from: &Node, to: RegionPid, count: u64) {
    eventually("everything has come", || async {
        to.send(from, Notes).await.is_ok_and(|notes| notes.len() as u64 >= count)
    })
    .await;
    let notes = to.send(from, Notes).await.unwrap();
    assert!(notes.iter().copied().eq(0..count), "lost, doubled or out of order");
}

/// Waits until every node has a route to every other.
pub(crate) async fn routed(nodes: &[Node]) {
    eventually("routes from all to all", || async {
        nodes.iter().all(|node| {
            let view = node.view();
            nodes.iter().all(|other| {
                other.region() == node.region() || view.routes.get(other.region()).is_some()
            })
        })
    })
    .await;
}

pub(crate) async fn stop(nodes: &[Node]) {
    for node in nodes.iter().rev() {
        node.stop().await;
    }
}

/// Adds a number to a list.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.note", version = 1, crate = "fedist_actors")]
pub(crate) struct Note(pub(crate) u64);

/// Asks for the list.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Vec<u64>")]
#[wire(name = "test.notes", version = 1, crate = "fedist_actors")]
pub(crate) struct Notes;

/// Makes the actor panic.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.crash", version = 1, crate = "fedist_actors")]
pub(crate) struct Crash(pub(crate) String);

/// A message that [`Notebook`] handles and no test exports.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[wire(name = "test.unlisted", version = 1, crate = "fedist_actors")]
pub(crate) struct Unlisted;

/// Sends the blob's length back.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.blob", version = 1, crate = "fedist_actors")]
pub(crate) struct Blob(#[serde(with = "bytes_field")] pub(crate) Vec<u8>);

mod bytes_field {
    use serde::{Deserializer, Serializer, de::Deserialize, ser::Serialize};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        bytes::Bytes::copy_from_slice(bytes).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        Ok(bytes::Bytes::deserialize(deserializer)?.to_vec())
    }
}

#[derive(Default)]
pub(crate) struct Notebook {
    notes: Vec<u64>,
}

impl Actor for Notebook {
    type Context = Context<Self>;
}

impl Handler<Note> for Notebook {
    type Result = ();

    fn handle(&mut self, Note(number): Note, _: &mut Context<Self>) {
        self.notes.push(number);
    }
}

impl Handler<Notes> for Notebook {
    type Result = MessageResult<Notes>;

    fn handle(&mut self, _: Notes, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.notes.clone())
    }
}

impl Handler<Crash> for Notebook {
    type Result = ();

    fn handle(&mut self, Crash(text): Crash, _: &mut Context<Self>) {
        panic!("{text}");
    }
}

impl Handler<Unlisted> for Notebook {
    type Result = u32;

    fn handle(&mut self, _: Unlisted, _: &mut Context<Self>) -> u32 {
        7
    }
}

impl Handler<Blob> for Notebook {
    type Result = u64;

    fn handle(&mut self, Blob(bytes): Blob, _: &mut Context<Self>) -> u64 {
        bytes.len() as u64
    }
}

/// A notebook in `node`, exported under the name `notes`.
pub(crate) fn notebook(node: &Node) -> fedist_registry::RegionPid {
    let addr = node.spawn(Notebook::default()).unwrap();
    node.export(&addr)
        .handles::<Note>()
        .handles::<Notes>()
        .handles::<Crash>()
        .handles::<Blob>()
        .name("notes")
        .publish()
        .unwrap()
}
