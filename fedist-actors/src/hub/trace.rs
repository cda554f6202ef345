//! Traces: frames that collect what the regions on their way say about themselves.
//!
//! A probe travels like a message, with a source route and a hop limit. Each relay appends itself
//! to the payload; the destination, or the relay where the hop limit ends, sends the list back over
//! the relays that the probe has passed. Anybody on the way can write what it likes: a trace is for
//! eyes, nothing is decided by it.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use fedist_registry::{Allowance, Micros, RegionId};
use fedist_transport::{
    link::InFrame,
    wire::{Class, FrameKind, HopHeader, MAX_RELAYS, SourceRoute},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Core, frames::hop_header};
use crate::{
    TraceError, TraceHop,
    message::{decode, encode},
};

/// What tracing keeps.
#[derive(Default)]
pub(super) struct Tracing {
    /// Probes of this node that are under way.
    pending: HashMap<u64, Pending>,
    /// What each neighbour may still send.
    allowances: HashMap<RegionId, Allowance>,
}

struct Pending {
    to: RegionId,
    sent: Micros,
    answer: oneshot::Sender<TraceAnswer>,
}

/// What came back.
pub(crate) struct TraceAnswer {
    /// The origin first.
    pub(crate) hops: Vec<TraceHop>,
    pub(crate) rtt_us: u64,
}

/// What was begun: the way that the probe goes, both ends included, and where its answer comes; no probe to oneself.
pub(crate) type Begun = (Vec<RegionId>, Option<oneshot::Receiver<TraceAnswer>>);

/// The payload of a [`FrameKind::Trace`] frame.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TraceFrame {
    /// Made up by the origin, which takes answers to it only.
    id: u64,
    /// On its way back.
    answer: bool,
    /// The regions that it has passed, the origin first.
    hops: Vec<TraceHop>,
}

impl TraceFrame {
    /// `None` for what is malformed, or says more than one frame can collect.
    fn decode(payload: &[u8]) -> Option<TraceFrame> {
        (payload.len() <= MAX_LEN)
            .then(|| decode::<TraceFrame>(payload).ok())
            .flatten()
            .filter(|frame| frame.hops.len() <= MAX_HOPS)
    }
}

impl Core {
    /// Sends a probe along the route to `to`, as far as `ttl` links if that is given.
    pub(crate) fn begin_trace(
        &mut self,
        to: RegionId,
        ttl: Option<u8>,
    ) -> Result<Begun, TraceError> {
        let me = self.region();
        if !self.is_live() {
            return Err(TraceError::NotRunning);
        }
        if to == me {
            return Ok((vec![me], None));
        }
        if !self.registry.is_live(to) {
            return Err(TraceError::UnknownRegion(to));
        }
        let no_route = || TraceError::NoRoute(to);
        let route = self.routes.get(to).ok_or_else(no_route)?;
        let path: Vec<RegionId> = std::iter::once(me).chain(route.hops.iter().copied()).collect();
        let next = route.next_hop().ok_or_else(no_route)?;
        let source_route = SourceRoute::new(route.relays()).map_err(|_| no_route())?;
        self.tracing.pending.retain(|_, pending| !pending.answer.is_closed());
        if self.tracing.pending.len() >= MAX_PENDING {
            return Err(TraceError::Busy { max: MAX_PENDING });
        }
        let id = self.random.u64(..);
        let frame = TraceFrame { id, answer: false, hops: vec![self.trace_hop(Some(next), None)] };
        let payload = self.trace_payload(&frame).ok_or_else(no_route)?;
        let mut header = hop_header(FrameKind::Trace, Class::Message, me, to, payload.len());
        header.route = source_route;
        header.ttl = ttl.unwrap_or(header.ttl);
        let (answer, answered) = oneshot::channel();
        self.tracing.pending.insert(id, Pending { to, sent: self.now(), answer });
        // What cannot be sent gets no answer, like what is lost on the way.
        self.send_trace(next, header, payload);
        Ok((path, Some(answered)))
    }

    /// A trace frame that came from a neighbour, for this region or in transit. Its header was checked.
    pub(super) fn handle_trace(&mut self, peer: RegionId, frame: InFrame) {
        let now = self.now();
        let links = &self.links;
        self.tracing.allowances.retain(|peer, _| links.contains_key(peer));
        let allowance = self.tracing.allowances.entry(peer).or_default();
        allowance.refill(now, TRACES_PER_SECOND, TRACES_PER_SECOND);
        if !allowance.take(1) {
            self.count("traces_refused");
            return;
        }
        let header = frame.header;
        if !self.registry.is_live(header.src) {
            self.count("frames_dropped_unknown_source");
            return;
        }
        let Some(trace) = TraceFrame::decode(&frame.payload) else {
            self.count("traces_malformed");
            return;
        };
        let here = header.dst == self.region();
        match (trace.answer, here) {
            (true, true) => self.trace_answered(header.src, trace, now),
            (false, true) => self.answer_trace(&header, trace, frame.received),
            (false, false) if header.ttl <= 1 => self.answer_trace(&header, trace, frame.received),
            (_, false) => self.forward(header, frame.payload, frame.received),
        }
    }

