//! The registry's log: one change per entry, each chained to the one before by its hash.

use serde::{Deserialize, Serialize};

use crate::{
    Coordinates, Forwarding, RegionId, RegionKey, RegionRecord, Seal,
    canonical_form::CanonicalForm, hash_bytes,
};

/// One change of the federation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A region is admitted: it is *joining* (whatever status the record says), or stays live if it already is and only its
    /// record changes. A region that left may come back with the same key.
    Join(RegionRecord),
    /// A joining region is complete and may send across regions.
    Live(RegionId),
    /// A region's addresses, parent and coordinates are replaced by these, all three.
    Update {
        /// Whose.
        id: RegionId,
        /// Where others can dial it.
        addresses: Vec<String>,
        /// The region above it.
        parent: Option<RegionId>,
        /// Where it is.
        coordinates: Option<Coordinates>,
    },
    /// A region is gone for good and leaves a tombstone.
    Leave(RegionId),
    /// A range of a region's ids, pids and record ids alike, is served by another region from now on; by itself again
    /// where the two are the same. The ids stay what they are.
    Split(Forwarding),
    /// A term begins: from this entry on, and until the next one of this kind, this region writes the log. No term begins
    /// otherwise but the first, which the root's own [`Join`](Self::Join) begins.
    Master(RegionId),
    /// These regions elect the master among themselves, and a majority of them must hold an entry before it counts. None
    /// until the first such change: the root alone writes then.
    Candidates(Vec<RegionId>),
    /// A block of region numbers, from which a region may admit newcomers while the master cannot be reached. The same
    /// block may be given to another region later; blocks never overlap otherwise.
    Delegate {
        /// Who may admit.
        to: RegionId,
        /// The first number of the block.
        first: RegionId,
        /// The last number of the block.
        last: RegionId,
    },
    /// What the log up to here has made. A copy that starts from a snapshot compares it with this.
    Checkpoint {
        /// As [`Registry::state_hash`](crate::Registry::state_hash) gives it.
        #[serde(with = "hash_bytes")]
        state_hash: [u8; 32],
    },
}

impl Change {
    /// The region that changes; none where the change is about the federation's order and not about one region.
    pub fn region(&self) -> Option<RegionId> {
        match self {
            Change::Join(record) => Some(record.id),
            Change::Live(id) | Change::Leave(id) | Change::Update { id, .. } => Some(*id),
            Change::Split(range) => Some(range.from),
            Change::Master(_)
            | Change::Candidates(_)
            | Change::Delegate { .. }
            | Change::Checkpoint { .. } => None,
        }
    }
}

/// One entry of the registry's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The term of the master that wrote it; never falls along the log.
    pub term: u64,
    /// Its place in the log, from 1, without gaps.
    pub index: u64,
    /// The hash of the entry before; zeros for the first.
    #[serde(with = "hash_bytes")]
    pub prev: [u8; 32],
    /// What changes.
    pub change: Change,
    /// The master's signature of [`hash`](Self::hash). Replicas take no entry without one.
    pub seal: Option<Seal>,
}

impl LogEntry {
    /// SHA-256 over the canonical byte form of this entry, which every version of every implementation must keep:
    ///
    /// ```text
    /// entry  = "fedist registry entry 1\n" · term u64 · index u64 · signer u16, or 0 for none · prev [32] · change
    /// change = 1 u8 · record                                     (join)
    ///        | 2 u8 · id u16                                     (live)
    ///        | 3 u8 · id u16 · addresses · region · coordinates  (update)
    ///        | 4 u8 · id u16                                     (leave)
    ///        | 5 u8 · range                                      (split)
    ///        | 6 u8 · state hash [32]                            (checkpoint)
    ///        | 16 u8 · id u16                                    (master)
    ///        | 17 u8 · count u32 · id u16...                     (candidates)
    ///        | 18 u8 · id u16 · first u16 · last u16             (delegate)
    /// record = id u16 · text(name) · region · addresses · key hash [32] · status u8 · coordinates
    /// range  = from u16 · to u16 · first u64 · last u64 · seat u64
    /// region = id u16, or 0 for none                (status: 0 joining, 1 live, 2 left)
    /// addresses   = count u32 · text...             text = length u32 · bytes
    /// coordinates = 0 u8 | 1 u8 · lat f64 · lon f64
    /// ```
    ///
    /// Numbers are big-endian, floats their IEEE bits. Lengths go before contents, so no two entries share a form.
    ///
    /// The signer is under the hash, the signature is not: it signs it.
    pub fn hash(&self) -> [u8; 32] {
        self.hash_signed_by(self.seal.map(|seal| seal.signer))
    }

