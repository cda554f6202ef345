//! Who belongs to the federation: joining, and acting on what the registry says.
//!
//! The master, the root by default, is the one writer. A newcomer says `Join` on its first link; the hub there fills in the
//! key that TLS proved and forwards the change to the master's registrar (`master.2`). The new entry spreads to all copies
//! (`replicas.rs`); when the newcomer sees itself in its copy it says `Activate`, which goes the same way, and when it sees
//! itself *live* it may send across regions.

use std::collections::{HashMap, HashSet};

use actix::{Actor, Handler, MessageResult};
use fedist_registry::{
    Change, GrantBook, LocalId, Micros, RegionId, RegionKey, RegionRecord, RegistryError,
    Replication, ReplicationConfig, RouteNews, Status,
};
use fedist_transport::link::LinkError;

use super::{
    Core, CoreRef,
    control::Control,
    quorum::{Candidacy, Decision, ask_master},
};
use crate::{AskError, Context, Message, Origin, StartError, outbound::Outbound};

/// Asks the registry's master for a change, on behalf of the region that it is about.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Result<u64, ProposeError>")]
#[wire(name = "fedist.registrar.propose", version = 1, crate = "crate")]
pub(crate) struct Propose {
    pub(crate) change: Change,
    pub(crate) origin: Origin,
}

/// Asks a region to set as many of its own local ids aside, as seats for ids that are split off to it.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Result<LocalId, String>")]
#[wire(name = "fedist.registrar.seats", version = 1, crate = "crate")]
pub(crate) struct ReserveSeats {
    pub(crate) len: u64,
    pub(crate) origin: Origin,
}

impl Handler<ReserveSeats> for Registrar {
    type Result = MessageResult<ReserveSeats>;

    fn handle(&mut self, message: ReserveSeats, _: &mut Context<Self>) -> Self::Result {
        let mut core = self.core.borrow_mut();
        let from = message.origin.region().unwrap_or(core.region());
        MessageResult(core.reserve_seats(from, message.len))
    }
}

/// Why the master did not make a change.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub(crate) enum ProposeError {
    #[error("region {region} is not the registry's master; {}", hint(*.leader))]
    NotMaster { region: RegionId, leader: Option<RegionId> },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Storage(String),
    #[error("{0}")]
    Busy(String),
    #[error("no majority of the candidates has decided the change yet")]
    Undecided,
    #[error("region {region} could not be asked: {error}")]
    Unreachable { region: RegionId, error: AskError },
}

/// The registrar at the well-known pid `region.2`; on the root it writes the registry.
pub(crate) struct Registrar {
    pub(crate) core: CoreRef,
}

impl Actor for Registrar {
    type Context = Context<Self>;
}

impl ProposeError {
    /// Whether no master could be asked, rather than one that said no.
    fn means_away(&self) -> bool {
        matches!(
            self,
            ProposeError::NotMaster { .. }
                | ProposeError::Unreachable { .. }
                | ProposeError::Undecided
        )
    }
}

fn hint(leader: Option<RegionId>) -> String {
    leader.map_or("none is elected now".to_owned(), |leader| format!("region {leader} is"))
}

/// What joining keeps.
pub(super) struct Membership {
    /// What this region signs entries with, where it is the master.
    pub(super) key: RegionKey,
    pub(super) replication: Replication,
    /// What the last attempt to join said.
    pub(super) last_answer: String,
    /// How often each region had seats reserved here.
    seats_reserved: HashMap<RegionId, u32>,
    /// The tombstones in the copy.
    pub(super) left: HashSet<RegionId>,
    /// Whether this region leaves for good, and so does not ask to be taken in again.
    pub(super) leaving: bool,
    last_request: Micros,
    /// Neighbours whose change is on its way to the root: one at a time for each.
    forwarding: HashSet<RegionId>,
    /// Provisional members.
    pub(super) grants: GrantBook,
    pub(super) repeat_grants_at: Micros,
    pub(super) ask_grants_at: Micros,
    /// Whether the master is being asked for what was granted here.
    pub(super) asking_grants: bool,
    /// This region's part in electing the master.
    pub(super) candidacy: Candidacy,
}

impl Membership {
    pub(super) fn new(
        me: RegionId,
        key: RegionKey,
        candidacy: Candidacy,
        grants: GrantBook,
    ) -> Self {
        Self {
            grants,
            repeat_grants_at: Micros::ZERO,
            ask_grants_at: Micros::ZERO,
            asking_grants: false,
            candidacy,
            key,
            replication: Replication::new(me, ReplicationConfig::default()),
            last_answer: String::new(),
            seats_reserved: HashMap::new(),
            left: HashSet::new(),
            leaving: false,
            last_request: Micros::ZERO,
            forwarding: HashSet::new(),
        }
    }
}

