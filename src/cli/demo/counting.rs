//! Step (b): the words of a text, counted by supervised tasks in all regions.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fedist::registry::RegionId;

use super::{
    fleet::Call,
    protocol::{Command, Count, Counted},
    report::{Report, WordsReport, grouped},
    show::Ink,
    stage::Stage,
    words::{Splitter, WholeCount, WordCounts},
};

/// Reads the text once: whole into one count, and in pieces to the root, which hands them out.
pub(crate) fn run(stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mut text = stage.text.take().context("the text was counted already")?;
    let show = stage.show;
    show.section("Words, counted in all regions");
    show.note(format_args!(
        "{}: {} file{}, {} bytes",
        text.what,
        grouped(text.files() as u64),
        if text.files() == 1 { "" } else { "s" },
        grouped(text.bytes)
    ));
    let started = Instant::now();
    let regions = stage.plan.regions.len();
    let pieces = (text.bytes / piece_len(text.bytes, regions) as u64) as usize;
    let mut hands = Hands {
        stage,
        bar: show.bar(pieces.max(1), "counting"),
        open: VecDeque::new(),
        at_most: (regions * 4).min(64),
        given: 0,
        settled: 0,
        counts: WordCounts::default(),
        tasks: stage.plan.regions.iter().map(|region| (region.id, 0)).collect(),
        repeated: 0,
    };
    let mut splitter = Splitter::new(piece_len(text.bytes, regions));
    let mut whole = WholeCount::default();
    let mut bytes = 0;
    text.read(|block| {
        bytes += block.len() as u64;
        if block.is_empty() {
            whole.end_file();
            splitter.end_file();
            return Ok(());
        }
        whole.push(block);
        splitter.push(block).into_iter().try_for_each(|piece| hands.give(piece))
    })?;
    if let Some(piece) = splitter.finish() {
        hands.give(piece)?;
    }
    while hands.settle_one()? {}
    let Hands { bar, counts, tasks, given, repeated, .. } = hands;
    drop(bar);

    let expected = whole.counts();
    let words = WordsReport {
        total: counts.total(),
        distinct: counts.distinct(),
        top: counts.top(10),
        single_process_total: expected.total(),
        skipped_bytes: splitter.skipped(),
        bytes,
        tasks: tasks.into_iter().filter(|(_, count)| *count > 0).collect(),
    };
    show_top(stage, &words);
    if given > 0 {
        let moved = if repeated > 0 {
            format!("; {repeated} moved to another region")
        } else {
            String::new()
        };
        show.note(format_args!(
            "{given} task{}: {}{moved}",
            if given == 1 { "" } else { "s" },
            shares(&words.tasks)
        ));
    }
    if words.skipped_bytes > 0 {
        show.note(format_args!(
            "{} bytes are not UTF-8 and were skipped",
            grouped(words.skipped_bytes)
        ));
    }
    for unreadable in &text.unreadable {
        show.note(format_args!("left out, cannot be read: {unreadable}"));
    }
    let equal = counts == *expected;
    show.verdict(
        equal,
        format_args!(
            "{} words, {} different, in {:.1} s; counted in one process: {}",
            grouped(words.total),
            grouped(words.distinct),
            started.elapsed().as_secs_f64(),
            if equal { "the same".to_owned() } else { grouped(words.single_process_total) }
        ),
    );
    if !equal {
        report.failed(format!(
            "words: {} counted by tasks, {} in one process",
            words.total, words.single_process_total
        ));
    }
    report.words = Some(words);
    Ok(())
}

/// Pieces on their way to a task and back.
struct Hands<'a, 'b> {
    stage: &'a Stage<'b>,
    bar: super::show::Bar,
    open: VecDeque<Call>,
    at_most: usize,
    given: u64,
    settled: usize,
    counts: WordCounts,
    tasks: BTreeMap<RegionId, u64>,
    repeated: u64,
}

impl Hands<'_, '_> {
    /// Gives a piece to the root, which places it; waits while too many are on their way.
    fn give(&mut self, piece: String) -> anyhow::Result<()> {
        if piece.len() > LONGEST_TASK {
            // A single word as long as this fits into no message.
            self.counts.merge(WordCounts::of(&piece));
            return Ok(());
        }
        while self.open.len() >= self.at_most {
            self.settle_one()?;
        }
        let count = Command::Count(Count { piece: self.given, text: piece });
        self.open.push_back(self.stage.fleet.region(RegionId::MIN)?.order(count)?);
        self.given += 1;
        Ok(())
    }

    /// Takes the counts of the piece that is out for longest; `false` if none is.
    fn settle_one(&mut self) -> anyhow::Result<bool> {
        let Some(call) = self.open.pop_front() else {
            return Ok(false);
        };
        let counted: Counted = call.answer(PATIENCE).context("a task was not done anywhere")?;
        self.counts.merge(counted.counts);
        *self.tasks.entry(counted.region).or_default() += 1;
        self.repeated += u64::from(counted.attempts > 1);
        self.settled += 1;
        self.bar.at(self.settled);
        Ok(true)
    }
}

fn show_top(stage: &Stage<'_>, words: &WordsReport) {
    let show = stage.show;
    let most = words.top.first().map_or(1, |(_, count)| *count).max(1);
    for (word, count) in &words.top {
        let short: String = word.chars().take(20).collect();
        let bar = "▇".repeat(usize::try_from(count * 30 / most).unwrap_or(30).max(1));
        show.line(format_args!(
            "    {short:<20} {:>9}  {}",
            grouped(*count),
            show.paint(Ink::Cyan, &bar)
        ));
    }
}

/// How many tasks ran where.
fn shares(tasks: &[(RegionId, u64)]) -> String {
    if tasks.len() > 8 {
        let counts = tasks.iter().map(|(_, count)| *count);
        let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        return format!("{least} to {most} in each of {} regions", tasks.len());
    }
    let each: Vec<String> = tasks.iter().map(|(id, count)| format!("{count} in {id}")).collect();
    each.join(", ")
}

/// Small enough that every region gets some pieces, large enough that the way there is worth it.
fn piece_len(bytes: u64, regions: usize) -> usize {
    let share = bytes / (regions as u64 * 4);
    usize::try_from(share).unwrap_or(LONGEST_PIECE).clamp(SHORTEST_PIECE, LONGEST_PIECE)
}

const SHORTEST_PIECE: usize = 512;
const LONGEST_PIECE: usize = 128 * 1024;
/// Leaves room in the 16 MiB that a message may have.
const LONGEST_TASK: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(90);
