//! From a sender of this node to an actor anywhere: into the mailbox here, or into the hub's queue.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::wire::{RecordHeader, RecordKind};

use crate::{
    AskError, Node, SendError, WireMessage,
    ask::Ask,
    gate::{Gate, Refused},
    message::{Body, Encoded, encode_once, wire_type},
    outbound::Outbound,
    outbox::Reply,
    process::current_local,
    route::{Route, send_when_room},
};

impl Node {
    pub(crate) fn record_header(
        &self,
        kind: RecordKind,
        to: RegionPid,
        wire_type: u32,
        version: u16,
    ) -> RecordHeader {
        RecordHeader {
            kind,
            to: Some(to.local()),
            from: current_local(self.inner().region),
            type_hash: wire_type,
            version,
            correlation: 0,
            deadline_ms: 0,
        }
    }

    pub(crate) fn queue(&self, item: Outbound) {
        // Fails only when the hub is gone; the gates say `Stopped` by then.
        let _ = self.inner().outbound.send(item);
    }

    /// Puts a record into the outbox of a region. `gated` is what it has taken at the gate; records of the runtime itself
    /// (replies, signals) are not gated, their number is bounded by what they answer.
    pub(crate) fn post(
        &self,
        region: RegionId,
        header: &RecordHeader,
        body: Body,
        gated: usize,
        reply: Option<Reply>,
    ) {
        if self.inner().gates.get(region).outbox().put(header, body, gated, reply) {
            self.queue(Outbound::Ready(region));
        }
    }

