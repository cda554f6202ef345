//! From the node's senders into sessions, and from sessions onto links.

use std::collections::VecDeque;

use bytes::Bytes;
use fedist_registry::{Micros, RegionId, RegionPid};
use fedist_transport::{
    session::{EndReason, PushError, Session, SessionEvent},
    wire::{Class, FrameKind, RecordHeader, RecordKind, Records, SourceRoute},
};

use super::{Core, SessionSlot, frames::hop_header};
use crate::{
    AskError, DropReason, ExitReason, RegionChange,
    address::decoding,
    outbound::Outbound,
    outbox::{Batch, BatchedAsk, Large, Reply, Waiting},
};

/// What waits to enter a session.
pub(super) enum Stalled {
    Batch {
        records: Bytes,
        count: u16,
        gated: usize,
        /// When the deadlines of the asks among them were written; `None` where there are none.
        written: Option<Micros>,
    },
    Large {
        header: RecordHeader,
        body: Bytes,
        gated: usize,
    },
}

/// Bytes queued at a link beyond which sessions hold their frames back, so that priority and
/// route changes still mean something. About 10 ms at 1 Gbit/s.
const LINK_HIGH: usize = 1 << 20;

/// How long the deadline that an ask carries may be behind the time before it is written anew.
const DEADLINES_STALE: Micros = Micros::from_millis(1);

impl Stalled {
    fn gated(&self) -> usize {
        match self {
            Stalled::Batch { gated, .. } | Stalled::Large { gated, .. } => *gated,
        }
    }

    /// Shows each record's header and how long its body is.
    fn each(&self, mut show: impl FnMut(&RecordHeader, usize)) {
        match self {
            Stalled::Batch { records, .. } => {
                for (header, body) in Records::new(records.clone()).flatten() {
                    show(&header, body.len());
                }
            }
            Stalled::Large { header, body, .. } => show(header, body.len()),
        }
    }
}

impl Core {
    /// Takes one item of the node's outbound queue.
    pub(super) fn handle_outbound(&mut self, item: Outbound) {
        match item {
            Outbound::Run(work) => work(self),
            Outbound::Ready(region) => self.take_outbox(region),
        }
    }

    /// Takes what the senders have put into a region's outbox. Only noted here: its session takes it at the flush.
    fn take_outbox(&mut self, region: RegionId) {
        let node = self.node.clone();
        let gate = node.inner().gates.get(region);
        let waiting = gate.outbox().take();
        if self.membership.left.contains(&region) {
            for item in waiting {
                gate.release(self.refuse_left(region, item));
            }
            return;
        }
        for item in waiting {
            let item = match item {
                Waiting::Batch(batch) => self.number_batch(region, batch),
                Waiting::Large(Large { header, body, gated, reply }) => {
                    let correlation = match reply {
                        Some(reply) => self.number_ask(region, header.deadline_ms, reply),
                        None => header.correlation,
                    };
                    Stalled::Large { header: RecordHeader { correlation, ..header }, body, gated }
                }
            };
            self.session_with(region).stalled.push_back(item);
        }
        self.mark_dirty(region);
    }

    /// Gives the asks of a batch their numbers.
    fn number_batch(&mut self, region: RegionId, batch: Batch) -> Stalled {
        let Batch { mut records, count, gated, asks } = batch;
        let mut written = (!asks.is_empty()).then(|| self.now());
        for BatchedAsk { at, deadline_ms, reply } in asks {
            let number = self.number_ask(region, deadline_ms, reply);
            if number == 0 {
                // Over already: left out when the batch is written anew.
                written = Some(Micros::ZERO);
            }
            if let Some(place) = records.get_mut(at..at + 4) {
                place.copy_from_slice(&number.to_be_bytes());
            }
        }
        Stalled::Batch { records: records.into(), count, gated, written }
    }

    /// The correlation number of a new ask, 0 for one that ended at once.
    fn number_ask(&mut self, region: RegionId, deadline_ms: u32, reply: Reply) -> u32 {
        let deadline = self.now() + Micros::from_millis(u64::from(deadline_ms));
        let correlation = self.asks.add(region, deadline, reply);
        self.arm(deadline);
        if !self.sessions.contains_key(&region) {
            self.session_with(region).session.set_watched(true);
        }
        correlation
    }

