//! Which links are open: bought by traffic and closed again, limits, fixed shapes, regions that only dial.

use std::{collections::BTreeSet, time::Duration};

use fedist_actors::{LinkStatus, Node, PidSend};
use fedist_registry::{LinkReason, MeshConfig, Micros, RegionId, Topology};
use fedist_transport::memory::MemoryNet;
use futures_util::future::join_all;

use crate::support::*;

/// The default mesh in a hurry: what takes seconds and minutes takes tenths of seconds.
fn quick() -> MeshConfig {
    MeshConfig {
        settle: Micros::from_millis(500),
        drain: Micros::from_millis(300),
        idle_after: Micros::from_millis(2_000),
        ..MeshConfig::default()
    }
}

async fn link(node: &Node, peer: u16) -> Option<LinkStatus> {
    let status = node.status().await.unwrap();
    status.links.into_iter().find(|link| link.peer == id(peer))
}

async fn peers(node: &Node) -> BTreeSet<RegionId> {
    let status = node.status().await.unwrap();
    status.links.iter().filter(|link| !link.closing).map(|link| link.peer).collect()
}

async fn counted(node: &Node, what: &str) -> u64 {
    node.status().await.unwrap().counters.get(what).copied().unwrap_or(0)
}

#[test]
fn traffic_opens_a_direct_link_that_is_closed_when_it_has_been_idle() {
    run(async {
        let net = MemoryNet::new(80);
        // The root is far from everybody; the others are near to each other, and linked in a row.
        net.default_latency(Duration::from_millis(5));
        for number in 2..=6 {
            net.set_latency(id(1), id(number), Duration::from_millis(40));
        }
        let config = MeshConfig { nearest: 0, random: 0, ..quick() };
        let mut nodes = vec![root(&net).mesh(config.clone()).start().await.unwrap()];
        for number in 2..=6 {
            let mut extra = vec![id(number - 1)];
            if number == 6 {
                extra.push(id(2));
            }
            let mesh = MeshConfig { extra, ..config.clone() };
            nodes.push(below(&net, 1, number).mesh(mesh).start().await.unwrap());
        }
        routed(&nodes).await;
        eventually("the row is linked", || async {
            let near = peers(&nodes[1]).await;
            near.contains(&id(3)) && near.contains(&id(6)) && !near.contains(&id(4))
        })
        .await;
        // From 2 to 4 there are 10 ms by way of 3, and 5 ms for a link that nobody has tried.
        net.set_latency(id(2), id(4), Duration::from_millis(2));
        let pid = notebook(&nodes[3]);
        let mut sent = 0;
        for _ in 0..400 {
            pid.tell(&nodes[1], Note(sent)).await.unwrap();
            sent += 1;
            if link(&nodes[1], 4).await.is_some_and(|link| link.frames_sent > 20) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let bought = link(&nodes[1], 4).await.expect("the traffic has paid for it");
        assert_eq!(bought.reason, LinkReason::Traffic);
        assert!(bought.dialed);
        assert_eq!(link(&nodes[3], 2).await.unwrap().reason, LinkReason::Incoming);

        eventually("the idle link is closed", || async { link(&nodes[1], 4).await.is_none() })
            .await;
        assert!(link(&nodes[1], 3).await.is_some(), "the configured one stays");
        // Still everything arrives once and in order.
        pid.tell(&nodes[1], Note(sent)).await.unwrap();
        eventually("everything has come", || async {
            pid.send(&nodes[1], Notes).await.is_ok_and(|notes| notes.len() as u64 > sent)
        })
        .await;
        let notes = pid.send(&nodes[1], Notes).await.unwrap();
        assert!(notes.iter().copied().eq(0..=sent));
        stop(&nodes).await;
    });
}

#[test]
fn a_region_with_enough_incoming_links_says_so_and_is_reached_over_others() {
    run(async {
        let net = MemoryNet::new(81);
        let root = root(&net).start().await.unwrap();
        let small = below(&net, 1, 2)
            .mesh(MeshConfig { topology: Topology::Tree, max_in: 1, ..quick() })
            .start()
            .await
            .unwrap();
        let third = below(&net, 1, 3).link(id(2)).start().await.unwrap();
        eventually("3 is linked to 2", || async { link(&third, 2).await.is_some() }).await;
        let fourth = below(&net, 1, 4).link(id(2)).start().await.unwrap();
        let child = below(&net, 2, 5).start().await.unwrap();
        eventually("4 was refused", || async {
            counted(&fourth, "links_refused_by_peer").await > 0
        })
        .await;
        assert!(counted(&small, "links_refused_limit").await > 0);
        let nodes = [root, small, third, fourth, child];
        routed(&nodes).await;
        assert_eq!(peers(&nodes[1]).await, BTreeSet::from([1, 3, 5].map(id)), "5 is its child");
        stop(&nodes).await;
    });
}

#[test]
fn each_shape_is_what_the_links_become() {
    let shape = |name: &'static str| async move {
        let net = MemoryNet::new(82);
        let shape: Topology = name.parse().unwrap();
        let mesh = MeshConfig { topology: shape.clone(), ..quick() };
        let mut nodes = vec![root(&net).mesh(mesh.clone()).start().await.unwrap()];
        for number in 2..=6 {
            nodes.push(below(&net, 1, number).mesh(mesh.clone()).start().await.unwrap());
        }
        routed(&nodes).await;
        let registry = nodes[0].view().registry.clone();
        for node in &nodes {
            let wanted: BTreeSet<RegionId> =
                shape.neighbours(node.region(), &registry).into_iter().collect();
            eventually(&format!("{name}: the links of {}", node.region()), || async {
                peers(node).await == wanted
            })
            .await;
        }
        routed(&nodes).await;
        stop(&nodes).await;
    };
    run(async {
        let shapes = ["full", "ring", "tree", "torus", "star", "1-2,2-3,3-4,4-5,5-6"];
        join_all(shapes.map(shape)).await;
    });
}

