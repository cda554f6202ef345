//! `fedist regions`: the tree of regions, as a node's copy of the registry has it.

use std::process::ExitCode;

use fedist::{NodeStatus, RegionId, RegionStatus};
use serde_json::json;

use super::{
    AdminArgs,
    admin::Client,
    say, say_json,
    table::{Table, millis, span},
};

pub(crate) fn run(args: &AdminArgs) -> anyhow::Result<ExitCode> {
    let status = Client::connect(&args.data_dir())?.status()?;
    if args.json {
        say_json(&json!({
            "region": status.region,
            "name": status.name,
            "address": status.address,
            "boot": status.boot,
            "live": status.live,
            "uptime_ms": status.uptime_ms,
            "registry_index": status.registry_index,
            "regions": status.regions,
        }))?;
    } else {
        say(&render(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(status: &NodeStatus) -> String {
    let mut table = Table::new(&["NAME", "#REGION", "STATUS", "REACHED", "#COST", "ADDRESS"]);
    for (indent, region) in tree(&status.regions) {
        let route = status.routes.iter().find(|route| route.to == region.id);
        let linked = status.links.iter().any(|link| link.peer == region.id);
        let reached = match (region.id == status.region, linked, route) {
            (true, _, _) => "here".to_owned(),
            (_, true, _) if region.reachable => "by link".to_owned(),
            (_, _, Some(route)) if region.reachable => {
                format!("over {}", route.path.len().saturating_sub(2).max(1))
            }
            _ if region.reachable => "yes".to_owned(),
            _ => "no".to_owned(),
        };
        table.row([
            format!("{indent}{}", region.name),
            region.id.to_string(),
            region.status.to_string(),
            reached,
            millis(
                route
                    .filter(|_| region.id != status.region)
                    .map(|route| route.cost_ms),
            ),
            region.addresses.join(" "),
        ]);
    }
    format!(
        "seen from region {} {} at {}: {}, up {}, start {}, {} processes, registry entry {}\n\n{}",
        status.region,
        status.name,
        status.address,
        if status.live { "live" } else { "not live yet" },
        span(status.uptime_ms),
        status.boot,
        status.processes,
        status.registry_index,
        table.render(),
    )
}

/// Every region once, children below their parents with what is to be drawn before their names.
/// A region whose parent is not in the list (or that is its own ancestor) stands at the top.
fn tree(regions: &[RegionStatus]) -> Vec<(String, &RegionStatus)> {
    let known = |id: RegionId| regions.iter().any(|region| region.id == id);
    let roots = regions
        .iter()
        .filter(|r| r.parent.is_none_or(|parent| !known(parent)));
    let mut drawn = Vec::new();
    for root in roots {
        branch(regions, root, String::new(), String::new(), &mut drawn);
    }
    for region in regions {
        if !drawn.iter().any(|(_, held)| held.id == region.id) {
            drawn.push((String::new(), region));
        }
    }
    drawn
}

fn branch<'a>(
    regions: &'a [RegionStatus],
    region: &'a RegionStatus,
    own: String,
    below: String,
    drawn: &mut Vec<(String, &'a RegionStatus)>,
) {
    drawn.push((own, region));
    let children: Vec<&RegionStatus> = regions
        .iter()
        .filter(|child| child.parent == Some(region.id))
        .collect();
    let last = children.len().saturating_sub(1);
    for (at, child) in children.into_iter().enumerate() {
        let (turn, pass) = if at == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let (own, below) = (format!("{below}{turn}"), format!("{below}{pass}"));
        branch(regions, child, own, below, drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(id: u16, parent: Option<u16>) -> RegionStatus {
        let number = |id| RegionId::new(id).unwrap();
        serde_json::from_value(json!({
            "id": number(id), "name": format!("r{id}"), "parent": parent.map(number),
            "addresses": [], "key_hash": "", "status": "live", "coordinates": null, "reachable": true,
        }))
        .unwrap()
    }

    fn check(regions: &[(u16, Option<u16>)], expected: &[&str]) {
        let regions: Vec<RegionStatus> = regions
            .iter()
            .map(|(id, parent)| region(*id, *parent))
            .collect();
        let drawn: Vec<String> = tree(&regions)
            .iter()
            .map(|(indent, r)| format!("{indent}{}", r.name))
            .collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn children_hang_below_their_parents() {
        check(
            &[
                (1, None),
                (2, Some(1)),
                (3, Some(1)),
                (4, Some(2)),
                (5, Some(3)),
            ],
            &["r1", "├─ r2", "│  └─ r4", "└─ r3", "   └─ r5"],
        );
    }

    #[test]
    fn no_region_is_lost_and_none_comes_twice() {
        check(&[(2, Some(1)), (3, Some(2))], &["r2", "└─ r3"]);
        check(
            &[(1, Some(2)), (2, Some(1)), (3, None)],
            &["r3", "r1", "r2"],
        );
        check(&[], &[]);
    }
}
