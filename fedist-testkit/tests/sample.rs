//! The sample suite as a test target of its own, as `cargo test` and cargo-nextest find it.

use std::process::ExitCode;

#[path = "suites/kv.rs"]
mod kv;

fn main() -> ExitCode {
    kv::suite().run()
}
