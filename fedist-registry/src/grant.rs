//! Newcomers that a delegate admits while the master cannot be reached.
//!
//! The master gives a region, mostly a parent, a block of region numbers ([`Change::Delegate`](crate::Change::Delegate)). While it
//! is away that region admits newcomers with these numbers by a [`Grant`], which it signs. Grants travel from neighbour to
//! neighbour beside the log, and whoever holds one sees its region as a live member
//! ([`Registry::set_provisional`]). When the master is back the delegate asks for the entries; the log decides: who comes first
//! has the number, and a grant for another key is over with [`Settled::Conflict`].
//!
//! A grant that nobody confirms ends after a span. Clocks are not compared: a grant travels with its age, as the states of
//! OSPF do (RFC 2328, section 14), and each holder lets it grow older by its own clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Micros, RegionId, RegionKey, RegionName, RegionRecord, Registry, Seal, Status,
    canonical_form::CanonicalForm,
};

/// A delegate's word that a region is a member, or is one no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The newcomer. Its status is live, or left where the grant is taken back.
    pub record: RegionRecord,
    /// Of two grants of one number the higher serial counts; each delegate counts its own.
    pub serial: u64,
    /// The delegate's signature.
    pub seal: Seal,
}

impl Grant {
    /// Signs a grant as `delegate`.
    pub fn sign(record: RegionRecord, serial: u64, delegate: RegionId, key: &RegionKey) -> Grant {
        let seal = key.sign(delegate, &hash(&record, serial));
        Grant { record, serial, seal }
    }

    /// The delegate that gave it.
    pub fn by(&self) -> RegionId {
        self.seal.signer
    }

    fn is_signed(&self) -> bool {
        self.seal.covers(&hash(&self.record, self.serial))
    }
}

/// SHA-256 over `"fedist region grant 1\n" · serial u64 · record`, the record as
/// [`LogEntry::hash`](crate::LogEntry::hash) has it.
fn hash(record: &RegionRecord, serial: u64) -> [u8; 32] {
    let mut form = CanonicalForm::new(b"fedist region grant 1\n");
    form.number(serial);
    form.record(record);
    form.finish()
}

/// A grant and how old it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldGrant {
    /// The grant.
    pub grant: Grant,
    /// Since it was signed, all time on the way and at its holders counted.
    pub age: Micros,
}

/// Why a grant was not given or not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The number is in no block of the region that gives the grant.
    #[error(
        "region number {id} is not delegated to region {by}; a delegate admits inside its blocks only; use a number of one"
    )]
    NotDelegated {
        /// The newcomer's number.
        id: RegionId,
        /// Who would admit it.
        by: RegionId,
    },
    /// The number is taken: by the log, or by an earlier grant for another key.
    #[error(
        "IdConflict: region id {id} is held with another key; a number belongs to one key; choose another number"
    )]
    IdConflict {
        /// The number.
        id: RegionId,
    },
    /// The log knows the region with this key already; no grant is needed.
    #[error("region {id} is in the registry already; it needs no grant")]
    Registered {
        /// The number.
        id: RegionId,
    },
    /// Another region has the name.
    #[error("region name '{name}' is taken by region {by}; names are unique; choose another name")]
    NameTaken {
        /// The name.
        name: RegionName,
        /// Who has it.
        by: RegionId,
    },
    /// The record breaks a rule of the registry.
    #[error("the newcomer's record breaks a rule: {0}")]
    Rule(String),
    /// Too many grants are held.
    #[error(
        "{held} provisional members are held; that is as many as there may be; wait for the master"
    )]
    Full {
        /// How many.
        held: usize,
    },
    /// It is not signed by the region that it names.
    #[error(
        "the grant of region {id} is not signed by its delegate; it is worth nothing; ask the delegate"
    )]
    Forged {
        /// The newcomer's number.
        id: RegionId,
    },
    /// It is too old.
    #[error("the grant of region {id} is over; nobody confirmed it in time; join again")]
    Expired {
        /// The newcomer's number.
        id: RegionId,
    },
}

