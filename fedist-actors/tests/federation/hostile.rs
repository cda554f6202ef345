//! A peer that is let in by its certificate and then misbehaves: it loses its link, nobody else
//! loses anything (contract C25).

use bytes::Bytes;
use fedist_actors::{Node, PidSend};
use fedist_registry::RegionId;
use fedist_transport::{
    link::Link,
    memory::MemoryNet,
    wire::{Class, FrameKind, HopHeader, SourceRoute, Stamp},
};

use crate::support::*;

/// A bare link of region 9 to region 1, without a node behind it.
async fn stranger(net: &MemoryNet) -> Link {
    net.port(id(9)).dial("memory:1", None).await.unwrap()
}

fn frame(kind: FrameKind, src: RegionId, dst: RegionId, route: SourceRoute) -> HopHeader {
    HopHeader {
        kind,
        class: Class::Control,
        ttl: 8,
        repairs: 0,
        src,
        dst,
        payload_len: 0,
        stamp: Stamp::EMPTY,
        route,
    }
}

async fn counter(node: &Node, name: &str) -> u64 {
    node.status().await.unwrap().counters.get(name).copied().unwrap_or(0)
}

/// Sends the frames over a fresh link and waits until `node` has counted `name`.
async fn misbehaves(net: &MemoryNet, node: &Node, name: &str, frames: Vec<(HopHeader, Bytes)>) {
    let before = counter(node, name).await;
    let Link { tx, writer, mut rx, .. } = stranger(net).await;
    let writing = tokio::spawn(writer.run());
    for (header, payload) in frames {
        tx.send(header, [payload, Bytes::new()]).unwrap();
    }
    eventually(name, || async { counter(node, name).await > before }).await;
    tx.close("enough");
    let mut rest = Vec::new();
    while rx.recv(&mut rest).await.is_ok() {
        rest.clear();
    }
    writing.abort();
}

#[test]
fn whatever_a_stranger_sends_is_counted_and_hurts_nobody() {
    run(async {
        let net = MemoryNet::new(50);
        let nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[1]);
        let (me, here, there) = (id(9), id(1), id(2));
        let garbage = Bytes::from_static(b"\xc1\xff\x00 no MessagePack at all");
        let direct = SourceRoute::DIRECT;
        let control = frame(FrameKind::Control, me, here, direct);
        let session = frame(FrameKind::Session, me, here, direct);
        let foreign = frame(FrameKind::Session, there, here, direct);

        misbehaves(&net, &nodes[0], "control_undecodable", vec![(control, garbage.clone())]).await;
        // A well-formed message out of turn: nothing comes before the hello.
        let activate = Bytes::from(rmp_serde::to_vec_named("Activate").unwrap());
        misbehaves(&net, &nodes[0], "control_before_hello", vec![(control, activate)]).await;
        // Not live: neither its own frames nor those in another's name are taken.
        let frames = vec![(session, garbage.clone()), (foreign, garbage.clone())];
        misbehaves(&net, &nodes[0], "frames_dropped_not_live", frames).await;

        let status = nodes[0].status().await.unwrap();
        assert!(status.regions.iter().all(|region| region.id != me), "it never joined");
        pid.tell(&nodes[0], Note(1)).await.unwrap();
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [1], "the others go on");
        stop(&nodes).await;
    });
}

#[test]
fn a_member_cannot_speak_in_the_name_of_another() {
    run(async {
        let net = MemoryNet::new(51);
        let nodes = chain(&net, 2).await;
        // Region 2 dies silently; its link is taken over by somebody with its certificate and no node.
        net.crash(id(2));
        let port = net.port(id(2));
        let Link { tx, writer, mut rx, .. } = port.dial("memory:1", None).await.unwrap();
        let writing = tokio::spawn(writer.run());
        let forged = frame(FrameKind::Session, id(7), id(1), SourceRoute::DIRECT);
        let looped = frame(FrameKind::Session, id(1), id(1), SourceRoute::DIRECT);
        let lost = frame(FrameKind::Session, id(2), id(5), SourceRoute::DIRECT);
        for header in [forged, looped, lost] {
            tx.send(header, [Bytes::from_static(b"x"), Bytes::new()]).unwrap();
        }
        let notice = frame(FrameKind::LinkDown, id(2), id(1), SourceRoute::DIRECT);
        let short = Bytes::from_static(b"\x00\x03\x00");
        let nobodys = Bytes::from_static(b"\x00\x03\x00\x05");
        for body in [short, nobodys.clone(), nobodys] {
            tx.send(notice, [body, Bytes::new()]).unwrap();
        }
        eventually("notices are counted and believed by nobody", || async {
            counter(&nodes[0], "link_down_notices_malformed").await == 1
                && counter(&nodes[0], "link_down_notices_ignored").await == 2
        })
        .await;
        eventually("all three are counted", || async {
            counter(&nodes[0], "frames_dropped_wrong_source").await == 2
                && counter(&nodes[0], "frames_dropped_wrong_route").await == 1
        })
        .await;
        tx.close("enough");
        let mut rest = Vec::new();
        while rx.recv(&mut rest).await.is_ok() {
            rest.clear();
        }
        writing.abort();
        stop(&nodes[..1]).await;
    });
}
