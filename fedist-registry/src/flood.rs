//! Flooding of link states that costs little: an epidemic broadcast tree.
//!
//! The protocol is Plumtree (Leitao, Pereira and Rodrigues, "Epidemic Broadcast Trees", SRDS 2007), fitted to states
//! that replace each other:
//!
//! - A new state is *pushed* at once over the links of the tree; over the others only its region and sequence number
//!   go, in a digest a little later ([`FloodMessage::Have`]). Whoever gets a state that it holds already answers
//!   [`FloodMessage::Prune`], which takes the link out of the tree on both sides: what came first came over the
//!   fastest links, so these remain. Where many regions change at once, only copies of the lowest region's states
//!   prune: floods from two sides would cut one circle in two places.
//! - Whoever hears of a state in a digest and does not get it within 300 ms asks for it with
//!   [`FloodMessage::Graft`], which puts the link back into the tree. So a tree that broke repairs itself.
//! - Bad news (a link that is gone, a region that takes no transit any more) goes over all links at once, and no copy
//!   of it prunes.
//! - Neighbours compare what they hold when their link comes up, then every 30 s: [`FloodMessage::Summary`] has one
//!   hash for each of 64 parts of the region numbers, some 75 bytes for a small federation and below 1 KiB for any.
//!   The parts that differ are compared in turn, down to [`FloodMessage::Entries`]. What one side lacks it is offered
//!   ([`FloodMessage::Offer`]) and asks for once ([`FloodMessage::Pull`]), however many neighbours offer it.
//!
//! Nothing here grows with input alone. A queue to a neighbour is a set of regions, and holds each once; the state is
//! read from the database when the message is made, so what waits is replaced by what is newer. States are taken of
//! known regions only, and within [`MAX_LEAP`] of the sequence number that is held, so that no slip of a third party
//! can put a number under a region that the region itself could not outbid. What a neighbour may ask for, and make
//! this side compare, is limited by an allowance that refills with time; what goes beyond is not answered, and the
//! next comparison finds it again.

mod digest;
mod link;
mod span;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{LinkAdvert, LinkState, LinkStateDb, Micros, RegionId};
pub use digest::Digest;
use link::FloodLink;
pub use span::Span;
use span::share;

/// How a state travels.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Along the tree; a copy of what is held takes the link out of the tree.
    Pushed,
    /// Over every link: routes break until this is known.
    Urgent,
    /// Because the other side lacks it.
    Asked,
}

/// What two neighbours say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloodMessage {
    /// New states.
    States {
        /// How they travel.
        delivery: Delivery,
        /// At most what fits into a frame.
        states: Vec<LinkState>,
    },
    /// "I hold these; ask if they do not reach you."
    Have(Digest),
    /// "You lack these; ask."
    Offer(Digest),
    /// "This link is not needed in the tree."
    Prune,
    /// "This link is needed in the tree, and send me what is newer than this."
    Graft(Digest),
    /// "Send me what is newer than this." Zero stands for a region of which nothing is held.
    Pull(Digest),
    /// The sum of the hashes of what is held in each part of a part of the region numbers.
    Summary {
        /// The part.
        of: Span,
        /// [`Span::PARTS`] sums.
        parts: Vec<u64>,
    },
    /// All that is held in some parts.
    Entries {
        /// The parts.
        of: Vec<Span>,
        /// What is held there, and nothing else.
        held: Digest,
    },
}

/// What came out of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Regions of which the database now has a newer state.
    pub news: Vec<RegionId>,
    /// Somebody has a state of this region with this sequence number, which is not the present one: announce a higher.
    pub outbid: Option<u64>,
}

/// What flooding has counted.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct FloodStats {
    /// States that came and were newer than what was held.
    pub states_new: u64,
    /// States that came and were held already.
    pub states_known: u64,
    /// States of regions that are not registered.
    pub states_unregistered: u64,
    /// Sequence numbers that leap too far.
    pub sequences_refused: u64,
    /// Requests beyond what a neighbour may ask for.
    pub requests_refused: u64,
    /// Times that a state was asked for because it did not come along the tree.
    pub grafts: u64,
    /// Times that a link was taken out of the tree from here.
    pub prunes: u64,
    /// Comparisons that found a difference.
    pub differences: u64,
}

