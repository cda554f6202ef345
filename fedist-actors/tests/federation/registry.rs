//! Copies of the registry, and changes of regions at run time: moves, leaves, splits.

use std::time::Duration;

use fedist_actors::{AdoptError, AskError, ChangeError, ExitReason, Node, PidSend, SendError};
use fedist_registry::{Pull, RegionPid, Status, Version};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

async fn alike(nodes: &[Node]) {
    eventually("all copies are alike", || async {
        let newest = nodes[0].view().registry.version();
        nodes.iter().all(|node| node.view().registry.version() == newest)
    })
    .await;
    let state = nodes[0].view().registry.state_hash();
    assert!(nodes.iter().all(|node| node.view().registry.state_hash() == state));
}

#[test]
fn a_newcomer_gets_a_snapshot_where_the_old_entries_were_let_go() {
    run(async {
        let net = MemoryNet::new(1);
        let mut nodes = vec![root(&net).registry_checkpoint_every(3).start().await.unwrap()];
        nodes.push(below(&net, 1, 2).start().await.unwrap());
        for port in 0..8 {
            nodes[1].advertise(["memory:2".to_owned(), format!("h:{port}")]).await.unwrap();
        }
        let master = nodes[0].view();
        assert!(matches!(master.registry.missing_for(Version::EMPTY), Pull::Snapshot(_)));
        for number in 3..=5 {
            nodes.push(below(&net, number - 1, number).start().await.unwrap());
        }
        alike(&nodes).await;
        let copy = nodes[4].view();
        assert!(copy.registry.log_start().index > 0, "it never had the first entries");
        assert_eq!(copy.registry.get(id(2)).unwrap().addresses, ["memory:2", "h:7"]);
        stop(&nodes).await;
    });
}

#[test]
fn a_compacted_copy_outlives_a_restart_and_never_goes_back() {
    run(async {
        let net = MemoryNet::new(1);
        let dir = tempfile::tempdir().unwrap();
        let root = root(&net).registry_checkpoint_every(3).start().await.unwrap();
        let start = || below(&net, 1, 2).data_dir(dir.path()).start();
        let mut member = start().await.unwrap();
        for round in 0..4 {
            let index = member.advertise(["memory:2".to_owned(), format!("h:{round}")]).await;
            let index = index.unwrap();
            assert!(member.view().registry.version().index >= index, "it waits for its own change");
            member.stop().await;
            net.cut(id(1), id(2));
            member = start().await.unwrap();
            let alone = member.view().registry.version();
            assert!(alone.index >= index, "round {round}: {alone} is before {index}");
            net.heal(id(1), id(2));
        }
        stop(&[root, member]).await;
    });
}

#[test]
fn waiting_for_an_entry_ends_when_it_is_here_or_the_node_is_stopped() {
    run(async {
        let net = MemoryNet::new(1);
        let nodes = chain(&net, 3).await;
        let next = nodes[0].view().registry.version().index + 1;
        let waiting = tokio::spawn({
            let node = nodes[2].clone();
            async move { node.registry_at(next).await.map(|view| view.registry.version().index) }
        });
        let made = nodes[1].advertise(["memory:2", "h:1"]).await.unwrap();
        assert_eq!(made, next);
        assert_eq!(waiting.await.unwrap(), Some(next));
        let never = tokio::spawn({
            let node = nodes[2].clone();
            async move { node.registry_at(u64::MAX).await.is_none() }
        });
        tokio::task::yield_now().await;
        stop(&nodes).await;
        assert!(never.await.unwrap());
    });
}

