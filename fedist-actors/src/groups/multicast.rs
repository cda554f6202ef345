//! Publishing across regions: one copy per link, every target once and in order.
//!
//! The source groups the target regions by the first link of its route to each and sends one copy
//! into every such link, with the list of the targets behind it. The neighbour delivers if it is
//! a target itself, and forwards to the others in the same way: never back, never to the source, never what it has
//! forwarded already, and over at most [`TTL`] links. What goes astray while routes change is
//! noticed by the target and sent again by the source, straight to it (see [`stream`](super::stream)).
//!
//! A relay's word about the source of a copy is believed: regions of one federation trust each
//! other with that. The copy itself must come from a neighbour or from the source.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use fedist_registry::{Micros, RegionId};

use super::{
    protocol::{Ack, GroupCopy, Letter, Notice, Target},
    stream::{Incoming, Outgoing, WINDOW, WINDOW_BYTES},
};
use crate::origin::Origin;

/// The source's, the relays' and the targets' part in publishing, for one region.
pub(super) struct Multicast {
    me: RegionId,
    boot: u32,
    outgoing: BTreeMap<RegionId, Outgoing>,
    incoming: BTreeMap<RegionId, Incoming>,
    forwarded: Forwarded,
    /// Groups with a member that has too many letters waiting, and the regions that say so.
    paused: BTreeMap<String, BTreeSet<RegionId>>,
    /// Letters of this region on their way to its own members.
    local: u64,
    local_bytes: usize,
    counters: GroupCounters,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Action {
    /// Send a copy to the group service of a region.
    Copy(RegionId, GroupCopy),
    /// Say something to the other end of a stream.
    Notice(RegionId, Notice),
    /// Hand a letter to the members in this region.
    Deliver(RegionId, Letter),
    /// The session with the target ended before the letter was acknowledged.
    Lost(RegionId, Letter),
}

/// What has happened to the groups of a node since it started, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupCounters {
    /// Messages published in this region.
    pub published: u64,
    /// Copies written to links for what this region published.
    pub copies: u64,
    /// Copies forwarded for other regions.
    pub forwarded: u64,
    /// Copies dropped on the way: no route, the way back, too many links, come twice. Their targets ask for them.
    pub astray: u64,
    /// Messages sent again straight to the region that missed them.
    pub repaired: u64,
    /// Messages for a region whose session ended before it acknowledged them.
    pub lost: u64,
    /// Messages that are not acknowledged now, over all regions.
    pub in_flight: u64,
    /// Memberships of other regions that were not taken in: malformed, or past a bound.
    pub refused_members: u64,
}

/// Links that a copy crosses at most.
pub(super) const TTL: u8 = 8;

impl Multicast {
    pub(super) fn new(me: RegionId, boot: u32) -> Self {
        Self {
            me,
            boot,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            forwarded: Forwarded::default(),
            paused: BTreeMap::new(),
            local: 0,
            local_bytes: 0,
            counters: GroupCounters::default(),
        }
    }

    pub(super) fn counters(&self) -> GroupCounters {
        GroupCounters { in_flight: self.outstanding() as u64, ..self.counters }
    }

    /// Accepts a letter for all `targets`, or for none: `Err` gives it back when one has no room.
    pub(super) fn publish(
        &mut self,
        now: Micros,
        targets: &[RegionId],
        letter: Letter,
        next_hop: impl Fn(RegionId) -> Option<RegionId>,
    ) -> Result<Vec<Action>, Letter> {
        let full = |target: &RegionId| {
            if *target == self.me {
                return self.local >= WINDOW || self.local_bytes >= WINDOW_BYTES;
            }
            self.outgoing.get(target).is_some_and(|stream| !stream.has_room())
        };
        if self.paused.contains_key(&letter.group) || targets.iter().any(full) {
            return Err(letter);
        }
        self.counters.published += 1;
        let mut hops: BTreeMap<RegionId, Vec<Target>> = BTreeMap::new();
        let mut actions = Vec::new();
        for target in targets {
            if *target == self.me {
                self.local += 1;
                self.local_bytes += letter.weight();
                actions.push(Action::Deliver(self.me, letter.clone()));
                continue;
            }
            let stream = self.outgoing.entry(*target).or_insert_with(Outgoing::new);
            let straight = stream.goes_straight(now);
            let seq = stream.push(now, letter.clone());
            let address = Target(*target, stream.epoch(), seq);
            if straight {
                actions.push(Action::Copy(*target, self.copy(vec![address], letter.clone())));
            } else if let Some(hop) = next_hop(*target) {
                hops.entry(hop).or_default().push(address);
            }
        }
        for (hop, targets) in hops {
            actions.push(Action::Copy(hop, self.copy(targets, letter.clone())));
        }
        let copies = actions.iter().filter(|action| matches!(action, Action::Copy(..))).count();
        self.counters.copies += copies as u64;
        Ok(actions)
    }

    /// A letter of this region has reached its own members.
    pub(super) fn delivered_locally(&mut self, letter: &Letter) {
        self.local = self.local.saturating_sub(1);
        self.local_bytes = self.local_bytes.saturating_sub(letter.weight());
    }

