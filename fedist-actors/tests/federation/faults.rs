//! Loss, cuts and dying relays under traffic: nothing lost, nothing twice, everything in order.

use std::time::Duration;

use fedist_actors::PidSend;
use fedist_transport::memory::MemoryNet;

use crate::support::*;

#[test]
fn frames_lost_on_every_link_are_sent_again() {
    run(async {
        let net = MemoryNet::new(30);
        let nodes = diamond(&net).await;
        for (a, b) in [(1, 2), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5)] {
            net.set_loss(id(a), id(b), 0.05);
            net.set_loss(id(b), id(a), 0.05);
        }
        let pid = notebook(&nodes[4]);
        send_numbered(&nodes[3], pid, 3_000, |_| {}).await;
        arrives_in_order(&nodes[3], pid, 3_000).await;
        let lossy = nodes[3].status().await.unwrap();
        let session = lossy.sessions.iter().find(|session| session.peer == id(5)).unwrap();
        assert!(session.retransmitted > 0, "the loss was real");
        assert_eq!(
            session.accepted,
            session.delivered + session.dropped + session.in_flight,
            "C10"
        );
        stop(&nodes).await;
    });
}

#[test]
fn a_cut_in_the_middle_of_traffic_moves_it_to_another_route() {
    run(async {
        let net = MemoryNet::new(31);
        let nodes = diamond(&net).await;
        let pid = notebook(&nodes[4]);
        let mut cut = None;
        send_numbered(&nodes[3], pid, 4_000, |number| {
            if number == 2_000 {
                let first = nodes[3].view().routes.get(id(5)).unwrap().next_hop().unwrap();
                net.isolate(first);
                cut = Some(first);
            }
        })
        .await;
        arrives_in_order(&nodes[3], pid, 4_000).await;
        let now = nodes[3].view().routes.get(id(5)).unwrap().next_hop();
        assert_ne!(now, cut, "the route avoids the region that was cut off");
        stop(&nodes).await;
    });
}

