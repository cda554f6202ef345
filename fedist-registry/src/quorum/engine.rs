//! The engine: what a candidate does with time, messages and proposals.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    message::{Appended, LogPoint, QuorumEntry, QuorumMessage},
    window::Window,
};
use crate::{LogEntry, Micros, RegionId};

/// How patient candidates are. The defaults suit links of up to some 300 ms round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// How often the leader gives a sign of life. Default 500 ms.
    pub heartbeat: Micros,
    /// The shortest silence after which somebody stands for election, also the leader's lease. Default 2 s; several
    /// heartbeats and round trips.
    pub election_min: Micros,
    /// The longest. Default 4 s. The wider the span, the fewer elections that nobody wins.
    pub election_max: Micros,
    /// Undecided entries that a leader takes at most. Default 256. More take longer to save and to send again.
    pub tail_max: u64,
    /// Entries in one message at most. Default 16; a message must fit the session's limits.
    pub batch: usize,
}

impl Default for QuorumConfig {
    fn default() -> Self {
        QuorumConfig {
            heartbeat: Micros::from_millis(500),
            election_min: Micros::from_secs(2),
            election_max: Micros::from_secs(4),
            tail_max: 256,
            batch: 16,
        }
    }
}

/// What a candidate must not forget. On disk before anything is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved<E = LogEntry> {
    /// The highest term it has seen.
    pub term: u64,
    /// For whom it voted in that term.
    pub vote: Option<RegionId>,
    /// The undecided entries that it holds.
    pub tail: Vec<E>,
}

impl<E> Default for Saved<E> {
    fn default() -> Self {
        Saved { term: 0, vote: None, tail: Vec::new() }
    }
}

/// What is to be done, in the order of the fields.
///
/// If saving fails, do nothing of the rest and make the engine anew from what is on disk: it is then as after a crash.
#[derive(Debug)]
pub struct Ready<E = LogEntry> {
    /// Put this on disk in place of what is there.
    pub save: Option<Saved<E>>,
    /// These are decided, in order: append them to the registry.
    pub committed: Vec<E>,
    /// Send these. Loss, repetition and disorder do no harm.
    pub messages: Vec<(RegionId, QuorumMessage<E>)>,
    /// This region was elected: propose the entry with which the term begins.
    pub elected: bool,
    /// Fetch decided entries from this region.
    pub fetch: Option<RegionId>,
}

/// Why an entry was not taken. Nothing was changed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Proposed {
    /// Only the leader takes entries.
    #[error("this region does not lead; the leader takes changes; ask it")]
    NotLeader {
        /// Who leads, as far as is known here.
        leader: Option<RegionId>,
    },
    /// The entry is not of this term or does not follow the last one.
    #[error(
        "the entry does not follow the last one in this term; entries are made for one place; make it again"
    )]
    OutOfPlace,
    /// Too much is undecided. Retry when some of it is decided.
    #[error(
        "{undecided} changes are undecided; a leader without its majority takes no more; try again later"
    )]
    Full {
        /// How many.
        undecided: u64,
    },
    /// Other candidates are being set. Retry when that is decided.
    #[error("another set of candidates is being decided; one change at a time; try again later")]
    ChangePending,
}

/// One region's part in the agreement. See the [module's](crate::quorum) words.
///
/// A region that is no candidate keeps one too: it answers when it is named, and does nothing by itself.
#[derive(Clone, Debug)]
pub struct Quorum<E: QuorumEntry = LogEntry> {
    me: RegionId,
    config: QuorumConfig,
    term: u64,
    vote: Option<RegionId>,
    log: Window<E>,
    /// The decided set.
    voters: Vec<RegionId>,
    role: Role,
    /// Until then no vote is given, because a leader was heard, or may have been before a restart.
    loyal_until: Micros,
    /// When this region stands for election, or as leader gives its next sign of life.
    deadline: Micros,
    /// The present election time-out.
    patience: Micros,
    /// Nobody else is asked: see [`take_over`](Self::take_over).
    alone_by_order: bool,
    unsaved: bool,
    committed: Vec<E>,
    messages: Vec<(RegionId, QuorumMessage<E>)>,
    elected: bool,
    fetch: Option<RegionId>,
    /// Messages that no honest candidate sends.
    refused: u64,
    #[cfg(test)]
    pub(super) plant: super::tests::Plant,
}

