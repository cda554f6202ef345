//! What became of the requests that other regions made of this node: each runs at most once (C14).
//!
//! A request is named by its source region and a reference that grows with every request of that
//! region, boots included. The ledger keeps the answers that a source may still ask about. What
//! it no longer keeps lies below the source's *floor*: a request from there never runs again, so
//! that forgetting costs the answer but never the promise.

use std::collections::{BTreeMap, HashMap};

use fedist_registry::{RegionId, RegionPid};

use super::refusal::StartRefused;

/// The answer to a request: what was started, or why nothing was.
pub(crate) type Reply = Result<RegionPid, StartRefused>;

/// What is to be done with a request that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new: run it, then [`Ledger::record`] the answer.
    Run,
    /// It came before and is being run; its answer follows.
    Underway,
    /// It came before, or may not run any more: this is the answer.
    Answered(Reply),
}

/// What the ledger knows of a request that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It is being run.
    Underway,
    /// It was answered.
    Answered(Reply),
    /// It had not come when it was asked about, and will not run if it does.
    Void,
    /// It lies below the floor: the answer is not kept any more.
    Forgotten,
}

/// The requests of all sources.
#[derive(Debug)]
pub(crate) struct Ledger {
    sources: HashMap<RegionId, Source>,
    len: usize,
    limits: Limits,
}

/// How many answers are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) per_source: usize,
    pub(crate) total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_source: 4_096, total: 65_536 }
    }
}

#[derive(Debug, Default)]
struct Source {
    /// References below it are settled at the source, or given up here.
    floor: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Ledger {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { sources: HashMap::new(), len: 0, limits }
    }

    /// Takes a request in. `settled_below` is what the source says of itself: it will never again
    /// send or ask about a lower reference.
    pub(crate) fn admit(
        &mut self,
        source: RegionId,
        reference: u64,
        settled_below: u64,
    ) -> Admission {
        // A source cannot settle the very request that it makes.
        self.forget_below(source, settled_below.min(reference));
        let book = self.sources.entry(source).or_default();
        match book.entries.get(&reference) {
            Some(Entry::Underway) => return Admission::Underway,
            Some(Entry::Answered(reply)) => return Admission::Answered(reply.clone()),
            Some(Entry::Void | Entry::Forgotten) => {
                return Admission::Answered(Err(StartRefused::Void));
            }
            None if reference < book.floor => {
                return Admission::Answered(Err(StartRefused::Stale));
            }
            None => {}
        }
        self.insert(source, reference, Entry::Underway);
        Admission::Run
    }

    /// Notes the answer to a request that [`admit`](Self::admit) let run.
    pub(crate) fn record(&mut self, source: RegionId, reference: u64, reply: Reply) {
        let entry = self.sources.get_mut(&source).and_then(|book| book.entries.get_mut(&reference));
        // Missing when it was pushed out meanwhile: the floor stands for it then.
        if let Some(entry) = entry {
            *entry = Entry::Answered(reply);
        }
    }

