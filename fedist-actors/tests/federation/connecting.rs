//! Links by hand: connect and disconnect, and what they do not do.

use std::time::Duration;

use fedist_actors::{
    ConnectError, DisconnectError, LinkStatus, Node, NodeBuilder, PeerState, PidSend, StaticList,
};
use fedist_registry::{LinkReason, MeshConfig, Micros, Topology};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

fn quick(builder: NodeBuilder) -> NodeBuilder {
    builder.discover_every(Duration::from_millis(50)).mesh(MeshConfig {
        topology: Topology::Tree,
        settle: Micros::from_millis(500),
        drain: Micros::from_millis(300),
        ..MeshConfig::default()
    })
}

async fn link(node: &Node, peer: u16) -> Option<LinkStatus> {
    let status = node.status().await.unwrap();
    status.links.into_iter().find(|link| link.peer == id(peer))
}

async fn linked(node: &Node, number: u16, linked: bool) {
    eventually(&format!("link of {} to {number}: {linked}", node.region()), || async {
        link(node, number).await.is_some() == linked
    })
    .await;
}

async fn counted(node: &Node, what: &str) -> u64 {
    node.status().await.unwrap().counters.get(what).copied().unwrap_or(0)
}

/// A root with two children that have no link to each other.
async fn fork(net: &MemoryNet) -> [Node; 3] {
    let root = quick(root(net)).start().await.unwrap();
    let second = quick(below(net, 1, 2)).start().await.unwrap();
    let third = quick(below(net, 1, 3)).start().await.unwrap();
    let nodes = [root, second, third];
    routed(&nodes).await;
    nodes
}

#[test]
fn a_link_that_is_connected_is_kept_and_opened_again_until_it_is_disconnected() {
    run(async {
        let net = MemoryNet::new(320);
        let nodes = fork(&net).await;
        let [_, second, _] = &nodes;
        assert_eq!(second.connect("memory:3").await.unwrap(), id(3));
        let up = link(second, 3).await.expect("it is in use when connect returns");
        assert!(up.dialed);
        eventually("for that reason", || async {
            link(second, 3).await.is_some_and(|it| it.reason == LinkReason::Connected)
        })
        .await;
        let peers = second.peers().await;
        assert_eq!(peers.len(), 1, "{peers:?}");
        assert_eq!(peers[0].sources, ["connect"]);
        assert_eq!((peers[0].region, peers[0].state), (Some(id(3)), PeerState::Linked));
        assert_eq!(second.connect("memory:3").await.unwrap(), id(3), "again is no error");
        second.connect_region(id(3)).await.unwrap();

        assert!(second.danger_crash_relay(id(3)).await);
        eventually("it was lost", || async { counted(second, "links_lost").await > 0 }).await;
        linked(second, 3, true).await;

        second.disconnect(id(3)).await.unwrap();
        assert!(link(second, 3).await.is_none(), "it is gone when disconnect returns");
        assert_eq!(second.status().await.unwrap().disconnected, [id(3)]);
        assert!(second.peers().await.is_empty());
        second.disconnect(id(3)).await.unwrap();
        stop(&nodes).await;
    });
}

#[test]
fn nobody_opens_a_link_that_was_disconnected_until_the_one_who_did_it_connects() {
    run(async {
        let net = MemoryNet::new(321);
        let root = quick(root(&net)).start().await.unwrap();
        let list = || StaticList::new(["memory:1", "memory:2", "memory:3"]);
        let second = quick(below(&net, 1, 2)).discover(list()).link(id(3)).start().await.unwrap();
        let third = quick(below(&net, 1, 3)).discover(list()).link(id(2)).start().await.unwrap();
        let nodes = [root, second, third];
        let [_, second, third] = &nodes;
        linked(second, 3, true).await;
        routed(&nodes).await;
        second.disconnect(id(3)).await.unwrap();
        linked(third, 2, false).await;
        // The other end knows that it is to leave this one alone, and is refused if it does not.
        let refused = third.connect("memory:2").await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, ConnectError::Refused { .. }), "{text}");
        assert!(text.contains("it was told to disconnect"), "{text}");
        let refused = third.connect_region(id(2)).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Refused { region, .. } if region == id(2)));
        assert_eq!(counted(second, "links_refused_disconnected").await, 2);
        assert!(link(second, 3).await.is_none());
        let shown = second.peers().await;
        let shown = shown.iter().find(|peer| peer.address == "memory:3").unwrap();
        assert_eq!(shown.state, PeerState::Disconnected);
        assert_eq!(second.reachable_regions(), [id(1), id(3)]);

        assert_eq!(second.connect("memory:3").await.unwrap(), id(3));
        assert!(second.status().await.unwrap().disconnected.is_empty());
        linked(third, 2, true).await;
        stop(&nodes).await;
    });
}

