//! Frames that arrive on a link: for this node, for the hub itself, or in transit.

use bytes::Bytes;
use fedist_registry::{Micros, RegionId, detour};
use fedist_transport::{
    link::InFrame,
    wire::{Class, FrameKind, HopHeader, SourceRoute, Stamp},
};

use super::{Core, control::Control};

/// Hops that a frame may still make when it leaves its origin.
const TTL: u8 = 8;
/// How often a frame may be given a new way around a dead link.
const MAX_REPAIRS: u8 = 2;

impl Core {
    /// Takes what one link has read. Empties `frames`.
    pub(super) fn handle_frames(&mut self, peer: RegionId, serial: u64, frames: &mut Vec<InFrame>) {
        let now = self.now();
        let mut proven = false;
        for frame in frames.drain(..) {
            let Some(port) = self.port_mut(peer, serial) else {
                // The link was replaced or closed while these frames were on their way.
                break;
            };
            port.liveness.handle_rx(now);
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
                FrameKind::Pong => {}
                FrameKind::Control => match Control::decode(&frame.payload) {
                    Ok(message) => {
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
                FrameKind::Session => self.handle_session_frame(peer, frame, now),
            }
        }
        if proven {
            self.advertise_costs(now);
        }
        self.flush();
    }

    fn handle_session_frame(&mut self, peer: RegionId, frame: InFrame, now: Micros) {
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
        if header.dst != self.region() {
            self.forward(header, frame.payload, frame.received);
            return;
        }
        if !self.registry.is_live(header.src) {
            self.count("frames_dropped_unknown_source");
            return;
        }
        let slot = self.session_with(header.src);
        slot.last_heard = now;
        slot.session.handle_frame(now, frame.payload);
        self.mark_dirty(header.src);
        self.take_events(header.src);
    }

    /// Passes a frame on along its route, or around a link that is gone.
    fn forward(&mut self, mut header: HopHeader, payload: Bytes, received: std::time::Instant) {
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
        let mut next = header.route.next_hop(header.dst);
        if !self.links.contains_key(&next) {
            let Some((route, hop)) = self.repaired(&header) else {
                self.count("frames_dropped_no_link");
                return;
            };
            header.route = route;
            header.repairs += 1;
            next = hop;
            self.count("frames_repaired");
        }
        let now = self.now();
        let Some(port) = self.links.get_mut(&next) else {
            return;
        };
        match port.tx.forward(header, payload, received) {
            Ok(()) => {
                port.measures.note_use(now);
                port.note_carried();
                self.count("frames_forwarded");
            }
            Err(error) => {
                tracing::debug!(%next, %error, "a frame in transit was dropped");
                self.count("frames_dropped_link_full");
            }
        }
    }

    /// This region's own best way to the destination that avoids whoever has seen the frame.
    fn repaired(&self, header: &HopHeader) -> Option<(SourceRoute, RegionId)> {
        if header.repairs >= MAX_REPAIRS {
            return None;
        }
        let dead = header.route.next_hop(header.dst);
        let avoid: Vec<RegionId> = header.route.visited().chain([header.src, dead]).collect();
        let route = detour(self.region(), header.dst, &self.db, &avoid)?;
        let next = route.next_hop().filter(|next| self.links.contains_key(next))?;
        let repaired = header.route.repaired(route.relays()).ok()?;
        Some((repaired, next))
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
