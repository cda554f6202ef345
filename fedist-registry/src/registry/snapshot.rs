//! The state at a checkpoint, and how it travels: bucket by bucket, each checked against a hash that the master signed.
//!
//! The [`SnapshotHeader`] has the hashes of all buckets; together they give the hash that the checkpoint entry carries, so
//! a header is known to be right before the first bucket comes, and each bucket when it comes, whoever sent it. Buckets
//! that the receiver has already are not sent at all. Large buckets travel in pieces.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Registry;
use super::state::{Bucket, Order, State, hash_of_state};
use crate::{
    Change, Forwarding, KeyHash, LogEntry, RegionId, RegionRecord, Status, Version, hash_bytes,
};

/// The state at a checkpoint, with the signed entry that vouches for it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    checkpoint: Arc<LogEntry>,
    version: Version,
    state: State,
}

/// Two snapshots are the same when their checkpoints are.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Snapshot) -> bool {
        self.checkpoint == other.checkpoint
    }
}

impl Snapshot {
    pub(super) fn new(checkpoint: Arc<LogEntry>, state: State) -> Snapshot {
        Snapshot { version: checkpoint.version(), checkpoint, state }
    }

    /// The point on the log that it stands for.
    pub fn version(&self) -> Version {
        self.version
    }

    pub(super) fn term(&self) -> u64 {
        self.checkpoint.term
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// What a receiver needs to know before the buckets; at most about 40 KiB beside the delegated blocks.
    pub fn header(&self) -> SnapshotHeader {
        SnapshotHeader {
            checkpoint: LogEntry::clone(&self.checkpoint),
            order: self.state.order().clone(),
            buckets: self
                .state
                .buckets()
                .map(|(number, bucket)| BucketHash(number, bucket.hash()))
                .collect(),
        }
    }

    /// A bucket as bytes, MessagePack of its records and forwardings; none where there is no such bucket.
    pub fn bucket(&self, number: u16) -> Option<Vec<u8>> {
        let bucket = self.state.bucket(number)?;
        rmp_serde::to_vec(&(bucket.records(), bucket.forwardings())).ok()
    }
}

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// The entry that the master signed over the state's hash.
    pub checkpoint: LogEntry,
    /// The master, the candidates, the delegated blocks.
    pub(crate) order: Order,
    /// The buckets in the order of their numbers.
    pub buckets: Vec<BucketHash>,
}

/// One bucket of a snapshot.
///
/// A tuple, so that the hashes of 1,024 buckets fit one frame: names of fields would not.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketHash(
    /// Region numbers divided by 64.
    pub u16,
    /// See [`Registry::state_hash`].
    #[serde(with = "hash_bytes")]
    pub [u8; 32],
);

/// A snapshot that is on its way here.
///
/// It outlives the peer that it came from: any region with the same checkpoint can send the rest.
#[derive(Clone, Debug)]
pub struct SnapshotAssembly {
    header: SnapshotHeader,
    version: Version,
    done: BTreeMap<u16, Arc<Bucket>>,
    /// The beginnings of buckets that come in pieces.
    begun: BTreeMap<u16, Vec<u8>>,
}

impl SnapshotAssembly {
    /// Bytes of one bucket, at most: 64 records and all their forwardings fit.
    pub const MAX_BUCKET_BYTES: usize = 512 << 10;

