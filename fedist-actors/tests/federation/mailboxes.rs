//! Mailboxes of actors: order, bound and end, with senders on other threads and by both kinds of address.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Handler, MessageResult};
use fedist_actors::{AskError, Context, LocalAddr, Message, PidSend, RegionAddr, SendError};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::*;

#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.numbered", version = 1, crate = "fedist_actors")]
struct Numbered {
    sender: usize,
    number: u64,
}

/// How many have come, each behind the one before of its sender?
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Vec<u64>")]
#[wire(name = "test.arrived", version = 1, crate = "fedist_actors")]
struct Arrived;

#[derive(Default)]
struct Clerk(Vec<u64>);

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl Handler<Numbered> for Clerk {
    type Result = ();

    fn handle(&mut self, Numbered { sender, number }: Numbered, _: &mut Context<Self>) {
        self.0.resize(self.0.len().max(sender + 1), 0);
        assert_eq!(self.0[sender], number, "lost, doubled or out of order");
        self.0[sender] += 1;
    }
}

impl Handler<Arrived> for Clerk {
    type Result = MessageResult<Arrived>;

    fn handle(&mut self, _: Arrived, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.clone())
    }
}

#[test]
fn many_threads_fill_a_small_mailbox_and_nothing_is_lost_or_out_of_order() {
    run(async {
        for capacity in [1, 64, 4096] {
            let net = MemoryNet::new(911);
            let node = root(&net).mailbox_capacity(capacity).arbiters(1).start().await.unwrap();
            let clerk = node.spawn(Clerk::default()).unwrap().region_addr();
            std::thread::scope(|scope| {
                for sender in 0..4 {
                    let clerk = clerk.clone();
                    scope.spawn(move || {
                        for number in 0..EACH {
                            while let Err(error) = clerk.try_send(Numbered { sender, number }) {
                                assert!(matches!(error, SendError::Full(_)), "{error:?}");
                                std::thread::yield_now();
                            }
                        }
                    });
                }
            });
            assert_eq!(clerk.send(Arrived).await, Ok(vec![EACH; 4]));
            node.stop().await;
        }
    });
}

#[test]
fn one_sender_is_in_order_by_both_kinds_of_address() {
    run(async {
        let net = MemoryNet::new(912);
        let node = root(&net).arbiters(1).start().await.unwrap();
        for round in 0..50 {
            let local: LocalAddr<Clerk> = node.spawn(Clerk::default()).unwrap();
            let addr = local.region_addr();
            let sent = std::thread::scope(|scope| {
                // Another thread makes the first actix address at some moment.
                let other = local.clone();
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(round * 20));
                    assert!(other.connected());
                });
                for number in 0..EACH / 10 {
                    let message = Numbered { sender: 0, number };
                    match number {
                        n if n < EACH / 30 || n % 3 == 0 => addr.try_send(message).unwrap(),
                        _ => actix::Addr::clone(&local).do_send(message),
                    }
                }
                EACH / 10
            });
            assert_eq!(addr.send(Arrived).await, Ok(vec![sent]));
        }
        node.stop().await;
    });
}

/// Counts its end.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[wire(name = "test.treasure", version = 1, crate = "fedist_actors")]
struct Treasure {
    #[serde(skip)]
    _counted: Counted,
}

#[derive(Debug, Default)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Is never done with its first message.
struct Stuck(Vec<Treasure>);

impl Actor for Stuck {
    type Context = Context<Self>;
}

impl Handler<Treasure> for Stuck {
    type Result = ();

    fn handle(&mut self, treasure: Treasure, ctx: &mut Context<Self>) {
        self.0.push(treasure);
        let forever = actix::fut::wrap_future::<_, Self>(std::future::pending::<()>());
        actix::AsyncContext::wait(ctx, forever);
    }
}

#[test]
fn what_an_ended_actor_leaves_in_its_mailbox_is_dropped_once_and_asks_hear_of_it() {
    run(async {
        let net = MemoryNet::new(913);
        let node = root(&net).mailbox_capacity(100).arbiters(1).start().await.unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let treasure = || Treasure { _counted: Counted(Arc::clone(&dropped)) };
        let local = node.spawn(Stuck(Vec::new())).unwrap();
        let (pid, addr): (_, RegionAddr<Stuck>) = (local.pid(), local.region_addr());
        // 100 wait, and the first has been taken out.
        let accepted = AtomicUsize::new(0);
        eventually("the mailbox is full", || async {
            while addr.try_send(treasure()).is_ok() {
                accepted.fetch_add(1, Ordering::SeqCst);
            }
            accepted.load(Ordering::SeqCst) >= 101
        })
        .await;
        let accepted = accepted.into_inner();
        assert_eq!(accepted, 101);
        assert!(matches!(addr.try_send(treasure()), Err(SendError::Full(_))));
        let refused = dropped.load(Ordering::SeqCst);
        // Past the bound: it waits for an answer.
        let ask = tokio::spawn(addr.send(treasure()).into_future());
        node.kill(pid);
        assert_eq!(ask.await.unwrap(), Err(AskError::NoReply(pid)));
        eventually("all that waited is dropped", || async {
            dropped.load(Ordering::SeqCst) == refused + accepted + 1
        })
        .await;
        assert!(matches!(addr.try_send(treasure()), Err(SendError::NoActor(..))));
        assert_eq!(pid.send(&node, Notes).await, Err(AskError::NoActor(pid)));
        node.stop().await;
    });
}

/// A little more than half of them fit the default mailbox.
const EACH: u64 = 30_000;
