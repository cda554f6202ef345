//! What it costs to open a link that is not open.

use crate::{LinkCost, Micros};

/// How long it takes the two ends to set up a link, beyond the round trips: certificates, signatures, queues.
///
/// Kept per region. Each measurement is the time a dial took less the round trip that was observed *at that moment*: with
/// a long-term mean a dial on a bad day would be taken for slow machines. Smoothed with a gain of a quarter.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SetUpEstimate {
    handshake_us: Option<u32>,
}

impl SetUpEstimate {
    /// Round trips from the first packet of a dial to its end (QUIC with TLS 1.3, RFC 9001).
    pub const DIAL_ROUND_TRIPS: u32 = 1;
    /// Round trips until the first message can go over a new link: the handshake, and the hubs' greeting.
    pub const ROUND_TRIPS: u32 = 2;

    /// Nothing was measured.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a dial that took `took`, on a link whose round trip was seen as `rtt` when it ended.
    pub fn sample(&mut self, took: Micros, rtt: Micros) {
        let travelling = Micros(rtt.0.saturating_mul(u64::from(Self::DIAL_ROUND_TRIPS)));
        let handshake = u32::try_from((took - travelling).0).unwrap_or(u32::MAX);
        self.handshake_us = Some(match self.handshake_us {
            None => handshake,
            Some(before) => before - before / 4 + handshake / 4,
        });
    }

    /// The handshake without its round trips; 5 ms before anything was measured.
    pub fn handshake_us(&self) -> u32 {
        self.handshake_us.unwrap_or(UNMEASURED_US)
    }

    /// What a link with that round trip costs to open, shared by the `exchanges` it is expected to carry (at least one):
    /// `(n·RTT + h) / m`.
    pub fn cost(&self, rtt: Micros, exchanges: u64) -> LinkCost {
        let travelling = rtt.0.saturating_mul(u64::from(Self::ROUND_TRIPS));
        let whole = travelling.saturating_add(u64::from(self.handshake_us()));
        LinkCost::from_micros(whole / exchanges.max(1))
    }
}

const UNMEASURED_US: u32 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    #[test]
    fn an_unmeasured_link_costs_its_round_trips_and_a_usual_handshake() {
        assert_eq!(SetUpEstimate::new().cost(ms(100), 1), LinkCost::from_micros(205_000));
        assert_eq!(SetUpEstimate::new().cost(ms(100), 41), LinkCost::from_micros(5_000));
        assert_eq!(
            SetUpEstimate::new().cost(ms(100), 0),
            SetUpEstimate::new().cost(ms(100), 1),
            "nothing expected is one"
        );
        assert_eq!(SetUpEstimate::new().cost(Micros::MAX, 1), LinkCost::MAX);
    }

    #[test]
    fn the_round_trip_of_the_moment_is_taken_off() {
        let mut estimate = SetUpEstimate::new();
        estimate.sample(ms(103), ms(100));
        assert_eq!(estimate.handshake_us(), 3_000);
        // A dial while the path was slow tells the same about the handshake.
        estimate.sample(ms(903), ms(900));
        assert_eq!(estimate.handshake_us(), 3_000);
        estimate.sample(ms(107), ms(100));
        assert_eq!(estimate.handshake_us(), 4_000);
        estimate.sample(ms(50), ms(100));
        assert_eq!(estimate.handshake_us(), 3_000, "faster than its round trip counts as nothing");
    }
}
