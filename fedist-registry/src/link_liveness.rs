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

/// How long a link may be silent; the caller derives it from the link's estimate and its own health.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to a plain frame, which may be held back a little: then a probe goes out.
    pub frame: Micros,
    /// For the answer to a probe, which comes at once; see
    /// [`LinkEstimate::probe_timeout_us`](crate::LinkEstimate::probe_timeout_us).
    pub probe: Micros,
    /// For the last probe, before the link counts as down; not less than `probe`.
    pub last: Micros,
    /// How long nothing is heard on a link without traffic before it is probed.
    pub idle: Micros,
}

impl Default for Patience {
    /// For a link of which nothing was measured yet.
    fn default() -> Self {
        let first = Micros::from_millis(300);
        Patience { frame: first, probe: first, last: first, idle: Micros::from_secs(1) }
    }
}

/// Watches one link; every frame that comes is a sign of life.
///
/// Silence counts only while an answer is awaited, that is from the first frame sent after the last one heard. A plain
/// frame need not be answered over the same link, so once its time has passed [`wants_probe`](Self::wants_probe) asks for a
/// probe, which is; the verdict also needs one (suspect) or two (down) full time-outs since that probe.
///
/// ```text
///   frame sent      probe          probe          probe
///       |-- frame ----|--- probe ----|---- last ----|
///                                 suspect         down
/// ```
///
/// Nothing happens between the times that [`poll_timeout`](Self::poll_timeout) names. A process that was starved itself
/// must not accuse others: where a timer fires late the wait is extended by as much, at most three times in one silence, so
/// that one which always is late still comes to a verdict.
#[derive(Clone, Debug)]
pub struct LinkLiveness {
    heard_at: Micros,
    /// The first frame sent since then.
    awaiting_since: Option<Micros>,
    first_probe: Option<Micros>,
    last_probe: Option<Micros>,
    /// When the caller last looked.
    checked_at: Micros,
    extensions: u8,
    patience: Patience,
    state: Liveness,
    /// Datagrams that had come when they were counted last.
    datagrams: u64,
}

impl LinkLiveness {
    /// A link that was just opened, which took an exchange.
    pub fn new(now: Micros) -> Self {
        LinkLiveness {
            heard_at: now,
            awaiting_since: None,
            first_probe: None,
            last_probe: None,
            checked_at: now,
            extensions: 0,
            patience: Patience::default(),
            state: Liveness::Up,
            datagrams: 0,
        }
    }

    /// Anything came in. Gives back whether this ends a suspicion.
    pub fn handle_rx(&mut self, now: Micros) -> bool {
        self.heard_at = now;
        self.awaiting_since = None;
        self.first_probe = None;
        self.last_probe = None;
        self.extensions = 0;
        std::mem::replace(&mut self.state, Liveness::Up) != Liveness::Up
    }

    /// Takes the number of datagrams that have come over the link so far, acknowledgements included, which nobody announces.
    /// More than at the last count are a sign of life while an answer is awaited. Otherwise they are only counted: they came
    /// with the last frames, perhaps a whole idle time ago, and a link that has died since would be believed alive for as long
    /// again. So count as well before a wait begins ([`awaits`](Self::awaits), [`handle_tx`](Self::handle_tx)). Gives back
    /// whether this ends a suspicion.
    pub fn handle_count(&mut self, now: Micros, datagrams: u64) -> bool {
        let more = std::mem::replace(&mut self.datagrams, datagrams) != datagrams;
        more && self.awaits() && self.handle_rx(now)
    }

    /// Anything went out, probes included. Gives back whether this begins a wait, so that
    /// [`poll_timeout`](Self::poll_timeout) is another one now.
    pub fn handle_tx(&mut self, now: Micros) -> bool {
        let begins = self.awaiting_since.is_none();
        if begins {
            self.awaiting_since = Some(now);
            self.checked_at = now;
        }
        begins
    }

