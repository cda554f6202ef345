//! The clock that all links of a node stamp with.

use std::time::{Duration, Instant, SystemTime};

/// A node's clock: monotonic, and set once, when it starts, to the machine's idea of the time.
///
/// Later changes of the machine's clock do not move it, so spans are right, and the difference between two nodes' clocks
/// changes by their drift alone.
#[derive(Copy, Clone, Debug)]
pub struct NodeClock {
    start: Instant,
    base_us: u64,
}

impl NodeClock {
    /// Starts now, at the machine's time.
    pub fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::starting(Instant::now(), micros(since_1970.unwrap_or_default()))
    }

    /// A clock that read `base_us` at `start`.
    pub const fn starting(start: Instant, base_us: u64) -> Self {
        Self { start, base_us }
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.start
    }

    /// What it read then, in µs since 1970.
    pub fn base_us(&self) -> u64 {
        self.base_us
    }

    /// What it reads at `now`, in µs since 1970.
    pub fn reading(&self, now: Instant) -> u64 {
        self.base_us.saturating_add(micros(now.saturating_duration_since(self.start)))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
