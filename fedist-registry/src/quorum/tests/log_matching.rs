//! Two logs that hold the same entry are the same up to it (Raft, figure 3). The hash chain makes this so by construction;
//! the check is that no engine ever holds a chain that does not join.

use super::{
    Plant,
    cluster::{Broken, Cluster, Faults, run_seeds},
};
use crate::{Micros, quorum::QuorumEntry};

pub(super) fn check(cluster: &mut Cluster, machine: usize) -> Result<(), Broken> {
    let this = &cluster.machines[machine];
    let Some(engine) = &this.engine else {
        return Ok(());
    };
    let mut last = engine.committed();
    for entry in engine.tail() {
        let point = entry.point();
        if entry.prev != last.version.hash
            || point.version.index != last.version.index + 1
            || point.term < last.term
            || point.term > engine.term()
        {
            return Err(format!("region {}: {point:?} does not follow {last:?}", this.id));
        }
        last = point;
    }
    if last == engine.last() {
        Ok(())
    } else {
        Err(format!("region {}: its log ends at {last:?}, not at {:?}", this.id, engine.last()))
    }
}

#[test]
fn every_log_is_a_chain_under_loss_and_disorder() {
    let faults = Faults { loss: 0.3, repeat: 0.3, delay_ms_max: 1_500, ..Faults::CHAOS };
    run_seeds(1_000..1_060, faults, Plant::default(), Micros::from_secs(30)).unwrap();
}
