//! One measured goal.

use std::fmt;

use serde::Serialize;

/// A figure beside its goal and the limit that physics or an oracle sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoalRow {
    /// Short and without blanks, such as `azure-saving-2min`.
    pub name: String,
    /// The figure; -1 for one that could not be measured.
    pub figure: f64,
    /// Of the figure and the goal.
    pub unit: String,
    /// `<= 50`, or `-` for a figure without a goal, to read the others by.
    pub goal: String,
    /// What cannot be beaten, in words.
    pub limit: String,
    /// Whether the goal is reached.
    pub ok: bool,
}

impl GoalRow {
    /// A figure that must not be above `goal`.
    pub fn at_most(name: &str, figure: f64, goal: f64, unit: &str, limit: &str) -> GoalRow {
        Self::new(name, figure, unit, format!("<= {goal}"), limit, figure <= goal)
    }

    /// A figure that must not be below `goal`.
    pub fn at_least(name: &str, figure: f64, goal: f64, unit: &str, limit: &str) -> GoalRow {
        Self::new(name, figure, unit, format!(">= {goal}"), limit, figure >= goal)
    }

    /// A figure without a goal.
    pub fn beside(name: &str, figure: f64, unit: &str, what: &str) -> GoalRow {
        Self::new(name, figure, unit, "-".to_owned(), what, true)
    }

    fn new(name: &str, figure: f64, unit: &str, goal: String, limit: &str, ok: bool) -> GoalRow {
        let figure = (figure * 1e4).round() / 1e4;
        // What could not be measured has not reached its goal; JSON has no NaN.
        let (figure, ok) = if figure.is_finite() { (figure, ok) } else { (-1.0, false) };
        let (name, unit, limit) = (name.to_owned(), unit.to_owned(), limit.to_owned());
        GoalRow { name, figure, unit, goal, limit, ok }
    }
}

/// One line of a table.
impl fmt::Display for GoalRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.goal.as_str(), self.ok) {
            ("-", _) => "    ",
            (_, true) => "ok  ",
            (_, false) => "MISS",
        };
        let GoalRow { name, figure, unit, goal, limit, .. } = self;
        write!(f, "{verdict} {name:<36} {figure:>12} {unit:<12} {goal:<10} {limit}")
    }
}

/// The value below which a share of the samples lies (nearest rank); no number for none.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let rank = (share * samples.len() as f64).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_has_not_reached_its_goal() {
        assert!(GoalRow::at_most("x", 1.0, 1.0, "ms", "0").ok);
        assert!(!GoalRow::at_least("x", 0.9, 1.0, "ms", "0").ok);
        let none = GoalRow::at_most("x", percentile(&mut [], 0.5), 1.0, "ms", "0");
        assert_eq!((none.figure, none.ok), (-1.0, false));
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&mut samples, 0.5), 2.0);
        assert_eq!(percentile(&mut samples, 0.99), 4.0);
    }
}
