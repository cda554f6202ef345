//! All processes of a node by local id, and their names.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dashmap::DashMap;
use fedist_registry::{LocalId, RegionPid};

use super::{Body, Books, Process};
use crate::{NameScope, Registration};

/// All processes of a node, by local id, and their names.
#[derive(Default)]
pub(crate) struct ProcessTable {
    processes: DashMap<u64, Arc<Process>, BuildHasherDefault<IdHasher>>,
    names: DashMap<(NameScope, String), RegionPid>,
    /// Those that nobody runs here, which are looked after: a look at all of a million processes takes tens of milliseconds.
    foreign: Mutex<BTreeSet<u64>>,
}

impl ProcessTable {
    pub(crate) fn insert<B: Body>(&self, process: Process<B>) -> Arc<Process<B>> {
        let process = Arc::new(process);
        let entry: Arc<Process> = Arc::clone(&process) as _;
        let id = process.pid.local().get();
        self.processes.insert(id, entry);
        if !process.body.is_run() {
            self.foreign().insert(id);
        }
        process
    }

    pub(crate) fn get(&self, local: LocalId) -> Option<Arc<Process>> {
        self.processes.get(&local.get()).map(|entry| Arc::clone(&entry))
    }

    /// The application's actors and tasks.
    pub(crate) fn application(&self) -> Vec<RegionPid> {
        self.processes.iter().filter(|entry| !entry.is_system()).map(|entry| entry.pid).collect()
    }

    /// Whether nothing of the application is left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.processes.iter().all(|entry| entry.is_system())
    }

    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    pub(crate) fn whereis(&self, scope: NameScope, name: &str) -> Option<RegionPid> {
        self.names.get(&(scope, name.to_owned())).map(|entry| *entry)
    }

    /// Binds a name to a living process; the holder's pid when the name is taken, `false` when the
    /// process has ended.
    pub(crate) fn register(
        &self,
        scope: NameScope,
        name: &str,
        process: &Process,
    ) -> Result<bool, RegionPid> {
        match self.names.entry((scope, name.to_owned())) {
            dashmap::Entry::Occupied(entry) => Err(*entry.get()),
            dashmap::Entry::Vacant(entry) => {
                // Entered in both places under the name's lock, so that the end of the process finds it.
                let entered = process.add_name((scope, name.to_owned()));
                if entered {
                    entry.insert(process.pid);
                }
                Ok(entered)
            }
        }
    }

    /// Frees a name; who held it.
    pub(crate) fn unregister(&self, scope: NameScope, name: &str) -> Option<RegionPid> {
        let key = (scope, name.to_owned());
        let dashmap::Entry::Occupied(entry) = self.names.entry(key) else {
            return None;
        };
        let holder = *entry.get();
        if let Some(process) = self.get(holder.local()) {
            process.remove_name(scope, name);
        }
        entry.remove();
        Some(holder)
    }

    /// All names, in no order.
    pub(crate) fn registered(&self) -> Vec<Registration> {
        let registration =
            |entry: dashmap::mapref::multiple::RefMulti<'_, (NameScope, String), RegionPid>| {
                let (scope, name) = entry.key().clone();
                Registration { name, scope, pid: *entry.value() }
            };
        self.names.iter().map(registration).collect()
    }

    /// Pids of plain actix actors that have ended unnoticed.
    pub(crate) fn lost(&self) -> Vec<RegionPid> {
        let foreign: Vec<u64> = self.foreign().iter().copied().collect();
        let lost = |id| {
            let entry = self.processes.get(&id)?;
            entry.body.is_lost().then_some(entry.pid)
        };
        foreign.into_iter().filter_map(lost).collect()
    }

    fn foreign(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // A set of numbers is whole after any panic.
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a process out. Its names are free and its watchers and links are returned to be told.
    pub(super) fn end(&self, local: LocalId) -> Option<(RegionPid, Option<Box<Books>>)> {
        let (_, process) = self.processes.remove(&local.get())?;
        if !process.body.is_run() {
            self.foreign().remove(&local.get());
        }
        let books = process.close();
        if let Some(books) = &books {
            for name in &books.names {
                self.names.remove_if(name, |_, pid| *pid == process.pid);
            }
        }
        Some((process.pid, books))
    }
}

/// A map whose keys are numbers that this federation gives out.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Local ids are consecutive numbers. Their low bits choose neighbouring buckets, which keeps a
/// spawn in warm memory; the upper ones, spread, choose the shard and tell entries apart.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, id: u16) {
        self.write_u64(id.into());
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(id.into());
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4) for the bits above those of an id.
        let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (id & ID_BITS) | (spread & !ID_BITS);
    }
}

const ID_BITS: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn consecutive_ids_fall_evenly_into_both_ends_of_the_hash() {
        let build = BuildHasherDefault::<IdHasher>::default();
        let (mut low, mut high) = ([0_u32; 64], [0_u32; 128]);
        for id in 256..(256 + 64 * 1024_u64) {
            let hash = build.hash_one(id);
            low[(hash & 63) as usize] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        assert!(low.iter().all(|count| (512..2048).contains(count)), "{low:?}");
        assert!(high.iter().all(|count| (256..1024).contains(count)), "{high:?}");
    }
}
