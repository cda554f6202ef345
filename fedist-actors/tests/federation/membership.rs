//! Joining: who is let in, who is not, and what everybody learns of it.

use std::time::Duration;

use fedist_actors::{AskError, DropReason, Node, PidSend, SendError, StartError};
use fedist_registry::Status;
use fedist_transport::{identity::CertificateAuthority, memory::MemoryNet};

use crate::support::*;

#[test]
fn every_region_learns_of_every_newcomer() {
    run(async {
        let net = MemoryNet::new(10);
        let nodes = chain(&net, 5).await;
        eventually("all copies are alike", || async {
            let newest = nodes[0].view().registry.version();
            nodes.iter().all(|node| node.view().registry.version() == newest)
        })
        .await;
        for node in &nodes {
            let view = node.view();
            assert_eq!(view.registry.len(), 5, "in region {}", node.region());
            assert!(view.registry.regions().all(|record| record.status == Status::Live));
            assert_eq!(view.registry.version(), nodes[0].view().registry.version());
        }
        let view = nodes[4].view();
        let hierarchy = view.registry.hierarchy();
        assert_eq!(hierarchy.root(), Some(id(1)));
        assert_eq!(hierarchy.nearest_common_ancestor(id(5), id(3)), Some(id(3)));
        let path: Vec<u16> =
            view.routes.get(id(1)).unwrap().hops.iter().map(|hop| hop.get()).collect();
        assert_eq!(path, [4, 3, 2, 1], "links only to the parent, so the route is the chain");
        stop(&nodes).await;
    });
}

#[test]
fn the_same_number_with_another_key_is_an_id_conflict() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("1");
        let root = Node::builder(id(1)).data_dir(&ca).start().await.unwrap();
        let member = |folder: &str| {
            Node::builder(id(2))
                .parent(id(1))
                .join(root.local_address())
                .ca_dir(&ca)
                .data_dir(dir.path().join(folder))
                .join_timeout(Duration::from_secs(10))
        };
        let first = member("2").start().await.unwrap();
        let refused = member("other").start().await.err().unwrap();
        assert!(refused.to_string().contains("IdConflict"), "{refused}");
        first.stop().await;
        // The same key, from its own data directory, is welcome again.
        let again = member("2").start().await.unwrap();
        assert_eq!(again.boot(), 2);
        stop(&[root, again]).await;
    });
}

#[test]
fn a_certificate_of_another_federation_is_refused_and_the_node_goes_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("1");
        let root = Node::builder(id(1)).data_dir(&ours).start().await.unwrap();
        let theirs = dir.path().join("other-ca");
        CertificateAuthority::load_or_create(&theirs).unwrap();
        let stranger = Node::builder(id(2))
            .parent(id(1))
            .join(root.local_address())
            .ca_dir(&theirs)
            .data_dir(dir.path().join("2"))
            .join_timeout(Duration::from_secs(2))
            .start()
            .await
            .err()
            .unwrap();
        assert!(stranger.to_string().contains("federation"), "{stranger}");
        let friend = Node::builder(id(3))
            .parent(id(1))
            .join(root.local_address())
            .ca_dir(&ours)
            .data_dir(dir.path().join("3"))
            .start()
            .await
            .unwrap();
        stop(&[root, friend]).await;
    });
}

#[test]
fn a_name_that_is_taken_is_refused_with_the_rule() {
    run(async {
        let net = MemoryNet::new(11);
        let nodes = chain(&net, 2).await;
        let refused = below(&net, 1, 3).name("root").start().await.err().unwrap();
        assert!(
            matches!(&refused, StartError::JoinRefused(text) if text.contains("taken")),
            "{refused}"
        );
        stop(&nodes).await;
    });
}

