//! The first figures of FeDist, each beside its floor: the same work with plain actix, or with
//! nothing but quinn.
//!
//! ```text
//! cargo bench --bench report                      everything, 5 rounds
//! cargo bench --bench report -- --quick           3 short rounds
//! cargo bench --bench report -- --only remote     the works whose name contains "remote"
//! cargo bench --bench report -- --json            the figures as JSON in the last line
//! ```
//!
//! The driver ([`driver`]) starts a fresh process for every run and alternates floor and FeDist, so
//! that a mood of the machine meets both, and ties its threads to processors ([`cores`]). What a run
//! does is in [`local`], [`raw_quinn`] and [`federation`]; what comes of it, in [`figure`].
//! `docs/performance.md` says how to read the table.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report is printed, and the processes of a run speak by lines"
)]

mod actors;
mod child;
mod cores;
mod driver;
mod federation;
mod figure;
mod local;
mod options;
mod processor_time;
mod raw_quinn;
mod run;
mod stopwatch;
mod work;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    let outcome = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Report(options)) => driver::report(&options),
        Ok(Command::Smoke) => driver::smoke(),
        Ok(Command::Help) => {
            println!("{}", options::HELP);
            Ok(())
        }
        Ok(Command::Child(run)) => child::perform(&run),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error:#}");
            ExitCode::FAILURE
        }
    }
}