    /// A copy came from the neighbour `from`, or straight from its source.
    pub(super) fn handle_copy(
        &mut self,
        now: Micros,
        from: RegionId,
        copy: GroupCopy,
        next_hop: impl Fn(RegionId) -> Option<RegionId>,
    ) -> Vec<Action> {
        let GroupCopy { source, boot, ttl, targets, letter, .. } = copy;
        let mut actions = Vec::new();
        if source == self.me {
            self.counters.astray += 1;
            return actions;
        }
        let mut hops: BTreeMap<RegionId, Vec<Target>> = BTreeMap::new();
        for target in targets {
            if target.region() == self.me {
                let stream = self.incoming.entry(source).or_insert_with(Incoming::new);
                let ready = stream.accept(now, boot, target.epoch(), target.seq(), letter.clone());
                actions.extend(ready.into_iter().map(|letter| Action::Deliver(source, letter)));
                continue;
            }
            let hop = next_hop(target.region())
                .filter(|hop| ttl > 1 && *hop != from && *hop != source)
                .filter(|_| self.forwarded.is_first(source, boot, target));
            match hop {
                Some(hop) => hops.entry(hop).or_default().push(target),
                None => self.counters.astray += 1,
            }
        }
        for (hop, targets) in hops {
            self.counters.forwarded += 1;
            let copy = GroupCopy {
                origin: Origin::here(),
                source,
                boot,
                ttl: ttl - 1,
                targets,
                letter: letter.clone(),
            };
            actions.push(Action::Copy(hop, copy));
        }
        actions
    }

    /// A notice came from the other end of a stream.
    pub(super) fn handle_notice(
        &mut self,
        now: Micros,
        from: RegionId,
        notice: Notice,
    ) -> Vec<Action> {
        match notice {
            Notice::Ack(ack) => return self.handle_ack(now, from, &ack),
            Notice::Probe { boot, epoch, high } => {
                let stream = self.incoming.entry(from).or_insert_with(Incoming::new);
                stream.handle_probe(now, boot, epoch, high);
            }
            Notice::Pause { group } => self.pause(from, group),
            Notice::Resume { group } => self.resume(from, &group),
        }
        Vec::new()
    }

    fn handle_ack(&mut self, now: Micros, from: RegionId, ack: &Ack) -> Vec<Action> {
        let Some(stream) = self.outgoing.get_mut(&from).filter(|_| ack.boot == self.boot) else {
            return Vec::new();
        };
        let settled = stream.handle_ack(now, ack);
        let epoch = stream.epoch();
        self.counters.repaired += settled.repairs.len() as u64;
        self.counters.lost += settled.lost.len() as u64;
        let repairs = settled.repairs.into_iter().map(|(seq, letter)| {
            Action::Copy(from, self.copy(vec![Target(from, epoch, seq)], letter))
        });
        let lost = settled.lost.into_iter().map(|letter| Action::Lost(from, letter));
        repairs.chain(lost).collect()
    }

    /// Members of `group` in `region` have too many letters waiting: publishing waits.
    pub(super) fn pause(&mut self, region: RegionId, group: String) {
        if self.paused.len() < PAUSED_GROUPS || self.paused.contains_key(&group) {
            self.paused.entry(group).or_default().insert(region);
        }
    }

    pub(super) fn resume(&mut self, region: RegionId, group: &str) {
        if let Some(regions) = self.paused.get_mut(group) {
            regions.remove(&region);
            if regions.is_empty() {
                self.paused.remove(group);
            }
        }
    }

    /// The session with a region ended. Its streams begin anew, and what was under way is lost.
    pub(super) fn region_lost(&mut self, region: RegionId) -> Vec<Action> {
        self.paused.retain(|_, regions| {
            regions.remove(&region);
            !regions.is_empty()
        });
        if let Some(stream) = self.incoming.get_mut(&region) {
            stream.close();
        }
        let lost = self.outgoing.get_mut(&region).map(Outgoing::restart).unwrap_or_default();
        self.counters.lost += lost.len() as u64;
        lost.into_iter().map(|letter| Action::Lost(region, letter)).collect()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn deadline(&self) -> Option<Micros> {
        let outgoing = self.outgoing.values().filter_map(Outgoing::deadline);
        outgoing.chain(self.incoming.values().filter_map(Incoming::deadline)).min()
    }

    /// Acknowledgements and questions that are due.
    pub(super) fn handle_timeout(&mut self, now: Micros) -> Vec<Action> {
        let boot = self.boot;
        let probes = self.outgoing.iter_mut().filter_map(|(region, stream)| {
            Some(Action::Notice(*region, stream.handle_timeout(now, boot)?))
        });
        let acks = self.incoming.iter_mut().filter_map(|(region, stream)| {
            Some(Action::Notice(*region, Notice::Ack(stream.poll_ack(now)?)))
        });
        probes.chain(acks).collect()
    }

    /// Letters of this region that are not acknowledged yet, over all targets.
    pub(super) fn outstanding(&self) -> usize {
        self.outgoing.values().map(Outgoing::outstanding).sum()
    }

    fn copy(&self, targets: Vec<Target>, letter: Letter) -> GroupCopy {
        let (source, boot) = (self.me, self.boot);
        GroupCopy { origin: Origin::here(), source, boot, ttl: TTL, targets, letter }
    }
}

/// Groups that may be paused at the same time; beyond that, full mailboxes drop and count.
const PAUSED_GROUPS: usize = 4096;

/// What this region forwarded lately: a copy that comes in a circle ends here.
#[derive(Default)]
struct Forwarded {
    known: HashSet<(RegionId, u32, Target)>,
    order: VecDeque<(RegionId, u32, Target)>,
}

/// Copies remembered; a circle of eight links comes round long before as many pass.
const REMEMBERED: usize = 4096;

impl Forwarded {
    fn is_first(&mut self, source: RegionId, boot: u32, target: Target) -> bool {
        let copy = (source, boot, target);
        if !self.known.insert(copy) {
            return false;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(copy);
        true
    }
}

#[cfg(test)]
mod tests;