#[test]
fn relays_that_panic_under_traffic_are_restarted_and_lose_nothing() {
    run(async {
        let net = MemoryNet::new(32);
        let nodes = diamond(&net).await;
        let pid = notebook(&nodes[4]);
        let (source, hubs) = (nodes[3].clone(), [nodes[1].clone(), nodes[2].clone()]);
        let traffic = async {
            send_numbered(&source, pid, 4_000, |_| {}).await;
        };
        let crashes = async {
            let mut crashed = 0;
            for round in 0..20 {
                for hub in &hubs {
                    crashed += u32::from(hub.danger_crash_relay(id(4 + round % 2)).await);
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            crashed
        };
        let ((), crashed) = tokio::join!(traffic, crashes);
        assert!(crashed > 0, "relays did crash");
        arrives_in_order(&nodes[3], pid, 4_000).await;
        let status = nodes[1].status().await.unwrap();
        assert!(status.counters.get("relays_panicked").is_some_and(|count| *count > 0));
        eventually("the links are back", || async {
            nodes[3].status().await.unwrap().links.len() == 2
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_hub_that_panics_under_traffic_goes_on_where_it_was() {
    run(async {
        let net = MemoryNet::new(36);
        let nodes = diamond(&net).await;
        let pid = notebook(&nodes[4]);
        let source = nodes[3].clone();
        let traffic = send_numbered(&source, pid, 4_000, |_| {});
        let crashes = async {
            for _ in 0..5 {
                for node in &nodes {
                    // It may still be away from the last time.
                    eventually("a hub to crash", || node.danger_crash_hub()).await;
                }
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        };
        tokio::join!(traffic, crashes);
        arrives_in_order(&nodes[3], pid, 4_000).await;
        for node in &nodes {
            let status = node.status().await.unwrap();
            assert!(status.counters.get("hub_restarts").is_some_and(|count| *count > 0));
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_outage_shorter_than_the_session_timeout_loses_nothing() {
    run(async {
        let net = MemoryNet::new(33);
        let nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[1]);
        pid.tell(&nodes[0], Note(0)).await.unwrap();
        eventually("the first has come", || async {
            pid.send(&nodes[0], Notes).await.is_ok_and(|notes| notes.len() == 1)
        })
        .await;
        net.cut(id(1), id(2));
        for number in 1..1_000 {
            pid.tell(&nodes[0], Note(number)).await.unwrap();
        }
        eventually("the link is seen as down", || async {
            nodes[0].status().await.unwrap().links.is_empty()
        })
        .await;
        net.heal(id(1), id(2));
        arrives_in_order(&nodes[0], pid, 1_000).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_restarts_ends_its_old_session_and_starts_a_new_one() {
    run(async {
        let net = MemoryNet::new(34);
        let first = root(&net).start().await.unwrap();
        let second = below(&net, 1, 2).start().await.unwrap();
        routed(&[first.clone(), second.clone()]).await;
        let old = notebook(&second);
        old.tell(&first, Note(1)).await.unwrap();
        assert_eq!(old.send(&first, Notes).await.unwrap(), [1]);
        net.crash(id(2));
        let again = below(&net, 1, 2).boot(2).start().await.unwrap();
        let new = notebook(&again);
        eventually("the new life answers", || async {
            new.send(&first, Notes).deadline(Duration::from_secs(1)).await.is_ok()
        })
        .await;
        new.tell(&first, Note(2)).await.unwrap();
        assert_eq!(new.send(&first, Notes).await.unwrap(), [2]);
        stop(&[first, again]).await;
    });
}

#[test]
fn a_slow_actor_pauses_its_senders_and_nobody_else_and_loses_nothing() {
    run(async {
        let net = MemoryNet::new(35);
        let near = root(&net).start().await.unwrap();
        let far = below(&net, 1, 2).mailbox_capacity(64).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        let slow = nodes[1].spawn(Slow::default()).unwrap();
        let slow = nodes[1].export(&slow).handles::<Note>().handles::<Notes>().publish().unwrap();
        let fast = notebook(&nodes[1]);
        let mut refused = 0;
        for number in 0..5_000 {
            if slow.try_send(&nodes[0], Note(number)).is_err() {
                refused += 1;
                slow.tell(&nodes[0], Note(number)).await.unwrap();
            }
            if number % 100 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                // Others in the same region answer all the while.
                assert!(fast.send(&nodes[0], Notes).await.is_ok());
            }
        }
        assert!(refused > 0, "the senders were paused");
        arrives_in_order(&nodes[0], slow, 5_000).await;
        let dropped = nodes[1].dropped();
        assert!(dropped.is_empty(), "{dropped:?}");
        let status = nodes[1].status().await.unwrap();
        assert!(status.counters.get("mailboxes_full").is_some_and(|count| *count > 0));
        stop(&nodes).await;
    });
}

/// Takes a while for each note.
#[derive(Default)]
struct Slow(Vec<u64>);

impl actix::Actor for Slow {
    type Context = fedist_actors::Context<Self>;
}

impl actix::Handler<Note> for Slow {
    type Result = ();

    fn handle(&mut self, Note(number): Note, ctx: &mut Self::Context) {
        use actix::{AsyncContext as _, WrapFuture as _};
        self.0.push(number);
        // Every message makes the mailbox wait, not the thread.
        if number % 10 == 0 {
            let pause = tokio::time::sleep(std::time::Duration::from_millis(1));
            ctx.wait(pause.into_actor(self));
        }
    }
}

impl actix::Handler<Notes> for Slow {
    type Result = actix::MessageResult<Notes>;

    fn handle(&mut self, _: Notes, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.0.clone())
    }
}

#[test]
fn the_first_messages_to_a_region_that_came_back_are_not_lost_with_its_former_life() {
    run(async {
        let net = MemoryNet::new(36);
        let mut nodes = chain(&net, 3).await;
        let old = notebook(&nodes[2]);
        send_numbered(&nodes[0], old, 10, |_| {}).await;
        arrives_in_order(&nodes[0], old, 10).await;
        net.crash(id(3));
        nodes.pop();
        // A port for the new life; the former one's node is gone with its hub.
        let again = below(&net, 2, 3).boot(2).start().await.unwrap();
        let pid = notebook(&again);
        nodes.push(again);
        eventually("the link state of the new life is here", || async {
            let status = nodes[0].status().await.unwrap();
            status.counters.contains_key("sessions_ended")
        })
        .await;
        routed(&nodes).await;
        send_numbered(&nodes[0], pid, 100, |_| {}).await;
        arrives_in_order(&nodes[0], pid, 100).await;
        let dropped = nodes[0].status().await.unwrap().dropped;
        assert!(dropped.is_empty(), "{dropped:?}");
        stop(&nodes).await;
    });
}
