//! Gives out local ids, each one once, ever.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::{IdBlock, LocalId, Store, StoreError};

/// Where an [`IdAllocator`] gets its blocks from.
pub trait BlockSource: Send + Sync {
    /// A block that nobody was ever given, and that nobody else will be, even after a crash right after the return.
    ///
    /// # Errors
    /// See [`AllocError`].
    fn reserve_block(&self) -> Result<IdBlock, AllocError>;

    /// As many consecutive ids, under the same promise.
    ///
    /// # Errors
    /// See [`AllocError`].
    fn reserve_run(&self, len: u64) -> Result<IdBlock, AllocError>;

    /// Whether an id is in a run that was ever reserved.
    ///
    /// # Errors
    /// [`AllocError::Store`].
    fn is_in_run(&self, id: LocalId) -> Result<bool, AllocError>;
}

/// Why there is no new id.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AllocError {
    /// The region has given out all its 2^48 ids. Final: ids never wrap. Nothing was changed.
    #[error(
        "local ids are exhausted (2^48 were given out); ids are never given twice; use another region id"
    )]
    IdsExhausted,
    /// The block could not be made durable. No id was given out; a retry may work once the cause is gone.
    #[error("no block of local ids could be reserved: {0}")]
    Store(#[source] StoreError),
}

/// Gives out local ids, each one once; shared by all threads of a node.
///
/// Takes a block when the first id is asked for and whenever one is used up, so an idle start writes nothing. The ids left
/// in a block when the allocator is dropped are skipped.
pub struct IdAllocator {
    source: Box<dyn BlockSource>,
    unused: Mutex<IdBlock>,
}

impl IdAllocator {
    /// An allocator that holds no block yet.
    pub fn new(source: Box<dyn BlockSource>) -> Self {
        IdAllocator { source, unused: Mutex::new(IdBlock { first: 0, len: 0 }) }
    }

    /// A local id that was never given out before. Blocks for a write to disk once per block.
    ///
    /// # Errors
    /// See [`AllocError`]; nothing is lost then.
    pub fn next(&self) -> Result<LocalId, AllocError> {
        // A panic in the source leaves the old, used-up block, so a poisoned lock still guards a true value.
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len == 0 {
            *unused = self.source.reserve_block()?;
        }
        let id = LocalId::new(unused.first).map_err(|_| AllocError::IdsExhausted)?;
        unused.len = unused.len.checked_sub(1).ok_or(AllocError::IdsExhausted)?;
        unused.first = unused.first.saturating_add(1);
        Ok(id)
    }
}

impl IdAllocator {
    /// A run of local ids for a purpose of its own, none of which [`next`](Self::next) ever gives. Blocks for a write to
    /// disk.
    ///
    /// # Errors
    /// See [`AllocError`]; nothing is lost then.
    pub fn reserve_run(&self, len: u64) -> Result<IdBlock, AllocError> {
        self.source.reserve_run(len)
    }

    /// Whether an id is in a run that was reserved by [`reserve_run`](Self::reserve_run), in this life or an earlier one.
    ///
    /// # Errors
    /// [`AllocError::Store`].
    pub fn is_in_run(&self, id: LocalId) -> Result<bool, AllocError> {
        self.source.is_in_run(id)
    }
}

impl fmt::Debug for IdAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdAllocator").field("unused", &self.unused).finish_non_exhaustive()
    }
}

impl BlockSource for Arc<Store> {
    fn reserve_block(&self) -> Result<IdBlock, AllocError> {
        Store::reserve_block(self).map_err(refused)
    }

    fn reserve_run(&self, len: u64) -> Result<IdBlock, AllocError> {
        Store::reserve_run(self, len).map_err(refused)
    }

    fn is_in_run(&self, id: LocalId) -> Result<bool, AllocError> {
        Store::is_in_run(self, id).map_err(refused)
    }
}

fn refused(error: StoreError) -> AllocError {
    match error {
        StoreError::IdsExhausted { .. } => AllocError::IdsExhausted,
        other => AllocError::Store(other),
    }
}

/// Blocks that are forgotten with the process: for nodes without a data directory, on the memory fabric.
///
/// Keep one source for all lives of a simulated region, else a restarted one gives the same pids again. Clones share
/// their state.
#[derive(Clone, Debug)]
pub struct VolatileBlocks(Arc<Mutex<Volatile>>);