    pub(crate) fn try_send_to<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
    ) -> Result<(), SendError<M>> {
        let pid = self.seat(pid);
        if pid.region() == self.inner().region {
            return match self.local_route::<M>(pid) {
                Ok(route) => route.try_send(message).map_err(|error| match error {
                    actix::prelude::SendError::Full(m) => SendError::Full(m),
                    actix::prelude::SendError::Closed(m) => SendError::NoActor(pid, m),
                }),
                Err(AskError::Denied(_)) => Err(SendError::Denied(pid, message)),
                Err(_) => Err(SendError::NoActor(pid, message)),
            };
        }
        if self.inner().paused.contains(pid) {
            return Err(SendError::Full(message));
        }
        let body = match self.encode_outgoing(&message) {
            Ok(body) => body,
            Err(error) => return Err(error.with(message)),
        };
        let header = self.record_header(RecordKind::Tell, pid, wire_type::<M>(), M::VERSION);
        let region = pid.region();
        let len = header.encoded_len(body.len());
        match self.inner().gates.get(region).acquire(len) {
            Ok(()) => {
                self.post(region, &header, body.into(), len, None);
                Ok(())
            }
            Err(refused) => Err(refused_with(region, &refused, message)),
        }
    }

    pub(crate) async fn tell_to<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
    ) -> Result<(), SendError<M>> {
        self.tell_waiting(pid, message, Gate::acquire_wait).await
    }

    /// As [`tell_to`](Self::tell_to), but waits for a route as well, for as long as it takes.
    pub(crate) async fn tell_when_routed<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
    ) -> Result<(), SendError<M>> {
        self.tell_waiting(pid, message, Gate::acquire_route).await
    }

    /// As [`tell_when_routed`](Self::tell_when_routed), for at most `patience`.
    pub(crate) async fn tell_to_within<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
        patience: Duration,
    ) -> Result<(), SendError<M>> {
        let timer = self.sleep(patience);
        self.tell_waiting(pid, message, async move |gate: &Gate, len: usize| {
            let room = std::pin::pin!(gate.acquire_route(len));
            match futures_util::future::select(room, timer).await {
                futures_util::future::Either::Left((outcome, _)) => outcome,
                // Once more, for the reason; it may have come in this very moment.
                futures_util::future::Either::Right(_) => gate.acquire(len),
            }
        })
        .await
    }

    async fn tell_waiting<M: WireMessage>(
        &self,
        pid: RegionPid,
        message: M,
        room: impl AsyncFnOnce(&Gate, usize) -> Result<(), Refused>,
    ) -> Result<(), SendError<M>> {
        let pid = self.seat(pid);
        let region = pid.region();
        if region == self.inner().region {
            return match self.local_route::<M>(pid) {
                Ok(route) => send_when_room(&*route, message)
                    .await
                    .map_err(|message| SendError::NoActor(pid, message)),
                Err(AskError::Denied(_)) => Err(SendError::Denied(pid, message)),
                Err(_) => Err(SendError::NoActor(pid, message)),
            };
        }
        let body = match self.encode_outgoing(&message) {
            Ok(body) => body,
            Err(error) => return Err(error.with(message)),
        };
        let header = self.record_header(RecordKind::Tell, pid, wire_type::<M>(), M::VERSION);
        let len = header.encoded_len(body.len());
        self.inner().paused.wait(pid).await;
        match room(self.inner().gates.get(region), len).await {
            Ok(()) => {
                self.post(region, &header, body.into(), len, None);
                Ok(())
            }
            Err(refused) => Err(refused_with(region, &refused, message)),
        }
    }

    /// Tells a service of any region, also while this node stops. Nothing bounds it, so it is for few
    /// and small messages.
    pub(crate) fn tell_service<M: WireMessage>(&self, pid: RegionPid, message: M) {
        let region = pid.region();
        if region == self.inner().region {
            // Refused only when the service is gone, which nobody can tell any more.
            let _ = self.try_send_to(pid, message);
            return;
        }
        if let Ok(body) = encode_once(M::NAME, &message) {
            let header = self.record_header(RecordKind::Tell, pid, wire_type::<M>(), M::VERSION);
            self.post(region, &header, body.into(), 0, None);
        }
    }

    pub(crate) fn ask_to<M: WireMessage>(&self, pid: RegionPid, message: M) -> Ask<M> {
        let pid = self.seat(pid);
        if pid.region() == self.inner().region {
            return match self.local_route::<M>(pid) {
                Ok(route) => Ask::local(self, pid, &*route, message),
                Err(error) => Ask::failed(error),
            };
        }
        match self.encode_outgoing(&message) {
            Ok(body) => Ask::remote(self, pid, body.into()),
            Err(error) => Ask::failed(error.with(()).reason()),
        }
    }

    /// The way of `M` into an exported actor of this node.
    pub(crate) fn local_route<M: WireMessage>(
        &self,
        pid: RegionPid,
    ) -> Result<Arc<dyn Route<M>>, AskError> {
        let process = self.local_address_of(pid).ok_or(AskError::NoActor(pid))?;
        process
            .inlet(wire_type::<M>())
            .and_then(|inlet| inlet.route().downcast::<Arc<dyn Route<M>>>().ok())
            .map(|route| *route)
            .ok_or_else(|| process.refusal())
    }

    /// The body of a request that may be sent more than once.
    pub(crate) fn encode_ask<M: WireMessage>(&self, message: &M) -> Result<Bytes, AskError> {
        let body = self.encode_outgoing(message).map_err(|error| error.with(()).reason())?;
        Ok(Body::from(body).into_bytes())
    }

    fn encode_outgoing<M: WireMessage>(&self, message: &M) -> Result<Encoded, OutgoingError> {
        if self.inner().stopped.load(Ordering::Acquire) {
            return Err(OutgoingError::Stopped);
        }
        if !self.is_live() {
            return Err(OutgoingError::NotLive);
        }
        let body = encode_once(M::NAME, message).map_err(OutgoingError::Encode)?;
        if body.len() > self.inner().max_message {
            return Err(OutgoingError::TooLarge { len: body.len(), max: self.inner().max_message });
        }
        self.know_type::<M>();
        Ok(body)
    }

    /// Keeps the name of a type that is sent, for dead letters. Messages come in runs of one type.
    fn know_type<M: WireMessage>(&self) {
        let hash = wire_type::<M>();
        if self.inner().last_type.swap(hash, Ordering::Relaxed) != hash {
            self.inner().sent_types.entry(hash).or_insert(M::NAME);
        }
    }

    pub(crate) fn refusal(&self, region: RegionId, refused: &Refused) -> AskError {
        match refused {
            Refused::Full => AskError::Full,
            Refused::NoRoute => AskError::NoRoute(region),
            Refused::Unknown => AskError::UnknownRegion(region),
            Refused::Stopped => AskError::Stopped,
        }
    }

    pub(crate) fn type_name(&self, wire_type: u32) -> String {
        match self.inner().types.get(&wire_type).or_else(|| self.inner().sent_types.get(&wire_type))
        {
            Some(name) => (*name).to_owned(),
            None => format!("type {wire_type:#010x}"),
        }
    }
}

enum OutgoingError {
    Stopped,
    NotLive,
    Encode(crate::EncodeError),
    TooLarge { len: usize, max: usize },
}

impl OutgoingError {
    fn with<M>(self, message: M) -> SendError<M> {
        match self {
            OutgoingError::Stopped => SendError::Stopped(message),
            OutgoingError::NotLive => SendError::NotLive(message),
            OutgoingError::Encode(error) => SendError::Encode(error, message),
            OutgoingError::TooLarge { len, max } => SendError::TooLarge { len, max, message },
        }
    }
}

fn refused_with<M>(region: RegionId, refused: &Refused, message: M) -> SendError<M> {
    match refused {
        Refused::Full => SendError::Full(message),
        Refused::NoRoute => SendError::NoRoute(region, message),
        Refused::Unknown => SendError::UnknownRegion(region, message),
        Refused::Stopped => SendError::Stopped(message),
    }
}
