//! The table on a ring whose links lose frames and are cut one after the other.

use std::{cell::RefCell, collections::BTreeSet};

use fedist_actors::Node;
use fedist_registry::RegionId;
use fedist_transport::memory::MemoryNet;
use futures_util::future::join_all;

use crate::{
    probe::ms,
    support::*,
    table::{TABLE, check, ready},
};

/// The links of the ring 1 - 2 - 3 - 4 - 5 - 6 - 1.
const RING: [(u16, u16); 6] = [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)];

async fn ring(net: &MemoryNet) -> Vec<Node> {
    net.default_latency(ms(1));
    let mut nodes = vec![ready(root(net)).start().await.unwrap()];
    for (parent, number) in [(1, 2), (2, 3), (3, 4), (1, 6)] {
        nodes.push(ready(below(net, parent, number)).start().await.unwrap());
    }
    nodes.push(ready(below(net, 6, 5).link(id(4))).start().await.unwrap());
    nodes.sort_by_key(Node::region);
    routed(&nodes).await;
    nodes
}

/// Cuts one link after the other, each until its ends have seen it and the routes have changed. The next
/// waits until the link is back: so there is always a way round, and no message may be lost or refused.
async fn storm(net: &MemoryNet, nodes: &[Node], seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        let (a, b) = RING[rng.usize(..RING.len())];
        net.cut(id(a), id(b));
        linked(nodes, a, b, false).await;
        tokio::time::sleep(ms(rng.u64(0..200))).await;
        net.heal(id(a), id(b));
        linked(nodes, a, b, true).await;
    }
}

/// Waits until the link of two regions is up, or down, for both.
async fn linked(nodes: &[Node], a: u16, b: u16, up: bool) {
    let sees = async |from: u16, to: u16| {
        let status = nodes[usize::from(from) - 1].status().await.unwrap();
        status.links.iter().any(|link| link.peer == id(to))
    };
    eventually("a link is cut or healed", || async {
        sees(a, b).await == up && sees(b, a).await == up
    })
    .await;
}

/// Notes the first regions on the way from `near` to `far`.
async fn watch_route(near: &Node, far: &Node, seen: &RefCell<BTreeSet<RegionId>>) {
    loop {
        let hop = near.view().routes.get(far.region()).and_then(|route| route.next_hop());
        seen.borrow_mut().extend(hop);
        tokio::time::sleep(ms(5)).await;
    }
}

fn every_verb_in_a_storm(seed: u64) {
    run(async {
        println!("seed {seed}");
        let net = MemoryNet::new(seed);
        let nodes = ring(&net).await;
        for (a, b) in RING {
            net.set_loss(id(a), id(b), 0.03);
            net.set_loss(id(b), id(a), 0.03);
        }
        let (near, next, across) = (&nodes[0], &nodes[1], &nodes[3]);
        let ways = RefCell::new(BTreeSet::new());
        let verbs = async {
            let mut wrong = Vec::new();
            for verb in TABLE {
                let checks = [near, next, across].map(|far| check(verb, near, far));
                wrong.extend(join_all(checks).await.into_iter().filter_map(Result::err));
            }
            // Fast verbs may be done before the storm has come round.
            eventually("both ways round were taken", || async { ways.borrow().len() == 2 }).await;
            wrong
        };
        let wrong = tokio::select! {
            wrong = verbs => wrong,
            () = storm(&net, &nodes, seed) => unreachable!("it does not end"),
            () = watch_route(near, across, &ways) => unreachable!("it does not end"),
        };
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        assert!(net.stats().frames_lost > 0 && net.stats().frames_swallowed > 0);
        for (a, b) in RING {
            net.heal(id(a), id(b));
        }
        stop(&nodes).await;
    });
}

/// `FEDIST_SEED` names another storm, to look for a seed that fails or to see one again.
#[test]
fn every_verb_has_its_outcome_through_loss_and_route_changes() {
    let seed = std::env::var("FEDIST_SEED").ok().and_then(|seed| seed.parse().ok());
    every_verb_in_a_storm(seed.unwrap_or(61));
}

#[test]
fn every_verb_has_its_outcome_in_another_storm() {
    every_verb_in_a_storm(62);
}
