//! A small entry with a cheap hash.

use crate::{
    RegionId, Version,
    quorum::{LogPoint, QuorumEntry},
};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) prev: [u8; 32],
    pub(super) payload: u64,
    pub(super) candidates: Option<Vec<RegionId>>,
}

impl Entry {
    pub(super) fn after(last: LogPoint, term: u64, payload: u64) -> Entry {
        let Version { index, hash } = last.version;
        Entry { term, index: index + 1, prev: hash, payload, candidates: None }
    }

    pub(super) fn setting(last: LogPoint, term: u64, candidates: &[u16]) -> Entry {
        Entry { candidates: Some(regions(candidates)), ..Entry::after(last, term, 0) }
    }
}

impl QuorumEntry for Entry {
    fn point(&self) -> LogPoint {
        // FNV-1a over all that counts: it keeps entries apart, which is all that is asked of it here.
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        let set = self.candidates.iter().flatten().map(|id| u64::from(id.get()));
        let prev =
            self.prev.chunks(8).map(|part| part.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        for word in [self.term, self.index, self.payload].into_iter().chain(prev).chain(set) {
            state = (state ^ word).wrapping_mul(0x0000_0100_0000_01b3);
            state ^= state >> 29;
        }
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&state.to_be_bytes());
        LogPoint { term: self.term, version: Version { index: self.index, hash } }
    }

    fn prev(&self) -> [u8; 32] {
        self.prev
    }

    fn candidates(&self) -> Option<&[RegionId]> {
        self.candidates.as_deref()
    }
}

pub(super) fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

pub(super) fn regions(ids: &[u16]) -> Vec<RegionId> {
    ids.iter().copied().map(region).collect()
}
