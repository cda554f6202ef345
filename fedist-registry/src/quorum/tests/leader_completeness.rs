//! Who is elected holds every entry that was ever decided (Raft, figure 3).

use super::{
    Plant,
    cluster::{Broken, Cluster, Faults, run_seeds},
};
use crate::{Micros, quorum::QuorumEntry};

pub(super) fn check(cluster: &mut Cluster, machine: usize) -> Result<(), Broken> {
    let this = &cluster.machines[machine];
    let Some(engine) = this.engine.as_ref().filter(|engine| engine.is_leader()) else {
        return Ok(());
    };
    let newest = cluster.leaders.keys().next_back();
    if newest.is_some_and(|newest| engine.term() < *newest) {
        // It does not know yet that it leads no more; it decides nothing new.
        return Ok(());
    }
    let held = engine.last().version.index;
    let Some(decided) = cluster.truth.last() else {
        return Ok(());
    };
    let at = decided.version.index;
    let here = match this.decided.get(at as usize - 1) {
        Some(entry) => Some(entry.point()),
        None => engine.tail().map(QuorumEntry::point).find(|point| point.version.index == at),
    };
    if here == Some(*decided) {
        Ok(())
    } else {
        let term = engine.term();
        Err(format!(
            "region {} leads term {term} with {held} entries without the decided entry {at}",
            this.id
        ))
    }
}

#[test]
fn leaders_hold_all_that_is_decided_while_candidates_change() {
    let faults = Faults { change_every_ms: 2_000, ..Faults::CHAOS };
    run_seeds(2_000..2_100, faults, Plant::default(), Micros::from_secs(40)).unwrap();
}