    /// Judges the silence up to `now`. `late` is how long after its time the timer has fired that led to this call; up to
    /// 5 ms count as none.
    pub fn handle_timeout(&mut self, now: Micros, patience: Patience, late: Micros) -> Liveness {
        self.patience = patience;
        self.checked_at = now;
        if late > ON_TIME && self.awaiting_since.is_some() && self.extensions < EXTENSIONS {
            self.extensions += 1;
            for since in [&mut self.awaiting_since, &mut self.first_probe, &mut self.last_probe]
                .into_iter()
                .flatten()
            {
                *since = (*since + late).min(now);
            }
        }
        let judged = match self.verdicts() {
            // First in silence, however late the call is.
            Some((_, down)) if now >= down && self.state != Liveness::Up => Liveness::Down,
            Some((suspect, _)) if now >= suspect => Liveness::Suspect,
            _ => Liveness::Up,
        };
        // Only a sign of life makes it better; a time-out that grew meanwhile does not.
        self.state = worse(self.state, judged);
        self.state
    }

    /// Whether an answer is awaited.
    pub fn awaits(&self) -> bool {
        self.awaiting_since.is_some()
    }

    /// How long nothing is heard before an idle link is probed, from now on.
    pub fn set_idle(&mut self, idle: Micros) {
        self.patience.idle = idle;
    }

    /// Whether a probe should go out now; `true` means that the caller sends one (and calls
    /// [`handle_tx`](Self::handle_tx)). Asks once per probe time-out while an answer is awaited, and when nothing was heard
    /// for the idle time.
    pub fn wants_probe(&mut self, now: Micros) -> bool {
        let wanted = now >= self.probe_due();
        if wanted {
            self.last_probe = Some(now);
            self.first_probe.get_or_insert(now);
        }
        wanted
    }

    /// When [`handle_timeout`](Self::handle_timeout) and [`wants_probe`](Self::wants_probe) should be called next. While an
    /// answer is awaited that is several times per time-out, for callers that learn of some signs of life only by looking.
    pub fn poll_timeout(&self) -> Micros {
        let due = self.probe_due();
        let Some((suspect, down)) = self.verdicts() else {
            return due;
        };
        let verdict = match self.state {
            Liveness::Up => suspect,
            Liveness::Suspect => down,
            Liveness::Down => Micros::MAX,
        };
        let look = self.checked_at + Micros(self.patience.probe.0 / LOOKS);
        due.min(verdict).min(look)
    }

    /// What was judged last, or [`Liveness::Up`] if anything was heard since.
    pub fn state(&self) -> Liveness {
        self.state
    }

    /// Whether a probe is unanswered past its time-out.
    pub fn misses_probe(&self, now: Micros) -> bool {
        self.first_probe.is_some_and(|probe| now - probe >= self.patience.probe)
    }

    /// When anything was heard last.
    pub fn heard_at(&self) -> Micros {
        self.heard_at
    }

    fn probe_due(&self) -> Micros {
        match (self.last_probe, self.awaiting_since) {
            (Some(probe), _) => probe + self.patience.probe,
            (None, Some(sent)) => sent + self.patience.frame,
            (None, None) => self.heard_at + self.patience.idle,
        }
    }

    /// When it becomes suspect, and when down; none while nothing is awaited. A probe that went out late gets its full time,
    /// one that never went out does not hold the verdict up for ever.
    fn verdicts(&self) -> Option<(Micros, Micros)> {
        let since = self.awaiting_since?;
        let Patience { frame, probe, last, .. } = self.patience;
        let asked = self.first_probe.unwrap_or(since + frame);
        // Where it began with a probe, that one had its time-out like a plain frame.
        let asked = asked.max(since + frame.min(probe));
        let suspect = asked + probe;
        Some((suspect, suspect + last))
    }
}

fn worse(a: Liveness, b: Liveness) -> Liveness {
    match (a, b) {
        (Liveness::Down, _) | (_, Liveness::Down) => Liveness::Down,
        (Liveness::Suspect, _) | (_, Liveness::Suspect) => Liveness::Suspect,
        _ => Liveness::Up,
    }
}

