//! Fail-over: what happens when a link falls silent, comes back, or another region says that it lost one.
//!
//! A *suspect* link is no longer used where there is another way, and nobody is told: it costs little to be wrong. A link
//! that is *down* is announced and closed. Either way the sessions that went over it send what is unacknowledged again over
//! their other path at once, and frames in transit that still wait in its queue are sent around it.

use std::collections::HashMap;

use bytes::Bytes;
use fedist_registry::{
    HoldDown, Liveness, LocalHealth, Micros, Patience, RegionId, Route, RouteNews, detour,
};
use fedist_transport::{
    link::LinkError,
    wire::{Class, FrameKind, HopHeader, SourceRoute},
};

use super::{
    Core,
    frames::hop_header,
    links::LinkPort,
    watch::{SETTLING, SETTLING_PROBE},
};

/// What fail-over keeps.
#[derive(Default)]
pub(super) struct Failover {
    health: LocalHealth,
    hold_downs: HashMap<RegionId, HoldDown>,
    /// Ways around a dead link for frames in transit, until the routes change.
    detours: HashMap<(RegionId, RegionId, SourceRoute), Option<Route>>,
    /// When the loss of a link was last told to an origin, by origin and destination.
    notices: HashMap<(RegionId, RegionId), Micros>,
    /// When notices of other regions were last acted upon, by the region that sent them.
    heeded: HashMap<RegionId, Micros>,
}

impl Failover {
    /// 0, healthy, to 8: how far this region's own slowness makes it wait longer for others.
    pub(super) fn health_score(&self) -> u8 {
        self.health.score()
    }

    /// The link states have changed: ways around dead links are looked for anew.
    pub(super) fn forget_detours(&mut self) {
        self.detours.clear();
    }
}

impl Core {
    // ---- liveness ----------------------------------------------------------------------------

    /// Looks after the links whose time has come. `late` is how long after its time the timer fired.
    pub(super) fn check_links(&mut self, now: Micros, late: Micros) {
        let health = &mut self.watch.failover.health;
        health.handle_timer(now, late);
        let (mut suspect, mut dead, mut recovered, mut probes) = (vec![], vec![], vec![], vec![]);
        let mut missing = 0;
        for (peer, port) in &mut self.links {
            let rested = now.saturating_sub(port.last_probe) >= SETTLING_PROBE;
            let young = rested
                && (now.saturating_sub(port.since) < SETTLING
                    || port.measures.wants_follow_up(now));
            port.liveness.set_idle(port.measures.probe_idle());
            if port.liveness.poll_timeout() > now && !young {
                continue;
            }
            if port.liveness.handle_count(now, port.tx.stats().datagrams_received) {
                recovered.push(*peer);
            }
            // What is stuck in the link's queues awaits a sign of life as much as what was just sent.
            if Class::ALL.iter().any(|class| port.tx.queued(*class) > 0) {
                port.liveness.handle_tx(now);
            }
            let before = port.liveness.state();
            let patience = patience(port, health);
            match port.liveness.handle_timeout(now, patience, late) {
                Liveness::Down => {
                    dead.push(*peer);
                    continue;
                }
                Liveness::Suspect if before == Liveness::Up => suspect.push(*peer),
                Liveness::Suspect | Liveness::Up => {}
            }
            missing += usize::from(port.liveness.misses_probe(now));
            if port.liveness.wants_probe(now) || young {
                port.last_probe = now;
                probes.push((*peer, port.serial));
            }
        }
        self.watch.failover.health.handle_missing(now, missing, self.links.len());
        for (peer, serial) in probes {
            self.send_probe(peer, serial);
        }
        for peer in suspect {
            self.link_suspect(peer);
        }
        for peer in dead {
            self.link_dead(peer);
        }
        if !recovered.is_empty() {
            self.links_recovered();
        }
        if let Some(next) = self.links.values().map(|port| port.liveness.poll_timeout()).min() {
            self.arm(next.max(now + Micros::from_millis(1)));
        }
    }

    /// Asks the other end to answer at once.
    pub(super) fn send_probe(&mut self, peer: RegionId, serial: u64) {
        let ping = hop_header(FrameKind::Ping, Class::Control, self.region(), peer, 0);
        self.send_on(peer, serial, ping, [Bytes::new(), Bytes::new()]);
    }

    /// Makes the timer fire when the wait for an answer of `peer` comes to its next step.
    pub(super) fn arm_link(&mut self, peer: RegionId) {
        if let Some(port) = self.links.get(&peer) {
            self.arm(port.liveness.poll_timeout());
        }
    }

