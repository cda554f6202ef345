//! Suites as processes: every option, exact output, exit codes, and other tools that run them. Tested with the kit itself.

use std::{env, process::ExitCode};

use fedist_testkit::Suite;

mod libtest;
mod other_tools;
mod process;
mod requirements;
#[path = "../suites/kv.rs"]
mod sample_kv;
mod sample_troubled;
mod tags;

fn main() -> ExitCode {
    // A test starts this program again as one of the samples.
    match env::var(process::SAMPLE).as_deref() {
        Ok("kv") => return sample_kv::suite().run(),
        Ok("troubled") => return sample_troubled::suite().run(),
        Ok("mistaken") => return sample_troubled::mistaken().run(),
        Ok("empty") => return Suite::new().run(),
        _ => {}
    }
    let suite = Suite::new().requires("nextest", other_tools::nextest);
    other_tools::add_to(libtest::add_to(requirements::add_to(tags::add_to(suite)))).run()
}
