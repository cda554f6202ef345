//! Root candidates: the registry goes on without one of them, and never in two ways.

use std::time::Duration;

use fedist_actors::{ChangeError, Node, PromoteError};
use fedist_registry::RegionId;
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// Short, so that elections do not make the tests long; long enough for a busy machine.
const ELECTION: Duration = Duration::from_millis(500);

/// Candidates 1, 2 and 3, all linked to each other. 1 is the root, and the master at first.
async fn candidates(net: &MemoryNet) -> Vec<Node> {
    let three = [id(1), id(2), id(3)];
    let first = root(net).election_timeout(ELECTION).root_candidates(three);
    let mut nodes = vec![first.start().await.unwrap()];
    for number in [2, 3] {
        let builder = below(net, 1, number).election_timeout(ELECTION);
        nodes.push(builder.link(id(5 - number)).start().await.unwrap());
    }
    routed(&nodes).await;
    eventually("the candidates are set", || async {
        nodes.iter().all(|node| node.view().registry.candidates() == three)
    })
    .await;
    nodes
}

fn master(node: &Node) -> Option<RegionId> {
    node.view().registry.master()
}

#[test]
fn joins_go_on_when_the_master_dies() {
    run(async {
        let net = MemoryNet::new(50);
        let nodes = candidates(&net).await;
        assert_eq!(master(&nodes[1]), Some(id(1)));
        net.crash(id(1));
        let newcomer = below(&net, 2, 4).start().await.unwrap();
        let master = master(&newcomer).unwrap();
        assert!(master == id(2) || master == id(3), "{master}");
        eventually("both others hold it", || async {
            nodes[1..].iter().all(|node| node.view().registry.is_live(id(4)))
        })
        .await;
        stop(&nodes[1..]).await;
        newcomer.stop().await;
    });
}

#[test]
fn a_master_that_is_cut_off_decides_nothing_and_follows_after_the_heal() {
    run(async {
        let net = MemoryNet::new(51);
        let mut nodes = candidates(&net).await;
        net.cut(id(1), id(2));
        net.cut(id(1), id(3));
        let before = nodes[0].view().registry.version();
        let alone = nodes[0].delegate_block(id(1), id(100), id(199));
        let joined = below(&net, 3, 4).start();
        let (alone, joined) = tokio::join!(alone, joined);
        assert!(
            matches!(alone, Err(ChangeError::Undecided | ChangeError::NoMaster { .. })),
            "{alone:?}"
        );
        nodes.push(joined.unwrap());
        assert_eq!(nodes[0].view().registry.version(), before, "nothing changed there");
        net.heal(id(1), id(2));
        net.heal(id(1), id(3));
        eventually("all hold the same log", || async {
            let version = nodes[3].view().registry.version();
            nodes.iter().all(|node| node.view().registry.version() == version)
        })
        .await;
        let registry = &nodes[0].view().registry;
        assert!(registry.is_live(id(4)));
        assert_eq!(registry.blocks().count(), 0, "what was never decided is gone");
        assert_ne!(registry.master(), Some(id(1)));
        // It is a follower now, and its changes go to the one that leads.
        nodes[0].delegate_block(id(2), id(200), id(299)).await.unwrap();
        stop(&nodes).await;
    });
}

#[test]
fn the_set_of_candidates_changes_while_the_federation_runs() {
    run(async {
        let net = MemoryNet::new(52);
        let nodes = candidates(&net).await;
        let even = nodes[0].set_root_candidates(&[id(1), id(2)]).await;
        assert!(matches!(even, Err(ChangeError::Refused(_))), "{even:?}");
        let alone = nodes[0].set_root_candidates(&[id(3)]).await.unwrap();
        eventually("region 3 is the master", || async {
            nodes.iter().all(|node| master(node) == Some(id(3)))
        })
        .await;
        let back = nodes[2].set_root_candidates(&[id(1), id(2), id(3)]).await.unwrap();
        assert!(back > alone);
        stop(&nodes).await;
    });
}

#[test]
fn one_candidate_that_is_not_the_root_becomes_the_master() {
    run(async {
        let net = MemoryNet::new(53);
        let root = root(&net).root_candidates([id(2)]).election_timeout(ELECTION);
        let root = root.start().await.unwrap();
        let parent = below(&net, 1, 2).election_timeout(ELECTION).start().await.unwrap();
        let nodes = vec![root, parent];
        eventually("region 2 is the master", || async {
            nodes.iter().all(|node| master(node) == Some(id(2)))
        })
        .await;
        let child = below(&net, 1, 3).start().await.unwrap();
        assert_eq!(child.view().registry.hierarchy().root(), Some(id(1)));
        stop(&nodes).await;
        child.stop().await;
    });
}

#[test]
fn a_region_takes_over_from_a_root_that_is_gone_and_a_root_that_returns_follows() {
    run(async {
        let net = MemoryNet::new(54);
        let root = root(&net).start().await.unwrap();
        let second = below(&net, 1, 2).start().await.unwrap();
        let third = below(&net, 1, 3).link(id(2)).start().await.unwrap();
        let leaf = below(&net, 2, 4).start().await.unwrap();
        let mut nodes = vec![root, second, third, leaf];
        routed(&nodes).await;
        assert_eq!(
            nodes[1].danger_promote().await,
            Err(PromoteError::Alive { master: id(1) }),
            "the root answers"
        );
        assert_eq!(
            nodes[3].danger_promote().await,
            Err(PromoteError::NotEligible { region: id(4) })
        );
        assert_eq!(nodes[0].danger_promote().await, Err(PromoteError::IsMaster { region: id(1) }));
        for other in 2..=5 {
            net.cut(id(1), id(other));
        }
        // It does not know that it will never be heard of again.
        nodes[0].delegate_block(id(2), id(100), id(199)).await.unwrap();
        nodes[0].delegate_block(id(3), id(200), id(299)).await.unwrap();
        let promotion = nodes[1].danger_promote().await.unwrap();
        assert_eq!((promotion.from, promotion.term), (id(1), 2));
        eventually("region 3 knows the new master", || async { master(&nodes[2]) == Some(id(2)) })
            .await;
        nodes.push(below(&net, 3, 5).start().await.unwrap());
        for other in 2..=5 {
            net.heal(id(1), id(other));
        }
        eventually("all hold the newer log", || async {
            let version = nodes[1].view().registry.version();
            nodes.iter().all(|node| node.view().registry.version() == version)
        })
        .await;
        let registry = &nodes[0].view().registry;
        assert_eq!((registry.master(), registry.candidates()), (Some(id(2)), &[id(2)][..]));
        assert_eq!(registry.blocks().count(), 0, "what the old root wrote meanwhile is lost");
        let counters = nodes[0].status().await.unwrap().counters;
        assert_eq!(counters["registry_entries_lost"], 2);
        // The root of the tree is still region 1; who writes is another question.
        assert_eq!(registry.hierarchy().root(), Some(id(1)));
        stop(&nodes).await;
    });
}
