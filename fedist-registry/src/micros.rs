//! A point in time, or a span of it, in microseconds.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since an arbitrary start of the owner's clock; also a span of such time.
///
/// Pure code never reads a clock, so every `now` comes in as one of these. Two values compare only if they come from the
/// same clock. Arithmetic saturates: a clock that steps back gives a span of zero, never a panic and never a huge span.
#[derive(
    Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// The start of the clock, or no time at all.
    pub const ZERO: Micros = Micros(0);
    /// Later than anything that happens.
    pub const MAX: Micros = Micros(u64::MAX);

    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Micros(ms.saturating_mul(1_000))
    }

    /// A span of `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Micros(secs.saturating_mul(1_000_000))
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// `self - other`, or zero where `other` is later.
    pub const fn saturating_sub(self, other: Micros) -> Micros {
        Micros(self.0.saturating_sub(other.0))
    }

    /// `self + other`, at most [`Micros::MAX`].
    pub const fn saturating_add(self, other: Micros) -> Micros {
        Micros(self.0.saturating_add(other.0))
    }

    /// The same span for the standard library.
    pub const fn as_duration(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// Rounded down to whole microseconds, at most [`Micros::MAX`].
    pub fn from_duration(duration: Duration) -> Self {
        Micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Add for Micros {
    type Output = Micros;

    fn add(self, other: Micros) -> Micros {
        self.saturating_add(other)
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Micros) {
        *self = *self + other;
    }
}

impl Sub for Micros {
    type Output = Micros;

    fn sub(self, other: Micros) -> Micros {
        self.saturating_sub(other)
    }
}

/// Milliseconds with three decimals: `12.345 ms`.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Micros(3) - Micros(5), Micros::ZERO);
        assert_eq!(Micros::MAX + Micros(1), Micros::MAX);
        assert_eq!(Micros::from_millis(u64::MAX), Micros::MAX);
        assert_eq!(Micros::from_duration(Duration::MAX), Micros::MAX);
    }

    #[test]
    fn converts_to_millis_and_durations() {
        assert_eq!(Micros::from_millis(25).as_millis(), 25);
        assert_eq!(Micros(1_999).as_millis(), 1);
        assert_eq!(Micros::from_secs(2).as_duration(), Duration::from_secs(2));
        assert_eq!(Micros::from_duration(Duration::from_millis(7)), Micros(7_000));
        assert_eq!(Micros(12_345).to_string(), "12.345 ms");
    }
}
