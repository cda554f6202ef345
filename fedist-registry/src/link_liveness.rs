//! Whether the other end of a link still answers.

use crate::Micros;

/// How a link looks from here.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It answers, or nothing is awaited.
    Up,
    /// Two probe time-outs passed without a sound: use another link, tell nobody.
    Suspect,
    /// Three passed: announce that the link is gone.
    Down,
}

/// Watches one link; every frame that comes is a sign of life.
///
/// Silence counts only while an answer is awaited, that is from the first frame sent after the last one heard. A plain
/// frame need not be answered over the same link, so once a probe time-out has passed [`wants_probe`](Self::wants_probe)
/// asks for a probe, which is; the time-outs of a probed link therefore also need one (suspect) or two (down) full
/// time-outs since that probe.
///
/// A process that was starved itself must not accuse others: the time before a late tick does not count.
#[derive(Clone, Debug)]
pub struct LinkLiveness {
    heard_at: Micros,
    /// The first frame sent since then.
    awaiting_since: Option<Micros>,
    first_probe: Option<Micros>,
    last_probe: Option<Micros>,
    ticked_at: Micros,
    probe_timeout: Micros,
    state: Liveness,
}

impl LinkLiveness {
    /// A link that was just opened, which took an exchange.
    pub fn new(now: Micros) -> Self {
        LinkLiveness {
            heard_at: now,
            awaiting_since: None,
            first_probe: None,
            last_probe: None,
            ticked_at: now,
            probe_timeout: Micros::from_millis(300),
            state: Liveness::Up,
        }
    }

    /// Anything came in.
    pub fn handle_rx(&mut self, now: Micros) {
        self.heard_at = now;
        self.awaiting_since = None;
        self.first_probe = None;
        self.last_probe = None;
        self.state = Liveness::Up;
    }

    /// Anything went out, probes included.
    pub fn handle_tx(&mut self, now: Micros) {
        self.awaiting_since.get_or_insert(now);
    }

    /// Judges the silence up to `now`.
    ///
    /// `probe_timeout` is the link's present one, see
    /// [`LinkEstimate::probe_timeout_us`](crate::LinkEstimate::probe_timeout_us). `tick_late` says that this tick came
    /// much later than it was meant to; the wait is then extended by the time since the tick before.
    pub fn handle_tick(&mut self, now: Micros, probe_timeout: Micros, tick_late: bool) -> Liveness {
        self.probe_timeout = probe_timeout;
        if tick_late {
            let starved = now - self.ticked_at;
            for since in [&mut self.awaiting_since, &mut self.first_probe, &mut self.last_probe]
                .into_iter()
                .flatten()
            {
                *since = (*since + starved).min(now);
            }
        }
        self.ticked_at = now;
        let Some(since) = self.awaiting_since else {
            return self.state;
        };
        let silent = now - since;
        let probed = self.first_probe.map_or(Micros::MAX, |probe| now - probe);
        let timeouts = |count: u64| Micros(probe_timeout.0.saturating_mul(count));
        let judged = if silent >= timeouts(3) && probed >= timeouts(2) {
            Liveness::Down
        } else if silent >= timeouts(2) && probed >= timeouts(1) {
            Liveness::Suspect
        } else {
            Liveness::Up
        };
        // Only a sign of life makes it better; a time-out that grew meanwhile does not.
        self.state = worse(self.state, judged);
        self.state
    }

    /// Whether a probe should go out now; `true` means that the caller sends one (and calls
    /// [`handle_tx`](Self::handle_tx)). Asks once per probe time-out while an answer is awaited, and when nothing was heard
    /// for `idle`.
    pub fn wants_probe(&mut self, now: Micros, idle: Micros) -> bool {
        let asked_at = self.last_probe.or(self.awaiting_since);
        let wanted = match asked_at {
            Some(asked) => now - asked >= self.probe_timeout,
            None => now - self.heard_at >= idle,
        };
        if wanted {
            self.last_probe = Some(now);
            self.first_probe.get_or_insert(now);
        }
        wanted
    }

    /// What the last tick said, or [`Liveness::Up`] if anything was heard since.
    pub fn state(&self) -> Liveness {
        self.state
    }

    /// When anything was heard last.
    pub fn heard_at(&self) -> Micros {
        self.heard_at
    }
}

