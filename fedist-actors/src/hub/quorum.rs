//! Who writes the registry: the root alone, or the leader that the root candidates elect.
//!
//! The decisions are those of [`fedist_registry::quorum`]; here is its shell. Candidates talk through their registrars, over
//! sessions and so over any route; what they must not forget is on disk before anything is sent. While no candidates were ever
//! set, the root writes alone and at once, and none of this runs.

use actix::{Handler, MessageResult, ResponseFuture};
use fedist_registry::{
    Change, LogEntry, Micros, RegionId, RegionPid, Registry, RegistryError, Version,
    quorum::{LogPoint, Quorum, QuorumConfig, QuorumMessage, Saved},
    service,
};
use tokio::sync::oneshot;

use super::{
    Core,
    membership::{Propose, ProposeError, Registrar},
};
use crate::{ChangeError, Context, Message, Node, Origin, PidSend, outbound::Outbound};

/// What one candidate's registrar says to another's.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[wire(name = "fedist.registrar.quorum", version = 1, crate = "crate")]
pub(crate) struct QuorumSays {
    message: QuorumMessage,
    origin: Origin,
}

/// Asks a registrar for decided entries after a version.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Decided")]
#[wire(name = "fedist.registrar.entries", version = 1, crate = "crate")]
pub(crate) struct AskDecided {
    pub(super) after: Version,
}

/// The answer to [`AskDecided`].
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Decided {
    /// The term of the last entry held there.
    pub(super) term: u64,
    /// Whether the version asked about is a point on the log there, as far back as it is held.
    pub(super) agrees: bool,
    /// What follows it, at most [`DECIDED_MAX`] entries.
    pub(super) entries: Vec<LogEntry>,
}

/// What a candidate keeps.
pub(super) struct Candidacy {
    engine: Quorum,
    /// As the engine saved it last: from it the engine is made anew where the disk fails.
    saved: Saved,
    /// The leader's registry with its undecided entries, to check the next one against.
    draft: Option<Registry>,
    waiting: Vec<Waiting>,
    /// Whether decided entries are being fetched.
    fetching: bool,
    /// Whether the log of a peer is being compared with the copy here.
    pub(super) reconciling: bool,
}

/// A change whose fate is not decided yet.
struct Waiting {
    at: Version,
    done: oneshot::Sender<Result<u64, ProposeError>>,
}

/// What became of a proposal.
pub(super) enum Decision {
    Done(Result<u64, ProposeError>),
    /// A majority must hold it first.
    Waits(oneshot::Receiver<Result<u64, ProposeError>>),
}

impl Decision {
    pub(super) async fn outcome(self) -> Result<u64, ProposeError> {
        match self {
            Decision::Done(outcome) => outcome,
            Decision::Waits(decided) => match tokio::time::timeout(DECIDE_WITHIN, decided).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) | Err(_) => Err(ProposeError::Undecided),
            },
        }
    }
}

impl Handler<Propose> for Registrar {
    type Result = ResponseFuture<Result<u64, ProposeError>>;

    fn handle(&mut self, message: Propose, _: &mut Context<Self>) -> Self::Result {
        let mut core = self.core.borrow_mut();
        let from = message.origin.region().unwrap_or(core.region());
        let decision = if core.may_propose(from, &message.change) {
            core.decide(message.change)
        } else {
            core.count("proposals_refused");
            Decision::Done(Err(ProposeError::Refused(format!(
                "region {from} cannot make this change; a region changes itself only; ask there"
            ))))
        };
        core.flush();
        Box::pin(decision.outcome())
    }
}

impl Handler<QuorumSays> for Registrar {
    type Result = ();

    fn handle(&mut self, message: QuorumSays, _: &mut Context<Self>) {
        let mut core = self.core.borrow_mut();
        let Some(from) = message.origin.region() else {
            return;
        };
        core.handle_quorum(from, message.message);
        core.flush();
    }
}

impl Handler<AskDecided> for Registrar {
    type Result = MessageResult<AskDecided>;

