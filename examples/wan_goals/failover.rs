//! Cut links: how soon the sender, and everybody, goes another way; and hubs killed under load.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Context as _;
use fedist::registry::{RegionId, RegionPid};

use super::{
    Row, aws, note, percentile,
    protocol::{At, Command, Mesh, Pour, Tally},
    region::now_us,
    say,
    stage::{Federation, Gathering, PATIENCE},
};

pub(crate) const CUT_ROWS: &[&str] = &[
    "failover-traffic-less-3rtt-p50",
    "failover-traffic-less-3rtt-p99",
    "failover-traffic-pause-less-3rtt-p50",
    "failover-traffic-pause-less-3rtt-p99",
    "failover-idle-less-3rtt-p50",
    "failover-idle-less-3rtt-p99",
    "rerouted-after-detection-p50",
    "rerouted-after-detection-p99",
    "rerouted-after-first-doubt-p50",
    "rerouted-after-first-doubt-p99",
    "failover-cuts",
    "failover-lost",
    "failover-doubled-reordered",
];

pub(crate) const KILL_ROWS: &[&str] = &[
    "kill-sent",
    "kill-pairs-over-victims",
    "kill-lost",
    "kill-doubled",
    "kill-reordered",
    "drain-lost",
    "drain-doubled-reordered",
];

/// Links of an adaptive mesh are cut one after the other, a stream of messages over every second one.
pub(crate) fn cuts(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (plan, _) = aws::plan(REGIONS, Mesh::Adaptive);
    let federation = Federation::start(plan)?;
    // Makes every route one in use, so that its link is watched; the streams are the traffic proper.
    federation.chatter(Some(Duration::from_secs(2)))?;
    thread::sleep(Duration::from_secs(60));
    let (mut busy, mut idle, mut everybody) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pauses, mut after_doubt) = (Vec::new(), Vec::new());
    let (mut lost, mut wrong) = (0, 0);
    for round in 0..2 * CUTS {
        let with_traffic = round % 2 == 0;
        // While it is idle nothing passes any link but probes.
        if !with_traffic {
            federation.chatter(None)?;
        }
        match cut_once(&federation, round, with_traffic)? {
            None => note(&format!("cut {round}: no link to cut")),
            Some(cut) => {
                if with_traffic { &mut busy } else { &mut idle }
                    .push(cut.sender_ms - 3.0 * cut.rtt_ms);
                pauses.extend(cut.pause_ms.map(|pause| pause - 3.0 * cut.rtt_ms));
                everybody.push(cut.everybody_ms);
                after_doubt.push(cut.after_doubt_ms);
                lost += cut.lost;
                wrong += cut.wrong;
                note(&format!(
                    "cut {round}: {} rtt {:.1} ms, sender after {:.1} ms, all {:.1} ms after it was given up and {:.1} ms after the first doubt (last: {}), pause {:.1} ms",
                    if with_traffic { "traffic," } else { "idle," },
                    cut.rtt_ms,
                    cut.sender_ms,
                    cut.everybody_ms,
                    cut.after_doubt_ms,
                    cut.last,
                    cut.pause_ms.unwrap_or(0.0),
                ));
            }
        }
        if !with_traffic {
            federation.chatter(Some(Duration::from_secs(2)))?;
        }
    }
    let limit = "1 RTT";
    for (name, samples, goal) in [("traffic", &busy, 50.0), ("idle", &idle, 1_050.0)] {
        for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
            let name = format!("failover-{name}-less-3rtt-{label}");
            say(rows, Row::at_most(&name, percentile(samples, share), goal, "ms", limit));
        }
    }
    for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
        let name = format!("failover-traffic-pause-less-3rtt-{label}");
        let what = "longest pause at the receiver";
        say(rows, Row::beside(&name, percentile(&pauses, share), "ms", what));
    }
    let limit = "flood 150-206 ms and SPF";
    for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
        let name = format!("rerouted-after-detection-{label}");
        say(rows, Row::at_most(&name, percentile(&everybody, share), 300.0, "ms", limit));
        // An end leaves a link that is in doubt in silence; the others are told when it is given up.
        let name = format!("rerouted-after-first-doubt-{label}");
        let what = "with the last time-out of the two ends";
        say(rows, Row::beside(&name, percentile(&after_doubt, share), "ms", what));
    }
    say(
        rows,
        Row::beside("failover-cuts", (busy.len() + idle.len()) as f64, "cuts", "at least 100"),
    );
    say(rows, Row::at_most("failover-lost", lost as f64, 0.0, "messages", "0"));
    say(rows, Row::at_most("failover-doubled-reordered", wrong as f64, 0.0, "messages", "0"));
    federation.end();
    Ok(())
}

struct Cut {
    rtt_ms: f64,
    sender_ms: f64,
    /// The longest time in which nothing of the stream arrived.
    pause_ms: Option<f64>,
    /// From the moment when an end gave the link up until nobody's route passed it.
    everybody_ms: f64,
    /// The same from the moment when an end left it.
    after_doubt_ms: f64,
    /// Whoever was the last to go another way.
    last: RegionId,
    lost: u64,
    wrong: u64,
}

