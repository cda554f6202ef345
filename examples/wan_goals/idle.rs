//! What a region costs that nobody talks to: bytes at the sockets, with eight links each.

use std::{collections::BTreeMap, thread, time::Duration};

use fedist::{NodeStatus, registry::RegionId};

use super::{
    Row, note,
    protocol::Mesh,
    say,
    stage::{Federation, Plan, Site, region},
};

pub(crate) const ROWS: &[&str] =
    &["idle-cost-10-regions", "idle-cost-60-regions", "idle-cost-60-to-10", "probes-on-busy-links"];

pub(crate) fn rows(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let few = kbit_per_s(10)?;
    let goal = 16.0;
    say(rows, Row::at_most("idle-cost-10-regions", few, goal, "kbit/s", "0"));
    let many = kbit_per_s(60)?;
    say(rows, Row::at_most("idle-cost-60-regions", many, goal, "kbit/s", "0"));
    say(rows, Row::at_most("idle-cost-60-to-10", many / few, 1.25, "x", "1"));
    busy_links_are_not_probed(rows)
}

/// Every region is linked to four before and four after it, around a ring. In a large one some of these are far, since a
/// frame passes at most seven links.
fn plan(count: usize) -> Plan {
    let steps = if count <= 20 { [1, 2, 3, 4] } else { [1, 4, 11, 23] };
    let parent = |at: usize| steps.iter().rev().find_map(|step| at.checked_sub(*step));
    let mut edges: Vec<(RegionId, RegionId)> = Vec::new();
    for at in 0..count {
        for step in steps {
            edges.push((region(at), region((at + step) % count)));
        }
    }
    Plan {
        sites: (0..count)
            .map(|at| Site {
                name: format!("region-{}", at + 1),
                parent: parent(at).map(region),
                coordinates: None,
            })
            .collect(),
        delay: Some(Box::new(|_, _| Duration::from_millis(20))),
        mesh: Mesh::Edges(edges),
    }
}

/// Bytes of UDP payload and of IP and UDP headers that pass the sockets of a region, both directions together.
fn kbit_per_s(count: usize) -> anyhow::Result<f64> {
    let federation = Federation::start(plan(count))?;
    thread::sleep(SETTLE);
    let statuses = federation.statuses()?;
    let links: usize = statuses.values().map(|status| status.links.len()).sum();
    note(&format!("{count} regions with {:.1} links each", links as f64 / count as f64));
    let counted_before = counted(&statuses);
    let before = passed(&federation);
    thread::sleep(WATCH);
    let after = passed(&federation);
    let each = counted(&federation.statuses()?).into_iter().zip(counted_before).map(
        |((what, after), (_, before))| {
            format!("{what} {:.1}", after.saturating_sub(before) as f64 / count as f64)
        },
    );
    note(&format!("  in {WATCH:?}, of each region: {}", each.collect::<Vec<_>>().join(", ")));
    federation.end();
    let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
    let bytes = bytes + packets * HEADERS;
    // Each packet is sent by one region and received by another.
    Ok(2.0 * bytes as f64 * 8.0 / 1e3 / WATCH.as_secs_f64() / count as f64)
}

/// What the cost is made of, summed over all regions.
fn counted(statuses: &BTreeMap<RegionId, NodeStatus>) -> Vec<(&'static str, u64)> {
    let counter =
        |name: &str| statuses.values().filter_map(|status| status.counters.get(name)).sum::<u64>();
    let links = || statuses.values().flat_map(|status| &status.links);
    vec![
        ("probes", links().map(|link| link.probes_sent).sum()),
        ("frames", links().map(|link| link.frames_sent).sum()),
        ("bytes of link state", counter("link_state_bytes_sent")),
        ("states announced", counter("link_states_announced")),
        ("states new", counter("link_states_new")),
        ("states known", counter("link_states_known")),
        ("differences", counter("flood_differences")),
        ("links lost", counter("links_lost")),
    ]
}

fn passed(federation: &Federation) -> (u64, u64) {
    let report = federation.wan.report();
    let packets = report.iter().map(|link| link.packets).sum();
    (packets, report.iter().map(|link| link.bytes).sum())
}

/// Links that carry something anyway send no probes.
fn busy_links_are_not_probed(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let federation = Federation::start(plan(10))?;
    federation.chatter(Some(Duration::from_millis(200)))?;
    thread::sleep(Duration::from_secs(10));
    // Of the links that every message of a pair takes.
    let probes = |federation: &Federation| -> anyhow::Result<u64> {
        let statuses = federation.statuses()?;
        let busy = statuses.iter().flat_map(|(id, status)| {
            status.links.iter().filter(move |link| {
                let direct = [*id, link.peer];
                status.routes.iter().any(|route| route.path == direct)
            })
        });
        Ok(busy.map(|link| link.probes_sent).sum())
    };
    let before = probes(&federation)?;
    thread::sleep(Duration::from_secs(20));
    let sent = probes(&federation)?.saturating_sub(before);
    federation.end();
    say(rows, Row::at_most("probes-on-busy-links", sent as f64, 0.0, "probes", "0"));
    Ok(())
}

/// Until nothing is left in the links' estimates of the start, when sixty processes share the machine: two windows.
const SETTLE: Duration = Duration::from_secs(120);
/// Twice the longest period of what an idle region says.
const WATCH: Duration = Duration::from_secs(60);
/// IPv4 and UDP.
const HEADERS: u64 = 28;
