//! Records that arrived for this node: into mailboxes, or back with a reason.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use fedist_registry::{LocalId, Micros, RegionId, RegionPid};
use fedist_transport::wire::{RecordHeader, RecordKind, Records};

use super::{Core, CoreRef};
use crate::{
    AskError, Down, DropReason, ExitReason, Node,
    address::decoding,
    inlet::{AskDelivery, Inlet, LocalFuture, Run, TellDelivery, reply},
    message::decode,
    process::{ExitKind, Notice, Process},
    signal::Signal,
    ties::Held,
};

/// Records that wait for room in one actor's mailbox.
#[derive(Default)]
pub(super) struct Overflow {
    records: VecDeque<Waiting>,
    bytes: usize,
    /// The regions that were asked to hold back.
    paused: BTreeSet<RegionId>,
}

enum Waiting {
    Record {
        src: RegionId,
        header: RecordHeader,
        body: Bytes,
        /// When a request is not to be run any more (C11).
        expires: Micros,
    },
    /// What must not overtake the records before it (C8).
    Notice(Box<dyn FnOnce() + Send>),
}

/// Bytes that may wait for one actor. A peer that honours its pause never has more on the way
/// than a session's window and queues; what comes beyond is dropped and counted.
const OVERFLOW_BYTES: usize = 64 << 20;

impl Core {
    /// Acts on the records of one frame, in the pair's order. Those of one type for one actor that follow each other go into
    /// its mailbox together.
    pub(super) fn deliver_frame(&mut self, src: RegionId, records: Bytes) {
        let _decoding = decoding(&self.node, Some(src));
        let mut rest = records;
        while !rest.is_empty() {
            let Ok((header, body, first)) = RecordHeader::decode_first(&rest) else {
                tracing::warn!(%src, "malformed records in a frame");
                self.count("records_malformed");
                return;
            };
            if !matches!(header.kind, RecordKind::Tell | RecordKind::Ask) {
                let start = first - body.len();
                let body = rest.split_to(first).slice(start..);
                self.deliver(src, &header, body);
                continue;
            }
            let (mut len, mut count) = (first, 1);
            while let Some(more) =
                rest.get(len..).and_then(|next| RecordHeader::continues(&rest, next))
            {
                len += more;
                count += 1;
            }
            let records = rest.split_to(len);
            self.deliver_run(src, &header, records, count);
        }
    }

    fn deliver_run(&mut self, src: RegionId, header: &RecordHeader, records: Bytes, count: usize) {
        let lone_tell = count == 1 && header.kind == RecordKind::Tell;
        let held_up = || header.to.is_some_and(|to| self.overflow.contains_key(&to.get()));
        let mut left = Some(records);
        if !lone_tell
            && !held_up()
            && self.moved_to(header).is_none()
            && let Ok((process, inlet)) = self.inlet_for(header)
            && let Some(records) = left.take()
        {
            match inlet.run(Run { node: self.node.clone(), src, records, count }) {
                Ok(()) => self.last_inlet = Some((header.type_hash, process, inlet)),
                Err(run) => left = Some(run.records),
            }
        }
        for (header, body) in left.into_iter().flat_map(Records::new).flatten() {
            self.deliver(src, &header, body);
        }
    }

    /// Acts on one record from a region, in the pair's order.
    pub(super) fn deliver(&mut self, src: RegionId, header: &RecordHeader, body: Bytes) {
        match header.kind {
            RecordKind::Tell => self.deliver_tell(src, header, &body),
            RecordKind::Ask => self.deliver_ask(src, header, &body),
            RecordKind::Reply => {
                if !self.asks.settle(src, header.correlation, Ok(body)) {
                    self.count("replies_late");
                }
            }
            RecordKind::ReplyError => {
                let error =
                    decode::<AskError>(&body).unwrap_or_else(|error| AskError::Undecodable {
                        pid: RegionPid::new(
                            src,
                            header.from.unwrap_or(fedist_registry::service::HUB),
                        ),
                        detail: format!("the reason given for a refusal: {error}"),
                    });
                if !self.asks.settle(src, header.correlation, Err(error)) {
                    self.count("replies_late");
                }
            }
            RecordKind::Signal => match decode::<Signal>(&body) {
                Ok(signal) => self.handle_signal(src, signal),
                Err(error) => {
                    tracing::warn!(%src, %error, "undecodable signal");
                    self.count("signals_undecodable");
                }
            },
        }
    }

