//! Spawns, tasks, calls, streams and child specs at the home of a key.

use std::time::Duration;

use fedist_actors::{
    HomeError, PidSend, Place, SpawnAtError, Supervisor, TaskError, home_of, remote_child,
};
use fedist_registry::{NoHome, RangeTable, Rule};
use fedist_transport::memory::MemoryNet;
use futures_util::StreamExt;

use crate::{rules::*, support::*};

#[test]
fn actors_and_tasks_are_placed_where_their_key_belongs() {
    run(async {
        let net = MemoryNet::new(920);
        let nodes = star(&net, 3).await;
        let node = &nodes[1];
        let table: RangeTable = "a..m => 1, n..n => 2, o..z => 3".parse().unwrap();
        node.delineate_by(&table.into()).unwrap();
        for (key, home) in [("apple", 1), ("nut", 2), ("zoo", 3)] {
            let pid = node.spawn_at(home_of(key), "here", &()).await.unwrap();
            assert_eq!(pid.region(), id(home));
            assert_eq!(pid.send(node, WhereAreYou).await, Ok(home));
            let (pid, _monitor) = node.spawn_monitor_at(home_of(key), "here", &()).await.unwrap();
            assert_eq!(pid.region(), id(home));
            let piece = || Piece { test: "placed".into(), number: 7, millis: 0 };
            assert_eq!(node.call(home_of(key), work, piece()).await, Ok((7, home)));
            let task = node.tasks().at(home_of(key)).start(work, piece()).await.unwrap();
            assert_eq!(task.region(), id(home));
            assert_eq!(task.await_for(Duration::from_secs(5)).await, Ok((7, home)));
        }
        let keys = ["zoo", "nut", "apple", "olive"];
        let inputs = keys.map(|key| Piece { test: key.into(), number: 1, millis: 0 });
        let stream = node.tasks().stream(inputs, work).homes(|piece: &Piece| piece.test.clone());
        let went: Vec<_> = stream.start().map(|done| done.unwrap().1).collect().await;
        assert_eq!(went, [3, 2, 1, 3]);

        let nowhere = node.call(home_of("9"), picky, 1).await;
        assert!(
            matches!(&nowhere, Err(TaskError::NoHome(HomeError::NoHome(NoHome::NoEntry { .. })))),
            "{nowhere:?}"
        );
        let nowhere = node.spawn_at(home_of("9"), "here", &()).await;
        assert!(matches!(nowhere, Err(SpawnAtError::NoHome(_))), "{nowhere:?}");
        stop(&nodes).await;
    });
}

#[test]
fn a_child_is_started_at_the_home_of_its_key_and_waits_while_it_has_none() {
    run(async {
        let net = MemoryNet::new(921);
        let nodes = star(&net, 3).await;
        let node = &nodes[0];
        node.delineate_by(&"a..m => 2".parse::<RangeTable>().unwrap().into()).unwrap();
        let supervisor = Supervisor::one_for_one()
            .backoff(Duration::from_millis(10))
            .backoff_max(Duration::from_millis(20))
            .child(remote_child("zoo", "here", ()).place(Place::home_of("zoo")))
            .start(node)
            .unwrap();
        let child = || async {
            let trees = node.tree();
            let children = trees.into_iter().flat_map(|tree| tree.children);
            children.filter(|child| child.name == "zoo").find_map(|child| child.pid)
        };
        // The key has no home: the start is tried again and again, and nothing else is harmed.
        eventually("the start was tried", || async { node.delineation().failed >= 3 }).await;
        assert_eq!(child().await, None);
        node.delineate_by(&Rule::Fixed { region: id(3) }).unwrap();
        eventually("the child runs", || async { child().await.is_some() }).await;
        assert_eq!(child().await.unwrap().region(), id(3));
        drop(supervisor);
        stop(&nodes).await;
    });
}
