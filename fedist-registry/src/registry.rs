//! Who is in the federation: the state that the registry's log makes.
//!
//! The log has one writer, the master (the root); everybody else holds a prefix of it. The master calls
//! [`propose`](Registry::propose), which checks a change against the rules and appends it; replicas
//! [`apply`](Registry::apply) the entries, which checks the chain and the same rules again. Whoever is behind asks any
//! neighbour with its [`version`](Registry::version) and gets what is missing ([`missing_for`](Registry::missing_for)).
//! A version never goes back: nothing here removes an entry.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{
    Change, Excerpt, Hierarchy, LogEntry, RegionId, RegionName, RegionRecord, Status, Version,
};

/// The federation's regions and the log that made them.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    log: Vec<LogEntry>,
    /// `hashes[i]` is the hash of `log[i]`.
    hashes: Vec<[u8; 32]>,
    regions: BTreeMap<RegionId, RegionRecord>,
    /// The names in use; a region that left gives its name back.
    names: BTreeMap<RegionName, RegionId>,
    /// Who wrote the last [`Change::Master`], if there was one.
    master: Option<RegionId>,
    /// Who elects the master; empty while nobody said so.
    candidates: Vec<RegionId>,
    /// Delegated blocks by their first number: the last number, and who may admit.
    blocks: BTreeMap<RegionId, (RegionId, RegionId)>,
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
    pub fn from_log(log: Vec<LogEntry>) -> Result<Registry, ApplyError> {
        let mut registry = Registry::new();
        for entry in log {
            registry.apply(entry)?;
        }
        Ok(registry)
    }

    /// How far this copy is, and what it says.
    pub fn version(&self) -> Version {
        match (self.log.last(), self.hashes.last()) {
            (Some(entry), Some(hash)) => Version { index: entry.index, hash: *hash },
            _ => Version::EMPTY,
        }
    }

    /// The term of the last entry; 0 for the empty log.
    pub fn term(&self) -> u64 {
        self.log.last().map_or(0, |entry| entry.term)
    }

    /// All entries, in order.
    pub fn log(&self) -> &[LogEntry] {
        &self.log
    }

    /// At most `max` entries that follow entry number `index`.
    pub fn entries_after(&self, index: u64, max: usize) -> &[LogEntry] {
        let rest =
            usize::try_from(index).ok().and_then(|start| self.log.get(start..)).unwrap_or_default();
        rest.get(..max).unwrap_or(rest)
    }

    /// Whether `version` is a point on this log. The empty version is one on every log.
    pub fn agrees_with(&self, version: Version) -> bool {
        match version.index {
            0 => version == Version::EMPTY,
            index => self.hash_at(index) == Some(version.hash),
        }
    }

    /// What somebody at `version` lacks.
    pub fn missing_for(&self, version: Version) -> Pull<'_> {
        if version.index > self.version().index {
            // It is ahead; whether it agrees is for it to say, when this copy asks in turn.
            return Pull::UpToDate;
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
        let head = self.version();
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
        if entry.term < self.term() {
            return Err(ApplyError::StaleTerm { have: self.term(), got: entry.term });
        }
        self.check_term(entry.term, &entry.change)?;
        self.check(&entry.change)?;
        self.append(entry, hash);
        Ok(())
    }

    /// The master's side: checks a change, appends it, and gives the entry to push to the others.
    ///
    /// A [`Change::Join`] of a region that is held with the same key and name becomes a [`Change::Update`] of what differs,
    /// so a region may simply join again whenever it starts.
    ///
    /// # Errors
    /// See [`RegistryError`]; the registry is unchanged then.
    pub fn propose(&mut self, term: u64, change: Change) -> Result<LogEntry, RegistryError> {
        if term < self.term() {
            return Err(RegistryError::StaleTerm { have: self.term(), got: term });
        }
        let change = self.simplify(change);
        self.check_term(term, &change)?;
        self.check(&change)?;
        let head = self.version();
        let entry = LogEntry { term, index: head.index.saturating_add(1), prev: head.hash, change };
        let hash = entry.hash();
        self.append(entry.clone(), hash);
        Ok(entry)
    }

    /// A region's record, tombstones included.
    pub fn get(&self, id: RegionId) -> Option<&RegionRecord> {
        self.regions.get(&id)
    }

    /// The region that has this name now; never a tombstone.
    pub fn by_name(&self, name: &str) -> Option<&RegionRecord> {
        // The borrow of a name's text does not keep the map's order type, so look the name up as one.
        self.names.get(&RegionName::new(name).ok()?).and_then(|id| self.regions.get(id))
    }

    /// All records in the order of their numbers, tombstones included.
    pub fn regions(&self) -> impl Iterator<Item = &RegionRecord> {
        self.regions.values()
    }

    /// The regions that may send and store across regions, in the order of their numbers.
    pub fn live_regions(&self) -> impl Iterator<Item = &RegionRecord> {
        self.regions.values().filter(|record| record.is_live())
    }

    /// Whether `id` may send and store across regions.
    pub fn is_live(&self, id: RegionId) -> bool {
        self.get(id).is_some_and(RegionRecord::is_live)
    }

    /// How many records there are, tombstones included.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether nobody ever joined.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// The region that writes the log as of its last entry: whom the last [`Change::Master`] names, and the root before there
    /// was one.
    pub fn master(&self) -> Option<RegionId> {
        self.master.or_else(|| self.hierarchy().root())
    }

    /// Who elects the master, in the order of their numbers. Empty while no [`Change::Candidates`] was made: the root writes
    /// alone then.
    pub fn candidates(&self) -> &[RegionId] {
        &self.candidates
    }

    /// All delegated blocks: who may admit, and the first and last number.
    pub fn blocks(&self) -> impl Iterator<Item = (RegionId, RegionId, RegionId)> + '_ {
        self.blocks.iter().map(|(first, (last, to))| (*to, *first, *last))
    }

    /// Who may admit a newcomer with this number while the master cannot be reached.
    pub fn delegate_of(&self, id: RegionId) -> Option<RegionId> {
        let (_, (last, to)) = self.blocks.range(..=id).next_back()?;
        (id <= *last).then_some(*to)
    }

    /// The tree of regions.
    pub fn hierarchy(&self) -> Hierarchy<'_> {
        Hierarchy::new(self)
    }

    fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        let at = usize::try_from(index.checked_sub(1)?).ok()?;
        self.hashes.get(at).copied()
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

    /// Only a [`Change::Master`] begins a term, so that every copy knows who may write in it, and it never goes on with one.
    fn check_term(&self, term: u64, change: &Change) -> Result<(), RegistryError> {
        let begins = term > self.term() && !self.log.is_empty();
        if begins == matches!(change, Change::Master(_)) {
            Ok(())
        } else {
            Err(RegistryError::TermWithoutMaster { term })
        }
    }

    /// Whether the rules allow a change now. Every replica must come to the same answer, so only the log's state counts.
    fn check(&self, change: &Change) -> Result<(), RegistryError> {
        match change {
            Change::Join(record) => self.check_join(record),
            Change::Live(id) => match self.known(*id)?.status {
                Status::Joining => Ok(()),
                Status::Live => Err(RegistryError::NoChange { id: *id }),
                Status::Left => Err(RegistryError::NotJoining { id: *id }),
            },
            Change::Update { id, addresses, parent, coordinates } => {
                let held = self.known(*id)?;
                if held.status == Status::Left {
                    return Err(RegistryError::Left { id: *id });
                }
                check_addresses(addresses)?;
                if coordinates.is_some_and(|place| !place.is_valid()) {
                    return Err(RegistryError::BadCoordinates);
                }
                self.check_parent(*id, *parent)?;
                if held.addresses == *addresses
                    && held.parent == *parent
                    && held.coordinates == *coordinates
                {
                    return Err(RegistryError::NoChange { id: *id });
                }
                Ok(())
            }
            Change::Leave(id) => {
                if self.known(*id)?.status == Status::Left {
                    return Err(RegistryError::NoChange { id: *id });
                }
                match self.hierarchy().children(*id).next() {
                    Some(child) => Err(RegistryError::HasChildren { id: *id, child }),
                    None if self.candidates.contains(id) => {
                        Err(RegistryError::IsCandidate { id: *id })
                    }
                    None => Ok(()),
                }
            }
            Change::Master(id) => self.check_live(*id),
            Change::Candidates(ids) => self.check_candidates(ids),
            Change::Delegate { to, first, last } => self.check_block(*to, *first, *last),
        }
    }

    fn check_live(&self, id: RegionId) -> Result<(), RegistryError> {
        match self.known(id)?.status {
            Status::Live => Ok(()),
            Status::Joining | Status::Left => Err(RegistryError::NotLive { id }),
        }
    }

    fn check_candidates(&self, ids: &[RegionId]) -> Result<(), RegistryError> {
        if !matches!(ids.len(), 1 | 3 | 5) || !ids.is_sorted_by(|a, b| a < b) {
            return Err(RegistryError::BadCandidates { count: ids.len() });
        }
        ids.iter().try_for_each(|id| self.check_live(*id))?;
        match self.candidates == ids {
            true => Err(RegistryError::SameCandidates),
            false => Ok(()),
        }
    }

    fn check_block(
        &self,
        to: RegionId,
        first: RegionId,
        last: RegionId,
    ) -> Result<(), RegistryError> {
        self.check_live(to)?;
        if first > last {
            return Err(RegistryError::BadBlock { first, last });
        }
        // Blocks are apart, so the one that begins last before the end is the only one that can overlap and begin before.
        match self.blocks.range(..=last).next_back() {
            Some((held, (end, holder))) if *end >= first => match (*held, *end) == (first, last) {
                true if *holder == to => Err(RegistryError::NoChange { id: to }),
                true => Ok(()),
                false => Err(RegistryError::BlockOverlaps { first: *held, last: *end }),
            },
            _ => Ok(()),
        }
    }

    fn check_join(&self, record: &RegionRecord) -> Result<(), RegistryError> {
        let id = record.id;
        if let Some(held) = self.get(id)
            && held.key_hash != record.key_hash
        {
            return Err(match held.status {
                Status::Left => RegistryError::Left { id },
                _ => RegistryError::IdConflict { id, held_by: held.name.clone() },
            });
        }
        if let Some(by) = self.names.get(&record.name)
            && *by != id
        {
            return Err(RegistryError::NameTaken { name: record.name.clone(), by: *by });
        }
        check_addresses(&record.addresses)?;
        if record.coordinates.is_some_and(|place| !place.is_valid()) {
            return Err(RegistryError::BadCoordinates);
        }
        self.check_parent(id, record.parent)
    }

    /// Regions that have not left form one tree. That stays so if every new parent has not left, and does not have the
    /// region among its own ancestors.
    fn check_parent(&self, id: RegionId, parent: Option<RegionId>) -> Result<(), RegistryError> {
        let Some(parent) = parent else {
            return match self.hierarchy().root() {
                Some(root) if root != id => Err(RegistryError::SecondRoot { id, root }),
                _ => Ok(()),
            };
        };
        if parent == id {
            return Err(RegistryError::ParentLoop { id, parent });
        }
        match self.get(parent) {
            None => return Err(RegistryError::UnknownParent { parent }),
            Some(record) if record.status == Status::Left => {
                return Err(RegistryError::Left { id: parent });
            }
            Some(_) => {}
        }
        if self.hierarchy().ancestors(parent).any(|above| above == id) {
            return Err(RegistryError::ParentLoop { id, parent });
        }
        Ok(())
    }

    fn known(&self, id: RegionId) -> Result<&RegionRecord, RegistryError> {
        self.get(id).ok_or(RegistryError::UnknownRegion { id })
    }

    /// Appends a checked entry and makes its change.
    fn append(&mut self, entry: LogEntry, hash: [u8; 32]) {
        match &entry.change {
            Change::Join(record) => self.put(record.clone()),
            Change::Live(id) => self.set_status(*id, Status::Live),
            Change::Update { id, addresses, parent, coordinates } => {
                if let Some(held) = self.regions.get_mut(id) {
                    held.addresses.clone_from(addresses);
                    held.parent = *parent;
                    held.coordinates = *coordinates;
                }
            }
            Change::Leave(id) => {
                self.set_status(*id, Status::Left);
                self.names.retain(|_, holder| holder != id);
            }
            Change::Master(id) => self.master = Some(*id),
            Change::Candidates(ids) => self.candidates.clone_from(ids),
            Change::Delegate { to, first, last } => {
                self.blocks.insert(*first, (*last, *to));
            }
        }
        self.log.push(entry);
        self.hashes.push(hash);
    }

    fn put(&mut self, mut record: RegionRecord) {
        let id = record.id;
        let held = self.regions.get(&id);
        record.status = match held.map(|held| held.status) {
            Some(Status::Live) => Status::Live,
            _ => Status::Joining,
        };
        self.names.retain(|_, holder| *holder != id);
        self.names.insert(record.name.clone(), id);
        self.regions.insert(id, record);
    }

    fn set_status(&mut self, id: RegionId, status: Status) {
        if let Some(held) = self.regions.get_mut(&id) {
            held.status = status;
        }
    }
}

