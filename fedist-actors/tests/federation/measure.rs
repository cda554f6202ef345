//! What a federation measures from its traffic: costs, how busy relays are, clocks; and what that costs when idle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fedist_actors::{Context, LinkStatus, Node, NodeStatus, PidSend};
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn link_of(node: &Node, peer: u16) -> Option<LinkStatus> {
    let status = node.status().await.unwrap();
    status.links.into_iter().find(|link| link.peer == id(peer))
}

fn both_ways(net: &MemoryNet, a: u16, b: u16, latency: Duration) {
    net.set_latency(id(a), id(b), latency);
    net.set_latency(id(b), id(a), latency);
}

/// A - B - D and A - C - D; A is region 1, B 2, C 3, D 4.
async fn diamond(net: &MemoryNet) -> Vec<Node> {
    let a = root(net).start().await.unwrap();
    let b = below(net, 1, 2).start().await.unwrap();
    let c = below(net, 1, 3).start().await.unwrap();
    let d = below(net, 2, 4).link(id(3)).start().await.unwrap();
    let nodes = vec![a, b, c, d];
    routed(&nodes).await;
    nodes
}

fn first_hop(node: &Node, to: u16) -> Option<RegionId> {
    node.view().routes.get(id(to)).and_then(|route| route.next_hop())
}

/// Messages both ways between two neighbours, until dropped.
struct Chatter(Vec<tokio::task::JoinHandle<()>>);

