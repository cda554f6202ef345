//! Who is in which group, in every region that takes part, as far as is known here.
//!
//! Each region is the only writer of its own members, so there are no conflicts to resolve. It
//! numbers its changes and sends them to every region that takes part: all its members at first
//! contact and whenever the other side has lost track, the changes since then otherwise. The
//! session of the two regions delivers them in order; from time to time a digest (the number of
//! the last change) shows that nothing is missing. When a region becomes unreachable its members
//! leave here; after the heal it sends all of them again, so nobody who died meanwhile comes back.
//!
//! A region takes part from its first use of groups on. It says hello to every region of the
//! federation then; the ones that do not take part keep nothing and say hello in their turn later.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use fedist_registry::{LocalId, Micros, RegionId};

use super::{
    JoinError,
    member::{Entry, GroupEvent, LeaveReason, Member, Meta, is_group_name},
    protocol::{Change, HelloAnswer, Update},
};
use crate::ExitReason;

/// The groups as one region knows them.
pub(super) struct Membership {
    me: RegionId,
    boot: u32,
    takes_part: bool,
    /// Number of the latest change of the own members.
    version: u64,
    /// The latest own changes; the last one led to `version`.
    log: VecDeque<Change>,
    table: BTreeMap<Arc<str>, BTreeMap<RegionId, BTreeMap<LocalId, Entry>>>,
    holdings: BTreeMap<RegionId, Holding>,
    peers: BTreeMap<RegionId, Peer>,
    events: Vec<GroupEvent>,
    /// Bytes in one message to another region, about.
    part_bytes: usize,
    /// Memberships of other regions that were not taken in: past a bound, or malformed.
    refused: u64,
}

/// What a region has in the table.
#[derive(Default)]
struct Holding {
    groups: BTreeSet<Arc<str>>,
    members: usize,
    bytes: usize,
}

/// Another region, and how far each side has come with the other's members.
struct Peer {
    phase: Phase,
    /// The life of the peer that was heard of last.
    boot: u32,
    /// The peer's version of which the table has all; `None` before the first full copy.
    replica: Option<u64>,
    assembly: Option<Assembly>,
    /// Our version that was sent; `None`: all of it has to go.
    sent: Option<u64>,
    /// Not before this time: the next hello, or the next update after one that could not be sent.
    retry_at: Micros,
    tries: u32,
    digest_at: Micros,
    resync_at: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked whether it takes part.
    Unasked,
    Asked,
    /// Takes no part, and will say hello when it does.
    Absent,
    TakesPart,
}

/// The parts of a full copy that have come.
struct Assembly {
    version: u64,
    next_part: u32,
    groups: BTreeMap<Arc<str>, BTreeMap<LocalId, Entry>>,
    members: usize,
    bytes: usize,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Ask a region whether it takes part.
    Hello(RegionId),
    Update(RegionId, Update),
}

/// Memberships of one region: joined actors, counted once per group.
pub(super) const MEMBERS_MAX: usize = 65_536;
/// Bytes of one region's memberships: names, pids and metadata.
pub(super) const BYTES_MAX: usize = 4 << 20;

const LOG_LEN: usize = 1_024;
/// Bytes in one part of a full copy, and in all the changes sent at once.
const PART_BYTES: usize = 128 << 10;
/// Regions that are being asked at the same time.
const ASKED_MAX: usize = 32;
const RETRY_MIN: Micros = Micros::from_millis(200);
const RETRY_MAX_SHIFT: u32 = 6;
/// Between two digests to the same region, at least; more with many regions, for a steady load.
const DIGEST_PERIOD: Micros = Micros::from_secs(15);
const DIGEST_SPACING: Micros = Micros::from_millis(100);
const RESYNC_PAUSE: Micros = Micros::from_secs(1);

impl Membership {
    /// `max_message`: the longest message to another region, in bytes.
    pub(super) fn new(me: RegionId, boot: u32, max_message: usize) -> Self {
        Self {
            me,
            boot,
            part_bytes: PART_BYTES.min(max_message / 2),
            takes_part: false,
            version: 0,
            log: VecDeque::new(),
            table: BTreeMap::new(),
            holdings: BTreeMap::new(),
            peers: BTreeMap::new(),
            events: Vec::new(),
            refused: 0,
        }
    }