    /// Whether frames should go over the link to `peer`.
    pub(super) fn is_usable(&self, peer: RegionId) -> bool {
        self.links.get(&peer).is_some_and(|port| port.liveness.state() == Liveness::Up)
    }

    /// The neighbours whose links are in doubt, in order.
    pub(super) fn suspect_links(&self) -> Vec<RegionId> {
        let suspect = |port: &LinkPort| port.liveness.state() != Liveness::Up;
        let mut peers: Vec<RegionId> =
            self.links.iter().filter(|(_, port)| suspect(port)).map(|(peer, _)| *peer).collect();
        peers.sort_unstable();
        peers
    }

    /// Two probe time-outs passed: other links are used from here on, and nobody is told.
    fn link_suspect(&mut self, peer: RegionId) {
        let Some(port) = self.links.get(&peer) else {
            return;
        };
        let silent_ms = self.now().saturating_sub(port.liveness.heard_at()).as_millis();
        tracing::debug!(%peer, silent_ms, "link is suspect");
        let lost_since = lost_since(port);
        self.count("links_suspected");
        let used = |core: &Core| {
            core.routes.iter().filter(|(_, route)| route.next_hop() == Some(peer)).count()
        };
        let before = used(self);
        self.recompute_routes_after(Some((peer, lost_since)));
        if used(self) < before {
            self.count("suspects_left");
        }
        self.rescue_queued(peer);
    }

    /// Whether what was sent over a path can be expected to arrive, whatever else may be better by now.
    pub(super) fn still_carries(&self, route: &Route) -> bool {
        let doubtful = |relay: &RegionId| {
            self.watch.suspects.contains_key(relay)
                || (self.links.contains_key(relay) && !self.is_usable(*relay))
        };
        route.next_hop().is_some_and(|next| self.is_usable(next))
            && !route.relays().iter().any(doubtful)
            && std::iter::once(self.region())
                .chain(route.hops.iter().copied())
                .zip(route.hops.iter().copied())
                .all(|(from, to)| self.graph().link(from, to).is_some())
    }

    /// A suspect answered: routes may use it again, by the rule for any better path.
    pub(super) fn links_recovered(&mut self) {
        self.count("links_recovered");
        self.watch.failover.forget_detours();
        self.schedule_recompute(RouteNews::Reached);
    }

    /// Ends a link that does not answer any more, without waiting for its relay to notice.
    pub(super) fn link_dead(&mut self, peer: RegionId) {
        let Some(port) = self.links.remove(&peer) else {
            return;
        };
        let now = self.now();
        let silent_ms = now.saturating_sub(port.liveness.heard_at()).as_millis();
        let probe_timeout_ms = port.estimate.probe_timeout_us() / 1000;
        tracing::info!(%peer, silent_ms, probe_timeout_ms, "link is silent: taken as down");
        let lost_since = lost_since(&port);
        self.measure.link_ended(peer);
        self.count("links_silent");
        self.watch.suspects.insert(peer, now + SUSPICION);
        let queued = port.tx.take_queued();
        port.tx.close(SILENT);
        self.dial_failed(peer, now, "silent".to_owned());
        self.note_flap(peer, now);
        self.update_own_state();
        self.recompute_routes_after(Some((peer, lost_since)));
        self.repair_all(peer, queued);
    }

    // ---- hold-down ---------------------------------------------------------------------------

    /// The link to `peer` was lost, by whatever cause but a goodbye.
    pub(super) fn note_flap(&mut self, peer: RegionId, now: Micros) {
        let hold_downs = &mut self.watch.failover.hold_downs;
        hold_downs.retain(|_, hold| !hold.is_forgiven(now));
        if hold_downs.len() >= MOST_HELD && !hold_downs.contains_key(&peer) {
            return;
        }
        let until = hold_downs.entry(peer).or_default().handle_down(now);
        if until > now {
            tracing::info!(%peer, held_ms = (until - now).as_millis(), "link keeps failing: held down");
            self.count("links_held_down");
        }
    }

    /// A link ended, and this is why: what the peer closes for a reason of its own has not failed.
    pub(super) fn note_closed_by_peer(&mut self, peer: RegionId, serial: u64, end: &LinkError) {
        if let LinkError::ClosedByPeer { reason } = end
            && reason != SILENT
            && let Some(port) = self.links.get_mut(&peer).filter(|port| port.serial == serial)
        {
            port.retiring = true;
        }
    }

