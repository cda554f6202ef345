//! The shared shape of `RegionPid` and `RecordId`: 16 bits of region, 48 bits of local id, in one `u64`.

/// Defines one 16 + 48 bit id with its text form, so that the two kinds cannot drift apart and cannot be mixed up.
macro_rules! packed_id {
    ($(#[$doc:meta])* $name:ident, what: $what:literal, form: $form:literal, separator: $separator:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(std::num::NonZeroU64);

        impl $name {
            /// Puts the two parts together.
            pub const fn new(region: crate::RegionId, local: crate::LocalId) -> Self {
                let bits = ((region.get() as u64) << crate::LocalId::BITS) | local.get();
                match std::num::NonZeroU64::new(bits) {
                    Some(bits) => $name(bits),
                    // Not reached: neither part is zero.
                    None => $name(std::num::NonZeroU64::MAX),
                }
            }

            /// The region that it belongs to: the upper 16 bits.
            pub const fn region(self) -> crate::RegionId {
                match crate::RegionId::new((self.to_bits() >> crate::LocalId::BITS) as u16) {
                    Ok(region) => region,
                    // Not reached: `new` and `from_bits` let only valid parts in.
                    Err(_) => crate::RegionId::MIN,
                }
            }

            /// The number inside the region: the lower 48 bits.
            pub const fn local(self) -> crate::LocalId {
                match crate::LocalId::new(self.to_bits() & crate::LocalId::MAX.get()) {
                    Ok(local) => local,
                    // Not reached, as above.
                    Err(_) => crate::LocalId::MIN,
                }
            }

            /// Whether the local part is a well-known service's, 1..=255.
            pub const fn is_service(self) -> bool {
                self.local().is_service()
            }

            /// The 64 bits, for wire formats.
            pub const fn to_bits(self) -> u64 {
                self.0.get()
            }

            /// Back from [`to_bits`](Self::to_bits).
            ///
            /// # Errors
            /// [`IdError::RegionReserved`](crate::IdError::RegionReserved) or
            /// [`IdError::LocalReserved`](crate::IdError::LocalReserved), for the part that is reserved.
            pub const fn from_bits(bits: u64) -> Result<Self, crate::IdError> {
                let region = match crate::RegionId::new((bits >> crate::LocalId::BITS) as u16) {
                    Ok(region) => region,
                    Err(error) => return Err(error),
                };
                match crate::LocalId::new(bits & crate::LocalId::MAX.get()) {
                    Ok(local) => Ok(Self::new(region, local)),
                    Err(error) => Err(error),
                }
            }

            /// The same bit pattern as an SQL `bigint`; negative for regions from 32768 up.
            pub const fn to_i64(self) -> i64 {
                self.to_bits() as i64
            }

            /// Back from [`to_i64`](Self::to_i64).
            ///
            /// # Errors
            /// As [`from_bits`](Self::from_bits).
            pub const fn from_i64(bits: i64) -> Result<Self, crate::IdError> {
                Self::from_bits(bits as u64)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!("{}", $separator, "{}"), self.region(), self.local())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::IdError;

            fn from_str(text: &str) -> Result<Self, crate::IdError> {
                let malformed =
                    crate::IdError::Malformed { what: $what, form: $form, text: crate::Excerpt::new(text) };
                // Both parts must have the right form before either one's range is judged.
                let (region, local) = text.split_once($separator).ok_or(malformed)?;
                for part in [region, local] {
                    crate::id_error::canonical_decimal(part).ok_or(malformed)?;
                }
                Ok(Self::new(region.parse()?, local.parse()?))
            }
        }

        impl TryFrom<u64> for $name {
            type Error = crate::IdError;

            fn try_from(bits: u64) -> Result<Self, crate::IdError> {
                Self::from_bits(bits)
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> u64 {
                id.to_bits()
            }
        }
    };
}

pub(crate) use packed_id;
