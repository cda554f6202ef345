//! `fedist demo`: a whole federation on this machine, put to work, and broken.
//!
//! The demo plans a mesh ([`plan`]), starts a process for each region ([`fleet`], [`region`]) behind
//! an emulated WAN ([`stage`]), and then takes three steps: every pair of regions answers ([`pairs`]), a
//! text is counted by tasks in all regions ([`counting`]), and a hub is killed under traffic
//! ([`failover`]). What was found is a [`report`].

mod counting;
mod failover;
mod fleet;
mod order;
mod pairs;
mod plan;
mod protocol;
mod region;
mod report;
mod scratch;
mod show;
mod stage;
mod tally;
mod text;
mod words;
mod work;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::{self, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fedist::transport::emulator::LatencyMatrix;

use self::{
    fleet::Hold,
    report::{Report, grouped},
    scratch::ScratchDir,
    show::{Ink, Show},
    stage::{Cast, Stage},
    text::Text,
};
use super::exit::{Exit, Failure};

pub(crate) use region::{RegionArgs, run_region};

/// Starts a federation of real processes on loopback with the delays of real places, lets every
/// pair of regions talk, counts words in all of them, and kills a hub under traffic.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How many regions, 4 to 32, each a process of its own
    #[arg(long, value_name = "N", default_value = "5", value_parser = regions)]
    regions: usize,
    /// File or folder whose words are counted [default: the text files of this repository]
    #[arg(long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Where the delays come from: aws, azure, or a CSV file of round trips in ms
    #[arg(long, value_name = "aws|azure|FILE", default_value = "aws")]
    matrix: String,
    /// Print one JSON object as the last line of stdout, and everything else on stderr
    #[arg(long)]
    json: bool,
    /// Show the logs of the regions
    #[arg(long)]
    verbose: bool,
}

/// Runs the demo; the exit code says whether everything held.
pub(crate) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let matrix = matrix(&args.matrix)?;
    let text = Text::find(args.input.as_deref())?;
    let picked = matrix.pick(args.regions);
    if picked.len() < args.regions {
        let text = format!(
            "regions ({}, of matrix {}); the matrix has {} places with all delays known; ask for that many at most",
            args.regions,
            args.matrix,
            picked.len()
        );
        return Err(Failure::new(Exit::Config, text).into());
    }
    let show = Show::new(args.json);
    let scratch = ScratchDir::create().context("no temporary directory could be made")?;
    let base = scratch.path().to_owned();
    let hold = Hold::new(scratch);
    stop_on_ctrl_c(&hold)?;

    show.line(format_args!(
        "{} · {} regions, {} processes · {} delays · QUIC with mutual TLS",
        show.paint(Ink::Bold, "FeDist demo"),
        args.regions,
        args.regions,
        args.matrix,
    ));
    let mut report =
        Report { regions: args.regions, matrix: args.matrix.clone(), ..Report::default() };
    let outcome = Stage::set_up(
        &show,
        &hold,
        &Cast { base, matrix, picked, verbose: args.verbose },
        text,
        &mut report,
    );
    match outcome {
        Ok(mut stage) => {
            for (name, step) in STEPS {
                if let Err(error) = step(&mut stage, &mut report) {
                    give_way(&hold);
                    show.verdict(false, format_args!("{error:#}"));
                    report.failed(format!("{name}: {error:#}"));
                }
            }
            stage.tear_down(&mut report);
        }
        Err(error) => {
            give_way(&hold);
            show.verdict(false, format_args!("{error:#}"));
            report.failed(format!("start: {error:#}"));
        }
    }
    hold.release();
    report.seconds = report::round(started.elapsed().as_secs_f64());
    report.ok = report.failures.is_empty();
    summary(&show, &report);
    if args.json {
        super::say(&format!("{}\n", serde_json::to_string(&report)?))?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(show: &Show, report: &Report) {
    show.section("Summary");
    show.line(format_args!(
        "    {} links of {} possible · {} of {} pairs in time",
        report.links, report.links_all_to_all, report.pairs_ok, report.pairs
    ));
    if let Some(words) = &report.words {
        show.line(format_args!(
            "    {} words, {} different, in {} regions",
            grouped(words.total),
            grouped(words.distinct),
            words.tasks.len()
        ));
    }
    if let Some(failover) = &report.failover {
        show.line(format_args!(
            "    {} messages sent: {} lost, {} doubled, {} reordered, longest pause {:.0} ms",
            grouped(failover.sent),
            failover.lost,
            failover.doubled,
            failover.reordered,
            failover.longest_pause_ms
        ));
    }
    for failure in &report.failures {
        show.verdict(false, failure.lines().next().unwrap_or_default());
    }
    let all = if report.ok { "all of it held" } else { "not all of it held" };
    show.verdict(report.ok, format_args!("{all}, in {:.1} s", report.seconds));
}

fn matrix(name: &str) -> anyhow::Result<LatencyMatrix> {
    match name {
        "aws" => Ok(LatencyMatrix::aws()),
        "azure" => Ok(LatencyMatrix::azure()),
        file => LatencyMatrix::from_csv_file(file)
            .map_err(|error| Failure::new(Exit::Config, error.to_string()).into()),
    }
}

fn regions(text: &str) -> Result<usize, String> {
    let range = plan::FEWEST..=MOST;
    text.parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| {
            format!(
                "a demo has {} to {MOST} regions: a root, a hub and two leaves at the least; leave it out for 5",
                plan::FEWEST
            )
        })
}

/// Ctrl-C, SIGTERM and SIGHUP end all regions, remove their directory, and end the demo with 130.
fn stop_on_ctrl_c(hold: &Hold) -> anyhow::Result<()> {
    let hold = hold.clone();
    ctrlc::set_handler(move || {
        let killed = hold.release();
        let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        let text = format!("{clear}interrupted: {killed} regions ended, nothing is left behind\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
        process::exit(130);
    })
    .context("Ctrl-C cannot be handled")
}

/// A step that fails because of Ctrl-C leaves the last word to its handler.
fn give_way(hold: &Hold) {
    if hold.is_released() {
        thread::sleep(Duration::from_secs(10));
    }
}

type Step = fn(&mut Stage<'_>, &mut Report) -> anyhow::Result<()>;

const STEPS: [(&str, Step); 3] =
    [("pairs", pairs::run), ("words", counting::run), ("failover", failover::run)];

const MOST: usize = 32;
