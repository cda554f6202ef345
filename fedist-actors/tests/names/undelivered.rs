//! Every lost message is told to its sender once, wherever it got lost.

use std::time::Duration;

use actix::{Actor, Handler, MessageResult};
use fedist_actors::{Context, DropReason, Message, Node, PidSend, RegionRecipient, Undelivered};
use fedist_registry::{LocalId, RegionPid};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::*;

/// An actor that sends notes and keeps what it hears of the lost ones.
#[derive(Default)]
struct Sender {
    lost: Vec<Loss>,
}

/// Who, why, and the note where it came back.
type Loss = (RegionPid, DropReason, Option<u64>);

impl Actor for Sender {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.notify_undelivered::<Note>();
        ctx.notify_undelivered::<Note>();
    }
}

impl Handler<Undelivered<Note>> for Sender {
    type Result = ();

    fn handle(&mut self, lost: Undelivered<Note>, _: &mut Context<Self>) {
        assert_eq!(lost.unreported, 0);
        self.lost.push((lost.to, lost.reason, lost.message.map(|Note(number)| number)));
    }
}

/// Has the sender send a note in one of the ways there are.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "bool")]
#[wire(name = "test.pass_on", version = 1, crate = "fedist_actors")]
struct PassOn {
    to: RegionPid,
    number: u64,
    how: How,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum How {
    Pid,
    Recipient,
    Later,
    Via(String),
    Try,
}

impl Handler<PassOn> for Sender {
    type Result = bool;

    fn handle(&mut self, message: PassOn, ctx: &mut Context<Self>) -> bool {
        let PassOn { to, number, how } = message;
        let node = ctx.node().clone();
        match how {
            How::Pid => to.do_send(&node, Note(number)),
            How::Recipient => {
                let recipient: RegionRecipient<Note> = to.recipient(&node);
                recipient.do_send(Note(number));
            }
            How::Later => {
                node.send_after(Duration::from_millis(5), to, Note(number)).unwrap();
            }
            How::Via(path) => node.via(&path).unwrap().do_send(Note(number)),
            How::Try => return to.try_send(&node, Note(number)).is_ok(),
        }
        true
    }
}

#[derive(Debug, Message)]
#[rtype(result = "Vec<Loss>")]
#[wire(name = "test.losses", version = 1, crate = "fedist_actors")]
#[derive(Serialize, Deserialize)]
struct Losses;

impl Handler<Losses> for Sender {
    type Result = MessageResult<Losses>;

    fn handle(&mut self, _: Losses, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.lost.clone())
    }
}

fn sender(node: &Node) -> RegionPid {
    let addr = node.spawn(Sender::default()).unwrap();
    node.export(&addr).handles::<PassOn>().handles::<Losses>().publish().unwrap()
}

async fn pass_on(node: &Node, sender: RegionPid, to: RegionPid, number: u64, how: How) -> bool {
    sender.send(node, PassOn { to, number, how }).await.unwrap()
}

#[test]
fn every_lost_tell_comes_back_to_its_sender_once_at_every_distance() {
    run(async {
        let net = MemoryNet::new(131);
        let nodes = chain(&net, 4).await;
        let near = &nodes[0];
        for target in [0, 1, 3] {
            let far = &nodes[target];
            let sender = sender(near);
            let good = notebook(far);
            let nobody = RegionPid::new(far.region(), LocalId::new(99_999_999).unwrap());
            let addr = far.spawn(Notebook::default()).unwrap();
            let private = far.export(&addr).handles::<Notes>().publish().unwrap();
            let nowhere = RegionPid::new(far.region(), fedist_registry::service::NAMES);
            let path = format!("{}/nobody", far.region());
            let expected = [
                (good, How::Pid, None),
                (nobody, How::Pid, Some(DropReason::NoActor)),
                (nobody, How::Recipient, Some(DropReason::NoActor)),
                (nobody, How::Later, Some(DropReason::NoActor)),
                (private, How::Pid, Some(DropReason::Denied)),
                (nowhere, How::Via(path), Some(DropReason::NoActor)),
                (good, How::Later, None),
            ];
            for (number, (to, how, _)) in expected.iter().enumerate() {
                pass_on(near, sender, *to, number as u64, how.clone()).await;
            }
            let mut told: Vec<(RegionPid, DropReason)> = expected
                .iter()
                .filter_map(|(to, _, reason)| reason.map(|reason| (*to, reason)))
                .collect();
            told.sort_unstable();
            let losses = || async {
                let losses = sender.send(near, Losses).await.unwrap();
                let mut told: Vec<_> = losses.iter().map(|(to, why, _)| (*to, *why)).collect();
                told.sort_unstable();
                told
            };
            eventually("all losses are told", || async { losses().await.len() >= told.len() })
                .await;
            eventually("the good ones arrive", || async {
                good.send(near, Notes).await.unwrap() == [0, 6]
            })
            .await;
            assert_eq!(losses().await, told, "target {target}");
            if target == 0 {
                let losses = sender.send(near, Losses).await.unwrap();
                assert!(
                    losses.iter().all(|(_, _, message)| message.is_some()),
                    "refused here, so they were still at hand: {losses:?}"
                );
            }
            far.unregister("notes");
        }
        let times: Vec<u64> = near.dead_letters().iter().map(|letter| letter.at_ms).collect();
        assert!(times.is_sorted());
        stop(&nodes).await;
    });
}

#[test]
fn what_a_try_send_gives_back_is_not_told_again() {
    run(async {
        let net = MemoryNet::new(132);
        let nodes = chain(&net, 1).await;
        let sender = sender(&nodes[0]);
        let nobody = RegionPid::new(nodes[0].region(), LocalId::new(99_999_999).unwrap());
        assert!(!pass_on(&nodes[0], sender, nobody, 1, How::Try).await);
        assert_eq!(sender.send(&nodes[0], Losses).await.unwrap(), []);
        stop(&nodes).await;
    });
}

#[test]
fn what_was_under_way_to_a_lost_region_is_told_once_when_its_session_ends() {
    run(async {
        let net = MemoryNet::new(133);
        let timeout = Duration::from_millis(400);
        let near = root(&net).session_timeout(timeout).start().await.unwrap();
        let far = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        let (sender, pid) = (sender(&nodes[0]), notebook(&nodes[1]));
        pass_on(&nodes[0], sender, pid, 1, How::Pid).await;
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [1]);
        net.cut(id(1), id(2));
        for number in 2..=20 {
            pass_on(&nodes[0], sender, pid, number, How::Pid).await;
        }
        eventually("all are told", || async {
            sender.send(&nodes[0], Losses).await.unwrap().len() >= 19
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let losses = sender.send(&nodes[0], Losses).await.unwrap();
        assert_eq!(losses.len(), 19, "{losses:?}");
        assert!(losses.iter().all(|(to, why, _)| *to == pid
            && matches!(why, DropReason::SessionEnded | DropReason::NoRoute)));
        net.heal(id(1), id(2));
        stop(&nodes).await;
    });
}
