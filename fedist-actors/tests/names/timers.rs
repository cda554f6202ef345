//! Timers of the node: later, again and again, taken back.

use std::time::{Duration, Instant};

use actix::{Actor, Handler};
use fedist_actors::{Context, DropReason, Message, Node, PidSend, TimerRef};
use fedist_registry::RegionPid;
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A note that can be sent again and again.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.tick", version = 1, crate = "fedist_actors")]
struct Tick;

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.ticks", version = 1, crate = "fedist_actors")]
struct Ticks;

#[derive(Default)]
struct Clock(u64);

impl Actor for Clock {
    type Context = Context<Self>;
}

impl Handler<Tick> for Clock {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

impl Handler<Ticks> for Clock {
    type Result = u64;

    fn handle(&mut self, _: Ticks, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

fn clock(node: &Node) -> RegionPid {
    let addr = node.spawn(Clock::default()).unwrap();
    node.export(&addr).handles::<Tick>().handles::<Ticks>().publish().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// As Erlang's `erlang:send_after/3` and `erlang:cancel_timer/1`, whose answer is the time left.
#[test]
fn a_timer_sends_once_after_its_delay_and_can_be_taken_back_before() {
    run(async {
        let net = MemoryNet::new(121);
        let nodes = chain(&net, 4).await;
        let near = &nodes[0];
        for target in [0, 1, 3] {
            let pid = notebook(&nodes[target]);
            let begun = Instant::now();
            let never = near.send_after(ms(60_000), pid, Note(9)).unwrap();
            near.send_after(ms(60), pid, Note(2)).unwrap();
            near.send_after(ms(30), pid, Note(1)).unwrap();
            let left = near.cancel_timer(never).unwrap();
            assert!(left > ms(50_000) && left <= ms(60_000), "{left:?}");
            assert_eq!(near.cancel_timer(never), None);
            eventually("both arrive, the sooner one first", || async {
                pid.send(near, Notes).await.unwrap() == [1, 2]
            })
            .await;
            assert!(begun.elapsed() >= ms(60));
            nodes[target].unregister("notes");
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_interval_sends_until_it_is_taken_back() {
    run(async {
        let net = MemoryNet::new(122);
        let nodes = chain(&net, 4).await;
        for target in [0, 1, 3] {
            let pid = clock(&nodes[target]);
            let near = nodes[0].clone();
            // From a thread that has nothing to do with the node.
            let set = std::thread::spawn(move || near.send_interval(ms(10), pid, Tick).unwrap());
            let timer: TimerRef = set.join().unwrap();
            eventually("five ticks", || async { pid.send(&nodes[0], Ticks).await.unwrap() >= 5 })
                .await;
            assert!(nodes[0].cancel_timer(timer).is_some_and(|left| left <= ms(10)));
            // What is under way arrives; after it nothing more.
            pid.send(&nodes[0], Ticks).await.unwrap();
            let ticks = pid.send(&nodes[0], Ticks).await.unwrap();
            tokio::time::sleep(ms(60)).await;
            assert_eq!(pid.send(&nodes[0], Ticks).await.unwrap(), ticks);
        }
        stop(&nodes).await;
    });
}

/// As Erlang's `timer:send_interval/3`: the timer is removed when the receiver ends.
#[test]
fn an_interval_ends_with_its_receiver() {
    run(async {
        let net = MemoryNet::new(123);
        let nodes = chain(&net, 4).await;
        for target in [0, 1, 3] {
            let pid = clock(&nodes[target]);
            let timer = nodes[0].send_interval(ms(5), pid, Tick).unwrap();
            eventually("a tick", || async { pid.send(&nodes[0], Ticks).await.unwrap() > 0 }).await;
            nodes[target].kill(pid);
            eventually("no more dead letters", || async {
                let before = nodes[0].dropped();
                tokio::time::sleep(ms(30)).await;
                nodes[0].dropped() == before
            })
            .await;
            assert_eq!(nodes[0].cancel_timer(timer), None, "target {target}");
            let dead = nodes[0].send_interval(ms(5), pid, Tick).unwrap();
            eventually("an interval to the dead is over at once", || async {
                nodes[0].cancel_timer(dead).is_none()
            })
            .await;
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_timer_to_a_dead_actor_ends_as_a_dead_letter() {
    run(async {
        let net = MemoryNet::new(124);
        let nodes = chain(&net, 2).await;
        for target in [0, 1] {
            let pid = clock(&nodes[target]);
            nodes[target].kill(pid);
            let before = nodes[0].dropped().get(&DropReason::NoActor).copied().unwrap_or(0);
            nodes[0].send_after(ms(20), pid, Tick).unwrap();
            eventually("it is counted", || async {
                nodes[0].dropped().get(&DropReason::NoActor) == Some(&(before + 1))
            })
            .await;
        }
        stop(&nodes).await;
        assert!(nodes[0].send_after(ms(1), clock_pid(&nodes[0]), Tick).is_err(), "it is stopped");
    });
}

fn clock_pid(node: &Node) -> RegionPid {
    RegionPid::new(node.region(), fedist_registry::LocalId::new(999).unwrap())
}

/// A message that cannot be copied.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.fragile", version = 1, crate = "fedist_actors")]
struct Fragile;

impl Clone for Fragile {
    fn clone(&self) -> Self {
        panic!("not to be copied");
    }
}

#[test]
fn a_message_that_panics_when_copied_costs_its_own_timer_only() {
    run(async {
        let net = MemoryNet::new(125);
        let nodes = chain(&net, 1).await;
        let pid = clock(&nodes[0]);
        let fragile = nodes[0].send_interval(ms(5), pid, Fragile).unwrap();
        let timer = nodes[0].send_interval(ms(5), pid, Tick).unwrap();
        eventually("the other ticks", || async { pid.send(&nodes[0], Ticks).await.unwrap() > 3 })
            .await;
        assert_eq!(nodes[0].cancel_timer(fragile), None);
        assert!(nodes[0].cancel_timer(timer).is_some());
        stop(&nodes).await;
    });
}
