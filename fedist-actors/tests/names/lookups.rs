//! Registering, finding, and sending to a name.

use std::time::{Duration, Instant};

use fedist_actors::{
    DropReason, LookupError, NameScope, Node, RegisterError, Registration, Via, ViaAskError,
    ViaSendError,
};
use fedist_registry::{LocalId, RegionPid, service};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// An exported notebook without a name.
fn nameless(node: &Node) -> RegionPid {
    let addr = node.spawn(Notebook::default()).unwrap();
    node.export(&addr).handles::<Note>().handles::<Notes>().handles::<Crash>().publish().unwrap()
}

/// Erlang's `register/2`: "badarg" if the name is in use, or if the pid is no living local process.
#[test]
fn a_name_is_given_once_to_a_living_actor_of_the_region() {
    run(async {
        let net = MemoryNet::new(101);
        let nodes = chain(&net, 2).await;
        let (here, there) = (&nodes[0], &nodes[1]);
        let addr = here.spawn(Notebook::default()).unwrap();
        let other = nameless(here);
        here.register("a", &addr).unwrap();
        let taken = RegisterError::Taken { name: "a".into(), holder: addr.pid() };
        assert_eq!(here.register("a", other), Err(taken.clone()));
        assert_eq!(here.register("a", addr.pid()), Err(taken), "the same actor again too");
        here.register("b", addr.pid()).unwrap();
        let foreign = nameless(there);
        assert_eq!(here.register("c", foreign), Err(RegisterError::Foreign(foreign)));
        let nobody = RegionPid::new(here.region(), LocalId::new(99_999_999).unwrap());
        assert_eq!(here.register("c", nobody), Err(RegisterError::Ended(nobody)));
        for name in ["", "@c", "c\u{7}"] {
            assert!(matches!(here.register(name, other), Err(RegisterError::Malformed { .. })));
        }
        let registered = |name: &str| Registration {
            name: name.to_owned(),
            scope: NameScope::Region,
            pid: addr.pid(),
        };
        assert_eq!(here.registered(), [registered("a"), registered("b")]);
        assert_eq!(here.unregister("a"), Some(addr.pid()));
        assert_eq!(here.unregister("a"), None);
        here.register("a", other).unwrap();
        assert_eq!(here.whereis("a").await, Ok(other));
        stop(&nodes).await;
    });
}

#[test]
fn all_names_of_an_actor_are_free_when_it_has_ended() {
    run(async {
        let net = MemoryNet::new(102);
        let nodes = chain(&net, 1).await;
        let node = &nodes[0];
        let pid = nameless(node);
        node.register("a", pid).unwrap();
        node.register("room/b", pid).unwrap();
        node.register_local("a", pid).unwrap();
        node.kill(pid);
        eventually("the names are free", || async { node.registered().is_empty() }).await;
        node.register("a", nameless(node)).unwrap();
        stop(&nodes).await;
    });
}

#[test]
fn a_node_local_name_is_seen_by_its_node_alone_and_hides_the_regions() {
    run(async {
        let net = MemoryNet::new(103);
        let nodes = chain(&net, 2).await;
        let (here, there) = (&nodes[0], &nodes[1]);
        let (private, public) = (nameless(here), nameless(here));
        here.register_local("notes", private).unwrap();
        assert!(matches!(there.whereis("root/notes").await, Err(LookupError::NotFound { .. })));
        assert!(matches!(here.whereis("root/notes").await, Err(LookupError::NotFound { .. })));
        here.register("notes", public).unwrap();
        assert_eq!(here.whereis("notes").await, Ok(private));
        assert_eq!(here.whereis("root/notes").await, Ok(public));
        assert_eq!(there.whereis("root/notes").await, Ok(public));
        assert_eq!(here.unregister_local("notes"), Some(private));
        assert_eq!(here.whereis("notes").await, Ok(public));
        let slash = here.register_local("room/notes", private);
        assert!(matches!(slash, Err(RegisterError::Malformed { .. })), "nobody could find it");
        stop(&nodes).await;
    });
}

