//! Watching the links: whether they answer, what they measure, and what to do when one falls silent.

use std::collections::HashMap;

use bytes::Bytes;
use fedist_registry::{Liveness, Micros, RegionId, RouteNews};
use fedist_transport::wire::{Class, FrameKind};

use super::{
    Core, TICK,
    frames::hop_header,
    links::{HELLO_TIMEOUT, LinkPort},
    mesh::Dial,
};

/// What watching keeps.
#[derive(Default)]
pub(super) struct Watch {
    /// Regions whose link here went silent, and until when they are not trusted as relays.
    pub(super) suspects: HashMap<RegionId, Micros>,
}

impl Core {
    /// Ends a link that does not answer any more, without waiting for its relay to notice.
    pub(super) fn link_dead(&mut self, peer: RegionId) {
        if let Some(port) = self.links.remove(&peer) {
            let now = self.now();
            self.measure.link_ended(peer);
            let silent_ms = now.saturating_sub(port.liveness.heard_at()).as_millis();
            let probe_timeout_ms = port.estimate.probe_timeout_us() / 1000;
            tracing::info!(%peer, silent_ms, probe_timeout_ms, "link is silent: taken as down");
            self.count("links_silent");
            self.watch.suspects.insert(peer, now + SUSPICION);
            port.tx.close("silent");
            self.dial_failed(peer, now, "silent".to_owned());
            self.update_own_state();
            // What left within one round trip before the last sign of life met a dead peer already;
            // signs of life are read once a tick, so they may be older than they look.
            let round_trip = Micros(u64::from(port.estimate.probe_timeout_us())) + TICK;
            let lost_since = port.liveness.heard_at().saturating_sub(round_trip);
            self.recompute_routes_after(Some((peer, lost_since)));
        }
    }

    pub(super) fn link_changed(&mut self, up: bool) {
        self.update_own_state();
        if up {
            self.schedule_recompute(RouteNews::Reached);
        } else {
            // What was sent that way may be lost: another route takes it at once.
            self.recompute_routes();
        }
    }

    pub(super) fn tick_links(&mut self, now: Micros, late: bool) {
        let mut dead = Vec::new();
        let mut probes = Vec::new();
        for (peer, port) in &mut self.links {
            let heard_at = port.liveness.heard_at();
            let received = port.tx.stats().datagrams_received;
            if received != port.datagrams_received {
                port.datagrams_received = received;
                port.liveness.handle_rx(now);
            }
            // What is stuck in the link's queues awaits a sign of life as much as what was just sent.
            let stuck = Class::ALL.iter().any(|class| port.tx.queued(*class) > 0);
            // What was sent before an answer came awaits none.
            let sent = port.sent_since.take().filter(|sent| *sent > heard_at);
            if let Some(sent) = sent.or(stuck.then_some(now)) {
                port.liveness.handle_tx(sent);
            }
            let timeout = Micros(u64::from(port.estimate.probe_timeout_us()));
            if port.liveness.handle_tick(now, timeout, late) == Liveness::Down {
                dead.push(*peer);
                continue;
            }
            let young = now.saturating_sub(port.since) < SETTLING
                && now.saturating_sub(port.last_probe) >= SETTLING_PROBE;
            if port.liveness.wants_probe(now, port.measures.probe_idle()) || young {
                port.last_probe = now;
                probes.push((*peer, port.serial));
            }
        }
        let settled = |port: &LinkPort| now.saturating_sub(port.since) >= SETTLING;
        if self.links.values().any(settled) {
            let links = &self.links;
            self.mesh.dials.retain(|peer, _| !links.get(peer).is_some_and(settled));
            self.mesh.join_dial = Dial::default();
        }
        for peer in dead {
            self.link_dead(peer);
        }
        for (peer, serial) in probes {
            let ping = hop_header(FrameKind::Ping, Class::Control, self.region(), peer, 0);
            self.send_on(peer, serial, ping, [Bytes::new(), Bytes::new()]);
        }
        // A handshake that is never followed by a hello ends here.
        let silent: Vec<u64> = self
            .greeting
            .values()
            .filter(|port| now.saturating_sub(port.since) > HELLO_TIMEOUT)
            .map(|port| port.serial)
            .collect();
        for serial in silent {
            if let Some(port) = self.greeting.remove(&serial) {
                port.tx.close("no hello");
            }
        }
        self.advertise_costs(now);
        self.open_links(now);
    }
}

/// A fresh link is probed often for this long, so that its cost is known soon.
pub(super) const SETTLING: Micros = Micros::from_millis(1_500);
const SETTLING_PROBE: Micros = Micros::from_millis(150);
/// For how long after its link went silent a region is not passed through if there is another way:
/// by then its other neighbours have noticed as well.
const SUSPICION: Micros = Micros::from_millis(3_000);
