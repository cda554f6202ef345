//! Blocks of local ids: what is made durable, so that single ids need not be.

use crate::LocalId;

/// Ids in one block. A crash skips at most this many; with 2^48 ids that is 2^28 crashes.
pub const ID_BLOCK_LEN: u64 = 1 << 20;

/// A run of local ids that belongs to one process of one region, for ever.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct IdBlock {
    /// The first id.
    pub first: u64,
    /// How many there are.
    pub len: u64,
}

impl IdBlock {
    /// Where the first block starts: after the well-known services.
    pub const FIRST: u64 = LocalId::LAST_SERVICE.get() + 1;

    /// The block that starts at `first`, shorter where the 48 bits end; `None` where no id is left or `first` is a service's.
    pub fn starting_at(first: u64) -> Option<IdBlock> {
        if first < Self::FIRST || first > LocalId::MAX.get() {
            return None;
        }
        Some(IdBlock { first, len: ID_BLOCK_LEN.min(LocalId::MAX.get() - first + 1) })
    }

    /// The `len` ids from `first` on; `None` where they reach past the 48 bits, are none, or `first` is a service's.
    pub fn run(first: u64, len: u64) -> Option<IdBlock> {
        let last = first.checked_add(len.checked_sub(1)?)?;
        (first >= Self::FIRST && last <= LocalId::MAX.get()).then_some(IdBlock { first, len })
    }

    /// Whether the id is one of these.
    pub fn contains(&self, id: LocalId) -> bool {
        (self.first..self.end()).contains(&id.get())
    }

    /// The id after the last one.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_start_after_the_services_and_end_with_48_bits() {
        assert_eq!(
            IdBlock::starting_at(IdBlock::FIRST),
            Some(IdBlock { first: 256, len: ID_BLOCK_LEN })
        );
        assert_eq!(IdBlock::starting_at(255), None);
        assert_eq!(
            IdBlock::starting_at(LocalId::MAX.get()),
            Some(IdBlock { first: LocalId::MAX.get(), len: 1 })
        );
        assert_eq!(IdBlock::starting_at(LocalId::MAX.get() + 1), None);
        assert_eq!(IdBlock::starting_at(u64::MAX), None);
    }
}