    // ---- what is known ---------------------------------------------------------------------

    pub(super) fn members(&self, group: &str) -> Vec<Member> {
        self.table.get(group).map(members_of).unwrap_or_default()
    }

    pub(super) fn local_members(&self, group: &str) -> impl Iterator<Item = Member> {
        let own = self.table.get(group).and_then(|regions| regions.get(&self.me));
        own.into_iter().flat_map(BTreeMap::values).map(|entry| entry.member(self.me))
    }

    /// The groups under a prefix that have members.
    pub(super) fn groups(&self, prefix: &str) -> impl Iterator<Item = &Arc<str>> {
        self.under(prefix).map(|(group, _)| group)
    }

    pub(super) fn snapshot(&self, prefix: &str) -> Vec<(Arc<str>, Vec<Member>)> {
        self.under(prefix)
            .map(|(group, regions)| (Arc::clone(group), members_of(regions)))
            .collect()
    }

    /// The regions with members of a group.
    pub(super) fn regions_of(&self, group: &str) -> Vec<RegionId> {
        self.table.get(group).map(|regions| regions.keys().copied().collect()).unwrap_or_default()
    }

    pub(super) fn is_member(&self, group: &str, local: LocalId) -> bool {
        let own = self.table.get(group).and_then(|regions| regions.get(&self.me));
        own.is_some_and(|entries| entries.contains_key(&local))
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn under(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<RegionId, BTreeMap<LocalId, Entry>>)> {
        use std::ops::Bound;
        self.table
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(group, _)| group.starts_with(prefix))
    }

    /// What has changed since the last call, in order.
    pub(super) fn take_events(&mut self) -> Vec<GroupEvent> {
        std::mem::take(&mut self.events)
    }

    // ---- own members -----------------------------------------------------------------------

    pub(super) fn take_part(&mut self) {
        self.takes_part = true;
    }

    pub(super) fn takes_part(&self) -> bool {
        self.takes_part
    }

    /// Enters an actor of this region, or counts one more join of it.
    pub(super) fn join(
        &mut self,
        group: &str,
        local: LocalId,
        meta: Meta,
    ) -> Result<(), JoinError> {
        if !is_group_name(group) {
            return Err(JoinError::MalformedGroup { group: group.to_owned() });
        }
        let own = self.table.get(group).and_then(|regions| regions.get(&self.me));
        let joins = own.and_then(|entries| entries.get(&local)).map_or(0, |entry| entry.joins);
        let entry = Entry { local, joins: joins.saturating_add(1), meta };
        if !self.set(self.me, group, entry.clone()) {
            return Err(JoinError::Full { members: MEMBERS_MAX, bytes: BYTES_MAX });
        }
        self.record(Change::Set { group: group.to_owned(), entry });
        Ok(())
    }

    /// Takes one join back; `false` when the actor was not a member.
    pub(super) fn leave(&mut self, group: &str, local: LocalId) -> bool {
        let Some(entry) = self.own_entry(group, local) else {
            return false;
        };
        if entry.joins > 1 {
            let entry = Entry { joins: entry.joins - 1, ..entry };
            self.set(self.me, group, entry.clone());
            self.record(Change::Set { group: group.to_owned(), entry });
        } else {
            self.unset(self.me, group, local, LeaveReason::Left);
            self.record(Change::Gone { group: group.to_owned(), local, ended: None });
        }
        true
    }

    /// `Ok(false)`: not a member.
    pub(super) fn update_meta(
        &mut self,
        group: &str,
        local: LocalId,
        meta: Meta,
    ) -> Result<bool, JoinError> {
        let Some(entry) = self.own_entry(group, local) else {
            return Ok(false);
        };
        let entry = Entry { meta, ..entry };
        if !self.set(self.me, group, entry.clone()) {
            return Err(JoinError::Full { members: MEMBERS_MAX, bytes: BYTES_MAX });
        }
        self.record(Change::Set { group: group.to_owned(), entry });
        Ok(true)
    }

    /// An actor of this region ended: it leaves all its groups.
    pub(super) fn ended(&mut self, local: LocalId, reason: &ExitReason) {
        let Some(holding) = self.holdings.get(&self.me) else {
            return;
        };
        let groups: Vec<Arc<str>> =
            holding.groups.iter().filter(|group| self.is_member(group, local)).cloned().collect();
        for group in groups {
            self.unset(self.me, &group, local, LeaveReason::Ended(reason.clone()));
            let ended = Some(reason.clone());
            self.record(Change::Gone { group: group.to_string(), local, ended });
        }
    }

