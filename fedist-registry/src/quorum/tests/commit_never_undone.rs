//! What one region has decided stays decided there: its log only grows, and the engine agrees with what is on disk.

use super::{
    Plant,
    cluster::{Broken, Cluster, Faults, run_seeds},
};
use crate::{Micros, quorum::QuorumEntry};

pub(super) fn check(cluster: &mut Cluster, machine: usize) -> Result<(), Broken> {
    let this = &cluster.machines[machine];
    if this.decided.len() < cluster.checked[machine] {
        return Err(format!("region {}: decided entries are gone", this.id));
    }
    let Some(engine) = &this.engine else {
        return Ok(());
    };
    let on_disk = this.decided.last().map(QuorumEntry::point).unwrap_or_default();
    if engine.committed() == on_disk {
        Ok(())
    } else {
        let engine = engine.committed();
        Err(format!("region {}: decided {engine:?}, on disk {on_disk:?}", this.id))
    }
}

#[test]
fn decided_entries_outlive_pauses_and_partitions() {
    let faults = Faults { pause_every_ms: 1_000, part_every_ms: 1_500, ..Faults::CHAOS };
    run_seeds(4_000..4_100, faults, Plant::default(), Micros::from_secs(30)).unwrap();
}
