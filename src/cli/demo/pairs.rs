//! Step (a): every region asks every other through the partial mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use fedist::{NodeStatus, registry::RegionId};

use super::{
    super::table::Table,
    order::Heard,
    protocol::{Command, Ping, Pinged},
    report::{PairReport, Report, path_text, round},
    show::{Ink, Show},
    stage::Stage,
};

/// Measures all pairs, those out of tolerance again, and shows what came of it.
pub(crate) fn run(stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    stage.show.section("Every region asks every other (ms, there and back)");
    let ids: Vec<RegionId> = stage.plan.regions.iter().map(|region| region.id).collect();
    let all = |from: &RegionId| ids.iter().map(|to| (*from, *to)).collect::<Vec<_>>();
    let mut wanted: BTreeSet<Pair> =
        ids.iter().flat_map(all).filter(|(from, to)| from != to).collect();
    let mut found: BTreeMap<Pair, PairReport> = BTreeMap::new();
    let mut again = 0;
    for attempt in 1..=ATTEMPTS {
        measure(stage, &wanted, attempt, &mut found)?;
        wanted.retain(|pair| !found.get(pair).is_some_and(PairReport::within_tolerance));
        if wanted.is_empty() || attempt == ATTEMPTS {
            break;
        }
        again += wanted.len();
        thread::sleep(BREATH);
    }
    report.routes = found.into_values().collect();
    report.pairs_ok = report.routes.iter().filter(|pair| pair.within_tolerance()).count();
    show_pairs(stage, &report.routes);
    let held = report.pairs_ok == report.pairs;
    let repeated = if again > 0 { format!(" ({again} measured again)") } else { String::new() };
    stage.show.verdict(
        held,
        format_args!(
            "{} of {} ordered pairs answer, within 15 % + 3 ms of the emulated delays{repeated}",
            report.pairs_ok, report.pairs
        ),
    );
    let emulated = stage.emulated();
    let late = emulated.iter().map(|link| link.given_median_ms - link.asked_ms);
    stage.show.note(format_args!(
        "the emulator kept to its delays within {:.2} ms in the median, on {} directed links",
        late.fold(0.0, f64::max),
        emulated.len()
    ));
    if !held {
        let bad = report.routes.iter().filter(|pair| !pair.within_tolerance());
        let bad: Vec<String> = bad.take(5).map(describe).collect();
        report.failed(format!(
            "pairs: {} of {} held; {}",
            report.pairs_ok,
            report.pairs,
            bad.join("; ")
        ));
    }
    Ok(())
}

type Pair = (RegionId, RegionId);
type Statuses = BTreeMap<RegionId, NodeStatus>;

fn measure(
    stage: &Stage<'_>,
    wanted: &BTreeSet<Pair>,
    attempt: usize,
    found: &mut BTreeMap<Pair, PairReport>,
) -> anyhow::Result<()> {
    let regions = stage.plan.regions.len();
    let bar = stage.show.bar(wanted.len(), if attempt == 1 { "asking" } else { "asking again" });
    let before = stage.statuses()?;
    let (sender, heard) = mpsc::channel();
    let mut open = 0;
    for region in stage.fleet.running() {
        let targets = wanted.iter().filter(|(from, _)| *from == region.id).map(|(_, to)| *to);
        let mut targets: Vec<RegionId> = targets.collect();
        if targets.is_empty() {
            continue;
        }
        // Not all regions ask the same one first.
        let turn = usize::from(region.id.get()) % targets.len();
        targets.rotate_left(turn);
        let ping = Ping {
            targets,
            samples: if regions <= 8 { 5 } else { 3 },
            at_once: (MOST_AT_ONCE / regions).max(1),
            deadline_ms: 10_000,
        };
        region.order_into(Command::Ping(ping), sender.clone())?;
        open += 1;
    }
    drop(sender);
    let mut measured: BTreeMap<Pair, Pinged> = BTreeMap::new();
    while open > 0 {
        let (from, heard) = heard
            .recv_timeout(SILENCE)
            .with_context(|| format!("no region said anything for {SILENCE:?}"))?;
        match heard {
            Heard::Event(value) => {
                let pinged: Pinged = serde_json::from_value(value)?;
                measured.insert((from, pinged.to), pinged);
                bar.at(measured.len());
            }
            Heard::Done(_) => open -= 1,
            Heard::Failed(error) => {
                let region = stage.fleet.region(from)?;
                anyhow::bail!("region {from}: {error}{}", region.last_words());
            }
        }
    }
    let after = stage.statuses()?;
    for pair in wanted {
        let pinged = measured.remove(pair);
        found.insert(*pair, judge(stage, *pair, pinged, &before, &after, attempt));
    }
    Ok(())
}

/// Puts together what both ends know of a pair. Routes may change while they are measured: then it
/// counts if the time is right for those before.
fn judge(
    stage: &Stage<'_>,
    pair: Pair,
    pinged: Option<Pinged>,
    before: &Statuses,
    after: &Statuses,
    attempts: usize,
) -> PairReport {
    let pinged = pinged.unwrap_or_else(|| Pinged {
        to: pair.1,
        rtt_ms: Vec::new(),
        error: Some("was not asked".to_owned()),
    });
    let by = |statuses| hold_against(stage, pair, &pinged, statuses, attempts);
    let now = by(after);
    if now.within_tolerance() {
        return now;
    }
    Some(by(before)).filter(PairReport::within_tolerance).unwrap_or(now)
}

