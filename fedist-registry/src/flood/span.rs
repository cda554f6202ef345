//! Parts of the space of region numbers, and what two neighbours hash to compare them.

use serde::{Deserialize, Serialize};

use crate::RegionId;

/// A part of the region numbers: all, one of 64 blocks of 1,024, or one of 4,096 rows of 16.
///
/// The parts of a part are its 64 children, so two databases are compared from the whole to the rows that differ.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Span {
    level: u8,
    index: u16,
}

impl Span {
    /// All regions.
    pub const ALL: Span = Span { level: 0, index: 0 };
    /// Into how many parts a part falls.
    pub const PARTS: usize = 64;

    /// The parts of this one, in order; none for a row.
    pub fn parts(self) -> impl Iterator<Item = Span> {
        let count = if self.level < 2 { Self::PARTS as u16 } else { 0 };
        (0..count).map(move |part| Span { level: self.level + 1, index: self.index * 64 + part })
    }

    /// Which part of this one a region belongs to, if it is in it at all.
    pub fn part_of(self, region: RegionId) -> Option<usize> {
        let bits = self.bits();
        let inside = u32::from(region.get()) >> bits == u32::from(self.index);
        (inside && bits >= 6).then(|| usize::from(region.get() >> (bits - 6)) % Self::PARTS)
    }

    /// How many numbers are in it.
    pub fn width(self) -> u32 {
        1 << self.bits()
    }

    /// Whether it has parts.
    pub fn has_parts(self) -> bool {
        self.level < 2
    }

    /// The regions in it.
    pub fn regions(self) -> impl Iterator<Item = RegionId> {
        let first = u32::from(self.index) << self.bits();
        (first..first + self.width())
            .filter_map(|number| RegionId::new(u16::try_from(number).ok()?).ok())
    }

    /// The numbers in it as powers of two: 65,536, 1,024, 16.
    fn bits(self) -> u32 {
        16 - 6 * u32::from(self.level)
    }
}

/// The level in the upper four bits.
impl From<Span> for u16 {
    fn from(span: Span) -> u16 {
        (u16::from(span.level) << 12) | span.index
    }
}

impl TryFrom<u16> for Span {
    type Error = &'static str;

    fn try_from(packed: u16) -> Result<Span, &'static str> {
        let (level, index) = ((packed >> 12) as u8, packed & 0xfff);
        match (level, index) {
            (0, 0) | (1, 0..64) | (2, _) => Ok(Span { level, index }),
            _ => Err("a part of the region numbers: 0, 0x1000..0x1040 or 0x2000..0x3000"),
        }
    }
}

/// One state's share in the hash of its part; shares are added up. The finalizer of SplitMix64 (Steele, Lea and Flood,
/// 2014), which spreads every bit of its input. It keeps chance apart, not malice: whoever finds two states with one
/// hash can hide only what the next change shows.
pub(super) fn share(region: RegionId, seq: u64) -> u64 {
    let start = seq ^ u64::from(region.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (start ^ (start >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_in_one_block_and_one_row() {
        for number in [1, 15, 16, 1_023, 1_024, 40_000, 65_534] {
            let region = RegionId::new(number).unwrap();
            let mut span = Span::ALL;
            while span.has_parts() {
                let part = span.part_of(region).unwrap();
                let holding: Vec<Span> =
                    span.parts().filter(|part| part.regions().any(|held| held == region)).collect();
                assert_eq!(holding.len(), 1);
                assert_eq!(span.parts().nth(part), Some(holding[0]));
                span = holding[0];
            }
            assert_eq!(span.width(), 16);
            assert_eq!(span.parts().count(), 0);
        }
        assert_eq!(Span::ALL.regions().count(), 65_534);
        let block = Span::ALL.parts().nth(3).unwrap();
        assert_eq!(block.part_of(RegionId::new(5).unwrap()), None);
    }

    #[test]
    fn a_part_that_does_not_exist_is_refused() {
        for span in Span::ALL.parts().chain(Span::ALL.parts().flat_map(Span::parts)) {
            assert_eq!(Span::try_from(u16::from(span)), Ok(span));
        }
        for packed in [1, 0x1040, 0x3000, 0xffff] {
            assert!(Span::try_from(packed).is_err(), "{packed:#x}");
        }
    }
}
