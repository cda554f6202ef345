//! What a node keeps on disk about itself: which region it is, its boot count, its id blocks, its copy of the log.
//!
//! The only room of this crate that does I/O: one redb file. Every write is on disk before its method returns.
//!
//! - A lock file beside it (`<file>.lock`) is held while the store is open, so two nodes never share one.
//! - The file is made under another name and renamed when complete, so a crash during the first start leaves nothing that
//!   could be taken for damage.
//! - Commits are two-phase, what must not be forgotten is in the last two of them, and all checksums are read at each
//!   start: damage is reported, never repaired by silently going back to an older state, which would give ids out twice.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use thiserror::Error;

use crate::{
    HeldGrant, IdBlock, KeyHash, LocalId, LogEntry, RegionId, Registry, SnapshotAssembly,
    SnapshotHeader, quorum::Saved,
};

/// A node's file.
///
/// Methods block on the disk. Dropping it closes the file and lets the next process in.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
    /// Held for its lock; the system lets go of it even when the process is killed.
    _lock: File,
}

impl Store {
    /// Opens the file, or makes it (readable by its owner only) where there is none. The directory must exist.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Damaged`], [`StoreError::Full`], [`StoreError::Io`].
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let fails = |error| StoreError::io(path, error);
        let lock =
            private_file(&beside(path, ".lock"), OpenOptions::new().write(true).create(true))
                .map_err(fails)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse { path: path.to_owned() },
            TryLockError::Error(error) => fails(error),
        })?;
        if !path.try_exists().map_err(fails)? {
            create(path)?;
        }
        let file = private_file(path, OpenOptions::new().read(true).write(true)).map_err(fails)?;
        if file.metadata().map_err(fails)?.len() == 0 {
            return Err(StoreError::damaged(path, "the file is empty"));
        }
        let database = open_checked(path, file)?;
        Ok(Store { database, path: path.to_owned(), _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says whose file this is. The first call writes it down; later ones only compare.
    ///
    /// # Errors
    /// [`StoreError::OtherRegion`] or [`StoreError::OtherKey`] where the file belongs to somebody else, or as any write.
    pub fn bind_region(&self, region: RegionId, key_hash: KeyHash) -> Result<(), StoreError> {
        self.write_fact(|txn| {
            let mut numbers = txn.open_table(NUMBERS).map_err(self.redb())?;
            let mut hashes = txn.open_table(HASHES).map_err(self.redb())?;
            let held = match self.number(&numbers, REGION)? {
                Some(value) => Some(self.as_region(value)?),
                None => None,
            };
            let held_key =
                hashes.get(KEY_HASH).map_err(self.redb())?.map(|hash| KeyHash(hash.value()));
            match (held, held_key) {
                (None, None) => {
                    numbers.insert(REGION, u64::from(region.get())).map_err(self.redb())?;
                    hashes.insert(KEY_HASH, key_hash.0).map_err(self.redb())?;
                    Ok(())
                }
                (Some(holds), _) if holds != region => {
                    Err(StoreError::OtherRegion { path: self.path.clone(), holds, asked: region })
                }
                (_, Some(holds)) if holds != key_hash => {
                    Err(StoreError::OtherKey { path: self.path.clone(), holds, asked: key_hash })
                }
                (Some(_), Some(_)) => Ok(()),
                _ => {
                    Err(StoreError::damaged(&self.path, "half of the region's identity is missing"))
                }
            }
        })
    }

    /// Which region's file this is, once [`bind_region`](Self::bind_region) has said so.
    ///
    /// # Errors
    /// As any read.
    pub fn region(&self) -> Result<Option<RegionId>, StoreError> {
        let txn = self.database.begin_read().map_err(self.redb())?;
        let table = match txn.open_table(NUMBERS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(StoreError::redb(&self.path, error)),
        };
        self.number(&table, REGION)?.map(|value| self.as_region(value)).transpose()
    }

    /// Counts this start of the node: 1 at the first, one more at each.
    ///
    /// # Errors
    /// [`StoreError::BootsExhausted`] after 2^32 - 1 starts, or as any write.
    pub fn next_boot(&self) -> Result<u32, StoreError> {
        self.write_fact(|txn| {
            let mut numbers = txn.open_table(NUMBERS).map_err(self.redb())?;
            let last = self.number(&numbers, BOOT)?.unwrap_or(0);
            let boot = u32::try_from(last.saturating_add(1))
                .map_err(|_| StoreError::BootsExhausted { path: self.path.clone() })?;
            numbers.insert(BOOT, u64::from(boot)).map_err(self.redb())?;
            Ok(boot)
        })
    }

    /// A block of ids that no start of this node was ever given.
    ///
    /// # Errors
    /// [`StoreError::IdsExhausted`] past 2^48, or as any write. After an error the block is skipped or still free, never
    /// given to two.
    pub fn reserve_block(&self) -> Result<IdBlock, StoreError> {
        self.reserve(IdBlock::starting_at, false)
    }

    /// As many consecutive ids, under the same promise.
    ///
    /// # Errors
    /// As [`reserve_block`](Self::reserve_block).
    pub fn reserve_run(&self, len: u64) -> Result<IdBlock, StoreError> {
        self.reserve(|next| IdBlock::run(next, len), true)
    }

    /// Whether an id is in a run that was ever [reserved](Self::reserve_run) here.
    ///
    /// # Errors
    /// As any read.
    pub fn is_in_run(&self, id: LocalId) -> Result<bool, StoreError> {
        let txn = self.database.begin_read().map_err(self.redb())?;
        let table = match txn.open_table(RUNS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(false),
            Err(error) => return Err(StoreError::redb(&self.path, error)),
        };
        let mut before = table.range(..=id.get()).map_err(self.redb())?;
        let Some(row) = before.next_back() else {
            return Ok(false);
        };
        let (first, len) = row.map_err(self.redb())?;
        Ok(IdBlock { first: first.value(), len: len.value() }.contains(id))
    }

    fn reserve(
        &self,
        choose: impl FnOnce(u64) -> Option<IdBlock>,
        is_run: bool,
    ) -> Result<IdBlock, StoreError> {
        self.write_fact(|txn| {
            let mut numbers = txn.open_table(NUMBERS).map_err(self.redb())?;
            let next = self.number(&numbers, NEXT_ID)?.unwrap_or(IdBlock::FIRST);
            if next < IdBlock::FIRST {
                return Err(StoreError::damaged(&self.path, "the next local id is a service's"));
            }
            let block =
                choose(next).ok_or_else(|| StoreError::IdsExhausted { path: self.path.clone() })?;
            numbers.insert(NEXT_ID, block.end()).map_err(self.redb())?;
            if is_run {
                let mut runs = txn.open_table(RUNS).map_err(self.redb())?;
                runs.insert(block.first, block.len).map_err(self.redb())?;
            }
            Ok(block)
        })
    }

    /// Adds registry entries. Those that are held already must be the same; the others must follow without a gap.
    ///
    /// # Errors
    /// [`StoreError::LogMismatch`], or as any write; none of `entries` is added then.
    pub fn append_log(&self, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.write_log(entries, false)
    }

    /// Puts another log in place of all that is held, a snapshot included, in one step: for a copy that turned out to be
    /// no prefix of the federation's.
    ///
    /// # Errors
    /// As [`append_log`](Self::append_log); the old log stays then.
    pub fn replace_log(&self, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.write_log(entries, true)
    }

    /// Lets go of the entries after number `index` and adds `entries` in their place, in one step: for a copy whose last
    /// entries were never the federation's.
    ///
    /// # Errors
    /// As [`append_log`](Self::append_log); the old entries stay then.
    pub fn fork_log(&self, index: u64, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.write(|txn| {
            let mut table = txn.open_table(LOG).map_err(self.redb())?;
            table.retain_in(index.saturating_add(1).., |_, _| false).map_err(self.redb())?;
            let mut held = index;
            for entry in entries {
                if entry.index != held.saturating_add(1) {
                    let (path, index) = (self.path.clone(), entry.index);
                    return Err(StoreError::LogMismatch { path, held, index });
                }
                let bytes = rmp_serde::to_vec(entry).map_err(|error| self.not_encoded(error))?;
                table.insert(entry.index, bytes.as_slice()).map_err(self.redb())?;
                held = entry.index;
            }
            Ok(())
        })
    }

    /// Keeps a registry's snapshot and lets go of the entries that the registry has let go of, in one step. Writes only
    /// the buckets that differ from those of the snapshot that was kept before.
    ///
    /// The entries after the snapshot, if there are any, were [appended](Self::append_log) before. A registry without a
    /// snapshot changes nothing.
    ///
    /// # Errors
    /// As any write; all is as it was then.
    pub fn compact(&self, registry: &Registry) -> Result<(), StoreError> {
        let Some(snapshot) = registry.snapshot() else {
            return Ok(());
        };
        let header = snapshot.header();
        let before: BTreeMap<u16, [u8; 32]> = match self.snapshot_header()? {
            Some(held) if held == header => return Ok(()),
            Some(held) => held.buckets.iter().map(|it| (it.0, it.1)).collect(),
            None => BTreeMap::new(),
        };
        let bytes = rmp_serde::to_vec(&header).map_err(|error| self.not_encoded(error))?;
        self.write(|txn| {
            let mut log = txn.open_table(LOG).map_err(self.redb())?;
            log.retain_in(..=registry.log_start().index, |_, _| false).map_err(self.redb())?;
            let mut headers = txn.open_table(HEADERS).map_err(self.redb())?;
            headers.insert(SNAPSHOT, bytes.as_slice()).map_err(self.redb())?;
            let mut buckets = txn.open_table(BUCKETS).map_err(self.redb())?;
            let stays = |number: u16| header.buckets.iter().any(|it| it.0 == number);
            buckets.retain(|number, _| stays(number)).map_err(self.redb())?;
            for it in header.buckets.iter().filter(|it| before.get(&it.0) != Some(&it.1)) {
                let bucket = snapshot.bucket(it.0).unwrap_or_default();
                buckets.insert(it.0, bucket.as_slice()).map_err(self.redb())?;
            }
            Ok(())
        })
    }

    /// The registry as it was made durable last: the snapshot, if one was kept, and the entries after it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where a part cannot be read or does not fit the others, or as any read.
    pub fn load_registry(&self) -> Result<Registry, StoreError> {
        let damaged = |error: &dyn std::fmt::Display| {
            StoreError::damaged(&self.path, &format!("the registry copy: {error}"))
        };
        let snapshot = match self.snapshot_header()? {
            None => None,
            Some(header) => {
                let nobody = |_| None;
                let mut assembly = SnapshotAssembly::new(header, &Registry::new(), None, &nobody)
                    .map_err(|error| damaged(&error))?;
                let txn = self.database.begin_read().map_err(self.redb())?;
                let buckets = txn.open_table(BUCKETS).map_err(self.redb())?;
                for row in buckets.iter().map_err(self.redb())? {
                    let (number, bytes) = row.map_err(self.redb())?;
                    assembly
                        .take(number.value(), 0, bytes.value(), true)
                        .map_err(|error| damaged(&error))?;
                }
                Some(assembly.finish(&nobody).map_err(|error| damaged(&error))?)
            }
        };
        Registry::from_parts(snapshot, self.load_log()?).map_err(|error| damaged(&error))
    }

    /// The registry entries that are held, in order: all, or those since an earlier checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where an entry cannot be read, or as any read.
    pub fn load_log(&self) -> Result<Vec<LogEntry>, StoreError> {
        let txn = self.database.begin_read().map_err(self.redb())?;
        let table = match txn.open_table(LOG) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::redb(&self.path, error)),
        };
        let mut log = Vec::new();
        for row in table.iter().map_err(self.redb())? {
            let (index, bytes) = row.map_err(self.redb())?;
            let entry: LogEntry = rmp_serde::from_slice(bytes.value()).map_err(|error| {
                StoreError::damaged(
                    &self.path,
                    &format!("registry entry {}: {error}", index.value()),
                )
            })?;
            let follows =
                log.last().is_none_or(|before: &LogEntry| before.index + 1 == entry.index);
            if entry.index != index.value() || !follows {
                return Err(StoreError::damaged(
                    &self.path,
                    &format!("registry entry {} is out of place", index.value()),
                ));
            }
            log.push(entry);
        }
        Ok(log)
    }

    /// Keeps what a candidate for master must not forget, in place of what it kept before.
    ///
    /// # Errors
    /// As any write; the old one stays then, or the new one is there: open the store again to know.
    pub fn save_quorum(&self, saved: &Saved) -> Result<(), StoreError> {
        let tail = rmp_serde::to_vec(&saved.tail).map_err(|error| self.not_encoded(error))?;
        self.write_fact(|txn| {
            let mut numbers = txn.open_table(NUMBERS).map_err(self.redb())?;
            numbers.insert(TERM, saved.term).map_err(self.redb())?;
            let vote = saved.vote.map_or(0, |vote| u64::from(vote.get()));
            numbers.insert(VOTE, vote).map_err(self.redb())?;
            let mut headers = txn.open_table(HEADERS).map_err(self.redb())?;
            headers.insert(UNDECIDED, tail.as_slice()).map_err(self.redb())?;
            Ok(())
        })
    }

    /// Keeps the grants of provisional members, in place of those that it kept before.
    ///
    /// # Errors
    /// As any write; the old ones stay then.
    pub fn save_grants(&self, grants: &[HeldGrant]) -> Result<(), StoreError> {
        let bytes = rmp_serde::to_vec(grants).map_err(|error| self.not_encoded(error))?;
        self.write(|txn| {
            let mut headers = txn.open_table(HEADERS).map_err(self.redb())?;
            headers.insert(GRANTS, bytes.as_slice()).map_err(self.redb())?;
            Ok(())
        })
    }

    /// What [`save_grants`](Self::save_grants) kept last.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where they cannot be read, or as any read.
    pub fn load_grants(&self) -> Result<Vec<HeldGrant>, StoreError> {
        let txn = self.database.begin_read().map_err(self.redb())?;
        let headers = match txn.open_table(HEADERS) {
            Ok(headers) => headers,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::redb(&self.path, error)),
        };
        match headers.get(GRANTS).map_err(self.redb())? {
            None => Ok(Vec::new()),
            Some(bytes) => rmp_serde::from_slice(bytes.value())
                .map_err(|error| StoreError::damaged(&self.path, &format!("the grants: {error}"))),
        }
    }

    /// What [`save_quorum`](Self::save_quorum) kept last; nothing where it never did.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it cannot be read, or as any read.
    pub fn load_quorum(&self) -> Result<Saved, StoreError> {
        let txn = self.database.begin_read().map_err(self.redb())?;
        let (numbers, headers) = match (txn.open_table(NUMBERS), txn.open_table(HEADERS)) {
            (Ok(numbers), Ok(headers)) => (numbers, headers),
            (Err(redb::TableError::TableDoesNotExist(_)), _)
            | (_, Err(redb::TableError::TableDoesNotExist(_))) => return Ok(Saved::default()),
            (Err(error), _) | (_, Err(error)) => return Err(StoreError::redb(&self.path, error)),
        };
        let Some(term) = self.number(&numbers, TERM)? else {
            return Ok(Saved::default());
        };
        let vote = match self.number(&numbers, VOTE)? {
            None | Some(0) => None,
            Some(value) => Some(self.as_region(value)?),
        };
        let tail = match headers.get(UNDECIDED).map_err(self.redb())? {
            None => Vec::new(),
            Some(bytes) => rmp_serde::from_slice(bytes.value()).map_err(|error| {
                StoreError::damaged(&self.path, &format!("the undecided entries: {error}"))
            })?,
        };
        Ok(Saved { term, vote, tail })
    }

    fn write_log(&self, entries: &[LogEntry], replace: bool) -> Result<(), StoreError> {
        if entries.is_empty() && !replace {
            return Ok(());
        }
        let compacted = self.snapshot_header()?.map(|header| header.checkpoint.index);
        self.write(|txn| {
            let mut table = txn.open_table(LOG).map_err(self.redb())?;
            if replace {
                table.retain(|_, _| false).map_err(self.redb())?;
            }
            if replace {
                txn.open_table(HEADERS)
                    .map_err(self.redb())?
                    .retain(|_, _| false)
                    .map_err(self.redb())?;
                txn.open_table(BUCKETS)
                    .map_err(self.redb())?
                    .retain(|_, _| false)
                    .map_err(self.redb())?;
            }
            let last = table.last().map_err(self.redb())?.map(|(index, _)| index.value());
            let mut held = last.or(compacted.filter(|_| !replace)).unwrap_or(0);
            for entry in entries {
                let mismatch =
                    StoreError::LogMismatch { path: self.path.clone(), held, index: entry.index };
                let bytes = rmp_serde::to_vec(entry).map_err(|error| self.not_encoded(error))?;
                if entry.index == 0 || entry.index > held.saturating_add(1) {
                    return Err(mismatch);
                }
                if entry.index <= held {
                    let same = table
                        .get(entry.index)
                        .map_err(self.redb())?
                        .is_some_and(|old| old.value() == bytes);
                    if !same {
                        return Err(mismatch);
                    }
                    continue;
                }
                table.insert(entry.index, bytes.as_slice()).map_err(self.redb())?;
                held = entry.index;
            }
            Ok(())
        })
    }

    fn snapshot_header(&self) -> Result<Option<SnapshotHeader>, StoreError> {
        let txn = self.database.begin_read().map_err(self.redb())?;
        let table = match txn.open_table(HEADERS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(StoreError::redb(&self.path, error)),
        };
        let Some(bytes) = table.get(SNAPSHOT).map_err(self.redb())? else {
            return Ok(None);
        };
        rmp_serde::from_slice(bytes.value()).map(Some).map_err(|error| {
            StoreError::damaged(&self.path, &format!("the registry's snapshot: {error}"))
        })
    }

    fn not_encoded(&self, error: rmp_serde::encode::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source: io::Error::other(error) }
    }

    /// As [`write`](Self::write), for what must never be forgotten.
    ///
    /// One byte of the file's header, which says which of the last two commits counts, is under no checksum. So that a
    /// wrong bit there cannot lead back to a time before `work`, a second commit follows; both then know of it.
    fn write_fact<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let value = self.write(work)?;
        self.write(|txn| {
            let mut numbers = txn.open_table(NUMBERS).map_err(self.redb())?;
            let settled = self.number(&numbers, SETTLED)?.unwrap_or(0).wrapping_add(1);
            numbers.insert(SETTLED, settled).map_err(self.redb())?;
            Ok(())
        })?;
        Ok(value)
    }

    /// Runs `work` in a transaction that is on disk when this returns `Ok`, and undone when it does not.
    fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut txn = self.database.begin_write().map_err(self.redb())?;
        txn.set_two_phase_commit(true);
        // An early return drops the transaction, which aborts it.
        let value = work(&txn)?;
        txn.commit().map_err(self.redb())?;
        Ok(value)
    }

    fn number(
        &self,
        table: &impl ReadableTable<&'static str, u64>,
        name: &str,
    ) -> Result<Option<u64>, StoreError> {
        Ok(table.get(name).map_err(self.redb())?.map(|value| value.value()))
    }

    fn as_region(&self, value: u64) -> Result<RegionId, StoreError> {
        let region = u16::try_from(value).ok().and_then(|value| RegionId::new(value).ok());
        region.ok_or_else(|| StoreError::damaged(&self.path, "the region's number is reserved"))
    }

    fn redb<E: Into<redb::Error>>(&self) -> impl Fn(E) -> StoreError + '_ {
        |error| StoreError::redb(&self.path, error)
    }
}

