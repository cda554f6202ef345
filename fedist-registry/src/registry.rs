//! Who is in the federation: the state that the registry's log makes.
//!
//! The log has one writer per term, the master; everybody else holds a prefix of it. The master calls
//! [`propose_signed`](Registry::propose_signed), which checks a change against the rules, signs and appends it; replicas
//! [`apply`](Registry::apply) the entries, which checks the signature, the chain and the same rules again. Whoever is
//! behind asks any neighbour with its [`version`](Registry::version) and gets what is missing
//! ([`missing_for`](Registry::missing_for)): entries, or a [`Snapshot`] of a checkpoint.
//!
//! At each checkpoint entry the state is kept aside as a snapshot, and entries older than the checkpoint before are let
//! go. A version never goes back.

mod error;
mod rules;
mod snapshot;
mod state;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Change, Forwarding, Hierarchy, LocalId, LogEntry, RegionId, RegionKey, RegionName, RegionPid,
    RegionRecord, Status, Version,
};
pub use error::{ApplyError, RegistryError};
pub use snapshot::{BucketHash, Snapshot, SnapshotAssembly, SnapshotError, SnapshotHeader};
use state::State;

/// The federation's regions and the log that made them.
///
/// A clone shares what it can: a few microseconds, whatever the size.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    state: State,
    head: Version,
    /// The term of the last entry.
    term: u64,
    /// The entries that follow `start`, up to the head.
    log: Vec<Arc<LogEntry>>,
    /// `hashes[i]` is the hash of `log[i]`.
    hashes: Vec<[u8; 32]>,
    start: Version,
    /// The state at the last checkpoint.
    base: Option<Arc<Snapshot>>,
    /// Regions that a delegate has admitted and the log does not know yet. No rule and no hash looks at them.
    provisional: Arc<BTreeMap<RegionId, RegionRecord>>,
}

impl Registry {
    /// A federation of nobody.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// The registry that a stored or received log makes.
    ///
    /// # Errors
    /// The first entry's that does not fit, as [`apply`](Self::apply).
    pub fn from_log(log: impl IntoIterator<Item = LogEntry>) -> Result<Registry, ApplyError> {
        Registry::from_parts(None, log)
    }

    /// The registry that a stored snapshot and the stored entries after it make. Entries up to the snapshot are passed
    /// over.
    ///
    /// # Errors
    /// The first entry's that does not fit, as [`apply`](Self::apply).
    pub fn from_parts(
        snapshot: Option<Snapshot>,
        log: impl IntoIterator<Item = LogEntry>,
    ) -> Result<Registry, ApplyError> {
        let mut registry = Registry::new();
        if let Some(snapshot) = snapshot {
            registry.start_from(snapshot);
        }
        let start = registry.head.index;
        for entry in log.into_iter().filter(|entry| entry.index > start) {
            registry.apply(entry)?;
        }
        Ok(registry)
    }

    /// How far this copy is, and what it says.
    pub fn version(&self) -> Version {
        self.head
    }

    /// The term of the last entry; 0 for the empty log.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The entries that are held, in order: all, or those since the last checkpoint but one.
    pub fn log(&self) -> &[Arc<LogEntry>] {
        &self.log
    }

    /// The point on the log after which entries are held.
    pub fn log_start(&self) -> Version {
        self.start
    }

