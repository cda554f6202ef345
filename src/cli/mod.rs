//! The command line: what there is to say, and who answers it.
//!
//! `node` runs a node and opens its admin socket; `regions`, `links`, `routes`, `trace`, `ping`, `tree`,
//! `dead-letters`, `region`, `candidates`, `delegate`, `promote`, `connect`, `disconnect`, `leave` and `stop` talk to that socket ([`admin`]); `cert` needs no node; `demo` starts its own. Every error leaves
//! through [`exit`], which gives it its text and its exit code.

mod admin;
mod cert;
mod config;
mod connect;
mod dead_letters;
mod demo;
mod drain;
mod exit;
mod links;
mod master;
mod node;
mod ping;
mod region;
mod regions;
mod routes;
mod stop;
mod table;
mod target;
mod trace;
mod tree;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

/// The regions of a federation: run one, look into it, or see a whole one in a demo.
#[derive(Parser)]
#[command(name = "fedist", version, about, long_about = None, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node of a region until it is stopped.
    Node(Box<config::NodeArgs>),
    /// List the regions that a running node knows, as a tree.
    Regions(AdminArgs),
    /// List the links that a running node has now.
    Links(AdminArgs),
    /// Show the path and its cost from a running node to every region, or to one, or explain one.
    Routes(routes::RoutesArgs),
    /// Measure the way from a running node to a region or an actor.
    Ping(ping::PingArgs),
    /// Follow the way of messages to a region by real frames: each relay, and what it takes.
    Trace(trace::TraceArgs),
    /// Show the supervision trees of a running node.
    Tree(tree::TreeArgs),
    /// List the messages that reached nobody, as far as a running node remembers them.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Change the place of a running node's region in its federation.
    Region(region::RegionArgs),
    /// Set the regions that elect the registry's master among themselves.
    Candidates(master::CandidatesArgs),
    /// Give a region a block of region numbers to admit newcomers with while the master is away.
    Delegate(master::DelegateArgs),
    /// Make a running node's region the registry's master because the old one is gone for good.
    Promote(master::PromoteArgs),
    /// Open a link from a running node to a region, and keep it.
    Connect(connect::ConnectArgs),
    /// Close the link between a running node and a region, and have none until `connect`.
    Disconnect(connect::DisconnectArgs),
    /// Have a running node's region leave its federation for good, and end the node.
    Leave(AdminArgs),
    /// Stop a running node and wait until it has ended.
    Stop(stop::StopArgs),
    /// Move the routes of all others away from a running node, which goes on serving its own region.
    Drain(drain::DrainArgs),
    /// Issue key and certificate for a region on another machine.
    Cert(cert::CertArgs),
    /// Start a whole federation on this machine, put it to work, and break it.
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    DemoRegion(demo::RegionArgs),
}

/// How to find the running node that is asked, and how to answer.
#[derive(Args)]
struct AdminArgs {
    /// Data directory of the running node [default: $FEDIST_DATA_DIR, else ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Answer with one JSON value on one line
    #[arg(long)]
    json: bool,
}

impl AdminArgs {
    fn data_dir(&self) -> PathBuf {
        data_dir(self.data_dir.clone())
    }
}

/// Reads the command line, does what it says, and turns the outcome into an exit code.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Node(args) => node::run(*args),
        Command::Regions(args) => regions::run(&args),
        Command::Links(args) => links::run(&args),
        Command::Routes(args) => routes::run(&args),
        Command::Ping(args) => ping::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Tree(args) => tree::run(&args),
        Command::DeadLetters(args) => dead_letters::run(&args),
        Command::Region(args) => region::run(&args),
        Command::Candidates(args) => master::candidates(&args),
        Command::Delegate(args) => master::delegate(&args),
        Command::Promote(args) => master::promote(&args),
        Command::Connect(args) => connect::connect(&args),
        Command::Disconnect(args) => connect::disconnect(&args),
        Command::Leave(args) => region::leave(&args),
        Command::Stop(args) => stop::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::DemoRegion(args) => demo::run_region(args),
    };
    outcome.unwrap_or_else(|error| exit::report(&error))
}

/// The data directory: as given, else by environment, else `./data`.
fn data_dir(given: Option<PathBuf>) -> PathBuf {
    let named = |name: OsString| (!name.is_empty()).then(|| PathBuf::from(name));
    given
        .or_else(|| std::env::var_os("FEDIST_DATA_DIR").and_then(named))
        .unwrap_or_else(|| PathBuf::from("data"))
}

/// Writes to stdout and flushes. A reader that went away (`fedist routes | head -1`) has what it
/// wanted, so that is no error, and no panic as with `println!`.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(exit::Failure::new(
            exit::Exit::Other,
            format!("standard output (cannot be written: {error}); the answer goes there; redirect it elsewhere"),
        )
        .into()),
        _ => Ok(()),
    }
}

/// Writes one JSON value as one line.
fn say_json(value: &serde_json::Value) -> anyhow::Result<()> {
    say(&format!("{value}\n"))
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 other, 2 usage, 3 configuration, 4 security, 5 storage, 6 network.
Environment: FEDIST_DATA_DIR names the data directory, FEDIST_LOG filters the log (e.g. fedist=debug).";