#[derive(Clone, Debug)]
enum Role {
    Follower {
        leader: Option<RegionId>,
    },
    /// Asks whether it would be elected.
    Asking {
        granted: BTreeSet<RegionId>,
    },
    Candidate {
        granted: BTreeSet<RegionId>,
    },
    Leader {
        peers: BTreeMap<RegionId, Progress>,
    },
}

/// What a leader knows of a follower.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The follower holds the leader's log up to here.
    matched: u64,
    /// The next index to send.
    next: u64,
    /// The leader's clock when it sent the latest message that was answered.
    heard: Micros,
}

impl<E: QuorumEntry> Quorum<E> {
    /// An engine at start or restart: `committed` is where the durable decided log ends, `voters` the candidates it sets, and
    /// `saved` what [`Ready::save`] last put on disk. The time-outs are drawn from `random`.
    pub fn new(
        me: RegionId,
        config: QuorumConfig,
        now: Micros,
        committed: LogPoint,
        voters: &[RegionId],
        saved: Saved<E>,
        random: &mut impl FnMut() -> u64,
    ) -> Quorum<E> {
        let mut log = Window::new(committed);
        for entry in saved.tail {
            // What is decided by now is skipped; what does not follow it was taken back.
            if entry.point().version.index > committed.version.index && !log.push(entry) {
                break;
            }
        }
        let patience = draw(&config, random);
        let fresh = saved.term == 0;
        let mut quorum = Quorum {
            me,
            term: saved.term.max(log.last().term),
            vote: saved.vote.filter(|_| saved.term >= log.last().term),
            log,
            voters: voters.to_vec(),
            role: Role::Follower { leader: None },
            loyal_until: if fresh { now } else { now + config.election_min },
            deadline: now + patience,
            patience,
            config,
            alone_by_order: false,
            unsaved: false,
            committed: Vec::new(),
            messages: Vec::new(),
            elected: false,
            fetch: None,
            refused: 0,
            #[cfg(test)]
            plant: super::tests::Plant::default(),
        };
        if quorum.alone() {
            // Nobody else can have been promised anything: no waiting.
            quorum.deadline = now;
        }
        quorum
    }

    /// The region that leads in the present term, as far as is known here.
    pub fn leader(&self) -> Option<RegionId> {
        match &self.role {
            Role::Follower { leader } => *leader,
            Role::Leader { .. } => Some(self.me),
            Role::Asking { .. } | Role::Candidate { .. } => None,
        }
    }

    /// Whether this region leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    /// Until when nobody else can have been elected, by this region's clock; none where it does not lead.
    ///
    /// A follower votes for nobody within the shortest election time after it heard the leader. A tenth of it is left for
    /// clocks that do not run alike.
    pub fn lease_until(&self) -> Option<Micros> {
        let Role::Leader { peers } = &self.role else {
            return None;
        };
        let mut times: Vec<Micros> = peers.values().map(|peer| peer.heard).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let span = Micros(self.config.election_min.0 - self.config.election_min.0 / 10);
        let heard_since =
            |at: Micros| self.decides(|id| peers.get(&id).is_some_and(|peer| peer.heard >= at));
        if self.decides(|_| false) {
            return Some(Micros::MAX);
        }
        times.into_iter().find(|at| heard_since(*at)).map(|at| at + span)
    }

    /// The present term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Where the log ends, undecided entries included: the place of the next entry.
    pub fn last(&self) -> LogPoint {
        self.log.last()
    }

    /// Where the decided log ends.
    pub fn committed(&self) -> LogPoint {
        self.log.committed()
    }

    /// The undecided entries that are held here.
    pub fn tail(&self) -> impl Iterator<Item = &E> {
        self.log.tail()
    }

    /// The decided set of candidates.
    pub fn voters(&self) -> &[RegionId] {
        &self.voters
    }

    /// The set that is being decided, if one is.
    pub fn pending(&self) -> Option<&[RegionId]> {
        self.log.tail().find_map(QuorumEntry::candidates)
    }

    /// Messages and entries that broke the protocol's rules and were dropped.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// When [`tick`](Self::tick) is next needed; never for a region that is no candidate.
    pub fn next_tick(&self) -> Micros {
        if self.is_leader() || self.may_stand() { self.deadline } else { Micros::MAX }
    }