/// The flooding of one region's link states and of those of all others. See the module text for the protocol.
///
/// The owner calls `handle_*` with what happens, [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says, and after each of them sends what
/// [`poll_transmit`](Self::poll_transmit) gives until it gives nothing.
#[derive(Debug)]
pub struct Flood {
    me: RegionId,
    links: BTreeMap<RegionId, FloodLink>,
    missing: BTreeMap<RegionId, Missing>,
    /// No later than the first deadline in `missing`.
    missing_at: Option<Micros>,
    /// The lowest region whose states shaped the tree lately, and when the last of them came.
    shaper: Option<(RegionId, Micros)>,
    /// The last repair of the tree: through whom, and when.
    grafted: Option<(RegionId, Micros)>,
    stats: FloodStats,
}

/// A state that others hold and this region does not.
#[derive(Debug)]
struct Missing {
    seq: u64,
    /// Neighbours that hold it, the one to be asked next first.
    sources: Vec<RegionId>,
    asked: Option<RegionId>,
    /// Whether a digest named it, so that the tree should have brought it.
    by_tree: bool,
    deadline: Micros,
}

impl Flood {
    /// Without links.
    pub fn new(me: RegionId) -> Flood {
        Flood {
            me,
            links: BTreeMap::new(),
            missing: BTreeMap::new(),
            missing_at: None,
            shaper: None,
            grafted: None,
            stats: FloodStats::default(),
        }
    }

    /// What was counted since the start.
    pub fn stats(&self) -> FloodStats {
        self.stats
    }

