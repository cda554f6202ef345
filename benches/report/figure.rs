//! From the outcomes of the rounds to a line of the table.

use std::fmt::Write;

use serde::Serialize;

use crate::run::Outcome;
use crate::work::{Figure, Work};

/// One figure of FeDist and of its floor, medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// `work/key`.
    name: String,
    label: &'static str,
    unit: &'static str,
    fedist: Option<f64>,
    floor: Option<f64>,
    /// FeDist by floor: the median of the rounds' own ratios.
    ratio: Option<f64>,
    /// Lowest and highest ratio of a round.
    spread: Option<(f64, f64)>,
    rounds: usize,
}

impl Measured {
    pub(crate) fn new(work: &Work, figure: &Figure, rounds: &[(Outcome, Outcome)]) -> Self {
        let pairs: Vec<(f64, f64)> = rounds
            .iter()
            .filter_map(|(floor, fedist)| Some((*floor.get(figure.key)?, *fedist.get(figure.key)?)))
            .collect();
        let ratios = sorted(pairs.iter().map(|(floor, fedist)| fedist / floor));
        Self {
            name: format!("{}/{}", work.name, figure.key),
            label: figure.label,
            unit: figure.unit,
            fedist: median(&sorted(pairs.iter().map(|pair| pair.1))),
            floor: median(&sorted(pairs.iter().map(|pair| pair.0))),
            ratio: median(&ratios),
            spread: ratios.first().copied().zip(ratios.last().copied()),
            rounds: pairs.len(),
        }
    }

    /// Whether both sides gave this figure; processor time is to be had on Linux only.
    pub(crate) fn is_complete(&self) -> bool {
        self.ratio.is_some_and(f64::is_finite) || self.name.contains("/cpu")
    }
}

/// The figures as a Markdown table.
pub(crate) fn table(figures: &[Measured]) -> String {
    let mut text = format!(
        "| {:<40} | unit | {:>8} | {:>8} | {:>5} | {:>13} |\n|{:-<42}|------|{:->9}:|{:->9}:|{:->6}:|{:->14}:|",
        "work", "floor", "FeDist", "ratio", "of the rounds", "", "", "", "", ""
    );
    for figure in figures {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), readable);
        let spread = figure
            .spread
            .map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}"));
        let ratio = figure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = write!(
            text,
            "\n| {:<40} | {:<4} | {:>8} | {:>8} | {ratio:>5} | {spread:>13} |",
            figure.label,
            figure.unit,
            number(figure.floor),
            number(figure.fedist),
        );
    }
    text
}

/// Three digits that count.
fn readable(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(middle.checked_sub(1)?).map(|lower| (lower + upper) / 2.0)
}