    fn handle(&mut self, ask: AskDecided, _: &mut Context<Self>) -> Self::Result {
        let core = self.core.borrow();
        let registry = &core.registry;
        let agrees =
            registry.agrees_with(ask.after) && ask.after.index >= registry.log_start().index;
        let entries = match agrees {
            true => registry.entries_after(ask.after.index, DECIDED_MAX),
            false => &[],
        };
        let entries = entries.iter().map(|entry| LogEntry::clone(entry)).collect();
        MessageResult(Decided { term: registry.term(), agrees, entries })
    }
}

impl Candidacy {
    /// Goes on with what was saved.
    pub(super) fn new(
        me: RegionId,
        config: QuorumConfig,
        now: Micros,
        registry: &Registry,
        saved: Saved,
    ) -> Candidacy {
        let engine = engine(me, config, now, registry, saved.clone(), &mut fastrand::Rng::new());
        Candidacy {
            engine,
            saved,
            draft: None,
            waiting: Vec::new(),
            fetching: false,
            reconciling: false,
        }
    }
}

impl Core {
    /// Whether candidates elect the master, or begin to.
    pub(super) fn is_elected(&self) -> bool {
        let engine = &self.candidacy().engine;
        !self.registry.candidates().is_empty() || engine.is_leader() || engine.pending().is_some()
    }

    /// Whether this region writes the registry now.
    pub(super) fn is_master(&self) -> bool {
        if self.is_elected() {
            return self.candidacy().engine.is_leader();
        }
        match self.registry.master() {
            Some(master) => master == self.region(),
            None => self.is_root(),
        }
    }

    /// Who writes the registry, as far as is known here.
    pub(super) fn master(&self) -> Option<RegionId> {
        let leader = self.candidacy().engine.leader().filter(|_| self.is_elected());
        leader.or_else(|| self.registry.master())
    }

    /// Whom to ask for a change: the master, and after it whoever may know another one.
    pub(super) fn masters(&self) -> Vec<RegionId> {
        let mut masters: Vec<RegionId> = self.master().into_iter().collect();
        let root = self.registry.hierarchy().root();
        for id in self.registry.candidates().iter().copied().chain(root) {
            if !masters.contains(&id) {
                masters.push(id);
            }
        }
        masters
    }

    fn candidacy(&self) -> &Candidacy {
        &self.membership.candidacy
    }

    /// Makes a change as the master.
    pub(super) fn decide(&mut self, change: Change) -> Decision {
        if !self.is_elected() {
            if matches!(change, Change::Candidates(_)) && self.is_master() {
                // From here on there are terms; the first is won by the one voter there is.
                let now = self.now();
                let random = &mut self.random;
                self.membership.candidacy.engine.stand(now, &mut || random.u64(..));
                self.act_on_quorum();
            } else {
                return Decision::Done(self.propose(change));
            }
        }
        match self.propose_undecided(change) {
            Ok(at) if at.index <= self.registry.version().index => Decision::Done(Ok(at.index)),
            Ok(_) if self.candidacy().waiting.len() >= WAITING_MAX => {
                Decision::Done(Err(ProposeError::Undecided))
            }
            Ok(at) => {
                let (done, decided) = oneshot::channel();
                self.membership.candidacy.waiting.push(Waiting { at, done });
                Decision::Waits(decided)
            }
            Err(error) => Decision::Done(Err(error)),
        }
    }

    /// Makes the entry of a change, and gives the place at which it will be decided.
    fn propose_undecided(&mut self, change: Change) -> Result<Version, ProposeError> {
        if !self.candidacy().engine.is_leader() {
            let leader = self.master().filter(|leader| *leader != self.region());
            return Err(ProposeError::NotMaster { region: self.region(), leader });
        }
        if self.candidacy().engine.last().term < self.candidacy().engine.term() {
            self.begin_term()?;
        }
        let (now, me) = (self.now(), self.region());
        let term = self.candidacy().engine.term();
        self.refresh_draft()?;
        let membership = &mut self.membership;
        let Some(draft) = &mut membership.candidacy.draft else {
            return Err(ProposeError::Undecided);
        };
        match draft.propose_signed(term, change, me, &membership.key) {
            Ok(entry) => {
                let at = entry.version();
                let mut entries = vec![entry];
                if draft.checkpoint_due(self.config.checkpoint_every) {
                    let checkpoint = draft.checkpoint();
                    let key = &membership.key;
                    entries.extend(draft.propose_signed(term, checkpoint, me, key).ok());
                }
                for entry in entries {
                    if let Err(error) = membership.candidacy.engine.propose(now, entry) {
                        membership.candidacy.draft = None;
                        if membership.candidacy.engine.last().version.index < at.index {
                            return Err(ProposeError::Busy(error.to_string()));
                        }
                    }
                }
                self.act_on_quorum();
                Ok(at)
            }
            // As good as done, once what it rests upon is decided.
            Err(RegistryError::NoChange { .. } | RegistryError::SameCandidates) => {
                Ok(draft.version())
            }
            Err(error) => Err(ProposeError::Refused(error.to_string())),
        }
    }

