//! `fedist trace`: the way of a message, region by region, by real frames.

use std::{process::ExitCode, time::Duration};

use fedist::{RegionId, Trace, TraceHop};
use serde_json::json;

use super::{
    AdminArgs,
    admin::{Client, Traced},
    config::Within,
    exit::{Exit, Failure},
    say, say_json,
    table::{Table, millis},
    target::{Names, Target},
};

/// The arguments of `fedist trace`.
#[derive(clap::Args)]
pub(crate) struct TraceArgs {
    /// A region by number or name, or an actor by its pid (7.42): the way to its region
    target: Target,
    /// How long to wait for answers; after half of it each region on the way is asked for itself
    #[arg(long, value_name = "MS", default_value = "3000")]
    deadline_ms: Within<2, 60_000>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let to = match &args.target {
        Target::Region(region) => region.resolve(&status)?,
        Target::Actor(pid) => pid.region(),
    };
    let deadline = Duration::from_millis(u64::from(args.deadline_ms.get()));
    let trace = match client.trace(to, deadline)? {
        Traced::Answer(trace) => trace,
        Traced::Failed(reason) => return Err(Failure::new(Exit::Network, reason).into()),
    };
    let names = Names::of(&status);
    if args.admin.json {
        say_json(&json(&trace, &names))?;
    } else {
        say(&render(&trace, &names))?;
    }
    if trace.reached() {
        return Ok(ExitCode::SUCCESS);
    }
    let last = trace.hops.last().map_or(trace.from, |hop| hop.region);
    Err(Failure::new(
        Exit::Network,
        format!(
            "no answer from region {} (within {} ms, last heard of region {}); a link or a region behind that one has swallowed the frames; try again, check `fedist links` there",
            names.label(to),
            args.deadline_ms.get(),
            names.label(last),
        ),
    )
    .into())
}

fn ms(us: impl Into<u64>) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a span of µs is far below 2^53")]
    let us = us.into() as f64;
    us / 1e3
}

fn json(trace: &Trace, names: &Names<'_>) -> serde_json::Value {
    let hop = |hop: &TraceHop| {
        json!({
            "region": hop.region,
            "name": names.get(hop.region),
            "residence_us": hop.residence_us,
            "link_ms": hop.link_us.map(ms),
            "link_rtt_ms": hop.link_rtt_us.map(ms),
            "share_percent": trace.share(hop),
        })
    };
    json!({
        "from": trace.from,
        "to": trace.to,
        "name": names.get(trace.to),
        "reached": trace.reached(),
        "rtt_ms": trace.rtt_us.map(ms),
        "hops": trace.hops.iter().map(hop).collect::<Vec<_>>(),
        "silent": trace.silent,
        "last_heard": trace.hops.last().map(|hop| hop.region),
    })
}

fn render(trace: &Trace, names: &Names<'_>) -> String {
    let mut table =
        Table::new(&["#HOP", "#REGION", "NAME", "#RESIDENCE", "#LINK", "#LINK RTT", "#SHARE"]);
    let name = |region: RegionId| names.get(region).unwrap_or_default().to_owned();
    for (place, hop) in trace.hops.iter().enumerate() {
        table.row([
            place.to_string(),
            hop.region.to_string(),
            name(hop.region),
            hop.residence_us.map_or("-".to_owned(), |us| format!("{us} µs")),
            millis(hop.link_us.map(ms)),
            millis(hop.link_rtt_us.map(ms)),
            trace.share(hop).map_or("-".to_owned(), |share| format!("{share:.1} %")),
        ]);
    }
    for (place, region) in trace.silent.iter().enumerate() {
        let place = (trace.hops.len() + place).to_string();
        table.row([place, "*".to_owned(), format!("({} by the route)", names.label(*region))]);
    }
    let links = trace.hops.len().saturating_sub(1);
    let outcome = match (trace.rtt_us, trace.hops.last()) {
        (_, Some(last)) if links == 0 && trace.reached() => {
            format!("region {}, this node itself", names.label(last.region))
        }
        (Some(rtt), Some(last)) => format!(
            "region {} after {links} {}, round trip {}",
            names.label(last.region),
            if links == 1 { "link" } else { "links" },
            millis(Some(ms(rtt)))
        ),
        _ => "no answer".to_owned(),
    };
    let what = if trace.reached() { "reached" } else { "last heard of" };
    format!(
        "from region {} to region {}\n{what}: {outcome}\nlink is the one to the next region, one way; share is that of residence and link together\n\n{}",
        names.label(trace.from),
        names.label(trace.to),
        table.render()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_silent_is_a_star_with_the_last_region_heard_of_above() {
        let id = |number| RegionId::new(number).unwrap();
        let hop = |number, residence_us, link_us| TraceHop {
            region: id(number),
            residence_us,
            link_us,
            link_rtt_us: link_us.map(|us: u32| us * 2),
        };
        let trace = Trace {
            from: id(1),
            to: id(4),
            hops: vec![hop(1, None, Some(9_000)), hop(2, Some(52), Some(950))],
            silent: vec![id(3), id(4)],
            rtt_us: Some(20_000),
        };
        let text = render(&trace, &Names::default());
        assert!(
            text.contains("last heard of: region 2 after 1 link, round trip 20.0 ms"),
            "{text}"
        );
        assert!(text.contains("  *  (3 by the route)"), "{text}");
        let value = json(&trace, &Names::default());
        assert_eq!((&value["reached"], &value["last_heard"]), (&false.into(), &2.into()));
    }
}
