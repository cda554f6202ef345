//! Which way messages take, what is said about it, and what happens while there is none.

use std::time::Duration;

use fedist_actors::{AskError, Node, PidSend, SendError};
use fedist_registry::{DirectWay, RouteChange};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// 1 is the root, 2 and 3 are below it; 4 is below 2 and has a link to 3 as well, over which everything takes longer.
async fn two_ways(net: &MemoryNet) -> Vec<Node> {
    net.default_latency(Duration::from_millis(2));
    net.set_latency(id(3), id(4), Duration::from_millis(40));
    let root = root(net).start().await.unwrap();
    let near = below(net, 1, 2).start().await.unwrap();
    let far = below(net, 1, 3).start().await.unwrap();
    let leaf = below(net, 2, 4).link(id(3)).start().await.unwrap();
    let nodes = vec![root, near, far, leaf];
    routed(&nodes).await;
    nodes
}

#[test]
fn a_route_is_explained_with_its_terms_its_second_way_and_why_it_changed() {
    run(async {
        let net = MemoryNet::new(60);
        let nodes = two_ways(&net).await;
        let pid = notebook(&nodes[0]);
        pid.tell(&nodes[3], Note(0)).await.unwrap();
        eventually("both links of the leaf, and a way over the near one", || async {
            nodes[3].explain(id(1)).await.is_some_and(|explained| {
                explained.path.is_some_and(|path| path.hops[0].to == id(2))
                    && explained.second.is_some_and(|path| path.hops[0].to == id(3))
            })
        })
        .await;
        let explained = nodes[3].explain(pid).await.unwrap();
        assert_eq!((explained.origin, explained.destination), (id(4), id(1)));
        let path = explained.path.unwrap();
        assert_eq!(path.hops.len(), 2);
        assert!(path.hops.iter().all(|hop| hop.propagation.as_micros() > 500), "{path:?}");
        assert!(path.hops[0].relay.as_micros() >= 50, "a relay costs something");
        assert_eq!(path.hops[1].relay.as_micros(), 0, "the destination does not");
        assert_eq!(explained.direct, DirectWay::NotOpen { estimate: None });
        let near = nodes[3].explain(id(2)).await.unwrap();
        assert_eq!(near.direct, DirectWay::Taken);
        assert!(nodes[3].explain(id(4)).await.is_none(), "itself");
        assert!(nodes[3].explain(id(77)).await.is_none(), "nobody");

        net.cut(id(2), id(4));
        eventually("the other way", || async {
            let explained = nodes[3].explain(id(1)).await.unwrap();
            explained.path.is_some_and(|path| path.hops[0].to == id(3))
        })
        .await;
        let explained = nodes[3].explain(id(1)).await.unwrap();
        assert!(
            matches!(
                explained.change,
                Some(RouteChange::LinkDown { .. } | RouteChange::Suspect { .. })
            ),
            "{explained}"
        );
        assert!(explained.changes >= 2);
        let status = nodes[3].status().await.unwrap();
        let route = status.routes.iter().find(|route| route.to == id(1)).unwrap();
        assert_eq!((route.path[1], route.changes), (id(3), explained.changes));
        stop(&nodes).await;
    });
}

#[test]
fn an_idle_session_waits_for_another_route_before_it_refuses() {
    run(async {
        let net = MemoryNet::new(61);
        let nodes = chain(&net, 3).await;
        let pid = notebook(&nodes[2]);
        pid.tell(&nodes[0], Note(0)).await.unwrap();
        eventually("the first note", || async {
            pid.send(&nodes[0], Notes).await.is_ok_and(|notes| notes.len() == 1)
        })
        .await;
        eventually("nothing is under way", || async {
            let status = nodes[0].status().await.unwrap();
            status.sessions.iter().all(|session| session.in_flight == 0)
        })
        .await;

        net.isolate(id(2));
        eventually("the route is gone", || async { nodes[0].view().routes.get(id(3)).is_none() })
            .await;
        pid.try_send(&nodes[0], Note(1)).expect("taken: the loss is fresh");
        net.rejoin(id(2));
        eventually("the note that waited", || async {
            pid.send(&nodes[0], Notes).await.is_ok_and(|notes| notes == [0, 1])
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_stays_away_is_refused_after_the_session_timeout() {
    run(async {
        let net = MemoryNet::new(62);
        let timeout = Duration::from_millis(1_500);
        let first = root(&net).session_timeout(timeout).start().await.unwrap();
        let second = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        let nodes = vec![first, second];
        routed(&nodes).await;
        let pid = notebook(&nodes[1]);
        let Ok(_) = pid.send(&nodes[0], Notes).await else { panic!("it is there") };
        net.isolate(id(2));
        eventually("the route is gone", || async { nodes[0].view().routes.get(id(2)).is_none() })
            .await;
        eventually("nobody waits any more", || async {
            matches!(pid.try_send(&nodes[0], Note(7)), Err(SendError::NoRoute(region, _)) if region == id(2))
        })
        .await;
        assert!(matches!(pid.send(&nodes[0], Notes).await, Err(AskError::NoRoute(_))));
        net.rejoin(id(2));
        routed(&nodes).await;
        eventually("it answers again", || async { pid.send(&nodes[0], Notes).await.is_ok() }).await;
        stop(&nodes).await;
    });
}
