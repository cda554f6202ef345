//! After the faults end, a leader is elected, changes are decided, and all candidates hold the same log.

use super::{
    Plant,
    cluster::{Cluster, Faults},
};
use crate::Micros;

#[test]
fn a_healed_cluster_elects_decides_and_agrees() {
    for seed in 0..150 {
        let mut cluster = Cluster::new(seed, Faults::CHAOS, Plant::default());
        cluster.run(Micros::from_secs(20)).unwrap();
        cluster.heal(Micros::from_secs(20)).unwrap();
        let before = cluster.truth.len();
        let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: nobody leads")).id;
        cluster.propose_to(leader);
        cluster.run(Micros::from_secs(3)).unwrap();
        assert!(cluster.truth.len() > before, "seed {seed}: nothing is decided any more");
        let engine = cluster.leader().unwrap().engine.as_ref().unwrap();
        for voter in engine.voters() {
            let held = cluster.machines[usize::from(voter.get()) - 1].decided.len();
            // The last entries may be on their way.
            assert!(held + 20 > before, "seed {seed}: region {voter} is behind ({held}, {before})");
        }
    }
}
