//! `fedist stop`: ends a running node.

use std::process::ExitCode;

use serde_json::json;

use super::{AdminArgs, admin::Client, say, say_json};

pub(crate) fn run(args: &AdminArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.data_dir();
    let mut client = Client::connect(&data_dir)?;
    let status = client.status()?;
    client.stop()?;
    if args.json {
        say_json(&json!({ "region": status.region, "name": status.name, "stopped": true }))?;
    } else {
        say(&format!("stopped region {} {}\n", status.region, status.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