    /// The first entry of this leader's term.
    fn begin_term(&mut self) -> Result<(), ProposeError> {
        let (now, me) = (self.now(), self.region());
        self.refresh_draft()?;
        let membership = &mut self.membership;
        let Some(draft) = &mut membership.candidacy.draft else {
            return Err(ProposeError::Undecided);
        };
        let term = membership.candidacy.engine.term();
        let entry = draft
            .propose_signed(term, Change::Master(me), me, &membership.key)
            .map_err(|error| ProposeError::Refused(error.to_string()))?;
        if let Err(error) = membership.candidacy.engine.propose(now, entry) {
            membership.candidacy.draft = None;
            return Err(ProposeError::Busy(error.to_string()));
        }
        tracing::info!(term, "this region is the registry's master");
        self.act_on_quorum();
        Ok(())
    }

    /// Brings the draft to where the engine's log ends.
    fn refresh_draft(&mut self) -> Result<(), ProposeError> {
        let candidacy = &mut self.membership.candidacy;
        let last = candidacy.engine.last().version;
        if candidacy.draft.as_ref().is_some_and(|draft| draft.version() == last) {
            return Ok(());
        }
        let mut draft = self.registry.clone();
        for entry in candidacy.engine.tail() {
            draft.apply(entry.clone()).map_err(|error| ProposeError::Refused(error.to_string()))?;
        }
        candidacy.draft = (draft.version() == last).then_some(draft);
        Ok(())
    }

    fn handle_quorum(&mut self, from: RegionId, message: QuorumMessage) {
        if let QuorumMessage::Append { entries, .. } = &message {
            // Nobody else looks at the signatures before a majority has decided them.
            let signed = |entry: &LogEntry| {
                let signer = entry.seal.and_then(|seal| self.registry.get(seal.signer));
                let key = entry.seal.map(|seal| seal.key.key_hash());
                entry.is_sealed() && key.is_some() && signer.map(|record| record.key_hash) == key
            };
            if !entries.iter().all(signed) {
                self.count("quorum_entries_forged");
                return;
            }
        }
        let now = self.now();
        self.membership.candidacy.engine.handle_message(now, from, message);
        self.act_on_quorum();
    }

    /// Elections, signs of life, and the candidates that the configuration asks for.
    pub(super) fn tick_quorum(&mut self, now: Micros) {
        self.sync_quorum();
        if self.is_elected() {
            let random = &mut self.random;
            self.membership.candidacy.engine.tick(now, &mut || random.u64(..));
        }
        self.act_on_quorum();
        let wanted = &self.config.candidates;
        let first = self.registry.candidates().is_empty()
            && self.candidacy().engine.pending().is_none()
            && !wanted.is_empty()
            && self.is_master()
            && *wanted != [self.region()];
        if first && wanted.iter().all(|id| self.registry.is_live(*id)) {
            let wanted = wanted.clone();
            if let Decision::Done(Err(error)) = self.decide(Change::Candidates(wanted)) {
                tracing::warn!(%error, "the root candidates could not be set");
            }
        }
    }

