//! No two regions ever decide different entries at one index (Raft, figure 3).

use super::{
    Plant,
    cluster::{Broken, Cluster, Faults, run_seeds},
};
use crate::{Micros, quorum::QuorumEntry};

pub(super) fn check(cluster: &mut Cluster, machine: usize) -> Result<(), Broken> {
    let this = &cluster.machines[machine];
    let from = cluster.checked[machine];
    for (at, entry) in this.decided.iter().enumerate().skip(from) {
        let point = entry.point();
        match cluster.truth.get(at) {
            Some(first) if *first != point => {
                return Err(format!("region {} decided {point:?}, others {first:?}", this.id));
            }
            Some(_) => {}
            None => cluster.truth.push(point),
        }
    }
    cluster.checked[machine] = this.decided.len();
    Ok(())
}

#[test]
fn all_regions_decide_the_same_under_chaos() {
    run_seeds(3_000..3_500, Faults::CHAOS, Plant::default(), Micros::from_secs(20)).unwrap();
}

/// Figure 8 of the Raft paper needs leaders that replicate an old entry, die before one of their own gets through, and come
/// back: many crashes and slow messages.
#[test]
fn deciding_entries_of_earlier_terms_by_count_is_found() {
    let plant = Plant { commits_old_terms: true, ..Plant::default() };
    let faults = Faults {
        loss: 0.1,
        repeat: 0.0,
        delay_ms_max: 200,
        part_every_ms: 0,
        crash_every_ms: 6_000,
        down_ms_max: 5_000,
        crash_at_worst: 0.5,
        begin_ms_max: 800,
        pause_every_ms: 0,
        change_every_ms: 0,
    };
    let broken = run_seeds(0..4_000, faults, plant, Micros::from_secs(60)).unwrap_err();
    assert!(broken.contains("decided"), "{broken}");
}
