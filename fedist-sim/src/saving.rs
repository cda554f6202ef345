//! What routes over relays save in a measured world.

use fedist_registry::{LinkCost, Micros};

use crate::full_mesh::cheapest_us;
use crate::{FullMesh, GoalRow, RttMatrix};

/// Of what offline Dijkstra saves against the direct ways, the shares that the routes in use save.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Saving {
    /// When the first link states are in.
    pub at_once: f64,
    /// Two minutes later.
    pub after_two_minutes: f64,
    /// Ordered pairs with a measured link.
    pub pairs: usize,
}

/// Opens a link between all pairs of a matrix. All traffic starts on the direct links; then the link states come in, and the
/// routes follow by estimate, advertising rule and hysteresis. Links are measured once per second, with up to 2 % of jitter.
pub fn saving_kept(matrix: &RttMatrix, seed: u64) -> Saving {
    let mut random = fastrand::Rng::with_seed(seed);
    let len = matrix.len();
    let mut mesh = FullMesh::new(len, LinkCost::from_micros(RELAY_US));
    let mut now = Micros::ZERO;
    let mut shares = Vec::new();
    for second in 0..=130_u64 {
        now += Micros::from_secs(1);
        // A queue only ever adds to a round trip.
        let jitter: Vec<f64> = (0..len * len).map(|_| 1.0 + 0.02 * random.f64().powi(3)).collect();
        let measured = RttMatrix::from_fn(len, |i, j| {
            Some(matrix.one_way_us(i, j)? as f64 / 500.0 * jitter.get(i * len + j)?)
        });
        let moved = mesh.sample(now, &measured);
        if second == SETTLED {
            mesh.start_direct(now);
        }
        let due = mesh.next_deadline().is_some_and(|due| due <= now);
        if second >= SETTLED && (moved || due || second == SETTLED) {
            mesh.update_routes(now);
        }
        if second == SETTLED || second == SETTLED + 120 {
            shares.push(share_kept(matrix, &mesh));
        }
    }
    from_shares(&shares)
}

/// What the routes in use save of what could be saved, and between how many pairs.
fn share_kept(matrix: &RttMatrix, mesh: &FullMesh) -> (f64, usize) {
    let len = matrix.len();
    let cheapest = cheapest_us(matrix, RELAY_US);
    let paid = mesh.paid(matrix);
    let direct: u64 = paid.iter().map(|(direct, _)| *direct).sum();
    let used: u64 = paid.iter().map(|(_, used)| *used).sum();
    let best: u64 = (0..len * len)
        .filter(|at| matrix.one_way_us(at / len, at % len).is_some() && at / len != at % len)
        .filter_map(|at| cheapest.get(at))
        .sum();
    let possible = direct.saturating_sub(best) as f64;
    (((direct as f64) - (used as f64)) / possible, paid.len())
}

fn from_shares(shares: &[(f64, usize)]) -> Saving {
    let share = |at: usize| shares.get(at).map_or(f64::NAN, |(share, _)| *share);
    Saving {
        at_once: share(0),
        after_two_minutes: share(1),
        pairs: shares.first().map_or(0, |(_, pairs)| *pairs),
    }
}

/// The same where all regions start on one machine that has not enough time for them: for 40 s each round trip is longer by
/// the queues for the processor, on the average by 40 ms, and hundreds of routes are chosen meanwhile. *At once* is eight
/// seconds after they got their time.
pub fn saving_after_strained_start(matrix: &RttMatrix, seed: u64) -> Saving {
    let mut random = fastrand::Rng::with_seed(seed);
    let len = matrix.len();
    let mut mesh = FullMesh::new(len, LinkCost::from_micros(RELAY_US));
    let mut shares = Vec::new();
    for second in 0..=STRAINED + SETTLED + 120 {
        let now = Micros::from_secs(second);
        let strained = second < STRAINED;
        mesh.load(now, if strained { 0.9 } else { 0.1 });
        let mean_ms = if strained { 40.0 } else { 0.5 };
        let queued_ms: Vec<f64> =
            (0..len * len).map(|_| -mean_ms * (1.0 - random.f64()).ln()).collect();
        let measured = RttMatrix::from_fn(len, |i, j| {
            Some(matrix.one_way_us(i, j)? as f64 / 500.0 + queued_ms.get(i * len + j)?)
        });
        let moved = mesh.sample(now, &measured);
        if moved || mesh.next_deadline().is_some_and(|due| due <= now) {
            mesh.update_routes(now);
        }
        if second == STRAINED + SETTLED || second == STRAINED + SETTLED + 120 {
            shares.push(share_kept(matrix, &mesh));
        }
    }
    from_shares(&shares)
}

/// Saving kept, under names that start with `name`.
pub fn saving_rows(name: &str, matrix: &RttMatrix) -> Vec<GoalRow> {
    let saving = saving_kept(matrix, 1);
    let limit = format!("100 by offline Dijkstra; {} pairs", saving.pairs);
    let (at_once, later) = (100.0 * saving.at_once, 100.0 * saving.after_two_minutes);
    vec![
        GoalRow::at_least(&format!("{name}-saving-at-once"), at_once, 75.0, "%", &limit),
        GoalRow::at_least(&format!("{name}-saving-2min"), later, 95.0, "%", &limit),
    ]
}

const RELAY_US: u64 = 50;
/// Seconds until the estimates have settled and all states are in.
const SETTLED: u64 = 8;
/// Seconds without enough processor time.
const STRAINED: u64 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn most_of_the_saving_is_there_at_once_and_nearly_all_after_two_minutes() {
        let world = World::generate(20, 11);
        let rtt =
            |i, j| (i != j).then(|| world.one_way_us(i, j)).flatten().map(|us| us as f64 / 500.0);
        let saving = saving_kept(&RttMatrix::from_fn(20, rtt), 1);
        assert_eq!(saving.pairs, 380);
        assert!(saving.at_once > 0.5 && saving.at_once <= 1.0, "{saving:?}");
        assert!(saving.after_two_minutes >= saving.at_once, "{saving:?}");
        assert!(saving.after_two_minutes <= 1.0, "{saving:?}");
    }

    #[test]
    fn what_was_measured_without_processor_time_is_soon_forgotten() {
        let world = World::generate(20, 11);
        let rtt =
            |i, j| (i != j).then(|| world.one_way_us(i, j)).flatten().map(|us| us as f64 / 500.0);
        let saving = saving_after_strained_start(&RttMatrix::from_fn(20, rtt), 1);
        assert!(saving.at_once > 0.75 && saving.at_once <= 1.0, "{saving:?}");
        assert!(saving.after_two_minutes > 0.95 && saving.after_two_minutes <= 1.0, "{saving:?}");
    }
}
