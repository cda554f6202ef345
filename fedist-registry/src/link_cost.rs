//! What it costs to send over a link, one way.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// The cost of a link or a route in one direction, in units of 10 µs.
///
/// Sums saturate: a path over something unusable is unusable, never cheap.
#[derive(
    Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LinkCost(u32);

impl LinkCost {
    /// Nothing.
    pub const ZERO: LinkCost = LinkCost(0);
    /// More than any link costs (about 12 hours).
    pub const MAX: LinkCost = LinkCost(u32::MAX);
    /// Microseconds in one unit.
    pub const UNIT_MICROS: u64 = 10;

    /// A cost in units of 10 µs, as it travels.
    pub const fn from_units(units: u32) -> Self {
        LinkCost(units)
    }

    /// The cost in units of 10 µs.
    pub const fn units(self) -> u32 {
        self.0
    }

    /// Rounds to the nearest unit; at most [`LinkCost::MAX`].
    pub const fn from_micros(micros: u64) -> Self {
        let units = micros.saturating_add(Self::UNIT_MICROS / 2) / Self::UNIT_MICROS;
        LinkCost(if units > u32::MAX as u64 { u32::MAX } else { units as u32 })
    }

    /// The cost in microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0 as u64 * Self::UNIT_MICROS
    }

    /// The sum, at most [`LinkCost::MAX`].
    pub const fn saturating_add(self, other: LinkCost) -> LinkCost {
        LinkCost(self.0.saturating_add(other.0))
    }
}

impl Add for LinkCost {
    type Output = LinkCost;

    fn add(self, other: LinkCost) -> LinkCost {
        self.saturating_add(other)
    }
}

impl AddAssign for LinkCost {
    fn add_assign(&mut self, other: LinkCost) {
        *self = *self + other;
    }
}

impl Sum for LinkCost {
    fn sum<I: Iterator<Item = LinkCost>>(costs: I) -> LinkCost {
        costs.fold(LinkCost::ZERO, Add::add)
    }
}

/// Milliseconds with two decimals, the whole precision there is: `12.34 ms`.
impl fmt::Display for LinkCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} ms", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_round_to_the_nearest_unit_and_saturate() {
        assert_eq!(LinkCost::from_micros(4), LinkCost::ZERO);
        assert_eq!(LinkCost::from_micros(5).as_micros(), 10);
        assert_eq!(LinkCost::from_micros(12_344).to_string(), "12.34 ms");
        assert_eq!(LinkCost::from_micros(u64::MAX), LinkCost::MAX);
        assert_eq!(LinkCost::MAX + LinkCost::from_units(1), LinkCost::MAX);
        assert_eq!([3, 4].map(LinkCost::from_units).into_iter().sum::<LinkCost>().units(), 7);
    }
}
