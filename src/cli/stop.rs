//! `fedist stop`: ends a running node.

use std::process::ExitCode;

use serde_json::json;

use super::{AdminArgs, admin::Client, config::Within, say, say_json};

/// The arguments of `fedist stop`.
#[derive(clap::Args)]
pub(crate) struct StopArgs {
    /// How long others may take to route around the node before it ends, in milliseconds; 0 ends it at once [default: the
    /// node's own, 5000]
    #[arg(long, value_name = "MS")]
    drain_timeout: Option<Within<0, 60_000>>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.admin.data_dir();
    let mut client = Client::connect(&data_dir)?;
    let status = client.status()?;
    client.stop(args.drain_timeout.map(|ms| ms.get()))?;
    if args.admin.json {
        say_json(&json!({ "region": status.region, "name": status.name, "stopped": true }))?;
    } else {
        say(&format!("stopped region {} {}\n", status.region, status.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
