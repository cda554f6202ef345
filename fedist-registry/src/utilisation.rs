//! How busy the thread is that forwards frames.

use crate::Micros;

/// The share of time in which the hub's thread could not take a frame at once: because it worked, or because it waited for
/// a processor.
///
/// Fed with the thread's processor time, the time it spent in the run queue, and with how late its timer fired. Where the
/// system does not tell the second, what of the lateness the thread did not spend working is taken for it. Smoothed exponentially with a time constant of 0.5 s, so that a step is followed to
/// 95 % within 1.5 s.
///
/// From it follows whether the region is *swamped*, so that frames in transit should go elsewhere: after a second above
/// 0.9, and until three seconds below 0.7 have passed.
#[derive(Clone, Debug)]
pub struct Utilisation {
    at: Option<(Micros, Micros, Option<Micros>)>,
    /// Lateness of the timers since then.
    late: Micros,
    share: f64,
    high_since: Option<Micros>,
    low_since: Option<Micros>,
    swamped: bool,
}

impl Utilisation {
    /// Nothing is known, which counts as idle.
    pub fn new() -> Self {
        Utilisation {
            at: None,
            late: Micros::ZERO,
            share: 0.0,
            high_since: None,
            low_since: None,
            swamped: false,
        }
    }

    /// Takes a measurement: `worked` and `queued` are the thread's processor time and run-queue time since it started (zero
    /// and none where they cannot be read), `late` by how much timers fired too late since the last one.
    pub fn sample(&mut self, now: Micros, worked: Micros, queued: Option<Micros>, late: Micros) {
        let Some((then, worked_then, queued_then)) = self.at else {
            self.at = Some((now, worked, queued));
            return;
        };
        self.late += late;
        let wall = now - then;
        if wall < LEAST {
            return;
        }
        self.at = Some((now, worked, queued));
        let worked = (worked - worked_then).0;
        let late = std::mem::take(&mut self.late);
        let waited = match (queued, queued_then) {
            (Some(queued), Some(before)) => (queued - before).0,
            _ => late.0.saturating_sub(worked),
        };
        let raw = (worked.saturating_add(waited) as f64 / wall.0 as f64).clamp(0.0, 1.0);
        let keep = (-(wall.0 as f64) / TIME_CONSTANT.0 as f64).exp();
        self.share = (raw + (self.share - raw) * keep).clamp(0.0, 1.0);
        // A step that was long itself has lasted as long as it says.
        self.high_since = (self.share > HIGH).then(|| self.high_since.unwrap_or(now));
        self.low_since = (self.share < LOW).then(|| self.low_since.unwrap_or(now));
        let lasted = |since: Option<Micros>, span| since.is_some_and(|since| now - since >= span);
        if lasted(self.high_since, HIGH_FOR) {
            self.swamped = true;
        } else if lasted(self.low_since, LOW_FOR) {
            self.swamped = false;
        }
    }

    /// The share, 0 to 1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Whether frames in transit should go elsewhere.
    pub fn swamped(&self) -> bool {
        self.swamped
    }
}

impl Default for Utilisation {
    fn default() -> Self {
        Self::new()
    }
}

const TIME_CONSTANT: Micros = Micros::from_millis(500);
/// Measurements closer together than this are put into one.
const LEAST: Micros = Micros::from_millis(20);
const HIGH: f64 = 0.9;
const HIGH_FOR: Micros = Micros::from_secs(1);
const LOW: f64 = 0.7;
const LOW_FOR: Micros = Micros::from_secs(3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A thread that ticks every 50 ms, with its clocks.
    #[derive(Default)]
    struct Thread {
        now: u64,
        cpu: u64,
        queued: Option<u64>,
        utilisation: Utilisation,
    }

    impl Thread {
        /// Runs for `ms`, working `worked` and waiting `waited` of each 50 ms.
        fn run(&mut self, ms: u64, worked: u64, waited: u64) {
            for _ in 0..ms / 50 {
                self.now += 50;
                self.cpu += worked;
                let late = if worked + waited == 0 { 0 } else { waited + worked };
                self.utilisation.sample(
                    Micros::from_millis(self.now),
                    Micros::from_millis(self.cpu),
                    self.queued.map(Micros::from_millis),
                    Micros::from_millis(late),
                );
            }
        }
    }

    #[test]
    fn an_idle_thread_is_idle_and_a_step_is_followed_in_a_second_and_a_half() {
        let mut thread = Thread::default();
        thread.run(1_000, 0, 0);
        assert_eq!(thread.utilisation.share(), 0.0);
        thread.run(1_500, 25, 0);
        let share = thread.utilisation.share();
        assert!((0.45..=0.5).contains(&share), "{share}");
    }

    #[test]
    fn waiting_for_a_processor_counts_as_much_as_working() {
        let mut thread = Thread::default();
        thread.run(3_000, 10, 20);
        let share = thread.utilisation.share();
        assert!((0.59..=0.61).contains(&share), "{share}");
    }

    #[test]
    fn a_thread_that_gets_half_a_processor_for_all_its_work_is_full() {
        let mut thread = Thread::default();
        for _ in 0..100 {
            thread.queued = thread.queued.map_or(Some(0), |queued| Some(queued + 25));
            // Its timers are hardly late: it is its turn often, and never for long.
            thread.run(50, 25, 0);
        }
        assert!(thread.utilisation.share() > 0.95 && thread.utilisation.swamped());
    }

    #[test]
    fn a_thread_is_swamped_after_a_second_above_nine_tenths_and_until_three_below_seven() {
        let mut thread = Thread::default();
        thread.run(1_900, 50, 0);
        assert!(thread.utilisation.share() > 0.9 && !thread.utilisation.swamped());
        thread.run(500, 50, 0);
        assert!(thread.utilisation.swamped());
        thread.run(10_000, 40, 0);
        assert!(thread.utilisation.swamped(), "0.8 is between the two marks");
        thread.run(3_000, 5, 0);
        assert!(thread.utilisation.swamped());
        thread.run(500, 5, 0);
        assert!(!thread.utilisation.swamped());
    }

    #[test]
    fn a_short_burst_does_not_swamp() {
        let mut thread = Thread::default();
        for _ in 0..20 {
            thread.run(600, 50, 0);
            thread.run(600, 0, 0);
            assert!(!thread.utilisation.swamped());
        }
    }

    #[test]
    fn one_handler_that_blocks_for_seconds_is_seen_when_it_ends() {
        let mut utilisation = Utilisation::new();
        let three = Micros::from_secs(3);
        utilisation.sample(Micros::ZERO, Micros::ZERO, None, Micros::ZERO);
        utilisation.sample(three, three, None, three);
        assert!(utilisation.share() > 0.99);
    }

    proptest! {
        #[test]
        fn any_clocks_give_a_share_between_nothing_and_all(
            steps in prop::collection::vec(any::<[u64; 4]>(), 1..30)
        ) {
            let mut utilisation = Utilisation::new();
            for [now, worked, queued, late] in steps {
                utilisation.sample(Micros(now), Micros(worked), Some(Micros(queued)).filter(|_| queued % 5 > 0), Micros(late));
                prop_assert!((0.0..=1.0).contains(&utilisation.share()));
            }
        }
    }
}
