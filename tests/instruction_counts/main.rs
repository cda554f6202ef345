//! How many instructions the hot paths take for each message, against a ceiling.
//!
//! Times depend on the machine's mood, instruction counts hardly do, so this can be a test. Every work runs twice under
//! valgrind's callgrind, with different numbers of messages; what the second run takes more, divided by the messages that it
//! has more, is the count, so what a start costs does not matter.
//!
//! ```text
//! cargo test --release --test instruction_counts
//! ```
//!
//! Without valgrind, or without optimisation, the tests are excluded, with the reason. The counts are printed, and left in
//! `target/instruction-counts.json` in the form of the benchmarks' report.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "counts are printed")]

mod callgrind;
mod ceilings;
mod engines;
mod messages;
mod nodes;
mod table;

use std::process::ExitCode;

use fedist_testkit::Suite;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, work, messages] = words.as_slice()
        && first == callgrind::PERFORM
    {
        return callgrind::perform(work, messages);
    }
    let mut suite = Suite::new()
        .requires("callgrind", callgrind::optimised)
        .requires("callgrind", callgrind::valgrind)
        .tag("callgrind", true);
    for work in ceilings::WORKS {
        suite = suite.test(work.sentence, || ceilings::check(work));
    }
    let code = suite.run();
    table::show();
    code
}
