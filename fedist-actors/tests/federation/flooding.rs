//! Link states on their way through a federation, as its counters show them.

use std::time::Duration;

use fedist_actors::Node;
use fedist_transport::memory::MemoryNet;

use crate::support::*;

async fn counter(node: &Node, name: &str) -> u64 {
    node.status().await.unwrap().counters.get(name).copied().unwrap_or(0)
}

async fn total(nodes: &[Node], name: &str) -> u64 {
    let mut sum = 0;
    for node in nodes {
        sum += counter(node, name).await;
    }
    sum
}

/// Every region below the first, and a link between any two.
async fn full_mesh(net: &MemoryNet, regions: u16) -> Vec<Node> {
    let mut nodes = vec![root(net).start().await.unwrap()];
    for number in 2..=regions {
        let mut region = below(net, 1, number);
        for other in 2..number {
            region = region.link(id(other));
        }
        nodes.push(region.start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}

/// Waits until every region has as many links as there are others, and nothing is on its way.
async fn settled(nodes: &[Node]) {
    eventually("all links and quiet floods", || async {
        for node in nodes {
            let status = node.status().await.unwrap();
            if status.links.len() + 1 != nodes.len() {
                return false;
            }
        }
        let before = total(nodes, "link_state_bytes_sent").await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        before == total(nodes, "link_state_bytes_sent").await
    })
    .await;
}

#[test]
fn what_is_sent_of_link_states_is_received_and_an_idle_federation_sends_none() {
    run(async {
        let net = MemoryNet::new(70);
        let nodes = full_mesh(&net, 5).await;
        settled(&nodes).await;
        let sent = total(&nodes, "link_state_bytes_sent").await;
        assert!(sent > 0);
        assert_eq!(total(&nodes, "link_state_bytes_received").await, sent);
        assert_eq!(total(&nodes, "link_states_refused").await, 0);
        stop(&nodes).await;
    });
}

#[test]
fn news_of_a_region_that_came_back_with_lower_numbers_is_believed() {
    run(async {
        let net = MemoryNet::new(72);
        let mut nodes = chain(&net, 3).await;
        net.crash(id(3));
        drop(nodes.pop());
        eventually("the loss is known", || async {
            nodes.iter().all(|node| node.view().routes.get(id(3)).is_none())
        })
        .await;
        // The same start number as before: only what others remember tells it how far it had counted.
        nodes.push(below(&net, 2, 3).boot(1).start().await.unwrap());
        routed(&nodes).await;
        stop(&nodes).await;
    });
}