/// What became of a grant when the log went on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// The log has the region live, or gone, with the key of the grant.
    Confirmed(RegionId),
    /// The log has the number, with another key: whom the grant named is no member.
    Conflict(RegionId),
    /// The delegate has lost the block, or has left.
    Undone(RegionId),
}

/// The grants that a region holds.
#[derive(Clone, Debug)]
pub struct GrantBook {
    lifetime: Micros,
    /// By the newcomer's number: the grant, and when it was signed, by this region's clock.
    held: BTreeMap<RegionId, (Grant, Signed)>,
}

/// When something was signed, by a clock that may have started since.
#[derive(Copy, Clone, Debug)]
struct Signed {
    taken_at: Micros,
    age_then: Micros,
}

impl Signed {
    fn age(self, now: Micros) -> Micros {
        self.age_then + now.saturating_sub(self.taken_at)
    }
}

impl GrantBook {
    /// Grants end `lifetime` after they were signed.
    pub fn new(lifetime: Micros) -> GrantBook {
        GrantBook { lifetime, held: BTreeMap::new() }
    }

    /// The delegate's side: admits a newcomer. The same one again gets its grant again.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn admit(
        &mut self,
        now: Micros,
        registry: &Registry,
        delegate: RegionId,
        key: &RegionKey,
        mut record: RegionRecord,
    ) -> Result<HeldGrant, GrantError> {
        record.status = Status::Live;
        if let Some((grant, signed)) = self.held.get(&record.id)
            && grant.record == record
            && grant.by() == delegate
        {
            return Ok(HeldGrant { grant: grant.clone(), age: signed.age(now) });
        }
        // One beyond all that were ever heard of: a delegate that forgot its own hears of them from others.
        let serial = self.held.values().map(|(grant, _)| grant.serial).max().unwrap_or(0) + 1;
        let grant = Grant::sign(record, serial, delegate, key);
        self.check(registry, &grant)?;
        let signed = Signed { taken_at: now, age_then: Micros::ZERO };
        self.held.insert(grant.record.id, (grant.clone(), signed));
        Ok(HeldGrant { grant, age: Micros::ZERO })
    }

    /// The delegate's side: takes a grant back, because the log refuses its region. Gives what to tell the others.
    pub fn revoke(&mut self, now: Micros, id: RegionId, key: &RegionKey) -> Option<HeldGrant> {
        let (grant, signed) = self.held.get_mut(&id)?;
        let (by, serial) = (grant.by(), grant.serial.saturating_add(1));
        let record = RegionRecord { status: Status::Left, ..grant.record.clone() };
        *grant = Grant::sign(record, serial, by, key);
        Some(HeldGrant { grant: grant.clone(), age: signed.age(now) })
    }

    /// Takes a grant that a neighbour passes on; true where it is news.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn take(
        &mut self,
        now: Micros,
        registry: &Registry,
        held: HeldGrant,
    ) -> Result<bool, GrantError> {
        let HeldGrant { grant, age } = held;
        let id = grant.record.id;
        if let Some((known, _)) = self.held.get(&id)
            && known.by() == grant.by()
            && known.serial >= grant.serial
        {
            return Ok(false);
        }
        if age >= self.lifetime {
            return Err(GrantError::Expired { id });
        }
        let by = registry.get(grant.by()).map(|record| record.key_hash);
        if by != Some(grant.seal.key.key_hash()) || !grant.is_signed() {
            return Err(GrantError::Forged { id });
        }
        if grant.record.status != Status::Left {
            self.check(registry, &grant)?;
        } else if !self.held.contains_key(&id) && self.held.len() >= GRANTS_MAX {
            return Err(GrantError::Full { held: self.held.len() });
        }
        self.held.insert(id, (grant, Signed { taken_at: now, age_then: age }));
        Ok(true)
    }

    /// The log has gone on: lets go of what it has decided.
    pub fn settle(&mut self, registry: &Registry) -> Vec<Settled> {
        let mut settled = Vec::new();
        self.held.retain(|id, (grant, _)| {
            let known = registry.get(*id).filter(|_| !registry.is_provisional(*id));
            let outcome = match known {
                Some(record) if record.key_hash == grant.record.key_hash => Settled::Confirmed(*id),
                Some(_) => Settled::Conflict(*id),
                None if registry.delegate_of(*id) != Some(grant.by()) => Settled::Undone(*id),
                None => return true,
            };
            if grant.record.status != Status::Left {
                settled.push(outcome);
            }
            false
        });
        settled
    }

    /// Lets go of what is over; true where something was.
    pub fn expire(&mut self, now: Micros) -> bool {
        let before = self.held.len();
        self.held.retain(|_, (_, signed)| signed.age(now) < self.lifetime);
        self.held.len() < before
    }

    /// The provisional members.
    pub fn records(&self) -> impl Iterator<Item = &RegionRecord> {
        self.held.values().map(|(grant, _)| &grant.record).filter(|record| record.is_live())
    }

    /// The grants that `delegate` gave and the log has not decided on: what to ask the master for.
    pub fn given_by(&self, delegate: RegionId) -> impl Iterator<Item = &RegionRecord> {
        self.records().filter(move |record| {
            self.held.get(&record.id).is_some_and(|(grant, _)| grant.by() == delegate)
        })
    }

    /// All grants with their ages, to be passed on or kept on disk; those taken back too.
    pub fn held(&self, now: Micros) -> impl Iterator<Item = HeldGrant> + '_ {
        self.held
            .values()
            .map(move |(grant, signed)| HeldGrant { grant: grant.clone(), age: signed.age(now) })
    }

    /// Whether the rules allow a grant now.
    fn check(&self, registry: &Registry, grant: &Grant) -> Result<(), GrantError> {
        let (record, by) = (&grant.record, grant.by());
        let id = record.id;
        if registry.delegate_of(id) != Some(by) || !registry.is_live(by) {
            return Err(GrantError::NotDelegated { id, by });
        }
        if record.status != Status::Live {
            return Err(GrantError::Rule("a grant is for a live region".to_owned()));
        }
        if let Some(known) = registry.get(id)
            && !registry.is_provisional(id)
        {
            return Err(match known.key_hash == record.key_hash {
                true => GrantError::Registered { id },
                false => GrantError::IdConflict { id },
            });
        }
        if let Some((known, _)) = self.held.get(&id)
            && known.record.is_live()
            && known.record.key_hash != record.key_hash
        {
            return Err(GrantError::IdConflict { id });
        }
        let taken = self.records().find(|other| other.name == record.name && other.id != id);
        if let Some(other) = taken.or_else(|| registry.by_name(record.name.as_str()))
            && other.id != id
        {
            return Err(GrantError::NameTaken { name: record.name.clone(), by: other.id });
        }
        if !self.held.contains_key(&id) && self.held.len() >= GRANTS_MAX {
            return Err(GrantError::Full { held: self.held.len() });
        }
        // What the log would say of it, but for the term.
        let join = crate::Change::Join(record.clone());
        registry
            .draft(registry.term(), join)
            .map_err(|error| GrantError::Rule(error.to_string()))?;
        Ok(())
    }
}