    /// Signs the entry as `signer`, in place of whoever signed before. Its hash changes with the signer.
    pub fn sign(&mut self, signer: RegionId, key: &RegionKey) {
        self.seal = Some(key.sign(signer, &self.hash_signed_by(Some(signer))));
    }

    /// Whether the entry carries a signature that is the one of the key it names. Whose key that is, the registry says.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some_and(|seal| seal.covers(&self.hash()))
    }

    fn hash_signed_by(&self, signer: Option<RegionId>) -> [u8; 32] {
        let mut form = CanonicalForm::new(b"fedist registry entry 1\n");
        form.number(self.term);
        form.number(self.index);
        form.region(signer);
        form.bytes(&self.prev);
        form.change(&self.change);
        form.finish()
    }

    /// The version of a log that ends with this entry.
    pub fn version(&self) -> Version {
        Version { index: self.index, hash: self.hash() }
    }
}

/// A point on a log: how long it is and what it says, in 40 bytes.
///
/// Two logs with the same version are the same log.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Entries up to here.
    pub index: u64,
    /// The hash of the last of them; zeros for none.
    #[serde(with = "hash_bytes")]
    pub hash: [u8; 32],
}

impl Version {
    /// The version of the empty log.
    pub const EMPTY: Version = Version { index: 0, hash: [0; 32] };
}

impl Default for Version {
    fn default() -> Self {
        Version::EMPTY
    }
}