fn cut_once(
    federation: &Federation,
    round: usize,
    with_traffic: bool,
) -> anyhow::Result<Option<Cut>> {
    let count = federation.len();
    let from = federation.regions()[round / 2 % count];
    let status: fedist::NodeStatus = federation.ask(from, Command::Status)?;
    // A neighbour that is reached directly, and another way there.
    let direct: Vec<_> = status
        .links
        .iter()
        .filter(|link| status.routes.iter().any(|route| route.path == [from, link.peer]))
        .collect();
    let Some(link) = direct.get(round / (2 * count) % direct.len().max(1)) else {
        return Ok(None);
    };
    let (to, rtt_ms) = (link.peer, link.rtt_ms.context("a link without a round trip")?);
    note(&format!(
        "  {from} to {to}: deviation {:.1} ms, probed after {} ms of silence, local health {}",
        link.rtt_deviation_ms.unwrap_or(f64::NAN),
        link.probe_idle_ms,
        status.local_health,
    ));
    let mut pouring = None;
    if with_traffic {
        let sink: RegionPid = federation.ask(to, Command::Sink)?;
        let mut gathering = Gathering::new();
        let pour = Pour { to: sink, stream: round as u64, every_us: 5_000, for_ms: 2_500 };
        gathering.order(federation, from, Command::Pour(pour))?;
        pouring = Some(gathering);
    }
    // Without traffic the probes of the last second before the cut come at any moment of it.
    let wait_ms = if with_traffic { 700 } else { 2_000 + (round as u64 * 373) % 1_000 };
    thread::sleep(Duration::from_millis(wait_ms));
    let mut sender = Gathering::new();
    sender.order(
        federation,
        from,
        Command::Avoids { a: from, b: to, to: Some(to), patience_ms: 20_000 },
    )?;
    let all = federation.watchers(|_| Command::Avoids {
        a: from,
        b: to,
        to: None,
        patience_ms: 30_000,
    })?;
    let mut ends = Gathering::new();
    for (end, peer) in [(from, to), (to, from)] {
        ends.order(federation, end, Command::GivenUp { peer, patience_ms: 30_000 })?;
    }
    thread::sleep(Duration::from_millis(100));
    let cut_at = now_us();
    federation.wan.cut(from, to);
    federation.wan.cut(to, from);
    let sender_at = sender.answers::<At>(PATIENCE);
    let all_at = all.answers::<At>(PATIENCE);
    let given_up = ends.answers::<At>(PATIENCE);
    federation.wan.restore(from, to);
    federation.wan.restore(to, from);
    let sender_at = sender_at?.first().context("the sender did not answer")?.1.at_us;
    let all_at = all_at?;
    let given_up = given_up?.iter().map(|(_, at)| at.at_us).min().unwrap_or(sender_at);
    // An end that did not use the link has answered before the cut.
    let doubted = all_at
        .iter()
        .filter(|(id, at)| (*id == from || *id == to) && at.at_us > cut_at)
        .map(|(_, at)| at.at_us)
        .min()
        .unwrap_or(sender_at);
    let (last, last_at) = all_at
        .iter()
        .map(|(id, at)| (*id, at.at_us))
        .max_by_key(|(_, at)| *at)
        .unwrap_or((from, sender_at));
    let (mut lost, mut wrong, mut pause_ms) = (0, 0, None);
    if let Some(pouring) = pouring {
        let sent = pouring.answers::<u64>(PATIENCE)?.first().map_or(0, |(_, sent)| *sent);
        let tally = settled(federation, to, round as u64, sent)?;
        pause_ms = Some(tally.pause_us as f64 / 1e3);
        lost = sent.saturating_sub(tally.arrived);
        wrong = tally.doubled + tally.reordered;
    }
    // The link comes back, and is held down for a moment before it is used again.
    thread::sleep(Duration::from_millis(1_500));
    Ok(Some(Cut {
        rtt_ms,
        sender_ms: sender_at.saturating_sub(cut_at) as f64 / 1e3,
        pause_ms,
        everybody_ms: last_at.saturating_sub(given_up) as f64 / 1e3,
        after_doubt_ms: last_at.saturating_sub(doubted) as f64 / 1e3,
        last,
        lost,
        wrong,
    }))
}