#[test]
fn a_region_moves_below_another_parent_and_loops_are_refused() {
    run(async {
        let net = MemoryNet::new(1);
        let nodes = chain(&net, 4).await;
        let error = nodes[1].set_parent(id(4)).await.unwrap_err();
        assert!(matches!(&error, ChangeError::Refused(_)), "{error}");
        assert!(error.to_string().contains("region 4 cannot be the parent of region 2"), "{error}");
        assert!(nodes[2].set_parent(id(77)).await.is_err());
        // 3 moves with 4 below it from 2 to 1, and opens a link to its new parent.
        nodes[2].set_parent(id(1)).await.unwrap();
        alike(&nodes).await;
        let view = nodes[3].view();
        let above: Vec<u16> =
            view.registry.hierarchy().ancestors(id(4)).map(|region| region.get()).collect();
        assert_eq!(above, [3, 1]);
        eventually("a link to the new parent", || async {
            let links = nodes[2].status().await.unwrap().links;
            links.iter().any(|link| link.peer == id(1))
        })
        .await;
        assert!(nodes[1].leave().await.is_ok(), "nobody is below 2 any more");
        stop(&nodes).await;
    });
}

#[test]
fn a_region_leaves_after_its_children_and_is_unknown_from_then_on() {
    run(async {
        let net = MemoryNet::new(1);
        let nodes = chain(&net, 3).await;
        let error = nodes[1].leave().await.unwrap_err();
        assert!(
            matches!(&error, ChangeError::HasChildren { children, .. } if *children == [id(3)]),
            "{error}"
        );
        let book = notebook(&nodes[2]);
        for number in 0..100 {
            book.do_send(&nodes[0], Note(number));
        }
        nodes[2].leave().await.unwrap();
        alike(&nodes[..2]).await;
        for node in &nodes[..2] {
            let view = node.view();
            assert_eq!(view.registry.get(id(3)).unwrap().status, Status::Left);
            let refused = book.try_send(node, Note(1)).unwrap_err();
            assert!(matches!(refused, SendError::UnknownRegion(region, _) if region == id(3)));
            let status = node.status().await.unwrap();
            let busy = status.sessions.iter().filter(|it| it.peer == id(3) && it.in_flight > 0);
            assert_eq!(busy.count(), 0);
        }
        // Its number stays its own: the same key may come back, under the same or another parent.
        let back = below(&net, 1, 3).start().await.unwrap();
        alike(&[nodes[0].clone(), nodes[1].clone(), back.clone()]).await;
        assert!(nodes[1].view().registry.is_live(id(3)));
        let book = notebook(&back);
        routed(&[nodes[0].clone(), back.clone()]).await;
        eventually("messages go there again", || async {
            book.tell(&nodes[0], Note(7)).await.is_ok()
        })
        .await;
        stop(&[nodes[0].clone(), nodes[1].clone(), back]).await;
    });
}

async fn notes(pid: RegionPid, from: &Node) -> Vec<u64> {
    pid.send(from, Notes).await.unwrap()
}

