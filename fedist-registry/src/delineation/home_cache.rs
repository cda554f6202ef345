//! Answers that still hold.

use std::collections::HashMap;

use super::Caching;
use crate::RegionId;

/// Homes that were asked for, by the bytes of their keys, as long as what they were decided by has not changed.
///
/// It holds a bounded number of keys: when the younger half is full the older one is forgotten, so a key that is asked for
/// again stays. Long keys are not kept.
#[derive(Debug)]
pub struct HomeCache {
    stamp: HomeStamp,
    young: HashMap<Box<[u8]>, RegionId>,
    old: HashMap<Box<[u8]>, RegionId>,
    half: usize,
}

/// What answers were decided by. When a part that counts for the rule is another one, they are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeStamp {
    /// Which rule.
    pub rule: u64,
    /// Which state of the registry.
    pub registry: (u64, u64),
    /// Which state of the application's table.
    pub table: u64,
    /// Which state of the routes.
    pub routes: u64,
}

impl HomeCache {
    /// Holds at most about `keys` of them.
    pub fn new(keys: usize) -> Self {
        Self {
            stamp: HomeStamp::default(),
            young: HashMap::new(),
            old: HashMap::new(),
            half: (keys / 2).max(1),
        }
    }

    /// The home of the key, if it was asked for under the same circumstances.
    pub fn get(&mut self, stamp: HomeStamp, caching: Caching, key: &[u8]) -> Option<RegionId> {
        self.keep_to(stamp, caching)?;
        if let Some(home) = self.young.get(key) {
            return Some(*home);
        }
        let (key, home) = self.old.remove_entry(key)?;
        self.keep(key, home);
        Some(home)
    }

    /// Keeps an answer.
    pub fn put(&mut self, stamp: HomeStamp, caching: Caching, key: &[u8], home: RegionId) {
        if key.len() <= LONGEST_KEY && self.keep_to(stamp, caching).is_some() {
            self.keep(key.into(), home);
        }
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything unless the circumstances are the same. `None` for answers that are not kept at all.
    fn keep_to(&mut self, stamp: HomeStamp, caching: Caching) -> Option<()> {
        let stamp = match caching {
            Caching::Never => return None,
            Caching::View => stamp,
            Caching::Registry => HomeStamp { routes: 0, ..stamp },
        };
        if self.stamp != stamp {
            self.young.clear();
            self.old.clear();
            self.stamp = stamp;
        }
        Some(())
    }

    fn keep(&mut self, key: Box<[u8]>, home: RegionId) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, home);
    }
}

const LONGEST_KEY: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::testing::region;

    const NOW: HomeStamp = HomeStamp { rule: 1, registry: (1, 5), table: 1, routes: 9 };

    #[test]
    fn an_answer_holds_until_what_it_was_decided_by_changes() {
        let mut cache = HomeCache::new(10);
        let other_routes = HomeStamp { routes: 10, ..NOW };
        cache.put(NOW, Caching::View, b"a", region(1));
        assert_eq!(cache.get(NOW, Caching::View, b"a"), Some(region(1)));
        assert_eq!(cache.get(other_routes, Caching::View, b"a"), None);
        assert!(cache.is_empty(), "what is out of date is not kept");
        cache.put(NOW, Caching::Registry, b"a", region(1));
        assert_eq!(cache.get(other_routes, Caching::Registry, b"a"), Some(region(1)));
        for changed in [
            HomeStamp { rule: 2, ..NOW },
            HomeStamp { registry: (1, 6), ..NOW },
            HomeStamp { table: 2, ..NOW },
        ] {
            cache.put(NOW, Caching::Registry, b"a", region(1));
            assert_eq!(cache.get(changed, Caching::Registry, b"a"), None, "{changed:?}");
        }
        cache.put(NOW, Caching::Never, b"a", region(1));
        assert_eq!(cache.get(NOW, Caching::Never, b"a"), None);
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_asked_for() {
        let mut cache = HomeCache::new(10);
        for n in 0..1_000_u32 {
            cache.put(NOW, Caching::View, &n.to_be_bytes(), region(1));
            cache.put(NOW, Caching::View, b"often", region(2));
            assert_eq!(cache.get(NOW, Caching::View, b"often"), Some(region(2)));
            assert!(cache.len() <= 11, "{}", cache.len());
        }
        cache.put(NOW, Caching::View, &[0; 1_000], region(1));
        assert_eq!(cache.get(NOW, Caching::View, &[0; 1_000]), None);
    }
}
