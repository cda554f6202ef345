//! `fedist tree`: the supervision trees of a node.

use std::process::ExitCode;

use fedist::{ChildKind, ChildState, Strategy, Tree};
use serde_json::{Value, json};

use super::{
    AdminArgs,
    admin::{Client, Trees},
    say, say_json,
    table::Table,
};

/// The arguments of `fedist tree`.
#[derive(clap::Args)]
pub(crate) struct TreeArgs {
    /// Only the application's trees, without the runtime's own
    #[arg(long)]
    no_system: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &TreeArgs) -> anyhow::Result<ExitCode> {
    let mut trees = Client::connect(&args.admin.data_dir())?.tree()?;
    if args.no_system {
        trees.trees.retain(|tree| tree.name != SYSTEM);
    }
    if args.admin.json {
        say_json(&json!({
            "region": trees.region,
            "name": trees.name,
            "trees": trees.trees.iter().map(as_json).collect::<Vec<_>>(),
        }))?;
    } else {
        say(&render(&trees))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(trees: &Trees) -> String {
    let here = format!("region {} {}", trees.region, trees.name);
    if trees.trees.is_empty() {
        return format!("{here} has no supervisor\n");
    }
    let mut table = Table::new(&["NAME", "PID", "KIND", "STATE", "#RESTARTS"]);
    let (mut supervisors, mut workers) = (0_usize, 0_usize);
    for (indent, tree) in lines(&trees.trees) {
        match tree.kind {
            ChildKind::Supervisor => supervisors += 1,
            ChildKind::Worker => workers += 1,
        }
        table.row([
            format!("{indent}{}", tree.name),
            tree.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            kind(tree).to_owned(),
            state(tree.state).to_owned(),
            tree.restarts.to_string(),
        ]);
    }
    format!(
        "{here}: {supervisors} supervisor{}, {workers} worker{}\n\n{}",
        if supervisors == 1 { "" } else { "s" },
        if workers == 1 { "" } else { "s" },
        table.render()
    )
}

/// One process and what is below it, in the words of the table. Pids are text: as numbers they are
/// longer than what most readers of JSON keep.
fn as_json(tree: &Tree) -> Value {
    json!({
        "name": tree.name,
        "pid": tree.pid.map(|pid| pid.to_string()),
        "kind": match tree.kind {
            ChildKind::Worker => "worker",
            ChildKind::Supervisor => "supervisor",
        },
        "strategy": tree.strategy.map(strategy),
        "state": state(tree.state),
        "restarts": tree.restarts,
        "children": tree.children.iter().map(as_json).collect::<Vec<_>>(),
    })
}

/// Every process once, children below their supervisors, with what is to be drawn before their names.
fn lines(trees: &[Tree]) -> Vec<(String, &Tree)> {
    let mut drawn = Vec::new();
    // Processes still to be drawn, the next one last: what stands before its name, and before its children.
    let mut open: Vec<(String, String, &Tree)> =
        trees.iter().rev().map(|tree| (String::new(), String::new(), tree)).collect();
    while let Some((before, below, tree)) = open.pop() {
        drawn.push((before, tree));
        let deeper = below.chars().count() < MAX_INDENT;
        for (at, child) in tree.children.iter().rev().enumerate() {
            let (turn, pass) = match (deeper, at) {
                (false, _) => ("", ""),
                (true, 0) => ("└─ ", "   "),
                (true, _) => ("├─ ", "│  "),
            };
            open.push((format!("{below}{turn}"), format!("{below}{pass}"), child));
        }
    }
    drawn
}

fn kind(tree: &Tree) -> &'static str {
    match tree.kind {
        ChildKind::Worker => "worker",
        ChildKind::Supervisor => tree.strategy.map_or("supervisor", strategy),
    }
}

fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::Dynamic => "dynamic",
    }
}

fn state(state: ChildState) -> &'static str {
    match state {
        ChildState::Starting => "starting",
        ChildState::Running => "running",
        ChildState::Stopping => "stopping",
        ChildState::Restarting => "restarting",
        ChildState::Stopped => "stopped",
    }
}

/// The runtime's own tree.
const SYSTEM: &str = "system";
/// Processes below this many columns are drawn no deeper.
const MAX_INDENT: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str, children: Vec<Tree>) -> Tree {
        let supervisor = !children.is_empty();
        serde_json::from_value(json!({
            "name": name, "pid": null,
            "kind": if supervisor { "Supervisor" } else { "Worker" },
            "strategy": supervisor.then_some("RestForOne"),
            "state": "Running", "restarts": 2, "children": children,
        }))
        .unwrap()
    }

    #[test]
    fn children_hang_below_their_supervisors() {
        let trees = vec![
            tree(
                "system",
                vec![tree("relays", vec![tree("relay 2", vec![])]), tree("hub", vec![])],
            ),
            tree("shop", vec![tree("cart", vec![])]),
        ];
        let drawn: Vec<String> =
            lines(&trees).iter().map(|(indent, tree)| format!("{indent}{}", tree.name)).collect();
        assert_eq!(drawn, ["system", "├─ relays", "│  └─ relay 2", "└─ hub", "shop", "└─ cart"]);
        let trees = Trees {
            region: fedist::RegionId::new(1).unwrap(),
            name: "home".to_owned(),
            trees: trees[1..].to_vec(),
        };
        assert_eq!(
            render(&trees),
            "region 1 home: 1 supervisor, 1 worker\n\n\
             NAME     PID  KIND          STATE    RESTARTS\n\
             shop     -    rest_for_one  running         2\n\
             └─ cart  -    worker        running         2\n"
        );
        let shown = as_json(&trees.trees[0]);
        assert_eq!(
            (&shown["kind"], &shown["strategy"]),
            (&"supervisor".into(), &"rest_for_one".into())
        );
        let cart = &shown["children"][0];
        assert_eq!((&cart["kind"], &cart["state"]), (&"worker".into(), &"running".into()));
        let none = Trees { trees: Vec::new(), ..trees };
        assert_eq!(render(&none), "region 1 home has no supervisor\n");
    }

    #[test]
    fn a_deep_tree_is_drawn_to_its_end() {
        let deep = (0..200).fold(tree("leaf", vec![]), |below, _| tree("node", vec![below]));
        let trees = [deep];
        let drawn = lines(&trees);
        assert_eq!(drawn.len(), 201);
        assert!(drawn.iter().all(|(indent, _)| indent.chars().count() <= MAX_INDENT));
    }
}