    /// Whether a link to `peer` is neither dialed nor announced now because it keeps failing. The only way to a region is
    /// held for no more than two seconds.
    pub(super) fn is_held_down(&self, peer: RegionId, now: Micros) -> bool {
        let Some(hold) = self.watch.failover.hold_downs.get(&peer) else {
            return false;
        };
        let other_way = self.routes.get(peer).is_some_and(|route| route.next_hop() != Some(peer));
        let failed_long_ago = now >= hold.failed_at() + LONGEST_FOR_LAST_WAY;
        hold.is_held(now) && (other_way || !failed_long_ago)
    }

    /// Whether a link may be announced as far as its past goes: it was already, or is not held down.
    pub(super) fn may_announce(&self, peer: RegionId, port: &LinkPort, now: Micros) -> bool {
        port.pace.told().is_some() || !self.is_held_down(peer, now)
    }

    /// A probe was answered. A link that has not proved itself yet is asked again at once, so that this does not wait for
    /// the next idle probe.
    pub(super) fn handle_pong(&mut self, peer: RegionId, serial: u64) {
        let unproven = |port: &LinkPort| port.serial == serial && !port.pace.is_up();
        if self.links.get(&peer).is_some_and(unproven) {
            self.send_probe(peer, serial);
        }
    }

    // ---- frames in transit -------------------------------------------------------------------

    /// This region's own best way to the frame's destination that avoids whoever has seen it and every link in doubt: once
    /// here, and not more often than the frame may be repaired at all.
    pub(super) fn repaired(&mut self, header: &HopHeader) -> Option<(SourceRoute, RegionId)> {
        let here = header.repairs & REPAIRED_HERE != 0;
        if here || header.repairs & !REPAIRED_HERE >= MAX_REPAIRS {
            return None;
        }
        let me = self.region();
        let dead = header.route.next_hop(header.dst);
        let key = (header.src, header.dst, header.route);
        if !self.watch.failover.detours.contains_key(&key) {
            let mut avoid: Vec<RegionId> =
                header.route.visited().chain([header.src, dead]).collect();
            avoid.extend(self.suspect_links());
            let found = detour(me, header.dst, self.graph(), &avoid);
            let detours = &mut self.watch.failover.detours;
            if detours.len() >= MOST_DETOURS {
                detours.clear();
            }
            detours.insert(key, found);
        }
        let route = self.watch.failover.detours.get(&key)?.as_ref()?;
        let next = route.next_hop().filter(|next| self.is_usable(*next))?;
        let repaired = header.route.repaired(route.relays()).ok()?;
        Some((repaired, next))
    }

    /// What waits for a suspect link goes another way, where there is one.
    fn rescue_queued(&mut self, peer: RegionId) {
        if let Some(port) = self.links.get(&peer) {
            let queued = port.tx.take_queued();
            self.repair_all(peer, queued);
        }
    }

    /// Sends frames that waited for the link to `peer` around it. Those of this region's own sessions are left out: the
    /// sessions send them again.
    fn repair_all(&mut self, peer: RegionId, queued: Vec<(HopHeader, [Bytes; 2])>) {
        let me = self.region();
        for (mut header, parts) in queued {
            let own = header.src == me;
            let moved = own
                && self
                    .routes
                    .get(header.dst)
                    .and_then(Route::next_hop)
                    .is_some_and(|hop| hop != peer);
            if moved {
                continue;
            }
            let mut next = peer;
            if !own && let Some((route, hop)) = self.repaired(&header) {
                header.route = route;
                header.repairs = (header.repairs + 1) | REPAIRED_HERE;
                next = hop;
                self.count("frames_repaired");
            }
            let Some(port) = self.links.get_mut(&next) else {
                self.count("frames_dropped_no_link");
                self.tell_link_down(&header, peer);
                continue;
            };
            let sent = port.tx.send(header, parts).is_ok();
            if !sent {
                self.count("frames_dropped_link_full");
            } else if port.liveness_tx(self.node.inner().clock.now()) {
                self.arm_link(next);
            }
        }
    }

