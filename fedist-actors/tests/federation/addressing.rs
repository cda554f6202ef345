//! Sending: the same locally, over one hop and over many; every refusal by its name.

use std::time::Duration;

use actix::{Actor, Handler};
use fedist_actors::{
    AskError, Context, DropReason, LookupError, Message, Node, PidSend, RegionAddr,
    RegionRecipient, SendError,
};
use fedist_registry::{LocalId, RegionPid};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::*;

#[test]
fn a_message_is_the_same_at_no_hop_one_hop_and_three_hops() {
    run(async {
        let net = MemoryNet::new(1);
        let nodes = chain(&net, 4).await;
        for target in [0, 1, 3] {
            let pid = notebook(&nodes[target]);
            let region = nodes[target].region();
            let sender = &nodes[0];
            let addr: RegionAddr<Notebook> =
                sender.lookup(&format!("{region}/notes")).await.unwrap();
            assert_eq!(addr.pid(), pid);
            addr.do_send(Note(1));
            addr.try_send(Note(2)).unwrap();
            addr.tell(Note(3)).await.unwrap();
            pid.do_send(sender, Note(4));
            pid.tell(sender, Note(5)).await.unwrap();
            addr.recipient::<Note>().do_send(Note(6));
            assert_eq!(addr.send(Notes).await.unwrap(), [1, 2, 3, 4, 5, 6], "target {target}");
            assert_eq!(pid.send(sender, Notes).await.unwrap(), [1, 2, 3, 4, 5, 6]);
        }
        stop(&nodes).await;
    });
}

#[test]
fn every_refusal_has_its_name_its_counter_and_its_dead_letter() {
    run(async {
        let net = MemoryNet::new(2);
        let nodes = chain(&net, 3).await;
        let (here, there) = (&nodes[0], &nodes[2]);
        let pid = notebook(there);
        let nobody = RegionPid::new(there.region(), LocalId::new(99_999_999).unwrap());
        assert_eq!(nobody.send(here, Notes).await, Err(AskError::NoActor(nobody)));
        assert!(matches!(
            pid.send(here, Unlisted).await,
            Err(AskError::UnknownType { name, version: 1, .. }) if name == "test.unlisted"
        ));
        let private = there.spawn(Notebook::default()).unwrap().pid();
        assert_eq!(private.send(here, Notes).await, Err(AskError::Denied(private)));
        let other = there.spawn(Notebook::default()).unwrap();
        let other = there.export(&other).handles::<Unlisted>().publish().unwrap();
        assert_eq!(other.send(here, Unlisted).await, Ok(7));
        assert_eq!(
            pid.send(here, Unlisted).await,
            Err(AskError::Denied(pid)),
            "known, but not listed"
        );
        let unknown = RegionPid::new(id(77), pid.local());
        assert_eq!(unknown.send(here, Notes).await, Err(AskError::UnknownRegion(id(77))));
        assert!(matches!(
            unknown.try_send(here, Note(1)),
            Err(SendError::UnknownRegion(_, Note(1)))
        ));

        nobody.do_send(here, Note(1));
        eventually("both sides count the tell to nobody", || async {
            there.dropped().get(&DropReason::NoActor).is_some_and(|count| *count >= 2)
                && here.dropped().get(&DropReason::NoActor) == Some(&1)
        })
        .await;
        assert!(here.dead_letters().iter().any(|letter| letter.to == nobody));
        assert!(there.dropped()[&DropReason::UnknownType] >= 1);
        assert!(there.dropped()[&DropReason::Denied] >= 2);
        stop(&nodes).await;
    });
}

#[test]
fn a_message_of_100_mb_is_refused_and_one_of_8_mb_arrives() {
    run(async {
        let net = MemoryNet::new(3);
        let nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[1]);
        match pid.try_send(&nodes[0], Note(0)) {
            Ok(()) => {}
            Err(error) => panic!("{error}"),
        }
        let huge = pid.send(&nodes[0], Blob(vec![7; 100_000_000])).await;
        assert!(matches!(huge, Err(AskError::TooLarge { max: 16_777_216, .. })), "{huge:?}");
        let large =
            pid.send(&nodes[0], Blob(vec![7; 8_000_000])).deadline(Duration::from_secs(30)).await;
        assert_eq!(large, Ok(8_000_000));
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [0]);
        stop(&nodes).await;
    });
}

#[test]
fn what_was_sent_before_a_stop_still_arrives() {
    run(async {
        let net = MemoryNet::new(26);
        net.default_latency(Duration::from_millis(10));
        let nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[0]);
        // More than a session's window of 8 MiB, so that a part has not left when the stop begins.
        for _ in 0..2 {
            pid.tell(&nodes[1], Blob(vec![1; 4_500_000])).await.unwrap();
        }
        pid.tell(&nodes[1], Note(7)).await.unwrap();
        nodes[1].stop().await;
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [7]);
        stop(&nodes).await;
    });
}

/// Sends whoever gets it a recipient to answer to.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.introduce", version = 1, crate = "fedist_actors")]
struct Introduce {
    to: RegionRecipient<Note>,
    number: u64,
}

struct Introduced;

impl Actor for Introduced {
    type Context = Context<Self>;
}

impl Handler<Introduce> for Introduced {
    type Result = ();

    fn handle(&mut self, message: Introduce, _: &mut Context<Self>) {
        message.to.do_send(Note(message.number));
    }
}