    fn deliver_tell(&mut self, src: RegionId, header: &RecordHeader, body: &Bytes) {
        if let Some(seat) = self.moved_to(header) {
            return self.forward_tell(src, header, body, seat);
        }
        let found = self.inlet_for(header);
        let (process, inlet) = match found {
            Ok(found) => found,
            Err(error) => {
                return self.node.bounce_tell(src, header, crate::address::drop_reason(&error));
            }
        };
        if self.overflow.contains_key(&process.pid.local().get()) {
            // Behind those that wait already, so that the order holds.
            self.wait_for_room(src, header, body.clone(), process.pid);
            return;
        }
        match inlet.tell(body) {
            TellDelivery::Done => self.last_inlet = Some((header.type_hash, process, inlet)),
            TellDelivery::Full(later) => self.mailbox_full(src, later, process.pid),
            TellDelivery::Closed => self.node.bounce_tell(src, header, DropReason::NoActor),
            TellDelivery::Undecodable(detail) => self.undecodable_tell(src, header, &detail),
        }
    }

    fn undecodable_tell(&mut self, src: RegionId, header: &RecordHeader, detail: &str) {
        tracing::warn!(%src, message = %self.node.type_name(header.type_hash), detail, "undecodable message");
        self.node.bounce_tell(src, header, DropReason::Undecodable);
    }

    fn deliver_ask(&mut self, src: RegionId, header: &RecordHeader, body: &Bytes) {
        if let Some(seat) = self.moved_to(header) {
            return self.forward_ask(src, header, body, seat);
        }
        let (process, inlet) = match self.inlet_for(header) {
            Ok(found) => found,
            Err(error) => return self.refuse_ask(src, header, error),
        };
        let pid = process.pid;
        if self.overflow.contains_key(&pid.local().get()) {
            self.wait_for_room(src, header, body.clone(), pid);
            return;
        }
        let node = self.node.clone();
        match inlet.ask(body) {
            AskDelivery::Pending(answer) => {
                let _ = self.answers.send(reply_when_done(node, src, *header, answer));
                self.last_inlet = Some((header.type_hash, process, inlet));
            }
            AskDelivery::Full(answer) => {
                self.mailbox_full(src, reply_when_done(node, src, *header, answer), pid);
            }
            AskDelivery::Closed => self.refuse_ask(src, header, AskError::NoActor(pid)),
            AskDelivery::Undecodable(detail) => {
                self.refuse_ask(src, header, AskError::Undecodable { pid, detail });
            }
        }
    }

    /// The actor and its inlet for a record, or the named reason why there is none (C23).
    fn inlet_for(
        &mut self,
        header: &RecordHeader,
    ) -> Result<(Arc<Process>, Arc<dyn Inlet>), AskError> {
        let to = header.to.unwrap_or(fedist_registry::service::HUB);
        // Messages come in runs to one actor: the last inlet saves a look into two tables.
        if let Some((wire_type, process, inlet)) = self.last_inlet.take()
            && wire_type == header.type_hash
            && process.pid.local() == to
            && process.is_alive()
        {
            return Ok((process, inlet));
        }
        let pid = RegionPid::new(self.region(), to);
        let process = self.process(to).ok_or(AskError::NoActor(pid))?;
        if let Some(inlet) = process.inlet(header.type_hash) {
            return Ok((process, inlet));
        }
        let known = self.node.inner().types.contains_key(&header.type_hash);
        if known || !process.is_exported() {
            return Err(process.refusal());
        }
        Err(AskError::UnknownType {
            pid,
            name: self.node.type_name(header.type_hash),
            version: header.version,
        })
    }

    fn process(&self, local: LocalId) -> Option<Arc<Process>> {
        self.node.inner().processes.get(local)
    }

    // ---- pids that were split off ------------------------------------------------------------

    /// Where the actor lives that a record is for, if that is another region: the sender's registry is behind.
    fn moved_to(&self, header: &RecordHeader) -> Option<RegionPid> {
        let pid = RegionPid::new(self.region(), header.to?);
        Some(self.node.seat(pid)).filter(|seat| seat.region() != self.region())
    }

    /// Passes a tell on, once, in the order in which such tells came. From here on it is this region's: the sender's own
    /// number means nothing there.
    fn forward_tell(
        &mut self,
        src: RegionId,
        header: &RecordHeader,
        body: &Bytes,
        seat: RegionPid,
    ) {
        let region = seat.region();
        let onward = RecordHeader { to: Some(seat.local()), from: None, ..*header };
        let len = onward.encoded_len(body.len());
        if let Err(refused) = self.node.inner().gates.get(region).acquire(len) {
            let reason = self.node.refusal(region, &refused);
            return self.node.bounce_tell(src, header, crate::address::drop_reason(&reason));
        }
        self.count("split_tells_forwarded");
        self.node.post(region, &onward, body.clone().into(), len, None);
    }