impl Core {
    pub(super) fn is_root(&self) -> bool {
        self.config.record.parent.is_none()
    }

    /// Whether a region may ask for a change.
    pub(super) fn may_propose(&self, from: RegionId, change: &Change) -> bool {
        match change {
            // A hub may vouch for a newcomer, whose key it has seen.
            Change::Join(_) | Change::Live(_) => true,
            // Who serves the ids gives them away.
            Change::Split(range) => self.registry.serving_local(range.from, range.first) == from,
            // Those who may be the master say who may.
            Change::Candidates(_) | Change::Delegate { .. } => self.masters().contains(&from),
            // These the master makes by itself.
            Change::Master(_) | Change::Checkpoint { .. } => false,
            other => from == self.region() || other.region() == Some(from),
        }
    }

    /// Sets ids aside for a region that hands some over. Bounded, since ids are never given back.
    fn reserve_seats(&mut self, from: RegionId, len: u64) -> Result<LocalId, String> {
        if !(1..=MAX_SEATS).contains(&len) {
            return Err(format!(
                "{len} ids in one range; 1 to {MAX_SEATS} move at a time; split part by part"
            ));
        }
        if !self.is_live() || !self.registry.is_live(from) {
            return Err(format!(
                "region {} or region {from} is not live; only live regions split; wait until both are",
                self.region()
            ));
        }
        let asked = self.membership.seats_reserved.entry(from).or_default();
        if *asked >= MAX_RESERVATIONS {
            return Err(format!(
                "region {from} had seats reserved {MAX_RESERVATIONS} times since this node's start; that is all; restart the node"
            ));
        }
        *asked += 1;
        let ids = self.node.inner().ids.load();
        let run = match &*ids {
            Some(ids) => ids.reserve_run(len).map_err(|error| error.to_string())?,
            None => return Err("the node is stopped".to_owned()),
        };
        LocalId::new(run.first).map_err(|error| error.to_string())
    }

    /// Makes a change as the one master that nobody elects: appended, durable, shown to all.
    pub(super) fn propose(&mut self, change: Change) -> Result<u64, ProposeError> {
        if self.is_elected() || !self.is_master() {
            let leader = self.master().filter(|leader| *leader != self.region());
            return Err(ProposeError::NotMaster { region: self.region(), leader });
        }
        let before = self.registry.clone();
        let me = self.region();
        let term = self.registry.term().max(1);
        match self.registry.propose_signed(term, change, me, &self.membership.key) {
            Ok(entry) => {
                let mut entries = vec![entry];
                if self.registry.checkpoint_due(self.config.checkpoint_every) {
                    let checkpoint = self.registry.checkpoint();
                    let key = &self.membership.key;
                    entries.extend(self.registry.propose_signed(term, checkpoint, me, key).ok());
                }
                self.keep_entries(&entries, false).map_err(|error| {
                    self.registry = before;
                    ProposeError::Storage(error)
                })?;
                let index = self.registry.version().index;
                self.registry_grew(&entries, None);
                Ok(index)
            }
            Err(RegistryError::NoChange { .. }) => Ok(self.registry.version().index),
            Err(error) => Err(ProposeError::Refused(error.to_string())),
        }
    }

    /// The copy has changed: act on it.
    pub(super) fn registry_changed(&mut self) {
        // A number may have been given to another key than the one at the other end of a link.
        let strangers: Vec<(RegionId, u64)> = self
            .links
            .iter()
            .filter(|(peer, port)| {
                self.registry.get(**peer).is_some_and(|record| record.key_hash != port.key)
            })
            .map(|(peer, port)| (*peer, port.serial))
            .collect();
        for (peer, serial) in strangers {
            let reason = format!("{ID_CONFLICT}: region {peer} is registered with another key");
            self.send_control(
                peer,
                serial,
                &Control::JoinRefused { reason: reason.clone(), permanent: true },
            );
            self.close_link(peer, serial, &reason);
        }
        if self.registry.is_live(self.region()) && !self.is_live() {
            self.become_live();
        }
        self.sync_quorum();
        self.settle_grants();
        self.end_sessions_of_left_regions();
        self.forget_left_regions();
        self.areas_registry_changed();
        self.update_own_state();
        self.flood_registry_changed();
        self.publish_view();
        self.schedule_recompute(RouteNews::Reached);
        if !self.is_live() && self.self_status() == Some(Status::Joining) {
            self.request_membership();
        }
    }