    /// What is to be done now.
    pub fn poll(&mut self) -> Ready<E> {
        let save = std::mem::take(&mut self.unsaved).then(|| Saved {
            term: self.term,
            vote: self.vote,
            tail: self.log.tail().cloned().collect(),
        });
        Ready {
            save,
            committed: std::mem::take(&mut self.committed),
            messages: std::mem::take(&mut self.messages),
            elected: std::mem::take(&mut self.elected) && self.is_leader(),
            fetch: self.fetch.take(),
        }
    }

    /// Time has passed: stands for election, gives signs of life, steps down.
    pub fn tick(&mut self, now: Micros, random: &mut impl FnMut() -> u64) {
        if self.is_leader() {
            if self.lease_lost(now) {
                self.patience = draw(&self.config, random);
                self.follow(now, None);
            } else if now >= self.deadline {
                self.deadline = now + self.config.heartbeat;
                self.send_appends(now, true);
            }
            return;
        }
        if now < self.deadline || !self.may_stand() {
            return;
        }
        self.patience = draw(&self.config, random);
        self.deadline = now + self.patience;
        self.role = Role::Asking { granted: BTreeSet::new() };
        let (term, last) = (self.term.saturating_add(1), self.log.last());
        self.say_to_all(|| QuorumMessage::PreVote { term, last });
        self.count_votes(now);
    }

    /// Says who decides before any candidates were set: the one region that founded the federation.
    pub fn founded_by(&mut self, founder: RegionId) {
        self.voters = vec![founder];
    }

    /// Stands for election now, without waiting for the time-out.
    pub fn stand(&mut self, now: Micros, random: &mut impl FnMut() -> u64) {
        if !self.is_leader() {
            self.deadline = now;
            self.tick(now, random);
        }
    }

    /// Leads from now on without being elected: what an operator orders when a majority is gone for good. It decides alone
    /// until the next set of candidates is decided, which should be its first proposal after that of its term.
    ///
    /// What others of a majority that is not gone decide in the meantime is a second truth, and one of the two will be lost.
    pub fn take_over(&mut self, now: Micros) {
        // An undecided set of candidates would end the order before its own set is decided.
        let undecided = self.log.tail().position(|entry| entry.candidates().is_some());
        if let Some(at) = undecided {
            let keep = self.log.committed().version.index.saturating_add(at as u64);
            self.log.truncate_after(keep);
        }
        self.term = self.term.saturating_add(1);
        self.vote = Some(self.me);
        self.unsaved = true;
        self.alone_by_order = true;
        self.role = Role::Leader { peers: BTreeMap::new() };
        self.elected = true;
        self.deadline = now + self.config.heartbeat;
        self.welcome(now);
    }

    /// Takes a message of another region. One that is no candidate here, decided or pending, is not listened to; but it may
    /// be one by entries that are missing here, so they are fetched.
    pub fn handle_message(&mut self, now: Micros, from: RegionId, message: QuorumMessage<E>) {
        if from == self.me {
            return;
        }
        if !self.knows(from) {
            self.fetch = Some(from);
            return;
        }
        match message {
            QuorumMessage::PreVote { term, last } => {
                let granted = term > self.term
                    && now >= self.loyal_until
                    && !self.holds_lease(now)
                    && last.is_up_to_date_with(&self.log.last());
                let reply = QuorumMessage::PreVoteReply { term: self.term, about: term, granted };
                self.messages.push((from, reply));
            }
            QuorumMessage::PreVoteReply { term, about, granted } => {
                self.adopt_term(now, term);
                if let Role::Asking { granted: so_far } = &mut self.role
                    && granted
                    && about == self.term.saturating_add(1)
                {
                    so_far.insert(from);
                    self.count_votes(now);
                }
            }
            QuorumMessage::Vote { term, last } => self.handle_vote(now, from, term, last),
            QuorumMessage::VoteReply { term, granted } => {
                self.adopt_term(now, term);
                if let Role::Candidate { granted: so_far } = &mut self.role
                    && granted
                    && term == self.term
                {
                    so_far.insert(from);
                    self.count_votes(now);
                }
            }
            QuorumMessage::Append { term, prev, entries, committed, sent } => {
                if term < self.term {
                    // The answer's term tells the sender that it leads no more.
                    let outcome = Appended::Conflict(self.log.committed().version.index);
                    let reply = QuorumMessage::AppendReply { term: self.term, outcome, sent };
                    return self.messages.push((from, reply));
                }
                self.adopt_term(now, term);
                if self.is_leader() {
                    self.refused += 1;
                    return;
                }
                self.follow(now, Some(from));
                self.loyal_until = now + self.config.election_min;
                let outcome = self.take_entries(prev, entries);
                if let Appended::Matched(matched) = outcome {
                    self.commit(now, committed.min(matched));
                }
                if committed > self.log.committed().version.index {
                    self.fetch = Some(from);
                }
                let reply = QuorumMessage::AppendReply { term: self.term, outcome, sent };
                self.messages.push((from, reply));
            }
            QuorumMessage::AppendReply { term, outcome, sent } => {
                self.adopt_term(now, term);
                if term == self.term {
                    self.handle_append_reply(now, from, outcome, sent);
                }
            }
        }
    }

