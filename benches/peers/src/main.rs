//! FeDist beside its peers: the same work on each, in alternating rounds, as ratios in one table.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml                  everything
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick       3 short rounds
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --only ask --peer erlang
//! ```
//!
//! The [`driver`] starts fresh processes for every run, ties them to processors, and takes their
//! processor time. What is measured is the list in [`work`]; the loops that measure are in
//! [`stopwatch`] and are the same for everybody; how each is set up is in [`peer`]. `README.md` says
//! why that is fair.

mod certificates;
mod child;
#[allow(dead_code, reason = "the report uses more of it")]
#[path = "../../report/cores.rs"]
mod cores;
mod driver;
mod figure;
mod machine;
mod options;
mod peer;
mod process;
mod run;
mod stopwatch;
mod work;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    let outcome = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Report(options)) => driver::report(&options),
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
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}
