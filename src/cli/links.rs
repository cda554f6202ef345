//! `fedist links`: what a node is connected to now.

use std::process::ExitCode;

use fedist::{LinkStatus, NodeStatus};
use serde_json::json;

use super::{
    AdminArgs,
    admin::Client,
    say, say_json,
    table::{Table, bytes, millis, span},
    target::Names,
};

pub(crate) fn run(args: &AdminArgs) -> anyhow::Result<ExitCode> {
    let status = Client::connect(&args.data_dir())?.status()?;
    if args.json {
        say_json(&json!({
            "region": status.region,
            "name": status.name,
            "relay_cost_us": status.relay_cost_us,
            "utilisation": status.utilisation,
            "refuses_transit": status.refuses_transit,
            "draining": status.draining,
            "local_health": status.local_health,
            "clock": status.clock,
            "links": status.links,
            "peers": status.peers,
            "sources": status.sources,
            "disconnected": status.disconnected,
        }))?;
    } else {
        say(&render(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(status: &NodeStatus) -> String {
    let here = format!("region {} {}", status.region, status.name);
    let own = own_figures(status);
    let found = discovered(status);
    if status.links.is_empty() {
        return format!("{here} has no link now\n{own}{found}");
    }
    let mut table = Table::new(&[
        "#REGION",
        "NAME",
        "OPENED BY",
        "FOR",
        "#RTT",
        "#LEAST",
        "#QUEUEING",
        "#LOSS",
        "#COST",
        "#CLOCK",
        "#PROBES",
        "#SENT",
        "#RECEIVED",
        "UP",
    ]);
    for link in &status.links {
        table.row([
            link.peer.to_string(),
            link.name.clone(),
            if link.dialed { "us" } else { "them" }.to_owned(),
            purpose(link),
            spread(link.rtt_ms, link.rtt_deviation_ms),
            millis(link.rtt_min_ms),
            millis(link.queueing_ms),
            format!("{:.1} %", f64::from(link.loss_permille) / 10.0),
            millis(link.cost_ms),
            clock(link.clock_offset_ms, link.clock_error_ms),
            link.probes_sent.to_string(),
            bytes(link.bytes_sent),
            bytes(link.bytes_received),
            span(link.up_ms),
        ]);
    }
    let count = status.links.len();
    let others = status.regions.len().saturating_sub(1);
    format!(
        "{here} has {count} link{}; there {} {others} other region{}\n{own}\n{}{found}",
        plural(count),
        if others == 1 { "is" } else { "are" },
        plural(others),
        table.render()
    )
}

/// The addresses that were discovered or connected to, who has them, and what is wrong; nothing where there are none.
fn discovered(status: &NodeStatus) -> String {
    let mut text = String::new();
    let names = Names::of(status);
    if !status.peers.is_empty() {
        let mut table = Table::new(&["ADDRESS", "REGION", "STATE", "BY", "LAST ERROR"]);
        for peer in &status.peers {
            table.row([
                peer.address.clone(),
                peer.region.map_or("-".to_owned(), |region| names.label(region)),
                peer.state.to_string(),
                peer.sources.join(", "),
                peer.error.clone().unwrap_or_default(),
            ]);
        }
        text += &format!("\n{}", table.render());
    }
    for source in &status.sources {
        if let Some(error) = &source.error {
            text += &format!("\n{}: {error}", source.name);
        }
        if source.over_limit > 0 {
            text += &format!("\n{}: {} addresses too many", source.name, source.over_limit);
        }
    }
    if !status.disconnected.is_empty() {
        let parted = status.disconnected.iter().map(|region| names.label(*region));
        let parted: Vec<String> = parted.collect();
        text += &format!("\ndisconnected from {}", parted.join(", "));
    }
    match text.is_empty() || text.ends_with('\n') {
        true => text,
        false => text + "\n",
    }
}

/// What a link is for, and what is wrong with it.
fn purpose(link: &LinkStatus) -> String {
    let mut text = link.reason.to_string();
    let marks = [
        (link.closing, ", closing"),
        (link.suspect, ", silent"),
        (!link.announced && !link.closing, ", not announced"),
    ];
    for (_, mark) in marks.into_iter().filter(|(holds, _)| *holds) {
        text += mark;
    }
    text
}

/// The node's own part in what links and routes cost, and its clock.
fn own_figures(status: &NodeStatus) -> String {
    let transit = match (status.draining, status.refuses_transit) {
        (true, _) => " (drained: frames in transit go elsewhere)",
        (false, true) => " (swamped: frames in transit go elsewhere)",
        (false, false) => "",
    };
    let health = match status.local_health {
        0 => String::new(),
        score => format!(", late itself (score {score} of 8)"),
    };
    let against_root = match status.clock {
        None => "not compared with the root's yet".to_owned(),
        Some(found) if found.hops == 0 => {
            "this is the root, and the others compare theirs with it".to_owned()
        }
        Some(found) => {
            let ms = |us: f64| Some(us / 1000.0);
            format!(
                "the root's is ahead by {}, by {} source{} over {} link{}{}",
                clock(ms(found.offset_us as f64), ms(found.error_us as f64)),
                found.sources,
                plural(found.sources),
                found.hops,
                plural(usize::from(found.hops)),
                if found.confirmed { "" } else { ", not confirmed" },
            )
        }
    };
    format!(
        "relay delay {}, utilisation {:.0} %{transit}{health}; clock: {against_root}\n",
        millis(Some(status.relay_cost_us as f64 / 1000.0)),
        status.utilisation * 100.0,
    )
}

/// A mean and its deviation: `80.1 ± 2.30 ms`.
fn spread(mean_ms: Option<f64>, deviation_ms: Option<f64>) -> String {
    let mean = millis(mean_ms);
    match mean.strip_suffix(" ms") {
        Some(number) => format!("{number} ± {}", millis(deviation_ms)),
        None => mean,
    }
}

/// An offset and its error: `+0.12 ± 0.40 ms`.
fn clock(offset_ms: Option<f64>, error_ms: Option<f64>) -> String {
    match (offset_ms, error_ms) {
        (Some(offset), Some(error)) => format!("{offset:+.2} ± {error:.2} ms"),
        _ => "-".to_owned(),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
