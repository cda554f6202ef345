//! Frames that arrive on a link: for this node, for the hub itself, or in transit.

use bytes::Bytes;
use fedist_registry::{Micros, RegionId};
use fedist_transport::{
    link::InFrame,
    wire::{Class, FrameKind, HopHeader, SourceRoute, Stamp},
};

use super::{Core, control::Control, failover::REPAIRED_HERE};

/// A queue is crowded when frames in transit leave it above this part of its bound. Each of the links that feed it may
/// bring one more batch before it holds back.
const CROWDED: usize = 4;
/// Hops that a frame may still make when it leaves its origin.
const TTL: u8 = 8;

impl Core {
    /// Takes what one link has read. Empties `frames`, and says for each class which link is crowded with what this one
    /// brings, if any.
    pub(super) fn handle_frames(
        &mut self,
        peer: RegionId,
        serial: u64,
        frames: &mut Vec<InFrame>,
    ) -> [Option<RegionId>; 3] {
        let now = self.now();
        let mut proven = false;
        let mut recovered = false;
        for frame in frames.drain(..) {
            let Some(port) = self.port_mut(peer, serial) else {
                // The link was replaced or closed while these frames were on their way.
                break;
            };
            if port.liveness.handle_rx(now) {
                recovered = true;
            }
            if frame.header.kind == FrameKind::Session {
                port.measures.note_use(now);
                port.note_carried();
            }
            if let Some(exchange) = frame.exchange {
                proven |= port.pace.handle_exchange();
                self.note_exchange(now, peer, serial, exchange);
            }
            match frame.header.kind {
                FrameKind::Ping => {
                    let pong = hop_header(FrameKind::Pong, Class::Control, self.region(), peer, 0);
                    self.send_on(peer, serial, pong, [Bytes::new(), Bytes::new()]);
                }
                FrameKind::Pong => self.handle_pong(peer, serial),
                FrameKind::Control => match Control::decode(&frame.payload) {
                    Ok(message) => {
                        if matches!(message, Control::Borders(_)) {
                            self.areas.note_received(frame.payload.len());
                        }
                        if matches!(message, Control::Flood(_)) {
                            self.note_flood_received(frame.payload.len());
                        }
                        self.handle_control(peer, serial, message);
                    }
                    Err(error) => {
                        tracing::warn!(%peer, %error, "undecodable control message; the link is closed");
                        self.count("control_undecodable");
                        self.close_link(peer, serial, "undecodable control message");
                        break;
                    }
                },
                FrameKind::Session | FrameKind::LinkDown | FrameKind::Trace => {
                    self.handle_routed_frame(peer, frame, now);
                }
            }
        }
        if proven {
            self.advertise_costs(now);
        }
        if recovered {
            self.links_recovered();
        }
        self.flush();
        std::mem::take(&mut self.watch.crowded)
    }

    fn handle_routed_frame(&mut self, peer: RegionId, frame: InFrame, now: Micros) {
        let header = frame.header;
        if !self.registry.is_live(peer) || !self.is_live() {
            self.count("frames_dropped_not_live");
            return;
        }
        // A frame comes from its source directly, or from the relay that its route names last.
        let came_from = header.route.visited().last().unwrap_or(header.src);
        if came_from != peer || header.src == self.region() {
            self.count("frames_dropped_wrong_source");
            return;
        }
        if header.kind == FrameKind::Trace {
            self.handle_trace(peer, frame);
            return;
        }
        if header.dst != self.region() {
            self.forward(header, frame.payload, frame.received);
            return;
        }
        if !self.registry.is_live(header.src) {
            self.count("frames_dropped_unknown_source");
            return;
        }
        if header.kind == FrameKind::LinkDown {
            self.handle_link_down(peer, header.src, &frame.payload);
            return;
        }
        let slot = self.session_with(header.src);
        slot.last_heard = now;
        slot.session.handle_frame(now, frame.payload);
        self.mark_dirty(header.src);
        self.take_events(header.src);
    }

    /// Passes a frame on along its route, or around a link that is gone.
    pub(super) fn forward(
        &mut self,
        mut header: HopHeader,
        payload: Bytes,
        received: std::time::Instant,
    ) {
        if header.ttl <= 1 {
            self.count("frames_dropped_ttl");
            return;
        }
        header.ttl -= 1;
        if header.route.next_relay() != Some(self.region()) {
            self.count("frames_dropped_wrong_route");
            return;
        }
        header.route.advance();
        header.repairs &= !REPAIRED_HERE;
        let mut next = header.route.next_hop(header.dst);
        let expanded = if self.links.contains_key(&next) { None } else { self.expanded(&header) };
        if let Some((route, hop)) = expanded {
            header.route = route;
            next = hop;
            self.count("frames_expanded");
        } else if !self.is_usable(next) {
            let repaired = match header.kind {
                FrameKind::LinkDown => None,
                _ => self.repaired(&header),
            };
            if let Some((route, hop)) = repaired {
                header.route = route;
                header.repairs = (header.repairs + 1) | REPAIRED_HERE;
                next = hop;
                self.count("frames_repaired");
            } else {
                // A link that is only suspect may still carry it.
                self.tell_link_down(&header, next);
            }
        }
        let payload = self.traced(&mut header, next, payload, received);
        let (now, class) = (self.now(), header.class);
        let Some(port) = self.links.get_mut(&next) else {
            self.count("frames_dropped_no_link");
            return;
        };
        match port.tx.forward(header, payload, received) {
            Ok(()) => {
                port.measures.note_use(now);
                port.note_carried();
                let begins = port.liveness_tx(now);
                let crowded = class != Class::Control
                    && port.tx.queued(class) > port.tx.limit(class) / CROWDED;
                if let Some(mark) = self.watch.crowded.get_mut(class.index()).filter(|_| crowded) {
                    *mark = Some(next);
                    self.count("links_crowded");
                }
                self.watch.drain.note_transit(now);
                self.count("frames_forwarded");
                if begins {
                    self.arm_link(next);
                }
            }
            Err(error) => {
                tracing::debug!(%next, %error, "a frame in transit was dropped");
                self.count("frames_dropped_link_full");
            }
        }
    }

    /// Whether a link that was crowded takes frames in transit again; one that is gone does.
    pub(super) fn has_room(&self, next: RegionId, class: Class) -> bool {
        self.links
            .get(&next)
            .is_none_or(|port| port.tx.queued(class) <= port.tx.limit(class) / (2 * CROWDED))
    }
}

/// A header for a frame that starts here; the link fills in the stamp when it writes it.
pub(super) fn hop_header(
    kind: FrameKind,
    class: Class,
    src: RegionId,
    dst: RegionId,
    payload_len: usize,
) -> HopHeader {
    HopHeader {
        kind,
        class,
        ttl: TTL,
        repairs: 0,
        src,
        dst,
        payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
        stamp: Stamp::EMPTY,
        route: SourceRoute::DIRECT,
    }
}