    /// Tells the engine what the registry has learned, and those who wait what was decided.
    pub(super) fn sync_quorum(&mut self) {
        let now = self.now();
        let head = self.registry.version();
        let engine = &mut self.membership.candidacy.engine;
        if engine.committed().version != head {
            let known = engine.committed().version.index;
            let news: Vec<LogEntry> = self
                .registry
                .entries_after(known, usize::MAX)
                .iter()
                .map(|entry| LogEntry::clone(entry))
                .collect();
            engine.handle_committed(now, &news);
            if engine.committed().version != head {
                let point = LogPoint { term: self.registry.term(), version: head };
                engine.handle_snapshot(now, point, &voters(&self.registry));
            }
        }
        let founder = self.registry.master().filter(|_| self.registry.candidates().is_empty());
        if let Some(founder) = founder
            && engine.voters() != [founder]
        {
            engine.founded_by(founder);
        }
        let registry = &self.registry;
        let decided = |waiting: &mut Waiting| waiting.at.index <= head.index;
        for waiting in self.membership.candidacy.waiting.extract_if(.., decided) {
            let outcome = match registry.agrees_with(waiting.at) {
                true => Ok(waiting.at.index),
                false => Err(ProposeError::Undecided),
            };
            // Whoever waited may have given up.
            let _ = waiting.done.send(outcome);
        }
    }

    /// Does what the engine says: save, commit, send.
    fn act_on_quorum(&mut self) {
        loop {
            let ready = self.membership.candidacy.engine.poll();
            if let Some(saved) = ready.save {
                if let Some(store) = &self.store
                    && let Err(error) = store.save_quorum(&saved)
                {
                    tracing::error!(%error, "the candidate's vote could not be saved");
                    self.count("quorum_save_failed");
                    return self.restart_quorum();
                }
                self.membership.candidacy.saved = saved;
            }
            if !ready.committed.is_empty() && !self.take_decided(ready.committed) {
                return self.restart_quorum();
            }
            for (to, message) in ready.messages {
                // Without a way they would only pile up; the next ones say the same.
                if self.routes.get(to).is_some() {
                    let says = QuorumSays { message, origin: Origin::here() };
                    self.node.tell_service(RegionPid::new(to, service::REGISTRAR), says);
                }
            }
            if let Some(from) = ready.fetch {
                self.fetch_decided(from);
            }
            if !ready.elected {
                return;
            }
            if let Err(error) = self.begin_term() {
                tracing::warn!(%error, "the term could not begin");
            }
        }
    }

    /// Appends what is decided; false where that could not be done.
    fn take_decided(&mut self, entries: Vec<LogEntry>) -> bool {
        let before = self.registry.clone();
        for entry in &entries {
            if let Err(error) = self.registry.apply(entry.clone()) {
                tracing::error!(%error, "the candidates decided what breaks a rule");
                self.count("quorum_rule_broken");
                self.registry = before;
                return false;
            }
        }
        if self.keep_entries(&entries, false).is_err() {
            self.registry = before;
            return false;
        }
        self.registry_grew(&entries, None);
        true
    }

    /// As after a crash: from what is on disk.
    fn restart_quorum(&mut self) {
        let (me, now) = (self.region(), self.now());
        let saved = self.membership.candidacy.saved.clone();
        let config = self.config.quorum.clone();
        let engine = engine(me, config, now, &self.registry, saved, &mut self.random);
        self.membership.candidacy.engine = engine;
        self.membership.candidacy.draft = None;
    }

    /// Another log took the place of the copy's.
    pub(super) fn quorum_forked(&mut self) {
        let candidacy = &mut self.membership.candidacy;
        // What waited to be decided never will be.
        candidacy.waiting.clear();
        candidacy.saved.tail.clear();
        if let Some(store) = &self.store
            && let Err(error) = store.save_quorum(&self.membership.candidacy.saved)
        {
            // Its entries do not follow the new log, so a restart passes over them as well.
            tracing::warn!(%error, "the undecided entries could not be let go");
        }
        self.restart_quorum();
    }

    /// Gets decided entries from a candidate that has more, over its session.
    fn fetch_decided(&mut self, from: RegionId) {
        if std::mem::replace(&mut self.membership.candidacy.fetching, true) {
            return;
        }
        let node = self.node.clone();
        let after = self.registry.version();
        actix_rt::spawn(async move {
            let registrar = RegionPid::new(from, service::REGISTRAR);
            let answer = registrar.send(&node, AskDecided { after }).await;
            node.queue(Outbound::Run(Box::new(move |core| {
                core.membership.candidacy.fetching = false;
                if let Ok(answer) = answer {
                    core.take_fetched(answer.entries);
                }
            })));
        });
    }

