//! From the outcomes of the rounds to a line of the table.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::run::Outcome;
use crate::work::{Figure, Goal, Work};

/// What both sides of a work gave in one round; no floor for a work that has none.
pub(crate) struct Round {
    pub(crate) floor: Option<Outcome>,
    pub(crate) fedist: Outcome,
}

/// One figure of FeDist and of its floor, medians over the rounds.
#[derive(Debug)]
pub(crate) struct Measured {
    /// `work/key`.
    pub(crate) name: String,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) fedist: Option<f64>,
    pub(crate) floor: Option<f64>,
    /// FeDist by floor: the median of the rounds' own ratios.
    pub(crate) ratio: Option<f64>,
    /// Lowest and highest of what the goal is about: the rounds' ratios, or their values where there
    /// is no floor.
    pub(crate) spread: Option<(f64, f64)>,
    pub(crate) goal: Option<Goal>,
}

impl Measured {
    pub(crate) fn new(work: &Work, figure: &Figure, rounds: &[Round]) -> Self {
        let own = |key| rounds.iter().map(move |round: &Round| round.fedist.get(key).copied());
        let fedist: Vec<Option<f64>> = own(figure.key).collect();
        let floor: Vec<Option<f64>> = match figure.beside {
            Some(key) => own(key).collect(),
            None => rounds.iter().map(|round| of_floor(round, figure.key)).collect(),
        };
        let pairs = fedist.iter().zip(&floor);
        let ratios = sorted(pairs.filter_map(|(fedist, floor)| Some((*fedist)? / (*floor)?)));
        let values = sorted(fedist.into_iter().flatten());
        let judged = if ratios.is_empty() { &values } else { &ratios };
        Self {
            name: format!("{}/{}", work.name, figure.key),
            label: figure.label,
            unit: figure.unit,
            fedist: median(&values),
            floor: median(&sorted(floor.into_iter().flatten())),
            ratio: median(&ratios),
            spread: judged.first().copied().zip(judged.last().copied()),
            goal: figure.goal,
        }
    }

    /// Whether the goal is met; `None` without a goal, or without the numbers to tell.
    pub(crate) fn is_met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::RatioAtLeast(least) => self.ratio? >= least,
            Goal::RatioAtMost(most) => self.ratio? <= most,
            Goal::ValueAtMost(most) => self.fedist? <= most,
        })
    }

    /// Whether all sides gave this figure; processor time is to be had on Linux only.
    pub(crate) fn is_complete(&self, work: &Work, figure: &Figure) -> bool {
        let beside = work.floor.is_some() || figure.beside.is_some();
        let judged = if beside { self.ratio } else { self.fedist };
        judged.is_some_and(f64::is_finite) || self.name.contains("/cpu")
    }
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Measured", 8)?;
        line.serialize_field("name", &self.name)?;
        line.serialize_field("fedist", &self.fedist)?;
        line.serialize_field("floor", &self.floor)?;
        line.serialize_field("unit", self.unit)?;
        line.serialize_field("ratio", &self.ratio)?;
        line.serialize_field("goal", &self.goal.map(|goal| goal.to_string()))?;
        line.serialize_field("ok", &self.is_met())?;
        line.serialize_field("spread", &self.spread)?;
        line.end()
    }
}

fn of_floor(round: &Round, key: &str) -> Option<f64> {
    round.floor.as_ref()?.get(key).copied()
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
