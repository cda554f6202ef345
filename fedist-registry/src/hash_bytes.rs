//! How 32-byte hashes travel: as bytes in binary formats, as hex text in human-readable ones.

use std::fmt;

use serde::{Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&to_hex(hash))
    } else {
        serializer.serialize_bytes(hash)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[u8; 32], D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(HashVisitor)
    } else {
        deserializer.deserialize_bytes(HashVisitor)
    }
}

/// Lower-case hex of any bytes.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

/// Exactly 64 lower-case hex digits, or nothing.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || text.contains(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let mut hash = [0_u8; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            *byte = (*byte << 4) | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        }
    }
    Some(hash)
}

struct HashVisitor;

impl<'de> de::Visitor<'de> for HashVisitor {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash of 32 bytes, or 64 lower-case hex digits")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; 32], E> {
        from_hex(text).ok_or_else(|| E::custom("malformed hash; expected 64 lower-case hex digits"))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; 32], A::Error> {
        let mut hash = [0_u8; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(at, &self))?;
        }
        match seq.next_element::<u8>()? {
            None => Ok(hash),
            Some(_) => Err(de::Error::invalid_length(33, &self)),
        }
    }
}