/// Index and the beginning of the hash: `17@9f86d081`.
impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.index, hash_bytes::to_hex(self.hash.get(..4).unwrap_or_default()))
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({self})")
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::{KeyHash, LocalId, Status};

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn entry(change: Change) -> LogEntry {
        LogEntry { term: 1, index: 1, prev: [0; 32], change, seal: None }
    }

    fn join() -> RegionRecord {
        RegionRecord {
            id: region(1),
            name: "root".parse().unwrap(),
            parent: None,
            addresses: vec!["127.0.0.1:4433".into()],
            key_hash: KeyHash([7; 32]),
            status: Status::Joining,
            coordinates: Coordinates::new(50.0, 8.0),
        }
    }

    #[test]
    fn the_hash_of_a_known_entry_stays_the_same() {
        // Recomputed by hand from the documented form; a change here breaks every federation that has a log.
        let mut form = b"fedist registry entry 1\n".to_vec();
        form.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3]);
        form.extend([0; 32]);
        form.extend([1, 0, 1, 0, 0, 0, 4]);
        form.extend(b"root");
        form.extend([0, 0, 0, 0, 0, 1, 0, 0, 0, 14]);
        form.extend(b"127.0.0.1:4433");
        form.extend([7; 32]);
        form.extend([0, 1]);
        form.extend(50.0_f64.to_be_bytes());
        form.extend(8.0_f64.to_be_bytes());
        let mut entry = entry(Change::Join(join()));
        entry.sign(region(3), &RegionKey::from_seed(&[1; 32]).unwrap());
        assert_eq!(entry.hash(), <[u8; 32]>::from(Sha256::digest(&form)));
    }

    #[test]
    fn every_field_is_under_the_hash() {
        let base = entry(Change::Join(join()));
        let key = RegionKey::from_seed(&[1; 32]).unwrap();
        let local = |local| LocalId::new(local).unwrap();
        let split = |from, to, first, last, seat| {
            let (from, to) = (region(from), region(to));
            let (first, last, seat) = (local(first), local(last), local(seat));
            Change::Split(Forwarding { from, first, last, to, seat })
        };
        let mut others = vec![
            LogEntry { term: 2, ..base.clone() },
            LogEntry { index: 2, ..base.clone() },
            LogEntry { prev: [1; 32], ..base.clone() },
            entry(Change::Live(region(1))),
            entry(Change::Leave(region(1))),
            LogEntry { seal: Some(key.sign(region(1), b"")), ..base.clone() },
            LogEntry { seal: Some(key.sign(region(2), b"")), ..base.clone() },
            entry(split(1, 2, 256, 300, 900)),
            entry(split(2, 1, 256, 300, 900)),
            entry(split(1, 2, 257, 300, 900)),
            entry(split(1, 2, 256, 301, 900)),
            entry(split(1, 2, 256, 300, 901)),
            entry(Change::Master(region(1))),
            entry(Change::Candidates(vec![region(1)])),
            entry(Change::Candidates(vec![region(1), region(2)])),
            entry(Change::Delegate { to: region(1), first: region(2), last: region(3) }),
            entry(Change::Checkpoint { state_hash: [1; 32] }),
            entry(Change::Checkpoint { state_hash: [2; 32] }),
            entry(Change::Update {
                id: region(1),
                addresses: vec![],
                parent: None,
                coordinates: None,
            }),
        ];
        let variants: [fn(&mut RegionRecord); 8] = [
            |r| r.id = RegionId::new(2).unwrap(),
            |r| r.name = "root2".parse().unwrap(),
            |r| r.parent = RegionId::new(2).ok(),
            |r| r.addresses = vec!["127.0.0.1:".into(), "4433".into()],
            |r| r.key_hash = KeyHash([8; 32]),
            |r| r.status = Status::Live,
            |r| r.coordinates = None,
            |r| r.coordinates = Coordinates::new(50.0, 8.5),
        ];
        for vary in variants {
            let mut record = join();
            vary(&mut record);
            others.push(entry(Change::Join(record)));
        }
        let mut hashes: Vec<_> = others.iter().map(LogEntry::hash).collect();
        hashes.push(base.hash());
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn a_signed_entry_that_was_changed_is_not_sealed_any_more() {
        let mut signed = entry(Change::Live(region(1)));
        assert!(!signed.is_sealed(), "nobody signed it yet");
        signed.sign(region(3), &RegionKey::from_seed(&[1; 32]).unwrap());
        assert!(signed.is_sealed());
        assert!(!LogEntry { change: Change::Leave(region(1)), ..signed.clone() }.is_sealed());
        let other = signed.seal.map(|seal| Seal { signer: region(4), ..seal });
        assert!(!LogEntry { seal: other, ..signed }.is_sealed(), "the signer is under the hash");
    }

    #[test]
    fn entries_survive_messagepack_and_json() {
        let changes = [
            Change::Join(join()),
            Change::Live(region(3)),
            Change::Leave(region(4)),
            Change::Candidates(vec![region(4)]),
            Change::Checkpoint { state_hash: [3; 32] },
            Change::Split(Forwarding {
                from: region(1),
                to: region(2),
                first: LocalId::new(256).unwrap(),
                last: LocalId::MAX,
                seat: LocalId::new(256).unwrap(),
            }),
        ];
        for change in changes {
            let mut entry = entry(change);
            entry.sign(region(3), &RegionKey::from_seed(&[1; 32]).unwrap());
            assert_eq!(
                rmp_serde::from_slice::<LogEntry>(&rmp_serde::to_vec(&entry).unwrap()).unwrap(),
                entry
            );
            assert_eq!(
                serde_json::from_str::<LogEntry>(&serde_json::to_string(&entry).unwrap()).unwrap(),
                entry
            );
        }
    }
}
