//! The figures of FeDist, each beside its floor: the same work with plain actix, or with nothing
//! but quinn.
//!
//! ```text
//! cargo bench --bench report                      everything, 7 rounds
//! cargo bench --bench report -- --quick           3 short rounds
//! cargo bench --bench report -- --only remote     the works whose name contains "remote"
//! cargo bench --bench report -- --list            their names
//! cargo bench --bench report -- --keep docs/benchmarks
//! cargo bench --bench report -- --compare docs/benchmarks/report.json
//! ```
//!
//! The driver ([`driver`]) starts fresh processes for every run and alternates floor and FeDist, so
//! that a mood of the machine meets both, and ties their threads to processors ([`cores`]). The works
//! are declared in groups ([`works`]), with the goals of their figures; what their processes do is in
//! [`local`], [`raw_quinn`] and [`federation`]. What comes of it is a line of the table ([`figure`]),
//! and all lines are the report ([`report`]): tables, JSON and plots.
//! `docs/performance.md` says how to read them.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report is printed, and the processes of a run speak by lines"
)]

mod actors;
mod child;
mod compare;
mod cores;
mod driver;
mod federation;
mod figure;
mod held;
mod local;
mod many;
mod options;
mod plot;
mod processor_time;
mod raw_quinn;
mod report;
mod resident;
mod routes;
mod run;
mod scale;
mod stopwatch;
mod store;
mod table;
mod work;
mod works;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    let outcome = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Report(options)) => driver::report(&options),
        Ok(Command::Smoke) => driver::smoke(),
        Ok(Command::List) => {
            for work in works::all() {
                println!("{}", work.name);
            }
            Ok(())
        }
        Ok(Command::Compare { old, new }) => {
            let new = new.unwrap_or_else(report::latest);
            return match compare::read(&old)
                .and_then(|old| compare::compare(&old, &compare::read(&new)?))
            {
                Ok(comparison) => {
                    print!("{}", comparison.text());
                    ExitCode::from(u8::from(comparison.is_worse()))
                }
                Err(error) => {
                    eprintln!("report: {error:#}");
                    ExitCode::from(2)
                }
            };
        }
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
