//! `fedist regions`: the tree of regions, as a node's copy of the registry has it.

use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
};

use fedist::{NodeStatus, RegionId, RegionStatus, RouteStatus};
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
            "master": status.master,
            "candidates": status.candidates,
            "regions": status.regions,
        }))?;
    } else {
        say(&render(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(status: &NodeStatus) -> String {
    let mut table = Table::new(&["NAME", "#REGION", "STATUS", "REACHED", "#COST", "ADDRESS"]);
    let routes: HashMap<RegionId, &RouteStatus> =
        status.routes.iter().map(|route| (route.to, route)).collect();
    for (indent, region) in tree(&status.regions) {
        let route = routes.get(&region.id);
        let reached = match route.map(|route| route.path.len()) {
            _ if region.id == status.region => "here".to_owned(),
            Some(0..=2) if region.reachable => "directly".to_owned(),
            Some(stops) if region.reachable => format!("over {}", stops - 2),
            _ => "no".to_owned(),
        };
        let reached = match status.disconnected.contains(&region.id) {
            true => format!("{reached}, disconnected"),
            false => reached,
        };
        table.row([
            format!("{indent}{}", region.name),
            region.id.to_string(),
            match region.provisional {
                // A delegate's word; the log has none yet.
                true => "provisional".to_owned(),
                false => region.status.to_string(),
            },
            reached,
            millis(route.filter(|_| region.id != status.region).map(|route| route.cost_ms)),
            region.addresses.join(" "),
        ]);
    }
    let written = match (status.master, status.candidates.is_empty()) {
        (Some(master), true) => format!(" by region {master}"),
        (Some(master), false) => format!(
            " by region {master}, one of candidates {}",
            status.candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        ),
        (None, _) => String::new(),
    };
    format!(
        "seen from region {} {} at {}: {}, up {}, start {}, {} processes, registry entry {}{}\n\n{}",
        status.region,
        status.name,
        status.address,
        if status.live { "live" } else { "not live yet" },
        span(status.uptime_ms),
        status.boot,
        status.processes,
        status.registry_index,
        written,
        table.render(),
    )
}

/// Every region once, children below their parents with what is to be drawn before their names.
/// A region whose parent is not in the list (or that is its own ancestor) stands at the top.
fn tree(regions: &[RegionStatus]) -> Vec<(String, &RegionStatus)> {
    let known: HashSet<RegionId> = regions.iter().map(|region| region.id).collect();
    let parent = |region: &RegionStatus| region.parent.filter(|parent| known.contains(parent));
    let mut children: HashMap<RegionId, Vec<&RegionStatus>> = HashMap::new();
    for region in regions {
        if let Some(parent) = parent(region) {
            children.entry(parent).or_default().push(region);
        }
    }
    let mut drawn = Vec::with_capacity(regions.len());
    let roots = regions.iter().filter(|region| parent(region).is_none());
    // Regions still to be drawn, the next one last: what stands before its name, and before its children.
    let mut open: Vec<(String, String, &RegionStatus)> =
        roots.rev().map(|root| (String::new(), String::new(), root)).collect();
    while let Some((before, below, region)) = open.pop() {
        drawn.push((before, region));
        let offspring = children.remove(&region.id).unwrap_or_default();
        let deeper = below.chars().count() < MAX_INDENT;
        for (at, child) in offspring.into_iter().rev().enumerate() {
            let (turn, pass) = match (deeper, at) {
                (false, _) => ("", ""),
                (true, 0) => ("└─ ", "   "),
                (true, _) => ("├─ ", "│  "),
            };
            open.push((format!("{below}{turn}"), format!("{below}{pass}"), child));
        }
    }
    // What is left are children of one another; the registry lets no such thing in.
    let mut circling: Vec<&RegionStatus> = children.into_values().flatten().collect();
    circling.sort_unstable_by_key(|region| region.id);
    drawn.extend(circling.into_iter().map(|region| (String::new(), region)));
    drawn
}

/// Regions below this many columns are drawn no deeper.
const MAX_INDENT: usize = 60;

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
        let regions: Vec<RegionStatus> =
            regions.iter().map(|(id, parent)| region(*id, *parent)).collect();
        let drawn: Vec<String> =
            tree(&regions).iter().map(|(indent, r)| format!("{indent}{}", r.name)).collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn children_hang_below_their_parents() {
        check(
            &[(1, None), (2, Some(1)), (3, Some(1)), (4, Some(2)), (5, Some(3))],
            &["r1", "├─ r2", "│  └─ r4", "└─ r3", "   └─ r5"],
        );
    }

    #[test]
    fn no_region_is_lost_and_none_comes_twice() {
        check(&[(2, Some(1)), (3, Some(2))], &["r2", "└─ r3"]);
        check(&[(1, Some(2)), (2, Some(1)), (3, None)], &["r3", "r1", "r2"]);
        check(&[], &[]);
        let chain: Vec<RegionStatus> =
            (1..5000).map(|id| region(id, (id > 1).then(|| id - 1))).collect();
        let drawn = tree(&chain);
        assert_eq!(drawn.len(), chain.len());
        assert!(drawn.iter().all(|(indent, _)| indent.chars().count() <= MAX_INDENT));
    }
}
