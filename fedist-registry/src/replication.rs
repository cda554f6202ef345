//! How copies of the registry keep alike: pushed down the tree, pulled from any neighbour, snapshots for who is far behind.
//!
//! - New entries go along the links of the hierarchy, away from whoever brought them: from the master to its children
//!   (and its parent, where it is not the root), from them on. A tree has one way to everybody, so no entry is sent twice.
//! - All other neighbours are offered the version a moment later, once for a burst of entries. Who is behind then waits
//!   another moment for its own tree link, and pulls what is still missing; without a tree link it pulls at once.
//! - A pull is answered with a run of entries or, past what the log still holds, with a snapshot's header; the asker then
//!   fetches the buckets that it lacks, several at a time, and goes on elsewhere when the peer falls silent.
//!
//! [`Replication`] decides and never acts: it takes messages and times, changes the [`Registry`] it is given, and says in a
//! [`Step`] what to send and what was new. The caller makes that durable *before* it passes it on with
//! [`announce`](Replication::announce).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    ApplyError, Change, KeyHash, LogEntry, Micros, Pull, RegionId, Registry, Snapshot,
    SnapshotAssembly, SnapshotError, SnapshotHeader, Status, Version,
};

/// What two neighbours say to each other about their copies. Each message fits one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegistryMessage {
    /// "My copy ends here."
    Have(Version),
    /// "Send me what follows."
    Pull(Version),
    /// The next entries of the log; `more` when others follow without being asked for.
    Entries {
        /// In order; at most [`MAX_ENTRIES`](Self::MAX_ENTRIES).
        entries: Vec<LogEntry>,
        /// Whether the answer goes on.
        more: bool,
    },
    /// "Your version is on no log that I know."
    Diverged(Version),
    /// The entries are not held any more; this snapshot is in their place.
    Snapshot(Box<SnapshotHeader>),
    /// "Send me that bucket of the snapshot, from this byte on."
    Fetch {
        /// The snapshot's checkpoint.
        version: Version,
        /// Number of the bucket.
        bucket: u16,
        /// Bytes of it that are here.
        offset: u32,
    },
    /// A piece of a bucket.
    Piece {
        /// The snapshot's checkpoint.
        version: Version,
        /// Number of the bucket.
        bucket: u16,
        /// Where the piece begins.
        offset: u32,
        /// At most [`MAX_PIECE`](Self::MAX_PIECE).
        #[serde(with = "byte_string")]
        bytes: Vec<u8>,
        /// Whether it ends the bucket.
        last: bool,
    },
}

impl RegistryMessage {
    /// Entries of one message, at most. An entry is at most about 3 KiB.
    pub const MAX_ENTRIES: usize = 16;
    /// Bytes of one piece, at most.
    pub const MAX_PIECE: usize = 32 << 10;
}

/// How eagerly copies are kept alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// How long new entries gather before neighbours outside the tree are told; 50 ms by default.
    pub offer_after: Micros,
    /// How long an offer is left to the tree link before it is pulled; 250 ms by default.
    pub patience: Micros,
    /// How long an answer to a pull may take before another neighbour is asked; 3 s by default.
    pub answer_within: Micros,
    /// How often all neighbours are told the version, for what was lost; 30 s by default.
    pub refresh: Micros,
    /// Messages of one answer, and buckets asked for at a time; 32 by default.
    pub window: usize,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        ReplicationConfig {
            offer_after: Micros::from_millis(50),
            patience: Micros::from_millis(250),
            answer_within: Micros::from_millis(3_000),
            refresh: Micros::from_millis(30_000),
            window: 32,
        }
    }
}

/// What came of a message.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// To send, in order.
    pub send: Vec<(RegionId, RegistryMessage)>,
    /// Entries that were appended. Make them durable, then [`announce`](Replication::announce) them.
    pub grown: Vec<LogEntry>,
    /// Whether a snapshot took the place of all that was held. Make it durable, then announce.
    pub installed: bool,
    /// What the peer sent was refused; to be counted.
    pub refused: Option<Refusal>,
}

/// Why something of a peer's was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its log is another one than ours: one of the two belongs to another federation or to a restored disk.
    Diverged,
    /// An entry that its master did not sign, or that breaks a rule.
    Entry(ApplyError),
    /// A snapshot, or a part of one.
    Snapshot(SnapshotError),
    /// The first entry names another key than the root has proven on a link of its own.
    OtherRoot,
    /// A message larger than an honest peer sends.
    TooLarge,
}

