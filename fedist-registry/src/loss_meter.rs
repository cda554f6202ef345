//! What share of the packets of one link is lost.

use crate::Micros;

/// Turns the transport's running totals of sent and lost packets into a share that forgets.
///
/// Counts halve every 10 s. The share is a cautious one: of `n` losses only `n − √n` are counted (the lower edge of what
/// chance alone makes of them), over twenty packets more than were sent. So a single lost probe on an idle link counts for
/// nothing, and with some hundred packets per second the share comes within a fifth of the true one.
#[derive(Clone, Debug, Default)]
pub struct LossMeter {
    totals: Option<(u64, u64)>,
    at: Micros,
    sent: f64,
    lost: f64,
}

impl LossMeter {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the totals since the link came up. Totals that went down belong to a new link: counting starts over.
    pub fn update(&mut self, now: Micros, sent: u64, lost: u64) {
        let fade = 0.5_f64.powf((now - self.at).0 as f64 / HALF_LIFE.0 as f64);
        self.at = self.at.max(now);
        self.sent *= fade;
        self.lost *= fade;
        match self.totals {
            Some((sent_before, lost_before)) if sent >= sent_before && lost >= lost_before => {
                self.sent += (sent - sent_before) as f64;
                self.lost += (lost - lost_before) as f64;
            }
            Some(_) => (self.sent, self.lost) = (0.0, 0.0),
            None => {}
        }
        self.totals = Some((sent, lost));
    }

    /// The share in thousandths; zero while too little was sent or lost to say.
    pub fn permille(&self) -> u16 {
        let certain = (self.lost - self.lost.sqrt()).max(0.0);
        let share = (certain / (self.sent + PRIOR)).clamp(0.0, 1.0);
        (share * 1_000.0).round() as u16
    }
}

const HALF_LIFE: Micros = Micros::from_secs(10);
const PRIOR: f64 = 20.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `per_second` packets for `seconds`, of which every `one_in`th is lost.
    fn after(seconds: u64, per_second: u64, one_in: u64) -> LossMeter {
        let mut meter = LossMeter::new();
        for second in 0..=seconds {
            let sent = second * per_second;
            meter.update(Micros::from_secs(second), sent, sent / one_in);
        }
        meter
    }

    #[test]
    fn a_single_loss_on_an_idle_link_counts_for_nothing() {
        let mut meter = LossMeter::new();
        for second in 0..60 {
            meter.update(Micros::from_secs(second), second, u64::from(second > 30));
            assert_eq!(meter.permille(), 0, "after {second} s");
        }
    }

    #[test]
    fn a_lossy_link_with_traffic_is_seen_within_a_fifth() {
        let seen = after(30, 500, 50).permille();
        assert!((16..=20).contains(&seen), "20 per mille are lost, {seen} were seen");
        let seen = after(30, 20, 4).permille();
        assert!((180..=250).contains(&seen), "250 per mille are lost, {seen} were seen");
    }

    #[test]
    fn what_was_lost_is_forgotten() {
        let mut meter = after(30, 500, 50);
        let (sent, lost) = meter.totals.unwrap();
        for second in 31..120 {
            meter.update(Micros::from_secs(second), sent + second * 500, lost);
        }
        assert_eq!(meter.permille(), 0);
    }

    #[test]
    fn totals_that_went_down_start_over() {
        let mut meter = after(30, 500, 2);
        meter.update(Micros::from_secs(31), 3, 0);
        assert_eq!(meter.permille(), 0);
    }

    proptest! {
        #[test]
        fn any_totals_give_a_share(
            steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..20)
        ) {
            let mut meter = LossMeter::new();
            for (at, sent, lost) in steps {
                meter.update(Micros(at), sent, lost);
                prop_assert!(meter.permille() <= 1_000);
            }
        }
    }
}
