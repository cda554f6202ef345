//! Children in other regions.

use std::{sync::Arc, time::Duration};

use fedist_actors::{
    ChildState, ExitReason, LocalAddr, Node, Place, Supervisor, SupervisorError, remote_child,
};
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::memory::MemoryNet;

use crate::{
    support::{below, eventually, id, root, routed, run, stop},
    workers::{End, Journal, Worker, end, panicked, pid_of},
};

/// Three regions, 2 and 3 below 1, that all list the factory `worker`.
async fn regions(net: &MemoryNet, journal: &Journal) -> Vec<Node> {
    let mut nodes = Vec::new();
    for builder in [root(net), below(net, 1, 2), below(net, 1, 3).link(id(2))] {
        let region = nodes.len() + 1;
        let journal = journal.clone();
        let make = move |name: String| Worker::new(&format!("{name}@{region}"), &journal);
        let node = builder
            .session_timeout(TIMEOUT)
            .factory("worker", 1, make, |export| export.handles::<End>())
            .start()
            .await
            .unwrap();
        nodes.push(node);
    }
    routed(&nodes).await;
    nodes
}

const TIMEOUT: Duration = Duration::from_millis(1_500);

async fn one(node: &Node, place: Place, failover: bool) -> LocalAddr<Supervisor> {
    let child = remote_child("w", "worker", "w".to_owned()).place(place).failover(failover);
    Supervisor::one_for_one().child(child).start_wait(node).await.unwrap()
}

async fn runs_in(supervisor: &LocalAddr<Supervisor>, region: RegionId) -> RegionPid {
    eventually("the child runs in its region", || async {
        let child = supervisor.which_children().await.unwrap().remove(0);
        child.pid.is_some_and(|pid| pid.region() == region)
    })
    .await;
    pid_of(supervisor, "w").await
}

#[test]
fn a_child_is_put_where_its_place_says_and_ends_with_its_supervisor() {
    run(async {
        let (net, journal) = (MemoryNet::new(51), Journal::default());
        let nodes = regions(&net, &journal).await;
        let near = nodes[2].spawn(Worker::new("near", &journal)).unwrap();
        journal.reads(&["start near"]).await;
        let chosen = Arc::new(|view: &fedist_actors::View| {
            view.registry.by_name("2").or_else(|| view.registry.get(id(2))).map(|record| record.id)
        });
        let places = [
            (Place::At(id(2)), 2),
            (Place::At(id(1)), 1),
            (Place::Near(near.pid()), 3),
            (Place::AnyOf(vec![id(9), id(3), id(2)]), 3),
            (Place::By(chosen), 2),
        ];
        for (place, region) in places {
            let text = format!("{place:?}");
            let supervisor = one(&nodes[0], place, false).await;
            let pid = pid_of(&supervisor, "w").await;
            assert_eq!(pid.region(), id(region), "{text}");
            end(&nodes[0], pid, panicked()).await;
            let (start, end) = (format!("start w@{region}"), format!("end w@{region}"));
            journal.reads(&[&start, &end, &start]).await;
            assert_eq!(runs_in(&supervisor, id(region)).await.region(), id(region));
            supervisor.stop(ExitReason::Shutdown).await;
            journal.reads(&[&end]).await;
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_killed_supervisor_takes_its_children_in_other_regions_along() {
    run(async {
        let (net, journal) = (MemoryNet::new(52), Journal::default());
        let nodes = regions(&net, &journal).await;
        let supervisor = one(&nodes[0], Place::At(id(3)), false).await;
        nodes[0].kill(supervisor.pid());
        journal.reads(&["start w@3", "end w@3"]).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_child_moves_when_its_region_is_gone_if_its_spec_allows_that() {
    run(async {
        let (net, journal) = (MemoryNet::new(53), Journal::default());
        let nodes = regions(&net, &journal).await;
        let moves = one(&nodes[0], Place::AnyOf(vec![id(3), id(2)]), false).await;
        let fails_over = one(&nodes[0], Place::At(id(3)), true).await;
        let waits = one(&nodes[0], Place::At(id(3)), false).await;
        let old = pid_of(&waits, "w").await;
        journal.reads(&["start w@3", "start w@3", "start w@3"]).await;
        net.isolate(id(3));
        runs_in(&moves, id(2)).await;
        runs_in(&fails_over, id(1)).await;
        eventually("the third waits for its place", || async {
            waits.which_children().await.unwrap()[0].state == ChildState::Restarting
        })
        .await;
        // The region that was cut off has ended its own by itself.
        eventually("the old lives have ended", || async { journal.count("end w@3") == 3 }).await;
        net.rejoin(id(3));
        assert_ne!(runs_in(&waits, id(3)).await, old);
        runs_in(&moves, id(2)).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_factory_that_is_not_listed_fails_the_start_and_says_what_is() {
    run(async {
        let (net, journal) = (MemoryNet::new(54), Journal::default());
        let nodes = regions(&net, &journal).await;
        let child = remote_child("w", ("worker", 7), "w".to_owned()).place(Place::At(id(2)));
        let failed = Supervisor::one_for_one().child(child).start_wait(&nodes[0]).await;
        let text = match failed {
            Err(SupervisorError::Start(text)) => text,
            other => panic!("{:?}", other.map(|addr| addr.pid())),
        };
        assert!(text.contains("version 7") && text.contains("worker 1"), "{text}");
        stop(&nodes).await;
    });
}