    fn own_entry(&self, group: &str, local: LocalId) -> Option<Entry> {
        self.table.get(group)?.get(&self.me)?.get(&local).cloned()
    }

    fn record(&mut self, change: Change) {
        self.version += 1;
        if self.log.len() == LOG_LEN {
            self.log.pop_front();
        }
        self.log.push_back(change);
    }

    // ---- other regions ---------------------------------------------------------------------

    /// The live regions of the registry: new ones are asked; those that left are forgotten, and given back.
    pub(super) fn handle_regions(
        &mut self,
        now: Micros,
        live: &BTreeSet<RegionId>,
    ) -> Vec<RegionId> {
        for region in live {
            if *region != self.me {
                self.peers.entry(*region).or_insert_with(|| Peer::new(now));
            }
        }
        let gone: Vec<RegionId> =
            self.peers.keys().filter(|region| !live.contains(region)).copied().collect();
        for region in &gone {
            self.drop_region(*region, &LeaveReason::Unreachable);
            self.peers.remove(region);
        }
        gone
    }

    /// A region takes part, in the life `boot`, and has nothing of ours.
    pub(super) fn handle_hello(&mut self, now: Micros, from: RegionId, boot: u32) -> HelloAnswer {
        if self.takes_part && self.is_current(now, from, boot) {
            let peer = self.peers.entry(from).or_insert_with(|| Peer::new(now));
            peer.takes_part(now, from);
            peer.sent = None;
        }
        HelloAnswer { takes_part: self.takes_part, boot: self.boot }
    }

