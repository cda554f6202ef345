//! Fail-over: suspicion in silence, hold-down, repair at relays, planned drain.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fedist_actors::{Node, NodeStatus, PidSend};
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::{
    emulator::{Emulator, LinkProfile},
    link::LinkLimits,
    memory::MemoryNet,
};

use crate::support::*;

fn first_hop(from: &Node, to: u16) -> RegionId {
    from.view().routes.get(id(to)).and_then(|route| route.next_hop()).unwrap()
}

async fn counter(node: &Node, name: &str) -> u64 {
    node.status().await.unwrap().counters.get(name).copied().unwrap_or(0)
}

fn link_to(status: &NodeStatus, peer: RegionId) -> Option<&fedist_actors::LinkStatus> {
    status.links.iter().find(|link| link.peer == peer)
}

/// Tells numbers one after the other until `done`, and gives back how many.
async fn tell_until(from: &Node, to: RegionPid, done: &AtomicBool) -> u64 {
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        for _ in 0..10 {
            to.tell(from, Note(number)).await.unwrap();
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    number
}

#[test]
fn a_silent_link_is_left_before_anybody_is_told() {
    run(async {
        let net = MemoryNet::new(50);
        let nodes = diamond(&net).await;
        let source = &nodes[3];
        let pid = notebook(&nodes[4]);
        pid.send(source, Notes).await.unwrap();
        let done = AtomicBool::new(false);
        let outage = async {
            let first = first_hop(source, 5);
            let told = counter(source, "own_links_changed").await;
            let left = counter(source, "suspects_left").await;
            net.cut(source.region(), first);
            // Both are counted in the same moment on the hub's thread, and the news that the link is gone comes later.
            eventually("the suspect is left", || async {
                let status = source.status().await.unwrap();
                let count = |name: &str| status.counters.get(name).copied().unwrap_or(0);
                if count("suspects_left") > left && link_to(&status, first).is_some() {
                    assert_eq!(count("own_links_changed"), told, "in silence");
                }
                count("suspects_left") > left
            })
            .await;
            eventually("it is given up", || async {
                link_to(&source.status().await.unwrap(), first).is_none()
            })
            .await;
            assert_eq!(counter(source, "own_links_changed").await, told + 1, "told once");
            net.heal(source.region(), first);
            done.store(true, Ordering::Relaxed);
        };
        let (count, ()) = tokio::join!(tell_until(source, pid, &done), outage);
        arrives_in_order(source, pid, count).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_cut_link_with_traffic_and_an_idle_one_are_both_left_and_nothing_is_lost() {
    run(async {
        let net = MemoryNet::new(51);
        let nodes = diamond(&net).await;
        let source = &nodes[3];
        let pid = notebook(&nodes[4]);
        let done = AtomicBool::new(false);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let first = first_hop(source, 5);
            net.cut(source.region(), first);
            let begun = Instant::now();
            eventually("traffic takes the other path", || async { first_hop(source, 5) != first })
                .await;
            println!("with traffic: other path after {:?}", begun.elapsed());
            done.store(true, Ordering::Relaxed);
            first
        };
        let (count, first) = tokio::join!(tell_until(source, pid, &done), cut);
        arrives_in_order(source, pid, count).await;
        net.heal(source.region(), first);
        eventually("both ends announce the link", || async {
            let announced = |status: NodeStatus, peer| {
                link_to(&status, peer).is_some_and(|link| link.announced)
            };
            let relay = nodes.iter().find(|node| node.region() == first).unwrap();
            announced(source.status().await.unwrap(), first)
                && announced(relay.status().await.unwrap(), source.region())
        })
        .await;
        // The news must have come as well: the way back to the first relay is the direct one again.
        eventually("the link is in use", || async { first_hop(source, first.get()) == first })
            .await;
        // Nobody sends anything now.
        let first = first_hop(source, 5);
        net.cut(source.region(), first);
        let begun = Instant::now();
        eventually("an idle link is left as well", || async { first_hop(source, 5) != first })
            .await;
        println!("idle: other path after {:?}", begun.elapsed());
        pid.tell(source, Note(count)).await.unwrap();
        arrives_in_order(source, pid, count + 1).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_region_is_unreachable_only_when_no_neighbour_has_a_link_to_it() {
    run(async {
        let net = MemoryNet::new(52);
        let nodes = diamond(&net).await;
        let reachable = || async {
            let status = nodes[0].status().await.unwrap();
            status.regions.iter().any(|region| region.id == id(5) && region.reachable)
        };
        net.cut(id(2), id(5));
        eventually("region 2 has lost its link", || async {
            link_to(&nodes[1].status().await.unwrap(), id(5)).is_none()
        })
        .await;
        eventually("it is reached over 3", || async {
            nodes[0].view().routes.get(id(5)).is_some_and(|route| route.next_hop() == Some(id(3)))
        })
        .await;
        assert!(reachable().await);
        net.cut(id(3), id(5));
        eventually("it is not reachable any more", || async { !reachable().await }).await;
        net.heal(id(2), id(5));
        eventually("it is reachable again", reachable).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_relay_that_lost_the_next_link_repairs_the_frames() {
    run(async {
        let net = MemoryNet::new(53);
        let nodes = diamond(&net).await;
        let source = &nodes[3];
        let pid = notebook(&nodes[4]);
        let done = AtomicBool::new(false);
        let cut =
            async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let relay = first_hop(source, 5);
                net.cut(relay, id(5));
                eventually("another way is found", || async {
                    source.view().routes.get(id(5)).is_some_and(|route| {
                        route.hops.windows(2).all(|link| link != [relay, id(5)])
                    })
                })
                .await;
                done.store(true, Ordering::Relaxed);
                relay
            };
        let (count, relay) = tokio::join!(tell_until(source, pid, &done), cut);
        arrives_in_order(source, pid, count).await;
        let relay = nodes.iter().find(|node| node.region() == relay).unwrap();
        assert!(counter(relay, "frames_repaired").await > 0);
        stop(&nodes).await;
    });
}

#[test]
fn a_relay_without_another_way_tells_the_origin_which_takes_one() {
    run(async {
        let net = MemoryNet::new(54);
        net.default_latency(Duration::from_millis(2));
        let source = root(&net).start().await.unwrap();
        let left = below(&net, 1, 2).start().await.unwrap();
        let right = below(&net, 1, 3).start().await.unwrap();
        let target = below(&net, 2, 4).link(id(3)).start().await.unwrap();
        let nodes = [source, left, right, target];
        routed(&nodes).await;
        let pid = notebook(&nodes[3]);
        let done = AtomicBool::new(false);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let relay = first_hop(&nodes[0], 4);
            net.cut(relay, id(4));
            eventually("the other relay is taken", || async { first_hop(&nodes[0], 4) != relay })
                .await;
            done.store(true, Ordering::Relaxed);
            relay
        };
        let (count, relay) = tokio::join!(tell_until(&nodes[0], pid, &done), cut);
        arrives_in_order(&nodes[0], pid, count).await;
        let relay = nodes.iter().find(|node| node.region() == relay).unwrap();
        assert!(counter(relay, "link_down_notices_sent").await > 0);
        eventually("the notice has come", || async {
            counter(&nodes[0], "link_down_notices_heeded").await
                + counter(&nodes[0], "link_down_notices_ignored").await
                > 0
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_flapping_link_is_announced_a_few_times_only() {
    run(async {
        let net = MemoryNet::new(55);
        net.default_latency(Duration::from_millis(1));
        let first = root(&net).start().await.unwrap();
        let second = below(&net, 1, 2).start().await.unwrap();
        let third = below(&net, 1, 3).link(id(2)).start().await.unwrap();
        let nodes = [first, second, third];
        routed(&nodes).await;
        let is_up = || async { link_to(&nodes[1].status().await.unwrap(), id(3)).is_some() };
        eventually("the link is there", is_up).await;
        let before = counter(&nodes[1], "own_links_changed").await;
        let begun = Instant::now();
        let mut flaps = 0;
        while begun.elapsed() < Duration::from_secs(5) {
            net.cut(id(2), id(3));
            while is_up().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            net.heal(id(2), id(3));
            flaps += 1;
            while !is_up().await && begun.elapsed() < Duration::from_secs(5) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let changes = counter(&nodes[1], "own_links_changed").await - before;
        // Held down for 0, 1, 2 and 4 s: four times up and down at most, whatever the machine's speed.
        assert!(changes <= 9, "{changes} announcements for {flaps} flaps");
        assert!(counter(&nodes[1], "links_held_down").await > 0);
        assert!(nodes[1].view().routes.get(id(3)).is_some(), "the way around it is used meanwhile");
        stop(&nodes).await;
    });
}

#[test]
fn hubs_that_are_killed_in_turn_under_load_lose_double_and_reorder_nothing() {
    run(async {
        let net = MemoryNet::new(56);
        let mut nodes = diamond(&net).await;
        let (source, target) = (nodes[3].clone(), nodes[4].clone());
        let pid = notebook(&target);
        let done = AtomicBool::new(false);
        let kills = async {
            for round in 0..2 {
                for hub in [2_u16, 3] {
                    let place = usize::from(hub - 1);
                    net.crash(id(hub));
                    nodes[place].stop().await;
                    nodes[place] = below(&net, 1, hub).boot(round + 2).start().await.unwrap();
                    let other = id(5 - hub);
                    eventually("both ends have both links again", || async {
                        let mut all = true;
                        for end in [&source, &target] {
                            let status = end.status().await.unwrap();
                            all &= [id(hub), other].iter().all(|peer| {
                                link_to(&status, *peer).is_some_and(|link| link.announced)
                            });
                        }
                        all
                    })
                    .await;
                }
            }
            done.store(true, Ordering::Relaxed);
        };
        let (count, ()) = tokio::join!(tell_until(&source, pid, &done), kills);
        arrives_in_order(&source, pid, count).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_drained_relay_is_passed_by_nobody_and_nothing_is_lost() {
    run(async {
        let net = MemoryNet::new(57);
        let nodes = diamond(&net).await;
        let source = &nodes[3];
        let pid = notebook(&nodes[4]);
        let done = AtomicBool::new(false);
        let drain = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let relay = first_hop(source, 5);
            let relay = nodes.iter().find(|node| node.region() == relay).unwrap();
            assert!(relay.drain(Duration::from_secs(5)).await, "moved in time");
            assert_ne!(first_hop(source, 5), relay.region());
            let forwarded = counter(relay, "frames_forwarded").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(counter(relay, "frames_forwarded").await, forwarded, "no transit any more");
            assert!(relay.view().routes.get(id(5)).is_some(), "it still takes part itself");
            net.crash(relay.region());
            tokio::time::sleep(Duration::from_millis(100)).await;
            done.store(true, Ordering::Relaxed);
        };
        let (count, ()) = tokio::join!(tell_until(source, pid, &done), drain);
        arrives_in_order(source, pid, count).await;
        let status = source.status().await.unwrap();
        let session = status.sessions.iter().find(|session| session.peer == id(5)).unwrap();
        println!("sent again during the drain: {} frames", session.retransmitted);
        stop(&nodes).await;
    });
}

#[test]
fn a_relay_that_stops_under_load_drains_first() {
    run(async {
        let net = MemoryNet::new(58);
        let nodes = diamond(&net).await;
        let source = &nodes[3];
        let pid = notebook(&nodes[4]);
        let done = AtomicBool::new(false);
        let leave = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let relay = first_hop(source, 5);
            nodes.iter().find(|node| node.region() == relay).unwrap().stop().await;
            assert_ne!(first_hop(source, 5), relay);
            done.store(true, Ordering::Relaxed);
        };
        let (count, ()) = tokio::join!(tell_until(source, pid, &done), leave);
        arrives_in_order(source, pid, count).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_drain_can_be_taken_back_and_one_without_neighbours_is_done_at_once() {
    run(async {
        let net = MemoryNet::new(59);
        let nodes = chain(&net, 3).await;
        assert!(!nodes[1].undrain().await, "it was not drained");
        assert!(nodes[1].drain(Duration::from_secs(5)).await);
        eventually("nobody passes it", || async { nodes[0].view().routes.get(id(3)).is_none() })
            .await;
        assert!(nodes[0].view().routes.get(id(2)).is_some(), "it is still reached");
        assert!(nodes[1].undrain().await);
        routed(&nodes).await;
        stop(&nodes).await;
        assert!(!nodes[1].drain(Duration::from_secs(5)).await, "a stopped one says so");
        let alone = root(&MemoryNet::new(1)).start().await.unwrap();
        assert!(alone.drain(Duration::ZERO).await);
        alone.stop().await;
    });
}

#[test]
fn a_relay_in_front_of_a_slow_link_holds_its_feeders_back_before_it_drops() {
    run(async {
        let net = MemoryNet::new(60);
        net.set_limits(LinkLimits { message_bytes: 3 << 20, ..LinkLimits::default() });
        // What one class may have under way in the memory fabric fills this link for 150 ms at a time.
        net.set_latency(id(1), id(2), Duration::from_millis(150));
        let relay = root(&net).start().await.unwrap();
        let target = below(&net, 1, 2).start().await.unwrap();
        let mut nodes = vec![relay, target];
        for number in 3..=6 {
            nodes.push(below(&net, 1, number).start().await.unwrap());
        }
        routed(&nodes).await;
        let pid = notebook(&nodes[1]);
        let feed = |source: Node| async move {
            for _ in 0..150 {
                pid.tell(&source, Blob(vec![7; 50_000])).await.unwrap();
            }
        };
        let feeds = nodes[2..].iter().map(|source| feed(source.clone()));
        futures_util::future::join_all(feeds).await;
        for source in &nodes[2..] {
            eventually("everything has come", || async {
                let status = source.status().await.unwrap();
                status
                    .sessions
                    .iter()
                    .any(|session| session.peer == id(2) && session.delivered >= 150)
            })
            .await;
        }
        assert!(counter(&nodes[0], "links_crowded").await > 0, "it was held back");
        // Without holding back it drops some 370. A pause is bounded, so on a starved machine some go.
        let dropped = counter(&nodes[0], "frames_dropped_link_full").await;
        assert!(dropped < 250, "{dropped} frames dropped");
        stop(&nodes).await;
    });
}

/// The longest time between two notes, and the notes.
#[derive(Default)]
struct Gaps {
    notes: Vec<u64>,
    last: Option<Instant>,
    longest: Duration,
}

impl actix::Actor for Gaps {
    type Context = fedist_actors::Context<Self>;
}

impl actix::Handler<Note> for Gaps {
    type Result = ();

    fn handle(&mut self, Note(number): Note, _: &mut Self::Context) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
        self.notes.push(number);
    }
}

impl actix::Handler<Notes> for Gaps {
    type Result = actix::MessageResult<Notes>;

    fn handle(&mut self, _: Notes, _: &mut Self::Context) -> Self::Result {
        println!("longest silence at the receiver: {:?}", self.longest);
        actix::MessageResult(self.notes.clone())
    }
}

#[test]
fn over_quic_a_cut_link_on_the_way_delays_messages_and_loses_none() {
    run(async {
        let wan = Emulator::start(61).unwrap();
        for (a, b) in [(1, 2), (1, 3), (2, 4), (3, 4)] {
            // 2 has the faster way.
            let delay = Duration::from_millis(if a == 3 || b == 3 { 24 } else { 20 });
            wan.set(id(a), id(b), LinkProfile::with_delay(delay));
            wan.set(id(b), id(a), LinkProfile::with_delay(delay));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |number: u16| dir.path().join(number.to_string());
        let door = |from: u16, to: &Node| {
            let target = to.local_address().parse().unwrap();
            wan.link(id(from), to.region(), target).unwrap().to_string()
        };
        let root = Node::builder(id(1)).data_dir(path(1)).nearest(0).start().await.unwrap();
        let mut nodes = vec![root];
        for (number, parent, others) in [(2, 0, &[][..]), (3, 0, &[]), (4, 1, &[2])] {
            let parent: &Node = &nodes[parent];
            let mut builder = Node::builder(id(number))
                .parent(parent.region())
                .join(door(number, parent))
                .dial(parent.region(), door(number, parent))
                .ca_dir(path(1))
                .data_dir(path(number))
                .nearest(0);
            for other in others {
                let other: &Node = &nodes[*other];
                builder = builder.dial(other.region(), door(number, other)).link(other.region());
            }
            nodes.push(builder.start().await.unwrap());
        }
        routed(&nodes).await;
        eventually("the faster way", || async { first_hop(&nodes[0], 4) == id(2) }).await;
        let gaps = nodes[3].spawn(Gaps::default()).unwrap();
        let pid = nodes[3].export(&gaps).handles::<Note>().handles::<Notes>().publish().unwrap();
        let done = AtomicBool::new(false);
        let cut = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            wan.cut(id(1), id(2));
            eventually("the other way", || async { first_hop(&nodes[0], 4) == id(3) }).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            done.store(true, Ordering::Relaxed);
        };
        let (count, ()) = tokio::join!(tell_until(&nodes[0], pid, &done), cut);
        arrives_in_order(&nodes[0], pid, count).await;
        stop(&nodes).await;
    });
}