    /// Tells the origin of a frame that this region cannot pass it on, so that it looks for another way at once.
    pub(super) fn tell_link_down(&mut self, header: &HopHeader, dead: RegionId) {
        if header.kind != FrameKind::Session || header.src == self.region() {
            return;
        }
        let now = self.now();
        let notices = &mut self.watch.failover.notices;
        let key = (header.src, header.dst);
        if notices.get(&key).is_some_and(|at| now.saturating_sub(*at) < NOTICE_EVERY) {
            return;
        }
        if notices.len() >= MOST_NOTICES {
            notices.retain(|_, at| now.saturating_sub(*at) < NOTICE_EVERY);
            if notices.len() >= MOST_NOTICES {
                return;
            }
        }
        notices.insert(key, now);
        let me = self.region();
        let mut back: Vec<RegionId> = header.route.visited().filter(|relay| *relay != me).collect();
        back.reverse();
        let next = back.first().copied().unwrap_or(header.src);
        let (Ok(route), Some(serial)) =
            (SourceRoute::new(&back), self.links.get(&next).map(|port| port.serial))
        else {
            return;
        };
        let body = [dead.get().to_be_bytes(), header.dst.get().to_be_bytes()].concat();
        let mut notice =
            hop_header(FrameKind::LinkDown, Class::Control, me, header.src, body.len());
        notice.route = route;
        self.count("link_down_notices_sent");
        self.send_on(next, serial, notice, [Bytes::from(body), Bytes::new()]);
    }

    /// A relay says that it cannot pass on what this region sends to a destination. It is believed in one thing only: that
    /// the relay itself is no good way for a while. So a relay that lies keeps traffic away from itself, or from those behind
    /// it on a route, whose traffic it could drop as well.
    pub(super) fn handle_link_down(&mut self, peer: RegionId, relay: RegionId, body: &[u8]) {
        let region = |at: usize| {
            let bytes = body.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
            bytes.and_then(|bytes| RegionId::new(u16::from_be_bytes(bytes)).ok())
        };
        let (4, Some(dead), Some(destination)) = (body.len(), region(0), region(2)) else {
            self.count("link_down_notices_malformed");
            return;
        };
        let now = self.now();
        let in_use = self.routes.get(destination).is_some_and(|route| {
            route.next_hop() == Some(peer)
                && route.hops.windows(2).any(|link| link == [relay, dead])
        });
        let heeded = &mut self.watch.failover.heeded;
        heeded.retain(|_, at| now.saturating_sub(*at) < HEED_EVERY);
        if !in_use || heeded.contains_key(&relay) {
            self.count("link_down_notices_ignored");
            return;
        }
        heeded.insert(relay, now);
        tracing::debug!(%relay, %dead, %destination, "a relay has lost the next link of a route");
        self.count("link_down_notices_heeded");
        self.watch.suspects.insert(relay, now + SUSPICION);
        self.recompute_routes();
    }
}

/// How long a link may be silent, by what was measured of it and by how well this region does itself.
fn patience(port: &LinkPort, health: &LocalHealth) -> Patience {
    let measured = Micros(u64::from(port.estimate.probe_timeout_us()));
    let probe = health.probe_timeout(measured);
    Patience {
        frame: probe + ACK_DELAY,
        probe,
        last: health.last_timeout(measured.max(LEAST_LAST)),
        idle: port.measures.probe_idle(),
    }
}

/// What left within one round trip before the last sign of life met a dead peer already.
fn lost_since(port: &LinkPort) -> Micros {
    let round_trip = Micros(u64::from(port.estimate.probe_timeout_us()));
    // Some signs of life are read a quarter of a time-out late.
    port.liveness.heard_at().saturating_sub(round_trip + Micros(round_trip.0 / 4))
}

/// Why a link that does not answer is closed.
const SILENT: &str = "silent";
/// Set in a header's count of repairs by the relay that repaired it, and cleared by the next one.
pub(super) const REPAIRED_HERE: u8 = 0x80;
/// How often a frame may be given a new way around a dead link.
const MAX_REPAIRS: u8 = 2;
/// How long an acknowledgement may wait for company (QUIC's default).
const ACK_DELAY: Micros = Micros::from_millis(25);
/// A suspect that is declared dead costs a flood: it gets this much time at least.
const LEAST_LAST: Micros = Micros::from_millis(200);
/// For how long after its link went silent a region is not passed through if there is another way:
/// by then its other neighbours have noticed as well.
const SUSPICION: Micros = Micros::from_millis(3_000);
const LONGEST_FOR_LAST_WAY: Micros = Micros::from_millis(2_000);
const MOST_HELD: usize = 1024;
const MOST_DETOURS: usize = 1024;
const MOST_NOTICES: usize = 1024;
const NOTICE_EVERY: Micros = Micros::from_millis(200);
const HEED_EVERY: Micros = Micros::from_millis(1_000);
