//! The fingerprint of a region's key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::hash_bytes;

/// The SHA-256 of a region's public key (its SubjectPublicKeyInfo); the registry's last word on who a region is.
///
/// `Display` prints the first 8 bytes in hex, enough to tell keys apart by eye; [`to_hex`](Self::to_hex) and `FromStr` take
/// all 32. In serde it is bytes, or the full hex in human-readable formats.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(#[serde(with = "hash_bytes")] pub [u8; 32]);

impl KeyHash {
    /// Hashes an encoded public key.
    pub fn of(public_key: &[u8]) -> KeyHash {
        KeyHash(Sha256::digest(public_key).into())
    }

    /// All 32 bytes as lower-case hex.
    pub fn to_hex(&self) -> String {
        hash_bytes::to_hex(&self.0)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(8) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// The text is not a full key hash. Nothing was changed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("malformed key hash; expected 64 lower-case hex digits; copy the whole hash")]
pub struct KeyHashError;

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<KeyHash, KeyHashError> {
        hash_bytes::from_hex(text).map(KeyHash).ok_or(KeyHashError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_hex_json_and_messagepack() {
        let hash = KeyHash::of(b"a key");
        assert_eq!(hash.to_hex().parse(), Ok(hash));
        assert!(hash.to_hex().starts_with(&hash.to_string()));
        assert_eq!(
            serde_json::from_str::<KeyHash>(&serde_json::to_string(&hash).unwrap()).unwrap(),
            hash
        );
        let packed = rmp_serde::to_vec(&hash).unwrap();
        assert_eq!(packed.len(), 34, "a bytes header and the bytes");
        assert_eq!(rmp_serde::from_slice::<KeyHash>(&packed).unwrap(), hash);
    }

    #[test]
    fn other_lengths_and_alphabets_are_refused() {
        let hex = KeyHash::of(b"a key").to_hex();
        for text in [
            "",
            &hex[1..],
            &hex.to_uppercase(),
            &hex.replace(|c: char| c.is_ascii_digit(), "g"),
            &format!("{hex}0"),
        ] {
            assert_eq!(text.parse::<KeyHash>(), Err(KeyHashError), "{text:?}");
        }
        assert!(
            rmp_serde::from_slice::<KeyHash>(&rmp_serde::to_vec(&[1_u8; 31].as_slice()).unwrap())
                .is_err()
        );
    }
}
