//! Requests that come twice, as no well-behaved node sends them.

use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid, service};
use fedist_transport::memory::MemoryNet;

use super::{Task, TaskCx, refusal::StartRefused, service::*, spawn::Order};
use crate::{Node, Origin, PidSend, message::encode};

#[derive(Clone, Copy)]
struct Endless;

impl Task for Endless {
    type Input = ();
    type Output = ();
    const NAME: &'static str = "endless";
    const VERSION: u16 = 1;

    async fn run(_: TaskCx, (): ()) {
        std::future::pending().await
    }
}

struct Idle;

impl actix::Actor for Idle {
    type Context = crate::Context<Self>;
}

async fn node() -> Node {
    let net = MemoryNet::new(1);
    let region = RegionId::new(1).unwrap();
    let slow = |(): ()| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Idle
    };
    let builder = Node::builder(region).memory(net.port(region)).arbiters(2).task(Endless);
    builder.factory("slow", 1, slow, |export| export).start().await.unwrap()
}

fn start(reference: u64) -> StartTask {
    StartTask {
        name: "endless".to_owned(),
        version: 1,
        input: encode("test", &()).unwrap(),
        reference,
        settled_below: 0,
        hold: Hold::Free,
        link: None,
        origin: Origin::here(),
    }
}

fn spawn(node: &Node, reference: u64, arguments: Bytes) -> SpawnActor {
    SpawnActor {
        factory: "slow".to_owned(),
        version: None,
        arguments,
        reference,
        settled_below: 0,
        order: Order::plain(node.region()),
        origin: Origin::here(),
    }
}

#[tokio::test]
async fn a_repeated_request_starts_nothing_and_gets_the_same_pid() {
    let node = node().await;
    let service = RegionPid::new(node.region(), service::TASKS);
    let first = service.send(&node, start(7)).await.unwrap().unwrap();
    let count = node.process_count();
    for _ in 0..3 {
        assert_eq!(service.send(&node, start(7)).await.unwrap(), Ok(first));
    }
    assert_eq!(node.process_count(), count);
    let other = service.send(&node, start(8)).await.unwrap().unwrap();
    assert_ne!(other, first);
    node.stop().await;
}

#[tokio::test]
async fn requests_and_questions_that_come_while_one_runs_wait_for_its_answer() {
    let node = node().await;
    let service = RegionPid::new(node.region(), service::TASKS);
    let arguments = encode("test", &()).unwrap();
    let ask = || service.send(&node, spawn(&node, 7, arguments.clone()));
    let question = AskStanding { reference: 7, origin: Origin::here() };
    let (first, second, standing) =
        tokio::join!(async { ask().await }, async { ask().await }, async {
            service.send(&node, question).await
        });
    let pid = first.unwrap().unwrap();
    assert_eq!(second.unwrap(), Ok(pid));
    assert!(matches!(standing.unwrap(), Standing::Answered(Ok(known)) if known == pid));
    node.stop().await;
}

#[tokio::test]
async fn a_request_that_was_asked_about_first_never_runs() {
    let node = node().await;
    let service = RegionPid::new(node.region(), service::TASKS);
    let question = || AskStanding { reference: 7, origin: Origin::here() };
    let standing = service.send(&node, question()).await.unwrap();
    assert!(matches!(standing, Standing::NeverSeen { .. }), "{standing:?}");
    let count = node.process_count();
    let late = service.send(&node, start(7)).await.unwrap();
    assert_eq!(late, Err(StartRefused::Void));
    assert_eq!(node.process_count(), count);
    node.stop().await;
}

#[tokio::test]
async fn a_link_to_an_actor_of_another_region_than_the_senders_is_refused() {
    let node = node().await;
    let service = RegionPid::new(node.region(), service::TASKS);
    let mut forged = spawn(&node, 7, encode("test", &()).unwrap());
    let other = RegionPid::new(RegionId::new(2).unwrap(), service::HUB);
    forged.order = Order::linked(node.region(), other);
    let refused = service.send(&node, forged).await.unwrap();
    assert!(matches!(refused, Err(StartRefused::BadArguments(_))), "{refused:?}");
    node.stop().await;
}
