//! The one byte form of entries and records that their hashes cover.

use sha2::{Digest, Sha256};

use crate::{Change, Coordinates, Forwarding, RegionId, RegionRecord, Status};

/// Takes in the byte form piece by piece and hashes it. The form is written down at
/// [`LogEntry::hash`](crate::LogEntry::hash) and [`Registry::state_hash`](crate::Registry::state_hash).
pub(crate) struct CanonicalForm(Sha256);

impl CanonicalForm {
    /// `title` says what is hashed, so that nothing is ever taken for something else.
    pub(crate) fn new(title: &[u8]) -> Self {
        let mut form = CanonicalForm(Sha256::new());
        form.bytes(title);
        form
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn change(&mut self, change: &Change) {
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
            Change::Split(range) => {
                self.bytes(&[5]);
                self.forwarding(range);
            }
            Change::Checkpoint { state_hash } => {
                self.bytes(&[6]);
                self.bytes(state_hash);
            }
            Change::Master(id) => {
                self.bytes(&[16]);
                self.region(Some(*id));
            }
            Change::Candidates(ids) => {
                self.bytes(&[17]);
                self.regions(ids);
            }
            Change::Delegate { to, first, last } => {
                self.bytes(&[18]);
                for id in [to, first, last] {
                    self.region(Some(*id));
                }
            }
        }
    }

    pub(crate) fn record(&mut self, record: &RegionRecord) {
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

    pub(crate) fn region(&mut self, region: Option<RegionId>) {
        self.bytes(&region.map_or(0, RegionId::get).to_be_bytes());
    }

    pub(crate) fn regions(&mut self, regions: &[RegionId]) {
        self.length(regions.len());
        for region in regions {
            self.region(Some(*region));
        }
    }

    pub(crate) fn forwarding(&mut self, forwarding: &Forwarding) {
        self.region(Some(forwarding.from));
        self.region(Some(forwarding.to));
        self.number(forwarding.first.get());
        self.number(forwarding.last.get());
        self.number(forwarding.seat.get());
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

    pub(crate) fn length(&mut self, len: usize) {
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
