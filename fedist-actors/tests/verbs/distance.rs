//! The table at 0, 1 and 3 hops.

use fedist_transport::memory::MemoryNet;

use crate::{
    support::*,
    table::{TABLE, check},
};

#[test]
fn every_verb_has_the_same_outcome_at_every_distance() {
    run(async {
        let net = MemoryNet::new(60);
        let mut nodes = vec![root(&net).mailbox_capacity(64).start().await.unwrap()];
        for number in 2..=4 {
            let node = below(&net, number - 1, number).mailbox_capacity(64);
            nodes.push(node.start().await.unwrap());
        }
        routed(&nodes).await;
        let mut wrong = Vec::new();
        for verb in TABLE {
            for hops in [0, 1, 3] {
                wrong.extend(check(verb, &nodes[0], &nodes[hops]).await.err());
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        stop(&nodes).await;
    });
}
