//! The figures as Markdown.

use std::fmt::Write;

use crate::figure::Measured;

/// One group's table.
pub(crate) fn table(figures: &[Measured]) -> String {
    let mut text = format!(
        "| {:<46} | unit | {:>8} | {:>8} | {:>5} | {:>13} | goal          | met    |\n|{:-<48}|------|{:->9}:|{:->9}:|{:->6}:|{:->14}:|---------------|--------|",
        "work", "floor", "FeDist", "ratio", "of the rounds", "", "", "", "", ""
    );
    for figure in figures {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), readable);
        let spread = figure.spread.map_or_else(
            || "-".to_owned(),
            |(low, high)| match figure.ratio {
                Some(_) => format!("{low:.2} to {high:.2}"),
                None => format!("{} to {}", readable(low), readable(high)),
            },
        );
        let ratio = figure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let goal = figure.goal.map(|goal| goal.to_string()).unwrap_or_default();
        let met = match (figure.goal, figure.is_met()) {
            (None, _) => "",
            (Some(_), Some(true)) => "yes",
            (Some(_), Some(false)) => "**no**",
            (Some(_), None) => "?",
        };
        let _ = write!(
            text,
            "\n| {:<46} | {:<4} | {:>8} | {:>8} | {ratio:>5} | {spread:>13} | {goal:<13} | {met:<6} |",
            figure.label,
            figure.unit,
            number(figure.floor),
            number(figure.fedist),
        );
    }
    text
}

/// Three digits that count.
pub(crate) fn readable(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
