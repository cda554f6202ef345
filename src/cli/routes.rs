//! `fedist routes`: which way messages take from a node, and what it costs.

use std::process::ExitCode;

use fedist::{NodeStatus, RouteStatus};
use serde_json::json;

use super::{
    AdminArgs,
    admin::Client,
    exit::{Exit, Failure},
    say, say_json,
    table::{Table, millis},
    target::{Names, RegionRef},
};

/// The arguments of `fedist routes`.
#[derive(clap::Args)]
pub(crate) struct RoutesArgs {
    /// Only the route to this region, by number or name
    #[arg(long, value_name = "REGION")]
    to: Option<RegionRef>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &RoutesArgs) -> anyhow::Result<ExitCode> {
    let status = Client::connect(&args.admin.data_dir())?.status()?;
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
