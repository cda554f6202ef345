//! The table at 0, 1 and 3 hops.

use fedist_transport::memory::MemoryNet;
use futures_util::future::join_all;

use crate::{
    support::*,
    table::{TABLE, check, ready},
};

#[test]
fn every_verb_has_the_same_outcome_at_every_distance() {
    run(async {
        let net = MemoryNet::new(60);
        let mut nodes = vec![ready(root(&net)).start().await.unwrap()];
        for number in 2..=4 {
            nodes.push(ready(below(&net, number - 1, number)).start().await.unwrap());
        }
        routed(&nodes).await;
        let mut wrong = Vec::new();
        for verb in TABLE {
            let checks = [0, 1, 3].map(|hops| check(verb, &nodes[0], &nodes[hops]));
            wrong.extend(join_all(checks).await.into_iter().filter_map(Result::err));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        stop(&nodes).await;
    });
}
