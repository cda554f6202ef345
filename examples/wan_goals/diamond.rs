//! The diamond A-B-D and A-C-D: the route follows what is measured, and no more often than it must.

use std::{fmt, thread, time::Duration};

use anyhow::Context as _;
use fedist::{NodeStatus, registry::RegionId, transport::emulator::LinkProfile};

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
const LINKS: [(usize, usize); 4] = [(A, B), (B, D), (A, C), (C, D)];
/// One way of a link over B, and of one over C.
const OVER_B: Duration = Duration::from_millis(10);
const OVER_C: Duration = Duration::from_millis(15);

/// The window of the minimum round trip.
const WINDOW: Duration = Duration::from_secs(30);

pub(crate) const ROWS: &[&str] = &[
    "diamond-moves-within",
    "diamond-restored-within",
    "diamond-jitter-changes",
    "diamond-tied-jitter-changes",
    "diamond-swamped-moves-after",
    "diamond-swamped-rtt",
];

pub(crate) fn rows(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let edges = LINKS.map(|(a, b)| (region(a), region(b)));
    let sites = [("a", None), ("b", Some(A)), ("c", Some(A)), ("d", Some(B))];
    let federation = Federation::start(Plan {
        sites: sites
            .map(|(name, parent)| Site {
                name: name.to_owned(),
                parent: parent.map(region),
                coordinates: None,
            })
            .into(),
        delay: Some(Box::new(|a, b| if a == C || b == C { OVER_C } else { OVER_B })),
        mesh: Mesh::Edges(edges.into()),
    })?;
    federation.chatter(Some(Duration::from_millis(200)))?;
    let (over_b, over_c) = ([region(B), region(D)], [region(C), region(D)]);
    settles(&federation, &over_b, WINDOW)?;

    set_link(&federation, (A, B), Duration::from_millis(100), Duration::ZERO);
    let moved = settles(&federation, &over_c, 3 * WINDOW)?;
    note(&format!("A-B from 20 to 200 ms: {moved}"));
    let windows = moved.for_good.as_secs_f64() / WINDOW.as_secs_f64();
    say(rows, Row::at_most("diamond-moves-within", windows, 3.0, "windows", "one round trip"));
    set_link(&federation, (A, B), OVER_B, Duration::ZERO);
    let back = settles(&federation, &over_b, 3 * WINDOW)?;
    note(&format!("A-B back at 20 ms: {back}"));
    let windows = back.for_good.as_secs_f64() / WINDOW.as_secs_f64();
    say(rows, Row::at_most("diamond-restored-within", windows, 3.0, "windows", "one round trip"));

    // Both directions together make the round trip jitter by 5 ms.
    let jitter = Duration::from_micros(2_500);
    // The way over C is 10 ms longer at first, then as long as the one over B.
    for (name, c) in [("diamond-jitter-changes", OVER_C), ("diamond-tied-jitter-changes", OVER_B)] {
        for link in LINKS {
            let c_is_in = link.0 == C || link.1 == C;
            set_link(&federation, link, if c_is_in { c } else { OVER_B }, jitter);
        }
        thread::sleep(Duration::from_secs(5));
        let changes = changes(&federation, 3 * WINDOW)?;
        note(&format!(
            "under jitter, over C {c:?} a link, the route changed {changes} times in 3 windows"
        ));
        say(rows, Row::at_most(name, f64::from(changes) / 3.0, 1.0, "/window", "0"));
    }
    for link in LINKS {
        let c_is_in = link.0 == C || link.1 == C;
        set_link(&federation, link, if c_is_in { OVER_C } else { OVER_B }, Duration::ZERO);
    }
    settles(&federation, &over_b, 3 * WINDOW)?;
    let before = rtt_ms(&federation)?;
    federation.ask::<()>(region(B), Command::Burn { permille: 1_000, for_ms: 90_000 })?;
    let moved = settles(&federation, &over_c, Duration::from_secs(60))?;
    note(&format!("B's thread swamped: {moved}"));
    let seconds = moved.for_good.as_secs_f64();
    say(
        rows,
        Row::at_most("diamond-swamped-moves-after", seconds, 30.0, "s", "the smoothing, 1-2 s"),
    );
    let meanwhile = rtt_ms(&federation)?;
    note(&format!("round trip A-B {before:.1} ms before, {meanwhile:.1} ms meanwhile"));
    let what = format!("{before:.1} before it");
    say(rows, Row::beside("diamond-swamped-rtt", meanwhile, "ms", &what));
    federation.end();
    Ok(())
}

/// What A measures of its link to B.
fn rtt_ms(federation: &Federation) -> anyhow::Result<f64> {
    let status: NodeStatus = federation.ask(region(A), Command::Status)?;
    let link = status.links.iter().find(|link| link.peer == region(B));
    link.and_then(|link| link.rtt_ms).context("no link from A to B")
}

fn set_link(federation: &Federation, link: (usize, usize), delay: Duration, jitter: Duration) {
    let mut profile = LinkProfile::with_delay(delay);
    profile.jitter = jitter;
    federation.wan.set(region(link.0), region(link.1), profile);
    federation.wan.set(region(link.1), region(link.0), profile);
}

/// When a route was taken.
struct Settled {
    /// For the first time. A link that is suddenly much longer is in doubt for a moment, and left for that alone.
    first: Duration,
    /// And not left any more.
    for_good: Duration,
    changes: u32,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settled { first, for_good, changes } = self;
        write!(f, "there after {first:.1?}, for good after {for_good:.1?}, {changes} changes")
    }
}

/// Watches A's route to D: when it became this one, to stay. What counts is the last change, however late.
fn settles(federation: &Federation, hops: &[RegionId], watch: Duration) -> anyhow::Result<Settled> {
    let begun = now_us();
    let log = federation
        .fleet
        .region(region(A))?
        .order(Command::RouteLog { to: region(D), for_ms: watch.as_millis() as u64 })?;
    let mut seen: Vec<Taken> = Vec::new();
    while let Some(taken) = log.event::<Taken>(watch + Duration::from_secs(5))? {
        seen.push(taken);
    }
    let after = |taken: &Taken| Duration::from_micros(taken.at_us.saturating_sub(begun));
    let (first, last) = (seen.iter().find(|taken| taken.hops == hops), seen.last());
    match first.zip(last.filter(|last| last.hops == hops)) {
        Some((first, last)) => Ok(Settled {
            first: after(first),
            for_good: after(last),
            changes: u32::try_from(seen.len())?.saturating_sub(1),
        }),
        None => anyhow::bail!("the route from A to D was not {hops:?} after {watch:?}: {seen:?}"),
    }
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
