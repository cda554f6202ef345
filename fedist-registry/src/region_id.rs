//! The number of a region.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id_error::{Excerpt, IdError, canonical_decimal};

/// The number of a region, 1..=65534; 0 and 65535 are reserved.
///
/// Numbers are given by the registry master only, and stay with their region's key for ever (a region that left keeps
/// its tombstone). Prints as plain digits and reads back only that form: `"7"`, never `"07"` or `"+7"`.
///
/// ```
/// use fedist_registry::RegionId;
///
/// let id: RegionId = "7".parse()?;
/// assert_eq!(id, RegionId::new(7)?);
/// assert!(RegionId::new(65535).is_err());
/// # Ok::<(), fedist_registry::IdError>(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RegionId(NonZeroU16);

impl RegionId {
    /// The lowest region number.
    pub const MIN: RegionId = RegionId(NonZeroU16::MIN);

    /// The highest region number, 65534.
    pub const MAX: RegionId = match RegionId::new(65_534) {
        Ok(id) => id,
        Err(_) => RegionId::MIN,
    };

    /// Checks a number and makes it a region's.
    ///
    /// # Errors
    /// [`IdError::RegionReserved`] for 0 and 65535.
    pub const fn new(value: u16) -> Result<RegionId, IdError> {
        match NonZeroU16::new(value) {
            Some(id) if value != u16::MAX => Ok(RegionId(id)),
            _ => Err(IdError::RegionReserved { value: value as u32 }),
        }
    }

    /// The plain number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionId({})", self.0)
    }
}

impl FromStr for RegionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<RegionId, IdError> {
        let malformed =
            IdError::Malformed { what: "region id", form: "'7'", text: Excerpt::new(text) };
        let number = canonical_decimal(text).ok_or(malformed)?;
        match u16::try_from(number) {
            Ok(value) => RegionId::new(value),
            Err(_) => {
                Err(IdError::RegionReserved { value: u32::try_from(number).unwrap_or(u32::MAX) })
            }
        }
    }
}

impl TryFrom<u16> for RegionId {
    type Error = IdError;

    fn try_from(value: u16) -> Result<RegionId, IdError> {
        RegionId::new(value)
    }
}

impl From<RegionId> for u16 {
    fn from(id: RegionId) -> u16 {
        id.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: RegionId = match RegionId::new(7) {
        Ok(id) => id,
        Err(_) => panic!("7 is a region number"),
    };

    #[test]
    fn every_number_is_either_reserved_or_survives_text_and_serde() {
        for value in 0..=u16::MAX {
            let Ok(id) = RegionId::new(value) else {
                assert!(value == 0 || value == u16::MAX, "{value} must be a region number");
                continue;
            };
            assert_eq!(id.get(), value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(serde_json::to_string(&SEVEN).unwrap(), "7");
        assert_eq!(serde_json::from_str::<RegionId>("7").unwrap(), SEVEN);
        assert_eq!(RegionId::MAX.get(), 65_534);
    }

    #[test]
    fn only_the_printed_form_is_read() {
        for text in ["", " 7", "7 ", "+7", "-7", "07", "7.", "0x7", "٧", "7\n", "seven"] {
            assert!(
                matches!(text.parse::<RegionId>(), Err(IdError::Malformed { .. })),
                "{text:?} must be malformed"
            );
        }
        for (text, value) in
            [("0", 0), ("65535", 65_535), ("70000", 70_000), ("99999999999999999999999", u32::MAX)]
        {
            assert_eq!(text.parse::<RegionId>(), Err(IdError::RegionReserved { value }));
        }
    }

    #[test]
    fn the_error_says_the_rule() {
        let text = RegionId::new(65_535).unwrap_err().to_string();
        assert!(
            text.starts_with("region id 65535 is reserved; regions are numbered 1..=65534"),
            "{text}"
        );
    }

    #[test]
    fn reserved_numbers_do_not_come_in_through_serde() {
        assert!(serde_json::from_str::<RegionId>("0").is_err());
        assert!(serde_json::from_str::<RegionId>("65535").is_err());
        assert!(rmp_serde::from_slice::<RegionId>(&rmp_serde::to_vec(&0_u16).unwrap()).is_err());
    }
}
