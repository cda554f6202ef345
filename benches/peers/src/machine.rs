//! Where and with what was measured, for the file that is kept.

use std::fs;
use std::process::Command;

use crate::options::Options;

/// The head of the file: machine, versions, rounds.
pub(crate) fn describe(options: &Options) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |text| text.trim_start_matches([' ', '\t', ':']));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let peers: Vec<String> =
        ["actix", "actix-telepathy", "ractor", "ractor_cluster", "kameo", "zenoh", "async-nats"]
            .into_iter()
            .filter_map(|name| Some(format!("{name} {}", locked(name)?)))
            .collect();
    format!(
        "# FeDist beside its peers\n\n\
         Written by `cargo run --release --manifest-path benches/peers/Cargo.toml -- --keep docs/benchmarks`; \
         [how it measures, and how each peer is set up](../../benches/peers/README.md).\n\n\
         - {}; {processors} processors, {model}; Linux {}; {}; release profile.\n\
         - {} rounds of {:?} after a warm-up of {:?}; medians; a ratio is the median of the rounds' own, in \
         parentheses the lowest and highest of them.\n\
         - {}; {}; Erlang/OTP {}.\n\
         - (e): encrypted, both sides authenticated. For M/s and GB/s more is better, for µs and B less. Ratios \
         in bold: FeDist is behind.\n\n",
        said("date", &["-u", "+%Y-%m-%d"]),
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
        options.rounds,
        options.span,
        options.span / 3,
        peers.join(", "),
        said("nats-server", &["--version"]),
        said("erl", &["-noinput", "-eval", OTP]),
    )
}

/// The first line that a program prints.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().map_or_else(|| format!("{program} unknown"), str::to_owned)
}

/// The version of a package in the lock file.
fn locked(name: &str) -> Option<&'static str> {
    let (_, package) = include_str!("../Cargo.lock").split_once(&format!("name = \"{name}\"\n"))?;
    package.lines().next()?.strip_prefix("version = ").map(|version| version.trim_matches('"'))
}

const OTP: &str = "io:format(\"~s (erts ~s)~n\", [erlang:system_info(otp_release), \
                   erlang:system_info(version)]), halt().";