    /// Appends an entry that this leader's region has made for the place after [`last`](Self::last).
    ///
    /// # Errors
    /// [`Proposed`].
    pub fn propose(&mut self, now: Micros, entry: E) -> Result<(), Proposed> {
        if !self.is_leader() {
            return Err(Proposed::NotLeader { leader: self.leader() });
        }
        let undecided = self.log.tail_len();
        // The first entry of a term always has room: without it the others are never decided.
        if undecided >= self.config.tail_max && self.log.last().term == self.term {
            return Err(Proposed::Full { undecided });
        }
        if entry.candidates().is_some() && self.pending().is_some() {
            return Err(Proposed::ChangePending);
        }
        if entry.point().term != self.term || !self.log.push(entry) {
            return Err(Proposed::OutOfPlace);
        }
        self.unsaved = true;
        self.welcome(now);
        self.send_appends(now, false);
        self.advance_commit(now);
        Ok(())
    }

    /// Takes decided entries that came another way: pushed down the tree, pulled from a neighbour. Those that follow the
    /// decided log are taken; the rest is for later. What is undecided here and says otherwise is taken back.
    pub fn handle_committed(&mut self, now: Micros, entries: &[E]) {
        for entry in entries {
            let (point, decided) = (entry.point(), self.log.committed().version);
            if point.version.index <= decided.index {
                continue;
            }
            if decided.index.checked_add(1) != Some(point.version.index)
                || entry.prev() != decided.hash
            {
                return;
            }
            if self.log.point_at(point.version.index) != Some(point) {
                self.log.truncate_after(decided.index);
                if !self.log.push(entry.clone()) {
                    self.refused += 1;
                    return;
                }
                self.unsaved = true;
                if self.is_leader() {
                    // Another leader of a later term has decided this.
                    self.follow(now, None);
                }
            }
            self.adopt_term(now, point.term);
            self.commit(now, point.version.index);
            // The registry has it already: it came from there.
            self.committed.pop();
        }
    }

    /// The decided log continues from a snapshot: everything up to `committed` is decided, and `voters` are the candidates.
    pub fn handle_snapshot(&mut self, now: Micros, committed: LogPoint, voters: &[RegionId]) {
        if committed.version.index <= self.log.committed().version.index {
            return;
        }
        let rest: Vec<E> = match self.log.point_at(committed.version.index) {
            Some(point) if point == committed => {
                self.log.after(committed.version.index, usize::MAX).cloned().collect()
            }
            _ => Vec::new(),
        };
        self.log = Window::new(committed);
        for entry in rest {
            self.log.push(entry);
        }
        self.voters = voters.to_vec();
        self.unsaved = true;
        if !self.is_leader() {
            self.deadline = now + self.patience;
        }
        self.adopt_term(now, committed.term);
        if self.is_leader() {
            self.welcome(now);
        }
    }

    // ---- elections -----------------------------------------------------------------------------

    fn handle_vote(&mut self, now: Micros, from: RegionId, term: u64, last: LogPoint) {
        let loyal = now < self.loyal_until || self.holds_lease(now);
        if term > self.term && loyal {
            return;
        }
        self.adopt_term(now, term);
        let free = self.vote.is_none_or(|vote| vote == from);
        #[cfg(test)]
        let free = free || self.plant.votes_twice;
        let granted = term == self.term
            && free
            && !self.is_leader()
            && last.is_up_to_date_with(&self.log.last());
        if granted {
            self.vote = Some(from);
            self.unsaved = true;
            self.deadline = now + self.patience;
        }
        self.messages.push((from, QuorumMessage::VoteReply { term: self.term, granted }));
    }