    /// Checks a header and starts to gather. `proven` gives the key that a region has proven on a link of its own, where
    /// there is one: what a newcomer has to go by. Buckets that `registry` has, or `earlier` had, are not asked for again.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn new(
        header: SnapshotHeader,
        registry: &Registry,
        earlier: Option<SnapshotAssembly>,
        proven: &dyn Fn(RegionId) -> Option<KeyHash>,
    ) -> Result<SnapshotAssembly, SnapshotError> {
        let version = header.checkpoint.version();
        let (have, got) = (registry.version().index, version.index);
        if got <= have || header.checkpoint.term < registry.term() {
            return Err(SnapshotError::Older { have, got });
        }
        let Change::Checkpoint { state_hash } = header.checkpoint.change else {
            return Err(SnapshotError::NoCheckpoint);
        };
        let ordered = header.buckets.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
        let hashes: Vec<(u16, [u8; 32])> =
            header.buckets.iter().map(|bucket| (bucket.0, bucket.1)).collect();
        if !ordered || hash_of_state(&header.order, &hashes) != state_hash {
            return Err(SnapshotError::WrongHash);
        }
        let Some(seal) = header.checkpoint.seal.filter(|_| header.checkpoint.is_sealed()) else {
            return Err(SnapshotError::Forged);
        };
        // A key that is known from elsewhere must be that of the seal.
        let held = registry.get(seal.signer).map(|record| record.key_hash);
        let known = held.into_iter().chain(proven(seal.signer));
        if known.into_iter().any(|key| key != seal.key.key_hash()) {
            return Err(SnapshotError::Forged);
        }
        let mut done = BTreeMap::new();
        for BucketHash(number, hash) in &header.buckets {
            let held = registry.state.bucket(*number);
            let gathered = earlier.as_ref().and_then(|earlier| earlier.done.get(number));
            if let Some(same) = held.into_iter().chain(gathered).find(|it| it.hash() == *hash) {
                done.insert(*number, Arc::clone(same));
            }
        }
        Ok(SnapshotAssembly { header, version, done, begun: BTreeMap::new() })
    }

    /// The checkpoint that is gathered for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The buckets that are missing, each with how many bytes of it are here.
    pub fn missing(&self) -> impl Iterator<Item = (u16, usize)> {
        let lacks = |bucket: &&BucketHash| !self.done.contains_key(&bucket.0);
        let here = |number: u16| self.begun.get(&number).map_or(0, Vec::len);
        let numbers = self.header.buckets.iter().filter(lacks).map(|bucket| bucket.0);
        numbers.map(move |number| (number, here(number)))
    }

    /// Whether all buckets are here.
    pub fn is_complete(&self) -> bool {
        self.done.len() == self.header.buckets.len()
    }

    /// Takes a piece of a bucket. A piece that does not continue what is here is passed over.
    ///
    /// # Errors
    /// [`SnapshotError::WrongHash`] where the bucket is not what the header says; it is asked for anew then.
    pub fn take(
        &mut self,
        number: u16,
        offset: usize,
        bytes: &[u8],
        last: bool,
    ) -> Result<(), SnapshotError> {
        let expected = self.header.buckets.iter().find(|bucket| bucket.0 == number);
        let (Some(expected), false) = (expected, self.done.contains_key(&number)) else {
            return Ok(());
        };
        let hash = expected.1;
        let begun = self.begun.entry(number).or_default();
        if begun.len() != offset {
            return Ok(());
        }
        if begun.len().saturating_add(bytes.len()) > Self::MAX_BUCKET_BYTES {
            self.begun.remove(&number);
            return Err(SnapshotError::WrongHash);
        }
        begun.extend_from_slice(bytes);
        if !last {
            return Ok(());
        }
        let whole = self.begun.remove(&number).unwrap_or_default();
        let (records, forwardings): (Vec<RegionRecord>, Vec<Forwarding>) =
            rmp_serde::from_slice(&whole).map_err(|_| SnapshotError::WrongHash)?;
        let bucket = Bucket::checked(number, records, forwardings)
            .filter(|bucket| bucket.hash() == hash)
            .ok_or(SnapshotError::WrongHash)?;
        self.done.insert(number, Arc::new(bucket));
        Ok(())
    }

    /// The snapshot, once all buckets are here.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`]; [`SnapshotError::Forged`] where the state itself says that the signer is not the
    /// master or has another key, or where a region has proven another key than its record says.
    pub fn finish(
        self,
        proven: &dyn Fn(RegionId) -> Option<KeyHash>,
    ) -> Result<Snapshot, SnapshotError> {
        if !self.is_complete() {
            return Err(SnapshotError::Incomplete);
        }
        let state = State::of_buckets(self.done, self.header.order);
        let seal = self.header.checkpoint.seal.ok_or(SnapshotError::Forged)?;
        let is_master = state.master() == Some(seal.signer);
        let key = state.get(seal.signer).map(|record| record.key_hash);
        let agrees = |record: &RegionRecord| {
            record.status == Status::Left
                || proven(record.id).is_none_or(|key| key == record.key_hash)
        };
        if !is_master || key != Some(seal.key.key_hash()) || !state.regions().all(agrees) {
            return Err(SnapshotError::Forged);
        }
        Ok(Snapshot { checkpoint: Arc::new(self.header.checkpoint), version: self.version, state })
    }
}

/// Why a snapshot was not taken. Nothing was changed; fetch it from another region.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// This copy is as far already.
    #[error(
        "snapshot at entry {got} is no news at entry {have}; versions never go back; pull entries"
    )]
    Older {
        /// The entry that this copy ends with.
        have: u64,
        /// The snapshot's.
        got: u64,
    },
    /// The entry that should vouch for it is no checkpoint.
    #[error(
        "snapshot without a checkpoint entry; a checkpoint vouches for each; fetch from another region"
    )]
    NoCheckpoint,
    /// A part is not what the checkpoint's hash says.
    #[error(
        "snapshot part with a wrong hash; the master signed another state; fetch from another region"
    )]
    WrongHash,
    /// The checkpoint is not signed by the master, as far as that is known here.
    #[error(
        "snapshot is not signed by the registry's master; the master signs checkpoints; fetch from another region"
    )]
    Forged,
    /// Buckets are missing.
    #[error("snapshot is incomplete; all buckets are needed; fetch the missing ones")]
    Incomplete,
}