    pub(super) fn take_fetched(&mut self, entries: Vec<LogEntry>) {
        let held = self.registry.version().index;
        let news: Vec<LogEntry> = entries.into_iter().filter(|entry| entry.index > held).collect();
        let before = self.registry.clone();
        for entry in &news {
            if let Err(error) = self.registry.apply(entry.clone()) {
                tracing::debug!(%error, "fetched entries do not follow");
                self.registry = before;
                return;
            }
        }
        if news.is_empty() || self.keep_entries(&news, false).is_err() {
            self.registry = before;
            return;
        }
        self.registry_grew(&news, None);
    }

    /// Leads without being elected, by an operator's order.
    pub(super) fn take_over(&mut self) -> Decision {
        let now = self.now();
        self.sync_quorum();
        self.membership.candidacy.engine.take_over(now);
        self.act_on_quorum();
        let me = self.region();
        match self.registry.candidates() == [me] {
            true => Decision::Done(Ok(self.registry.version().index)),
            false => self.decide(Change::Candidates(vec![me])),
        }
    }
}

fn engine(
    me: RegionId,
    config: QuorumConfig,
    now: Micros,
    registry: &Registry,
    saved: Saved,
    random: &mut fastrand::Rng,
) -> Quorum {
    let committed = LogPoint { term: registry.term(), version: registry.version() };
    Quorum::new(me, config, now, committed, &voters(registry), saved, &mut || random.u64(..))
}

/// Who decides: the candidates, or before there were any the one writer.
fn voters(registry: &Registry) -> Vec<RegionId> {
    match registry.candidates() {
        [] => registry.master().into_iter().collect(),
        candidates => candidates.to_vec(),
    }
}

/// Asks the master for a change, wherever it is: follows its hints, and asks every candidate before giving up.
pub(super) async fn ask_master(
    node: &Node,
    mut masters: Vec<RegionId>,
    change: Change,
) -> Result<u64, ProposeError> {
    let mut last = ProposeError::NotMaster { region: node.region(), leader: None };
    masters.reverse();
    for _ in 0..ASKED_MAX {
        let Some(master) = masters.pop() else {
            break;
        };
        let propose = Propose { change: change.clone(), origin: Origin::here() };
        match RegionPid::new(master, service::REGISTRAR).send(node, propose).await {
            Ok(Err(ProposeError::NotMaster { region, leader })) => {
                masters.retain(|id| Some(*id) != leader);
                masters.extend(leader);
                last = ProposeError::NotMaster { region, leader };
            }
            Ok(answer) => return answer,
            Err(error) => last = ProposeError::Unreachable { region: master, error },
        }
    }
    Err(last)
}

impl Node {
    /// Sets the regions that elect the registry's master among themselves: 1, 3 or 5 live ones. Returns the change's index in
    /// the registry's log when a majority of the old and of the new ones hold it.
    ///
    /// Must be called on a node of the root or of a present candidate. From the first such change on a change of the
    /// registry counts when a majority of the candidates has it on disk, and the federation goes on without the others.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_root_candidates(&self, candidates: &[RegionId]) -> Result<u64, ChangeError> {
        let mut candidates = candidates.to_vec();
        candidates.sort_unstable();
        self.propose(Change::Candidates(candidates)).await
    }

    /// Gives `to` the region numbers `first` to `last`: while the master cannot be reached it admits newcomers with these
    /// numbers. A block that is given again goes to another region; blocks do not overlap otherwise.
    ///
    /// Must be called on a node of the root or of a candidate.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn delegate_block(
        &self,
        to: RegionId,
        first: RegionId,
        last: RegionId,
    ) -> Result<u64, ChangeError> {
        self.propose(Change::Delegate { to, first, last }).await
    }
}

/// Entries in one answer, at most: about 200 KiB.
const DECIDED_MAX: usize = 64;
/// Changes that may wait to be decided.
const WAITING_MAX: usize = 1_024;
/// Registrars that are asked for one change, hints included.
const ASKED_MAX: usize = 8;
/// How long a registrar waits for a majority; below the deadline of whoever asked it.
const DECIDE_WITHIN: std::time::Duration = std::time::Duration::from_secs(4);
