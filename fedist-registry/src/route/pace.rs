//! When shortest paths are computed again.

use crate::Micros;

/// How much a piece of news matters to the routes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteNews {
    /// Costs moved, or there is a link more: paths in use still lead where they should.
    Moved,
    /// A region may be reached that could not be reached before.
    Reached,
    /// A path in use is broken.
    Broken,
}

/// Says when to compute routes: 50 ms after the first change, so that a burst is one computation; 200 ms after the next;
/// then once per second while changes go on. A broken path is acted upon at once. Like the SPF back-off of RFC 8405, with
/// its timers in a row.
#[derive(Clone, Debug, Default)]
pub struct SpfPace {
    last_run: Option<Micros>,
    /// Computations since the last quiet time.
    runs: u32,
    due: Option<Micros>,
}

impl SpfPace {
    /// Nothing has changed yet.
    pub fn new() -> SpfPace {
        SpfPace::default()
    }

    /// Something changed.
    pub fn handle_news(&mut self, now: Micros, news: RouteNews) {
        let since = self.last_run.map(|last| now.saturating_sub(last));
        if since.is_none_or(|since| since >= QUIET) {
            self.runs = 0;
        }
        let at = match news {
            RouteNews::Broken => now,
            RouteNews::Reached => now + FIRST,
            RouteNews::Moved => match (self.runs, self.last_run) {
                (1, _) => now + SECOND,
                (2.., Some(last)) => (last + LATER).max(now + FIRST),
                _ => now + FIRST,
            },
        };
        self.plan(at);
    }

    /// Routes are to be computed at `at` at the latest, whatever else happens (a deadline of the table's own).
    pub fn plan(&mut self, at: Micros) {
        // Even what is urgent leaves the thread some time for other things.
        let at = self.last_run.map_or(at, |last| at.max(last + LEAST));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When to compute next.
    pub fn poll_timeout(&self) -> Option<Micros> {
        self.due
    }

    /// Routes were computed.
    pub fn handle_run(&mut self, now: Micros) {
        self.last_run = Some(now);
        self.runs = self.runs.saturating_add(1);
        self.due = None;
    }
}

const FIRST: Micros = Micros::from_millis(50);
const SECOND: Micros = Micros::from_millis(200);
const LATER: Micros = Micros::from_millis(1_000);
/// Without a computation for this long, the next change is a first one again.
const QUIET: Micros = Micros::from_millis(3_000);
/// Between two computations.
const LEAST: Micros = Micros::from_millis(5);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs whenever it is due; returns the times, in ms. Changes come at the given times, in ms and ascending.
    fn runs(changes: &[(u64, RouteNews)], until: u64) -> Vec<u64> {
        let mut pace = SpfPace::new();
        let mut runs = Vec::new();
        for ms in 0..until {
            let now = Micros::from_millis(ms);
            for (_, news) in changes.iter().filter(|(at, _)| *at == ms) {
                pace.handle_news(now, *news);
            }
            if pace.poll_timeout().is_some_and(|due| due <= now) {
                pace.handle_run(now);
                runs.push(ms);
            }
        }
        runs
    }

    #[test]
    fn one_change_is_computed_after_50_ms_and_a_burst_once() {
        assert_eq!(runs(&[(10, RouteNews::Moved)], 9_000), [60]);
        let burst: Vec<_> = (10..50).map(|at| (at, RouteNews::Moved)).collect();
        assert_eq!(runs(&burst, 9_000), [60]);
    }

    #[test]
    fn changes_that_go_on_are_computed_after_200_ms_and_then_once_per_second() {
        let on: Vec<_> = (0..5_000).step_by(10).map(|at| (at, RouteNews::Moved)).collect();
        assert_eq!(runs(&on, 4_900), [50, 260, 1_260, 2_260, 3_260, 4_260]);
    }

    #[test]
    fn after_a_quiet_time_the_next_change_is_a_first_one_again() {
        let changes = [0, 100, 1_000, 8_000].map(|at| (at, RouteNews::Moved));
        assert_eq!(runs(&changes, 9_000), [50, 300, 1_300, 8_050]);
    }

    #[test]
    fn a_broken_path_is_computed_at_once_however_often_it_was_computed_before() {
        let mut changes: Vec<_> = (0..2_500).step_by(10).map(|at| (at, RouteNews::Moved)).collect();
        changes.push((1_503, RouteNews::Broken));
        assert_eq!(runs(&changes, 2_600), [50, 260, 1_260, 1_503, 2_503]);
        assert_eq!(runs(&[(5, RouteNews::Reached), (20, RouteNews::Broken)], 500), [20]);
    }

    #[test]
    fn a_deadline_of_the_table_is_kept_and_makes_no_other_later() {
        let mut pace = SpfPace::new();
        pace.plan(Micros::from_secs(60));
        assert_eq!(pace.poll_timeout(), Some(Micros::from_secs(60)));
        pace.handle_news(Micros::from_secs(1), RouteNews::Moved);
        assert_eq!(pace.poll_timeout(), Some(Micros::from_millis(1_050)));
        pace.plan(Micros::from_secs(70));
        assert_eq!(pace.poll_timeout(), Some(Micros::from_millis(1_050)));
    }

    proptest! {
        #[test]
        fn every_change_is_computed_within_a_second_and_runs_are_bounded(
            mut times in prop::collection::vec((0_u64..6_000, any::<bool>()), 1..60)
        ) {
            times.sort_unstable();
            let changes: Vec<_> = times.iter().map(|(at, broken)| {
                (*at, if *broken { RouteNews::Broken } else { RouteNews::Moved })
            }).collect();
            let runs = runs(&changes, 8_000);
            for (at, news) in &changes {
                let patience = if *news == RouteNews::Broken { 5 } else { 1_000 };
                prop_assert!(runs.iter().any(|run| (*at..=at + patience).contains(run)), "{at} {news:?} {runs:?}");
            }
            prop_assert!(runs.windows(2).all(|pair| pair[1] - pair[0] >= 5));
        }
    }
}