/// Lateness that any timer has.
const ON_TIME: Micros = Micros::from_millis(5);
/// How often one silence is extended because the own timer was late.
const EXTENSIONS: u8 = 3;
/// How often per time-out the caller looks for signs of life.
const LOOKS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        frame: Micros::from_millis(120),
        probe: Micros::from_millis(100),
        last: Micros::from_millis(150),
        idle: Micros::from_millis(1_000),
    };
    const NONE: Micros = Micros::ZERO;

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    /// A driver that calls only when it was asked to; gives back when the link became suspect and down. `answer` says when
    /// the answer to a probe comes, if it does.
    fn drive(
        link: &mut LinkLiveness,
        until: u64,
        mut answer: impl FnMut(u64) -> Option<u64>,
    ) -> (Option<u64>, Option<u64>) {
        let (mut suspect, mut down) = (None, None);
        let mut arrivals: Vec<Micros> = Vec::new();
        link.handle_timeout(link.checked_at, PATIENCE, NONE);
        loop {
            let arrival = arrivals.iter().min().copied();
            let now = arrival.map_or(link.poll_timeout(), |at| at.min(link.poll_timeout()));
            if now >= ms(until) {
                return (suspect, down);
            }
            arrivals.retain(|at| *at > now);
            if arrival == Some(now) {
                link.handle_rx(now);
            }
            match link.handle_timeout(now, PATIENCE, NONE) {
                Liveness::Suspect => {
                    suspect.get_or_insert(now.as_millis());
                }
                Liveness::Down => {
                    down.get_or_insert(now.as_millis());
                }
                Liveness::Up => {}
            }
            if link.wants_probe(now) {
                link.handle_tx(now);
                arrivals.extend(answer(now.as_millis()).map(ms));
            }
        }
    }

    #[test]
    fn silence_is_no_failure_while_nothing_is_awaited() {
        let mut link = LinkLiveness::new(ms(0));
        for now in 0..10_000 {
            assert_eq!(link.handle_timeout(ms(now), PATIENCE, NONE), Liveness::Up);
        }
    }

    #[test]
    fn an_unanswered_frame_makes_it_suspect_after_two_time_outs_and_down_after_three() {
        let mut link = LinkLiveness::new(ms(500));
        assert!(link.handle_tx(ms(500)), "a wait begins");
        assert!(!link.handle_tx(ms(501)), "and goes on");
        assert_eq!(drive(&mut link, 2_000, |_| None), (Some(500 + 220), Some(500 + 370)));
    }

    #[test]
    fn a_dead_idle_link_is_found_by_its_probe() {
        let mut link = LinkLiveness::new(ms(0));
        assert_eq!(drive(&mut link, 2_000, |_| None), (Some(1_200), Some(1_350)));
    }

    #[test]
    fn a_lost_probe_alone_makes_nothing_suspect() {
        let mut link = LinkLiveness::new(ms(0));
        let mut probes = 0;
        let found = drive(&mut link, 5_000, |now| {
            probes += 1;
            (probes % 2 == 0).then_some(now + 60)
        });
        assert_eq!(found, (None, None));
    }

    #[test]
    fn one_that_never_probes_comes_to_a_verdict_too() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        let mut seen = |now| link.handle_timeout(ms(now), PATIENCE, NONE);
        assert_eq!(seen(219), Liveness::Up);
        assert_eq!(seen(220), Liveness::Suspect);
        assert_eq!(seen(369), Liveness::Suspect);
        assert_eq!(seen(370), Liveness::Down);
        assert!(link.handle_rx(ms(371)), "it was in doubt");
        assert_eq!(link.handle_timeout(ms(380), PATIENCE, NONE), Liveness::Up);
        assert!(!link.handle_rx(ms(381)));
    }

    #[test]
    fn one_way_traffic_with_answered_probes_never_looks_suspect() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_timeout(ms(0), PATIENCE, NONE);
        let mut probe: Option<u64> = None;
        for now in 0..5_000 {
            if probe.is_some_and(|sent| now - sent >= 99) {
                link.handle_rx(ms(now));
                probe = None;
            }
            if now % 5 == 0 {
                link.handle_tx(ms(now));
            }
            if ms(now) >= link.poll_timeout() {
                let seen = link.handle_timeout(ms(now), PATIENCE, NONE);
                assert_eq!(seen, Liveness::Up, "at {now} ms");
                if link.wants_probe(ms(now)) {
                    probe = Some(now);
                }
            }
        }
    }

    #[test]
    fn a_probe_that_went_out_late_gets_its_full_time() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        assert_eq!(link.handle_timeout(ms(190), PATIENCE, NONE), Liveness::Up);
        assert!(link.wants_probe(ms(190)));
        let mut seen = |now| link.handle_timeout(ms(now), PATIENCE, NONE);
        assert_eq!(seen(289), Liveness::Up);
        assert_eq!(seen(290), Liveness::Suspect);
        assert_eq!(seen(439), Liveness::Suspect);
        assert_eq!(seen(440), Liveness::Down);
    }

    #[test]
    fn a_healthy_idle_link_is_probed_once_per_idle_time() {
        let mut link = LinkLiveness::new(ms(0));
        let mut probes = 0;
        let found = drive(&mut link, 10_000, |now| {
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
            assert_eq!(link.handle_timeout(ms(now), PATIENCE, NONE), Liveness::Up);
            assert!(!link.wants_probe(ms(now)));
        }
    }

    #[test]
    fn it_asks_for_few_calls_while_idle_and_several_per_time_out_while_it_waits() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_timeout(ms(0), PATIENCE, NONE);
        assert_eq!(link.poll_timeout(), ms(1_000));
        link.handle_tx(ms(10));
        link.handle_timeout(ms(10), PATIENCE, NONE);
        assert_eq!(link.poll_timeout(), ms(35));
    }

    #[test]
    fn time_in_which_the_own_process_stood_still_does_not_count() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(100));
        assert_eq!(link.handle_timeout(ms(110), PATIENCE, NONE), Liveness::Up);
        let starved = link.handle_timeout(ms(5_110), PATIENCE, ms(5_000));
        assert_eq!(starved, Liveness::Up, "starved for five seconds");
        assert_eq!(link.handle_timeout(ms(5_319), PATIENCE, NONE), Liveness::Up);
        assert_eq!(link.handle_timeout(ms(5_320), PATIENCE, NONE), Liveness::Suspect);
        assert_eq!(link.handle_timeout(ms(5_470), PATIENCE, NONE), Liveness::Down);
    }

    #[test]
    fn one_that_is_always_late_comes_to_a_verdict_nevertheless() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        let down = (0..2_000)
            .step_by(30)
            .find(|now| link.handle_timeout(ms(*now), PATIENCE, ms(29)) == Liveness::Down);
        assert_eq!(down, Some(450), "370 ms, twice 29 ms more, and the next call");
    }

    #[test]
    fn datagrams_that_came_before_the_wait_are_no_sign_of_life() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_timeout(ms(0), PATIENCE, NONE);
        // The acknowledgements of the last frames, which are counted a whole idle time later.
        assert!(!link.handle_count(ms(1_000), 7));
        assert_eq!(link.heard_at(), ms(0));
        assert!(link.wants_probe(ms(1_000)), "the idle time is over, whatever had come by then");
        link.handle_tx(ms(1_000));
        assert!(!link.handle_count(ms(1_050), 7), "nothing more came");
        assert_eq!(link.handle_timeout(ms(1_200), PATIENCE, NONE), Liveness::Suspect);
        assert!(link.handle_count(ms(1_210), 8), "one more ends the suspicion");
        assert_eq!((link.state(), link.heard_at()), (Liveness::Up, ms(1_210)));
    }

    #[test]
    fn a_dead_idle_link_is_found_in_time_although_its_last_acknowledgements_were_not_counted_yet() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_timeout(ms(0), PATIENCE, NONE);
        link.handle_rx(ms(10));
        // It dies; 9 datagrams had come. Counted by whoever looks only when asked to.
        let mut suspect = None;
        while suspect.is_none() {
            let now = link.poll_timeout();
            assert!(now < ms(5_000));
            link.handle_count(now, 9);
            if link.handle_timeout(now, PATIENCE, NONE) == Liveness::Suspect {
                suspect = Some(now);
            }
            if link.wants_probe(now) {
                link.handle_tx(now);
            }
        }
        assert_eq!(suspect, Some(ms(10 + 1_000 + 200)), "one idle time and two time-outs");
    }

    #[test]
    fn only_a_sign_of_life_takes_a_verdict_back() {
        let mut link = LinkLiveness::new(ms(0));
        link.handle_tx(ms(0));
        assert_eq!(
            link.handle_timeout(ms(400), PATIENCE, NONE),
            Liveness::Suspect,
            "in silence first"
        );
        assert_eq!(link.handle_timeout(ms(401), PATIENCE, NONE), Liveness::Down);
        let patient = Patience { frame: ms(10_000), ..PATIENCE };
        assert_eq!(link.handle_timeout(ms(410), patient, NONE), Liveness::Down);
        link.handle_rx(ms(420));
        assert_eq!(link.state(), Liveness::Up);
    }
}