/// What [`Registry::missing_for`] found.
#[derive(Debug, PartialEq)]
pub enum Pull<'a> {
    /// This copy has nothing for the asker: it has the same log, or a longer one.
    UpToDate,
    /// These follow what the asker has. Send them in chunks.
    Entries(&'a [LogEntry]),
    /// The asker's log is no prefix of this one: one of the two belongs to another federation or to a restored disk.
    Diverged,
}

/// Why an entry was not appended. The registry is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Entries between are missing. Pull from `have` on, then apply it again.
    #[error(
        "registry entry {got} does not follow entry {have}; entries are applied in order; pull the missing ones"
    )]
    Gap {
        /// The last entry that is held.
        have: u64,
        /// The entry that came.
        got: u64,
    },
    /// The entry belongs to another log. The same entry is refused every time; compare versions with the master.
    #[error(
        "registry entry {index} belongs to another log; each entry carries the hash of the one before; compare with the master"
    )]
    HashMismatch {
        /// The entry that came.
        index: u64,
    },
    /// A master that was replaced wrote it. The same entry is refused every time.
    #[error(
        "registry entry of term {got} came after term {have}; terms never fall; pull from the present master"
    )]
    StaleTerm {
        /// The term of the last entry that is held.
        have: u64,
        /// The entry's.
        got: u64,
    },
    /// The entry breaks a rule, so no honest master wrote it for this log. The same entry is refused every time.
    #[error("registry entry breaks a rule: {0}")]
    Rule(#[from] RegistryError),
}

