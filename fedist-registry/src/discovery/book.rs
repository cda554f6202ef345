//! All sources together: who is dialed, and who is kept.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;
use super::{PeerState, PeerStatus, SourceStatus};
use crate::{Micros, RegionId};

/// Names one source of an [`AddressBook`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceId(usize);

/// What an answer has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Addresses that nobody had before.
    pub came: Vec<String>,
    /// Addresses that nobody has any more.
    pub went: Vec<String>,
}

/// How a region stands to this one, as far as dialing it is concerned.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A link to it is up.
    Linked,
    /// There is none, and nothing against one.
    Free,
    /// A link to it is on its way, or it is to be left alone for a while.
    Busy,
    /// No link to it is wanted.
    Disconnected,
}

/// The addresses that a region was told of, by several sources. See the module for what it decides.
///
/// It holds [`MAX_ADDRESSES`](Self::MAX_ADDRESSES) at most; those that are held stay, whatever comes beside, and others get a
/// place when one is free. Nothing else grows with what the sources say.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    sources: Vec<Source>,
    entries: BTreeMap<String, Entry>,
}

/// One address.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Who answered there last.
    region: Option<RegionId>,
    dialing: bool,
    ourselves: bool,
    failures: u32,
    not_before: Micros,
    /// When somebody answered; it counts as a failure until the link has lasted for a moment.
    answered_at: Option<Micros>,
    error: Option<String>,
}

impl AddressBook {
    /// Addresses that are held at most; half of the links that a node may have.
    pub const MAX_ADDRESSES: usize = 128;

    /// A book without sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source under the name that it is shown by. An address goes when so many answers in a row have lacked it: 1 for
    /// a source whose every answer is complete, more for one that tells a part each time.
    pub fn add_source(&mut self, name: impl Into<String>, gone_after: u32) -> SourceId {
        self.sources.push(Source::new(name.into(), gone_after));
        SourceId(self.sources.len() - 1)
    }

    /// Whether anybody is asked for addresses at all.
    pub fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// A source has answered with all that it has now.
    pub fn handle_answer(&mut self, from: SourceId, addresses: &[String]) -> News {
        let Some(source) = self.sources.get_mut(from.0) else {
            return News::default();
        };
        let mut came = Vec::new();
        let entries = &mut self.entries;
        source.handle_answer(addresses, |address| {
            if entries.contains_key(address) {
                return true;
            }
            let room = entries.len() < Self::MAX_ADDRESSES;
            if room {
                entries.insert(address.to_owned(), Entry::default());
                came.push(address.to_owned());
            }
            room
        });
        let sources = &self.sources;
        let gone = |address: &String| !sources.iter().any(|source| source.has(address));
        let went: Vec<String> = self.entries.keys().filter(|it| gone(it)).cloned().collect();
        for address in &went {
            self.entries.remove(address);
        }
        News { came, went }
    }

    /// A source could not answer. Gives whether that is news: whether it failed otherwise, or not at all, the last time.
    pub fn handle_failure(&mut self, from: SourceId, error: impl Into<String>) -> bool {
        let Some(source) = self.sources.get_mut(from.0) else {
            return false;
        };
        let error = error.into();
        let before = source.status().error;
        source.handle_failure(error.clone());
        before.is_none_or(|before| before != error)
    }