    /// Asks in the asker's place and passes the answer back.
    fn forward_ask(&mut self, src: RegionId, header: &RecordHeader, body: &Bytes, seat: RegionPid) {
        let region = seat.region();
        let onward = RecordHeader { to: Some(seat.local()), from: None, correlation: 0, ..*header };
        let len = onward.encoded_len(body.len());
        if let Err(refused) = self.node.inner().gates.get(region).acquire(len) {
            let reason = self.node.refusal(region, &refused);
            return self.refuse_ask(src, header, reason);
        }
        self.count("split_asks_forwarded");
        let (reply, answered) = tokio::sync::oneshot::channel();
        self.node.post(region, &onward, body.clone().into(), len, Some(reply));
        let outcome = Box::pin(async move { answered.await.unwrap_or(Err(AskError::Stopped)) });
        let _ = self.answers.send(reply_when_done(self.node.clone(), src, *header, outcome));
    }

    fn refuse_ask(&mut self, src: RegionId, header: &RecordHeader, error: AskError) {
        self.node.note_dead_record(src, header, crate::address::drop_reason(&error));
        reply(&self.node, src, header, Err(error));
    }

    // ---- mailboxes at their bound (C16) ------------------------------------------------------

    /// A mailbox refused a record: what follows for its actor waits, and `first` is delivered when there is room.
    fn mailbox_full(&mut self, src: RegionId, first: LocalFuture<()>, pid: RegionPid) {
        self.count("mailboxes_full");
        self.overflow.insert(pid.local().get(), Overflow::default());
        self.pause(src, pid);
        if let Some(core) = self.handle() {
            let _ = self.answers.send(Box::pin(drain(core, pid.local(), first)));
        }
    }

    fn wait_for_room(&mut self, src: RegionId, header: &RecordHeader, body: Bytes, pid: RegionPid) {
        let expires = self.now() + Micros::from_millis(u64::from(header.deadline_ms));
        let Some(overflow) = self.overflow.get_mut(&pid.local().get()) else {
            return;
        };
        if overflow.bytes > OVERFLOW_BYTES {
            if header.kind == RecordKind::Ask {
                self.refuse_ask(src, header, AskError::Full);
            } else {
                self.node.bounce_tell(src, header, DropReason::Full);
            }
            return;
        }
        overflow.bytes += header.encoded_len(body.len());
        overflow.records.push_back(Waiting::Record { src, header: *header, body, expires });
        self.pause(src, pid);
    }

    fn pause(&mut self, src: RegionId, pid: RegionPid) {
        if let Some(overflow) = self.overflow.get_mut(&pid.local().get())
            && overflow.paused.insert(src)
        {
            self.node.signal(src, &Signal::Pause { pid });
        }
    }

    /// Delivers what waits until the mailbox is full again (a future to wait for) or nothing is left (`None`).
    fn drain_overflow(&mut self, local: LocalId) -> Option<LocalFuture<()>> {
        let node = self.node.clone();
        loop {
            let waiting = self.overflow.get_mut(&local.get())?.records.pop_front();
            let (src, header, body, expires) = match waiting {
                Some(Waiting::Record { src, header, body, expires }) => {
                    (src, header, body, expires)
                }
                Some(Waiting::Notice(tell)) => {
                    tell();
                    continue;
                }
                None => {
                    let overflow = self.overflow.remove(&local.get())?;
                    let pid = RegionPid::new(self.region(), local);
                    for region in overflow.paused {
                        node.signal(region, &Signal::Resume { pid });
                    }
                    return None;
                }
            };
            if let Some(overflow) = self.overflow.get_mut(&local.get()) {
                overflow.bytes -= header.encoded_len(body.len());
            }
            let inlet = match self.inlet_for(&header) {
                Ok((_, inlet)) => inlet,
                Err(error) if header.kind == RecordKind::Ask => {
                    self.refuse_ask(src, &header, error);
                    continue;
                }
                Err(error) => {
                    self.node.bounce_tell(src, &header, crate::address::drop_reason(&error));
                    continue;
                }
            };
            let _decoding = decoding(&node, Some(src));
            if header.kind == RecordKind::Ask {
                if self.now() >= expires {
                    continue;
                }
                let pid = RegionPid::new(self.region(), local);
                match inlet.ask(&body) {
                    AskDelivery::Pending(answer) => {
                        let _ =
                            self.answers.send(reply_when_done(node.clone(), src, header, answer));
                    }
                    AskDelivery::Full(answer) => {
                        return Some(reply_when_done(node, src, header, answer));
                    }
                    AskDelivery::Closed => self.refuse_ask(src, &header, AskError::NoActor(pid)),
                    AskDelivery::Undecodable(detail) => {
                        self.refuse_ask(src, &header, AskError::Undecodable { pid, detail });
                    }
                }
            } else {
                match inlet.tell(&body) {
                    TellDelivery::Done => {}
                    TellDelivery::Full(later) => return Some(later),
                    TellDelivery::Closed => {
                        self.node.bounce_tell(src, &header, DropReason::NoActor)
                    }
                    TellDelivery::Undecodable(detail) => {
                        self.undecodable_tell(src, &header, &detail)
                    }
                }
            }
        }
    }

