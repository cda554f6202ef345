//! What FeDist wants to reach over the WAN, measured: each figure beside its goal and the limit of the physics.
//!
//! ```text
//! cargo run --release --example wan_goals                    # everything, about 45 minutes
//! cargo run --release --example wan_goals -- --only aws      # the rows of one group, or one row
//! cargo run --release --example wan_goals -- --json          # one array on stdout
//! cargo run --release --example wan_goals -- --list          # the groups and their rows
//! ```
//!
//! Real processes with real QUIC talk through a WAN emulator on this machine, with the round trips that were measured
//! between the regions of AWS; the rows of Azure, PlanetLab and 65,534 regions come from a simulation of the same
//! engines. A row that misses its goal says `MISS`, and the exit code is 1. Timing on a busy machine is no verdict.

// The processes are those of the demo: one fleet, one envelope.
#[allow(dead_code, reason = "the demo uses more of it")]
#[path = "../../src/cli/demo/fleet.rs"]
mod fleet;
#[path = "../../src/cli/demo/order.rs"]
mod order;
#[allow(dead_code, reason = "the demo uses more of it")]
#[path = "../../src/cli/demo/scratch.rs"]
mod scratch;

// The simulations are those of the tests.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../fedist-transport/tests/mesh_goals.rs"]
mod mesh_goals;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../fedist-registry/tests/registry_convergence.rs"]
mod registry_convergence;

mod aws;
mod diamond;
mod failover;
mod idle;
mod model;
mod protocol;
mod region;
mod relay;
mod stage;

use std::{io::Write as _, process::ExitCode, time::Instant};

use anyhow::Context as _;
use fedist_sim::GoalRow as Row;

/// Rows that are measured together.
struct Group {
    name: &'static str,
    what: &'static str,
    measure: fn(&mut Vec<Row>) -> anyhow::Result<()>,
    /// All rows that it may give.
    rows: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    Group {
        name: "model",
        what: "Azure, PlanetLab and 1,000 registry sequences, simulated",
        measure: model::rows,
        rows: model::ROWS,
    },
    Group {
        name: "scale",
        what: "65,534 regions, simulated",
        measure: model::scale,
        rows: model::SCALE_ROWS,
    },
    Group {
        name: "relay",
        what: "what one relay adds, beside a bare UDP forwarder",
        measure: relay::rows,
        rows: relay::ROWS,
    },
    Group {
        name: "diamond",
        what: "a slower link, jitter, and a swamped relay",
        measure: diamond::rows,
        rows: diamond::ROWS,
    },
    Group {
        name: "idle",
        what: "bytes of an idle region, and probes on busy links",
        measure: idle::rows,
        rows: idle::ROWS,
    },
    Group {
        name: "kill",
        what: "every hub killed in turn under load, and one drained",
        measure: failover::kills,
        rows: failover::KILL_ROWS,
    },
    Group {
        name: "failover",
        what: "links cut with and without traffic",
        measure: failover::cuts,
        rows: failover::CUT_ROWS,
    },
    Group {
        name: "aws-saving",
        what: "32 regions, all links: what relays save",
        measure: aws::saving,
        rows: aws::SAVING_ROWS,
    },
    Group {
        name: "aws-stretch",
        what: "32 regions, their own mesh: stretch, links, and how soon all know a newcomer",
        measure: aws::stretch,
        rows: aws::STRETCH_ROWS,
    },
];

impl Group {
    /// Whether `--only` means this group: by its name or the beginning of it, or by one of its rows.
    fn is_meant(&self, only: &str) -> bool {
        !only.is_empty() && (self.name.starts_with(only) || self.rows.contains(&only))
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some(protocol::REGION_COMMAND) => return finish(region::run(&args)),
        Some(relay::UDP_COMMAND) => {
            let forwarded = relay::forward(args.get(1).map(String::as_str));
            return finish(forwarded.map(|()| ExitCode::SUCCESS));
        }
        _ => measure(&args),
    };
    finish(outcome)
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn measure(args: &[String]) -> anyhow::Result<ExitCode> {
    let (mut only, mut json) = (None, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--only" => {
                let name =
                    rest.next().context("--only without a name; see --list for the names")?;
                only = Some(name.clone());
            }
            "--list" => {
                for group in GROUPS {
                    println!("{:<12} {}", group.name, group.what);
                    group.rows.iter().for_each(|row| println!("  {row}"));
                }
                return Ok(ExitCode::SUCCESS);
            }
            other => anyhow::bail!(
                "argument ({other}) is not known; there are --only NAME, --json and --list; see --list for the names"
            ),
        }
    }
    let wanted: Vec<&Group> = GROUPS
        .iter()
        .filter(|group| only.as_deref().is_none_or(|only| group.is_meant(only)))
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        anyhow::bail!(
            "name ({}) is neither a row nor the beginning of a group; see --list for the rows; the groups are: {}",
            only.unwrap_or_default(),
            names.join(", ")
        );
    }
    let mut rows = Vec::new();
    for Group { name, what, measure, rows: known } in wanted {
        let begun = Instant::now();
        note(&format!("== {name}: {what}"));
        let mut measured = Vec::new();
        let mut outcome = measure(&mut measured);
        if let Some(stray) = measured.iter().find(|row| !known.contains(&row.name.as_str())) {
            outcome = outcome.and(Err(anyhow::anyhow!("row {} is not in the list", stray.name)));
        }
        rows.append(&mut measured);
        if let Err(error) = outcome {
            note(&format!("{name} failed: {error:#}"));
            say(&mut rows, Row::at_most(&format!("{name}-failed"), 1.0, 0.0, "times", "0"));
        }
        note(&format!("   {:.0} s", begun.elapsed().as_secs_f64()));
    }
    // Of a group that failed, the failure shows whatever was asked for.
    if let Some(row) = only.filter(|only| rows.iter().any(|row| row.name == *only)) {
        rows.retain(|held| held.name == row || held.name.ends_with("-failed"));
    }
    match json {
        true => println!("{}", serde_json::to_string(&rows)?),
        false => rows.iter().for_each(|row| println!("{row}")),
    }
    let missed = rows.iter().filter(|row| !row.ok).count();
    note(&format!("{} rows, {missed} missed", rows.len()));
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The value below which a share of the samples lies (nearest rank); not a number for none.
fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Keeps a row, and shows it at once.
fn say(rows: &mut Vec<Row>, row: Row) {
    note(&row.to_string());
    rows.push(row);
}

/// For people who wait; the table follows on stdout at the end.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
