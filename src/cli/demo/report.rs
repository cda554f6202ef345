//! What the demo found: the JSON object, and whether all of it held.

use fedist::registry::RegionId;
use fedist::transport::emulator::LinkReport;
use serde::Serialize;

/// The last line of `fedist demo --json`. Parts that were not reached are null.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) regions: usize,
    pub(crate) links: usize,
    /// Ordered pairs that answered within the tolerance.
    pub(crate) pairs_ok: usize,
    pub(crate) words: Option<WordsReport>,
    pub(crate) failover: Option<FailoverReport>,
    pub(crate) routes: Vec<PairReport>,
    /// Whether everything held.
    pub(crate) ok: bool,
    /// What did not.
    pub(crate) failures: Vec<String>,
    pub(crate) links_all_to_all: usize,
    pub(crate) pairs: usize,
    pub(crate) matrix: String,
    pub(crate) places: Vec<PlaceReport>,
    pub(crate) emulator: Vec<EmulatedLink>,
    pub(crate) seconds: f64,
}

/// A region and where it stands.
#[derive(Debug, Serialize)]
pub(crate) struct PlaceReport {
    pub(crate) region: RegionId,
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) role: &'static str,
    pub(crate) parent: Option<RegionId>,
}

/// The words of the text.
#[derive(Debug, Serialize)]
pub(crate) struct WordsReport {
    pub(crate) total: u64,
    pub(crate) distinct: u64,
    pub(crate) top: Vec<(String, u64)>,
    /// The same words counted in one process.
    pub(crate) single_process_total: u64,
    pub(crate) skipped_bytes: u64,
    pub(crate) bytes: u64,
    /// Region and number of tasks it ran.
    pub(crate) tasks: Vec<(RegionId, u64)>,
}

/// The flow that lost a hub.
#[derive(Debug, Serialize)]
pub(crate) struct FailoverReport {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) longest_pause_ms: f64,
    pub(crate) from: RegionId,
    pub(crate) to: RegionId,
    pub(crate) killed: RegionId,
    pub(crate) path_before: Vec<RegionId>,
    pub(crate) path_after: Vec<RegionId>,
}

/// One ordered pair of regions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PairReport {
    pub(crate) from: RegionId,
    pub(crate) to: RegionId,
    /// There.
    pub(crate) path: Vec<RegionId>,
    /// And back, as the other side's route table says.
    pub(crate) path_back: Vec<RegionId>,
    /// Cost there and back by the route tables.
    pub(crate) predicted_ms: f64,
    /// Median of the round trips; null if there was no answer.
    pub(crate) measured_ms: Option<f64>,
    /// Sum of the emulated delays there and back.
    pub(crate) emulated_ms: f64,
    /// Measurements taken, the retries included.
    pub(crate) attempts: usize,
    pub(crate) error: Option<String>,
}

/// What the emulator asked of a directed link, and what it gave.
#[derive(Debug, Serialize)]
pub(crate) struct EmulatedLink {
    pub(crate) from: RegionId,
    pub(crate) to: RegionId,
    pub(crate) asked_ms: f64,
    pub(crate) given_median_ms: f64,
    pub(crate) given_p99_ms: f64,
    pub(crate) packets: u64,
    pub(crate) dropped: u64,
}

impl Report {
    /// Adds something that did not hold.
    pub(crate) fn failed(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }
}

impl PairReport {
    /// Whether the measured time is the sum of the emulated delays within 15 % + 3 ms.
    pub(crate) fn within_tolerance(&self) -> bool {
        let tolerance = self.emulated_ms * TOLERANCE_SHARE + TOLERANCE_MS;
        self.error.is_none()
            && self
                .measured_ms
                .is_some_and(|measured| (measured - self.emulated_ms).abs() <= tolerance)
    }

    /// How far the measured time is from the emulated one, in ms.
    pub(crate) fn off_ms(&self) -> f64 {
        self.measured_ms.map_or(f64::INFINITY, |measured| measured - self.emulated_ms)
    }
}

impl FailoverReport {
    /// Nothing lost, doubled or out of order, and all of it there.
    pub(crate) fn holds(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.reordered == 0 && self.delivered == self.sent
    }
}

impl From<&LinkReport> for EmulatedLink {
    fn from(link: &LinkReport) -> Self {
        let ms = |duration: std::time::Duration| round(duration.as_secs_f64() * 1e3);
        Self {
            from: link.from,
            to: link.to,
            asked_ms: ms(link.asked),
            given_median_ms: ms(link.given_median),
            given_p99_ms: ms(link.given_p99),
            packets: link.packets,
            dropped: link.dropped,
        }
    }
}

/// To a thousandth, which is a microsecond where the unit is ms.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A path as people read it: `4 → 2 → 5`.
pub(crate) fn path_text(path: &[RegionId]) -> String {
    let ids: Vec<String> = path.iter().map(RegionId::to_string).collect();
    ids.join(" → ")
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const TOLERANCE_SHARE: f64 = 0.15;
const TOLERANCE_MS: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(emulated_ms: f64, measured_ms: Option<f64>) -> PairReport {
        PairReport {
            from: RegionId::MIN,
            to: RegionId::MAX,
            path: vec![RegionId::MIN, RegionId::MAX],
            path_back: vec![RegionId::MAX, RegionId::MIN],
            predicted_ms: emulated_ms,
            measured_ms,
            emulated_ms,
            attempts: 1,
            error: None,
        }
    }

    #[test]
    fn the_tolerance_is_fifteen_percent_and_three_milliseconds_both_ways() {
        for (emulated, measured, holds) in [
            (100.0, Some(118.0), true),
            (100.0, Some(118.1), false),
            (100.0, Some(82.0), true),
            (100.0, Some(81.9), false),
            (0.0, Some(3.0), true),
            (0.0, None, false),
        ] {
            assert_eq!(
                pair(emulated, measured).within_tolerance(),
                holds,
                "{emulated} {measured:?}"
            );
        }
    }

    #[test]
    fn the_json_object_begins_as_promised() {
        let report = Report {
            regions: 2,
            links: 1,
            pairs_ok: 1,
            words: Some(WordsReport {
                total: 3,
                distinct: 2,
                top: vec![("the".to_owned(), 2)],
                single_process_total: 3,
                skipped_bytes: 0,
                bytes: 11,
                tasks: vec![(RegionId::MIN, 1)],
            }),
            routes: vec![pair(10.0, Some(10.5))],
            ..Report::default()
        };
        let text = serde_json::to_string(&report).unwrap();
        let start = r#"{"regions":2,"links":1,"pairs_ok":1,"words":{"total":3,"distinct":2,"top":[["the",2]],"#;
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains(r#""failover":null,"routes":[{"from":1,"to":65534,"path":[1,65534],"#),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