impl Chatter {
    fn between(pairs: &[(&Node, RegionPid)]) -> Chatter {
        let talk = |(node, to): &(&Node, RegionPid)| {
            let (node, to) = ((*node).clone(), *to);
            tokio::spawn(async move {
                for number in 0.. {
                    let _ = to.tell(&node, Note(number)).await;
                    tokio::time::sleep(ms(20)).await;
                }
            })
        };
        Chatter(pairs.iter().map(talk).collect())
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[test]
fn a_slower_link_moves_the_route_and_its_recovery_brings_it_back() {
    run(async {
        let net = MemoryNet::new(60);
        // The way around the diamond is long enough that the messages between A and B stay on their link, and measure it.
        both_ways(&net, 1, 2, ms(10));
        both_ways(&net, 2, 4, ms(30));
        both_ways(&net, 1, 3, ms(14));
        both_ways(&net, 3, 4, ms(30));
        let nodes = diamond(&net).await;
        eventually("the way over B", || async { first_hop(&nodes[0], 4) == Some(id(2)) }).await;
        let (near, far) = (notebook(&nodes[0]), notebook(&nodes[1]));
        let _traffic = Chatter::between(&[(&nodes[0], far), (&nodes[1], near)]);
        both_ways(&net, 1, 2, ms(100));
        eventually("the way over C", || async { first_hop(&nodes[0], 4) == Some(id(3)) }).await;
        both_ways(&net, 1, 2, ms(10));
        eventually("the way over B again", || async { first_hop(&nodes[0], 4) == Some(id(2)) })
            .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_link_that_shakes_a_little_keeps_its_route() {
    run(async {
        let net = MemoryNet::new(61);
        let mut random = fastrand::Rng::with_seed(61);
        both_ways(&net, 1, 2, ms(50));
        both_ways(&net, 2, 4, ms(5));
        both_ways(&net, 1, 3, ms(52));
        both_ways(&net, 3, 4, ms(5));
        let nodes = diamond(&net).await;
        let (near, far) = (notebook(&nodes[0]), notebook(&nodes[1]));
        let _traffic = Chatter::between(&[(&nodes[0], far), (&nodes[1], near)]);
        let (mut changes, mut before) = (0, first_hop(&nodes[0], 4));
        let begun = Instant::now();
        while begun.elapsed() < ms(4_000) {
            net.set_latency(id(1), id(2), ms(random.u64(45..=55)));
            net.set_latency(id(2), id(1), ms(random.u64(45..=55)));
            tokio::time::sleep(ms(20)).await;
            let now = first_hop(&nodes[0], 4);
            changes += u32::from(now != before);
            before = now;
        }
        assert!(changes <= 1, "{changes} changes within one window");
        stop(&nodes).await;
    });
}

/// Works without pause on the thread of its hub until it is told that it is enough.
struct Burner(Arc<AtomicBool>);

impl actix::Actor for Burner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        use actix::{AsyncContext as _, WrapFuture as _};
        let enough = Arc::clone(&self.0);
        let burn = async move {
            while !enough.load(Ordering::Relaxed) {
                let begun = Instant::now();
                while begun.elapsed() < ms(10) {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
        };
        ctx.spawn(burn.into_actor(self));
    }
}

#[test]
fn a_swamped_relay_loses_its_transit_although_its_round_trip_stays_and_gets_it_back() {
    run(async {
        let net = MemoryNet::new(62);
        net.default_latency(ms(5));
        both_ways(&net, 1, 3, ms(9));
        let nodes = diamond(&net).await;
        eventually("the way over B", || async { first_hop(&nodes[0], 4) == Some(id(2)) }).await;
        let enough = Arc::new(AtomicBool::new(false));
        nodes[1].spawn(Burner(Arc::clone(&enough))).unwrap();
        eventually("the way over C", || async { first_hop(&nodes[0], 4) == Some(id(3)) }).await;
        let swamped = nodes[1].status().await.unwrap();
        assert!(swamped.utilisation > 0.5, "{}", swamped.utilisation);
        enough.store(true, Ordering::Relaxed);
        eventually("the way over B again", || async { first_hop(&nodes[0], 4) == Some(id(2)) })
            .await;
        assert!(!nodes[1].status().await.unwrap().refuses_transit);
        stop(&nodes).await;
    });
}

#[test]
fn a_link_with_traffic_both_ways_is_never_probed_and_an_idle_one_rarely() {
    run(async {
        let net = MemoryNet::new(63);
        net.default_latency(ms(2));
        let nodes = chain(&net, 3).await;
        let (near, far) = (notebook(&nodes[0]), notebook(&nodes[1]));
        let _traffic = Chatter::between(&[(&nodes[0], far), (&nodes[1], near)]);
        // A fresh link is measured with probes for a moment.
        eventually("the links have settled", || async {
            let settled = |status: &NodeStatus| status.links.iter().all(|link| link.up_ms > 2_500);
            settled(&nodes[0].status().await.unwrap()) && settled(&nodes[2].status().await.unwrap())
        })
        .await;
        let probes =
            |status: &NodeStatus| -> u64 { status.links.iter().map(|link| link.probes_sent).sum() };
        let begun = Instant::now();
        let (busy, idle) = (nodes[0].status().await.unwrap(), nodes[2].status().await.unwrap());
        // However much the busy link shakes.
        let mut random = fastrand::Rng::with_seed(63);
        while begun.elapsed() < ms(3_000) {
            both_ways(&net, 1, 2, ms(random.u64(1..=12)));
            tokio::time::sleep(ms(20)).await;
        }
        let idle_after = nodes[2].status().await.unwrap();
        let busy_after = nodes[0].status().await.unwrap();
        assert_eq!(probes(&busy_after), probes(&busy), "the traffic measures");
        let (idle, idle_after) = (&idle.links[0], &idle_after.links[0]);
        assert_eq!((idle_after.probe_idle_ms, busy_after.links[0].probe_idle_ms), (15_000, 1_000));
        // One per interval at most, and one behind each frame (of link states, clocks) that nothing answers.
        let intervals = begun.elapsed().as_secs().div_ceil(15);
        let probed = idle_after.probes_sent - idle.probes_sent;
        let others = idle_after.frames_sent - idle.frames_sent - probed;
        assert!(probed <= intervals + others, "{probed} probes, {others} other frames");
        stop(&nodes).await;
    });
}

#[test]
fn losses_of_a_link_are_seen_and_cost() {
    run(async {
        let net = MemoryNet::new(64);
        net.default_latency(ms(10));
        let nodes = chain(&net, 2).await;
        let (near, far) = (notebook(&nodes[0]), notebook(&nodes[1]));
        let _traffic = Chatter::between(&[(&nodes[0], far), (&nodes[1], near)]);
        assert_eq!(link_of(&nodes[0], 2).await.unwrap().loss_permille, 0);
        net.set_loss(id(1), id(2), 0.2);
        eventually("the losses are seen where they happen", || async {
            link_of(&nodes[0], 2).await.is_some_and(|link| {
                link.loss_permille > 20 && link.queueing_ms.unwrap_or(0.0) > 0.2
            })
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn every_node_knows_the_root_s_clock_within_the_bound_it_states() {
    run(async {
        let net = MemoryNet::new(65);
        // Longer one way than the other, and clocks that are minutes, hours and days wrong.
        for (a, b) in [(1, 2), (2, 3), (3, 4)] {
            net.set_latency(id(a), id(b), ms(3));
            net.set_latency(id(b), id(a), ms(12));
        }
        let ahead = [0, 90_000_000, -7_200_000_000, 300_000_000_000];
        for (region, ahead) in (1..).zip(ahead) {
            net.set_clock_ahead(id(region), ahead);
        }
        let nodes = chain(&net, 4).await;
        for (node, ahead) in nodes.iter().zip(ahead) {
            eventually("the clock is known", || async { node.clock().is_some() }).await;
            let clock = node.clock().unwrap();
            let off = (clock.offset_us + ahead).unsigned_abs();
            // The machine's own clock may be set while the test runs; a millisecond is more than it slews.
            assert!(off <= clock.error_us + 1_000, "{clock:?} is {off} µs off");
            assert!(clock.error_us < 200_000, "{clock:?}");
            assert_eq!(u16::from(clock.hops) + 1, node.region().get());
        }
        let middle = link_of(&nodes[1], 3).await.unwrap();
        let (offset, error) = (middle.clock_offset_ms.unwrap(), middle.clock_error_ms.unwrap());
        assert!((offset + 7_290_000.0).abs() <= error + 1.0, "{offset} ± {error} ms");
        stop(&nodes).await;
    });
}

#[test]
fn an_idle_region_with_eight_links_in_use_stays_within_sixteen_kilobits_per_second() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let root = Node::builder(id(1)).data_dir(dir.path().join("1")).start().await.unwrap();
        let other = Node::builder(id(2))
            .parent(id(1))
            .join(root.local_address())
            .ca_dir(dir.path().join("1"))
            .data_dir(dir.path().join("2"))
            .start()
            .await
            .unwrap();
        let nodes = [root, other];
        routed(&nodes).await;
        // From then on the link is one of those that are probed most often.
        let pid = notebook(&nodes[1]);
        pid.send(&nodes[0], Notes).await.unwrap();
        let ends = || async {
            (link_of(&nodes[0], 2).await.unwrap(), link_of(&nodes[1], 1).await.unwrap())
        };
        eventually("the link has settled", || async { ends().await.0.up_ms > 2_500 }).await;
        let probes = |ends: &(LinkStatus, LinkStatus)| ends.0.probes_sent + ends.1.probes_sent;
        let bytes = |link: &LinkStatus| link.bytes_sent + link.bytes_received;
        let before = ends().await;
        eventually("four probes", || async { probes(&ends().await) >= probes(&before) + 4 }).await;
        let after = ends().await;
        assert_eq!((after.0.probe_idle_ms, after.1.probe_idle_ms), (1_000, 1_000));
        // An end that was probed has heard, so there is one exchange per second, whoever begins it.
        let exchanges = probes(&after) - probes(&before);
        let spent = bytes(&after.0) - bytes(&before.0);
        println!("eight links: {} bit/s", 8 * 8 * spent / exchanges);
        // 250 bytes each; and once in a while the clocks are compared.
        assert!(spent <= 250 * (exchanges + 2), "{spent} bytes for {exchanges} probes");
        stop(&nodes).await;
    });
}