fn hold_against(
    stage: &Stage<'_>,
    (from, to): Pair,
    pinged: &Pinged,
    statuses: &Statuses,
    attempts: usize,
) -> PairReport {
    let (there, back) = (route(statuses, from, to), route(statuses, to, from));
    let unknown = there.is_none() || back.is_none();
    let (path, cost_there) = there.unwrap_or_default();
    let (path_back, cost_back) = back.unwrap_or_default();
    let delay = |path: &[RegionId]| stage.plan.path_ms(path).unwrap_or_default();
    let error = pinged.error.clone();
    let mut rtt_ms = pinged.rtt_ms.clone();
    rtt_ms.sort_by(f64::total_cmp);
    PairReport {
        from,
        to,
        emulated_ms: round(delay(&path) + delay(&path_back)),
        predicted_ms: round(cost_there + cost_back),
        measured_ms: rtt_ms.get(rtt_ms.len() / 2).copied().map(round),
        path,
        path_back,
        attempts,
        error: error.or_else(|| unknown.then(|| "no route is known".to_owned())),
    }
}

fn route(
    statuses: &BTreeMap<RegionId, NodeStatus>,
    from: RegionId,
    to: RegionId,
) -> Option<(Vec<RegionId>, f64)> {
    let routes = &statuses.get(&from)?.routes;
    let route = routes.iter().find(|route| route.to == to)?;
    Some((route.path.clone(), route.cost_ms))
}

fn describe(pair: &PairReport) -> String {
    let measured = match (&pair.error, pair.measured_ms) {
        (Some(error), _) => error.clone(),
        (None, Some(measured)) => {
            format!("measured {measured:.1} ms, emulated {:.1} ms", pair.emulated_ms)
        }
        (None, None) => "not measured".to_owned(),
    };
    format!("{} → {}: {measured}", pair.from, pair.to)
}

fn show_pairs(stage: &Stage<'_>, pairs: &[PairReport]) {
    let show = stage.show;
    if pairs.len() <= MOST_LINES {
        let mut table = Table::new(PAIR_COLUMNS);
        for pair in pairs {
            table.row(row(stage, pair));
        }
        show_table(show, &table, pairs);
        return;
    }
    let mut hops: BTreeMap<usize, (usize, f64, f64)> = BTreeMap::new();
    for pair in pairs {
        let of_length = hops.entry(pair.path.len().saturating_sub(1)).or_default();
        of_length.0 += 1;
        of_length.1 += pair.measured_ms.unwrap_or_default();
        of_length.2 += pair.emulated_ms;
    }
    let mut table = Table::new(&["hops", "#pairs", "#measured", "#emulated", "share"]);
    for (length, (count, measured, emulated)) in hops {
        table.row([
            length.to_string(),
            count.to_string(),
            format!("{:.1} ms", measured / count as f64),
            format!("{:.1} ms", emulated / count as f64),
            "▇".repeat((count * 40).div_ceil(pairs.len())),
        ]);
    }
    show.block(&table.render());
    let mut worst: Vec<&PairReport> = pairs.iter().collect();
    worst.sort_by(|a, b| b.off_ms().abs().total_cmp(&a.off_ms().abs()));
    worst.truncate(5);
    show.note("farthest from their emulated delays:");
    let mut table = Table::new(PAIR_COLUMNS);
    for pair in &worst {
        table.row(row(stage, pair));
    }
    let worst: Vec<PairReport> = worst.into_iter().cloned().collect();
    show_table(show, &table, &worst);
}

fn row(stage: &Stage<'_>, pair: &PairReport) -> [String; 6] {
    let measured = match (&pair.error, pair.measured_ms) {
        (None, Some(measured)) => format!("{measured:.1}"),
        (Some(error), _) => error.clone(),
        (None, None) => "—".to_owned(),
    };
    let back = if pair.path_back.iter().rev().eq(&pair.path) {
        String::new()
    } else {
        format!(" (back {})", path_text(&pair.path_back))
    };
    [
        stage.name(pair.from),
        stage.name(pair.to),
        format!("{}{back}", path_text(&pair.path)),
        format!("{:.1}", pair.predicted_ms),
        measured,
        format!("{:.1}", pair.emulated_ms),
    ]
}

/// Colours whole lines, so that the columns stay aligned.
fn show_table(show: &Show, table: &Table, pairs: &[PairReport]) {
    for (i, line) in table.render().lines().enumerate() {
        let held = i.checked_sub(1).and_then(|at| pairs.get(at)).map(PairReport::within_tolerance);
        match held {
            None => show.line(format_args!("    {}", show.paint(Ink::Dim, line))),
            Some(true) => show.line(format_args!("    {line}")),
            Some(false) => show.line(format_args!("    {}", show.paint(Ink::Red, line))),
        }
    }
}

/// One measurement, and three more for what is out of tolerance: the machine is a noisy one.
const ATTEMPTS: usize = 4;
const BREATH: Duration = Duration::from_millis(700);
const SILENCE: Duration = Duration::from_secs(30);
/// Pings on the way at the same time, so that they do not disturb one another.
const MOST_AT_ONCE: usize = 64;
const PAIR_COLUMNS: &[&str] = &["from", "to", "path", "#predicted", "#measured", "#emulated"];
/// More pairs than this are summed up.
const MOST_LINES: usize = 30;
