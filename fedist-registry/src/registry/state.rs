//! What the log has made: records, names and forwardings, in buckets that copies share.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::forwarding::overlay;
use crate::{
    Change, Forwarding, LocalId, RegionId, RegionName, RegionRecord, Status,
    canonical_form::CanonicalForm,
};

/// What the log has made.
///
/// A clone shares all buckets and costs a pointer for each; a change copies the one bucket that it touches. So the state
/// at a checkpoint can be kept beside the present one, and readers hold their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    buckets: BTreeMap<u16, Arc<Bucket>>,
    /// The names in use, by a hash of the name; a region that left gives its name back.
    names: BTreeMap<u16, Arc<Vec<RegionId>>>,
    len: usize,
    root: Option<RegionId>,
    order: Arc<Order>,
}

/// What the federation as a whole has agreed upon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Who wrote the last [`Change::Master`], if there was one.
    pub(crate) master: Option<RegionId>,
    /// Who elects the master; empty while nobody said so.
    pub(crate) candidates: Vec<RegionId>,
    /// Delegated blocks by their first number: the last number, and who may admit.
    pub(crate) blocks: BTreeMap<RegionId, (RegionId, RegionId)>,
}

impl Order {
    /// Delegated blocks, at most: the order travels in one frame with the hashes of all buckets.
    pub(crate) const MAX_BLOCKS: usize = 1024;

    /// The last block that begins at or before a number: first, last, and who may admit.
    pub(crate) fn block_before(&self, id: RegionId) -> Option<(RegionId, RegionId, RegionId)> {
        let (first, (last, to)) = self.blocks.range(..=id).next_back()?;
        Some((*first, *last, *to))
    }

    fn hash_into(&self, form: &mut CanonicalForm) {
        form.region(self.master);
        form.regions(&self.candidates);
        form.length(self.blocks.len());
        for (first, (last, to)) in &self.blocks {
            form.regions(&[*to, *first, *last]);
        }
    }
}

impl State {
    pub(crate) fn get(&self, id: RegionId) -> Option<&RegionRecord> {
        self.buckets.get(&Bucket::of(id))?.get(id)
    }

    pub(crate) fn by_name(&self, name: &RegionName) -> Option<&RegionRecord> {
        let holders = self.names.get(&name_bucket(name))?;
        holders.iter().filter_map(|id| self.get(*id)).find(|record| record.name == *name)
    }

    pub(crate) fn regions(&self) -> impl Iterator<Item = &RegionRecord> {
        self.buckets.values().flat_map(|bucket| bucket.records.iter())
    }

    pub(crate) fn forwardings(&self) -> impl Iterator<Item = &Forwarding> {
        self.buckets.values().flat_map(|bucket| bucket.forwardings.iter())
    }

    /// The ranges that `region` has given away, in order.
    pub(crate) fn forwardings_of(&self, region: RegionId) -> &[Forwarding] {
        self.buckets.get(&Bucket::of(region)).map_or(&[], |bucket| bucket.forwardings_of(region))
    }

    /// The range that an id was given away with, if it was.
    pub(crate) fn forwarding(&self, region: RegionId, local: LocalId) -> Option<&Forwarding> {
        let ranges = self.forwardings_of(region);
        let at = ranges.partition_point(|range| range.last < local);
        ranges.get(at).filter(|range| range.first <= local)
    }