#[test]
fn a_refused_newcomer_that_keeps_trying_backs_off() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("1");
        let root = Node::builder(id(1)).data_dir(&ca).start().await.unwrap();
        let member = |folder: &str| {
            let dir = dir.path().join(folder);
            Node::builder(id(2)).under(&root).data_dir(dir)
        };
        let first = member("2").start().await.unwrap();
        let other = member("other").wait_until_live(false).start().await.unwrap();
        let refused = || async {
            root.status().await.unwrap().counters.get("links_refused_key").copied().unwrap_or(0)
        };
        eventually("it has tried a few times", || async { refused().await >= 4 }).await;
        // 100 + 200 + 400 ms and more lie between four attempts; without a pause it were 50 ms each.
        let since = other.status().await.unwrap().uptime_ms;
        assert!(since >= 600, "four attempts within {since} ms");
        stop(&[root.clone(), first, other]).await;
    });
}

#[test]
fn nobody_at_the_join_address_is_a_timeout_that_says_so() {
    run(async {
        let net = MemoryNet::new(12);
        let lonely =
            below(&net, 1, 2).join_timeout(Duration::from_millis(500)).start().await.err().unwrap();
        assert!(matches!(lonely, StartError::JoinTimedOut { .. }), "{lonely}");
    });
}

#[test]
fn a_newcomer_that_is_not_live_serves_itself_and_is_refused_across_regions() {
    run(async {
        let net = MemoryNet::new(14);
        let nodes = chain(&net, 2).await;
        let elsewhere = notebook(&nodes[0]);
        net.cut(id(2), id(3));
        let newcomer = below(&net, 2, 3).wait_until_live(false).start().await.unwrap();
        assert!(!newcomer.is_live());
        let own = notebook(&newcomer);
        own.tell(&newcomer, Note(1)).await.unwrap();
        assert_eq!(own.send(&newcomer, Notes).await.unwrap(), [1]);
        let refused = elsewhere.try_send(&newcomer, Note(2));
        assert!(matches!(refused, Err(SendError::NotLive(Note(2)))));
        assert_eq!(elsewhere.send(&newcomer, Notes).await, Err(AskError::NotLive));
        elsewhere.do_send(&newcomer, Note(3));
        assert_eq!(newcomer.dropped()[&DropReason::NotLive], 1);
        net.heal(id(2), id(3));
        eventually("it joins by itself once it can", || async { newcomer.is_live() }).await;
        eventually("and may send", || async {
            elsewhere.send(&newcomer, Notes).await.is_ok_and(|notes| notes.is_empty())
        })
        .await;
        stop(&nodes).await;
        newcomer.stop().await;
    });
}

#[test]
fn a_region_that_was_live_starts_alone_from_its_own_copy() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("1");
        let root = Node::builder(id(1)).data_dir(&ca).start().await.unwrap();
        let join = root.local_address().to_owned();
        let member = || {
            Node::builder(id(2))
                .parent(id(1))
                .join(&join)
                .ca_dir(&ca)
                .data_dir(dir.path().join("2"))
        };
        let first = member().start().await.unwrap();
        stop(&[root, first]).await;
        let alone = member().start().await.unwrap();
        assert!(alone.is_live());
        let pid = notebook(&alone);
        pid.tell(&alone, Note(1)).await.unwrap();
        assert_eq!(pid.send(&alone, Notes).await.unwrap(), [1]);
        let elsewhere = fedist_registry::RegionPid::new(id(1), pid.local());
        assert!(matches!(elsewhere.try_send(&alone, Note(1)), Err(SendError::NoRoute(..))));
        stop(&[alone]).await;
    });
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    run(async {
        let net = MemoryNet::new(13);
        let orphan = Node::builder(id(2)).parent(id(1)).memory(net.port(id(2))).start().await;
        assert!(orphan.err().unwrap().to_string().contains("join (missing)"));
        let own = Node::builder(id(2)).parent(id(2)).join("x:1").start().await;
        assert!(own.err().unwrap().to_string().contains("its own parent"));
        let nowhere = Node::builder(id(1)).start().await;
        assert!(nowhere.err().unwrap().to_string().contains("data_dir (missing)"));
        let name = Node::builder(id(1)).name("No Good").memory(net.port(id(1))).start().await;
        assert!(name.is_err());
    });
}
