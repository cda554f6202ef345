//! What became worse since another report.
//!
//! Ratios are compared, because both sides of a ratio met the same machine; where a figure has no floor, its values are, which
//! says something on one machine only. A figure is worse if it lies outside of what the rounds before gave, and the one before
//! outside of what the rounds give now. Where there are no rounds, as with counts of instructions, 5 % is the margin.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One line of a report's JSON, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    name: String,
    unit: String,
    fedist: Option<f64>,
    ratio: Option<f64>,
    spread: Option<(f64, f64)>,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    compared: usize,
    worse: Vec<(Line, Line)>,
    better: usize,
    /// Lines that only one report has, or that it has without a number.
    gone: Vec<String>,
    added: Vec<String>,
}

/// Reads a report's array.
///
/// # Errors
///
/// The file cannot be read, or is no such array.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("report ({}) cannot be read", path.display()))?;
    let lines: Vec<Line> = serde_json::from_str(&text).with_context(|| {
        format!(
            "report ({}) is not understood; it is the array of bench-report.json; name such a file",
            path.display()
        )
    })?;
    ensure!(!lines.is_empty(), "report ({}) is empty; measure something first", path.display());
    Ok(lines)
}

/// Compares line by line, by their names.
///
/// # Errors
///
/// The two have no line in common, so that nothing can be said.
pub(crate) fn compare(old: &[Line], new: &[Line]) -> Result<Comparison> {
    let mut found = Comparison::default();
    let mut before: BTreeMap<&str, &Line> = old.iter().map(|line| (&*line.name, line)).collect();
    for line in new {
        let Some(old) = before.remove(&*line.name) else {
            found.added.push(line.name.clone());
            continue;
        };
        let (Some(was), Some(is)) = (Judged::of(old, line), Judged::of(line, old)) else {
            found.gone.push(line.name.clone());
            continue;
        };
        found.compared += 1;
        let (worse, better) = if line.unit.ends_with("/s") {
            (is.is_below(&was), was.is_below(&is))
        } else {
            (was.is_below(&is), is.is_below(&was))
        };
        if worse {
            found.worse.push((old.clone(), line.clone()));
        }
        found.better += usize::from(better);
    }
    found.gone.extend(before.into_keys().map(str::to_owned));
    ensure!(
        found.compared > 0,
        "the two reports have no figure in common; compare reports of the same works"
    );
    Ok(found)
}

impl Comparison {
    /// Whether any figure is worse.
    pub(crate) fn is_worse(&self) -> bool {
        !self.worse.is_empty()
    }

    /// For people: the figures that are worse, and how many there are.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if self.is_worse() {
            let _ = writeln!(
                text,
                "| {:<44} | {:<12} | {:>8} | {:>8} | {:>16} | {:>16} |\n|{:-<46}|{:-<14}|{:->9}:|{:->9}:|{:->17}:|{:->17}:|",
                "worse",
                "unit",
                "before",
                "now",
                "rounds before",
                "rounds now",
                "",
                "",
                "",
                "",
                "",
                ""
            );
        }
        for (old, new) in &self.worse {
            let (what, was, is) = match (old.ratio, new.ratio) {
                (Some(was), Some(is)) => (format!("ratio ({})", new.unit), Some(was), Some(is)),
                _ => (new.unit.clone(), old.fedist, new.fedist),
            };
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), readable);
            let spread = |line: &Line| {
                let text = |(low, high)| format!("{} to {}", readable(low), readable(high));
                line.spread.map_or_else(|| "-".to_owned(), text)
            };
            let _ = writeln!(
                text,
                "| {:<44} | {what:<12} | {:>8} | {:>8} | {:>16} | {:>16} |",
                new.name,
                number(was),
                number(is),
                spread(old),
                spread(new),
            );
        }
        let _ = writeln!(
            text,
            "{} figures compared: {} worse, {} better, the others within their spread",
            self.compared,
            self.worse.len(),
            self.better
        );
        for (what, names) in [("not in both reports any more", &self.gone), ("new", &self.added)] {
            if !names.is_empty() {
                let _ = writeln!(text, "{what}: {}", names.join(", "));
            }
        }
        text
    }
}

/// The number of a line that is compared, and the range of its rounds.
struct Judged {
    value: f64,
    low: f64,
    high: f64,
}

impl Judged {
    /// Its ratio, if the other line has one, too; else its value.
    fn of(line: &Line, other: &Line) -> Option<Judged> {
        let value = match (line.ratio, other.ratio) {
            (Some(ratio), Some(_)) => ratio,
            (None, None) => line.fedist?,
            _ => return None,
        };
        other.fedist?;
        let (low, high) = line.spread.unwrap_or((value * (1.0 - MARGIN), value * (1.0 + MARGIN)));
        Some(Judged { value, low, high })
    }

    fn is_below(&self, other: &Judged) -> bool {
        self.value < other.low && other.value > self.high
    }
}

/// Four digits that count.
fn readable(value: f64) -> String {
    match value {
        1_000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

const MARGIN: f64 = 0.05;