/// One region's side of the replication.
#[derive(Debug)]
pub struct Replication {
    me: RegionId,
    config: ReplicationConfig,
    peers: BTreeMap<RegionId, Peer>,
    pull: Option<Running>,
    /// When the neighbours outside the tree are told.
    offer_at: Option<Micros>,
    refresh_at: Micros,
    /// Since when somebody is known to be ahead.
    behind_since: Option<Micros>,
    assembly: Option<SnapshotAssembly>,
    /// Buckets that the peer of the running pull was asked for and has not sent.
    asked: BTreeSet<u16>,
}

/// A neighbour.
#[derive(Copy, Clone, Debug, Default)]
struct Peer {
    /// What it said it has, or what it has surely.
    version: Version,
    /// Not to be asked before then: it did not answer, or sent what was refused.
    shunned_until: Micros,
    /// The snapshot whose header it was sent last: a window of late fetches is answered with one.
    header_sent: Version,
}

/// A pull that was not answered in full yet.
#[derive(Copy, Clone, Debug)]
struct Running {
    from: RegionId,
    deadline: Micros,
}

impl Replication {
    /// Nobody is known yet.
    pub fn new(me: RegionId, config: ReplicationConfig) -> Replication {
        Replication {
            me,
            config,
            peers: BTreeMap::new(),
            pull: None,
            offer_at: None,
            refresh_at: Micros::ZERO,
            behind_since: None,
            assembly: None,
            asked: BTreeSet::new(),
        }
    }

    /// A link to `peer` is up, and it said where its copy ends.
    pub fn link_up(
        &mut self,
        now: Micros,
        registry: &Registry,
        peer: RegionId,
        theirs: Version,
    ) -> Step {
        self.peers.insert(peer, Peer { version: theirs, ..Peer::default() });
        if self.refresh_at == Micros::ZERO {
            self.refresh_at = now + self.config.refresh;
        }
        let mut step = Step::default();
        self.compare(now, registry, peer, theirs, &mut step);
        step
    }

    /// The link to `peer` is gone.
    pub fn link_down(&mut self, peer: RegionId) {
        self.peers.remove(&peer);
        if self.pull.is_some_and(|pull| pull.from == peer) {
            // What it has sent of a snapshot is kept: another one goes on with it.
            self.pull = None;
        }
    }

    /// Takes a message from a neighbour. `proven` gives the key that a region has proven on a link of its own.
    pub fn handle(
        &mut self,
        now: Micros,
        registry: &mut Registry,
        from: RegionId,
        message: RegistryMessage,
        proven: &dyn Fn(RegionId) -> Option<KeyHash>,
    ) -> Step {
        let mut step = Step::default();
        if !self.peers.contains_key(&from) {
            return step;
        }
        match message {
            RegistryMessage::Have(theirs) => {
                self.heard(from, theirs);
                self.compare(now, registry, from, theirs, &mut step);
            }
            RegistryMessage::Pull(theirs) => self.answer(registry, from, theirs, &mut step),
            RegistryMessage::Entries { entries, more } => {
                self.take_entries(now, registry, from, entries, more, proven, &mut step);
            }
            RegistryMessage::Diverged(_) => self.refuse(now, from, Refusal::Diverged, &mut step),
            RegistryMessage::Snapshot(header) => {
                let earlier = self.assembly.take();
                match SnapshotAssembly::new(*header, registry, earlier, proven) {
                    Ok(assembly) => {
                        self.assembly = Some(assembly);
                        self.asked.clear();
                        self.go_on(now, registry, from, proven, &mut step);
                    }
                    // It came late: what it would give is here by now.
                    Err(SnapshotError::Older { .. }) => self.pulled(now, registry, from, &mut step),
                    Err(error) => {
                        self.refuse(now, from, Refusal::Snapshot(error), &mut step);
                    }
                }
            }
            RegistryMessage::Fetch { version, bucket, offset } => {
                self.give_piece(registry, from, version, bucket, offset, &mut step);
            }
            RegistryMessage::Piece { version, bucket, offset, bytes, last } => {
                let Some(assembly) = self.assembly.as_mut().filter(|it| it.version() == version)
                else {
                    return step;
                };
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let taken = assembly.take(bucket, offset, &bytes, last);
                // Done with, or to be asked for from where it is now.
                self.asked.remove(&bucket);
                match taken {
                    Ok(()) => self.go_on(now, registry, from, proven, &mut step),
                    Err(error) => self.refuse(now, from, Refusal::Snapshot(error), &mut step),
                }
            }
        }
        step
    }

