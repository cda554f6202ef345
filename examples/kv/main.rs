//! The distributed key-value store of the Elixir guide ("Mix and OTP"), complete.
//!
//! ```text
//! cargo run --release --example kv -- --local        # two regions, fronts at 4040 and 4041; talk to them with nc
//! cargo run --release --example kv -- --help         # separate processes and machines
//! cargo run --release --example kv -- --bench        # GETs, local and routed, beside a plain server
//! ```
//!
//! Buckets are actors under a supervisor, one registry of them per region. A table says by the beginning of its name which
//! region a bucket is at home in; whichever front a client talks to, its command goes there, hop by hop, each by its own table.
//!
//! Reading order: `command`, `lines`: what a client says; `message`, `bucket`, `buckets`: what there is in a region; `home`: what
//! makes it one store of several regions; `connection`, `front`, `store`: the rest of a region; `options`, `regions`: running it.

pub(crate) mod bench;
mod bucket;
mod buckets;
pub(crate) mod command;
mod connection;
// Errors end this program as they end `fedist`.
#[allow(unused, reason = "the command uses more of it")]
#[path = "../../src/cli/exit.rs"]
mod exit;
pub(crate) mod front;
mod home;
pub(crate) mod lines;
mod message;
mod options;
mod regions;
pub(crate) mod store;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use exit::{Exit, Failure};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

pub(crate) fn main() -> ExitCode {
    match run(options::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn run(options: options::Options) -> anyhow::Result<()> {
    let settings = options.settings()?;
    log()?;
    if let Some(address) = options.bench_plain {
        return bench::plain::run(address);
    }
    if let Some(to) = options.bench_proxy {
        return bench::proxy::run(to);
    }
    if options.bench {
        return bench::run(options.quick, options.json);
    }
    let (stop, stopped) = watch::channel(false);
    ctrlc::set_handler(move || {
        // Who asks twice does not want to wait.
        if stop.send_replace(true) {
            std::process::exit(130);
        }
    })
    .map_err(|error| {
        Failure::new(Exit::Other, format!("signal handler (Ctrl-C) cannot be set: {error}"))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if options.local {
        runtime.block_on(regions::two(settings, stopped))
    } else {
        runtime.block_on(regions::one(settings, stopped))
    }
}

/// The log goes to stderr; stdout is for what was asked.
fn log() -> Result<(), Failure> {
    let filter = match std::env::var("FEDIST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            let rule = "it is a list of target=level; write e.g. FEDIST_LOG=fedist=debug";
            Failure::new(Exit::Config, format!("FEDIST_LOG ({filter}): {error}; {rule}"))
        })?,
        _ => EnvFilter::new("warn,kv=info"),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Somebody may have set one up before: the tests do.
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
    Ok(())
}

/// Writes to stdout. Whoever does not read it any more misses nothing.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