    /// The answer to our hello, or `None` when none came.
    pub(super) fn handle_hello_answer(
        &mut self,
        now: Micros,
        from: RegionId,
        answer: Option<HelloAnswer>,
    ) {
        let restarted =
            answer.as_ref().is_some_and(|answer| !self.is_current(now, from, answer.boot));
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.phase == Phase::Asked) else {
            return;
        };
        match answer {
            Some(answer) if answer.takes_part && !restarted => peer.takes_part(now, from),
            Some(_) if !restarted => peer.phase = Phase::Absent,
            _ => {
                peer.phase = Phase::Unasked;
                peer.back_off(now);
            }
        }
    }

    pub(super) fn handle_update(
        &mut self,
        now: Micros,
        from: RegionId,
        boot: u32,
        update: Update,
    ) -> Option<Action> {
        if !self.takes_part || !self.is_current(now, from, boot) {
            return None;
        }
        let peer = self.peers.get_mut(&from)?;
        match peer.phase {
            Phase::Asked | Phase::TakesPart => peer.takes_part(now, from),
            // An update follows a hello of one of the two; this one is left over from a session that ended.
            Phase::Unasked => return None,
            // It does take part: the answer that said otherwise was to a question before the last one.
            Phase::Absent => {
                peer.phase = Phase::Unasked;
                peer.retry_at = now;
                return None;
            }
        }
        let in_step = match update {
            Update::Resync => {
                peer.sent = None;
                true
            }
            Update::Digest { version } => peer.assembly.is_some() || peer.replica == Some(version),
            Update::Delta { from: base, to, changes } => match peer.replica {
                Some(version) if version == base => {
                    peer.replica = Some(to);
                    for change in changes {
                        self.apply(from, change);
                    }
                    true
                }
                // What a full copy contained already.
                Some(version) => to <= version,
                None => false,
            },
            Update::Full { version, part, last, groups } => {
                self.take_part_of_copy(from, version, part, last, groups)
            }
        };
        if in_step {
            return None;
        }
        let peer = self.peers.get_mut(&from)?;
        if now < peer.resync_at {
            return None;
        }
        peer.resync_at = now.saturating_add(RESYNC_PAUSE);
        Some(Action::Update(from, Update::Resync))
    }

    /// The session with a region ended: its members leave here.
    pub(super) fn region_lost(&mut self, now: Micros, region: RegionId) {
        self.drop_region(region, &LeaveReason::Unreachable);
        if let Some(peer) = self.peers.get_mut(&region) {
            *peer = Peer { boot: peer.boot, ..Peer::new(now) };
        }
    }

    /// A session with a region has opened: what waited for it is due.
    pub(super) fn region_reachable(&mut self, now: Micros, region: RegionId) {
        if let Some(peer) = self.peers.get_mut(&region) {
            peer.retry_at = now;
            peer.tries = 0;
        }
    }

    /// A region came back in a new life: it starts empty.
    pub(super) fn region_restarted(&mut self, now: Micros, region: RegionId, boot: u32) {
        let known = self.peers.get(&region).is_some_and(|peer| peer.boot >= boot);
        if !known {
            self.drop_region(region, &LeaveReason::Restarted);
            self.peers.insert(region, Peer { boot, ..Peer::new(now) });
        }
    }

    /// A hello or an update could not be handed over.
    pub(super) fn undelivered(&mut self, now: Micros, region: RegionId) {
        if let Some(peer) = self.peers.get_mut(&region) {
            peer.sent = None;
            if peer.phase == Phase::Asked {
                peer.phase = Phase::Unasked;
            }
            peer.back_off(now);
        }
    }

    /// What is due now, for the regions that `reachable` says a path leads to.
    pub(super) fn poll(
        &mut self,
        now: Micros,
        reachable: impl Fn(RegionId) -> bool,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.takes_part {
            return actions;
        }
        let mut asked = self.peers.values().filter(|peer| peer.phase == Phase::Asked).count();
        let taking_part =
            self.peers.values().filter(|peer| peer.phase == Phase::TakesPart).count() as u64;
        let period = Micros(DIGEST_PERIOD.0.max(DIGEST_SPACING.0 * taking_part));
        let mut copy = None;
        for (region, peer) in &mut self.peers {
            let due = now >= peer.retry_at && reachable(*region);
            match peer.phase {
                Phase::Unasked if due && asked < ASKED_MAX => {
                    asked += 1;
                    peer.phase = Phase::Asked;
                    actions.push(Action::Hello(*region));
                }
                Phase::TakesPart if due && peer.sent != Some(self.version) => {
                    let delta = peer
                        .sent
                        .and_then(|sent| delta(&self.log, self.version, sent, self.part_bytes));
                    match delta {
                        Some(delta) => actions.push(Action::Update(*region, delta)),
                        None => {
                            let copy = copy.get_or_insert_with(|| {
                                full_copy(&self.table, self.me, self.version, self.part_bytes)
                            });
                            let parts = copy.iter().cloned();
                            actions.extend(parts.map(|part| Action::Update(*region, part)));
                        }
                    }
                    peer.sent = Some(self.version);
                    peer.digest_at = now.saturating_add(period);
                }
                Phase::TakesPart if due && now >= peer.digest_at => {
                    peer.digest_at = now.saturating_add(period);
                    let digest = Update::Digest { version: self.version };
                    actions.push(Action::Update(*region, digest));
                }
                _ => {}
            }
        }
        actions
    }

    /// The regions that are known to take part.
    pub(super) fn participants(&self) -> impl Iterator<Item = RegionId> {
        let peers = self.peers.iter().filter(|(_, peer)| peer.phase == Phase::TakesPart);
        peers.map(|(region, _)| *region)
    }

    /// Notes the life `boot` of a region; `false` when it is over already.
    fn is_current(&mut self, now: Micros, region: RegionId, boot: u32) -> bool {
        let known = self.peers.get(&region).map_or(0, |peer| peer.boot);
        if boot > known {
            if known == 0 {
                self.peers.entry(region).or_insert_with(|| Peer::new(now)).boot = boot;
            } else {
                let asked = self.peers.get(&region).is_some_and(|peer| peer.phase == Phase::Asked);
                self.region_restarted(now, region, boot);
                if asked && let Some(peer) = self.peers.get_mut(&region) {
                    peer.phase = Phase::Asked;
                }
            }
        }
        boot >= known
    }

    /// Takes in one part of a full copy; `false` when parts are missing.
    fn take_part_of_copy(
        &mut self,
        from: RegionId,
        version: u64,
        part: u32,
        last: bool,
        groups: Vec<(String, Vec<Entry>)>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else {
            return false;
        };
        if part == 0 {
            peer.assembly = Some(Assembly::new(version));
        }
        let Some(mut assembly) = peer
            .assembly
            .take()
            .filter(|assembly| (assembly.version, assembly.next_part) == (version, part))
        else {
            return false;
        };
        assembly.next_part += 1;
        for (group, entries) in groups {
            for entry in entries {
                if !assembly.add(&group, entry) {
                    self.refused += 1;
                }
            }
        }
        if !last {
            peer.assembly = Some(assembly);
            return true;
        }
        peer.replica = Some(version);
        self.replace(from, assembly.groups);
        true
    }

    /// Makes `groups` all that a region has; the difference becomes events.
    fn replace(&mut self, region: RegionId, groups: BTreeMap<Arc<str>, BTreeMap<LocalId, Entry>>) {
        let held = self.holdings.get(&region).map(|holding| holding.groups.clone());
        for group in held.unwrap_or_default() {
            let gone: Vec<LocalId> = self
                .table
                .get(&group)
                .and_then(|regions| regions.get(&region))
                .into_iter()
                .flat_map(BTreeMap::keys)
                .filter(|local| !groups.get(&group).is_some_and(|now| now.contains_key(*local)))
                .copied()
                .collect();
            for local in gone {
                self.unset(region, &group, local, LeaveReason::Left);
            }
        }
        for (group, entries) in groups {
            for entry in entries.into_values() {
                if !self.set(region, &group, entry) {
                    self.refused += 1;
                }
            }
        }
    }

    fn apply(&mut self, region: RegionId, change: Change) {
        match change {
            Change::Set { group, entry } => {
                if !is_well_formed(&group, &entry) || !self.set(region, &group, entry) {
                    self.refused += 1;
                }
            }
            Change::Gone { group, local, ended } => {
                let reason = ended.map_or(LeaveReason::Left, LeaveReason::Ended);
                self.unset(region, &group, local, reason);
            }
        }
    }

    // ---- the table -------------------------------------------------------------------------

    /// Enters or changes a membership; `false`, and nothing changed, at a bound of the region.
    fn set(&mut self, region: RegionId, group: &str, entry: Entry) -> bool {
        let known = self.table.get(group).and_then(|regions| regions.get(&region));
        let before = known.and_then(|entries| entries.get(&entry.local)).cloned();
        if before.as_ref() == Some(&entry) {
            return true;
        }
        let holding = self.holdings.entry(region).or_default();
        let bytes = holding.bytes + entry.weight(group)
            - before.as_ref().map_or(0, |before| before.weight(group));
        let members = holding.members + usize::from(before.is_none());
        if members > MEMBERS_MAX || bytes > BYTES_MAX {
            return false;
        }
        holding.members = members;
        holding.bytes = bytes;
        let group = match self.table.get_key_value(group) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(group),
        };
        holding.groups.insert(Arc::clone(&group));
        let member = entry.member(region);
        let regions = self.table.entry(Arc::clone(&group)).or_default();
        regions.entry(region).or_default().insert(entry.local, entry);
        self.events.push(match before {
            None => GroupEvent::Joined { group, member },
            Some(_) => GroupEvent::Updated { group, member },
        });
        true
    }

    fn unset(&mut self, region: RegionId, group: &str, local: LocalId, reason: LeaveReason) {
        let Some((group, regions)) = self.table.get_key_value(group) else {
            return;
        };
        let group = Arc::clone(group);
        if !regions.contains_key(&region) {
            return;
        }
        let Some(regions) = self.table.get_mut(&group) else {
            return;
        };
        let Some(entries) = regions.get_mut(&region) else {
            return;
        };
        let Some(entry) = entries.remove(&local) else {
            return;
        };
        let emptied = entries.is_empty();
        if emptied {
            regions.remove(&region);
            if regions.is_empty() {
                self.table.remove(&group);
            }
        }
        if let Some(holding) = self.holdings.get_mut(&region) {
            holding.members -= 1;
            holding.bytes -= entry.weight(&group);
            if emptied {
                holding.groups.remove(&group);
            }
        }
        self.events.push(GroupEvent::Left { group, member: entry.member(region), reason });
    }

    fn drop_region(&mut self, region: RegionId, reason: &LeaveReason) {
        let Some(holding) = self.holdings.remove(&region) else {
            return;
        };
        for group in holding.groups {
            let Some(regions) = self.table.get_mut(&group) else {
                continue;
            };
            for entry in regions.remove(&region).unwrap_or_default().into_values() {
                self.events.push(GroupEvent::Left {
                    group: Arc::clone(&group),
                    member: entry.member(region),
                    reason: reason.clone(),
                });
            }
            if regions.is_empty() {
                self.table.remove(&group);
            }
        }
    }
}

