//! Measured round trips.

/// Round-trip times between places, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct RttMatrix {
    len: usize,
    /// Row by row; none where not measured.
    rtt_ms: Vec<Option<f32>>,
}

impl RttMatrix {
    /// A matrix of `len` places from a function of (source, destination). What is negative or no number counts as not
    /// measured.
    pub fn from_fn(len: usize, rtt_ms: impl Fn(usize, usize) -> Option<f64>) -> RttMatrix {
        let cell = |at: usize| {
            let ms = rtt_ms(at / len, at % len)?;
            (ms.is_finite() && ms >= 0.0).then_some(ms as f32)
        };
        RttMatrix { len, rtt_ms: (0..len * len).map(cell).collect() }
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As measured from `a`.
    pub fn rtt_ms(&self, a: usize, b: usize) -> Option<f64> {
        if b >= self.len {
            return None;
        }
        self.rtt_ms.get(a * self.len + b).copied().flatten().map(f64::from)
    }

    /// Half of the smaller round trip of the two directions, in µs: a round trip is the same from either end, so the larger
    /// figure holds more of the ends' own time.
    pub fn one_way_us(&self, a: usize, b: usize) -> Option<u64> {
        let ms = match (self.rtt_ms(a, b), self.rtt_ms(b, a)) {
            (Some(there), Some(back)) => there.min(back),
            (one, other) => one.or(other)?,
        };
        Some((ms * 500.0).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_direction_counts_and_a_missing_one_does_not() {
        let cells =
            [[None, Some(10.0), None], [Some(8.0), None, None], [Some(5.0), Some(-1.0), None]];
        let matrix = RttMatrix::from_fn(3, |a, b| cells[a][b]);
        assert_eq!(matrix.one_way_us(0, 1), Some(4_000));
        assert_eq!(matrix.one_way_us(0, 2), Some(2_500));
        assert_eq!(matrix.one_way_us(1, 2), None, "less than nothing is no measurement");
        assert_eq!(matrix.one_way_us(0, 3), None);
    }
}
