//! `fedist routes`: which way messages take from a node, and what it costs.

use std::process::ExitCode;

use fedist::{
    NodeStatus, RouteStatus,
    registry::{DirectWay, ExplainedPath, LinkCost, Micros, RouteExplanation},
};
use serde_json::{Value, json};

use super::{
    AdminArgs,
    admin::{Client, PingOf},
    exit::{Exit, Failure},
    say, say_json,
    table::{Table, millis},
    target::{Names, RegionRef, Target},
};

/// The arguments of `fedist routes`.
#[derive(clap::Args)]
pub(crate) struct RoutesArgs {
    /// Only the route to this region, by number or name
    #[arg(long, value_name = "REGION")]
    to: Option<RegionRef>,
    /// Why messages to this region, or to this actor by its pid, take the way that they take
    #[arg(long, value_name = "PID|REGION", conflicts_with = "to")]
    explain: Option<Target>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &RoutesArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    if let Some(target) = &args.explain {
        return explain(&mut client, &status, target, args.admin.json);
    }
    let mut routes: Vec<&RouteStatus> =
        status.routes.iter().filter(|route| route.to != status.region).collect();
    if let Some(to) = &args.to {
        let to = to.resolve(&status)?;
        routes.retain(|route| route.to == to);
        if routes.is_empty() && to != status.region {
            return Err(Failure::new(
                Exit::Network,
                format!(
                    "no route to region {} (from region {}); no chain of links leads there now; check `fedist links` on both and try again",
                    Names::of(&status).label(to),
                    status.region
                ),
            )
            .into());
        }
    }
    if args.admin.json {
        say_json(&json!({
            "region": status.region,
            "name": status.name,
            "routes": routes,
        }))?;
    } else {
        say(&render(&status, &routes))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(
    client: &mut Client,
    status: &NodeStatus,
    target: &Target,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let region = match target {
        Target::Region(region) => region.resolve(status)?,
        Target::Actor(pid) => RegionRef::Id(pid.region()).resolve(status)?,
    };
    if region == status.region {
        return Err(Failure::new(
            Exit::Other,
            format!(
                "no route to explain ({target}, asked at region {}); what stays in its region takes no route; name another region",
                status.region
            ),
        )
        .into());
    }
    // The region may have gone from the registry since the status was taken.
    let explained = client.explain(PingOf::Region(region))?.ok_or_else(|| {
        Failure::new(
            Exit::Network,
            format!("no route to explain ({target}); the node does not know the region any more; list them: fedist regions"),
        )
    })?;
    if json {
        say_json(&json_of(&explained))?;
    } else {
        let names = Names::of(status);
        say(&explained.describe(&|region| names.label(region)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All times in milliseconds, like everywhere in the command's answers.
fn json_of(explained: &RouteExplanation) -> Value {
    let ms = |cost: LinkCost| cost.as_micros() as f64 / 1e3;
    let path = |path: &ExplainedPath| {
        let hops = path.hops.iter().map(|hop| {
            json!({
                "from": hop.from,
                "to": hop.to,
                "propagation_ms": ms(hop.propagation),
                "queueing_ms": ms(hop.queueing),
                "relay_ms": ms(hop.relay),
                "closing": hop.closing,
            })
        });
        json!({ "cost_ms": ms(path.cost), "hops": hops.collect::<Vec<_>>() })
    };
    let direct = match explained.direct {
        DirectWay::Taken => json!({ "state": "taken" }),
        DirectWay::Dearer { cost, by } => {
            json!({ "state": "dearer", "cost_ms": ms(cost), "by_ms": ms(by) })
        }
        DirectWay::NotWorthIt { cost, by } => {
            json!({ "state": "not_worth_it", "cost_ms": ms(cost), "by_ms": ms(by) })
        }
        DirectWay::Silent { cost } => json!({ "state": "silent", "cost_ms": ms(cost) }),
        DirectWay::Closing { cost } => json!({ "state": "closing", "cost_ms": ms(cost) }),
        DirectWay::OneSided { says } => json!({ "state": "one_sided", "says": says }),
        DirectWay::NotOpen { estimate } => json!({
            "state": "not_open",
            "propagation_ms": estimate.map(|estimate| ms(estimate.propagation)),
            "set_up_ms": estimate.map(|estimate| ms(estimate.set_up)),
        }),
        _ => json!({ "state": "other" }),
    };
    json!({
        "region": explained.origin,
        "to": explained.destination,
        "path": explained.path.as_ref().map(path),
        "second": explained.second.as_ref().map(path),
        "direct": direct,
        "change": explained.change.map(|change| change.to_string()),
        "age_ms": explained.age.map(Micros::as_millis),
        "changes": explained.changes,
        "leaves_in_ms": explained.leaves_in.map(Micros::as_millis),
    })
}

fn render(status: &NodeStatus, routes: &[&RouteStatus]) -> String {
    let names = Names::of(status);
    let mut table = Table::new(&["#REGION", "NAME", "#COST", "#HOPS", "PATH"]);
    for route in routes {
        table.row([
            route.to.to_string(),
            names.get(route.to).unwrap_or_default().to_owned(),
            millis(Some(route.cost_ms)),
            route.path.len().saturating_sub(1).to_string(),
            names.path(&route.path),
        ]);
    }
    let cut_off: Vec<String> = status
        .regions
        .iter()
        .filter(|region| !region.reachable && region.id != status.region)
        .map(|region| names.label(region.id))
        .collect();
    let missing = match cut_off.is_empty() {
        true => String::new(),
        false => format!("\nno route to: {}\n", cut_off.join(", ")),
    };
    format!(
        "from region {} {}; cost is one way\n\n{}{missing}",
        status.region,
        status.name,
        table.render()
    )
}