#[test]
fn a_lookup_that_begins_after_the_registration_finds_the_name_whatever_else_is_under_way() {
    run(async {
        let net = MemoryNet::new(110);
        net.default_latency(Duration::from_millis(40));
        let nodes = chain(&net, 2).await;
        let (near, far) = (&nodes[0], nodes[1].clone());
        for round in 0..5 {
            let (name, path) = (format!("n{round}"), format!("2/n{round}"));
            let pid = nameless(&far);
            let early = near.whereis(&path);
            let late = async {
                // The first question is at the owner by now, and its answer is on its way.
                tokio::time::sleep(Duration::from_millis(60)).await;
                far.register(name, pid).unwrap();
                near.whereis(&path).await
            };
            let (_, late) = tokio::join!(early, late);
            assert_eq!(late, Ok(pid));
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_cached_name_follows_its_new_holder_once_the_old_one_has_ended() {
    run(async {
        let net = MemoryNet::new(104);
        let nodes = chain(&net, 4).await;
        for target in [0, 1, 3] {
            let (near, far) = (&nodes[0], &nodes[target]);
            let path = format!("{}/notes", far.region());
            let first = notebook(far);
            assert_eq!(near.whereis(&path).await, Ok(first));
            assert_eq!(near.lookup::<Notebook>(&path).await.unwrap().pid(), first);
            far.kill(first);
            eventually("the name is free", || async { far.registered().is_empty() }).await;
            let second = notebook(far);
            let begun = Instant::now();
            eventually("the successor is found", || async {
                near.whereis(&path).await == Ok(second)
            })
            .await;
            assert!(begun.elapsed() < Duration::from_secs(10), "not by the entry's old age");
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_cached_name_is_asked_for_again_after_its_region_was_lost() {
    run(async {
        let net = MemoryNet::new(105);
        let timeout = Duration::from_millis(400);
        let near = root(&net).session_timeout(timeout).start().await.unwrap();
        let far = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        let pid = notebook(&nodes[1]);
        assert_eq!(nodes[0].whereis("2/notes").await, Ok(pid));
        net.cut(id(1), id(2));
        eventually("the entry is dropped", || async {
            // The deadline of a lookup that has to ask would be 5 s.
            let lookup = nodes[0].whereis("2/notes");
            !matches!(tokio::time::timeout(Duration::from_millis(50), lookup).await, Ok(Ok(_)))
        })
        .await;
        net.heal(id(1), id(2));
        eventually("and found again", || async { nodes[0].whereis("2/notes").await == Ok(pid) })
            .await;
        stop(&nodes).await;
    });
}

#[test]
fn messages_to_a_name_keep_their_order_while_it_is_looked_up() {
    run(async {
        let net = MemoryNet::new(106);
        net.default_latency(Duration::from_millis(5));
        let nodes = chain(&net, 4).await;
        for target in [0, 1, 3] {
            let pid = notebook(&nodes[target]);
            let via: Via<Note> =
                nodes[0].via(&format!("{}/notes", nodes[target].region())).unwrap();
            for n in 0..200 {
                match n % 3 {
                    0 => via.do_send(Note(n)),
                    1 => via.try_send(Note(n)).unwrap(),
                    _ if n == 101 => via.tell(Note(n)).await.unwrap(),
                    _ => via.do_send(Note(n)),
                }
            }
            let ask: Via<Notes> = nodes[0].via(via.path()).unwrap();
            let expected: Vec<u64> = (0..200).collect();
            assert_eq!(ask.send(Notes).await, Ok(expected), "target {target}");
            assert_eq!(ask.send(Notes).await.unwrap().len(), 200, "from the cache too");
            assert_eq!(nodes[target].unregister("notes"), Some(pid));
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_ask_to_a_name_finds_the_new_holder_when_the_old_one_has_just_ended() {
    run(async {
        let net = MemoryNet::new(107);
        net.default_latency(Duration::from_millis(2));
        let nodes = chain(&net, 4).await;
        for target in [0, 1, 3] {
            let (near, far) = (&nodes[0], &nodes[target]);
            let via: Via<Notes> = near.via(&format!("{}/notes", far.region())).unwrap();
            for round in 0..10 {
                let pid = notebook(far);
                assert_eq!(via.send(Notes).await, Ok(vec![]), "round {round}");
                far.kill(pid);
                eventually("the name is free", || async { far.registered().is_empty() }).await;
            }
            // The cache may know the last holder, or not any more: the outcome is the same.
            let gone = via.send(Notes).await;
            assert!(
                matches!(gone, Err(ViaAskError::Lookup(LookupError::NotFound { .. }))),
                "{gone:?}"
            );
        }
        stop(&nodes).await;
    });
}

#[test]
fn what_is_sent_to_a_name_without_a_holder_is_a_dead_letter_of_its_name_service() {
    run(async {
        let net = MemoryNet::new(108);
        let nodes = chain(&net, 4).await;
        let near = &nodes[0];
        for (round, target) in [0_usize, 1, 3].into_iter().enumerate() {
            let region = nodes[target].region();
            let via: Via<Note> = near.via(&format!("{region}/nobody")).unwrap();
            via.do_send(Note(1));
            let told = via.tell(Note(2)).await;
            assert!(
                matches!(told, Err(ViaSendError::Lookup(LookupError::NotFound { .. }, Note(2)))),
                "{told:?}"
            );
            let count = round as u64 + 1;
            eventually("the tell is counted", || async {
                near.dropped().get(&DropReason::NoActor) == Some(&count)
            })
            .await;
            let letter = near.dead_letters().pop().unwrap();
            assert_eq!(letter.to, RegionPid::new(region, service::NAMES));
            assert_eq!(letter.message, "test.note");
        }
        let mars: Via<Note> = near.via("mars/notes").unwrap();
        assert!(matches!(
            mars.try_send(Note(3)),
            Err(ViaSendError::Lookup(LookupError::UnknownRegion { .. }, Note(3)))
        ));
        assert!(matches!(near.via::<Note>("1/"), Err(LookupError::Malformed { .. })));
        stop(&nodes).await;
    });
}

#[test]
fn an_ask_to_a_name_keeps_its_deadline_while_the_lookup_hangs() {
    run(async {
        let net = MemoryNet::new(109);
        let nodes = chain(&net, 2).await;
        notebook(&nodes[1]);
        net.cut(id(1), id(2));
        let via: Via<Notes> = nodes[0].via("2/notes").unwrap();
        let begun = Instant::now();
        let answer = via.send(Notes).deadline(Duration::from_millis(100)).await;
        assert!(matches!(answer, Err(ViaAskError::Lookup(LookupError::Ask { .. }))), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(3));
        stop(&nodes).await;
        let stopped = nodes[0].whereis("2/notes").await;
        assert!(matches!(stopped, Err(LookupError::Ask { .. })), "{stopped:?}");
    });
}