    /// The state at the last checkpoint, if there was one.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.base.as_ref()
    }

    /// At most `max` entries that follow entry number `index`; none where those are not held any more.
    pub fn entries_after(&self, index: u64, max: usize) -> &[Arc<LogEntry>] {
        let rest = index
            .checked_sub(self.start.index)
            .and_then(|skip| self.log.get(usize::try_from(skip).ok()?..))
            .unwrap_or_default();
        rest.get(..max).unwrap_or(rest)
    }

    /// Whether `version` is a point on the log as far as it is held. The empty version is one on every log.
    pub fn agrees_with(&self, version: Version) -> bool {
        match version.index {
            0 => version == Version::EMPTY,
            index => self.hash_at(index) == Some(version.hash),
        }
    }

    /// What somebody at `version` lacks.
    pub fn missing_for(&self, version: Version) -> Pull<'_> {
        if version.index > self.head.index {
            // It is ahead; whether it agrees is for it to say, when this copy asks in turn.
            return Pull::UpToDate;
        }
        if version.index < self.start.index
            && let Some(snapshot) = &self.base
        {
            return Pull::Snapshot(snapshot);
        }
        if !self.agrees_with(version) {
            return Pull::Diverged;
        }
        match self.entries_after(version.index, usize::MAX) {
            [] => Pull::UpToDate,
            entries => Pull::Entries(entries),
        }
    }

    /// Takes an entry from the master, directly or through others. One that is held already changes nothing.
    ///
    /// # Errors
    /// See [`ApplyError`]; the registry is unchanged then.
    pub fn apply(&mut self, entry: LogEntry) -> Result<(), ApplyError> {
        let provisional = std::mem::take(&mut self.provisional);
        let outcome = self.apply_settled(entry);
        self.provisional = provisional;
        outcome
    }

    fn apply_settled(&mut self, entry: LogEntry) -> Result<(), ApplyError> {
        let head = self.head;
        if entry.index <= self.start.index && entry.index > 0 {
            // Let go long ago; what it said is in the state.
            return Ok(());
        }
        let hash = entry.hash();
        if entry.index <= head.index {
            let same = self.hash_at(entry.index) == Some(hash);
            return if same {
                Ok(())
            } else {
                Err(ApplyError::HashMismatch { index: entry.index })
            };
        }
        if entry.index - head.index > 1 {
            return Err(ApplyError::Gap { have: head.index, got: entry.index });
        }
        if entry.prev != head.hash {
            return Err(ApplyError::HashMismatch { index: entry.index });
        }
        if entry.term < self.term {
            return Err(ApplyError::StaleTerm { have: self.term, got: entry.term });
        }
        self.check_term(entry.term, &entry.change)?;
        self.check_seal(&entry, &hash)?;
        self.check(&entry.change)?;
        self.append(entry, hash);
        Ok(())
    }

    /// The master's side: checks a change, signs it, appends it, and gives the entry to push to the others.
    ///
    /// A [`Change::Join`] of a region that is held with the same key and name becomes a [`Change::Update`] of what differs,
    /// so a region may simply join again whenever it starts.
    ///
    /// # Errors
    /// See [`RegistryError`]; the registry is unchanged then.
    pub fn propose_signed(
        &mut self,
        term: u64,
        change: Change,
        signer: RegionId,
        key: &RegionKey,
    ) -> Result<LogEntry, RegistryError> {
        let mut entry = self.draft(term, change)?;
        if !self.settled().may_write(signer, &entry) {
            return Err(RegistryError::NotMaster { id: signer });
        }
        entry.sign(signer, key);
        let hash = entry.hash();
        self.append(entry.clone(), hash);
        Ok(entry)
    }

    /// As [`propose_signed`](Self::propose_signed), without a signature: for models that keep all copies themselves. No
    /// replica takes such an entry.
    ///
    /// # Errors
    /// See [`RegistryError`]; the registry is unchanged then.
    pub fn propose(&mut self, term: u64, change: Change) -> Result<LogEntry, RegistryError> {
        let entry = self.draft(term, change)?;
        let hash = entry.hash();
        self.append(entry.clone(), hash);
        Ok(entry)
    }

    /// The entry that a change would be now, not signed and not appended.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn draft(&self, term: u64, change: Change) -> Result<LogEntry, RegistryError> {
        if !self.provisional.is_empty() {
            return self.settled().draft(term, change);
        }
        if term < self.term {
            return Err(RegistryError::StaleTerm { have: self.term, got: term });
        }
        let change = self.simplify(change);
        self.check_term(term, &change)?;
        self.check(&change)?;
        let Version { index, hash: prev } = self.head;
        Ok(LogEntry { term, index: index.saturating_add(1), prev, change, seal: None })
    }

    /// Whether `every` entries or more were written since the last checkpoint, so that the master writes one now.
    pub fn checkpoint_due(&self, every: u64) -> bool {
        let last = self.base.as_ref().map_or(0, |base| base.version().index);
        self.head.index.saturating_sub(last) >= every.max(1)
    }

    /// The change that makes the present state a checkpoint.
    pub fn checkpoint(&self) -> Change {
        Change::Checkpoint { state_hash: self.state_hash() }
    }

    /// Puts a snapshot in the place of all that is held: for a copy that is too far behind for the entries.
    ///
    /// # Errors
    /// [`SnapshotError::Older`] where this copy is as far already; nothing changes then.
    pub fn install(&mut self, snapshot: Snapshot) -> Result<(), SnapshotError> {
        let (have, got) = (self.head.index, snapshot.version().index);
        if got <= have || snapshot.term() < self.term {
            return Err(SnapshotError::Older { have, got });
        }
        self.start_from(snapshot);
        Ok(())
    }

    /// The canonical hash of the state, the same at every copy of the same log:
    ///
    /// ```text
    /// state  = "fedist registry state 1\n" · order · count u32 · (number u16 · bucket hash [32])...
    /// bucket = "fedist registry bucket 1\n" · count u32 · record... · count u32 · range...
    /// order  = master u16, or 0 for none · count u32 · candidate u16... · count u32 · block...
    /// block  = 3 u32 · to u16 · first u16 · last u16
    /// ```
    ///
    /// Records, ranges and numbers are as [`LogEntry::hash`] says; a bucket has the records and forwardings of 64 consecutive
    /// region numbers, in order; buckets that never had any are absent.
    pub fn state_hash(&self) -> [u8; 32] {
        self.state.hash()
    }

    /// A region's record, tombstones and provisional members included.
    pub fn get(&self, id: RegionId) -> Option<&RegionRecord> {
        match self.provisional.get(&id) {
            Some(record) if self.is_provisional(id) => Some(record),
            _ => self.state.get(id),
        }
    }

    /// Shows these regions as members beside those of the log, until the log itself has them live or gives their numbers to
    /// others, or they are set anew: regions that a delegate has admitted while the master is away. Rules, versions and hashes do not see them.
    pub fn set_provisional(&mut self, records: impl IntoIterator<Item = RegionRecord>) {
        self.provisional =
            Arc::new(records.into_iter().map(|record| (record.id, record)).collect());
    }

    /// Whether a region is a live member by a delegate's word only: the log does not know it, or has it as joining still.
    pub fn is_provisional(&self, id: RegionId) -> bool {
        self.provisional.get(&id).is_some_and(|record| match self.state.get(id) {
            None => true,
            Some(held) => held.status == Status::Joining && held.key_hash == record.key_hash,
        })
    }

    /// This copy without provisional members.
    fn settled(&self) -> Registry {
        Registry { provisional: Arc::default(), ..self.clone() }
    }

    /// The region that has this name now; never a tombstone.
    pub fn by_name(&self, name: &str) -> Option<&RegionRecord> {
        let name = RegionName::new(name).ok()?;
        self.state.by_name(&name).or_else(|| {
            let mut provisional = self.provisional.values();
            provisional.find(|record| record.name == name && self.is_provisional(record.id))
        })
    }

    /// All records in the order of their numbers, tombstones and provisional members included.
    pub fn regions(&self) -> impl Iterator<Item = &RegionRecord> {
        let log = self.state.regions().filter(|record| !self.is_provisional(record.id));
        let mut settled = log.peekable();
        let mut others =
            self.provisional.values().filter(|record| self.is_provisional(record.id)).peekable();
        std::iter::from_fn(move || match (settled.peek(), others.peek()) {
            (Some(one), Some(other)) if other.id < one.id => others.next(),
            (None, Some(_)) => others.next(),
            _ => settled.next(),
        })
    }

    /// The regions that may send and store across regions, in the order of their numbers.
    pub fn live_regions(&self) -> impl Iterator<Item = &RegionRecord> {
        self.regions().filter(|record| record.is_live())
    }

    /// Whether `id` may send and store across regions.
    pub fn is_live(&self, id: RegionId) -> bool {
        self.get(id).is_some_and(RegionRecord::is_live)
    }

    /// How many records there are, tombstones included.
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether nobody ever joined.
    pub fn is_empty(&self) -> bool {
        self.state.len() == 0
    }

    /// The tree of regions.
    pub fn hierarchy(&self) -> Hierarchy<'_> {
        Hierarchy::new(self)
    }

    /// The region that writes the log as of its last entry: whom the last [`Change::Master`] names, and the root before there
    /// was one.
    pub fn master(&self) -> Option<RegionId> {
        self.state.master()
    }

    /// Who elects the master, in the order of their numbers. Empty while no [`Change::Candidates`] was made: the root writes
    /// alone then.
    pub fn candidates(&self) -> &[RegionId] {
        &self.state.order().candidates
    }

    /// All delegated blocks: who may admit, and the first and last number.
    pub fn blocks(&self) -> impl Iterator<Item = (RegionId, RegionId, RegionId)> + '_ {
        self.state.order().blocks.iter().map(|(first, (last, to))| (*to, *first, *last))
    }

    /// Who may admit a newcomer with this number while the master cannot be reached.
    pub fn delegate_of(&self, id: RegionId) -> Option<RegionId> {
        let (_, last, to) = self.state.order().block_before(id)?;
        (id <= last).then_some(to)
    }

    /// All ranges of ids that another region serves than the one in their upper bits.
    pub fn forwardings(&self) -> impl Iterator<Item = &Forwarding> {
        self.state.forwardings()
    }

    /// The region that serves an id: the one in its upper bits, or the one that its range was split off to. `id` is a pid
    /// or a record id.
    pub fn serving(&self, id: impl crate::Homed) -> RegionId {
        self.state.serving(id.home_region(), id.local_id())
    }

    /// Where the actor that a pid names lives: at the pid itself, or at the seat that its range was given in the region
    /// which serves it since a split.
    pub fn seat(&self, pid: RegionPid) -> RegionPid {
        self.state
            .forwarding(pid.region(), pid.local())
            .map_or(pid, |range| range.seat_of(pid.local()))
    }

    /// Who serves local id `local` of `region`; see [`serving`](Self::serving).
    pub fn serving_local(&self, region: RegionId, local: LocalId) -> RegionId {
        self.state.serving(region, local)
    }

    pub(crate) fn root(&self) -> Option<RegionId> {
        self.state.root()
    }

    /// The hash of an entry, as far back as they are held.
    fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        if index == self.start.index && index > 0 {
            return Some(self.start.hash);
        }
        let at = index.checked_sub(self.start.index)?.checked_sub(1)?;
        self.hashes.get(usize::try_from(at).ok()?).copied()
    }

    fn simplify(&self, change: Change) -> Change {
        let Change::Join(mut record) = change else {
            return change;
        };
        record.status = Status::Joining;
        match self.get(record.id) {
            Some(held)
                if held.status != Status::Left
                    && held.key_hash == record.key_hash
                    && held.name == record.name =>
            {
                Change::Update {
                    id: record.id,
                    addresses: record.addresses,
                    parent: record.parent,
                    coordinates: record.coordinates,
                }
            }
            _ => Change::Join(record),
        }
    }

    /// Whether the entry is signed by somebody who may write it. The founder's own record says what its key is.
    fn check_seal(&self, entry: &LogEntry, hash: &[u8; 32]) -> Result<(), ApplyError> {
        let index = entry.index;
        let Some(seal) = entry.seal else {
            return Err(ApplyError::Unsigned { index });
        };
        let signer = seal.signer;
        let founder = match &entry.change {
            Change::Join(record) if self.head == Version::EMPTY => Some(record),
            _ => None,
        };
        if !self.may_write(signer, entry) {
            return Err(ApplyError::NotMaster { index, signer });
        }
        let key_hash = founder.or_else(|| self.get(signer)).map(|record| record.key_hash);
        if key_hash != Some(seal.key.key_hash()) || !seal.covers(hash) {
            return Err(ApplyError::Forged { index, signer });
        }
        Ok(())
    }

    /// Who may write an entry: the founder its own record as the first; who begins a term, its first entry, as one of the
    /// candidates or, where there are none, as the root or a region directly below it; and in the term the master.
    fn may_write(&self, signer: RegionId, entry: &LogEntry) -> bool {
        match &entry.change {
            Change::Join(record) if self.head == Version::EMPTY => record.id == signer,
            Change::Master(id) => {
                let candidates = self.candidates();
                let root = self.root();
                let first =
                    Some(*id) == root || self.get(*id).is_some_and(|record| record.parent == root);
                *id == signer
                    && (if candidates.is_empty() { first } else { candidates.contains(id) })
            }
            _ => self.master() == Some(signer),
        }
    }

    /// Appends a checked entry and makes its change.
    fn append(&mut self, entry: LogEntry, hash: [u8; 32]) {
        self.state.make(&entry.change);
        self.head = Version { index: entry.index, hash };
        self.term = entry.term;
        let is_checkpoint = matches!(entry.change, Change::Checkpoint { .. });
        let entry = Arc::new(entry);
        self.log.push(Arc::clone(&entry));
        self.hashes.push(hash);
        if is_checkpoint {
            let before = self.base.replace(Arc::new(Snapshot::new(entry, self.state.clone())));
            if let Some(before) = before {
                self.let_go(before.version());
            }
        }
    }

    /// Forgets the entries up to a point on the log.
    fn let_go(&mut self, until: Version) {
        let past = until.index.saturating_sub(self.start.index);
        let count = usize::try_from(past).unwrap_or(usize::MAX).min(self.log.len());
        self.log.drain(..count);
        self.hashes.drain(..count);
        self.start = until;
    }

    fn start_from(&mut self, snapshot: Snapshot) {
        let version = snapshot.version();
        *self = Registry {
            provisional: Arc::clone(&self.provisional),
            state: snapshot.state().clone(),
            head: version,
            term: snapshot.term(),
            log: Vec::new(),
            hashes: Vec::new(),
            start: version,
            base: Some(Arc::new(snapshot)),
        };
    }
}

/// What [`Registry::missing_for`] found.
#[derive(Debug, PartialEq)]
pub enum Pull<'a> {
    /// This copy has nothing for the asker: it has the same log, or a longer one.
    UpToDate,
    /// These follow what the asker has. Send them in chunks.
    Entries(&'a [Arc<LogEntry>]),
    /// The entries that follow are not held any more. Send this, then the entries after it.
    Snapshot(&'a Arc<Snapshot>),
    /// The asker's log is no prefix of this one: one of the two belongs to another federation or to a restored disk.
    Diverged,
}

#[cfg(test)]
mod tests;