    /// Goes on to the next step where a majority agrees.
    fn count_votes(&mut self, now: Micros) {
        if let Role::Asking { granted } = &self.role {
            if !self.decides(|id| granted.contains(&id)) {
                return;
            }
            self.term = self.term.saturating_add(1);
            self.vote = Some(self.me);
            self.unsaved = true;
            self.role = Role::Candidate { granted: BTreeSet::new() };
            let (term, last) = (self.term, self.log.last());
            self.say_to_all(|| QuorumMessage::Vote { term, last });
        }
        if let Role::Candidate { granted } = &self.role
            && self.decides(|id| granted.contains(&id))
        {
            self.role = Role::Leader { peers: BTreeMap::new() };
            self.elected = true;
            self.deadline = now + self.config.heartbeat;
            self.welcome(now);
            self.send_appends(now, true);
        }
    }

    /// Whether a majority of the decided set, and of the pending one, are this region and those that `agrees` names.
    fn decides(&self, agrees: impl Fn(RegionId) -> bool) -> bool {
        let majority = |set: &[RegionId]| {
            let agreed = set.iter().filter(|id| **id == self.me || agrees(**id)).count();
            agreed > set.len() / 2
        };
        self.alone_by_order || majority(&self.voters) && self.pending().is_none_or(majority)
    }

    fn may_stand(&self) -> bool {
        self.voters.contains(&self.me) || self.pending().is_some_and(|set| set.contains(&self.me))
    }

    fn alone(&self) -> bool {
        self.may_stand() && self.decides(|_| false)
    }

    fn knows(&self, id: RegionId) -> bool {
        self.voters.contains(&id) || self.pending().is_some_and(|set| set.contains(&id))
    }