#[derive(Debug)]
struct Volatile {
    next: u64,
    runs: Vec<IdBlock>,
}

impl VolatileBlocks {
    /// Starts with the first block.
    pub fn new() -> Self {
        Self::starting_at(IdBlock::FIRST)
    }

    /// Starts with the block at `first`, for tests of what happens near the end.
    pub fn starting_at(first: u64) -> Self {
        VolatileBlocks(Arc::new(Mutex::new(Volatile { next: first, runs: Vec::new() })))
    }
}

impl Default for VolatileBlocks {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockSource for VolatileBlocks {
    fn reserve_block(&self) -> Result<IdBlock, AllocError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let block = IdBlock::starting_at(held.next).ok_or(AllocError::IdsExhausted)?;
        held.next = block.end();
        Ok(block)
    }

    fn reserve_run(&self, len: u64) -> Result<IdBlock, AllocError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let run = IdBlock::run(held.next, len).ok_or(AllocError::IdsExhausted)?;
        held.next = run.end();
        held.runs.push(run);
        Ok(run)
    }

    fn is_in_run(&self, id: LocalId) -> Result<bool, AllocError> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(held.runs.iter().any(|run| run.contains(id)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Blocks of three ids, every other one refused.
    struct Stubborn(AtomicUsize);

    impl BlockSource for Stubborn {
        fn reserve_block(&self) -> Result<IdBlock, AllocError> {
            let asked = self.0.fetch_add(1, Ordering::SeqCst) as u64;
            if asked.is_multiple_of(2) {
                let path = "store".into();
                return Err(AllocError::Store(StoreError::Full { path }));
            }
            Ok(IdBlock { first: 1_000 * asked, len: 3 })
        }

        fn reserve_run(&self, _: u64) -> Result<IdBlock, AllocError> {
            Err(AllocError::IdsExhausted)
        }

        fn is_in_run(&self, _: LocalId) -> Result<bool, AllocError> {
            Ok(false)
        }
    }

    #[test]
    fn a_refused_block_loses_nothing_and_the_next_ask_tries_again() {
        let ids = IdAllocator::new(Box::new(Stubborn(AtomicUsize::new(0))));
        let mut given = Vec::new();
        let mut refused = 0;
        for _ in 0..9 {
            match ids.next() {
                Ok(id) => given.push(id.get()),
                Err(AllocError::Store(StoreError::Full { .. })) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(given, [1_000, 1_001, 1_002, 3_000, 3_001, 3_002]);
        assert_eq!(refused, 3, "once before each block and once after the second");
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let ids = IdAllocator::new(Box::new(VolatileBlocks::new()));
        let given: Vec<Vec<LocalId>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..2_000).map(|_| ids.next().unwrap()).collect()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: HashSet<_> = given.iter().flatten().collect();
        assert_eq!(distinct.len(), 8_000);
        assert!(distinct.iter().all(|id| !id.is_service()));
    }

    #[test]
    fn a_run_is_never_given_out_one_by_one() {
        let ids = IdAllocator::new(Box::new(VolatileBlocks::new()));
        let before = ids.next().unwrap();
        let run = ids.reserve_run(3 * crate::ID_BLOCK_LEN).unwrap();
        for _ in 0..=crate::ID_BLOCK_LEN {
            let id = ids.next().unwrap().get();
            assert!(id < run.first || id >= run.end());
        }
        assert!(before.get() < run.first);
        let in_run = |id: u64| ids.is_in_run(LocalId::new(id).unwrap()).unwrap();
        assert!(in_run(run.first) && in_run(run.end() - 1));
        assert!(!in_run(run.first - 1) && !in_run(run.end()));
        assert!(ids.reserve_run(0).is_err());
        assert!(matches!(ids.reserve_run(u64::MAX), Err(AllocError::IdsExhausted)));
        assert!(matches!(ids.reserve_run(LocalId::MAX.get()), Err(AllocError::IdsExhausted)));
    }

    #[test]
    fn ids_end_and_never_wrap() {
        let ids = IdAllocator::new(Box::new(VolatileBlocks::starting_at(LocalId::MAX.get() - 1)));
        assert_eq!(ids.next().unwrap().get(), LocalId::MAX.get() - 1);
        assert_eq!(ids.next().unwrap(), LocalId::MAX);
        for _ in 0..3 {
            assert!(matches!(ids.next(), Err(AllocError::IdsExhausted)));
        }
    }
}