    // ---- signals ---------------------------------------------------------------------------

    /// Tells a process something, behind what waits for room in its mailbox.
    pub(super) fn give(&mut self, notice: Notice) {
        let overflow = notice.holder.and_then(|holder| self.overflow.get_mut(&holder.get()));
        match overflow {
            Some(overflow) => overflow.records.push_back(Waiting::Notice(notice.tell)),
            None => (notice.tell)(),
        }
    }

    fn handle_signal(&mut self, src: RegionId, signal: Signal) {
        match signal {
            Signal::Monitor { pid, monitor } => self.node.watched_from(src, pid, monitor),
            Signal::Demonitor { pid, monitor } => self.node.unwatched_from(src, pid, monitor),
            Signal::Down { pid, .. } if pid.region() != src => self.count("signals_forged"),
            Signal::Down { pid, monitor, reason } => {
                let held = self.node.inner().ties.take_held(src, monitor);
                if let Some(Held { holder, sink, .. }) = held {
                    let down = Down { monitor, pid, reason };
                    self.give(Notice { holder, tell: Box::new(move || sink(down)) });
                }
            }
            Signal::Link { from, .. }
            | Signal::SpawnLinked { from, .. }
            | Signal::Unlink { from, .. }
            | Signal::LinkExit { from, .. }
            | Signal::Exit { from, .. }
            | Signal::Kill { from, .. }
                if from.region() != src =>
            {
                self.count("signals_forged");
            }
            Signal::Link { from, to } => self.node.linked_from(from, to),
            Signal::SpawnLinked { from, to, reference } => {
                self.node.spawn_linked_from(from, to, reference);
            }
            Signal::Unlink { from, to } => self.node.unlinked_from(from, to),
            Signal::LinkExit { from, to, reason } => {
                let notice = self.node.exit_notice(to.local(), from, reason, ExitKind::Link);
                self.give(notice);
            }
            Signal::Exit { from, to, .. } | Signal::Kill { from, to }
                if !self.node.obeys(from, to) =>
            {
                self.count("exit_signals_denied");
            }
            Signal::Exit { from, to, reason } => {
                let notice = self.node.exit_notice(to.local(), from, reason, ExitKind::Sent);
                self.give(notice);
            }
            Signal::Kill { from, to } => {
                self.node.exit_signal(to.local(), from, ExitReason::Killed, ExitKind::Kill);
            }
            Signal::Pause { pid } | Signal::Resume { pid } if pid.region() != src => {
                self.count("signals_forged");
            }
            Signal::Pause { pid } => self.node.inner().paused.pause(pid),
            Signal::Resume { pid } => self.node.inner().paused.resume(pid),
            Signal::Undelivered { to, from, .. }
                if to.region() != src
                    || from.is_some_and(|from| from.region() != self.region()) =>
            {
                self.count("signals_forged");
            }
            Signal::Undelivered { to, from, wire_type, reason } => {
                self.node.note_undelivered(to, from, wire_type, reason);
            }
        }
    }
}

impl Node {
    /// A tell from another region that could not be delivered: a dead letter here, and told to where it came from.
    pub(crate) fn bounce_tell(&self, src: RegionId, header: &RecordHeader, reason: DropReason) {
        self.note_dead_record(src, header, reason);
        let to = header.to.unwrap_or(fedist_registry::service::HUB);
        self.signal(
            src,
            &Signal::Undelivered {
                to: RegionPid::new(self.region(), to),
                from: header.from.map(|from| RegionPid::new(src, from)),
                wire_type: header.type_hash,
                reason,
            },
        );
    }

    /// Notes a record from another region as a dead letter.
    pub(crate) fn note_dead_record(
        &self,
        src: RegionId,
        header: &RecordHeader,
        reason: DropReason,
    ) {
        let to = header.to.unwrap_or(fedist_registry::service::HUB);
        self.note_dead_letter(
            RegionPid::new(self.region(), to),
            header.from.map(|from| RegionPid::new(src, from)),
            self.type_name(header.type_hash),
            reason,
        );
    }
}

/// Waits for an actor's answer and queues it for the asking region.
fn reply_when_done(
    node: Node,
    src: RegionId,
    header: RecordHeader,
    answer: LocalFuture<Result<Bytes, AskError>>,
) -> LocalFuture<()> {
    Box::pin(async move {
        let answer = answer.await;
        reply(&node, src, &header, answer);
    })
}

/// Delivers to a mailbox that was full, record after record, until nothing waits for it.
async fn drain(core: CoreRef, local: LocalId, first: LocalFuture<()>) {
    let mut next = Some(first);
    while let Some(delivery) = next {
        // Resolves when the actor has handled it: then all that was before it has been handled too.
        delivery.await;
        next = core.borrow_mut().drain_overflow(local);
    }
}