/// Why the store could not be opened, read or written. What it held before is still there, unless a variant says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another part of this one, has it open. Retry when that has ended.
    #[error("store {} is in use; one node uses a data directory at a time; stop the other node or name another directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The contents are not what was written. Every retry fails; nothing was repaired.
    #[error("store {} is damaged ({detail}); a damaged or older copy could give ids out twice; \
             move it away and join under another region id", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file was made for another region. Nothing was changed.
    #[error("store {} belongs to region {holds}, not to region {asked}; a data directory serves one region; name another directory", path.display())]
    OtherRegion {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        holds: RegionId,
        /// Who asked.
        asked: RegionId,
    },
    /// The file was made for another key of the region. Nothing was changed.
    #[error("store {} belongs to key {holds}, not to key {asked}; a region keeps its key; put the old key back or name another directory", path.display())]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        holds: KeyHash,
        /// Who asked.
        asked: KeyHash,
    },
    /// Another log is held, or entries between are missing. None was added; compare versions and pull, or replace the log.
    #[error("registry entry {index} does not fit the {held} entries in store {}; entries follow without gaps; pull the missing ones", path.display())]
    LogMismatch {
        /// The file.
        path: PathBuf,
        /// How many entries are held.
        held: u64,
        /// The entry that does not fit.
        index: u64,
    },
    /// All 2^48 local ids were given out. Final.
    #[error("store {} has no local id left (2^48 were given out); ids are never given twice; use another region id", path.display())]
    IdsExhausted {
        /// The file.
        path: PathBuf,
    },
    /// The node was started 2^32 - 1 times. Final.
    #[error("store {} has no boot number left (2^32 - 1 were used); boots never repeat; use another region id", path.display())]
    BootsExhausted {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full. Nothing was written; reads go on. Free space, open the store again and retry.
    #[error("store {} cannot grow, the disk is full; writes need space; free some and start again", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The system refused a read or a write. A write may or may not have happened; open the store again to know.
    #[error("store {} cannot be used: {source}; check the path, its permissions and the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    fn damaged(path: &Path, detail: &str) -> StoreError {
        // Texts from a damaged file may hold anything.
        StoreError::Damaged {
            path: path.to_owned(),
            detail: detail.chars().take(200).flat_map(char::escape_debug).collect(),
        }
    }

    fn io(path: &Path, source: io::Error) -> StoreError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
            _ => StoreError::Io { path, source },
        }
    }

    fn redb(path: &Path, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            // redb's own word for "this is no redb file".
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                StoreError::damaged(path, &error.to_string())
            }
            redb::Error::Io(error) => StoreError::io(path, error),
            redb::Error::PreviousIo => {
                StoreError::io(path, io::Error::other("an earlier write failed; open it again"))
            }
            other => StoreError::damaged(path, &other.to_string()),
        }
    }
}

