//! The number of an actor or a record inside its region.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id_error::{Excerpt, IdError, canonical_decimal};

/// The number of an actor or a record inside its region: 48 bits, 1..=2^48-1.
///
/// 1..=255 are the well-known services of every region, see [`service`](crate::service); all others come from
/// [`IdAllocator`](crate::IdAllocator) and are given out once, ever.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct LocalId(NonZeroU64);

impl LocalId {
    /// Bits of a local id.
    pub const BITS: u32 = 48;
    /// The lowest local id.
    pub const MIN: LocalId = LocalId(NonZeroU64::MIN);
    /// The last number of the well-known services.
    pub const LAST_SERVICE: LocalId = LocalId::known(255);
    /// The highest local id, 2^48-1.
    pub const MAX: LocalId = LocalId::known((1 << Self::BITS) - 1);

    /// Checks a number and makes it a local id.
    ///
    /// # Errors
    /// [`IdError::LocalReserved`] for 0, [`IdError::LocalOutOfRange`] above 2^48-1.
    pub const fn new(value: u64) -> Result<LocalId, IdError> {
        match NonZeroU64::new(value) {
            Some(id) if value >> Self::BITS == 0 => Ok(LocalId(id)),
            Some(_) => Err(IdError::LocalOutOfRange { value }),
            None => Err(IdError::LocalReserved),
        }
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Whether this is a well-known service's number, 1..=255.
    pub const fn is_service(self) -> bool {
        self.get() <= Self::LAST_SERVICE.get()
    }

    /// For constants of this crate that are known to be in range.
    pub(crate) const fn known(value: u64) -> LocalId {
        match LocalId::new(value) {
            Ok(id) => id,
            Err(_) => panic!("a constant local id is out of range"),
        }
    }
}

impl fmt::Display for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalId({})", self.0)
    }
}

impl FromStr for LocalId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<LocalId, IdError> {
        let malformed =
            IdError::Malformed { what: "local id", form: "'42'", text: Excerpt::new(text) };
        LocalId::new(canonical_decimal(text).ok_or(malformed)?)
    }
}

impl TryFrom<u64> for LocalId {
    type Error = IdError;

    fn try_from(value: u64) -> Result<LocalId, IdError> {
        LocalId::new(value)
    }
}

impl From<LocalId> for u64 {
    fn from(id: LocalId) -> u64 {
        id.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_more_than_48_bits_are_refused_by_name() {
        assert_eq!(LocalId::new(0), Err(IdError::LocalReserved));
        assert_eq!(LocalId::new(1 << 48), Err(IdError::LocalOutOfRange { value: 1 << 48 }));
        assert_eq!(LocalId::new((1 << 48) - 1), Ok(LocalId::MAX));
        assert_eq!("0".parse::<LocalId>(), Err(IdError::LocalReserved));
        assert!(serde_json::from_str::<LocalId>("0").is_err());
    }

    #[test]
    fn services_end_at_255() {
        assert!(LocalId::known(255).is_service());
        assert!(!LocalId::known(256).is_service());
    }
}