impl Peer {
    fn new(now: Micros) -> Self {
        Self {
            phase: Phase::Unasked,
            boot: 0,
            replica: None,
            assembly: None,
            sent: None,
            retry_at: now,
            tries: 0,
            digest_at: now,
            resync_at: now,
        }
    }

    fn takes_part(&mut self, now: Micros, region: RegionId) {
        self.tries = 0;
        if self.phase != Phase::TakesPart {
            self.phase = Phase::TakesPart;
            self.retry_at = now;
            // Spread over the period, so that digests do not go out in one burst.
            let share = u64::from(region.get()).wrapping_mul(7_919) % 1_000;
            self.digest_at = now.saturating_add(Micros(DIGEST_PERIOD.0 / 1_000 * share));
        }
    }

    fn back_off(&mut self, now: Micros) {
        let wait = RETRY_MIN.0 << self.tries.min(RETRY_MAX_SHIFT);
        self.tries = self.tries.saturating_add(1);
        self.retry_at = now.saturating_add(Micros(wait));
    }
}

impl Assembly {
    fn new(version: u64) -> Self {
        Self { version, next_part: 0, groups: BTreeMap::new(), members: 0, bytes: 0 }
    }

    fn add(&mut self, group: &str, entry: Entry) -> bool {
        let bytes = self.bytes + entry.weight(group);
        if !is_well_formed(group, &entry) || self.members >= MEMBERS_MAX || bytes > BYTES_MAX {
            return false;
        }
        self.members += 1;
        self.bytes = bytes;
        match self.groups.get_mut(group) {
            Some(entries) => entries.insert(entry.local, entry),
            None => self.groups.entry(Arc::from(group)).or_default().insert(entry.local, entry),
        };
        true
    }
}

