//! Real round trips over time: how often routes change, and what that is worth.

use fedist_registry::{LinkCost, Micros};

use crate::full_mesh::cheapest_us;
use crate::{FullMesh, GoalRow, RttMatrix};

/// Round trips of 80 PlanetLab nodes in 18 time slices, in order (source in `data/README.md`). None only if the built-in
/// file is damaged.
pub fn planetlab_series() -> Option<Vec<RttMatrix>> {
    read_series(include_str!("../data/planetlab80-series-ms.csv"))
}

fn read_series(text: &str) -> Option<Vec<RttMatrix>> {
    let mut lines = text.lines();
    let slices = lines.next()?.split(',').count().checked_sub(2)?;
    let mut rows: Vec<(usize, usize, Vec<Option<f64>>)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let mut cells = line.split(',');
        let (i, j) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
        let values: Vec<Option<f64>> = cells.map(|cell| cell.parse().ok()).collect();
        if values.len() != slices || i >= 10_000 || j >= 10_000 {
            return None;
        }
        rows.push((i, j, values));
    }
    let len = rows.iter().map(|(i, j, _)| i.max(j) + 1).max()?;
    let mut cells = vec![vec![None; len * len]; slices];
    for (i, j, values) in rows {
        for (slice, value) in cells.iter_mut().zip(values) {
            for at in [i * len + j, j * len + i] {
                if let Some(cell) = slice.get_mut(at) {
                    *cell = value;
                }
            }
        }
    }
    let matrix = |slice: &Vec<Option<f64>>| {
        RttMatrix::from_fn(len, |i, j| slice.get(i * len + j).copied().flatten())
    };
    Some(cells.iter().map(matrix).collect())
}

/// What a run over a series gave.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct SeriesOutcome {
    /// Changes of a route per pair (one direction) and slice.
    pub changes_per_pair_slice: f64,
    /// What the routes in use cost as a share of the direct ways, over all pairs and slices.
    pub paid_to_direct: f64,
    /// The same with foresight: the cheapest path of each slice.
    pub best_to_direct: f64,
}

/// Runs estimates, advertising rule and hysteresis of every node over the series. A slice lasts `slice`, each link is measured
/// once per `interval`, and what is paid is averaged over the whole slice, so that being late costs.
///
/// The first slice only settles the routes: it lasts three minutes at least and is not counted.
pub fn run_series(series: &[RttMatrix], slice: Micros, interval: Micros) -> SeriesOutcome {
    let relay = LinkCost::from_micros(RELAY_US);
    let len = series.first().map_or(0, RttMatrix::len);
    let mut mesh = FullMesh::new(len, relay);
    let (mut paid, mut direct, mut best) = (0.0, 0.0, 0.0);
    let mut now = Micros::ZERO;
    let (mut settled, mut pairs) = (0, 0_usize);
    for (number, matrix) in series.iter().enumerate() {
        let end = now + if number == 0 { slice.max(SETTLING) } else { slice };
        let cheapest: f64 = cheapest_us(matrix, RELAY_US).iter().map(|us| *us as f64).sum();
        while now < end {
            now += interval;
            let moved = mesh.sample(now, matrix);
            if moved || mesh.next_deadline().is_some_and(|due| due <= now) {
                mesh.update_routes(now);
            }
            if number > 0 {
                let ways = mesh.paid(matrix);
                pairs = ways.len();
                direct += ways.iter().map(|(direct, _)| *direct as f64).sum::<f64>();
                paid += ways.iter().map(|(_, paid)| *paid as f64).sum::<f64>();
                best += cheapest;
            }
        }
        if number == 0 {
            settled = mesh.changes();
        }
    }
    let counted = pairs as f64 * series.len().saturating_sub(1) as f64;
    SeriesOutcome {
        changes_per_pair_slice: (mesh.changes() - settled) as f64 / counted,
        paid_to_direct: paid / direct,
        best_to_direct: best / direct,
    }
}

/// Figures of the PlanetLab series, with one measurement per slice: that is all there is. A slice lasts 20 s,
/// so that a small gain must be there in three slices to last for the minute that the second tier asks for. (The longer a
/// slice, the more small gains last so long: the more changes there are, and the less is paid.)
pub fn planetlab_rows() -> Vec<GoalRow> {
    let series = planetlab_series().unwrap_or_default();
    let run = run_series(&series, SLICE, INTERVAL);
    let limit = format!("{:.3} with foresight; slices of 20 s", run.best_to_direct);
    let rate = run.changes_per_pair_slice;
    vec![
        GoalRow::at_most("planetlab-route-changes", rate, 0.03, "/pair/slice", "0"),
        GoalRow::at_most("planetlab-paid-to-direct", run.paid_to_direct, 0.913, "x", &limit),
    ]
}

const SLICE: Micros = Micros::from_secs(20);
const INTERVAL: Micros = SLICE;
/// Longer than any tier of the hysteresis takes.
const SETTLING: Micros = Micros::from_secs(180);
const RELAY_US: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_series_is_whole() {
        let series = planetlab_series().unwrap();
        assert_eq!((series.len(), series[0].len()), (18, 80));
        assert_eq!(series[0].rtt_ms(0, 1), series[0].rtt_ms(1, 0));
        assert!(
            (0..80).all(|i| (0..80).all(|j| (i == j) == series[17].one_way_us(i, j).is_none()))
        );
        assert_eq!(read_series("i,j,t1\n0,1"), None);
        assert_eq!(read_series("i,j,t1\n0,x,5"), None);
        assert_eq!(read_series(""), None);
    }

    #[test]
    fn routes_follow_a_series_without_flapping_and_never_beat_foresight() {
        let nodes = 12;
        let all = planetlab_series().unwrap();
        let small: Vec<RttMatrix> =
            all.iter().take(5).map(|m| RttMatrix::from_fn(nodes, |i, j| m.rtt_ms(i, j))).collect();
        let run = run_series(&small, Micros::from_secs(60), Micros::from_secs(10));
        assert!(run.best_to_direct <= run.paid_to_direct, "{run:?}");
        assert!(run.paid_to_direct < 1.0, "{run:?}");
        assert!(run.changes_per_pair_slice < 0.5, "{run:?}");
    }
}