    pub(super) fn become_live(&mut self) {
        self.node.inner().live.store(true, std::sync::atomic::Ordering::Release);
        tracing::info!(region = %self.region(), "live");
    }

    /// Lets `start` return: the region is live, and a newcomer also sees a way to somebody.
    pub(super) fn settle_start(&mut self) {
        let alone = self.is_root() || self.was_live;
        if self.is_live()
            && (alone || !self.routes.is_empty())
            && let Some(started) = self.started.take()
        {
            let _ = started.send(Ok(()));
        }
    }

    fn self_status(&self) -> Option<Status> {
        self.registry.get(self.region()).map(|record| record.status)
    }

    /// Whether this region is still to be taken in, or its record is to be brought up to date.
    pub(super) fn wants_join(&self) -> bool {
        !self.founds()
            && !self.membership.leaving
            && (self.self_status() != Some(Status::Live) || self.record_differs())
    }

    /// Whether this is the root of a federation whose master nobody elects: it writes its own record.
    fn founds(&self) -> bool {
        self.is_root() && !self.is_elected()
    }

    fn record_differs(&self) -> bool {
        let wanted = &self.config.record;
        self.registry.get(self.region()).is_none_or(|held| {
            held.addresses != wanted.addresses
                || held.parent != wanted.parent
                || held.name != wanted.name
                || held.coordinates != wanted.coordinates
        })
    }

    pub(super) fn tick_membership(&mut self, now: Micros) {
        if self.wants_join() && now.saturating_sub(self.membership.last_request) >= JOIN_RETRY {
            self.request_membership();
        }
        self.tick_replication(now);
    }

    /// Says `Join` or `Activate`, whichever is next, on every link.
    fn request_membership(&mut self) {
        self.membership.last_request = self.now();
        let message = if self.record_differs() || self.self_status() != Some(Status::Joining) {
            Control::Join(self.config.record.clone())
        } else {
            Control::Activate
        };
        self.broadcast(&message, None);
    }

    /// A link is up: a newcomer uses it at once.
    pub(super) fn push_membership(&mut self, peer: RegionId, serial: u64) {
        self.send_grants(peer, serial);
        if self.wants_join() {
            self.request_membership();
        }
    }

    /// The root or hub could not be dialed; a peer that may not be spoken to will not become another one.
    pub(super) fn join_dial_failed(&mut self, error: &str, permanent: bool) {
        self.join_refused(error.to_owned(), permanent);
    }

    /// How a link ended. For a newcomer it may be the answer to its join.
    pub(super) fn link_said(&mut self, peer: RegionId, serial: u64, end: &LinkError) {
        tracing::info!(%peer, reason = %end, "link ended");
        self.note_refused_link(peer, end);
        self.note_closed_by_peer(peer, serial, end);
        self.contact_ended(peer, serial, &end.to_string());
        if !self.wants_join() {
            return;
        }
        let permanent = match end {
            LinkError::ClosedByPeer { reason } => reason.starts_with(ID_CONFLICT),
            // Among several addresses one may be wrong.
            LinkError::RefusedByPeer { .. } => !self.contacts.book.has_sources(),
            _ => return,
        };
        self.join_refused(end.to_string(), permanent);
    }

    /// What the last attempt to join said, for the error of a start that timed out.
    pub(super) fn join_answer(&self) -> String {
        match self.membership.last_answer.as_str() {
            "" => self.discovery_answer().unwrap_or_default(),
            answer => answer.to_owned(),
        }
    }

    /// Keeps what was said last for that error.
    pub(super) fn note_join_answer(&mut self, answer: &str) {
        answer.clone_into(&mut self.membership.last_answer);
    }

    // ---- control messages ------------------------------------------------------------------

