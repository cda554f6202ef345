//! At most one leader is elected in a term (Raft, figure 3).

use super::{
    Plant,
    cluster::{Broken, Cluster, Faults, run_seeds},
};
use crate::Micros;

pub(super) fn check(cluster: &mut Cluster, machine: usize) -> Result<(), Broken> {
    let this = &cluster.machines[machine];
    let Some(engine) = this.engine.as_ref().filter(|engine| engine.is_leader()) else {
        return Ok(());
    };
    let first = *cluster.leaders.entry(engine.term()).or_insert(this.id);
    if first == this.id {
        Ok(())
    } else {
        let term = engine.term();
        Err(format!("term {term} has two leaders, regions {first} and {}", this.id))
    }
}

#[test]
fn no_term_has_two_leaders_however_often_candidates_crash() {
    run_seeds(0..150, Faults::ELECTIONS, Plant::default(), Micros::from_secs(30)).unwrap();
}

#[test]
fn two_votes_in_a_term_are_found() {
    let plant = Plant { votes_twice: true, ..Plant::default() };
    let broken = run_seeds(0..500, SLOW, plant, Micros::from_secs(60)).unwrap_err();
    assert!(broken.contains("two leaders"), "{broken}");
}

#[test]
fn a_vote_that_is_not_on_disk_is_found() {
    let plant = Plant { forgets_votes: true, ..Plant::default() };
    let faults = Faults { crash_at_worst: 1.0, down_ms_max: 60, repeat: 1.0, ..SLOW };
    let broken = run_seeds(0..2_000, faults, plant, Micros::from_secs(60)).unwrap_err();
    assert!(broken.contains("two leaders"), "{broken}");
}

/// Messages that take longer than an election, so that terms with several candidates are common.
const SLOW: Faults = Faults {
    delay_ms_max: 2_500,
    loss: 0.02,
    repeat: 0.5,
    part_every_ms: 0,
    pause_every_ms: 0,
    down_ms_max: 200,
    crash_at_worst: 0.5,
    ..Faults::ELECTIONS
};
