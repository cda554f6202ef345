//! What a node shows of its supervision trees.

use fedist_actors::{ChildKind, ChildState, Node, Strategy, Supervisor, Tree, supervisor_child};
use fedist_registry::{RegionPid, service};
use fedist_transport::memory::MemoryNet;

use crate::{
    support::{chain, eventually, id, run, stop},
    workers::{Journal, worker},
};

fn names(trees: &[Tree]) -> Vec<&str> {
    trees.iter().map(|tree| tree.name.as_str()).collect()
}

fn system(node: &Node) -> Tree {
    node.tree().into_iter().find(|tree| tree.name == "system").unwrap()
}

#[test]
fn the_runtimes_own_services_hang_in_a_tree_and_relays_below_it() {
    run(async {
        let net = MemoryNet::new(41);
        let nodes = chain(&net, 2).await;
        let tree = system(&nodes[0]);
        let services =
            ["relays", "registrar", "names", "delineator", "tasks", "groups", "echo", "hub"];
        assert_eq!(names(&tree.children)[..services.len()], services);
        let hub = tree.children.iter().find(|child| child.name == "hub").unwrap();
        assert_eq!(hub.pid, Some(RegionPid::new(id(1), service::HUB)));
        assert!(tree.children.iter().all(|child| child.state == ChildState::Running));
        assert_eq!(names(&tree.children[0].children), ["relay to 2"]);
        assert_eq!(tree.children[0].strategy, Some(Strategy::Dynamic));

        // A hub that panics comes back under the same pid, and the tree counts it.
        assert!(nodes[0].danger_crash_hub().await);
        eventually("the hub was restarted", || async {
            let tree = system(&nodes[0]);
            let hub = tree.children.iter().find(|child| child.name == "hub").unwrap();
            hub.restarts == 1 && hub.state == ChildState::Running
        })
        .await;
        // A relay that panics is dialed anew.
        let old = system(&nodes[0]).children[0].children[0].pid;
        assert!(nodes[0].danger_crash_relay(id(2)).await);
        eventually("another relay runs", || async {
            let relays = &system(&nodes[0]).children[0];
            relays.children.len() == 1 && relays.children[0].pid != old
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn any_service_that_is_killed_is_started_again_under_its_id() {
    run(async {
        let net = MemoryNet::new(42);
        let nodes = chain(&net, 2).await;
        for id in [
            service::NAMES,
            service::ECHO,
            service::REGISTRAR,
            service::DELINEATOR,
            service::TASKS,
            service::GROUPS,
            service::HUB,
        ] {
            nodes[1].kill(RegionPid::new(nodes[1].region(), id));
        }
        eventually("all of them were restarted", || async {
            let tree = system(&nodes[1]);
            tree.children[1..].iter().all(|c| c.restarts == 1 && c.state == ChildState::Running)
        })
        .await;
        // And they serve: the name is looked up through names and hub.
        let supervisor = Supervisor::one_for_one().name("app").start_wait(&nodes[1]).await.unwrap();
        assert_eq!(nodes[0].whereis("2/app").await.unwrap(), supervisor.pid());
        stop(&nodes).await;
    });
}

#[test]
fn the_system_supervisor_itself_is_started_again_with_all_its_services() {
    run(async {
        let net = MemoryNet::new(44);
        let nodes = chain(&net, 2).await;
        let supervisor = Supervisor::one_for_one().name("app").start_wait(&nodes[1]).await.unwrap();
        let old = system(&nodes[1]).pid.unwrap();
        nodes[1].kill(old);
        eventually("another one has all services", || async {
            nodes[1].tree().iter().any(|tree| {
                tree.name == "system"
                    && tree.pid != Some(old)
                    && tree.children.len() == 8
                    && tree.children.iter().all(|child| child.state == ChildState::Running)
            })
        })
        .await;
        eventually("it is found from the other region", || async {
            nodes[0].whereis("2/app").await == Ok(supervisor.pid())
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn the_tree_shows_supervisors_of_the_application_with_all_below_them() {
    run(async {
        let net = MemoryNet::new(43);
        let nodes = chain(&net, 1).await;
        let journal = Journal::default();
        let inner = journal.clone();
        let supervisor = Supervisor::rest_for_one()
            .name("shop")
            .child(worker("stock", &journal))
            .child(supervisor_child("tills", move || {
                Supervisor::one_for_one().child(worker("till", &inner))
            }))
            .start_wait(&nodes[0])
            .await
            .unwrap();
        let trees = nodes[0].tree();
        assert_eq!(names(&trees), ["system", "shop"]);
        let shop = &trees[1];
        assert_eq!(shop.pid, Some(supervisor.pid()));
        assert_eq!(names(&shop.children), ["stock", "tills"]);
        assert_eq!(shop.children[1].kind, ChildKind::Supervisor);
        assert_eq!(shop.children[1].strategy, Some(Strategy::OneForOne));
        assert_eq!(names(&shop.children[1].children), ["till"]);
        supervisor.stop(fedist_actors::ExitReason::Shutdown).await;
        assert_eq!(names(&nodes[0].tree()), ["system"]);
        stop(&nodes).await;
    });
}
