//! The registry's log: one change per entry, each chained to the one before by its hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Coordinates, RegionId, RegionRecord, Status, hash_bytes};

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
}

impl Change {
    /// The region that changes; none where the change is about the federation's order and not about one region.
    pub fn region(&self) -> Option<RegionId> {
        match self {
            Change::Join(record) => Some(record.id),
            Change::Live(id) | Change::Leave(id) | Change::Update { id, .. } => Some(*id),
            Change::Master(_) | Change::Candidates(_) | Change::Delegate { .. } => None,
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
}

impl LogEntry {
    /// SHA-256 over the canonical byte form of this entry, which every version of every implementation must keep:
    ///
    /// ```text
    /// entry  = "fedist registry entry 1\n" · term u64 · index u64 · prev [32] · change
    /// change = 1 u8 · record                                     (join)
    ///        | 2 u8 · id u16                                     (live)
    ///        | 3 u8 · id u16 · addresses · region · coordinates  (update)
    ///        | 4 u8 · id u16                                     (leave)
    ///        | 16 u8 · id u16                                    (master)
    ///        | 17 u8 · count u32 · id u16...                     (candidates)
    ///        | 18 u8 · id u16 · first u16 · last u16             (delegate)
    /// record = id u16 · text(name) · region · addresses · key hash [32] · status u8 · coordinates
    /// region = id u16, or 0 for none                (status: 0 joining, 1 live, 2 left)
    /// addresses   = count u32 · text...             text = length u32 · bytes
    /// coordinates = 0 u8 | 1 u8 · lat f64 · lon f64
    /// ```
    ///
    /// Numbers are big-endian, floats their IEEE bits. Lengths go before contents, so no two entries share a form.
    pub fn hash(&self) -> [u8; 32] {
        let mut form = CanonicalForm(Sha256::new());
        form.bytes(b"fedist registry entry 1\n");
        form.bytes(&self.term.to_be_bytes());
        form.bytes(&self.index.to_be_bytes());
        form.bytes(&self.prev);
        form.change(&self.change);
        form.0.finalize().into()
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

struct CanonicalForm(Sha256);

impl CanonicalForm {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Join(record) => {
                self.bytes(&[1]);
                self.record(record);
            }
            Change::Live(id) => {
                self.bytes(&[2]);
                self.region(Some(*id));
            }
            Change::Update { id, addresses, parent, coordinates } => {
                self.bytes(&[3]);
                self.region(Some(*id));
                self.addresses(addresses);
                self.region(*parent);
                self.coordinates(coordinates.as_ref());
            }
            Change::Leave(id) => {
                self.bytes(&[4]);
                self.region(Some(*id));
            }
            Change::Master(id) => {
                self.bytes(&[16]);
                self.region(Some(*id));
            }
            Change::Candidates(ids) => {
                self.bytes(&[17]);
                self.length(ids.len());
                for id in ids {
                    self.region(Some(*id));
                }
            }
            Change::Delegate { to, first, last } => {
                self.bytes(&[18]);
                for id in [to, first, last] {
                    self.region(Some(*id));
                }
            }
        }
    }

    fn record(&mut self, record: &RegionRecord) {
        self.region(Some(record.id));
        self.text(record.name.as_str());
        self.region(record.parent);
        self.addresses(&record.addresses);
        self.bytes(&record.key_hash.0);
        self.bytes(&[match record.status {
            Status::Joining => 0,
            Status::Live => 1,
            Status::Left => 2,
        }]);
        self.coordinates(record.coordinates.as_ref());
    }

    fn region(&mut self, region: Option<RegionId>) {
        self.bytes(&region.map_or(0, RegionId::get).to_be_bytes());
    }

    fn addresses(&mut self, addresses: &[String]) {
        self.length(addresses.len());
        for address in addresses {
            self.text(address);
        }
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    fn length(&mut self, len: usize) {
        // What does not fit 32 bits does not fit a frame either, so no two entries that exist meet here.
        self.bytes(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn coordinates(&mut self, coordinates: Option<&Coordinates>) {
        match coordinates {
            None => self.bytes(&[0]),
            Some(place) => {
                self.bytes(&[1]);
                self.bytes(&place.lat.to_bits().to_be_bytes());
                self.bytes(&place.lon.to_bits().to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyHash;

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn entry(change: Change) -> LogEntry {
        LogEntry { term: 1, index: 1, prev: [0; 32], change }
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
        form.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        form.extend([0; 32]);
        form.extend([1, 0, 1, 0, 0, 0, 4]);
        form.extend(b"root");
        form.extend([0, 0, 0, 0, 0, 1, 0, 0, 0, 14]);
        form.extend(b"127.0.0.1:4433");
        form.extend([7; 32]);
        form.extend([0, 1]);
        form.extend(50.0_f64.to_be_bytes());
        form.extend(8.0_f64.to_be_bytes());
        assert_eq!(entry(Change::Join(join())).hash(), <[u8; 32]>::from(Sha256::digest(&form)));
    }

    #[test]
    fn every_field_is_under_the_hash() {
        let base = entry(Change::Join(join()));
        let mut others = vec![
            LogEntry { term: 2, ..base.clone() },
            LogEntry { index: 2, ..base.clone() },
            LogEntry { prev: [1; 32], ..base.clone() },
            entry(Change::Live(region(1))),
            entry(Change::Leave(region(1))),
            entry(Change::Master(region(1))),
            entry(Change::Candidates(vec![region(1)])),
            entry(Change::Candidates(vec![region(1), region(2)])),
            entry(Change::Delegate { to: region(1), first: region(2), last: region(3) }),
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
    fn entries_survive_messagepack_and_json() {
        for change in [Change::Join(join()), Change::Live(region(3)), Change::Leave(region(4))] {
            let entry = entry(change);
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
