//! The `fedist` command: runs a node, asks a running one, and shows it all in a demo.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks through its standard streams"
)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
