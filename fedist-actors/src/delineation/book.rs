//! What a node keeps of its delineator: everything that must outlast a restart of the actor.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use fedist_registry::{
    Caching, FederationView, HomeCache, HomeStamp, Micros, NoHome, Performance, RegionFacts,
    RegionId, RegionTable, RegionTableError,
};

use super::{
    handling::KeyHandler,
    hold::Holds,
    slot::{EncodedRule, RuleFactory as Factory},
};
use crate::{Node, exit::panic_text, node::View};

pub(crate) use super::slot::RuleFactory;

/// The rule that is installed, and how it is made anew.
pub(super) struct Installed {
    pub(super) generation: u64,
    pub(super) name: String,
    pub(super) make: Factory,
}

/// See the module.
pub(crate) struct DelineationBook {
    installed: ArcSwap<Installed>,
    /// The application's own rules that may be named in a message.
    pub(super) named: BTreeMap<String, Factory>,
    /// Regions that may replace the rule and tell about regions, besides the own one.
    pub(super) trusted: Vec<RegionId>,
    table: ArcSwap<(u64, RegionTable)>,
    cache: Mutex<(HomeCache, Caching)>,
    performance: Mutex<Performance>,
    /// Who handles messages to keys that are at home here, by the hash of the message's type.
    pub(super) handlers: DashMap<u32, Arc<dyn KeyHandler>>,
    pub(super) holds: Holds,
    pub(super) counters: Counters,
}

/// What the delineator has done since the node started.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) asked: AtomicU64,
    pub(super) cached: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) restarted: AtomicU64,
    pub(super) forwarded: AtomicU64,
    pub(super) slow: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl DelineationBook {
    pub(crate) fn new(
        named: BTreeMap<String, RuleFactory>,
        trusted: Vec<RegionId>,
        rule: Option<(String, RuleFactory)>,
    ) -> Self {
        let (name, make) = rule.unwrap_or_else(|| {
            ("by id".to_owned(), super::slot::own_factory(|| fedist_registry::ById))
        });
        Self {
            installed: ArcSwap::from_pointee(Installed { generation: 1, name, make }),
            named,
            trusted,
            table: ArcSwap::from_pointee((1, RegionTable::default())),
            cache: Mutex::new((HomeCache::new(CACHED_KEYS), Caching::Never)),
            performance: Mutex::default(),
            handlers: DashMap::new(),
            holds: Holds::default(),
            counters: Counters::default(),
        }
    }

    pub(super) fn installed(&self) -> Arc<Installed> {
        self.installed.load_full()
    }

    /// Puts a rule in place of the present one; gives its generation.
    pub(super) fn install(&self, name: String, make: RuleFactory) -> u64 {
        let before = self.installed.rcu(|old| Installed {
            generation: old.generation + 1,
            name: name.clone(),
            make: Arc::clone(&make),
        });
        before.generation + 1
    }

    pub(super) fn table(&self) -> Arc<(u64, RegionTable)> {
        self.table.load_full()
    }

    pub(super) fn set_table(&self, table: RegionTable) {
        self.table.rcu(|old| (old.0 + 1, table.clone()));
    }

    /// Changes entries of the table; none if one of them is wrong.
    pub(super) fn tell(
        &self,
        facts: &[RegionFacts],
        forget: &[RegionId],
    ) -> Result<(), RegionTableError> {
        // Checked before, so that the change itself cannot fail.
        RegionTable::check(facts)?;
        self.table.rcu(|old| {
            let mut table = old.1.clone();
            forget.iter().for_each(|region| table.forget(*region));
            for one in facts {
                let _ = table.tell(one.clone());
            }
            (old.0 + 1, table)
        });
        Ok(())
    }

    pub(super) fn performance(&self) -> MutexGuard<'_, Performance> {
        self.performance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stamp(&self, view: &View) -> HomeStamp {
        HomeStamp {
            rule: self.installed.load().generation,
            registry: (view.registry.term(), view.registry.version().index),
            table: self.table.load().0,
            routes: view.epoch,
        }
    }

    /// An answer that still holds.
    pub(super) fn cached(&self, stamp: HomeStamp, key: &[u8]) -> Option<RegionId> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (cache, caching) = &mut *cache;
        let home = cache.get(stamp, *caching, key)?;
        Counters::add(&self.counters.cached);
        Some(home)
    }

    pub(super) fn keep(&self, stamp: HomeStamp, caching: Caching, key: &[u8], home: RegionId) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.1 = caching;
        cache.0.put(stamp, caching, key, home);
    }

    /// Runs `rule` on a key with all that is known now. A panic and an impossible answer become named errors.
    pub(crate) fn ask_rule(
        &self,
        node: &Node,
        view: &View,
        rule: &dyn EncodedRule,
        key: &[u8],
    ) -> Result<RegionId, NoHome> {
        Counters::add(&self.counters.asked);
        let table = self.table.load();
        let performance = self.performance().clone();
        let federation = FederationView::new(node.region(), &view.registry)
            .with_routes(&view.routes)
            .with_table(&table.1)
            .with_performance(&performance);
        let ask = std::panic::AssertUnwindSafe(|| rule.home(key, &federation));
        let answer = std::panic::catch_unwind(ask)
            .unwrap_or_else(|payload| Err(NoHome::Panicked { text: panic_text(&*payload) }));
        let answer = answer.and_then(|home| sensible(home, &federation));
        if answer.is_err() {
            Counters::add(&self.counters.failed);
        }
        answer
    }

    // ---- what is measured --------------------------------------------------------------------

    pub(crate) fn handle_placed(&self, now: Micros, region: RegionId, work: u64) {
        self.performance().handle_placed(now, region, work);
    }

    pub(crate) fn handle_done(&self, now: Micros, region: RegionId, work: u64) {
        self.performance().handle_done(now, region, work);
    }

    pub(crate) fn handle_failed(&self, now: Micros, region: RegionId, work: u64) {
        self.performance().handle_failed(now, region, work);
    }

    pub(crate) fn handle_withdrawn(&self, now: Micros, region: RegionId, work: u64) {
        self.performance().handle_withdrawn(now, region, work);
    }
}

/// A home is a member of the federation that has not left.
fn sensible(home: RegionId, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
    let nonsense = |why: &str| NoHome::Nonsense { region: home, why: why.to_owned() };
    match view.registry.get(home).map(|record| record.status) {
        None => Err(nonsense("is not in the registry")),
        Some(fedist_registry::Status::Left) => Err(nonsense("has left")),
        Some(_) => Ok(home),
    }
}

const CACHED_KEYS: usize = 8_192;
