//! What is to be said to one neighbour.

use std::collections::BTreeSet;

use super::{Delivery, Digest, FloodMessage, seq_of, span::Span, state_of, sums};
use crate::{Allowance, LinkStateDb, Micros, RegionId};

/// One link: whether it is in the tree, and the queues to the other end. Each queue is a set of regions.
#[derive(Debug)]
pub(super) struct FloodLink {
    pub(super) in_tree: bool,
    pub(super) urgent: BTreeSet<RegionId>,
    pub(super) push: BTreeSet<RegionId>,
    pub(super) asked: BTreeSet<RegionId>,
    pub(super) offer: BTreeSet<RegionId>,
    /// Named in the next digest, when that is due.
    pub(super) have: BTreeSet<RegionId>,
    pub(super) have_at: Option<Micros>,
    pub(super) have_due: bool,
    pub(super) graft: BTreeSet<RegionId>,
    pub(super) graft_due: bool,
    pub(super) pull: BTreeSet<RegionId>,
    pub(super) prune_due: bool,
    pub(super) summaries: BTreeSet<Span>,
    pub(super) entries: BTreeSet<Span>,
    /// When the databases are compared next.
    pub(super) compare_at: Micros,
    /// Something came from there that could not be taken because its region was not registered.
    pub(super) refused_some: bool,
    pub(super) pulls: Allowance,
    pub(super) compares: Allowance,
}

impl FloodLink {
    pub(super) fn new(compare_at: Micros, in_tree: bool) -> FloodLink {
        FloodLink {
            in_tree,
            urgent: BTreeSet::new(),
            push: BTreeSet::new(),
            asked: BTreeSet::new(),
            offer: BTreeSet::new(),
            have: BTreeSet::new(),
            have_at: None,
            have_due: false,
            graft: BTreeSet::new(),
            graft_due: false,
            pull: BTreeSet::new(),
            prune_due: false,
            summaries: BTreeSet::new(),
            entries: BTreeSet::new(),
            compare_at,
            refused_some: false,
            pulls: Allowance::new(),
            compares: Allowance::new(),
        }
    }

    /// Takes a region out of the queues for states and digests.
    pub(super) fn forget(&mut self, region: RegionId) {
        for set in
            [&mut self.urgent, &mut self.push, &mut self.asked, &mut self.offer, &mut self.have]
        {
            set.remove(&region);
        }
    }

    /// From now on only digests go there; what was to be pushed is named instead.
    pub(super) fn leave_tree(&mut self, now: Micros) {
        self.in_tree = false;
        self.graft_due = false;
        let pushed = std::mem::take(&mut self.push);
        if !pushed.is_empty() {
            self.have_at.get_or_insert(now + super::HAVE_DELAY);
            self.have.extend(pushed);
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.prune_due
            || self.graft_due
            || (self.have_due && !self.have.is_empty())
            || !self.summaries.is_empty()
            || !self.entries.is_empty()
            || [&self.urgent, &self.push, &self.asked, &self.offer, &self.graft, &self.pull]
                .iter()
                .any(|set| !set.is_empty())
    }

    /// What is to be sent next, most urgent first.
    pub(super) fn next_message(&mut self, db: &LinkStateDb) -> Option<FloodMessage> {
        if let Some(message) = states(&mut self.urgent, Delivery::Urgent, db) {
            return Some(message);
        }
        if std::mem::take(&mut self.prune_due) && !self.in_tree {
            return Some(FloodMessage::Prune);
        }
        if self.graft_due || !self.graft.is_empty() {
            self.graft_due = false;
            return Some(FloodMessage::Graft(wanted(&mut self.graft, db)));
        }
        if !self.pull.is_empty() {
            return Some(FloodMessage::Pull(wanted(&mut self.pull, db)));
        }
        if let Some(message) = states(&mut self.push, Delivery::Pushed, db) {
            return Some(message);
        }
        if let Some(span) = self.summaries.pop_first() {
            let parts = sums(span, db).into_iter().map(|(sum, _)| sum).collect();
            return Some(FloodMessage::Summary { of: span, parts });
        }
        if !self.entries.is_empty() {
            return Some(entries(&mut self.entries, db));
        }
        if let Some(message) = states(&mut self.asked, Delivery::Asked, db) {
            return Some(message);
        }
        if let Some(digest) = held(&mut self.offer, db) {
            return Some(FloodMessage::Offer(digest));
        }
        if self.have_due {
            let digest = held(&mut self.have, db);
            self.have_due = !self.have.is_empty();
            return digest.map(FloodMessage::Have);
        }
        None
    }
}

/// The newest states of the first regions, as many as fit; none if the database has none of them.
fn states(
    regions: &mut BTreeSet<RegionId>,
    delivery: Delivery,
    db: &LinkStateDb,
) -> Option<FloodMessage> {
    let (mut states, mut size) = (Vec::new(), 0);
    while size < STATES_LEN && states.len() < MAX_STATES {
        let Some(region) = regions.pop_first() else {
            break;
        };
        if let Some(state) = state_of(db, region) {
            size += STATE_LEN + state.links.len() * LINK_LEN;
            states.push(state);
        }
    }
    (!states.is_empty()).then_some(FloodMessage::States { delivery, states })
}

/// The first regions with what is held of them.
fn held(regions: &mut BTreeSet<RegionId>, db: &LinkStateDb) -> Option<Digest> {
    let digest = first(regions, |region| seq_of(db, region));
    (!digest.is_empty()).then_some(digest)
}

/// The first regions with what is held of them, or zero.
fn wanted(regions: &mut BTreeSet<RegionId>, db: &LinkStateDb) -> Digest {
    first(regions, |region| Some(seq_of(db, region).unwrap_or(0)))
}

fn first(regions: &mut BTreeSet<RegionId>, seq: impl Fn(RegionId) -> Option<u64>) -> Digest {
    let rest = regions.iter().nth(Digest::MAX).copied();
    let later = rest.map(|rest| regions.split_off(&rest)).unwrap_or_default();
    let these = std::mem::replace(regions, later);
    Digest::new(these.into_iter().filter_map(|region| Some((region, seq(region)?))))
}

/// All that is held in the first parts. A part with parts has at most 1,024 states, so the digest always has room.
fn entries(spans: &mut BTreeSet<Span>, db: &LinkStateDb) -> FloodMessage {
    let (mut of, mut held) = (Vec::new(), Vec::new());
    while of.len() < Span::PARTS && held.len() + 1_024 <= Digest::MAX {
        let Some(span) = spans.pop_first() else {
            break;
        };
        of.push(span);
        held.extend(span.regions().filter_map(|region| Some((region, seq_of(db, region)?))));
    }
    held.sort_unstable_by_key(|(region, _)| *region);
    FloodMessage::Entries { of, held: Digest::new(held) }
}

/// States are put into one message up to about this length, so that even one of the greatest still fits into a frame of
/// 64 KiB.
const STATES_LEN: usize = 32 * 1024;
const MAX_STATES: usize = 512;
/// A state without links and a link, at most, as they travel.
const STATE_LEN: usize = 32;
const LINK_LEN: usize = 24;
