//! The diamond A-B-D and A-C-D: the route follows what is measured, and no more often than it must.

use std::{thread, time::Duration};

use fedist::{registry::RegionId, transport::emulator::LinkProfile};

use super::{
    Row, note,
    protocol::{Command, Mesh, Taken},
    region::now_us,
    say,
    stage::{Federation, Plan, Site, region},
};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// The window of the minimum round trip.
const WINDOW: Duration = Duration::from_secs(30);

pub(crate) fn rows(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let edges = [(A, B), (B, D), (A, C), (C, D)].map(|(a, b)| (region(a), region(b)));
    let sites = [("a", None), ("b", Some(A)), ("c", Some(A)), ("d", Some(B))];
    let federation = Federation::start(Plan {
        sites: sites
            .map(|(name, parent)| Site {
                name: name.to_owned(),
                parent: parent.map(region),
                coordinates: None,
            })
            .into(),
        delay: Some(Box::new(|a, b| match (a.min(b), a.max(b)) {
            (A, C) | (C, D) => Duration::from_millis(15),
            _ => Duration::from_millis(10),
        })),
        mesh: Mesh::Edges(edges.into()),
    })?;
    federation.chatter(Some(Duration::from_millis(200)))?;
    let (over_b, over_c) = ([region(B), region(D)], [region(C), region(D)]);
    wait_for(&federation, &over_b, Duration::from_secs(60))?;
    thread::sleep(Duration::from_secs(10));

    set_delay(&federation, Duration::from_millis(100), Duration::ZERO);
    let moved = wait_for(&federation, &over_c, 6 * WINDOW)?;
    let windows = moved.as_secs_f64() / WINDOW.as_secs_f64();
    note(&format!("A-B from 20 to 200 ms: the route moved after {moved:.1?}"));
    say(rows, Row::at_most("diamond-moves-within", windows, 3.0, "windows", "one round trip"));
    set_delay(&federation, Duration::from_millis(10), Duration::ZERO);
    let back = wait_for(&federation, &over_b, 6 * WINDOW)?;
    note(&format!("A-B back at 20 ms: the route came back after {back:.1?}"));
    let windows = back.as_secs_f64() / WINDOW.as_secs_f64();
    say(rows, Row::at_most("diamond-restored-within", windows, 3.0, "windows", "one round trip"));

    for (a, b) in [(A, B), (B, D), (A, C), (C, D)] {
        for (from, to) in [(a, b), (b, a)] {
            let delay = Duration::from_millis(if a == C || b == C { 15 } else { 10 });
            let mut profile = LinkProfile::with_delay(delay);
            // Both directions together make the round trip jitter by 5 ms.
            profile.jitter = Duration::from_micros(2_500);
            federation.wan.set(region(from), region(to), profile);
        }
    }
    thread::sleep(Duration::from_secs(5));
    let changes = changes(&federation, 3 * WINDOW)?;
    note(&format!("under jitter the route changed {changes} times in 3 windows"));
    let per_window = f64::from(changes) / 3.0;
    say(rows, Row::at_most("diamond-jitter-changes", per_window, 1.0, "/window", "0"));
    for (a, b) in [(A, B), (B, D), (A, C), (C, D)] {
        for (from, to) in [(a, b), (b, a)] {
            let delay = Duration::from_millis(if a == C || b == C { 15 } else { 10 });
            federation.wan.set(region(from), region(to), LinkProfile::with_delay(delay));
        }
    }
    wait_for(&federation, &over_b, 6 * WINDOW)?;
    federation.ask::<()>(region(B), Command::Burn { permille: 1_000, for_ms: 60_000 })?;
    let moved = wait_for(&federation, &over_c, Duration::from_secs(60));
    let seconds = moved.as_ref().map_or(f64::NAN, Duration::as_secs_f64);
    say(
        rows,
        Row::at_most("diamond-swamped-moves-after", seconds, 30.0, "s", "the smoothing, 1-2 s"),
    );
    federation.end();
    Ok(())
}

fn set_delay(federation: &Federation, delay: Duration, jitter: Duration) {
    let mut profile = LinkProfile::with_delay(delay);
    profile.jitter = jitter;
    federation.wan.set(region(A), region(B), profile);
    federation.wan.set(region(B), region(A), profile);
}

/// Waits until A's route to D is this one; gives how long it took.
fn wait_for(
    federation: &Federation,
    hops: &[RegionId],
    patience: Duration,
) -> anyhow::Result<Duration> {
    let begun = now_us();
    let log = federation
        .fleet
        .region(region(A))?
        .order(Command::RouteLog { to: region(D), for_ms: patience.as_millis() as u64 })?;
    while let Some(taken) = log.event::<Taken>(patience + Duration::from_secs(5))? {
        if taken.hops == hops {
            return Ok(Duration::from_micros(taken.at_us.saturating_sub(begun)));
        }
    }
    anyhow::bail!("the route from A to D did not become {hops:?} within {patience:?}")
}

fn changes(federation: &Federation, duration: Duration) -> anyhow::Result<u32> {
    let log = federation
        .fleet
        .region(region(A))?
        .order(Command::RouteLog { to: region(D), for_ms: duration.as_millis() as u64 })?;
    let mut seen = 0;
    while log.event::<Taken>(duration + Duration::from_secs(5))?.is_some() {
        seen += 1;
    }
    // The first event is the route at the beginning.
    Ok(seen - 1)
}