#[test]
fn pids_of_a_range_that_was_split_off_work_from_everywhere_under_their_new_region() {
    run(async {
        let net = MemoryNet::new(1);
        let nodes = chain(&net, 4).await;
        let (old, new) = (&nodes[1], &nodes[3]);
        let book = notebook(old);
        let other = old.spawn(Notebook::default()).unwrap();
        let stays = old.export(&other).handles::<Note>().handles::<Notes>().publish().unwrap();
        let cached = nodes[0].address::<Notebook>(book);
        let own = old.address::<Notebook>(book);
        cached.tell(Note(1)).await.unwrap();
        eventually("1 has arrived", || async { notes(book, &nodes[2]).await == [1] }).await;

        // The application moves what the actor keeps; here it is the notes.
        let kept = notes(book, old).await;
        old.exit(book, ExitReason::Shutdown);
        eventually("the old actor has ended", || async {
            matches!(book.send(old, Notes).await, Err(AskError::NoActor(_)))
        })
        .await;
        let early = new.adopt(book, Notebook::default()).err().unwrap();
        assert!(matches!(early, AdoptError::NotHandedOver { .. }), "{early}");
        old.split(old.region(), book.local()..=book.local(), new.region()).await.unwrap();
        alike(&nodes).await;
        assert_eq!(nodes[0].view().registry.serving(book), new.region());
        assert_eq!(nodes[0].view().registry.serving(stays), old.region());
        let elsewhere = old.adopt(book, Notebook::default()).err().unwrap();
        assert!(matches!(elsewhere, AdoptError::ServedElsewhere { by, .. } if by == new.region()));

        let moved = new.adopt(book, Notebook::default()).unwrap();
        new.export(&moved).handles::<Note>().handles::<Notes>().publish().unwrap();
        for note in kept {
            book.do_send(new, Note(note));
        }
        let again = new.adopt(book, Notebook::default()).err().unwrap();
        assert!(matches!(again, AdoptError::Occupied { .. }), "{again}");
        // By a bare pid, by an address made before, and by one made in the old region itself.
        book.tell(&nodes[2], Note(2)).await.unwrap();
        eventually("2 has arrived", || async { notes(book, new).await.len() == 2 }).await;
        cached.tell(Note(3)).await.unwrap();
        eventually("3 has arrived", || async { notes(book, old).await.len() == 3 }).await;
        own.tell(Note(4)).await.unwrap();
        eventually("4 has arrived", || async { notes(book, &nodes[0]).await.len() == 4 }).await;
        assert_eq!(notes(book, new).await, [1, 2, 3, 4]);
        assert!(notes(stays, new).await.is_empty());

        // Its end is told under the old pid.
        let watch = nodes[0].monitor(book);
        eventually("the monitor is set", || async { notes(book, &nodes[0]).await.len() == 4 })
            .await;
        new.exit(book, ExitReason::Shutdown);
        let down = watch.await;
        assert_eq!((down.pid, down.reason), (book, ExitReason::Shutdown));
        assert!(matches!(book.send(&nodes[2], Notes).await, Err(AskError::NoActor(_))));
        stop(&nodes).await;
    });
}

#[test]
fn what_is_sent_by_an_old_registry_is_passed_on_once_and_in_order() {
    run(async {
        let net = MemoryNet::new(1);
        // 1 - 2 - 3, and 4 far away below 1.
        net.set_latency(id(1), id(4), Duration::from_millis(300));
        let mut nodes = chain(&net, 3).await;
        nodes.push(below(&net, 1, 4).start().await.unwrap());
        routed(&nodes).await;
        let (old, new, behind) = (&nodes[1], &nodes[2], &nodes[3]);
        let book = notebook(old);
        old.exit(book, ExitReason::Shutdown);
        eventually("the old actor has ended", || async {
            matches!(book.send(old, Notes).await, Err(AskError::NoActor(_)))
        })
        .await;
        old.split(old.region(), book.local()..=book.local(), new.region()).await.unwrap();
        new.registry_at(old.view().registry.version().index).await.unwrap();
        let moved = new.adopt(book, Notebook::default()).unwrap();
        new.export(&moved).handles::<Note>().handles::<Notes>().publish().unwrap();
        let knows = || behind.view().registry.serving(book) == new.region();
        let (mut sent, mut by_old) = (0, 0);
        while !knows() {
            book.try_send(behind, Note(sent)).unwrap();
            sent += 1;
            // Those that were sent before the copy changed, surely.
            by_old = if knows() { by_old } else { sent };
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        eventually("all have arrived", || async { notes(book, new).await.len() as u64 == sent })
            .await;
        let arrived = notes(book, new).await;
        let by_old: Vec<u64> = arrived.iter().copied().filter(|note| *note < by_old).collect();
        assert!(by_old.is_sorted(), "in the order sent, and none twice: {by_old:?}");
        let counters = old.status().await.unwrap().counters;
        let forwarded = counters.get("split_tells_forwarded").copied().unwrap_or(0);
        assert!(forwarded >= by_old.len() as u64, "{counters:?}");
        println!("{sent} sent, {forwarded} passed on by the old region");
        stop(&nodes).await;
    });
}
