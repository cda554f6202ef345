use fedist_registry::Micros;

use super::SessionConfig;

/// Smoothed round trip and the retransmission time-out that follows from it, after RFC 6298
/// section 2. One per session: both lanes use the same route.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundTrip {
    srtt_us: u64,
    deviation_us: u64,
}

impl RoundTrip {
    /// Takes one measurement, of a frame that was sent exactly once (Karn's rule).
    pub(super) fn sample(&mut self, rtt: Micros) {
        let rtt_us = rtt.0.max(1);
        if self.srtt_us == 0 {
            self.srtt_us = rtt_us;
            self.deviation_us = rtt_us / 2;
            return;
        }
        let error = self.srtt_us.abs_diff(rtt_us);
        self.deviation_us = (self.deviation_us.saturating_mul(3).saturating_add(error)) / 4;
        self.srtt_us = (self.srtt_us.saturating_mul(7).saturating_add(rtt_us)) / 8;
    }

    /// Zero before the first sample.
    pub(super) fn smoothed(&self) -> Micros {
        Micros(self.srtt_us)
    }

    /// How long to wait for an acknowledgement after `backoff` attempts in vain.
    pub(super) fn timeout(&self, config: &SessionConfig, backoff: u32) -> Micros {
        let first = if self.srtt_us == 0 {
            INITIAL_RTO
        } else {
            let spread = self.deviation_us.saturating_mul(4);
            Micros(self.srtt_us.saturating_add(spread)) + config.ack_delay
        };
        let base = first.max(config.min_rto);
        Micros(base.0.saturating_mul(1 << backoff.min(16))).min(config.max_rto)
    }
}

/// Before the first sample; RFC 6298 says 1 s, which covers any terrestrial path.
const INITIAL_RTO: Micros = Micros(1_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_stays_within_its_limits_and_doubles() {
        let config = SessionConfig::default();
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(&config, 0), INITIAL_RTO);
        for _ in 0..50 {
            trip.sample(Micros::from_millis(100));
        }
        assert_eq!(trip.smoothed(), Micros::from_millis(100));
        assert_eq!(trip.timeout(&config, 0), config.min_rto);
        assert_eq!(trip.timeout(&config, 1), Micros::from_millis(400));
        assert_eq!(trip.timeout(&config, 60), config.max_rto);
        trip.sample(Micros(u64::MAX));
        assert_eq!(trip.timeout(&config, 0), config.max_rto);
    }
}
