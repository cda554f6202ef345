//! Federations that are divided into areas: each region knows the links of its own area only, and everything arrives.

use std::time::Duration;

use fedist_actors::{Node, NodeBuilder, PidSend};
use fedist_registry::AreaConfig;
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// Areas of at most four regions, from the sixth region on.
fn divided(builder: NodeBuilder) -> NodeBuilder {
    builder.areas(AreaConfig { above: 5, max_area: 4, ..AreaConfig::default() })
}

/// Root 1; 2 and 3 below it; 4 and 5 below 2, 6 and 7 below 3, 8 below 7: areas {1}, {2, 4, 5} and {3, 6, 7, 8}. 4 to 7 are
/// linked in a row.
async fn wings(net: &MemoryNet) -> Vec<Node> {
    net.default_latency(Duration::from_millis(2));
    let mut nodes = vec![divided(root(net)).start().await.unwrap()];
    for (parent, number, row) in
        [(1, 2, 0), (1, 3, 0), (2, 4, 0), (2, 5, 4), (3, 6, 5), (3, 7, 6), (7, 8, 0)]
    {
        let builder = divided(below(net, parent, number));
        let builder = if row > 0 { builder.link(id(row)) } else { builder };
        nodes.push(builder.start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}

async fn counter(node: &Node, name: &str) -> u64 {
    node.status().await.unwrap().counters.get(name).copied().unwrap_or(0)
}

async fn everybody_is_heard_by_everybody(nodes: &[Node], round: u64) {
    let book = |node: &Node| {
        let addr = node.spawn(Notebook::default()).unwrap();
        node.export(&addr).handles::<Note>().handles::<Notes>().publish().unwrap()
    };
    let pids: Vec<_> = nodes.iter().map(book).collect();
    for (from, node) in (0_u64..).zip(nodes) {
        for pid in &pids {
            pid.tell(node, Note(round + from)).await.unwrap();
        }
    }
    for (node, pid) in nodes.iter().zip(&pids) {
        eventually("all have written", || async {
            pid.send(node, Notes).await.is_ok_and(|notes| notes.len() == nodes.len())
        })
        .await;
    }
}

#[test]
fn all_reach_all_and_know_the_links_of_their_own_area_only() {
    run(async {
        let net = MemoryNet::new(70);
        let nodes = wings(&net).await;
        eventually("three areas everywhere", || async {
            for (node, own) in nodes.iter().zip([1, 3, 4, 3, 3, 4, 4, 4]) {
                let counters = node.status().await.unwrap().counters;
                let held = |name: &str| counters.get(name).copied().unwrap_or(0);
                // 1, 2, 3, 5 and 6 are borders.
                if (held("areas"), held("area_link_states"), held("border_link_states"))
                    != (3, own, 5)
                {
                    return false;
                }
            }
            true
        })
        .await;
        everybody_is_heard_by_everybody(&nodes, 100).await;
        let mut expanded = 0;
        for node in &nodes {
            expanded += counter(node, "frames_expanded").await;
        }
        assert!(expanded > 0, "somebody put its own way inside into a header");
        stop(&nodes).await;
    });
}

#[test]
fn the_loss_of_a_border_moves_the_ways_between_areas_to_another_one() {
    run(async {
        let net = MemoryNet::new(71);
        let nodes = wings(&net).await;
        let pid = notebook(&nodes[7]);
        for number in 0..200 {
            pid.tell(&nodes[3], Note(number)).await.unwrap();
        }
        // 3 is the border between the root and the area of the receiver, and its parent.
        net.isolate(id(3));
        for number in 200..400 {
            pid.tell(&nodes[3], Note(number)).await.unwrap();
        }
        eventually("everything has come", || async {
            pid.send(&nodes[3], Notes).await.is_ok_and(|notes| notes.len() == 400)
        })
        .await;
        let notes = pid.send(&nodes[3], Notes).await.unwrap();
        assert!(notes.iter().copied().eq(0..400), "lost, doubled or out of order");
        let rest: Vec<Node> = nodes.iter().filter(|node| node.region() != id(3)).cloned().collect();
        eventually("the others reach each other without it", || async {
            rest.iter().all(|node| {
                rest.iter().filter(|other| other.region() != node.region()).all(|other| {
                    let view = node.view();
                    let route = view.routes.get(other.region());
                    route.is_some_and(|route| !route.hops.contains(&id(3)))
                })
            })
        })
        .await;
        everybody_is_heard_by_everybody(&rest, 1_000).await;
        stop(&nodes).await;
    });
}