fn is_well_formed(group: &str, entry: &Entry) -> bool {
    is_group_name(group) && entry.meta.len() <= Meta::MAX_LEN && entry.joins > 0
}

fn members_of(regions: &BTreeMap<RegionId, BTreeMap<LocalId, Entry>>) -> Vec<Member> {
    let all = regions.iter();
    all.flat_map(|(region, entries)| entries.values().map(|entry| entry.member(*region))).collect()
}

/// The changes behind version `sent`, if the log still has them and they fit into one message.
fn delta(log: &VecDeque<Change>, version: u64, sent: u64, max_bytes: usize) -> Option<Update> {
    let count = usize::try_from(version.checked_sub(sent)?).ok()?;
    let first = log.len().checked_sub(count)?;
    let changes: Vec<Change> = log.range(first..).cloned().collect();
    let bytes: usize = changes.iter().map(Change::weight).sum();
    if bytes > max_bytes {
        return None;
    }
    Some(Update::Delta { from: sent, to: version, changes })
}

/// All own members, in parts.
fn full_copy(
    table: &BTreeMap<Arc<str>, BTreeMap<RegionId, BTreeMap<LocalId, Entry>>>,
    me: RegionId,
    version: u64,
    part_bytes: usize,
) -> Vec<Update> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for (group, regions) in table {
        let Some(entries) = regions.get(&me) else {
            continue;
        };
        let mut run: Vec<Entry> = Vec::new();
        for entry in entries.values() {
            if bytes >= part_bytes {
                let full = std::mem::take(&mut run);
                if let Some(part) = parts.last_mut().filter(|_| !full.is_empty()) {
                    part.push((group.to_string(), full));
                }
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += entry.weight(group);
            run.push(entry.clone());
        }
        if let Some(part) = parts.last_mut() {
            part.push((group.to_string(), run));
        }
    }
    let count = parts.len();
    let numbered = parts.into_iter().enumerate();
    numbered
        .map(|(number, groups)| Update::Full {
            version,
            part: u32::try_from(number).unwrap_or(u32::MAX),
            last: number + 1 == count,
            groups,
        })
        .collect()
}

#[cfg(test)]
mod tests;
