//! The way of a message, region by region.

use std::time::Duration;

use bytes::Bytes;
use fedist_actors::{Node, TraceError};
use fedist_registry::RegionId;
use fedist_transport::{
    link::Link,
    memory::MemoryNet,
    wire::{Class, FrameKind, HopHeader, SourceRoute, Stamp},
};

use crate::support::*;

const PATIENCE: Duration = Duration::from_secs(10);

async fn counter(node: &Node, name: &str) -> u64 {
    node.status().await.unwrap().counters.get(name).copied().unwrap_or(0)
}

fn regions(trace: &fedist_actors::Trace) -> Vec<RegionId> {
    trace.hops.iter().map(|hop| hop.region).collect()
}

#[test]
fn a_trace_over_three_links_names_each_region_and_what_it_took() {
    run(async {
        let net = MemoryNet::new(80);
        let nodes = chain(&net, 4).await;
        let trace = nodes[0].trace(id(4), PATIENCE).await.unwrap();
        assert_eq!(regions(&trace), [1, 2, 3, 4].map(id));
        assert!(trace.reached() && trace.silent.is_empty());
        assert_eq!(trace.hops[0].residence_us, None, "the origin held nothing");
        assert!(trace.hops[1..].iter().all(|hop| hop.residence_us.is_some()));
        assert!(trace.hops[..3].iter().all(|hop| hop.link_us.is_some()), "{trace:?}");
        assert_eq!(trace.hops[3].link_us, None, "there is no link behind the destination");
        let held: u64 = trace.hops.iter().filter_map(|hop| hop.residence_us).map(u64::from).sum();
        assert!(trace.rtt_us.unwrap() >= held, "the whole takes longer than its parts");
        let shares: f64 = trace.hops.iter().filter_map(|hop| trace.share(hop)).sum();
        assert!((shares - 100.0).abs() < 0.01, "{shares}");
        assert_eq!(trace.to_string().lines().count(), 4);
        stop(&nodes).await;
    });
}

#[test]
fn traces_that_cannot_begin_say_why() {
    run(async {
        let net = MemoryNet::new(81);
        let nodes = chain(&net, 2).await;
        let here = nodes[0].trace(id(1), PATIENCE).await.unwrap();
        assert!(here.reached());
        assert_eq!(here.rtt_us, Some(0));
        let unknown = nodes[0].trace(id(9), PATIENCE).await;
        assert_eq!(unknown, Err(TraceError::UnknownRegion(id(9))));
        nodes[1].stop().await;
        eventually("the loss is known", || async { nodes[0].view().routes.get(id(2)).is_none() })
            .await;
        assert_eq!(nodes[0].trace(id(2), PATIENCE).await, Err(TraceError::NoRoute(id(2))));
        nodes[0].stop().await;
        assert_eq!(nodes[0].trace(id(2), PATIENCE).await, Err(TraceError::NotRunning));
    });
}

/// A frame of region 3 that is a trace, as far as its header says.
fn probe(ttl: u8, route: SourceRoute) -> HopHeader {
    HopHeader {
        kind: FrameKind::Trace,
        class: Class::Message,
        ttl,
        repairs: 0,
        src: id(3),
        dst: id(1),
        payload_len: 0,
        stamp: Stamp::EMPTY,
        route,
    }
}

/// A chain 1 - 2 - 3 of which 3 is only a link to 2, with its certificate and no node.
async fn with_a_puppet(net: &MemoryNet) -> (Vec<Node>, Link) {
    let mut nodes = chain(net, 3).await;
    net.crash(id(3));
    nodes.truncate(2);
    let link = net.port(id(3)).dial("memory:2", None).await.unwrap();
    (nodes, link)
}

#[test]
fn a_flood_of_probes_is_cut_at_the_first_relay_and_garbage_is_counted() {
    run(async {
        let net = MemoryNet::new(82);
        let (nodes, link) = with_a_puppet(&net).await;
        let Link { tx, writer, .. } = link;
        let writing = tokio::spawn(writer.run());
        let route = SourceRoute::new(&[id(2)]).unwrap();
        for _ in 0..200 {
            tx.send(probe(8, route), [Bytes::from_static(b"\xc1"), Bytes::new()]).unwrap();
        }
        let relay = &nodes[1];
        eventually("all are counted", || async {
            counter(relay, "traces_refused").await + counter(relay, "traces_malformed").await == 200
        })
        .await;
        assert!(counter(relay, "traces_refused").await > 0);
        assert!(counter(relay, "traces_malformed").await >= 50);
        let trace = nodes[0].trace(id(2), PATIENCE).await.unwrap();
        assert!(trace.reached(), "others are not affected");
        tx.close("enough");
        writing.abort();
        stop(&nodes).await;
    });
}

#[test]
fn where_nobody_answers_the_last_region_heard_of_is_named() {
    run(async {
        let net = MemoryNet::new(83);
        let nodes = chain(&net, 4).await;
        // From now on everything between 3 and 4 is lost; for a while nobody knows.
        net.cut(id(3), id(4));
        match nodes[0].trace(id(4), Duration::from_millis(200)).await {
            Ok(trace) => {
                assert!(!trace.reached());
                let way: Vec<RegionId> = regions(&trace).into_iter().chain(trace.silent).collect();
                assert_eq!(way, [1, 2, 3, 4].map(id), "heard of, then silent");
            }
            // The loss was noticed before the trace began.
            Err(error) => assert_eq!(error, TraceError::NoRoute(id(4))),
        }
        stop(&nodes[..3]).await;
    });
}