    /// What a relay passes on in place of `payload`, when it leaves for `next`: of a probe, the same with this region in
    /// it; of all else, what came.
    pub(super) fn traced(
        &self,
        header: &mut HopHeader,
        next: RegionId,
        payload: Bytes,
        received: Instant,
    ) -> Bytes {
        if header.kind != FrameKind::Trace {
            return payload;
        }
        let Some(mut trace) = TraceFrame::decode(&payload).filter(|trace| !trace.answer) else {
            return payload;
        };
        if trace.hops.len() < MAX_HOPS {
            trace.hops.push(self.trace_hop(Some(next), Some(received)));
        }
        let Some(longer) = self.trace_payload(&trace) else {
            return payload;
        };
        header.payload_len = u32::try_from(longer.len()).unwrap_or(u32::MAX);
        longer
    }

    /// Sends back what a probe has collected, this region included.
    fn answer_trace(&mut self, probe: &HopHeader, mut trace: TraceFrame, received: Instant) {
        let mut back: Vec<RegionId> = probe.route.visited().collect();
        back.reverse();
        let Ok(route) = SourceRoute::new(&back) else {
            return;
        };
        trace.answer = true;
        if trace.hops.len() < MAX_HOPS {
            trace.hops.push(self.trace_hop(None, Some(received)));
        }
        let Some(payload) = self.trace_payload(&trace) else {
            return;
        };
        let me = self.region();
        let mut header = hop_header(FrameKind::Trace, Class::Message, me, probe.src, payload.len());
        header.route = route;
        self.count("traces_answered");
        self.send_trace(route.next_hop(probe.src), header, payload);
    }

    fn trace_answered(&mut self, src: RegionId, trace: TraceFrame, now: Micros) {
        let asked = self.tracing.pending.get(&trace.id).is_some_and(|pending| {
            // Whoever answers stands last in its answer; the destination answers for itself only.
            let last = trace.hops.last().map(|hop| hop.region);
            last == Some(src) && (src == pending.to || trace.hops.len() > 1)
        });
        match self.tracing.pending.remove(&trace.id).filter(|_| asked) {
            Some(pending) => {
                let rtt_us = now.saturating_sub(pending.sent).0;
                let _ = pending.answer.send(TraceAnswer { hops: trace.hops, rtt_us });
            }
            None => self.count("traces_unasked"),
        }
    }

    /// This region as it appears in a trace.
    fn trace_hop(&self, next: Option<RegionId>, received: Option<Instant>) -> TraceHop {
        let now = self.now();
        let port = next.and_then(|next| self.links.get(&next));
        let cost = port.and_then(|port| port.estimate.cost(now));
        TraceHop {
            region: self.region(),
            residence_us: received.map(|at| saturated(at.elapsed().as_micros())),
            link_us: cost.map(|cost| saturated(cost.as_micros().into())),
            link_rtt_us: port.and_then(|port| port.estimate.srtt_us()),
        }
    }

    fn trace_payload(&self, trace: &TraceFrame) -> Option<Bytes> {
        encode("fedist.trace", trace).ok()
    }

    fn send_trace(&mut self, next: RegionId, header: HopHeader, payload: Bytes) {
        if let Some(serial) = self.links.get(&next).map(|port| port.serial) {
            self.send_on(next, serial, header, [payload, Bytes::new()]);
        }
    }
}

fn saturated(us: u128) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

/// The two ends and the relays between them.
const MAX_HOPS: usize = MAX_RELAYS + 2;
/// Far more than that many hops take.
const MAX_LEN: usize = 2_048;
/// Probes of this node under way at a time.
const MAX_PENDING: usize = 64;
/// Trace frames taken of one neighbour.
const TRACES_PER_SECOND: u64 = 50;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hop(number: u16) -> TraceHop {
        TraceHop {
            region: RegionId::new(number).unwrap(),
            residence_us: Some(u32::MAX),
            link_us: Some(u32::MAX),
            link_rtt_us: Some(u32::MAX),
        }
    }

    fn packed(hops: u16) -> Bytes {
        let hops = (1..=hops).map(|number| hop(number + 60_000)).collect();
        encode("fedist.trace", &TraceFrame { id: u64::MAX, answer: true, hops }).unwrap()
    }

    #[test]
    fn a_full_trace_is_read_and_a_longer_one_is_refused() {
        let full = packed(MAX_HOPS as u16);
        assert!(full.len() <= MAX_LEN);
        assert_eq!(TraceFrame::decode(&full).unwrap().hops.len(), MAX_HOPS);
        assert_eq!(TraceFrame::decode(&packed(MAX_HOPS as u16 + 1)), None);
        assert_eq!(TraceFrame::decode(&[0; MAX_LEN + 1]), None);
    }

    proptest! {
        #[test]
        fn any_payload_is_a_trace_or_nothing(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
            let mut bytes = packed(4).to_vec();
            let len = bytes.len();
            bytes[at % len] = byte;
            let _ = TraceFrame::decode(&bytes);
            prop_assert_eq!(TraceFrame::decode(&packed(4)[..cut % len]), None);
        }
    }
}
