//! Which states somebody holds, in a few bytes each.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::RegionId;

/// Regions with the sequence numbers of their states, in the order of the regions' numbers.
///
/// Travels as bytes: per entry the distance from the region before, the start number and the count of the sequence
/// number, each as LEB128; about five bytes where regions are numbered densely. Reading stops at the first entry that
/// breaks a rule (an order that does not rise, a number too large, bytes that end too early) and the whole is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    entries: Vec<(RegionId, u64)>,
}

impl Digest {
    /// Entries in one message, at most: far below 64 KiB even where each takes all of its 13 bytes.
    pub const MAX: usize = 4_096;

    /// Takes the first [`MAX`](Self::MAX) entries; they must come in the rising order of their regions, others are
    /// left out.
    pub fn new(entries: impl IntoIterator<Item = (RegionId, u64)>) -> Digest {
        let mut digest = Digest::default();
        for entry in entries.into_iter().take(Self::MAX) {
            if digest.entries.last().is_none_or(|(last, _)| *last < entry.0) {
                digest.entries.push(entry);
            }
        }
        digest
    }

    /// The entries in the rising order of their regions.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, u64)> {
        self.entries.iter().copied()
    }

    /// The sequence number under a region.
    pub fn get(&self, region: RegionId) -> Option<u64> {
        let at = self.entries.binary_search_by_key(&region, |(held, _)| *held).ok()?;
        self.entries.get(at).map(|(_, seq)| *seq)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * 5);
        let mut before = 0;
        for (region, seq) in &self.entries {
            put(&mut out, u32::from(region.get() - before));
            put(&mut out, (seq >> 32) as u32);
            put(&mut out, *seq as u32);
            before = region.get();
        }
        out
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Digest> {
        let mut entries: Vec<(RegionId, u64)> = Vec::new();
        let mut before = 0_u16;
        while !bytes.is_empty() {
            let distance = u16::try_from(take(&mut bytes)?).ok().filter(|step| *step > 0)?;
            before = before.checked_add(distance)?;
            let region = RegionId::new(before).ok()?;
            let (start, count) = (take(&mut bytes)?, take(&mut bytes)?);
            if entries.len() == Self::MAX {
                return None;
            }
            entries.push((region, (u64::from(start) << 32) | u64::from(count)));
        }
        Some(Digest { entries })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} regions with sequence numbers, in order", Digest::MAX)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
                Digest::from_bytes(bytes)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Bytes(bytes), &self))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

fn put(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u32::from(first & 0x7f);
        if shift == 28 && low > 0xf {
            return None;
        }
        value |= low << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(held in prop::collection::btree_map(1_u16..=65_534, any::<u64>(), 0..50)) {
            let digest = Digest::new(held.iter().map(|(id, seq)| (RegionId::new(*id).unwrap(), *seq)));
            let packed = rmp_serde::to_vec(&digest).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<Digest>(&packed).unwrap(), &digest);
            for (id, seq) in held {
                prop_assert_eq!(digest.get(RegionId::new(id).unwrap()), Some(seq));
            }
        }

        #[test]
        fn any_bytes_are_an_ordered_digest_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(digest) = Digest::from_bytes(&bytes) {
                prop_assert!(digest.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
    }

    #[test]
    fn a_digest_of_a_thousand_regions_takes_less_than_five_kilobytes() {
        let entries = (1..=1_000).map(|id| (RegionId::new(id).unwrap(), (3 << 32) | 900));
        let packed = rmp_serde::to_vec(&Digest::new(entries)).unwrap();
        assert!(packed.len() < 5_000, "{}", packed.len());
    }

    #[test]
    fn more_entries_than_the_bound_are_refused() {
        let line = |count: u16| {
            let one = [1, 0, 0];
            one.iter().copied().cycle().take(usize::from(count) * 3).collect::<Vec<u8>>()
        };
        assert_eq!(Digest::from_bytes(&line(4_096)).unwrap().len(), Digest::MAX);
        assert_eq!(Digest::from_bytes(&line(4_097)), None);
    }
}