    /// Says what became of a request. One that never came is void from now on: the answer is final.
    pub(crate) fn question(&mut self, source: RegionId, reference: u64) -> Entry {
        let book = self.sources.entry(source).or_default();
        if let Some(entry) = book.entries.get(&reference) {
            return entry.clone();
        }
        if reference < book.floor {
            return Entry::Forgotten;
        }
        self.insert(source, reference, Entry::Void);
        Entry::Void
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    fn insert(&mut self, source: RegionId, reference: u64, entry: Entry) {
        let book = self.sources.entry(source).or_default();
        if book.entries.insert(reference, entry).is_none() {
            self.len += 1;
        }
        if book.entries.len() > self.limits.per_source {
            self.push_out(source);
        }
        while self.len > self.limits.total {
            let longest = self.sources.iter().max_by_key(|(_, book)| book.entries.len());
            let Some((longest, _)) = longest else { return };
            self.push_out(*longest);
        }
    }

    /// Gives up the oldest answer of a source; whatever is as old never runs again.
    fn push_out(&mut self, source: RegionId) {
        if let Some(book) = self.sources.get_mut(&source)
            && let Some((oldest, _)) = book.entries.pop_first()
        {
            book.floor = book.floor.max(oldest.saturating_add(1));
            self.len -= 1;
        }
    }

    fn forget_below(&mut self, source: RegionId, floor: u64) {
        let book = self.sources.entry(source).or_default();
        if floor <= book.floor {
            return;
        }
        let kept = book.entries.split_off(&floor);
        let gone = std::mem::replace(&mut book.entries, kept).len();
        book.floor = floor;
        self.len -= gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedist_registry::LocalId;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn region(number: u16) -> RegionId {
        RegionId::new(number).unwrap()
    }

    fn pid(number: u64) -> RegionPid {
        RegionPid::new(region(9), LocalId::new(1_000 + number).unwrap())
    }

    fn small() -> Ledger {
        Ledger::new(Limits { per_source: 3, total: 5 })
    }

    #[test]
    fn a_request_runs_once_and_its_repetitions_get_the_same_answer() {
        let mut ledger = small();
        assert_eq!(ledger.admit(region(1), 10, 0), Admission::Run);
        assert_eq!(ledger.admit(region(1), 10, 0), Admission::Underway);
        ledger.record(region(1), 10, Ok(pid(1)));
        for _ in 0..3 {
            assert_eq!(ledger.admit(region(1), 10, 0), Admission::Answered(Ok(pid(1))));
        }
        assert_eq!(ledger.question(region(1), 10), Entry::Answered(Ok(pid(1))));
    }

    #[test]
    fn a_refusal_is_remembered_as_an_answer() {
        let mut ledger = small();
        let refusal = Err(StartRefused::NoPid("ids exhausted".into()));
        ledger.admit(region(1), 10, 0);
        ledger.record(region(1), 10, refusal.clone());
        assert_eq!(ledger.admit(region(1), 10, 0), Admission::Answered(refusal));
    }

    #[test]
    fn the_same_reference_of_another_region_is_another_request() {
        let mut ledger = small();
        assert_eq!(ledger.admit(region(1), 10, 0), Admission::Run);
        assert_eq!(ledger.admit(region(2), 10, 0), Admission::Run);
    }

    #[test]
    fn a_request_that_was_asked_about_before_it_came_never_runs() {
        let mut ledger = small();
        assert_eq!(ledger.question(region(1), 10), Entry::Void);
        assert_eq!(ledger.admit(region(1), 10, 0), Admission::Answered(Err(StartRefused::Void)));
        assert_eq!(ledger.question(region(1), 10), Entry::Void, "the answer is final");
    }

    #[test]
    fn a_request_underway_is_not_voided_by_the_question() {
        let mut ledger = small();
        ledger.admit(region(1), 10, 0);
        assert_eq!(ledger.question(region(1), 10), Entry::Underway);
    }

    #[test]
    fn what_the_source_has_settled_is_forgotten_and_never_runs_again() {
        let mut ledger = small();
        ledger.admit(region(1), 10, 0);
        ledger.record(region(1), 10, Ok(pid(1)));
        assert_eq!(ledger.admit(region(1), 11, 11), Admission::Run);
        assert_eq!(ledger.len(), 1);
        assert_eq!(ledger.admit(region(1), 10, 0), Admission::Answered(Err(StartRefused::Stale)));
        assert_eq!(ledger.question(region(1), 10), Entry::Forgotten);
    }

    #[test]
    fn a_source_cannot_settle_the_request_that_it_makes() {
        let mut ledger = small();
        assert_eq!(ledger.admit(region(1), 10, u64::MAX), Admission::Run);
        assert_eq!(ledger.admit(region(1), 10, u64::MAX), Admission::Underway);
    }

    #[test]
    fn a_restarted_source_begins_above_everything_that_it_asked_before() {
        let mut ledger = small();
        ledger.admit(region(1), (1 << 32) | 7, 0);
        assert_eq!(ledger.admit(region(1), (2 << 32) | 1, (2 << 32) | 1), Admission::Run);
        let late = ledger.admit(region(1), (1 << 32) | 8, 0);
        assert_eq!(late, Admission::Answered(Err(StartRefused::Stale)));
    }

    #[test]
    fn a_full_ledger_gives_up_the_oldest_answers_and_their_requests_stay_dead() {
        let mut ledger = small();
        for reference in 1..=4 {
            ledger.admit(region(1), reference, 0);
            ledger.record(region(1), reference, Ok(pid(reference)));
        }
        assert_eq!(ledger.len(), 3);
        assert_eq!(ledger.question(region(1), 1), Entry::Forgotten);
        assert_eq!(ledger.admit(region(1), 1, 0), Admission::Answered(Err(StartRefused::Stale)));
        assert_eq!(ledger.question(region(1), 2), Entry::Answered(Ok(pid(2))));
    }

    #[test]
    fn one_greedy_source_does_not_push_out_another() {
        let mut ledger = small();
        ledger.admit(region(2), 1, 0);
        ledger.record(region(2), 1, Ok(pid(1)));
        for reference in 1..100 {
            ledger.admit(region(1), reference, 0);
        }
        assert!(ledger.len() <= 5);
        assert_eq!(ledger.question(region(2), 1), Entry::Answered(Ok(pid(1))));
    }

    proptest! {
        /// Against a model that remembers everything: no request runs twice, none runs after it
        /// was called void or forgotten, and an answer never changes.
        #[test]
        fn nothing_runs_twice_whatever_comes_in_whatever_order(
            steps in proptest::collection::vec((1_u16..4, 0_u64..12, 0_u64..12, 0_u8..3), 0..200)
        ) {
            let mut ledger = small();
            let mut ran = HashMap::new();
            let mut dead = HashSet::new();
            for (source, reference, below, step) in steps {
                let key = (source, reference);
                let source = region(source);
                if step == 0 {
                    match ledger.question(source, reference) {
                        Entry::Void => {
                            prop_assert!(!ran.contains_key(&key));
                            dead.insert(key);
                        }
                        Entry::Forgotten => { dead.insert(key); }
                        Entry::Answered(reply) => prop_assert_eq!(Some(&reply), ran.get(&key)),
                        Entry::Underway => prop_assert!(false, "all are recorded at once here"),
                    }
                    continue;
                }
                match ledger.admit(source, reference, below) {
                    Admission::Run => {
                        prop_assert!(!dead.contains(&key));
                        let reply = Ok(pid(ran.len() as u64));
                        prop_assert_eq!(ran.insert(key, reply.clone()), None);
                        ledger.record(source, reference, reply);
                    }
                    Admission::Answered(Err(StartRefused::Void)) => prop_assert!(!ran.contains_key(&key)),
                    Admission::Answered(Err(StartRefused::Stale)) => {}
                    Admission::Answered(reply) => prop_assert_eq!(Some(&reply), ran.get(&key)),
                    Admission::Underway => prop_assert!(false, "all are recorded at once here"),
                }
                prop_assert!(ledger.len() <= 5);
            }
        }
    }
}
