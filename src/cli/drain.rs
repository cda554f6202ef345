//! `fedist drain`: nobody passes through a node any more.

use std::process::ExitCode;

use serde_json::json;

use super::{
    AdminArgs,
    admin::Client,
    config::Within,
    exit::{Exit, Failure},
    say, say_json,
};

/// The arguments of `fedist drain`.
#[derive(clap::Args)]
pub(crate) struct DrainArgs {
    /// How long to wait until others route around the node, in milliseconds
    #[arg(long, value_name = "MS", default_value = "5000")]
    drain_timeout: Within<0, 60_000>,
    /// Take a drain back: others may pass through the node again
    #[arg(long, conflicts_with = "drain_timeout")]
    cancel: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &DrainArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let (region, name) = (status.region, &status.name);
    let (done, text) = if args.cancel {
        let done = client.undrain()?;
        let text = match done {
            true => format!("region {region} {name} may be passed through again\n"),
            false => format!("region {region} {name} was not drained\n"),
        };
        (done, text)
    } else {
        (
            client.drain(args.drain_timeout.get())?,
            format!("drained region {region} {name}: nobody passes through it any more\n"),
        )
    };
    if args.admin.json {
        say_json(&json!({
            "region": region, "name": name, "drained": done && !args.cancel, "done": done,
        }))?;
    } else if done || args.cancel {
        say(&text)?;
    }
    if !done && !args.cancel {
        return Err(Failure::new(
            Exit::Network,
            format!(
                "region {region} {name} (drain) still has frames in transit after {} ms; others were asked to route around it; wait and ask again, or stop it nevertheless",
                args.drain_timeout.get()
            ),
        )
        .into());
    }
    Ok(ExitCode::SUCCESS)
}
