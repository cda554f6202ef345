//! A region that is cut off for a while serves itself, and catches up by itself (contract C20).

use std::time::Duration;

use fedist_actors::{DropReason, Node, PidSend, SendError, Supervisor, exported_child};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// After this a session ends and says what it could not deliver.
const TIMEOUT: Duration = Duration::from_millis(2_500);

/// 1 - 2 - 3, with patience for `TIMEOUT` only.
async fn short_chain(net: &MemoryNet) -> Vec<Node> {
    let mut nodes = vec![root(net).session_timeout(TIMEOUT).start().await.unwrap()];
    for number in 2..=3 {
        let builder = below(net, number - 1, number).session_timeout(TIMEOUT);
        nodes.push(builder.start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}

async fn cut_off(node: &Node) {
    eventually("the region is alone", || async {
        node.status().await.unwrap().links.is_empty() && node.view().routes.get(id(1)).is_none()
    })
    .await;
}

#[test]
fn a_region_that_is_cut_off_works_alone_and_catches_up_afterwards() {
    run(async {
        let net = MemoryNet::new(60);
        let mut nodes = short_chain(&net).await;
        let far = notebook(&nodes[0]);
        far.tell(&nodes[2], Note(1)).await.unwrap();
        eventually("what was sent has come", || async {
            far.send(&nodes[2], Notes).await.is_ok_and(|notes| notes == [1])
        })
        .await;
        net.cut(id(2), id(3));
        let alone = nodes[2].clone();
        cut_off(&alone).await;
        eventually("sends are refused by name", || async {
            matches!(far.try_send(&alone, Note(0)), Err(SendError::NoRoute(region, Note(0))) if region == id(1))
        })
        .await;
        // Its own actors do not notice: spawn, send, name, supervise, read the registry.
        let own = notebook(&alone);
        own.tell(&alone, Note(7)).await.unwrap();
        assert_eq!(own.send(&alone, Notes).await.unwrap(), [7]);
        assert_eq!(alone.whereis("notes").await, Ok(own));
        let child = exported_child("child", Notebook::default, |export| {
            export.handles::<Note>().handles::<Notes>().handles::<Crash>().name("child")
        });
        let tree = Supervisor::one_for_one().child(child).start_wait(&alone).await.unwrap();
        let first = alone.whereis("child").await.unwrap();
        first.tell(&alone, Crash("once".to_owned())).await.unwrap();
        eventually("the child is started again", || async {
            alone.whereis("child").await.is_ok_and(|pid| pid != first)
        })
        .await;
        assert_eq!(alone.view().registry.len(), 3);
        alone.groups().join("room", own, &()).unwrap();
        // What is to wait, waits; what is not, does not.
        let waiting = tokio::spawn({
            let alone = alone.clone();
            async move { far.tell_within(&alone, Note(2), Duration::from_secs(30)).await }
        });
        let early = far.tell_within(&alone, Note(9), Duration::from_millis(50)).await;
        assert!(matches!(early, Err(SendError::NoRoute(_, Note(9)))), "{early:?}");
        // Meanwhile elsewhere.
        nodes.push(below(&net, 1, 4).session_timeout(TIMEOUT).start().await.unwrap());
        nodes[0].register("news", far).unwrap();
        assert!(alone.view().registry.get(id(4)).is_none());
        net.heal(id(2), id(3));
        eventually("the registry has come", || async {
            alone.view().registry.version() == nodes[0].view().registry.version()
                && alone.view().registry.is_live(id(4))
        })
        .await;
        routed(&nodes).await;
        waiting.await.unwrap().unwrap();
        eventually("what waited has come", || async {
            far.send(&alone, Notes).await.is_ok_and(|notes| notes.len() > 1)
        })
        .await;
        assert_eq!(far.send(&alone, Notes).await.unwrap(), [1, 2], "once");
        eventually("names and groups are as everywhere", || async {
            alone.whereis("root/news").await == Ok(far)
                && nodes[0].whereis("3/child").await.is_ok()
                && nodes[3].groups().members("room").len() == 1
        })
        .await;
        assert_eq!(own.send(&nodes[3], Notes).await.unwrap(), [7]);
        drop(tree);
        stop(&nodes).await;
    });
}

#[test]
fn what_was_accepted_and_could_not_arrive_in_time_is_counted_once() {
    run(async {
        let net = MemoryNet::new(61);
        let nodes = short_chain(&net).await;
        let far = notebook(&nodes[0]);
        far.tell(&nodes[2], Note(0)).await.unwrap();
        eventually("the session is open", || async {
            far.send(&nodes[2], Notes).await.is_ok_and(|notes| notes == [0])
        })
        .await;
        net.cut(id(1), id(2));
        let (mut accepted, mut refused) = (1, 0);
        for number in 1..=500 {
            match far.try_send(&nodes[2], Note(number)) {
                Ok(()) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
        assert_eq!(accepted + refused, 501);
        assert!(accepted > 1, "nobody knows of the cut yet");
        let given_up = || nodes[2].dropped().get(&DropReason::SessionEnded).copied().unwrap_or(0);
        eventually("the session has ended", || async { given_up() > 0 }).await;
        net.heal(id(1), id(2));
        routed(&nodes).await;
        eventually("asks are answered again", || async {
            far.send(&nodes[2], Notes).await.is_ok()
        })
        .await;
        let arrived = far.send(&nodes[2], Notes).await.unwrap();
        assert_eq!(arrived.len() as u64 + given_up(), accepted, "{:?}", nodes[2].dropped());
        assert!(arrived.is_sorted_by(|a, b| a < b), "in order, none twice");
        assert_eq!(nodes[2].dropped().len(), 1, "one reason: {:?}", nodes[2].dropped());
        stop(&nodes).await;
    });
}
