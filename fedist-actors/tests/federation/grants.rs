//! Newcomers while the master is away: admitted by a delegate, and confirmed or refused when the master is back.

use fedist_actors::{Node, PidSend};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// 1 - 2 - 4, and 2 may admit 100 to 199; then 1 is cut off.
async fn without_master(net: &MemoryNet) -> Vec<Node> {
    let nodes = vec![
        root(net).start().await.unwrap(),
        below(net, 1, 2).start().await.unwrap(),
        below(net, 2, 4).start().await.unwrap(),
    ];
    routed(&nodes).await;
    nodes[0].delegate_block(id(2), id(100), id(199)).await.unwrap();
    eventually("the delegate knows its block", || async {
        nodes[1].view().registry.delegate_of(id(100)) == Some(id(2))
    })
    .await;
    net.cut(id(1), id(2));
    nodes
}

#[test]
fn a_newcomer_joins_through_a_delegate_and_is_in_the_log_when_the_master_is_back() {
    run(async {
        let net = MemoryNet::new(70);
        let mut nodes = without_master(&net).await;
        let before = nodes[1].view().registry.version();
        let newcomer = below(&net, 2, 100).start().await.unwrap();
        assert!(newcomer.is_live());
        assert!(newcomer.view().registry.is_provisional(id(100)));
        assert_eq!(newcomer.view().registry.version(), before, "the log knows nothing of it");
        // It talks to everybody who can be reached.
        let far = notebook(&nodes[2]);
        routed(&[newcomer.clone(), nodes[1].clone(), nodes[2].clone()]).await;
        far.tell(&newcomer, Note(1)).await.unwrap();
        assert_eq!(far.send(&newcomer, Notes).await.unwrap(), [1]);
        let back = notebook(&newcomer);
        assert_eq!(back.send(&nodes[2], Notes).await.unwrap(), [0_u64; 0]);
        assert!(nodes[0].view().registry.get(id(100)).is_none());
        net.heal(id(1), id(2));
        nodes.push(newcomer);
        eventually("the log has it, everywhere", || async {
            let version = nodes[0].view().registry.version();
            nodes.iter().all(|node| {
                let registry = &node.view().registry;
                registry.version() == version
                    && registry.is_live(id(100))
                    && !registry.is_provisional(id(100))
            })
        })
        .await;
        routed(&nodes).await;
        assert!(nodes[3].is_live());
        stop(&nodes).await;
    });
}

#[test]
fn a_newcomer_outside_the_block_waits_for_the_master() {
    run(async {
        let net = MemoryNet::new(71);
        let mut nodes = without_master(&net).await;
        let newcomer = below(&net, 2, 50).wait_until_live(false).start().await.unwrap();
        eventually("it was told to wait", || async {
            nodes[1].status().await.unwrap().counters.contains_key("joins_refused")
        })
        .await;
        assert!(!newcomer.is_live());
        net.heal(id(1), id(2));
        nodes.push(newcomer);
        eventually("it is live", || async { nodes[3].is_live() }).await;
        stop(&nodes).await;
    });
}

#[test]
fn the_log_decides_when_the_master_has_given_the_name_to_another() {
    run(async {
        let net = MemoryNet::new(72);
        let mut nodes = without_master(&net).await;
        net.cut(id(1), id(100));
        net.cut(id(2), id(5));
        let guest = below(&net, 2, 100).name("guest").start().await.unwrap();
        nodes.push(below(&net, 1, 5).name("guest").start().await.unwrap());
        net.heal(id(1), id(2));
        net.heal(id(1), id(100));
        net.heal(id(2), id(5));
        eventually("the one that came second is no member", || async { !guest.is_live() }).await;
        eventually("nobody holds it for one", || async {
            nodes.iter().all(|node| {
                let registry = &node.view().registry;
                registry.get(id(100)).is_none()
                    && registry.by_name("guest").is_some_and(|record| record.id == id(5))
            })
        })
        .await;
        assert_eq!(nodes[1].status().await.unwrap().counters["grants_taken_back"], 1);
        stop(&nodes).await;
        guest.stop().await;
    });
}