const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const HASHES: TableDefinition<'_, &str, [u8; 32]> = TableDefinition::new("hashes");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("registry log");
const RUNS: TableDefinition<'_, u64, u64> = TableDefinition::new("id runs");
const HEADERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registry headers");
const BUCKETS: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("registry buckets");

// Names of rows; they are in users' files and never change.
const REGION: &str = "region";
const BOOT: &str = "boot";
const NEXT_ID: &str = "next id";
const SETTLED: &str = "settled";
const KEY_HASH: &str = "key hash";
const SNAPSHOT: &str = "snapshot";
const TERM: &str = "term";
const VOTE: &str = "vote";
const UNDECIDED: &str = "undecided";
const GRANTS: &str = "grants";

/// Makes a complete, empty store under `path`. The caller holds the lock, so a half-made one is nobody's.
fn create(path: &Path) -> Result<(), StoreError> {
    let fails = |error| StoreError::io(path, error);
    let draft = beside(path, ".new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fails(error)),
        _ => {}
    }
    let file = private_file(&draft, OpenOptions::new().read(true).write(true).create_new(true))
        .map_err(fails)?;
    let database = Database::builder()
        .create_file(file)
        .map_err(|error: DatabaseError| StoreError::redb(path, error))?;
    drop(database);
    File::open(&draft).and_then(|file| file.sync_all()).map_err(fails)?;
    std::fs::rename(&draft, path).map_err(fails)?;
    sync_directory(path).map_err(fails)
}

/// Opens a complete store and reads all of it once against its checksums.
///
/// redb 4.4 trusts its own pages until this check has run, so some damage makes it panic on the way (seen with one flipped
/// bit in the allocator's pages). A node must not die of a bad disk without a word, hence the catch; nothing that was
/// touched by the panic is used afterwards.
fn open_checked(path: &Path, file: File) -> Result<Database, StoreError> {
    let open = || -> Result<Option<Database>, DatabaseError> {
        let mut database = Database::builder().create_file(file)?;
        Ok(database.check_integrity()?.then_some(database))
    };
    match std::panic::catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(Some(database))) => Ok(database),
        Ok(Ok(None)) => Err(StoreError::damaged(path, "an integrity check failed")),
        Ok(Err(error)) => Err(StoreError::redb(path, error)),
        Err(_) => Err(StoreError::damaged(path, "its pages cannot be read")),
    }
}

/// `path` with an ending added to its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Opens a file that only its owner may read.
fn private_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

/// A renamed file outlives a power cut only when its directory is on disk too.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