/// Why the master refused a change. The registry is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Another key holds the number. Retry with another number only.
    #[error(
        "region id {id} is held by region '{held_by}' with another key; a number belongs to one key; choose another number"
    )]
    IdConflict {
        /// The number.
        id: RegionId,
        /// Who holds it.
        held_by: RegionName,
    },
    /// Another region has the name. Retry with another name, or when that region left.
    #[error("region name '{name}' is taken by region {by}; names are unique; choose another name")]
    NameTaken {
        /// The name.
        name: RegionName,
        /// Who has it.
        by: RegionId,
    },
    /// The parent is not in the registry. Retry when it has joined.
    #[error(
        "parent region {parent} is unknown; a parent joins before its children; start it first or name another"
    )]
    UnknownParent {
        /// The parent that was asked for.
        parent: RegionId,
    },
    /// The parent is the region itself or below it.
    #[error(
        "region {parent} cannot be the parent of region {id}; it is the same or below it; name another parent"
    )]
    ParentLoop {
        /// The region.
        id: RegionId,
        /// The parent that was asked for.
        parent: RegionId,
    },
    /// Only one region has no parent, and it is another one.
    #[error("region {id} has no parent; only the root, region {root}, has none; name a parent")]
    SecondRoot {
        /// The region.
        id: RegionId,
        /// The root.
        root: RegionId,
    },
    /// No such region ever joined.
    #[error("region {id} is unknown; it never joined this federation; join it first")]
    UnknownRegion {
        /// The number.
        id: RegionId,
    },
    /// The region left, so it cannot become live; it may join again first.
    #[error("region {id} is not joining; only a joining region becomes live; join it again")]
    NotJoining {
        /// The number.
        id: RegionId,
    },
    /// The region left. Its number is kept as a tombstone: not for another key, not as a parent, not for updates.
    #[error(
        "region {id} has left; its number stays with its key; join again with the same key or choose another number"
    )]
    Left {
        /// The number.
        id: RegionId,
    },
    /// Other regions still have it as their parent. Retry when they have another.
    #[error(
        "region {id} is the parent of region {child}; a region leaves after its children; give them another parent"
    )]
    HasChildren {
        /// The region.
        id: RegionId,
        /// One of its children.
        child: RegionId,
    },
    /// It is so already. Treat it as success.
    #[error("region {id} is so already; nothing changes")]
    NoChange {
        /// The region.
        id: RegionId,
    },
    /// Too many addresses.
    #[error("record has {count} addresses; at most 8 are allowed; leave some out")]
    TooManyAddresses {
        /// How many.
        count: usize,
    },
    /// An address that is empty, too long, or not printable ASCII without blanks.
    #[error(
        "address '{address}' is malformed; addresses have 1 to 255 printable ASCII characters; correct it"
    )]
    BadAddress {
        /// Its beginning.
        address: Excerpt,
    },
    /// A term must begin with its master's own entry, and a master's entry begins a term. Final for this entry.
    #[error(
        "term {term} does not begin with its master; the first entry of a term, and no other, names who writes in it; elect or promote"
    )]
    TermWithoutMaster {
        /// The entry's term.
        term: u64,
    },
    /// Only a live region may write, elect or admit. Retry when it is live.
    #[error(
        "region {id} is not live; only a live region may write, elect or admit; wait until it is"
    )]
    NotLive {
        /// The number.
        id: RegionId,
    },
    /// A set of candidates that cannot decide well: its size is even, too large or zero, or it is not in order.
    #[error(
        "{count} candidates are not a set; there are 1, 3 or 5, in the order of their numbers, none twice; correct the list"
    )]
    BadCandidates {
        /// How many were given.
        count: usize,
    },
    /// The candidates are these already. Treat it as success.
    #[error("the candidates are these already; nothing changes")]
    SameCandidates,
    /// The region elects the master. Retry when other candidates are set.
    #[error(
        "region {id} is a candidate for master; a candidate does not leave; set other candidates first"
    )]
    IsCandidate {
        /// The number.
        id: RegionId,
    },
    /// The block's ends are the wrong way round.
    #[error(
        "block {first}..={last} is empty; a block begins at or below its last number; swap them"
    )]
    BadBlock {
        /// The first number.
        first: RegionId,
        /// The last number.
        last: RegionId,
    },
    /// Another block has some of the numbers. Retry with others.
    #[error(
        "the block overlaps block {first}..={last}; delegated blocks are apart; choose other numbers"
    )]
    BlockOverlaps {
        /// The first number of the other block.
        first: RegionId,
        /// The last number of the other block.
        last: RegionId,
    },
    /// Coordinates that are not on the globe.
    #[error(
        "coordinates are not on the globe; latitude is -90..=90, longitude -180..=180; correct them"
    )]
    BadCoordinates,
    /// This master was replaced. Nothing may be proposed in the old term again.
    #[error("term {got} is over; the log is at term {have}; ask the present master")]
    StaleTerm {
        /// The log's term.
        have: u64,
        /// The proposal's.
        got: u64,
    },
}

fn check_addresses(addresses: &[String]) -> Result<(), RegistryError> {
    if addresses.len() > RegionRecord::MAX_ADDRESSES {
        return Err(RegistryError::TooManyAddresses { count: addresses.len() });
    }
    let good = |a: &str| {
        !a.is_empty()
            && a.len() <= RegionRecord::MAX_ADDRESS_LEN
            && a.bytes().all(|b| b.is_ascii_graphic())
    };
    match addresses.iter().find(|address| !good(address)) {
        Some(address) => Err(RegistryError::BadAddress { address: Excerpt::new(address) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