    /// Who serves an id.
    pub(crate) fn serving(&self, region: RegionId, local: LocalId) -> RegionId {
        self.forwarding(region, local).map_or(region, |range| range.to)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn root(&self) -> Option<RegionId> {
        self.root
    }

    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// Whom the last [`Change::Master`] names, and the root before there was one.
    pub(crate) fn master(&self) -> Option<RegionId> {
        self.order.master.or(self.root)
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u16, &Arc<Bucket>)> {
        self.buckets.iter().map(|(number, bucket)| (*number, bucket))
    }

    pub(crate) fn bucket(&self, number: u16) -> Option<&Arc<Bucket>> {
        self.buckets.get(&number)
    }

    /// The state of buckets that were checked one by one.
    pub(crate) fn of_buckets(buckets: BTreeMap<u16, Arc<Bucket>>, order: Order) -> State {
        let mut state = State { buckets, order: Arc::new(order), ..State::default() };
        let records: Vec<(RegionId, Option<RegionName>, bool)> = state
            .regions()
            .map(|record| {
                let stays = record.status != Status::Left;
                (record.id, stays.then(|| record.name.clone()), stays && record.parent.is_none())
            })
            .collect();
        state.len = records.len();
        for (id, name, is_root) in records {
            if let Some(name) = name {
                state.take_name(id, &name);
            }
            if is_root {
                state.root = Some(id);
            }
        }
        state
    }

    /// Makes a change that the rules allow.
    pub(crate) fn make(&mut self, change: &Change) {
        match change {
            Change::Join(record) => self.put(record.clone()),
            Change::Live(id) => self.edit(*id, |held| held.status = Status::Live),
            Change::Update { id, addresses, parent, coordinates } => self.edit(*id, |held| {
                held.addresses.clone_from(addresses);
                held.parent = *parent;
                held.coordinates = *coordinates;
            }),
            Change::Leave(id) => {
                if let Some(name) = self.get(*id).map(|held| held.name.clone()) {
                    self.give_name_back(*id, &name);
                }
                if self.root == Some(*id) {
                    self.root = None;
                }
                self.edit(*id, |held| held.status = Status::Left);
            }
            Change::Split(range) => {
                let bucket = Arc::make_mut(self.buckets.entry(Bucket::of(range.from)).or_default());
                bucket.lay(*range);
            }
            Change::Master(id) => Arc::make_mut(&mut self.order).master = Some(*id),
            Change::Candidates(ids) => Arc::make_mut(&mut self.order).candidates.clone_from(ids),
            Change::Delegate { to, first, last } => {
                Arc::make_mut(&mut self.order).blocks.insert(*first, (*last, *to));
            }
            Change::Checkpoint { .. } => {}
        }
    }

    /// See [`Registry::state_hash`](crate::Registry::state_hash).
    pub(crate) fn hash(&self) -> [u8; 32] {
        let buckets: Vec<(u16, [u8; 32])> =
            self.buckets().map(|(number, bucket)| (number, bucket.hash())).collect();
        hash_of_state(&self.order, &buckets)
    }

    fn put(&mut self, mut record: RegionRecord) {
        let id = record.id;
        let held = self.get(id);
        record.status = match held.map(|held| held.status) {
            Some(Status::Live) => Status::Live,
            _ => Status::Joining,
        };
        let old_name = held.map(|held| held.name.clone());
        self.len += usize::from(held.is_none());
        if let Some(name) = old_name {
            self.give_name_back(id, &name);
        }
        self.take_name(id, &record.name);
        if record.parent.is_none() {
            self.root = Some(id);
        }
        Arc::make_mut(self.buckets.entry(Bucket::of(id)).or_default()).put(record);
    }

    fn edit(&mut self, id: RegionId, edit: impl FnOnce(&mut RegionRecord)) {
        if let Some(bucket) = self.buckets.get_mut(&Bucket::of(id)) {
            Arc::make_mut(bucket).edit(id, edit);
        }
    }

    fn take_name(&mut self, id: RegionId, name: &RegionName) {
        let holders = Arc::make_mut(self.names.entry(name_bucket(name)).or_default());
        if !holders.contains(&id) {
            holders.push(id);
        }
    }

    fn give_name_back(&mut self, id: RegionId, name: &RegionName) {
        if let Some(holders) = self.names.get_mut(&name_bucket(name)) {
            Arc::make_mut(holders).retain(|holder| *holder != id);
        }
    }
}

/// SHA-256 over the list of buckets, as [`Registry::state_hash`](crate::Registry::state_hash) says.
pub(crate) fn hash_of_state(order: &Order, buckets: &[(u16, [u8; 32])]) -> [u8; 32] {
    let mut form = CanonicalForm::new(b"fedist registry state 1\n");
    order.hash_into(&mut form);
    form.length(buckets.len());
    for (number, hash) in buckets {
        form.bytes(&number.to_be_bytes());
        form.bytes(hash);
    }
    form.finish()
}

/// The records and forwardings of [`Bucket::REGIONS`] consecutive region numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket {
    /// In the order of their numbers.
    records: Vec<RegionRecord>,
    /// Sorted by region and first id.
    forwardings: Vec<Forwarding>,
    hash: OnceLock<[u8; 32]>,
}

