//! The name of one actor, for ever.

use crate::packed_id::packed_id;

packed_id! {
    /// Names one actor, for ever, wherever it is asked from.
    ///
    /// ```text
    ///  63            48 47                                            0
    /// ┌────────────────┬───────────────────────────────────────────────┐
    /// │ region, 16 bit │ local id, 48 bit                              │
    /// └────────────────┴───────────────────────────────────────────────┘
    ///  1..=65534        1..=2^48-1; 1..=255 are well-known services
    /// ```
    ///
    /// Prints as `7.42` and reads back only that form. In serde it is one `u64`; as SQL `bigint` it is the same bits, see
    /// [`to_i64`](Self::to_i64). Orders by region, then by local id.
    ///
    /// ```
    /// use fedist_registry::{LocalId, RegionId, RegionPid};
    ///
    /// let pid = RegionPid::new(RegionId::new(7)?, LocalId::new(42)?);
    /// assert_eq!(pid.to_string(), "7.42");
    /// assert_eq!("7.42".parse(), Ok(pid));
    /// assert_eq!(pid.to_bits(), 7 << 48 | 42);
    /// # Ok::<(), fedist_registry::IdError>(())
    /// ```
    RegionPid, what: "pid", form: "'7.42'", separator: "."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IdError, LocalId, RegionId};

    #[test]
    fn malformed_texts_are_refused_by_name() {
        for text in [
            "", ".", "7", "7.", ".42", "07.42", "7.042", "7.42.1", "+7.42", "-7.42", "7.-42",
            " 7.42", "7.42 ", "7,42", "7#42", "٧.٤٢", "7.4٢", "7..42",
        ] {
            assert!(
                matches!(text.parse::<RegionPid>(), Err(IdError::Malformed { .. })),
                "{text:?} must be malformed"
            );
        }
        assert_eq!("0.42".parse::<RegionPid>(), Err(IdError::RegionReserved { value: 0 }));
        assert_eq!("65535.42".parse::<RegionPid>(), Err(IdError::RegionReserved { value: 65_535 }));
        assert_eq!("7.0".parse::<RegionPid>(), Err(IdError::LocalReserved));
        assert_eq!(
            "7.281474976710656".parse::<RegionPid>(),
            Err(IdError::LocalOutOfRange { value: 1 << 48 })
        );
        assert_eq!(
            "7.99999999999999999999999".parse::<RegionPid>(),
            Err(IdError::LocalOutOfRange { value: u64::MAX })
        );
    }

    #[test]
    fn reserved_parts_are_refused_in_bits_too() {
        assert!(RegionPid::from_bits(0).is_err());
        assert!(RegionPid::from_bits(42).is_err());
        assert!(RegionPid::from_bits(7 << 48).is_err());
        assert!(RegionPid::from_bits(u64::MAX).is_err());
    }

    #[test]
    fn high_regions_are_negative_as_sql_bigint() {
        let pid = RegionPid::new(RegionId::new(32_768).unwrap(), LocalId::new(1).unwrap());
        assert!(pid.to_i64() < 0);
        assert_eq!(RegionPid::from_i64(pid.to_i64()), Ok(pid));
    }
}