/// What a sink has of a stream once everything is there, or nothing more comes.
fn settled(federation: &Federation, to: RegionId, stream: u64, sent: u64) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for _ in 0..100 {
        let tallies: Vec<Tally> = federation.ask(to, Command::Tallies)?;
        tally = tallies.into_iter().find(|tally| tally.stream == stream).unwrap_or_default();
        if tally.arrived >= sent {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(tally)
}

/// Every hub is killed in turn, with a stream between every two of the others; then one is drained.
pub(crate) fn kills(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (plan, _) = aws::plan(KILLED, Mesh::Adaptive);
    let mut federation = Federation::start(plan)?;
    thread::sleep(Duration::from_secs(10));
    let mut book = Crossfire::default();
    let mut passed = 0;
    for at in 0..federation.len() {
        let victim = federation.regions()[at];
        let load = Load::begin(&federation, victim)?;
        thread::sleep(Duration::from_millis(1_500));
        let over = pairs_over(&federation, victim)?;
        passed += over;
        federation.fleet.kill(victim)?;
        let seen = load.end(&federation)?;
        note(&format!(
            "hub {victim} killed, with {over} pairs over it: {} sent, {} lost",
            seen.sent, seen.lost
        ));
        book.add(seen);
        federation.begin(at)?.answer::<()>(PATIENCE)?;
        federation.wait_until_all_see_all()?;
        // Until the news of its new life is everywhere: what is accepted for the former one ends with it.
        thread::sleep(Duration::from_secs(1));
    }
    say(rows, Row::beside("kill-sent", book.sent as f64, "messages", "between survivors"));
    let what = "whose messages lost their relay";
    say(rows, Row::beside("kill-pairs-over-victims", passed as f64, "pairs", what));
    say(rows, Row::at_most("kill-lost", book.lost as f64, 0.0, "messages", "0"));
    say(rows, Row::at_most("kill-doubled", book.doubled as f64, 0.0, "messages", "0"));
    say(rows, Row::at_most("kill-reordered", book.reordered as f64, 0.0, "messages", "0"));
    let leaving = federation.regions()[1];
    let load = Load::begin(&federation, leaving)?;
    thread::sleep(Duration::from_millis(1_500));
    let draining = federation.fleet.region(leaving)?.order(Command::Drain)?;
    let seen = load.end(&federation)?;
    draining.answer::<()>(PATIENCE)?;
    say(rows, Row::at_most("drain-lost", seen.lost as f64, 0.0, "messages", "0"));
    let wrong = seen.doubled + seen.reordered;
    say(rows, Row::at_most("drain-doubled-reordered", wrong as f64, 0.0, "messages", "0"));
    federation.end();
    Ok(())
}

/// How many pairs of other regions have their route over this one.
fn pairs_over(federation: &Federation, victim: RegionId) -> anyhow::Result<usize> {
    let statuses = federation.statuses()?;
    let routes = statuses.values().flat_map(|status| &status.routes);
    Ok(routes
        .filter(|route| {
            let between = route.path.get(1..route.path.len().saturating_sub(1));
            between.is_some_and(|between| between.contains(&victim))
        })
        .count())
}

/// A stream of messages between every two regions but one.
struct Load {
    regions: Vec<RegionId>,
    pouring: Gathering,
}

#[derive(Default)]
struct Crossfire {
    sent: u64,
    lost: u64,
    doubled: u64,
    reordered: u64,
}

impl Load {
    fn begin(federation: &Federation, without: RegionId) -> anyhow::Result<Self> {
        let regions: Vec<RegionId> =
            federation.regions().into_iter().filter(|id| *id != without).collect();
        let sinks: BTreeMap<RegionId, RegionPid> = regions
            .iter()
            .map(|id| Ok((*id, federation.ask(*id, Command::Sink)?)))
            .collect::<anyhow::Result<_>>()?;
        let mut pouring = Gathering::new();
        for from in &regions {
            for to in regions.iter().filter(|to| *to != from) {
                let stream = u64::from(from.get()) * 100_000 + u64::from(to.get());
                let pour = Pour { to: sinks[to], stream, every_us: 20_000, for_ms: 6_000 };
                pouring.order(federation, *from, Command::Pour(pour))?;
            }
        }
        Ok(Self { regions, pouring })
    }

    /// Waits until all streams have ended, and for what is still on its way.
    fn end(self, federation: &Federation) -> anyhow::Result<Crossfire> {
        let sent = self.pouring.answers::<u64>(PATIENCE)?.iter().map(|(_, sent)| sent).sum();
        let mut seen = Crossfire::default();
        for _ in 0..100 {
            seen = Crossfire { sent, ..Crossfire::default() };
            let mut arrived = 0;
            for to in &self.regions {
                let tallies: Vec<Tally> = federation.ask(*to, Command::Tallies)?;
                for tally in tallies {
                    arrived += tally.arrived;
                    seen.doubled += tally.doubled;
                    seen.reordered += tally.reordered;
                }
            }
            seen.lost = sent.saturating_sub(arrived);
            if seen.lost == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        if seen.lost + seen.doubled + seen.reordered > 0 {
            for (id, status) in federation.statuses()? {
                note(&format!(
                    "  region {id}: dropped {:?}, counters {:?}",
                    status.dropped, status.counters
                ));
            }
        }
        Ok(seen)
    }
}

impl Crossfire {
    fn add(&mut self, other: Crossfire) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
    }
}

const REGIONS: usize = 16;
const CUTS: usize = 52;
const KILLED: usize = 8;