/// Grants that one region holds at most.
const GRANTS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, KeyHash};

    const HOUR: Micros = Micros::from_secs(3_600);

    fn region(id: u16) -> RegionId {
        RegionId::new(id).unwrap()
    }

    fn key(id: u16) -> RegionKey {
        RegionKey::from_seed(&[id as u8; 32]).unwrap()
    }

    fn record(id: u16, parent: Option<u16>) -> RegionRecord {
        RegionRecord {
            id: region(id),
            name: format!("r{id}").parse().unwrap(),
            parent: parent.map(region),
            addresses: vec![format!("10.0.0.{}:1", id % 256)],
            key_hash: key(id).key_hash(),
            status: Status::Joining,
            coordinates: None,
        }
    }

    fn write(registry: &mut Registry, change: Change) {
        registry.propose_signed(1, change, region(1), &key(1)).unwrap();
    }

    /// 1 is the root; 2 and 3 below it, with blocks 100..=109 and 200..=209.
    fn federation() -> Registry {
        let mut registry = Registry::new();
        for (id, parent) in [(1, None), (2, Some(1)), (3, Some(1))] {
            write(&mut registry, Change::Join(record(id, parent)));
            write(&mut registry, Change::Live(region(id)));
        }
        for (to, first) in [(2, 100), (3, 200)] {
            let (to, first, last) = (region(to), region(first), region(first + 9));
            write(&mut registry, Change::Delegate { to, first, last });
        }
        registry
    }

    fn admit(
        book: &mut GrantBook,
        registry: &Registry,
        record: RegionRecord,
    ) -> Result<HeldGrant, GrantError> {
        book.admit(Micros::ZERO, registry, region(2), &key(2), record)
    }

    #[test]
    fn a_delegate_admits_inside_its_block_and_others_take_its_word() {
        let (registry, mut book) = (federation(), GrantBook::new(HOUR));
        let held = admit(&mut book, &registry, record(100, Some(2))).unwrap();
        assert_eq!(admit(&mut book, &registry, record(100, Some(2))), Ok(held.clone()));
        let mut elsewhere = (federation(), GrantBook::new(HOUR));
        assert_eq!(elsewhere.1.take(Micros::ZERO, &elsewhere.0, held.clone()), Ok(true));
        assert_eq!(elsewhere.1.take(Micros::ZERO, &elsewhere.0, held), Ok(false), "no news");
        let records: Vec<RegionRecord> = elsewhere.1.records().cloned().collect();
        let version = elsewhere.0.version();
        let state = elsewhere.0.state_hash();
        elsewhere.0.set_provisional(records);
        let shown = &elsewhere.0;
        assert!(shown.is_live(region(100)) && shown.is_provisional(region(100)));
        assert_eq!(shown.by_name("r100").unwrap().id, region(100));
        let ids: Vec<u16> = shown.regions().map(|record| record.id.get()).collect();
        assert_eq!(ids, [1, 2, 3, 100]);
        assert_eq!(shown.hierarchy().children(region(2)).next(), Some(region(100)));
        assert_eq!((shown.version(), shown.state_hash()), (version, state), "not the log's");
    }

    #[test]
    fn what_a_delegate_may_not_admit_is_refused_at_it_and_at_others() {
        let (registry, mut book) = (federation(), GrantBook::new(HOUR));
        type Fits = fn(&GrantError) -> bool;
        let cases: [(RegionRecord, Fits); 5] = [
            (record(99, Some(2)), |e| matches!(e, GrantError::NotDelegated { .. })),
            (record(200, Some(2)), |e| matches!(e, GrantError::NotDelegated { .. })),
            (record(100, Some(77)), |e| matches!(e, GrantError::Rule(_))),
            (record(100, None), |e| matches!(e, GrantError::Rule(_))),
            (RegionRecord { name: "r3".parse().unwrap(), ..record(100, Some(2)) }, |e| {
                matches!(e, GrantError::NameTaken { .. })
            }),
        ];
        for (record, fits) in cases {
            let error = admit(&mut book, &registry, record.clone()).unwrap_err();
            assert!(fits(&error), "{error}");
            let signed =
                Grant::sign(RegionRecord { status: Status::Live, ..record }, 1, region(2), &key(2));
            let held = HeldGrant { grant: signed, age: Micros::ZERO };
            assert!(fits(&book.take(Micros::ZERO, &registry, held).unwrap_err()));
        }
        admit(&mut book, &registry, record(100, Some(2))).unwrap();
        let other = RegionRecord { key_hash: KeyHash([9; 32]), ..record(100, Some(2)) };
        let error = admit(&mut book, &registry, other).unwrap_err();
        assert_eq!(error, GrantError::IdConflict { id: region(100) });
    }

    #[test]
    fn a_grant_that_its_delegate_did_not_sign_is_refused() {
        let (registry, mut book) = (federation(), GrantBook::new(HOUR));
        let live = RegionRecord { status: Status::Live, ..record(100, Some(2)) };
        let stolen = Grant::sign(live.clone(), 1, region(2), &key(3));
        let changed = Grant { serial: 2, ..Grant::sign(live, 1, region(2), &key(2)) };
        for grant in [stolen, changed] {
            let held = HeldGrant { grant, age: Micros::ZERO };
            let error = book.take(Micros::ZERO, &registry, held).unwrap_err();
            assert_eq!(error, GrantError::Forged { id: region(100) });
        }
    }

    #[test]
    fn ages_add_up_on_the_way_and_a_grant_that_is_over_does_not_come_back() {
        let registry = federation();
        let mut first = GrantBook::new(HOUR);
        admit(&mut first, &registry, record(100, Some(2))).unwrap();
        let half = Micros::from_secs(1_800);
        let held = first.held(half).next().unwrap();
        assert_eq!(held.age, half);
        // Another clock: it begins at zero.
        let mut second = GrantBook::new(HOUR);
        second.take(Micros::ZERO, &registry, held).unwrap();
        assert!(!second.expire(Micros::from_secs(1_799)));
        assert!(second.expire(half));
        assert_eq!(second.records().count(), 0);
        let late = first.held(HOUR).next().unwrap();
        let error = second.take(half, &registry, late).unwrap_err();
        assert_eq!(error, GrantError::Expired { id: region(100) });
    }

    #[test]
    fn the_log_decides_between_two_parts_that_were_apart() {
        // The delegate admits 100 and 101 with one key each; the master, elsewhere, admits another 100.
        let (mut registry, mut book) = (federation(), GrantBook::new(HOUR));
        admit(&mut book, &registry, record(100, Some(2))).unwrap();
        admit(&mut book, &registry, record(101, Some(2))).unwrap();
        admit(&mut book, &registry, record(102, Some(2))).unwrap();
        registry.set_provisional(book.records().cloned().collect::<Vec<_>>());
        let asked: Vec<u16> = book.given_by(region(2)).map(|record| record.id.get()).collect();
        assert_eq!(asked, [100, 101, 102]);
        let other = RegionRecord {
            key_hash: KeyHash([9; 32]),
            name: "elsewhere".parse().unwrap(),
            ..record(100, Some(1))
        };
        write(&mut registry, Change::Join(other));
        write(&mut registry, Change::Join(record(101, Some(2))));
        assert!(registry.is_live(region(101)), "joining by the log, live by its delegate still");
        assert!(!registry.is_live(region(100)), "the log has the word");
        assert_eq!(book.clone().settle(&registry), [Settled::Conflict(region(100))]);
        write(&mut registry, Change::Live(region(101)));
        let settled = book.settle(&registry);
        assert_eq!(settled, [Settled::Conflict(region(100)), Settled::Confirmed(region(101))]);
        let (to, first, last) = (region(3), region(100), region(109));
        write(&mut registry, Change::Delegate { to, first, last });
        assert_eq!(book.settle(&registry), [Settled::Undone(region(102))]);
        assert_eq!(book.records().count(), 0);
    }

    #[test]
    fn a_grant_that_is_taken_back_ends_everywhere_and_its_number_is_free_again() {
        let registry = federation();
        let (mut here, mut there) = (GrantBook::new(HOUR), GrantBook::new(HOUR));
        let held = admit(&mut here, &registry, record(100, Some(2))).unwrap();
        there.take(Micros::ZERO, &registry, held.clone()).unwrap();
        let back = here.revoke(Micros::ZERO, region(100), &key(2)).unwrap();
        assert_eq!(there.take(Micros::ZERO, &registry, back), Ok(true));
        assert_eq!(there.records().count() + here.records().count(), 0);
        assert_eq!(there.take(Micros::ZERO, &registry, held), Ok(false), "it does not come back");
        let other = RegionRecord { key_hash: KeyHash([9; 32]), ..record(100, Some(2)) };
        let held = admit(&mut here, &registry, other).unwrap();
        assert_eq!(there.take(Micros::ZERO, &registry, held), Ok(true));
    }

    #[test]
    fn the_number_of_grants_is_bounded() {
        let mut registry = federation();
        let (to, first, last) = (region(2), region(1_000), region(9_000));
        write(&mut registry, Change::Delegate { to, first, last });
        let mut book = GrantBook::new(HOUR);
        for id in 0..1_024 {
            admit(&mut book, &registry, record(1_000 + id, Some(2))).unwrap();
        }
        let error = admit(&mut book, &registry, record(3_000, Some(2))).unwrap_err();
        assert_eq!(error, GrantError::Full { held: 1_024 });
    }
}