fn worse(a: Liveness, b: Liveness) -> Liveness {
    match (a, b) {
        (Liveness::Down, _) | (_, Liveness::Down) => Liveness::Down,
        (Liveness::Suspect, _) | (_, Liveness::Suspect) => Liveness::Suspect,
        _ => Liveness::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Micros = Micros::from_millis(100);
    const IDLE: Micros = Micros::from_millis(1_000);

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    /// Ticks every 10 ms from `from` to `to`; gives back when the link became suspect and down.
    fn tick(
        link: &mut LinkLiveness,
        from: u64,
        to: u64,
        mut answer: impl FnMut(u64) -> Option<u64>,
    ) -> (Option<u64>, Option<u64>) {
        let (mut suspect, mut down) = (None, None);
        let mut arrivals = Vec::new();
        for now in (from..to).step_by(10) {
            arrivals.retain(|at| {
                let due = *at <= now;
                if due {
                    link.handle_rx(ms(now));
                }
                !due
            });
            match link.handle_tick(ms(now), TIMEOUT, false) {
                Liveness::Suspect => {
                    suspect.get_or_insert(now);
                }
                Liveness::Down => {
                    down.get_or_insert(now);
                }
                Liveness::Up => {}
            }
            if link.wants_probe(ms(now), IDLE) {
                link.handle_tx(ms(now));
                arrivals.extend(answer(now));
            }
        }
        (suspect, down)
    }

    #[test]
    fn silence_is_no_failure_while_nothing_is_awaited() {
        let mut link = LinkLiveness::new(ms(0));
        for now in 0..10_000 {
            assert_eq!(link.handle_tick(ms(now), TIMEOUT, false), Liveness::Up);
        }
    }

    #[test]
    fn an_unanswered_frame_makes_it_suspect_after_two_time_outs_and_down_after_three() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(500));
        assert_eq!(tick(&mut link, 500, 1_000, |_| None), (Some(700), Some(800)));
    }

    #[test]
    fn a_dead_idle_link_is_found_by_its_probe() {
        let mut link = LinkLiveness::new(ms(0));
        assert_eq!(tick(&mut link, 0, 2_000, |_| None), (Some(1_200), Some(1_300)));
    }

    #[test]
    fn without_probes_the_plain_time_outs_count() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        assert_eq!(link.handle_tick(ms(199), TIMEOUT, false), Liveness::Up);
        assert_eq!(link.handle_tick(ms(200), TIMEOUT, false), Liveness::Suspect);
        assert_eq!(link.handle_tick(ms(300), TIMEOUT, false), Liveness::Down);
        link.handle_rx(ms(301));
        assert_eq!(link.handle_tick(ms(310), TIMEOUT, false), Liveness::Up);
    }

    #[test]
    fn one_way_traffic_with_answered_probes_never_looks_suspect() {
        let mut link = LinkLiveness::new(ms(0));
        let mut probes: Vec<u64> = Vec::new();
        for now in (0..5_000).step_by(10) {
            // An answer takes nearly the whole time-out, and both ends act at ticks only.
            if probes.first().is_some_and(|probe| now - probe >= 99) {
                link.handle_rx(ms(now));
                probes.clear();
            }
            let seen = link.handle_tick(ms(now), TIMEOUT, false);
            assert_eq!(seen, Liveness::Up, "at {now} ms");
            if link.wants_probe(ms(now), IDLE) {
                probes.push(now);
            }
            link.handle_tx(ms(now + 5));
        }
    }

    #[test]
    fn a_probe_that_went_out_late_gets_its_full_time() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        assert_eq!(link.handle_tick(ms(190), TIMEOUT, false), Liveness::Up);
        assert!(link.wants_probe(ms(190), IDLE));
        let mut seen = |now| link.handle_tick(ms(now), TIMEOUT, false);
        assert_eq!(seen(280), Liveness::Up);
        assert_eq!(seen(290), Liveness::Suspect);
        assert_eq!(seen(380), Liveness::Suspect);
        assert_eq!(seen(390), Liveness::Down);
    }

    #[test]
    fn a_healthy_idle_link_is_probed_once_per_idle_time() {
        let mut link = LinkLiveness::new(ms(0));
        let mut probes = 0;
        let found = tick(&mut link, 0, 10_000, |now| {
            probes += 1;
            Some(now + 50)
        });
        assert_eq!(found, (None, None));
        assert_eq!(probes, 9);
    }

    #[test]
    fn traffic_that_is_answered_needs_no_probe() {
        let mut link = LinkLiveness::new(ms(0));
        for now in 0..5_000 {
            if now % 20 == 0 {
                link.handle_tx(ms(now));
            }
            if now % 20 == 15 {
                link.handle_rx(ms(now));
            }
            assert_eq!(link.handle_tick(ms(now), TIMEOUT, false), Liveness::Up);
            assert!(!link.wants_probe(ms(now), IDLE));
        }
    }

    #[test]
    fn time_in_which_the_own_process_stood_still_does_not_count() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(100));
        assert_eq!(link.handle_tick(ms(110), TIMEOUT, false), Liveness::Up);
        assert_eq!(
            link.handle_tick(ms(5_110), TIMEOUT, true),
            Liveness::Up,
            "starved for five seconds"
        );
        assert_eq!(link.handle_tick(ms(5_290), TIMEOUT, false), Liveness::Up);
        assert_eq!(link.handle_tick(ms(5_300), TIMEOUT, false), Liveness::Suspect);
        assert_eq!(link.handle_tick(ms(5_400), TIMEOUT, false), Liveness::Down);
    }

    #[test]
    fn only_a_sign_of_life_takes_a_verdict_back() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        assert_eq!(link.handle_tick(ms(300), TIMEOUT, false), Liveness::Down);
        assert_eq!(link.handle_tick(ms(310), ms(10_000), false), Liveness::Down);
        link.handle_rx(ms(320));
        assert_eq!(link.state(), Liveness::Up);
    }
}