    /// Whether states are pushed over the link to `peer`.
    pub fn is_tree_link(&self, peer: RegionId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.in_tree)
    }

    // ---- links -------------------------------------------------------------------------------

    /// A link is up. If there was one to this peer, it is replaced.
    pub fn handle_link_up(&mut self, now: Micros, peer: RegionId) {
        self.handle_link_down(now, peer);
        // One side begins; the other does if nothing comes.
        let wait = if self.me < peer { Micros::ZERO } else { COMPARE_PATIENCE };
        // With many links in the tree every state would come many times, until copies have pruned them again.
        let in_tree = self.links.values().filter(|link| link.in_tree).count();
        self.links.insert(peer, FloodLink::new(now + wait, in_tree < TREE_LINKS_AT_FIRST));
    }

    /// A link is gone, and with it what was asked there.
    pub fn handle_link_down(&mut self, now: Micros, peer: RegionId) {
        if self.links.remove(&peer).is_none() {
            return;
        }
        for missing in self.missing.values_mut() {
            missing.sources.retain(|source| *source != peer);
            if missing.asked == Some(peer) {
                missing.asked = None;
                missing.deadline = now;
                self.missing_at = Some(now);
            }
        }
        // Alone with lazy links, the first of them becomes the way in again.
        if !self.links.values().any(|link| link.in_tree)
            && let Some(link) = self.links.values_mut().next()
        {
            link.in_tree = true;
            link.graft_due = true;
        }
    }

    /// Regions were registered or left: whoever sent states in vain is asked again.
    pub fn handle_registry_change(&mut self, now: Micros) {
        for link in self.links.values_mut().filter(|link| link.refused_some) {
            link.refused_some = false;
            link.compare_at = now;
        }
    }

    /// The owner did not pass a message of this neighbour on, because of what the registry says: what was in it is
    /// fetched when the registry has changed.
    pub fn handle_refusal(&mut self, peer: RegionId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.refused_some = true;
        }
    }

    // ---- states ------------------------------------------------------------------------------

    /// The database has a new state of this region. `urgent` as [`is_urgent`] says.
    pub fn announce(&mut self, now: Micros, urgent: bool) {
        let delivery = if urgent { Delivery::Urgent } else { Delivery::Pushed };
        self.pass_on(now, self.me, delivery, None);
    }

    fn pass_on(
        &mut self,
        now: Micros,
        region: RegionId,
        delivery: Delivery,
        except: Option<RegionId>,
    ) {
        for (_, link) in self.links.iter_mut().filter(|(peer, _)| Some(**peer) != except) {
            link.forget(region);
            match delivery {
                Delivery::Urgent => link.urgent.insert(region),
                Delivery::Pushed if link.in_tree => link.push.insert(region),
                // What was asked for is old news to most: they say if it is not.
                Delivery::Asked if link.in_tree => link.offer.insert(region),
                Delivery::Pushed | Delivery::Asked => {
                    link.have_at.get_or_insert(now + HAVE_DELAY);
                    link.have.insert(region)
                }
            };
        }
    }

    /// Takes a message of a neighbour. New states go into `db` if `known` says that their region is registered.
    pub fn handle_message(
        &mut self,
        now: Micros,
        from: RegionId,
        message: FloodMessage,
        db: &mut LinkStateDb,
        known: &dyn Fn(RegionId) -> bool,
    ) -> Heard {
        let mut heard = Heard::default();
        if !self.links.contains_key(&from) {
            return heard;
        }
        match message {
            FloodMessage::States { delivery, states } => {
                self.take_states(now, from, delivery, states, db, known, &mut heard);
            }
            FloodMessage::Have(digest) => {
                self.take_digest(now, from, &digest, true, db, known, &mut heard);
            }
            FloodMessage::Offer(digest) => {
                self.take_digest(now, from, &digest, false, db, known, &mut heard);
            }
            FloodMessage::Prune => {
                if let Some(link) = self.links.get_mut(&from) {
                    link.leave_tree(now);
                }
            }
            FloodMessage::Graft(digest) => {
                if let Some(link) = self.links.get_mut(&from) {
                    link.in_tree = true;
                }
                self.answer_pull(now, from, &digest, db);
            }
            FloodMessage::Pull(digest) => self.answer_pull(now, from, &digest, db),
            FloodMessage::Summary { of, parts } => self.compare(now, from, of, &parts, db),
            FloodMessage::Entries { of, held } => {
                self.take_entries(now, from, &of, &held, db, known, &mut heard);
            }
        }
        heard
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one message and its surroundings")]
    fn take_states(
        &mut self,
        now: Micros,
        from: RegionId,
        delivery: Delivery,
        states: Vec<LinkState>,
        db: &mut LinkStateDb,
        known: &dyn Fn(RegionId) -> bool,
        heard: &mut Heard,
    ) {
        let mut copies = false;
        for state in states {
            let (region, seq) = (state.region, state.seq);
            let held = seq_of(db, region);
            let shapes = delivery == Delivery::Pushed && known(region) && self.shapes(now, region);
            if region == self.me {
                let other_life = held == Some(seq) && state_of(db, region).as_ref() != Some(&state);
                copies |= shapes && held == Some(seq) && !other_life;
                self.stats.states_known += 1;
                self.peer_holds(from, region, seq, held);
                self.hear_of_self(
                    if other_life { seq.saturating_add(1) } else { seq },
                    held,
                    heard,
                );
                continue;
            }
            if !self.may_take(from, region, seq, held, known) {
                self.stats.states_unregistered += u64::from(!known(region));
                continue;
            }
            self.peer_holds(from, region, seq, held);
            if held.is_some_and(|held| held >= seq) || !db.apply(state) {
                copies |= shapes && held == Some(seq);
                self.stats.states_known += 1;
                continue;
            }
            self.stats.states_new += 1;
            if self.missing.get(&region).is_some_and(|missing| missing.seq <= seq) {
                self.missing.remove(&region);
            }
            self.pass_on(now, region, delivery, Some(from));
            heard.news.push(region);
        }
        if copies
            && heard.news.is_empty()
            && let Some(link) = self.links.get_mut(&from)
        {
            link.leave_tree(now);
            link.prune_due = true;
            self.stats.prunes += 1;
        }
    }

    /// Whether copies of this region's states may prune. One tree for all is shaped by one source at a time.
    fn shapes(&mut self, now: Micros, region: RegionId) -> bool {
        let shapes =
            self.shaper.is_none_or(|(shaper, at)| region <= shaper || now - at > SHAPER_MEMORY);
        if shapes {
            self.shaper = Some((region, now));
        }
        shapes
    }

    /// Somebody holds a state of this very region.
    fn hear_of_self(&mut self, seq: u64, own: Option<u64>, heard: &mut Heard) {
        if own.is_none_or(|own| seq > own) {
            if plausible(own, seq) {
                heard.outbid = heard.outbid.max(Some(seq));
            } else {
                self.stats.sequences_refused += 1;
            }
        }
    }

    /// Whether a state of this region with this number could be taken.
    fn may_take(
        &mut self,
        from: RegionId,
        region: RegionId,
        seq: u64,
        held: Option<u64>,
        known: &dyn Fn(RegionId) -> bool,
    ) -> bool {
        if !known(region) {
            if let Some(link) = self.links.get_mut(&from) {
                link.refused_some = true;
            }
            return false;
        }
        let plausible = plausible(held, seq);
        self.stats.sequences_refused += u64::from(!plausible);
        plausible
    }

    /// What the neighbour has need not be sent to it.
    fn peer_holds(&mut self, peer: RegionId, region: RegionId, seq: u64, held: Option<u64>) {
        if held.is_none_or(|held| seq >= held)
            && let Some(link) = self.links.get_mut(&peer)
        {
            link.forget(region);
        }
    }

    // ---- digests -----------------------------------------------------------------------------

    #[allow(clippy::too_many_arguments, reason = "the parts of one message and its surroundings")]
    fn take_digest(
        &mut self,
        now: Micros,
        from: RegionId,
        digest: &Digest,
        by_tree: bool,
        db: &LinkStateDb,
        known: &dyn Fn(RegionId) -> bool,
        heard: &mut Heard,
    ) {
        for (region, seq) in digest.iter() {
            let held = seq_of(db, region);
            if region == self.me {
                self.hear_of_self(seq, held, heard);
                continue;
            }
            if !self.may_take(from, region, seq, held, known) {
                continue;
            }
            self.peer_holds(from, region, seq, held);
            if held.is_none_or(|held| held < seq) {
                self.want(now, from, region, seq, by_tree);
            }
        }
    }

    /// A neighbour holds something newer: wait for it, or ask at once unless another one was asked.
    fn want(&mut self, now: Micros, from: RegionId, region: RegionId, seq: u64, by_tree: bool) {
        let missing = self.missing.entry(region).or_insert_with(|| Missing {
            seq,
            sources: Vec::new(),
            asked: None,
            by_tree,
            deadline: now + GRAFT_DELAY,
        });
        if seq > missing.seq {
            // Who held the older one is of no use any more.
            missing.seq = seq;
            missing.sources.clear();
        }
        if !missing.sources.contains(&from) && missing.sources.len() < MAX_SOURCES {
            missing.sources.push(from);
        }
        let deadline = missing.deadline;
        if !by_tree && missing.asked.is_none() {
            missing.by_tree = false;
            self.ask(now, region);
        } else {
            self.missing_at = Some(self.missing_at.map_or(deadline, |at| at.min(deadline)));
        }
    }

    /// Asks the next neighbour that holds a state; forgets about it when there is none left.
    fn ask(&mut self, now: Micros, region: RegionId) {
        let Some(missing) = self.missing.get_mut(&region) else {
            return;
        };
        if missing.sources.is_empty() {
            self.missing.remove(&region);
            return;
        }
        let source = missing.sources.remove(0);
        missing.asked = Some(source);
        missing.deadline = now + ASK_AGAIN;
        let deadline = missing.deadline;
        // One new link repairs the tree, whatever the number of states that did not come.
        let repaired =
            self.grafted.is_some_and(|(through, at)| through != source && now - at < ASK_AGAIN);
        let graft = missing.by_tree && !repaired;
        self.missing_at = Some(self.missing_at.map_or(deadline, |at| at.min(deadline)));
        if let Some(link) = self.links.get_mut(&source) {
            if graft {
                self.grafted = Some((source, now));
                link.in_tree = true;
                link.graft.insert(region);
                self.stats.grafts += 1;
            } else {
                link.pull.insert(region);
            }
        }
    }

    fn answer_pull(&mut self, now: Micros, from: RegionId, digest: &Digest, db: &LinkStateDb) {
        let Some(link) = self.links.get_mut(&from) else {
            return;
        };
        let burst = (2 * db.len() as u64).max(MIN_PULLS);
        link.pulls.refill(now, burst, burst / 60 + 16);
        for (region, seq) in digest.iter() {
            if seq_of(db, region).is_some_and(|held| held > seq) {
                if link.pulls.take(1) {
                    link.asked.insert(region);
                } else {
                    self.stats.requests_refused += 1;
                }
            }
        }
    }

    // ---- comparing ---------------------------------------------------------------------------

    fn compare(&mut self, now: Micros, from: RegionId, of: Span, theirs: &[u64], db: &LinkStateDb) {
        let every = compare_every(self.me, from);
        let Some(link) = self.links.get_mut(&from) else {
            return;
        };
        link.compares.refill(now, COMPARE_BURST, COMPARE_PER_SECOND);
        let sound = of.has_parts() && theirs.len() == Span::PARTS;
        if !sound || !link.compares.take(u64::from(of.width())) {
            self.stats.requests_refused += 1;
            return;
        }
        if of == Span::ALL {
            link.compare_at = now + every;
        }
        let ours = sums(of, db);
        for ((part, theirs), (sum, count)) in of.parts().zip(theirs).zip(ours) {
            if sum == *theirs {
                continue;
            }
            self.stats.differences += 1;
            if part.has_parts() && count > ENTRIES_AT_ONCE {
                link.summaries.insert(part);
            } else {
                link.entries.insert(part);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one message and its surroundings")]
    fn take_entries(
        &mut self,
        now: Micros,
        from: RegionId,
        of: &[Span],
        theirs: &Digest,
        db: &LinkStateDb,
        known: &dyn Fn(RegionId) -> bool,
        heard: &mut Heard,
    ) {
        let mut lacking = Vec::new();
        for span in of {
            let Some(link) = self.links.get_mut(&from) else {
                return;
            };
            link.compares.refill(now, COMPARE_BURST, COMPARE_PER_SECOND);
            if !link.compares.take(u64::from(span.width())) {
                self.stats.requests_refused += 1;
                break;
            }
            lacking.extend(span.regions().filter(|region| {
                let held = seq_of(db, *region);
                held.is_some_and(|held| theirs.get(*region).is_none_or(|seq| seq < held))
            }));
        }
        if let Some(link) = self.links.get_mut(&from) {
            // A few are sent as they are; of many it is asked for those that nobody else has sent.
            let set = if lacking.len() <= SENT_UNASKED { &mut link.asked } else { &mut link.offer };
            set.extend(lacking);
        }
        self.take_digest(now, from, theirs, false, db, known, heard);
    }

    // ---- time and output ---------------------------------------------------------------------

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Micros> {
        let links = self.links.values();
        links
            .flat_map(|link| [Some(link.compare_at), link.have_at])
            .chain([self.missing_at])
            .flatten()
            .min()
    }

    /// Does what is due. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Micros) {
        let me = self.me;
        for (peer, link) in &mut self.links {
            if link.compare_at <= now {
                link.compare_at = now + compare_every(me, *peer);
                link.summaries.insert(Span::ALL);
            }
            if link.have_at.is_some_and(|at| at <= now) {
                link.have_at = None;
                link.have_due = true;
            }
        }
        if self.missing_at.is_some_and(|at| at <= now) {
            let due: Vec<RegionId> = self
                .missing
                .iter()
                .filter(|(_, missing)| missing.deadline <= now)
                .map(|(region, _)| *region)
                .collect();
            for region in due {
                self.ask(now, region);
            }
            self.missing_at = self.missing.values().map(|missing| missing.deadline).min();
        }
    }

    /// Whether anything waits for a link that is ready.
    pub fn has_output(&self) -> bool {
        self.links.values().any(FloodLink::has_output)
    }

    /// The next message and whom it is for, among those whose link is `ready` to take one.
    pub fn poll_transmit(
        &mut self,
        db: &LinkStateDb,
        ready: &dyn Fn(RegionId) -> bool,
    ) -> Option<(RegionId, FloodMessage)> {
        self.links
            .iter_mut()
            .filter(|(peer, link)| link.has_output() && ready(**peer))
            .find_map(|(peer, link)| Some((*peer, link.next_message(db)?)))
    }
}

/// Whether a new state says something that must be known everywhere at once: a link is gone that was not about to be
/// closed, or frames in transit should go elsewhere.
pub fn is_urgent(old: Option<&LinkState>, new: &LinkState) -> bool {
    old.is_some_and(|old| {
        let kept: BTreeSet<RegionId> = new.links.iter().map(|link| link.to).collect();
        // Routes left a link that was closed on purpose when its state said so.
        let mut relied_on = old.links.iter().filter(|link| link.flags & LinkAdvert::CLOSING == 0);
        (new.no_transit && !old.no_transit) || relied_on.any(|link| !kept.contains(&link.to))
    })
}

/// The one with the lower number asks; the other one only if nothing comes.
fn compare_every(me: RegionId, peer: RegionId) -> Micros {
    if me < peer { COMPARE_EVERY } else { COMPARE_EVERY + COMPARE_PATIENCE_LATER }
}

/// A number that the region itself can still outbid: see [`MAX_LEAP`].
fn plausible(held: Option<u64>, seq: u64) -> bool {
    seq <= MAX_SEQ && held.is_none_or(|held| seq.saturating_sub(held) <= MAX_LEAP)
}

/// The sum of hashes and the number of states in each part.
fn sums(of: Span, db: &LinkStateDb) -> Vec<(u64, usize)> {
    let mut sums = vec![(0_u64, 0_usize); Span::PARTS];
    let mut add = |region: RegionId, seq: u64| {
        if let Some((sum, count)) = of.part_of(region).and_then(|part| sums.get_mut(part)) {
            *sum = sum.wrapping_add(share(region, seq));
            *count += 1;
        }
    };
    if of == Span::ALL {
        db.iter().for_each(|state| add(state.region, state.seq));
    } else {
        of.regions().for_each(|region| {
            if let Some(seq) = seq_of(db, region) {
                add(region, seq);
            }
        });
    }
    sums
}

fn seq_of(db: &LinkStateDb, region: RegionId) -> Option<u64> {
    db.seq(region)
}

fn state_of(db: &LinkStateDb, region: RegionId) -> Option<LinkState> {
    db.get(region)
}

/// How far a sequence number may lie beyond the one that is held: 65,536 starts of its region. A region that is given a
/// number by somebody else outbids it, and 65,536 such numbers in a row would be needed to bring it to the end.
pub const MAX_LEAP: u64 = 1 << 48;
/// The highest sequence number.
pub const MAX_SEQ: u64 = u64::MAX >> 1;

/// A link that comes up is in the tree if fewer than this are. The tree grows where it turns out to need more.
const TREE_LINKS_AT_FIRST: usize = 4;
/// How long digests for links outside the tree are collected.
const HAVE_DELAY: Micros = Micros::from_millis(200);
/// How long a state that a digest named may take to come along the tree.
const GRAFT_DELAY: Micros = Micros::from_millis(300);
/// For how long the lowest region that was heard keeps others from pruning.
const SHAPER_MEMORY: Micros = Micros::from_secs(10);
/// After this the next neighbour is asked.
const ASK_AGAIN: Micros = Micros::from_millis(2_000);
const COMPARE_EVERY: Micros = Micros::from_secs(30);
/// How long the higher of two new neighbours waits for the lower one to begin.
const COMPARE_PATIENCE: Micros = Micros::from_secs(3);
/// The same with neighbours that have compared before.
const COMPARE_PATIENCE_LATER: Micros = Micros::from_secs(15);
/// Neighbours that are remembered as holders of a missing state.
const MAX_SOURCES: usize = 4;
/// Parts with more states than this are compared by their parts.
const ENTRIES_AT_ONCE: usize = 64;
/// States that a neighbour lacks and that are sent without asking whether another one has sent them.
const SENT_UNASKED: usize = 16;
/// States that a neighbour may pull in one go, at least.
const MIN_PULLS: u64 = 1_024;
/// Region numbers that a neighbour can make this side go through: the whole space some times, then once per second.
const COMPARE_BURST: u64 = 8 * 65_536;
const COMPARE_PER_SECOND: u64 = 65_536;