    /// Whom to dial now, those first that have waited longest; they count as being dialed until one of the `handle_` calls
    /// says what came of it. Several addresses of one region are tried one after the other.
    pub fn due(&mut self, now: Micros, standing: &dyn Fn(RegionId) -> Standing) -> Vec<String> {
        let mut busy: BTreeSet<RegionId> = BTreeSet::new();
        let mut running = 0;
        for entry in self.entries.values_mut() {
            if entry.dialing {
                running += 1;
                busy.extend(entry.region);
            }
            let lasted = |at: Micros| now.saturating_sub(at) >= SETTLED;
            if entry.answered_at.is_some_and(lasted)
                && entry.region.is_some_and(|region| standing(region) == Standing::Linked)
            {
                (entry.failures, entry.answered_at, entry.error) = (0, None, None);
                entry.not_before = now;
            }
        }
        let mut ready: Vec<(Micros, &String, &mut Entry)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| !entry.dialing && !entry.ourselves && entry.not_before <= now)
            .filter(|(_, entry)| {
                entry.region.is_none_or(|region| standing(region) == Standing::Free)
            })
            .map(|(address, entry)| (entry.not_before, address, entry))
            .collect();
        ready.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(b.1)));
        let mut due = Vec::new();
        for (_, address, entry) in ready {
            if running >= AT_ONCE {
                break;
            }
            if entry.region.is_some_and(|region| !busy.insert(region)) {
                continue;
            }
            running += 1;
            entry.dialing = true;
            due.push(address.clone());
        }
        due
    }

    /// A region answered at an address. `lot`, a random number, spreads what several regions do.
    pub fn handle_answered(&mut self, address: &str, region: RegionId, now: Micros, lot: u64) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.region = Some(region);
            entry.answered_at = Some(now);
            // A peer that closes the link at once is not dialed again at once.
            entry.failed(now, lot);
        }
    }

    /// An address leads to this region. It is not dialed again while it is held.
    pub fn handle_ourselves(&mut self, address: &str) {
        if let Some(entry) = self.entries.get_mut(address) {
            *entry = Entry { ourselves: true, ..Entry::default() };
        }
    }

    /// Nobody with whom there can be a link answered at an address.
    pub fn handle_unreachable(
        &mut self,
        address: &str,
        error: impl Into<String>,
        now: Micros,
        lot: u64,
    ) {
        if let Some(entry) = self.entries.get_mut(address) {
            // The address may have gone to another region since.
            entry.region = None;
            entry.answered_at = None;
            entry.failed(now, lot);
            entry.error = Some(error.into());
        }
    }

    /// A link to a region ended, or did not come about, for this reason.
    pub fn handle_link_ended(&mut self, region: RegionId, reason: &str) {
        for entry in self.entries.values_mut().filter(|entry| entry.region == Some(region)) {
            entry.answered_at = None;
            entry.error = Some(reason.to_owned());
        }
    }

    /// Whether a source has an address.
    pub fn holds(&self, address: &str) -> bool {
        self.entries.contains_key(address)
    }

    /// What a source was called.
    pub fn source_name(&self, source: SourceId) -> Option<&str> {
        self.sources.get(source.0).map(Source::name)
    }

    /// Whether an address of the region is being dialed.
    pub fn is_dialing(&self, region: RegionId) -> bool {
        self.entries.values().any(|entry| entry.dialing && entry.region == Some(region))
    }

    /// The regions behind the addresses that are held, as far as they have answered.
    pub fn regions(&self) -> BTreeSet<RegionId> {
        self.entries.values().filter_map(|entry| entry.region).collect()
    }

    /// The addresses at which a region answered.
    pub fn addresses_of(&self, region: RegionId) -> impl Iterator<Item = &String> {
        let its = move |entry: &Entry| entry.region == Some(region);
        self.entries.iter().filter(move |(_, entry)| its(entry)).map(|(address, _)| address)
    }

    /// Every address, in order, as it stands.
    pub fn peers(&self, standing: &dyn Fn(RegionId) -> Standing) -> Vec<PeerStatus> {
        let sources = |address: &str| {
            let its = self.sources.iter().filter(|source| source.has(address));
            its.map(|source| source.name().to_owned()).collect()
        };
        self.entries
            .iter()
            .map(|(address, entry)| {
                let state = entry.state(entry.region.map(standing));
                let fails = state != PeerState::Linked && state != PeerState::Ourselves;
                PeerStatus {
                    address: address.clone(),
                    sources: sources(address),
                    region: entry.region,
                    state,
                    failures: if fails { entry.failures } else { 0 },
                    error: entry.error.clone().filter(|_| fails),
                }
            })
            .collect()
    }

    /// Every source, in the order in which they were added.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources.iter().map(Source::status).collect()
    }
}

impl Entry {
    /// Twice as long each time, up to a bound, and up to a fifth more by lot.
    fn failed(&mut self, now: Micros, lot: u64) {
        let wait = LEAST.0.saturating_mul(1 << self.failures.min(16)).min(MOST.0);
        let more = lot % (wait / 5).max(1);
        self.failures = self.failures.saturating_add(1);
        self.dialing = false;
        self.not_before = now + Micros(wait.saturating_add(more));
    }

    fn state(&self, standing: Option<Standing>) -> PeerState {
        match standing {
            _ if self.ourselves => PeerState::Ourselves,
            Some(Standing::Linked) => PeerState::Linked,
            Some(Standing::Disconnected) => PeerState::Disconnected,
            _ if self.dialing => PeerState::Dialing,
            _ if self.error.is_some() => PeerState::Failing,
            _ => PeerState::Waiting,
        }
    }
}

/// Addresses dialed at the same time.
const AT_ONCE: usize = 8;
/// The first wait after a failure.
const LEAST: Micros = Micros::from_millis(100);
/// The longest one, so that a region that starts later is found soon.
const MOST: Micros = Micros::from_secs(15);
/// A link that has lasted so long has not failed.
const SETTLED: Micros = Micros::from_millis(1_500);
