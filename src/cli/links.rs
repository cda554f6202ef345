//! `fedist links`: what a node is connected to now.

use std::process::ExitCode;

use fedist::NodeStatus;
use serde_json::json;

use super::{
    AdminArgs,
    admin::Client,
    say, say_json,
    table::{Table, bytes, millis, span},
};

pub(crate) fn run(args: &AdminArgs) -> anyhow::Result<ExitCode> {
    let status = Client::connect(&args.data_dir())?.status()?;
    if args.json {
        say_json(&json!({
            "region": status.region,
            "name": status.name,
            "links": status.links,
        }))?;
    } else {
        say(&render(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(status: &NodeStatus) -> String {
    let here = format!("region {} {}", status.region, status.name);
    if status.links.is_empty() {
        return format!("{here} has no link now\n");
    }
    let mut table = Table::new(&[
        "#REGION",
        "NAME",
        "OPENED BY",
        "#RTT",
        "#LEAST",
        "#DEVIATION",
        "#COST",
        "#SENT",
        "#RECEIVED",
        "UP",
    ]);
    for link in &status.links {
        table.row([
            link.peer.to_string(),
            link.name.clone(),
            if link.dialed { "us" } else { "them" }.to_owned(),
            millis(link.rtt_ms),
            millis(link.rtt_min_ms),
            millis(link.rtt_deviation_ms),
            millis(link.cost_ms),
            bytes(link.bytes_sent),
            bytes(link.bytes_received),
            span(link.up_ms),
        ]);
    }
    let count = status.links.len();
    let others = status.regions.len().saturating_sub(1);
    format!(
        "{here} has {count} link{}; there {} {others} other region{}\n\n{}",
        plural(count),
        if others == 1 { "is" } else { "are" },
        plural(others),
        table.render()
    )
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