#[test]
fn regions_that_only_dial_are_dialed_by_nobody_and_talk_over_relays() {
    run(async {
        let net = MemoryNet::new(83);
        net.default_latency(Duration::from_millis(2));
        let mut nodes = vec![root(&net).mesh(quick()).start().await.unwrap()];
        for number in [2, 3] {
            nodes.push(below(&net, 1, number).mesh(quick()).start().await.unwrap());
        }
        for number in [4, 5] {
            nodes.push(below(&net, 1, number).mesh(quick()).dial_only().start().await.unwrap());
        }
        routed(&nodes).await;
        let pid = notebook(&nodes[4]);
        for number in 0..300 {
            pid.tell(&nodes[3], Note(number)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        eventually("everything has come", || async {
            pid.send(&nodes[3], Notes).await.is_ok_and(|notes| notes.len() == 300)
        })
        .await;
        for node in &nodes[3..] {
            let status = node.status().await.unwrap();
            assert!(status.links.len() >= 2, "another way than over the root");
            assert!(status.links.iter().all(|link| link.dialed), "{:?}", status.links);
        }
        assert!(link(&nodes[3], 5).await.is_none(), "neither can dial the other");
        let record = nodes[0].view().registry.get(id(4)).unwrap().clone();
        assert!(record.addresses.is_empty());
        stop(&nodes).await;
    });
}

#[test]
fn a_root_that_only_dials_and_one_that_advertises_are_refused() {
    run(async {
        let net = MemoryNet::new(84);
        let error = root(&net).dial_only().start().await.err().unwrap().to_string();
        assert!(error.contains("the root must be dialed by others"), "{error}");
        let advertised = below(&net, 1, 2).dial_only().advertise("memory:2");
        let error = advertised.start().await.err().unwrap().to_string();
        assert!(error.contains("advertise (memory:2)"), "{error}");
    });
}