impl Bucket {
    /// Region numbers of one bucket.
    pub(crate) const REGIONS: u16 = 64;

    /// The bucket of a region.
    pub(crate) fn of(id: RegionId) -> u16 {
        id.get() / Self::REGIONS
    }

    /// A bucket from elsewhere, if it holds what bucket number `number` may hold, in order.
    pub(crate) fn checked(
        number: u16,
        records: Vec<RegionRecord>,
        forwardings: Vec<Forwarding>,
    ) -> Option<Bucket> {
        let here = |id: RegionId| Bucket::of(id) == number;
        let ordered = records.windows(2).all(|pair| matches!(pair, [a, b] if a.id < b.id))
            && forwardings
                .windows(2)
                .all(|pair| matches!(pair, [a, b] if (a.from, a.last) < (b.from, b.first)));
        let fits = ordered
            && records.iter().all(|record| here(record.id))
            && forwardings.iter().all(|range| {
                here(range.from) && range.last_seat().is_some() && range.to != range.from
            });
        fits.then(|| Bucket { records, forwardings, hash: OnceLock::new() })
    }

    pub(crate) fn records(&self) -> &[RegionRecord] {
        &self.records
    }

    pub(crate) fn forwardings(&self) -> &[Forwarding] {
        &self.forwardings
    }

    /// Computed when first asked for after a change.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hash.get_or_init(|| {
            let mut form = CanonicalForm::new(b"fedist registry bucket 1\n");
            form.length(self.records.len());
            for record in &self.records {
                form.record(record);
            }
            form.length(self.forwardings.len());
            for range in &self.forwardings {
                form.forwarding(range);
            }
            form.finish()
        })
    }

    fn get(&self, id: RegionId) -> Option<&RegionRecord> {
        let at = self.records.binary_search_by_key(&id, |record| record.id).ok()?;
        self.records.get(at)
    }

    fn forwardings_of(&self, region: RegionId) -> &[Forwarding] {
        let from = self.forwardings.partition_point(|range| range.from < region);
        let until = self.forwardings.partition_point(|range| range.from <= region);
        self.forwardings.get(from..until).unwrap_or_default()
    }

    fn put(&mut self, record: RegionRecord) {
        self.hash = OnceLock::new();
        match self.records.binary_search_by_key(&record.id, |held| held.id) {
            Ok(at) => {
                if let Some(held) = self.records.get_mut(at) {
                    *held = record;
                }
            }
            Err(at) => self.records.insert(at, record),
        }
    }

    fn edit(&mut self, id: RegionId, edit: impl FnOnce(&mut RegionRecord)) {
        self.hash = OnceLock::new();
        if let Some(held) = self.records.iter_mut().find(|record| record.id == id) {
            edit(held);
        }
    }

    fn lay(&mut self, new: Forwarding) {
        self.hash = OnceLock::new();
        let ranges = overlay(self.forwardings_of(new.from), new);
        self.forwardings.retain(|range| range.from != new.from);
        let at = self.forwardings.partition_point(|range| range.from < new.from);
        self.forwardings.splice(at..at, ranges);
    }
}

/// FNV-1a (Fowler, Noll, Vo), folded to as many buckets as there are for records.
fn name_bucket(name: &RegionName) -> u16 {
    let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash ^ (hash >> 32)) % u64::from(u16::MAX / Bucket::REGIONS)) as u16
}