#[test]
fn messages_flow_over_relays_while_a_link_is_disconnected_and_none_is_lost() {
    run(async {
        let net = MemoryNet::new(322);
        net.default_latency(Duration::from_millis(2));
        let nodes = fork(&net).await;
        let [_, second, third] = &nodes;
        let pid = notebook(third);
        second.connect_region(id(3)).await.unwrap();
        eventually("the route is direct", || async {
            second.view().routes.get(id(3)).is_some_and(|route| route.hops.len() == 1)
        })
        .await;
        let (sender, parting) = (second.clone(), second.clone());
        let send = async {
            for number in 0..600 {
                pid.tell(&sender, Note(number)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        };
        let part = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            parting.disconnect(id(3)).await.unwrap();
        };
        tokio::join!(send, part);
        assert!(link(second, 3).await.is_none());
        arrives_in_order(second, pid, 600).await;
        let view = second.view();
        assert_eq!(view.routes.get(id(3)).unwrap().relays(), [id(1)], "over the root");
        let status = second.status().await.unwrap();
        let session = status.sessions.iter().find(|session| session.peer == id(3)).unwrap();
        assert_eq!(
            (session.dropped, session.retransmitted),
            (0, 0),
            "it was left before it closed"
        );
        stop(&nodes).await;
    });
}

#[test]
fn the_tree_is_not_cut_by_a_disconnect() {
    run(async {
        let net = MemoryNet::new(323);
        let nodes = fork(&net).await;
        let [root, second, third] = &nodes;
        let only_way = second.disconnect(id(1)).await.unwrap_err();
        let text = only_way.to_string();
        assert!(matches!(only_way, DisconnectError::OnlyWay { .. }), "{text}");
        assert!(text.contains("region 1 is the parent") && text.contains("fedist leave"), "{text}");
        let only_way = root.disconnect(id(2)).await.unwrap_err().to_string();
        assert!(only_way.contains("region 2 is the child"), "{only_way}");
        assert!(
            link(second, 1).await.is_some()
                && second.status().await.unwrap().disconnected.is_empty()
        );

        // With another way it is done.
        second.connect_region(id(3)).await.unwrap();
        eventually("parted", || async { second.disconnect(id(1)).await.is_ok() }).await;
        linked(second, 1, false).await;
        routed(&nodes).await;
        assert_eq!(second.view().routes.get(id(1)).unwrap().relays(), [id(3)]);
        notebook(root).send(second, Notes).await.unwrap();

        // The last other way breaks: the parent is linked again.
        net.cut(id(2), id(3));
        linked(second, 1, true).await;
        assert_eq!(counted(second, "disconnects_lifted").await, 1);
        assert!(second.status().await.unwrap().disconnected.is_empty());
        net.heal(id(2), id(3));
        assert!(third.is_live());
        stop(&nodes).await;
    });
}

#[test]
fn a_parent_that_parts_from_its_child_takes_it_back_when_no_other_way_is_left() {
    run(async {
        let net = MemoryNet::new(324);
        let nodes = fork(&net).await;
        let [root, second, _] = &nodes;
        second.connect_region(id(3)).await.unwrap();
        eventually("parted", || async { root.disconnect(id(2)).await.is_ok() }).await;
        linked(second, 1, false).await;
        routed(&nodes).await;
        assert!(link(root, 2).await.is_none());
        net.cut(id(2), id(3));
        linked(root, 2, true).await;
        assert_eq!(counted(root, "disconnects_lifted").await, 1);
        net.heal(id(2), id(3));
        stop(&nodes).await;
    });
}

#[test]
fn what_cannot_be_connected_says_why_and_keeps_nothing() {
    run(async {
        let net = MemoryNet::new(325);
        net.set_dial_timeout(Duration::from_millis(100));
        let nodes = fork(&net).await;
        let [root, second, _] = &nodes;
        let error = |text: &'static str| async move { second.connect(text).await.unwrap_err() };
        assert!(matches!(error("nonsense").await, ConnectError::BadAddress(_)));
        assert!(matches!(error("memory:2").await, ConnectError::Ourselves { .. }));
        let nobody = error("memory:77").await;
        assert!(matches!(nobody, ConnectError::Dial(_)), "{nobody}");
        let unknown = second.connect_region(id(77)).await.unwrap_err();
        assert!(matches!(unknown, ConnectError::UnknownRegion { .. }));
        assert!(matches!(second.connect_region(id(2)).await, Err(ConnectError::Ourselves { .. })));
        let hidden = quick(below(&net, 1, 4)).dial_only().start().await.unwrap();
        eventually("it is known", || async { second.view().registry.is_live(id(4)) }).await;
        let hidden_at = second.connect_region(id(4)).await.unwrap_err();
        assert!(matches!(hidden_at, ConnectError::NoAddress { .. }), "{hidden_at}");
        assert!(second.peers().await.is_empty());

        assert!(matches!(
            second.disconnect(id(77)).await,
            Err(DisconnectError::UnknownRegion { .. })
        ));
        assert!(matches!(second.disconnect(id(2)).await, Err(DisconnectError::Ourselves { .. })));
        // A disconnect is not taken back by a connect that fails.
        second.disconnect(id(3)).await.unwrap();
        net.cut(id(2), id(3));
        assert!(second.connect_region(id(3)).await.is_err());
        assert_eq!(second.status().await.unwrap().disconnected, [id(3)]);
        hidden.stop().await;
        stop(&nodes).await;
        assert!(matches!(second.connect("memory:1").await, Err(ConnectError::Stopped)));
        assert!(matches!(root.disconnect(id(2)).await, Err(DisconnectError::Stopped)));
    });
}
