//! The rows that come from a simulation of the same engines.

use std::time::Instant;

use fedist::{registry::Micros, transport::emulator::LatencyMatrix};
use fedist_sim::{Machine, RttMatrix, ScaleConfig, planetlab_rows, saving_rows, simulate};

use super::{Row, mesh_goals, note, registry_convergence, say};

pub(crate) const ROWS: &[&str] = &[
    "azure-saving-at-once",
    "azure-saving-2min",
    "azure-stretch-p50",
    "azure-stretch-p99",
    "azure-links-per-region",
    "azure-cut-off-by-one-failure",
    "planetlab-route-changes",
    "planetlab-paid-to-direct",
    "registries-unequal-after-heal",
];

pub(crate) const SCALE_ROWS: &[&str] = &[
    "scale-spf",
    "scale-state",
    "scale-link-state",
    "scale-graph-built",
    "scale-flat-spf",
    "scale-flat-state",
    "scale-flat-link-state",
];

/// Azure and PlanetLab, and the sequences of the registry.
pub(crate) fn rows(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let azure = LatencyMatrix::azure();
    let matrix = RttMatrix::from_fn(azure.len(), |a, b| azure.rtt_ms(a, b));
    saving_rows("azure", &matrix).into_iter().for_each(|row| say(rows, row));
    let federation = mesh_goals::converged(&azure, true);
    let (p50, p99) = federation.stretch();
    let links = federation.links_per_region();
    say(
        rows,
        Row::at_most("azure-stretch-p50", p50, 1.02, "x", "1.0; greedy lower bound 7.6 links"),
    );
    say(
        rows,
        Row::at_most("azure-stretch-p99", p99, 1.10, "x", "1.0; greedy lower bound 7.6 links"),
    );
    say(rows, Row::at_most("azure-links-per-region", links, 11.0, "links", "7.6"));
    let cut_off = federation.cut_off() as f64;
    say(rows, Row::at_most("azure-cut-off-by-one-failure", cut_off, 0.0, "pairs", "0"));
    planetlab_rows().into_iter().for_each(|row| say(rows, row));
    let mut failed = 0.0;
    for share in 0..registry_convergence::SHARES {
        if let Err(wrong) = registry_convergence::run_share(share) {
            note(&wrong);
            failed += 1.0;
        }
    }
    let what = format!("{} seeded sequences", registry_convergence::SEQUENCES);
    say(rows, Row::at_most("registries-unequal-after-heal", failed, 0.0, "shares", &what));
    Ok(())
}

/// A federation of all region numbers.
pub(crate) fn scale(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut machine = Machine {
        clock: &mut || Micros::from_duration(begun.elapsed()),
        resident: &mut || None,
        progress: &mut |what| note(&format!("   {what}")),
    };
    let report = simulate(&ScaleConfig::new(65_534, 1), &mut machine);
    report.rows().into_iter().for_each(|row| say(rows, row));
    Ok(())
}