    fn adopt_term(&mut self, now: Micros, term: u64) {
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.unsaved = true;
            self.follow(now, None);
        }
    }

    fn follow(&mut self, now: Micros, leader: Option<RegionId>) {
        self.role = Role::Follower { leader };
        self.alone_by_order = false;
        self.elected = false;
        self.deadline = now + self.patience;
    }

    fn holds_lease(&self, now: Micros) -> bool {
        self.lease_until().is_some_and(|until| now < until)
    }

    fn lease_lost(&self, now: Micros) -> bool {
        !self.holds_lease(now)
    }

    fn others(&self) -> BTreeSet<RegionId> {
        let pending = self.pending().unwrap_or_default();
        self.voters.iter().chain(pending).copied().filter(|id| *id != self.me).collect()
    }

    fn say_to_all(&mut self, say: impl Fn() -> QuorumMessage<E>) {
        for to in self.others() {
            self.messages.push((to, say()));
        }
    }

    // ---- replication ---------------------------------------------------------------------------

    /// Keeps the leader's list of followers up to the sets.
    fn welcome(&mut self, now: Micros) {
        let others = self.others();
        let next = self.log.last().version.index.saturating_add(1);
        if let Role::Leader { peers } = &mut self.role {
            peers.retain(|id, _| others.contains(id));
            for id in others {
                peers.entry(id).or_insert(Progress { matched: 0, next, heard: now });
            }
        }
    }

    /// Sends every follower what it lacks; with `all` a sign of life to those that lack nothing.
    fn send_appends(&mut self, now: Micros, all: bool) {
        let Role::Leader { peers } = &mut self.role else {
            return;
        };
        let decided = self.log.committed().version.index;
        for (to, peer) in peers {
            if all {
                // What was sent and not answered by now may be lost.
                peer.next = peer.next.min(peer.matched.max(decided).saturating_add(1));
            }
            let before = peer.next.saturating_sub(1);
            let Some(prev) = self.log.point_at(before).or_else(|| self.log.point_at(decided))
            else {
                continue;
            };
            let entries: Vec<E> =
                self.log.after(prev.version.index, self.config.batch).cloned().collect();
            if entries.is_empty() && !all {
                continue;
            }
            peer.next = prev.version.index + entries.len() as u64 + 1;
            let append = QuorumMessage::Append {
                term: self.term,
                prev,
                entries,
                committed: decided,
                sent: now,
            };
            self.messages.push((*to, append));
        }
    }

    fn handle_append_reply(
        &mut self,
        now: Micros,
        from: RegionId,
        outcome: Appended,
        sent: Micros,
    ) {
        let (last, decided) = (self.log.last().version.index, self.log.committed().version.index);
        let Role::Leader { peers } = &mut self.role else {
            return;
        };
        let Some(peer) = peers.get_mut(&from) else {
            return;
        };
        peer.heard = peer.heard.max(sent.min(now));
        match outcome {
            Appended::Matched(index) if index <= last => {
                peer.matched = peer.matched.max(index);
                peer.next = peer.next.max(peer.matched + 1);
                let before = self.log.committed();
                self.advance_commit(now);
                // Followers hear at once what is decided, and what else there is.
                let all = self.log.committed() != before;
                self.send_appends(now, all);
            }
            Appended::Matched(_) => self.refused += 1,
            Appended::Conflict(index) => {
                let next = index.max(decided).min(last) + 1;
                // An answer to an older message than those that matched says nothing new.
                if next > peer.matched && next < peer.next {
                    peer.next = next;
                    // Who lacks decided entries fetches them; until then the signs of life are enough.
                    if index >= decided {
                        self.send_appends(now, false);
                    }
                }
            }
        }
    }

    /// Decides what a majority holds, if it is of this term.
    fn advance_commit(&mut self, now: Micros) {
        let Role::Leader { peers } = &self.role else {
            return;
        };
        let mut points: Vec<u64> = peers.values().map(|peer| peer.matched).collect();
        points.push(self.log.last().version.index);
        points.sort_unstable_by(|a, b| b.cmp(a));
        let holds = |index: u64| {
            self.decides(|id| peers.get(&id).is_some_and(|peer| peer.matched >= index))
        };
        let decided = points.into_iter().find(|index| holds(*index)).unwrap_or(0);
        let own_term = self.log.point_at(decided).is_some_and(|point| point.term == self.term);
        #[cfg(test)]
        let own_term = own_term || self.plant.commits_old_terms;
        if own_term {
            self.commit(now, decided);
        }
    }

    fn commit(&mut self, now: Micros, index: u64) {
        let entries = self.log.commit(index);
        let Some(set) = entries.iter().rev().find_map(QuorumEntry::candidates) else {
            return self.committed.extend(entries);
        };
        self.voters = set.to_vec();
        self.alone_by_order = false;
        self.committed.extend(entries);
        if self.is_leader() {
            self.welcome_all(now);
            if !self.may_stand() {
                // It has led its successors in.
                self.follow(now, None);
            }
        }
        if !self.is_leader() {
            // Somebody led when this was decided, and may lead still: it is given the time to say so.
            let wait = if self.alone() { Micros::ZERO } else { self.patience };
            self.deadline = now + wait;
            self.loyal_until = self.loyal_until.max(now + wait.min(self.config.election_min));
        }
    }

    /// Tells those of the old set as well that the new one is decided, then lets go of them.
    fn welcome_all(&mut self, now: Micros) {
        self.send_appends(now, true);
        self.welcome(now);
    }

    /// A follower's side of an append.
    fn take_entries(&mut self, prev: LogPoint, entries: Vec<E>) -> Appended {
        let decided = self.log.committed().version.index;
        let index = prev.version.index;
        let held = match self.log.point_at(index) {
            Some(point) => point == prev,
            // Older than what is kept, so decided; a leader's log holds all that is decided.
            None => index < decided,
        };
        if !held {
            if index <= decided && self.log.point_at(index).is_some() {
                self.refused += 1;
            }
            return Appended::Conflict(decided);
        }
        let mut matched = index;
        for entry in entries {
            let point = entry.point();
            if matched.checked_add(1) != Some(point.version.index) || point.term > self.term {
                self.refused += 1;
                break;
            }
            let here = self.log.point_at(point.version.index);
            if here != Some(point) && (here.is_some() || point.version.index > decided) {
                if point.version.index <= decided {
                    self.refused += 1;
                    break;
                }
                // Twice, since every election may add one to a leader's full tail.
                if self.log.tail_len() >= self.config.tail_max.saturating_mul(2) && here.is_none() {
                    break;
                }
                self.log.truncate_after(matched);
                self.unsaved = true;
                if !self.log.push(entry) {
                    self.refused += 1;
                    break;
                }
            }
            matched = point.version.index;
        }
        Appended::Matched(matched)
    }
}

fn draw(config: &QuorumConfig, random: &mut impl FnMut() -> u64) -> Micros {
    let span = config.election_max.saturating_sub(config.election_min).0;
    config.election_min + Micros(random() % span.saturating_add(1).max(1))
}