#[test]
fn addresses_travel_inside_messages_and_work_where_they_arrive() {
    run(async {
        let net = MemoryNet::new(4);
        let nodes = chain(&net, 3).await;
        // The notebook is at 1, the message goes to 3, which answers to 1; and one more is local to 3.
        let far = notebook(&nodes[0]);
        let near = notebook(&nodes[2]);
        let addr = nodes[2].spawn(Introduced).unwrap();
        let pid = nodes[2].export(&addr).handles::<Introduce>().publish().unwrap();
        for (target, number) in [(far, 5), (near, 6)] {
            let to = target.recipient::<Note>(&nodes[1]);
            pid.tell(&nodes[1], Introduce { to, number }).await.unwrap();
        }
        for (target, number) in [(far, 5), (near, 6)] {
            eventually("the note arrives", || async {
                target.send(&nodes[1], Notes).await.unwrap() == [number]
            })
            .await;
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_address_decoded_outside_of_a_node_says_so() {
    run(async {
        let net = MemoryNet::new(5);
        let nodes = chain(&net, 1).await;
        let pid = notebook(&nodes[0]);
        let bytes = rmp_serde::to_vec(&pid.recipient::<Note>(&nodes[0])).unwrap();
        let loose: RegionRecipient<Note> = rmp_serde::from_slice(&bytes).unwrap();
        assert!(matches!(loose.try_send(Note(1)), Err(SendError::Unbound(Note(1)))));
        loose.bind(&nodes[0]).try_send(Note(1)).unwrap();
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [1]);
        stop(&nodes).await;
    });
}

#[test]
fn names_are_found_from_everywhere_and_die_with_their_actor() {
    run(async {
        let net = MemoryNet::new(6);
        let nodes = chain(&net, 3).await;
        let pid = notebook(&nodes[0]);
        assert_eq!(nodes[2].whereis("root/notes").await.unwrap(), pid);
        assert_eq!(nodes[2].whereis("1/notes").await.unwrap(), pid);
        assert!(matches!(nodes[2].whereis("root/other").await, Err(LookupError::NotFound { .. })));
        assert!(matches!(
            nodes[2].whereis("mars/notes").await,
            Err(LookupError::UnknownRegion { .. })
        ));
        assert!(matches!(nodes[2].whereis("root/").await, Err(LookupError::Malformed { .. })));
        assert!(
            matches!(nodes[2].whereis("notes").await, Err(LookupError::NotFound { .. })),
            "a name alone is one of this node"
        );
        assert_eq!(nodes[0].whereis("notes").await.unwrap(), pid);
        pid.tell(&nodes[2], Crash("the end".into())).await.unwrap();
        eventually("the name is free", || async {
            matches!(nodes[2].whereis("root/notes").await, Err(LookupError::NotFound { .. }))
        })
        .await;
        stop(&nodes).await;
    });
}

struct Plain;

impl Actor for Plain {
    type Context = actix::Context<Self>;
}

impl Handler<Unlisted> for Plain {
    type Result = u32;

    fn handle(&mut self, _: Unlisted, _: &mut actix::Context<Self>) -> u32 {
        42
    }
}

#[actix::test]
async fn a_plain_actix_actor_can_be_exported() {
    let net = MemoryNet::new(7);
    let nodes = chain(&net, 2).await;
    let plain = Plain.start();
    let pid = nodes[1].export(&plain).handles::<Unlisted>().publish().unwrap();
    assert_eq!(pid.send(&nodes[0], Unlisted).await, Ok(42));
    stop(&nodes).await;
}

#[test]
fn a_node_starts_from_a_plain_main_and_answers_any_executor() {
    let net = MemoryNet::new(8);
    let node = root(&net).start_blocking().unwrap();
    let pid = notebook(&node);
    // No tokio here: a bare executor drives the futures.
    let notes = futures_util::future::FutureExt::now_or_never(async {});
    assert!(notes.is_some());
    let answer = futures_executor(async {
        pid.tell(&node, Note(1)).await.unwrap();
        pid.send(&node, Notes).await.unwrap()
    });
    assert_eq!(answer, [1]);
    futures_executor(node.stop());
}

/// The smallest executor: parks the thread between polls.
fn futures_executor<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn many_actors_can_be_told_from_many_threads_and_none_is_lost() {
    run(async {
        let net = MemoryNet::new(9);
        let nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[1]);
        let senders: Vec<_> = (0..4_u64)
            .map(|thread| {
                let node: Node = nodes[0].clone();
                std::thread::spawn(move || {
                    for n in 0..5_000 {
                        let mut note = Note(thread * 10_000 + n);
                        while let Err(error) = pid.try_send(&node, note) {
                            assert!(matches!(error, SendError::Full(_)), "{error}");
                            note = error.into_message();
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            tokio::task::spawn_blocking(move || sender.join().unwrap()).await.unwrap();
        }
        eventually("all have come", || async {
            pid.send(&nodes[0], Notes).await.unwrap().len() == 20_000
        })
        .await;
        let notes = pid.send(&nodes[0], Notes).await.unwrap();
        for thread in 0..4 {
            let of_thread: Vec<u64> =
                notes.iter().copied().filter(|n| n / 10_000 == thread).collect();
            assert!(of_thread.is_sorted(), "each sender's messages stay in order");
            assert_eq!(of_thread.len(), 5_000);
        }
        stop(&nodes).await;
    });
}
