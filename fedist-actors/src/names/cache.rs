//! What lookups have found lately: a bounded table of paths and pids.
//!
//! An entry is dropped when its actor ends or the session with its region does (the shell holds
//! one monitor for each entry), when a request meets nobody at its pid, and at the latest when it
//! is [`LIFETIME`] old. So a name that was unregistered, or that moved to another living actor, is
//! seen elsewhere within that time.

use std::collections::HashMap;

use fedist_registry::{Micros, RegionPid};

use crate::exit::MonitorRef;

/// How old a looked-up name may be.
pub(crate) const LIFETIME: Micros = Micros::from_secs(30);
/// Paths kept; beyond that the least recently used of a few random ones goes.
pub(crate) const CAPACITY: usize = 4_096;
/// Entries compared for an eviction: enough that a path in use stays.
const SAMPLE: usize = 8;

/// Names one entry, so that a late word about an earlier one does not touch its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(u64);

/// A monitor that nobody needs any more.
pub(crate) type Unwatch = (RegionPid, MonitorRef);

pub(crate) struct LookupCache {
    capacity: usize,
    entries: HashMap<String, Entry>,
    /// The keys of `entries` in no order, to draw from.
    order: Vec<String>,
    next: u64,
}

struct Entry {
    id: EntryId,
    pid: RegionPid,
    expires: Micros,
    used: Micros,
    monitor: Option<MonitorRef>,
    place: usize,
}

impl LookupCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: HashMap::new(), order: Vec::new(), next: 0 }
    }

    /// What is known of a path.
    pub(crate) fn get(&mut self, now: Micros, path: &str) -> Option<RegionPid> {
        let entry = self.entries.get_mut(path)?;
        if entry.expires <= now {
            return None;
        }
        entry.used = now;
        Some(entry.pid)
    }

    /// Keeps what a lookup has found, for `lifetime`. Gives the entry's id, or `None` when the entry of before
    /// still stands and is only renewed, and what need not be watched any more.
    pub(crate) fn insert(
        &mut self,
        now: Micros,
        path: &str,
        pid: RegionPid,
        lifetime: Micros,
        random: &mut fastrand::Rng,
    ) -> (Option<EntryId>, Option<Unwatch>) {
        if let Some(entry) = self.entries.get_mut(path)
            && entry.pid == pid
            && entry.monitor.is_some()
        {
            entry.expires = now + lifetime;
            entry.used = now;
            return (None, None);
        }
        let mut dropped = self.remove(path);
        if self.entries.len() >= self.capacity {
            let oldest = (0..SAMPLE)
                .map(|_| random.usize(0..self.order.len()))
                .min_by_key(|place| self.entries.get(&self.order[*place]).map(|entry| entry.used));
            if let Some(path) = oldest.map(|place| self.order[place].clone()) {
                dropped = dropped.or(self.remove(&path));
            }
        }
        self.next += 1;
        let (id, place) = (EntryId(self.next), self.order.len());
        self.order.push(path.to_owned());
        let expires = now + lifetime;
        self.entries
            .insert(path.to_owned(), Entry { id, pid, expires, used: now, monitor: None, place });
        (Some(id), dropped)
    }

    /// Notes the monitor of a new entry. False when the entry has gone meanwhile.
    pub(crate) fn watched(&mut self, path: &str, id: EntryId, monitor: MonitorRef) -> bool {
        match self.entries.get_mut(path) {
            Some(entry) if entry.id == id => {
                entry.monitor = Some(monitor);
                true
            }
            _ => false,
        }
    }

    /// The monitor of an entry has fired.
    pub(crate) fn down(&mut self, path: &str, id: EntryId) {
        if self.entries.get(path).is_some_and(|entry| entry.id == id) {
            self.remove(path);
        }
    }

    /// Nobody was found at `pid` under this path: looks again next time.
    pub(crate) fn forget(&mut self, path: &str, pid: RegionPid) -> Option<Unwatch> {
        if self.entries.get(path).is_some_and(|entry| entry.pid == pid) {
            return self.remove(path);
        }
        None
    }

    fn remove(&mut self, path: &str) -> Option<Unwatch> {
        let entry = self.entries.remove(path)?;
        self.order.swap_remove(entry.place);
        if let Some(moved) = self.order.get(entry.place)
            && let Some(moved) = self.entries.get_mut(moved)
        {
            moved.place = entry.place;
        }
        entry.monitor.map(|monitor| (entry.pid, monitor))
    }
}

#[cfg(test)]
mod tests {
    use fedist_registry::{LocalId, RegionId};

    use super::*;

    fn pid(local: u64) -> RegionPid {
        RegionPid::new(RegionId::new(7).unwrap(), LocalId::new(local).unwrap())
    }

    fn random() -> fastrand::Rng {
        fastrand::Rng::with_seed(1)
    }

    #[test]
    fn an_entry_lasts_until_its_time_is_over() {
        let mut cache = LookupCache::new(4);
        cache.insert(Micros(0), "a/x", pid(300), Micros(10), &mut random());
        assert_eq!(cache.get(Micros(9), "a/x"), Some(pid(300)));
        assert_eq!(cache.get(Micros(10), "a/x"), None);
    }

    #[test]
    fn a_late_down_of_an_earlier_entry_leaves_its_successor() {
        let mut cache = LookupCache::new(4);
        let (first, _) = cache.insert(Micros(0), "a/x", pid(300), LIFETIME, &mut random());
        assert!(cache.watched("a/x", first.unwrap(), MonitorRef(1)));
        let (second, unwatch) = cache.insert(Micros(1), "a/x", pid(301), LIFETIME, &mut random());
        assert_eq!(unwatch, Some((pid(300), MonitorRef(1))));
        cache.down("a/x", first.unwrap());
        assert_eq!(cache.get(Micros(2), "a/x"), Some(pid(301)));
        assert_eq!(cache.forget("a/x", pid(300)), None);
        cache.down("a/x", second.unwrap());
        assert_eq!(cache.get(Micros(2), "a/x"), None);
        assert!(
            !cache.watched("a/x", second.unwrap(), MonitorRef(2)),
            "gone before it was watched"
        );
    }

    #[test]
    fn the_same_answer_again_keeps_the_entry_and_its_monitor() {
        let mut cache = LookupCache::new(4);
        let (id, _) = cache.insert(Micros(0), "a/x", pid(300), Micros(10), &mut random());
        cache.watched("a/x", id.unwrap(), MonitorRef(1));
        let again = cache.insert(Micros(9), "a/x", pid(300), Micros(10), &mut random());
        assert_eq!(again, (None, None));
        assert_eq!(cache.get(Micros(15), "a/x"), Some(pid(300)));
        assert_eq!(cache.forget("a/x", pid(300)), Some((pid(300), MonitorRef(1))));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_used() {
        let (mut cache, mut random) = (LookupCache::new(64), random());
        let mut open = std::collections::HashSet::new();
        for n in 0..10_000_u64 {
            let now = Micros(n);
            let path = format!("a/{n}");
            let (id, unwatch) = cache.insert(now, &path, pid(300 + n), LIFETIME, &mut random);
            assert!(cache.watched(&path, id.unwrap(), MonitorRef(n)));
            open.insert(n);
            if let Some((_, monitor)) = unwatch {
                assert!(open.remove(&monitor.0), "every monitor is given back once");
            }
            assert_eq!(cache.get(now, "a/0"), Some(pid(300)), "used all the time");
        }
        assert_eq!(cache.entries.len(), 64);
        assert_eq!(cache.order.len(), 64);
        assert_eq!(open.len(), 64);
    }
}
