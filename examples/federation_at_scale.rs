//! What a federation of thousands of regions costs, and how it reacts: the real engines in virtual time, no sockets.
//!
//! `cargo run --release --example federation_at_scale -- --regions 65536 [--seed N] [--json]`

use std::time::Instant;

use clap::Parser;
use fedist::registry::Micros;
use fedist_sim::{Machine, ScaleConfig, simulate};

#[derive(Parser)]
#[command(
    about = "Simulates a federation of this many regions and prints a table of what it costs"
)]
struct Options {
    /// Regions, 1 to 65534; more are taken as 65534, since there are no more numbers.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    regions: u32,
    /// One seed gives one federation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One object instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let config = ScaleConfig::new(options.regions as usize, options.seed);
    if config.regions < options.regions as usize {
        eprintln!(
            "{} regions: there are {} region numbers, so it is these",
            options.regions, config.regions
        );
    }
    let start = Instant::now();
    let mut machine = Machine {
        clock: &mut || Micros::from_duration(start.elapsed()),
        resident: &mut resident,
        progress: &mut |what| eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f64()),
    };
    let report = simulate(&config, &mut machine);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print!("{report}");
    println!();
    for row in report.rows() {
        println!("{row}");
    }
    println!("\n{NOTE}");
    Ok(())
}

/// Bytes of memory that this process has resident; none where the system does not say.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

const NOTE: &str = "\
Not every region's state is held at once: that would be terabytes. Link states, graph and table are held in full for one
region after the other (a sample); what spreads (losses, registry) is one time per region and change.
The times of shortest paths and registry changes are measured on this machine; all others are virtual.";
