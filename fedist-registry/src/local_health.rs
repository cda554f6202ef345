//! How far a region may trust its own view of the others.

use crate::Micros;

/// The local-health multiplier of Lifeguard (Dadgar, Phillips, Currey 2018): a region that is slow itself waits longer
/// before it accuses its neighbours.
///
/// The score runs from 0 (healthy) to 8. It grows when an own timer fires late, and when the probes to several neighbours
/// are missing at once, since it is likelier that one machine is starved than that all others are. It shrinks by one for
/// each half second in which neither happens.
#[derive(Clone, Debug, Default)]
pub struct LocalHealth {
    score: u8,
    /// When it last grew or shrank.
    changed_at: Micros,
    /// When missing probes last counted: one outage is noticed many times.
    missed_at: Option<Micros>,
}

impl LocalHealth {
    /// Perfectly healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// An own timer fired `late` after its time.
    pub fn handle_timer(&mut self, now: Micros, late: Micros) {
        let grown = match late {
            late if late >= VERY_LATE => 4,
            late if late >= QUITE_LATE => 2,
            late if late >= LATE => 1,
            _ => 0,
        };
        if grown > 0 {
            self.grow(now, grown);
        } else {
            self.heal(now);
        }
    }

    /// Of `watched` neighbours, probes to `missing` are unanswered past their time-out. One alone says nothing about this
    /// region; two or more that are at least half of all do.
    pub fn handle_missing(&mut self, now: Micros, missing: usize, watched: usize) {
        let recently = self.missed_at.is_some_and(|at| now - at < MISSED_EVERY);
        if missing >= 2 && missing.saturating_mul(2) >= watched && !recently {
            self.missed_at = Some(now);
            self.grow(now, 1);
        }
    }

    /// 0, healthy, to [`MAX`](Self::MAX).
    pub fn score(&self) -> u8 {
        self.score
    }

    /// How long to wait for a probe where a healthy region waits `timeout`: up to three times as long. Suspicion is cheap,
    /// so this grows slowly.
    pub fn probe_timeout(&self, timeout: Micros) -> Micros {
        Micros(timeout.0.saturating_mul(4 + u64::from(self.score)) / 4)
    }

    /// How long to wait before a suspect is declared dead, where a healthy region waits `timeout`: up to nine times as long.
    pub fn last_timeout(&self, timeout: Micros) -> Micros {
        Micros(timeout.0.saturating_mul(1 + u64::from(self.score)))
    }

    /// The greatest score.
    pub const MAX: u8 = 8;

    fn grow(&mut self, now: Micros, by: u8) {
        self.score = (self.score + by).min(Self::MAX);
        self.changed_at = now;
    }

    fn heal(&mut self, now: Micros) {
        while self.score > 0 && now - self.changed_at >= HEALING {
            self.score -= 1;
            self.changed_at += HEALING;
        }
    }
}

const LATE: Micros = Micros::from_millis(20);
const QUITE_LATE: Micros = Micros::from_millis(100);
const VERY_LATE: Micros = Micros::from_millis(400);
const HEALING: Micros = Micros::from_millis(500);
const MISSED_EVERY: Micros = Micros::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    #[test]
    fn late_timers_make_it_patient_and_timely_ones_heal_it() {
        let mut health = LocalHealth::new();
        health.handle_timer(ms(1), ms(2));
        assert_eq!((health.score(), health.last_timeout(ms(40))), (0, ms(40)));
        health.handle_timer(ms(100), ms(25));
        assert_eq!((health.score(), health.last_timeout(ms(40))), (1, ms(80)));
        health.handle_timer(ms(800), ms(500));
        assert_eq!((health.score(), health.probe_timeout(ms(40))), (5, ms(90)));
        for now in [801, 1_299] {
            health.handle_timer(ms(now), ms(0));
            assert_eq!(health.score(), 5, "at {now} ms");
        }
        health.handle_timer(ms(1_300), ms(0));
        assert_eq!(health.score(), 4);
        health.handle_timer(ms(60_000), ms(1));
        assert_eq!(health.score(), 0);
    }

    #[test]
    fn it_never_passes_its_greatest_score() {
        let mut health = LocalHealth::new();
        for now in 0..100 {
            health.handle_timer(ms(now), ms(10_000));
        }
        assert_eq!(health.score(), LocalHealth::MAX);
        assert_eq!(health.probe_timeout(ms(100)), ms(300));
        assert_eq!(health.last_timeout(Micros::MAX), Micros::MAX);
    }

    #[test]
    fn one_silent_neighbour_is_its_own_fault_and_many_at_once_are_ours() {
        let mut health = LocalHealth::new();
        health.handle_missing(ms(0), 1, 1);
        health.handle_missing(ms(0), 2, 8);
        assert_eq!(health.score(), 0);
        health.handle_missing(ms(0), 4, 8);
        assert_eq!(health.score(), 1);
        health.handle_missing(ms(99), 8, 8);
        assert_eq!(health.score(), 1, "the same outage");
        health.handle_missing(ms(100), 8, 8);
        assert_eq!(health.score(), 2);
    }
}
