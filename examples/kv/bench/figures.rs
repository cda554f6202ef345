//! From the rounds to a table.

use std::fmt::Write as _;

use serde::Serialize;

/// What one round measured of one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// In µs.
    pub(crate) p50: f64,
    /// In µs.
    pub(crate) p99: f64,
    /// Per second.
    pub(crate) rate: f64,
}

/// One path's medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    path: &'static str,
    p50_us: f64,
    p99_us: f64,
    requests_per_s: f64,
    /// By the floor of this path, medians of the rounds' own ratios.
    p50_ratio: Option<f64>,
    p99_ratio: Option<f64>,
    rate_ratio: Option<f64>,
    /// The lowest and highest `p50_ratio` and `rate_ratio` of a round.
    p50_ratio_of_rounds: Option<(f64, f64)>,
    rate_ratio_of_rounds: Option<(f64, f64)>,
}

impl Figures {
    pub(crate) fn new(
        path: &'static str,
        rounds: &[Vec<Round>],
        at: usize,
        floor: Option<usize>,
    ) -> Self {
        let own =
            |of: fn(&Round) -> f64| median(rounds.iter().map(|round| of(&round[at])).collect());
        let ratios = |of: fn(&Round) -> f64| -> Option<Vec<f64>> {
            let floor = floor?;
            Some(rounds.iter().map(|round| of(&round[at]) / of(&round[floor])).collect())
        };
        Self {
            path,
            p50_us: own(|round| round.p50),
            p99_us: own(|round| round.p99),
            requests_per_s: own(|round| round.rate),
            p50_ratio: ratios(|round| round.p50).map(median),
            p99_ratio: ratios(|round| round.p99).map(median),
            rate_ratio: ratios(|round| round.rate).map(median),
            p50_ratio_of_rounds: ratios(|round| round.p50).map(spread),
            rate_ratio_of_rounds: ratios(|round| round.rate).map(spread),
        }
    }
}

/// The figures as a Markdown table.
pub(crate) fn table(figures: &[Figures], clients: usize) -> String {
    let mut text = format!(
        "| {:<32} | {:>8} | {:>8} | {:>22} | {:>9} | {:>9} | {:>10} | {:>26} |\n",
        "path",
        "p50, µs",
        "p99, µs",
        format!("requests/s, {clients} clients"),
        "p50 ratio",
        "p99 ratio",
        "rate ratio",
        "p50, rate of the rounds",
    );
    text += &format!(
        "|{:-<34}|{:->9}:|{:->9}:|{:->23}:|{:->10}:|{:->10}:|{:->11}:|{:->27}:|\n",
        "", "", "", "", "", "", "", ""
    );
    let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    let spread = |spread: Option<(f64, f64)>| {
        spread.map_or_else(String::new, |(low, high)| format!("{low:.2} to {high:.2}"))
    };
    for one in figures {
        let rounds = match one.p50_ratio {
            Some(_) => {
                format!("{}, {}", spread(one.p50_ratio_of_rounds), spread(one.rate_ratio_of_rounds))
            }
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "| {:<32} | {:>8.1} | {:>8.1} | {:>22.0} | {:>9} | {:>9} | {:>10} | {:>26} |",
            one.path,
            one.p50_us,
            one.p99_us,
            one.requests_per_s,
            ratio(one.p50_ratio),
            ratio(one.p99_ratio),
            ratio(one.rate_ratio),
            rounds,
        );
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn spread(values: Vec<f64>) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    (low, values.iter().copied().fold(0.0, f64::max))
}