    /// Passes on what is new and durable here: entries that `from` brought, or that this region wrote as the master, or
    /// none after a snapshot.
    pub fn announce(
        &mut self,
        now: Micros,
        registry: &Registry,
        entries: &[LogEntry],
        from: Option<RegionId>,
    ) -> Vec<(RegionId, RegistryMessage)> {
        let mut send = Vec::new();
        let tree = self.tree_links(registry);
        let first = entries.first().map_or(u64::MAX, |entry| entry.index);
        let head = registry.version();
        if let Some(brought) = from.and_then(|from| self.peers.get_mut(&from))
            && brought.version.index < head.index
            && !entries.is_empty()
        {
            brought.version = head;
        }
        for peer in tree {
            let Some(held) = self.peers.get_mut(&peer) else { continue };
            if Some(peer) == from || held.version.index >= head.index {
                continue;
            }
            if held.version.index.saturating_add(1) < first {
                // It lacks what came before these, or what a snapshot brought: it pulls.
                send.push((peer, RegistryMessage::Have(head)));
                continue;
            }
            held.version = head;
            for chunk in entries.chunks(RegistryMessage::MAX_ENTRIES) {
                let entries = chunk.to_vec();
                send.push((peer, RegistryMessage::Entries { entries, more: false }));
            }
        }
        self.offer_at.get_or_insert(now + self.config.offer_after);
        self.settle(registry);
        send
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Micros> {
        let patience = self
            .behind_since
            .filter(|_| self.pull.is_none())
            .map(|since| since + self.config.patience);
        let refresh = (!self.peers.is_empty()).then_some(self.refresh_at);
        let pull = self.pull.map(|pull| pull.deadline);
        [self.offer_at, pull, patience, refresh].into_iter().flatten().min()
    }

    /// Offers, pulls and asks elsewhere, as far as it is time.
    pub fn handle_timeout(&mut self, now: Micros, registry: &Registry) -> Step {
        let mut step = Step::default();
        let head = registry.version();
        if now >= self.refresh_at && !self.peers.is_empty() {
            self.refresh_at = now + self.config.refresh;
            self.offer_at = None;
            for peer in self.peers.keys() {
                step.send.push((*peer, RegistryMessage::Have(head)));
            }
        }
        if self.offer_at.is_some_and(|at| at <= now) {
            self.offer_at = None;
            let tree = self.tree_links(registry);
            for (peer, held) in &self.peers {
                // Who was given the entries, or is known to have them, needs no offer.
                let given = tree.contains(peer) && held.version.index >= head.index;
                if !given && held.version != head {
                    step.send.push((*peer, RegistryMessage::Have(head)));
                }
            }
        }
        if let Some(pull) = self.pull.filter(|pull| pull.deadline <= now) {
            self.pull = None;
            if let Some(peer) = self.peers.get_mut(&pull.from) {
                peer.shunned_until = now + self.config.answer_within;
            }
        }
        let waited = self.behind_since.is_some_and(|since| since + self.config.patience <= now);
        if waited && self.pull.is_none() {
            self.pull_from_best(now, registry, &mut step);
        }
        step
    }

    /// The neighbours with a link.
    pub fn peers(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.peers.keys().copied()
    }

    /// Whether somebody is known to be ahead of this copy.
    pub fn is_behind(&self, registry: &Registry) -> bool {
        self.peers.values().any(|peer| peer.version.index > registry.version().index)
    }

    fn heard(&mut self, from: RegionId, version: Version) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.version = version;
        }
    }

    /// Somebody's version against our own.
    fn compare(
        &mut self,
        now: Micros,
        registry: &Registry,
        peer: RegionId,
        theirs: Version,
        step: &mut Step,
    ) {
        let ours = registry.version();
        if theirs.index < ours.index {
            step.send.push((peer, RegistryMessage::Have(ours)));
        } else if theirs.index == ours.index {
            if theirs.hash != ours.hash {
                self.refuse(now, peer, Refusal::Diverged, step);
            }
        } else {
            self.behind_since.get_or_insert(now);
            let on_tree = self.tree_links(registry);
            // The tree brings single entries by itself; a gap it does not fill.
            let expected = !on_tree.is_empty()
                && !on_tree.contains(&peer)
                && theirs.index - ours.index <= RegistryMessage::MAX_ENTRIES as u64;
            if !expected && self.pull.is_none() {
                self.pull_from(now, registry, peer, step);
            }
        }
    }

    fn pull_from(&mut self, now: Micros, registry: &Registry, peer: RegionId, step: &mut Step) {
        self.pull = Some(Running { from: peer, deadline: now + self.config.answer_within });
        step.send.push((peer, RegistryMessage::Pull(registry.version())));
    }

    /// Asks the neighbour that is furthest ahead and not shunned, the tree's first.
    fn pull_from_best(&mut self, now: Micros, registry: &Registry, step: &mut Step) {
        let ours = registry.version().index;
        let tree = self.tree_links(registry);
        let best = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.version.index > ours && peer.shunned_until <= now)
            .max_by_key(|(id, peer)| (peer.version.index, tree.contains(id), **id))
            .map(|(id, _)| *id);
        match best {
            Some(peer) => self.pull_from(now, registry, peer, step),
            // Those who are ahead are shunned for now: look again later.
            None if self.is_behind(registry) => self.behind_since = Some(now),
            None => self.behind_since = None,
        }
    }

    /// A pull was answered in full: there may be more to have, here or elsewhere.
    fn pulled(&mut self, now: Micros, registry: &Registry, from: RegionId, step: &mut Step) {
        if self.pull.is_some_and(|pull| pull.from == from) {
            self.pull = None;
        }
        self.settle(registry);
        if self.behind_since.is_some() && self.pull.is_none() {
            self.pull_from_best(now, registry, step);
        }
    }

    /// Forgets that it is behind when it is not any more.
    fn settle(&mut self, registry: &Registry) {
        if !self.is_behind(registry) {
            self.behind_since = None;
        }
    }

    fn answer(&mut self, registry: &Registry, peer: RegionId, theirs: Version, step: &mut Step) {
        self.heard(peer, theirs);
        match registry.missing_for(theirs) {
            Pull::UpToDate => step.send.push((peer, RegistryMessage::Have(registry.version()))),
            Pull::Diverged => {
                step.send.push((peer, RegistryMessage::Diverged(registry.version())));
                step.refused = Some(Refusal::Diverged);
            }
            Pull::Snapshot(snapshot) => {
                if let Some(asker) = self.peers.get_mut(&peer) {
                    asker.header_sent = snapshot.version();
                }
                step.send.push((peer, RegistryMessage::Snapshot(Box::new(snapshot.header()))));
            }
            Pull::Entries(entries) => {
                let window = self.config.window.max(1) * RegistryMessage::MAX_ENTRIES;
                let run = entries.get(..window).unwrap_or(entries);
                let mut chunks = run.chunks(RegistryMessage::MAX_ENTRIES).peekable();
                while let Some(chunk) = chunks.next() {
                    let entries = chunk.iter().map(|entry| LogEntry::clone(entry)).collect();
                    let more = chunks.peek().is_some();
                    step.send.push((peer, RegistryMessage::Entries { entries, more }));
                }
                if run.len() < entries.len() {
                    step.send.push((peer, RegistryMessage::Have(registry.version())));
                }
                if let Some(last) = run.last() {
                    self.heard(peer, last.version());
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one message's fields and what it is judged by")]
    fn take_entries(
        &mut self,
        now: Micros,
        registry: &mut Registry,
        from: RegionId,
        entries: Vec<LogEntry>,
        more: bool,
        proven: &dyn Fn(RegionId) -> Option<KeyHash>,
        step: &mut Step,
    ) {
        if entries.len() > RegistryMessage::MAX_ENTRIES {
            return self.refuse(now, from, Refusal::TooLarge, step);
        }
        if let Some(pull) = self.pull.as_mut().filter(|pull| pull.from == from) {
            pull.deadline = now + self.config.answer_within;
        }
        for entry in entries {
            let (held, index) = (registry.version().index, entry.index);
            if registry.is_empty() && is_of_another_root(&entry, proven) {
                return self.refuse(now, from, Refusal::OtherRoot, step);
            }
            match registry.apply(entry.clone()) {
                Ok(()) if registry.version().index > held => step.grown.push(entry),
                Ok(()) => {}
                Err(ApplyError::Gap { .. }) => {
                    self.heard(from, Version { index, hash: entry.hash() });
                    self.behind_since.get_or_insert(now);
                    if self.pull.is_none() {
                        self.pull_from(now, registry, from, step);
                    }
                    return;
                }
                Err(ApplyError::HashMismatch { .. }) => {
                    return self.refuse(now, from, Refusal::Diverged, step);
                }
                Err(error) => return self.refuse(now, from, Refusal::Entry(error), step),
            }
        }
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.version.index < registry.version().index
        {
            // It has what it sent; more it will say.
            peer.version = registry.version();
        }
        if more {
            return;
        }
        if self.pull.is_some_and(|pull| pull.from == from) {
            self.pulled(now, registry, from, step);
        } else {
            self.settle(registry);
        }
    }

    fn give_piece(
        &mut self,
        registry: &Registry,
        peer: RegionId,
        version: Version,
        bucket: u16,
        offset: u32,
        step: &mut Step,
    ) {
        let held = registry.snapshot().filter(|snapshot| snapshot.version() == version);
        let Some(bytes) = held.and_then(|snapshot| snapshot.bucket(bucket)) else {
            // The next checkpoint has taken its place: this one's header says what is still lacking.
            if let Some(snapshot) = registry.snapshot()
                && let Some(asker) = self.peers.get_mut(&peer)
                && asker.header_sent != snapshot.version()
            {
                asker.header_sent = snapshot.version();
                step.send.push((peer, RegistryMessage::Snapshot(Box::new(snapshot.header()))));
            }
            return;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(start..) else {
            return;
        };
        let piece = rest.get(..RegistryMessage::MAX_PIECE).unwrap_or(rest);
        let (bytes, last) = (piece.to_vec(), piece.len() == rest.len());
        step.send.push((peer, RegistryMessage::Piece { version, bucket, offset, bytes, last }));
    }

    /// Fetches what a snapshot still lacks, or installs it.
    fn go_on(
        &mut self,
        now: Micros,
        registry: &mut Registry,
        from: RegionId,
        proven: &dyn Fn(RegionId) -> Option<KeyHash>,
        step: &mut Step,
    ) {
        let Some(assembly) = &self.assembly else { return };
        if !assembly.is_complete() {
            if self.pull.is_none_or(|pull| pull.from != from) {
                self.asked.clear();
            }
            self.pull = Some(Running { from, deadline: now + self.config.answer_within });
            let version = assembly.version();
            let room = self.config.window.max(1).saturating_sub(self.asked.len());
            for (bucket, here) in
                assembly.missing().filter(|(it, _)| !self.asked.contains(it)).take(room)
            {
                let offset = u32::try_from(here).unwrap_or(u32::MAX);
                step.send.push((from, RegistryMessage::Fetch { version, bucket, offset }));
            }
            self.asked.extend(step.send.iter().filter_map(|(_, message)| match message {
                RegistryMessage::Fetch { bucket, .. } => Some(*bucket),
                _ => None,
            }));
            return;
        }
        let Some(assembly) = self.assembly.take() else { return };
        let installed =
            assembly.finish(proven).and_then(|snapshot: Snapshot| registry.install(snapshot));
        match installed {
            Ok(()) => {
                step.installed = true;
                self.pulled(now, registry, from, step);
            }
            // Entries have come meanwhile, another way.
            Err(SnapshotError::Older { .. }) => self.pulled(now, registry, from, step),
            Err(error) => self.refuse(now, from, Refusal::Snapshot(error), step),
        }
    }

    /// Leaves a peer alone for a while.
    fn refuse(&mut self, now: Micros, from: RegionId, why: Refusal, step: &mut Step) {
        step.refused = Some(why);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.shunned_until = now + SHUNNED;
        }
        if self.pull.is_some_and(|pull| pull.from == from) {
            self.pull = None;
        }
        self.behind_since.get_or_insert(now);
    }

    /// The neighbours along the hierarchy: the parent and the children, as far as there are links.
    fn tree_links(&self, registry: &Registry) -> BTreeSet<RegionId> {
        let parent = registry.get(self.me).and_then(|own| own.parent);
        let is_child = |id: &RegionId| {
            registry
                .get(*id)
                .is_some_and(|it| it.parent == Some(self.me) && it.status != Status::Left)
        };
        self.peers.keys().copied().filter(|id| parent == Some(*id) || is_child(id)).collect()
    }
}

/// Whether an entry founds a federation under another root than the one whose key is known.
fn is_of_another_root(entry: &LogEntry, proven: &dyn Fn(RegionId) -> Option<KeyHash>) -> bool {
    match &entry.change {
        Change::Join(record) => proven(record.id).is_some_and(|key| key != record.key_hash),
        _ => false,
    }
}

/// How long a peer that sent what was refused is not asked again.
const SHUNNED: Micros = Micros::from_millis(30_000);

/// Bytes as a byte string; serde would make a list of numbers of them.
mod byte_string {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_bytes(BytesVisitor)
    }

    struct BytesVisitor;

    impl de::Visitor<'_> for BytesVisitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}

#[cfg(test)]
mod tests;
