//! How one direction of a link behaves.

use std::time::Duration;

/// The longest delay and the widest jitter that a profile can ask for; more is cut to it.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// Bytes that wait before a link with a rate; what comes on top is dropped.
pub const MAX_BACKLOG_BYTES: u64 = 256 * 1024;

/// How one direction of a link behaves. The default passes everything on at once.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct LinkProfile {
    /// One-way delay of each packet, up to [`MAX_DELAY`].
    pub delay: Duration,
    /// Each packet takes `delay` ± up to this, drawn evenly; never less than zero in all.
    ///
    /// A packet that drew less than the one before it waits for that one, so jitter alone does
    /// not change the order (see [`reorder`](Self::reorder)); wide jitter on a dense flow
    /// therefore moves the median up.
    pub jitter: Duration,
    /// Lets jitter change the order of packets.
    pub reorder: bool,
    /// The share of packets that vanish, 0 to 1. Outside that range the nearest end counts; not
    /// a number counts as 0.
    pub loss: f64,
    /// The share of packets that arrive twice, 0 to 1, read like `loss`.
    pub duplicate: f64,
    /// Bytes of UDP payload per second; packets queue for their turn, up to
    /// [`MAX_BACKLOG_BYTES`]. `None` is no limit, 0 lets nothing through.
    pub rate_bytes_per_s: Option<u64>,
    /// Nothing passes, and what was on the way when it was cut is lost.
    pub cut: bool,
}

impl LinkProfile {
    /// A clean link with this one-way delay.
    pub fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// The same with every field inside its range.
    pub(crate) fn within_limits(self) -> Self {
        Self {
            delay: self.delay.min(MAX_DELAY),
            jitter: self.jitter.min(MAX_DELAY),
            loss: probability(self.loss),
            duplicate: probability(self.duplicate),
            ..self
        }
    }

    /// The least delay that a packet can be given.
    pub(crate) fn floor(&self) -> Duration {
        self.delay.saturating_sub(self.jitter)
    }

    /// True if a packet under `other` takes its time by the same rule.
    pub(crate) fn same_timing(&self, other: &Self) -> bool {
        self.delay == other.delay
            && self.jitter == other.jitter
            && self.reorder == other.reorder
            && self.rate_bytes_per_s == other.rate_bytes_per_s
    }
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
            loss: 0.0,
            duplicate: 0.0,
            rate_bytes_per_s: None,
            cut: false,
        }
    }
}

fn probability(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}
