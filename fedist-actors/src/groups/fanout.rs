//! From one letter to the mailboxes of a group's members in this node.
//!
//! A member whose mailbox is full has the letters wait for it, up to a bound; nobody else waits.
//! Past a high mark the source region is asked to pause the group.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, VecDeque},
    rc::Rc,
};

use fedist_registry::{LocalId, RegionId, RegionPid};

use super::{
    pause_board::PauseBoard,
    protocol::{Letter, Notice},
};
use crate::{
    DropReason, Node,
    address::decoding,
    inlet::{LocalFuture, TellDelivery},
};

/// The letters that wait for room in mailboxes of this node.
pub(super) struct Fanout {
    node: Node,
    waiting: HashMap<LocalId, Waiting>,
    /// Groups that are paused at a source, with the number of members on whose account.
    paused: HashMap<(RegionId, String), usize>,
}

pub(super) type FanoutRef = Rc<RefCell<Fanout>>;

#[derive(Default)]
struct Waiting {
    letters: VecDeque<(RegionId, Rc<Letter>)>,
    bytes: usize,
    /// What this member has paused.
    paused: BTreeSet<(RegionId, String)>,
}

/// Letters, or bytes of them, that wait for one member before its groups are paused.
const HIGH_LETTERS: usize = 256;
const HIGH_BYTES: usize = 1 << 20;
/// Bytes that may wait for one member. Sources that honour the pause never come near it.
const WAITING_BYTES: usize = 64 << 20;

impl Fanout {
    pub(super) fn new(node: &Node) -> FanoutRef {
        Rc::new(RefCell::new(Self {
            node: node.clone(),
            waiting: HashMap::new(),
            paused: HashMap::new(),
        }))
    }

    /// Hands a letter to its receivers; `tell` takes what a source is to be told, now or later.
    pub(super) fn deliver(
        this: &FanoutRef,
        source: RegionId,
        letter: Letter,
        receivers: Vec<LocalId>,
        tell: &Rc<PauseBoard>,
    ) {
        let letter = Rc::new(letter);
        for local in receivers {
            let mut fanout = this.borrow_mut();
            if let Some(notice) = fanout.wait(local, source, &letter) {
                drop(fanout);
                if let Some(notice) = notice {
                    tell.say(source, notice);
                }
                continue;
            }
            if let Some(later) = fanout.put(local, source, &letter) {
                fanout.waiting.insert(local, Waiting::default());
                let drain = drain(Rc::clone(this), local, later, Rc::clone(tell));
                actix_rt::spawn(drain);
            }
        }
    }

    /// The session with a source ended: it knows of no pause any more.
    pub(super) fn region_lost(&mut self, source: RegionId) {
        self.paused.retain(|(region, _), _| *region != source);
        for waiting in self.waiting.values_mut() {
            waiting.paused.retain(|(region, _)| *region != source);
        }
    }

    /// Queues a letter behind those that wait for the member already; `None` if there are none.
    /// Inside: what to tell the source.
    fn wait(
        &mut self,
        local: LocalId,
        source: RegionId,
        letter: &Rc<Letter>,
    ) -> Option<Option<Notice>> {
        let waiting = self.waiting.get_mut(&local)?;
        if waiting.bytes > WAITING_BYTES {
            self.note(local, source, letter, DropReason::Full);
            return Some(None);
        }
        waiting.bytes += letter.weight();
        waiting.letters.push_back((source, Rc::clone(letter)));
        let high = waiting.letters.len() >= HIGH_LETTERS || waiting.bytes >= HIGH_BYTES;
        let key = (source, letter.group.clone());
        if !high || !waiting.paused.insert(key.clone()) {
            return Some(None);
        }
        let members = self.paused.entry(key).or_insert(0);
        *members += 1;
        Some((*members == 1).then(|| Notice::Pause { group: letter.group.clone() }))
    }

    /// Puts a letter into a mailbox; a future to wait for when that is full.
    fn put(
        &self,
        local: LocalId,
        source: RegionId,
        letter: &Rc<Letter>,
    ) -> Option<LocalFuture<()>> {
        let Some(process) = self.node.inner().processes.get(local) else {
            self.note(local, source, letter, DropReason::NoActor);
            return None;
        };
        let Some(inlet) = process.inlet(letter.wire_type) else {
            self.note(local, source, letter, DropReason::Denied);
            return None;
        };
        let origin = (source != self.node.region()).then_some(source);
        let _decoding = decoding(&self.node, origin);
        let dropped = match inlet.tell(&letter.body) {
            TellDelivery::Done => return None,
            TellDelivery::Full(later) => return Some(later),
            TellDelivery::Closed => DropReason::NoActor,
            TellDelivery::Undecodable(detail) => {
                tracing::warn!(%source, group = letter.group, detail, "undecodable publish");
                DropReason::Undecodable
            }
        };
        self.note(local, source, letter, dropped);
        None
    }

    /// Puts waiting letters into a mailbox until it is full again (a future to wait for) or none is left.
    fn refill(&mut self, local: LocalId) -> Result<LocalFuture<()>, Vec<(RegionId, String)>> {
        loop {
            let next = self.waiting.get_mut(&local).and_then(|waiting| {
                let (source, letter) = waiting.letters.pop_front()?;
                waiting.bytes -= letter.weight();
                Some((source, letter))
            });
            let Some((source, letter)) = next else {
                let waiting = self.waiting.remove(&local).unwrap_or_default();
                let paused = &mut self.paused;
                let resumed = waiting.paused.into_iter().filter(|key| {
                    let Some(members) = paused.get_mut(key) else {
                        return false;
                    };
                    *members -= 1;
                    let last = *members == 0;
                    if last {
                        paused.remove(key);
                    }
                    last
                });
                return Err(resumed.collect());
            };
            if let Some(later) = self.put(local, source, &letter) {
                return Ok(later);
            }
        }
    }

    fn note(&self, local: LocalId, source: RegionId, letter: &Letter, reason: DropReason) {
        self.node.note_dead_letter(
            RegionPid::new(self.node.region(), local),
            letter.from.map(|from| RegionPid::new(source, from)),
            self.node.type_name(letter.wire_type),
            reason,
        );
    }
}

/// Fills a mailbox that was full until no letter waits for it.
async fn drain(fanout: FanoutRef, local: LocalId, first: LocalFuture<()>, tell: Rc<PauseBoard>) {
    let mut next = first;
    loop {
        next.await;
        let refilled = fanout.borrow_mut().refill(local);
        match refilled {
            Ok(later) => next = later,
            Err(resumed) => {
                for (source, group) in resumed {
                    tell.say(source, Notice::Resume { group });
                }
                return;
            }
        }
    }
}