    /// Answers for what was on its way to a region that has left: nobody is there to take it any more. The gate is closed
    /// by then, so only what passed it just before comes here, and what the runtime itself has to say. Gives what is to be
    /// given back at the gate.
    fn refuse_left(&mut self, region: RegionId, item: Waiting) -> usize {
        let lost = |core: &Self, header: &RecordHeader| {
            if header.kind == RecordKind::Tell {
                core.note_undelivered(region, header, DropReason::UnknownRegion);
            }
        };
        match item {
            Waiting::Batch(batch) => {
                for ask in batch.asks {
                    let _ = ask.reply.send(Err(AskError::UnknownRegion(region)));
                }
                for (header, _) in Records::new(batch.records.into()).flatten() {
                    lost(self, &header);
                }
                batch.gated
            }
            Waiting::Large(large) => {
                if let Some(reply) = large.reply {
                    let _ = reply.send(Err(AskError::UnknownRegion(region)));
                }
                lost(self, &large.header);
                large.gated
            }
        }
    }

    /// Moves what waits at a session into it, as far as there is room.
    fn feed(&mut self, region: RegionId) {
        let now = self.now();
        let Some(slot) = self.sessions.get_mut(&region) else {
            return;
        };
        let (mut released, mut refused) = (0, Vec::new());
        while let Some(item) = slot.stalled.pop_front() {
            let (item, gated, outcome) = match item {
                Stalled::Batch { mut records, mut count, gated, mut written } => {
                    if written.is_some_and(|written| now >= written + DEADLINES_STALE) {
                        (records, count) = self.asks.written_anew(&records, now);
                        written = Some(now);
                    }
                    let outcome = match count {
                        0 => Ok(()),
                        _ => slot.session.push_records(now, &records, count),
                    };
                    (Stalled::Batch { records, count, gated, written }, gated, outcome)
                }
                Stalled::Large { header, body, gated } => {
                    let mut header = header;
                    let outcome = match self.asks.refreshed(&mut header, now) {
                        true => slot.session.push_shared(now, &header, &body),
                        false => Ok(()),
                    };
                    (Stalled::Large { header, body, gated }, gated, outcome)
                }
            };
            match outcome {
                Ok(()) => released += gated,
                Err(PushError::Full) => {
                    slot.stalled.push_front(item);
                    break;
                }
                Err(error) => {
                    released += gated;
                    refused.push((item, error));
                }
            }
        }
        if released > 0 {
            self.node.inner().gates.get(region).release(released);
        }
        for (item, error) in refused {
            item.each(|header, len| self.refuse(region, header, len, &error));
        }
    }

    fn refuse(&mut self, region: RegionId, header: &RecordHeader, len: usize, error: &PushError) {
        tracing::debug!(%region, %error, "a record was refused by its session");
        let (outcome, reason) = match error {
            PushError::TooLarge { max, .. } => {
                (AskError::TooLarge { len: len as u64, max: *max as u64 }, DropReason::TooLarge)
            }
            // The session has said goodbye.
            _ => (AskError::Stopped, DropReason::Stopped),
        };
        if header.kind == RecordKind::Ask {
            self.asks.settle(region, header.correlation, Err(outcome));
        } else {
            self.note_undelivered(region, header, reason);
        }
    }

    pub(super) fn note_undelivered(
        &self,
        region: RegionId,
        header: &RecordHeader,
        reason: DropReason,
    ) {
        let Some(to) = header.to else {
            return;
        };
        let from = header.from.map(|from| RegionPid::new(self.region(), from));
        self.node.note_undelivered(RegionPid::new(region, to), from, header.type_hash, reason);
    }

    pub(super) fn session_with(&mut self, region: RegionId) -> &mut SessionSlot {
        let (config, node) = (&self.config, &self.node);
        self.sessions.entry(region).or_insert_with(|| {
            let now = node.inner().clock.now();
            SessionSlot {
                session: Session::new(
                    config.session.clone(),
                    node.region(),
                    region,
                    node.boot(),
                    now,
                ),
                stalled: VecDeque::new(),
                dirty: false,
                last_hop: None,
                bytes_sent: 0,
                last_heard: now,
            }
        })
    }

    pub(super) fn mark_dirty(&mut self, region: RegionId) {
        if let Some(slot) = self.sessions.get_mut(&region)
            && !slot.dirty
        {
            slot.dirty = true;
            self.dirty.push(region);
        }
    }

    /// Sends what the touched sessions have to send. Called once per batch of work.
    pub(super) fn flush(&mut self) {
        while let Some(region) = self.dirty.pop() {
            if let Some(slot) = self.sessions.get_mut(&region) {
                slot.dirty = false;
            }
            self.transmit(region);
            self.take_events(region);
        }
    }

