//! One measured goal, and how it is shown.

use serde::Serialize;

/// A figure beside its goal and the limit that physics or an oracle sets.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figure: f64,
    pub(crate) unit: String,
    pub(crate) goal: String,
    pub(crate) limit: String,
    pub(crate) ok: bool,
}

impl Row {
    /// A figure that must not be above `goal`.
    pub(crate) fn at_most(name: &str, figure: f64, goal: f64, unit: &str, limit: &str) -> Self {
        Self::new(name, figure, unit, format!("<= {goal}"), limit, figure <= goal)
    }

    /// A figure that must not be below `goal`.
    pub(crate) fn at_least(name: &str, figure: f64, goal: f64, unit: &str, limit: &str) -> Self {
        Self::new(name, figure, unit, format!(">= {goal}"), limit, figure >= goal)
    }

    /// A figure without a goal, to read the others by.
    pub(crate) fn beside(name: &str, figure: f64, unit: &str, what: &str) -> Self {
        Self::new(name, figure, unit, "-".to_owned(), what, true)
    }

    fn new(name: &str, figure: f64, unit: &str, goal: String, limit: &str, ok: bool) -> Self {
        let figure = (figure * 1e4).round() / 1e4;
        // What could not be measured has not reached its goal; JSON has no NaN.
        let (figure, ok) = if figure.is_finite() { (figure, ok) } else { (-1.0, false) };
        Self {
            name: name.to_owned(),
            figure,
            unit: unit.to_owned(),
            goal,
            limit: limit.to_owned(),
            ok,
        }
    }

    /// One line of the table.
    pub(crate) fn line(&self) -> String {
        let verdict = match (self.goal.as_str(), self.ok) {
            ("-", _) => "    ",
            (_, true) => "ok  ",
            (_, false) => "MISS",
        };
        format!(
            "{verdict} {:<34} {:>12} {:<8} {:<12} {}",
            self.name, self.figure, self.unit, self.goal, self.limit
        )
    }
}

/// The value below which a share of the samples lies (nearest rank); not a number for none.
pub(crate) fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
