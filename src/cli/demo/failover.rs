//! Step (c): a flow of messages from leaf to leaf, and the death of the hub that it runs through.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use fedist::registry::{RegionId, RegionPid};

use super::{
    fleet::RegionProcess,
    plan::{Plan, Role},
    protocol::{Command, Halfway, Pour, Poured, Sink},
    report::{FailoverReport, Report, grouped, round},
    show::{Bar, Ink},
    stage::Stage,
    tally::TallyReport,
};

/// Sends the messages, kills the hub at half of them, and counts what arrived.
pub(crate) fn run(stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let show = stage.show;
    show.section("A hub dies under traffic");
    let (from, to, path) = choose(stage)?;
    show.note(format_args!(
        "{} messages from {} to {}",
        grouped(MESSAGES),
        stage.label(from),
        stage.label(to)
    ));
    show.line(format_args!("    before  {}", stage.named_path(&path)));
    let sink = stage.fleet.region(to)?.clone();
    let source = stage.fleet.region(from)?.clone();
    let pid: RegionPid = sink.ask(Command::Sink(Sink { messages: MESSAGES as usize }), PATIENCE)?;
    let bar = show.bar(MESSAGES as usize, "sending");
    let pour =
        source.order(Command::Pour(Pour { to: pid, messages: MESSAGES, over_ms: OVER_MS }))?;
    let halfway: Halfway =
        pour.event(PATIENCE)?.context("the source ended before it was halfway")?;
    // The route may have changed since it was chosen: what counts is who relays now.
    let Some(hub) = relay_to_lose(&stage.plan, &halfway.path) else {
        bail!("no hub to kill: halfway the route was {}", stage.named_path(&halfway.path));
    };
    let at_kill: TallyReport = sink.ask(Command::Drained, PATIENCE)?;
    stage.fleet.kill(hub)?;
    let killed_at = Instant::now();
    let story = format!(
        "kill    SIGKILL for {}, {} messages have arrived",
        stage.label(hub),
        grouped(at_kill.delivered)
    );
    bar.above(|| show.line(format_args!("    {}", show.paint(Ink::Red, &story))));
    bar.say(format_args!("without {}", stage.name(hub)));
    bar.at(at_kill.delivered as usize);
    let arrived = arrivals(&sink, &bar, killed_at)?;
    let poured: Poured = pour.answer(PATIENCE)?;
    drop(bar);
    let path_after = stage
        .statuses()?
        .get(&from)
        .and_then(|status| status.routes.iter().find(|route| route.to == to))
        .map(|route| route.path.clone())
        .unwrap_or_default();
    let found = FailoverReport {
        sent: poured.sent,
        delivered: arrived.delivered,
        lost: poured.sent.saturating_sub(arrived.delivered),
        doubled: arrived.doubled,
        reordered: arrived.reordered,
        longest_pause_ms: round(arrived.longest_pause_ms),
        from,
        to,
        killed: hub,
        path_before: halfway.path,
        path_after,
    };
    if found.path_before != path {
        show.line(format_args!("    at kill {}", stage.named_path(&found.path_before)));
    }
    show.line(format_args!("    after   {}", stage.named_path(&found.path_after)));
    show.note(format_args!(
        "the longest pause, {:.0} ms, ended with message {}",
        found.longest_pause_ms,
        grouped(arrived.pause_before)
    ));
    // With everything delivered before the kill nothing would have been shown.
    let in_the_middle = at_kill.delivered < MESSAGES;
    let held = found.holds() && found.sent == MESSAGES && arrived.unknown == 0 && in_the_middle;
    show.verdict(
        held,
        format_args!(
            "{} sent, {} delivered: {} lost, {} doubled, {} reordered, longest pause {:.0} ms",
            grouped(found.sent),
            grouped(found.delivered),
            found.lost,
            found.doubled,
            found.reordered,
            found.longest_pause_ms
        ),
    );
    if !held {
        report.failed(format!(
            "failover: of {} sent, {} lost, {} doubled, {} reordered",
            found.sent, found.lost, found.doubled, found.reordered
        ));
    }
    report.failover = Some(found);
    Ok(())
}

/// Two leaves and the route that traffic between them takes now, through a hub that can be spared.
fn choose(stage: &Stage<'_>) -> anyhow::Result<(RegionId, RegionId, Vec<RegionId>)> {
    let statuses = stage.statuses()?;
    let leaves = stage.plan.regions.iter().filter(|region| region.role == Role::Leaf);
    let leaves: Vec<RegionId> = leaves.map(|region| region.id).collect();
    let planned = stage.plan.detours().into_iter().map(|detour| {
        let id = |i: usize| stage.plan.regions[i].id;
        (id(detour.source), id(detour.sink))
    });
    let any = leaves.iter().flat_map(|from| leaves.iter().map(move |to| (*from, *to)));
    let mut second_best = None;
    for (from, to) in planned.chain(any.filter(|(from, to)| from != to)) {
        let routes = statuses.get(&from).into_iter().flat_map(|status| &status.routes);
        let Some(path) =
            routes.into_iter().find(|route| route.to == to).map(|route| route.path.clone())
        else {
            continue;
        };
        match relay_to_lose(&stage.plan, &path) {
            Some(hub)
                if stage
                    .plan
                    .index(hub)
                    .is_some_and(|i| stage.plan.regions[i].role == Role::Hub) =>
            {
                return Ok((from, to, path));
            }
            Some(_) => second_best = second_best.or(Some((from, to, path))),
            None => {}
        }
    }
    second_best.context("no two leaves talk through a hub that could be spared")
}

/// A relay of the path without which there is another: a hub, or else the root.
fn relay_to_lose(plan: &Plan, path: &[RegionId]) -> Option<RegionId> {
    let [first, relays @ .., last] = path else {
        return None;
    };
    let (from, to) = (plan.index(*first)?, plan.index(*last)?);
    let spare = |role: Role| {
        relays.iter().copied().find(|relay| {
            let at = plan.index(*relay);
            at.is_some_and(|at| {
                plan.regions[at].role == role && plan.route(from, to, Some(at)).is_some()
            })
        })
    };
    spare(Role::Hub).or_else(|| spare(Role::Root))
}

/// Waits until all messages are there, or nothing more can be hoped for.
fn arrivals(
    sink: &Arc<RegionProcess>,
    bar: &Bar,
    killed_at: Instant,
) -> anyhow::Result<TallyReport> {
    loop {
        let report: TallyReport = sink.ask(Command::Drained, PATIENCE)?;
        bar.at(report.delivered as usize);
        if report.delivered >= MESSAGES {
            // Doubles would come after the last one: time for one more round trip of the longest kind.
            thread::sleep(AFTERMATH);
            return sink.ask(Command::Drained, PATIENCE);
        }
        if killed_at.elapsed() > ARRIVAL_PATIENCE {
            return Ok(report);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

const MESSAGES: u64 = 200_000;
const OVER_MS: u64 = 3000;
const PATIENCE: Duration = Duration::from_secs(60);
/// After the kill.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(30);
const AFTERMATH: Duration = Duration::from_millis(600);