    fn transmit(&mut self, region: RegionId) {
        let now = self.now();
        let (me, mut held_back) = (self.region(), false);
        loop {
            self.feed(region);
            let Some(slot) = self.sessions.get_mut(&region) else {
                return;
            };
            if !slot.session.has_transmit() {
                break;
            }
            let Some(route) = self.routes.get(region) else {
                break;
            };
            let (Some(next), Ok(source_route)) =
                (route.next_hop(), SourceRoute::new(route.relays()))
            else {
                break;
            };
            let Some(port) = self.links.get_mut(&next) else {
                break;
            };
            slot.last_hop = Some(next);
            let (mut sent, mut waits) = (false, false);
            loop {
                for class in [Class::Message, Class::Bulk] {
                    let blocked = port.tx.queued(class) > LINK_HIGH;
                    slot.session.set_blocked(class, blocked);
                    held_back |= blocked;
                }
                let Some(frame) = slot.session.poll_transmit(now) else {
                    break;
                };
                sent = true;
                let mut hop =
                    hop_header(FrameKind::Session, frame.class, me, region, frame.payload_len());
                hop.route = source_route;
                slot.bytes_sent += frame.payload_len() as u64;
                port.note_carried();
                // A refusal is as good as a loss on the way: the session sends it again.
                if port.tx.send(hop, [frame.header, frame.records]).is_err() {
                    held_back = true;
                    break;
                }
                waits |= port.liveness_tx(now);
                port.measures.note_use(now);
            }
            if waits {
                self.arm_link(next);
            }
            // Sealing frames made room: take in more of what waits, and go on.
            let fed = self.sessions.get(&region).is_none_or(|slot| slot.stalled.is_empty());
            if held_back || !sent || fed {
                break;
            }
        }
        let deadline = self.sessions.get(&region).and_then(|slot| slot.session.poll_timeout());
        if let Some(at) = deadline {
            self.arm(at.max(now));
        }
        if held_back {
            self.arm(now + Micros::from_millis(1));
            self.retry.insert(region);
        }
    }

    /// Acts on what a session has to say.
    pub(super) fn take_events(&mut self, region: RegionId) {
        while let Some(event) =
            self.sessions.get_mut(&region).and_then(|slot| slot.session.poll_event())
        {
            match event {
                SessionEvent::Deliver { records } => self.deliver_frame(region, records),
                SessionEvent::DeliverLarge { header, body } => {
                    let _decoding = decoding(&self.node, Some(region));
                    self.deliver(region, &header, body);
                }
                SessionEvent::Ended { reason, undelivered } => {
                    self.session_ended(region, &reason, &undelivered)
                }
                SessionEvent::Opened { peer_epoch } => self.session_opened(region, peer_epoch),
                SessionEvent::Acked { .. } => {}
                _ => {}
            }
        }
    }

    /// Link states say that a node has started again: the session with its former life ends now, not when the first message
    /// to it is lost.
    pub(super) fn peer_restarted(&mut self, region: RegionId, boot: u32) {
        if let Some(slot) = self.sessions.get_mut(&region) {
            slot.session.handle_peer_boot(boot);
            self.mark_dirty(region);
        }
    }

    /// Tells the monitors of the region. The upper half of an epoch is the peer's boot counter.
    fn session_opened(&mut self, region: RegionId, peer_epoch: u64) {
        let boot = u32::try_from(peer_epoch >> 32).unwrap_or(u32::MAX);
        let before = self.peer_boots.insert(region, boot);
        let change = match before {
            Some(before) if before < boot => RegionChange::Restarted { boot },
            _ => RegionChange::Reachable,
        };
        for notice in self.node.region_notices(region, change) {
            self.give(notice);
        }
    }

    fn session_ended(
        &mut self,
        region: RegionId,
        reason: &EndReason,
        undelivered: &[RecordHeader],
    ) {
        tracing::info!(%region, ?reason, undelivered = undelivered.len(), "session ended");
        self.count("sessions_ended");
        for header in undelivered {
            // Asks learn it as their outcome; system records carry nothing of the application's.
            if header.kind == RecordKind::Tell {
                self.note_undelivered(region, header, DropReason::SessionEnded);
            }
        }
        let now = self.now();
        let (last_hop, silent) = match self.sessions.get_mut(&region) {
            Some(slot) => {
                let stalled = std::mem::take(&mut slot.stalled);
                let facts = (slot.last_hop, now.saturating_sub(slot.last_heard));
                for item in stalled {
                    self.node.inner().gates.get(region).release(item.gated());
                    item.each(|header, _| {
                        if header.kind == RecordKind::Tell {
                            self.note_undelivered(region, header, DropReason::SessionEnded);
                        }
                    });
                }
                facts
            }
            None => (None, Micros::ZERO),
        };
        self.asks.fail_region(region);
        let node = self.node.clone();
        node.inner().tasks.cancel_region(region);
        node.inner().paused.forget_region(region);
        let since = silent.as_duration();
        let lost = node.region_lost(region, &ExitReason::Unreachable { since, last_hop });
        let news = node.region_notices(region, RegionChange::Unreachable { since, last_hop });
        for notice in lost.into_iter().chain(news) {
            self.give(notice);
        }
        self.give_up_route(region);
        self.update_gate(region);
    }
}