    pub(super) fn handle_control(&mut self, peer: RegionId, serial: u64, message: Control) {
        match message {
            Control::Hello(hello) => self.handle_hello(peer, serial, &hello),
            _ if self.links.get(&peer).is_none_or(|port| port.serial != serial) => {
                // Everything but a hello needs one first.
                self.count("control_before_hello");
                self.close_link(peer, serial, "protocol: hello comes first");
            }
            Control::Flood(message) => self.handle_flood(peer, message),
            Control::Borders(message) => self.handle_borders(peer, message),
            Control::Registry(message) => self.handle_registry(peer, message),
            Control::Join(record) => self.handle_join(peer, serial, record),
            Control::Grants(grants) => self.handle_grants(peer, grants),
            Control::Activate => self.forward_change(peer, serial, Change::Live(peer)),
            Control::JoinRefused { reason, permanent } => self.join_refused(reason, permanent),
            Control::Clock(advert) => self.handle_clock(peer, serial, advert),
            Control::LinkClosing(closing) => self.peer_closes_link(peer, serial, closing),
            Control::LinkWanted(wanted) => self.peer_wants_link(peer, serial, wanted),
            Control::Draining(state) => self.handle_draining(peer, serial, state),
            Control::DrainMoved => self.handle_drain_moved(peer, serial),
            Control::Leaving => self.peer_leaves(peer, serial),
        }
    }

    fn handle_join(&mut self, peer: RegionId, serial: u64, mut record: RegionRecord) {
        if record.id != peer {
            self.count("joins_forged");
            self.close_link(peer, serial, "a region joins for itself only");
            return;
        }
        // Not what the newcomer claims, but what its handshake proved.
        let Some(port) = self.links.get(&peer) else {
            return;
        };
        record.key_hash = port.key;
        record.status = Status::Joining;
        self.forward_change(peer, serial, Change::Join(record));
    }

    fn forward_change(&mut self, peer: RegionId, serial: u64, change: Change) {
        let masters = self.masters();
        if masters.is_empty() || !self.is_live() {
            self.send_control(
                peer,
                serial,
                &Control::JoinRefused {
                    reason: format!("region {} is not live itself yet", self.region()),
                    permanent: false,
                },
            );
            return;
        }
        if !self.membership.forwarding.insert(peer) {
            self.count("changes_repeated");
            return;
        }
        let decision = self.is_master().then(|| self.decide(change.clone()));
        if let Some(Decision::Done(answer)) = decision {
            self.membership.forwarding.remove(&peer);
            return self.change_answered(peer, serial, answer);
        }
        let node = self.node.clone();
        actix_rt::spawn(async move {
            let answer = match decision {
                Some(decision) => decision.outcome().await,
                None => ask_master(&node, masters, change.clone()).await,
            };
            node.queue(Outbound::Run(Box::new(move |core| {
                core.membership.forwarding.remove(&peer);
                if let (Change::Join(record), Err(error)) = (&change, &answer)
                    && error.means_away()
                    && core.admit_provisionally(peer, serial, record)
                {
                    return;
                }
                core.change_answered(peer, serial, answer);
            })));
        });
    }

    fn change_answered(&mut self, peer: RegionId, serial: u64, answer: Result<u64, ProposeError>) {
        if let Err(error) = answer {
            let permanent = matches!(error, ProposeError::Refused(_));
            let reason = error.to_string();
            tracing::warn!(%peer, %reason, "a join was refused");
            self.count("joins_refused");
            self.send_control(peer, serial, &Control::JoinRefused { reason, permanent });
        }
    }

    fn join_refused(&mut self, reason: String, permanent: bool) {
        if !self.wants_join() {
            self.count("refusals_out_of_turn");
            return;
        }
        tracing::warn!(%reason, permanent, "join refused");
        self.membership.last_answer.clone_from(&reason);
        if permanent && let Some(started) = self.started.take() {
            let _ = started.send(Err(StartError::JoinRefused(reason)));
        }
    }

    /// Makes the root's own record, or brings it up to date. Where the master is elected, that is for the master to do.
    pub(super) fn found_federation(&mut self) -> Result<(), StartError> {
        if !self.founds() || !self.is_master() {
            return Ok(());
        }
        let record = self.config.record.clone();
        let me = record.id;
        let refused = |error: ProposeError| StartError::JoinRefused(error.to_string());
        if self.self_status() != Some(Status::Live) || self.record_differs() {
            self.propose(Change::Join(record)).map_err(refused)?;
            if self.self_status() == Some(Status::Joining) {
                self.propose(Change::Live(me)).map_err(refused)?;
            }
        }
        Ok(())
    }
}

/// How the close of a link begins that refuses a number to its key.
pub(super) const ID_CONFLICT: &str = "IdConflict";
/// Ids that move in one range, at most.
const MAX_SEATS: u64 = 1 << 32;
/// How often one region has seats reserved in one life of the node, at most.
const MAX_RESERVATIONS: u32 = 1 << 16;
const JOIN_RETRY: Micros = Micros::from_millis(1_000);
