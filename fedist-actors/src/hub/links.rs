//! Links: opening, greeting, measuring, watching and closing them.

use std::rc::Rc;

use bytes::Bytes;
use fedist_registry::{
    KeyHash, LinkAdvert, LinkCost, LinkEstimate, LinkLiveness, LinkState, Liveness, MeshConfig,
    Micros, RegionId, RouteTable, desired_links,
};
use fedist_transport::{
    link::{DialError, Link, LinkTx},
    wire::{Class, FrameKind, HopHeader},
};

use super::{
    Core, CoreRef, TICK,
    control::{Control, Hello, STATES_PER_FRAME},
    frames::hop_header,
    membership::ID_CONFLICT,
    relay::{Crash, RELAYS, Relay},
};
use crate::{LocalAddr, outbound::Outbound};

/// One link, from its handshake to its end.
pub(super) struct LinkPort {
    pub(super) serial: u64,
    /// The key that the peer proved in this link's handshake.
    pub(super) key: KeyHash,
    pub(super) tx: LinkTx,
    pub(super) dialed: bool,
    pub(super) since: Micros,
    pub(super) estimate: LinkEstimate,
    pub(super) liveness: LinkLiveness,
    pub(super) peer_boot: u32,
    relay: Option<LocalAddr<Relay>>,
    advertised: Option<(LinkCost, Micros)>,
    last_probe: Micros,
    datagrams_received: u64,
    sent_since: std::cell::Cell<Option<Micros>>,
}

impl LinkPort {
    /// Notes that something was sent: an answer (an acknowledgement at least) is now awaited.
    pub(super) fn liveness_tx(&self, now: Micros) {
        if self.sent_since.get().is_none() {
            self.sent_since.set(Some(now));
        }
    }
}

/// Attempts to open a link to one region.
#[derive(Default)]
pub(super) struct Dial {
    running: bool,
    failures: u32,
    not_before: Micros,
    pub(super) last_error: String,
}

impl Dial {
    fn ready(&self, now: Micros) -> bool {
        !self.running && now >= self.not_before
    }

    /// Exponential back-off from 100 ms to 5 s, with a fifth of jitter so that hubs do not dial in step.
    fn failed(&mut self, now: Micros, error: String, random: &mut fastrand::Rng) {
        let base = 100_u64.saturating_mul(1 << self.failures.min(6)).min(5_000);
        let jitter = random.u64(0..=base / 5);
        self.failures += 1;
        self.running = false;
        self.last_error = error;
        self.not_before = now + Micros::from_millis(base + jitter);
    }
}

/// Takes links that others open.
pub(super) async fn drive_accepts(core: CoreRef) {
    let fabric = Rc::clone(&core.borrow().fabric);
    while let Some(accepted) = fabric.accept().await {
        match accepted {
            Ok(link) => core.borrow_mut().link_ready(link),
            Err(error) => {
                let mut core = core.borrow_mut();
                core.count("links_refused");
                // Anybody can cause this, as often as they like: the counter tells, the log only on demand.
                tracing::debug!(%error, "an incoming link was refused");
            }
        }
    }
}

impl Core {
    /// The port of a link that is up or being greeted.
    pub(super) fn port_mut(&mut self, peer: RegionId, serial: u64) -> Option<&mut LinkPort> {
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            return self.links.get_mut(&peer);
        }
        self.greeting.get_mut(&serial)
    }

    pub(super) fn send_on(
        &mut self,
        peer: RegionId,
        serial: u64,
        header: HopHeader,
        parts: [Bytes; 2],
    ) {
        let now = self.now();
        if let Some(port) = self.port_mut(peer, serial) {
            port.liveness_tx(now);
            if port.tx.send(header, parts).is_err() {
                self.count("control_frames_refused");
            }
        }
    }

    pub(super) fn send_control(&mut self, peer: RegionId, serial: u64, message: &Control) {
        let Some(body) = message.encode() else {
            return;
        };
        let header =
            hop_header(FrameKind::Control, Class::Control, self.region(), peer, body.len());
        self.send_on(peer, serial, header, [body, Bytes::new()]);
    }

    pub(super) fn broadcast(&mut self, message: &Control, except: Option<RegionId>) {
        let mut peers: Vec<(RegionId, u64)> = self
            .links
            .iter()
            .map(|(peer, port)| (*peer, port.serial))
            .filter(|(peer, _)| Some(*peer) != except)
            .collect();
        peers.sort_unstable();
        for (peer, serial) in peers {
            self.send_control(peer, serial, message);
        }
    }

    // ---- opening ---------------------------------------------------------------------------

    /// A handshake is done, whoever dialed. The link is used once the other side said hello.
    pub(super) fn link_ready(&mut self, link: Link) {
        let peer = link.peer.region;
        let now = self.now();
        if self.is_stopping() {
            link.tx.close("stopping");
            return;
        }
        if peer == self.region() {
            self.count("links_refused");
            link.tx.close(&format!("{ID_CONFLICT}: region {peer} is the one that was called"));
            return;
        }
        // The registry's key for the number is the last word.
        let registered = self.registry.get(peer).map(|record| record.key_hash);
        if let Some(key) = registered
            && key != link.peer.key_hash
        {
            self.count("links_refused_key");
            tracing::info!(%peer, key = %link.peer.key_hash, registered = %key,
                "link refused: the region number belongs to another key");
            link.tx.close(&format!(
                "{ID_CONFLICT}: region {peer} is registered with key {key}, not {}",
                link.peer.key_hash
            ));
            return;
        }
        if self.links.len() + self.greeting.len() >= MAX_LINKS {
            self.count("links_refused_limit");
            link.tx.close("too many links");
            return;
        }
        self.next_serial += 1;
        let serial = self.next_serial;
        let Link { tx, writer, rx, dialed, peer: identity, .. } = link;
        let mut estimate = LinkEstimate::new();
        // The handshake has measured the round trip once already.
        if let Ok(rtt @ 1..) = u32::try_from(tx.stats().rtt_us) {
            estimate.sample(now, rtt);
        }
        self.greeting.insert(
            serial,
            LinkPort {
                serial,
                key: identity.key_hash,
                tx,
                dialed,
                since: now,
                estimate,
                liveness: LinkLiveness::new(now),
                peer_boot: 0,
                relay: None,
                advertised: None,
                last_probe: now,
                datagrams_received: 0,
                sent_since: std::cell::Cell::new(None),
            },
        );
        let Some(core) = self.handle() else {
            return;
        };
        let spawned =
            self.node.spawn_here(Relay { core, peer, serial, halves: Some((writer, rx)) });
        match spawned {
            Ok(relay) => {
                let node = self.node.clone();
                let ended = move |down: crate::Down| {
                    node.queue(Outbound::Run(Box::new(move |core| {
                        core.relay_ended(peer, serial, &down.reason);
                    })));
                };
                self.node.watch(relay.pid(), Box::new(ended));
                let name = format!("relay to {peer}");
                self.node.inner().supervisors.adopt(RELAYS, name, relay.pid());
                if let Some(port) = self.greeting.get_mut(&serial) {
                    port.relay = Some(relay);
                }
                let hello = Control::Hello(Hello {
                    boot: self.node.boot(),
                    registry: self.registry.version(),
                });
                self.send_control(peer, serial, &hello);
            }
            Err(error) => {
                tracing::error!(%peer, %error, "no relay for a new link");
                self.greeting.remove(&serial);
            }
        }
    }

    /// The other side said hello: of two links to one peer, one stays.
    pub(super) fn handle_hello(&mut self, peer: RegionId, serial: u64, hello: &Hello) {
        let Some(mut port) = self.greeting.remove(&serial) else {
            return;
        };
        port.peer_boot = hello.boot;
        if let Some(old) = self.links.get(&peer) {
            let lower_dialed = |dialed: bool| dialed == (self.region() < peer);
            let keep_new = hello.boot > old.peer_boot
                || port.dialed == old.dialed
                || lower_dialed(port.dialed);
            if !keep_new {
                port.tx.close("another link is in use");
                return;
            }
            old.tx.close("replaced by a newer link");
            // What waited in the old link is lost, although no route changes.
            let now = self.now();
            let mut cut_short = Vec::new();
            for (region, slot) in &mut self.sessions {
                if slot.last_hop == Some(peer) {
                    slot.session.handle_path_change(now, None);
                    cut_short.push(*region);
                }
            }
            for region in cut_short {
                self.mark_dirty(region);
            }
        }
        self.suspects.remove(&peer);
        tracing::info!(%peer, dialed = port.dialed, boot = hello.boot, "link up");
        self.count("links_opened");
        self.links.insert(peer, port);
        self.link_changed(true);
        let states: Vec<LinkState> = self.db.iter().cloned().collect();
        for chunk in states.chunks(STATES_PER_FRAME) {
            self.send_control(peer, serial, &Control::LinkState(chunk.to_vec()));
        }
        self.sync_registry(peer, serial, &hello.registry);
        self.push_membership(peer, serial);
    }

    /// A relay ended: its link died, or it panicked.
    pub(super) fn relay_ended(&mut self, peer: RegionId, serial: u64, reason: &crate::ExitReason) {
        if matches!(reason, crate::ExitReason::Panicked(_)) {
            self.count("relays_panicked");
        }
        self.greeting.remove(&serial);
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            self.links.remove(&peer);
            self.count("links_lost");
            tracing::info!(%peer, %reason, "link down");
            let now = self.now();
            self.dial_failed(peer, now, format!("the relay ended: {reason}"));
            self.link_changed(false);
        }
        self.flush();
    }

    pub(super) fn close_link(&mut self, peer: RegionId, serial: u64, why: &str) {
        if let Some(port) = self.port_mut(peer, serial) {
            port.tx.close(why);
        }
    }

    /// Ends a link that does not answer any more, without waiting for its relay to notice.
    fn link_dead(&mut self, peer: RegionId) {
        if let Some(port) = self.links.remove(&peer) {
            let now = self.now();
            let silent_ms = now.saturating_sub(port.liveness.heard_at()).as_millis();
            let probe_timeout_ms = port.estimate.probe_timeout_us() / 1000;
            tracing::info!(%peer, silent_ms, probe_timeout_ms, "link is silent: taken as down");
            self.count("links_silent");
            self.suspects.insert(peer, now + SUSPICION);
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

    fn link_changed(&mut self, up: bool) {
        self.update_own_state();
        if up {
            self.schedule_recompute(Micros::ZERO);
        } else {
            // What was sent that way may be lost: another route takes it at once.
            self.recompute_routes();
        }
    }

    /// Fault injection: makes the relay of a link panic. False when there is no such link.
    pub(crate) fn crash_relay(&mut self, peer: RegionId) -> bool {
        let relay = self.links.get(&peer).and_then(|port| port.relay.clone());
        relay.is_some_and(|relay| relay.try_send(Crash).is_ok())
    }

    // ---- looking after them ------------------------------------------------------------------

    pub(super) fn tick_links(&mut self, now: Micros, late: bool) {
        let mut dead = Vec::new();
        let mut probes = Vec::new();
        for (peer, port) in &mut self.links {
            let received = port.tx.stats().datagrams_received;
            if received != port.datagrams_received {
                port.datagrams_received = received;
                port.liveness.handle_rx(now);
            }
            // What is stuck in the link's queues awaits a sign of life as much as what was just sent.
            let stuck = Class::ALL.iter().any(|class| port.tx.queued(*class) > 0);
            if let Some(sent) = port.sent_since.take().or(stuck.then_some(now)) {
                port.liveness.handle_tx(sent);
            }
            let timeout = Micros(u64::from(port.estimate.probe_timeout_us()));
            if port.liveness.handle_tick(now, timeout, late) == Liveness::Down {
                dead.push(*peer);
                continue;
            }
            let young = now.saturating_sub(port.since) < SETTLING
                && now.saturating_sub(port.last_probe) >= SETTLING_PROBE;
            if port.liveness.wants_probe(now, PROBE_IDLE) || young {
                port.last_probe = now;
                probes.push((*peer, port.serial));
            }
        }
        let settled = |port: &LinkPort| now.saturating_sub(port.since) >= SETTLING;
        if self.links.values().any(settled) {
            let links = &self.links;
            self.dials.retain(|peer, _| !links.get(peer).is_some_and(settled));
            self.join_dial = Dial::default();
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

    /// Announces link costs that moved by more than max(5 %, 1 ms), at most every 5 s per link.
    fn advertise_costs(&mut self, now: Micros) {
        let mut moved = false;
        for port in self.links.values_mut() {
            let Some(cost) = port.estimate.cost(now) else {
                continue;
            };
            let pause = if now.saturating_sub(port.since) < SETTLING + SETTLING {
                Micros::from_millis(500)
            } else {
                ADVERTISE_PAUSE
            };
            let worth_it = match port.advertised {
                None => true,
                Some((old, at)) => {
                    let slack = (old.as_micros() / 20).max(1_000);
                    cost.as_micros().abs_diff(old.as_micros()) > slack
                        && now.saturating_sub(at) >= pause
                }
            };
            moved |= worth_it;
        }
        if moved {
            self.update_own_state();
            self.schedule_recompute(SPF_DELAY);
        }
    }

    /// Writes this region's link state anew and floods it.
    pub(super) fn update_own_state(&mut self) {
        let now = self.now();
        let mut links: Vec<LinkAdvert> = Vec::new();
        for (peer, port) in &mut self.links {
            if !self.registry.is_live(*peer) {
                continue;
            }
            if let Some(cost) = port.estimate.cost(now) {
                port.advertised = Some((cost, now));
                links.push(LinkAdvert { to: *peer, cost });
            }
        }
        links.sort_unstable_by_key(|link| link.to);
        let relay = self.own_cost();
        self.own_state.seq += 1;
        self.own_state.links = links;
        self.own_state.relay = relay;
        self.db.apply(self.own_state.clone());
        if self.is_live() {
            let message = Control::LinkState(vec![self.own_state.clone()]);
            self.broadcast(&message, None);
        }
    }

    pub(super) fn handle_link_states(&mut self, peer: RegionId, states: Vec<LinkState>) {
        let mut news = Vec::new();
        for state in states {
            if state.region == self.region() {
                // Somebody remembers an earlier life of this region: outbid it.
                if state.seq >= self.own_state.seq && state != self.own_state {
                    self.own_state.seq = state.seq;
                    self.update_own_state();
                }
                continue;
            }
            if self.db.apply(state.clone()) {
                // Whoever says something new is alive, whatever became of the link to it.
                self.suspects.remove(&state.region);
                news.push(state);
            }
        }
        if news.is_empty() {
            return;
        }
        for chunk in news.chunks(STATES_PER_FRAME) {
            self.broadcast(&Control::LinkState(chunk.to_vec()), Some(peer));
        }
        // A path of ours may have broken: that is acted upon at once, improvements can wait.
        if self.routes_broken() {
            self.recompute_routes();
        } else {
            self.schedule_recompute(SPF_DELAY);
        }
    }

    fn routes_broken(&self) -> bool {
        self.routes.iter().any(|(_, route)| {
            let advertised =
                |from, to| self.db.get(from).is_some_and(|state| state.cost_to(to).is_some());
            std::iter::once(self.region())
                .chain(route.hops.iter().copied())
                .zip(route.hops.iter().copied())
                .any(|(from, to)| !advertised(from, to) || !advertised(to, from))
        })
    }

    pub(super) fn schedule_recompute(&mut self, delay: Micros) {
        let at = self.now() + delay;
        if self.recompute_at.is_none_or(|planned| at < planned) {
            self.recompute_at = Some(at);
            self.arm(at);
        }
    }

    pub(super) fn recompute_routes(&mut self) {
        self.recompute_routes_after(None);
    }

    /// `silent` names a link that was given up, and since when what went over it is lost.
    fn recompute_routes_after(&mut self, silent: Option<(RegionId, Micros)>) {
        self.recompute_at = None;
        let now = self.now();
        self.suspects.retain(|_, until| *until > now);
        let suspects: Vec<RegionId> = self.suspects.keys().copied().collect();
        let routes = RouteTable::compute(self.region(), &self.db, Some(&self.routes))
            .around(&self.db, &suspects);
        if let Some(until) = self.suspects.values().min().copied() {
            self.schedule_recompute(until.saturating_sub(now));
        }
        let changed = routes.changed_from(&self.routes);
        self.routes = routes;
        self.publish_view();
        for region in changed {
            if let Some(slot) = self.sessions.get_mut(&region) {
                let lost_since =
                    silent.filter(|(peer, _)| slot.last_hop == Some(*peer)).map(|(_, since)| since);
                slot.session.handle_path_change(now, lost_since);
                self.mark_dirty(region);
            }
        }
        self.flush();
    }

    /// Dials whom this region wants a link to and has none.
    fn open_links(&mut self, now: Micros) {
        if self.is_stopping() {
            return;
        }
        let me = self.region();
        let mut wanted: Vec<RegionId> = Vec::new();
        if self.registry.get(me).is_some() {
            let config = MeshConfig {
                nearest: if self.is_live() { self.config.nearest } else { 0 },
                extra: self.config.links.clone(),
                avoid: Vec::new(),
            };
            let estimate = |region: RegionId| self.routes.get(region).map(|route| route.cost);
            wanted = desired_links(me, &self.registry, &config, &estimate);
        }
        for region in wanted {
            let linked = self.links.contains_key(&region);
            let address = self.config.dial.get(&region).cloned().map_or_else(
                || {
                    self.registry
                        .get(region)
                        .map(|record| record.addresses.clone())
                        .unwrap_or_default()
                },
                |address| vec![address],
            );
            let dial = self.dials.entry(region).or_default();
            if !linked && dial.ready(now) && !address.is_empty() {
                dial.running = true;
                self.dial(Some(region), address);
            }
        }
        if self.wants_join()
            && self.links.is_empty()
            && self.greeting.is_empty()
            && self.join_dial.ready(now)
        {
            self.join_dial.running = true;
            let join = self.config.join.clone();
            self.dial(None, join);
        }
    }

    fn dial_failed(&mut self, peer: RegionId, now: Micros, error: String) {
        self.dials.entry(peer).or_default().failed(now, error, &mut self.random);
    }

    fn dial(&mut self, expect: Option<RegionId>, addresses: Vec<String>) {
        let Some(core) = self.handle() else {
            return;
        };
        let fabric = Rc::clone(&self.fabric);
        actix_rt::spawn(async move {
            let mut failure = "no address to dial".to_owned();
            let mut refused = false;
            for address in addresses {
                match fabric.dial(&address, expect).await {
                    Ok(link) => {
                        let mut core = core.borrow_mut();
                        // Until the link has settled this counts as a failure: a peer that closes it
                        // at once is not dialed again at once.
                        core.dial_ended(expect, "no hello yet".to_owned());
                        core.link_ready(link);
                        return;
                    }
                    Err(error) => {
                        refused = matches!(error, DialError::PeerRefused { .. });
                        failure = error.to_string();
                    }
                }
            }
            let mut core = core.borrow_mut();
            core.count("dials_failed");
            tracing::debug!(region = ?expect, error = %failure, "dialing failed");
            if expect.is_none() {
                core.join_dial_failed(&failure, refused);
            }
            core.dial_ended(expect, failure);
        });
    }

    /// An attempt to dial a region, or the join address, is over.
    fn dial_ended(&mut self, expect: Option<RegionId>, error: String) {
        let now = self.now();
        match expect {
            Some(region) => self.dial_failed(region, now, error),
            None => self.join_dial.failed(now, error, &mut self.random),
        }
    }

    pub(super) fn announce_leaving(&mut self) {
        self.broadcast(&Control::Leaving, None);
    }

    pub(super) fn peer_leaves(&mut self, peer: RegionId, serial: u64) {
        self.close_link(peer, serial, "goodbye");
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            self.links.remove(&peer);
            let now = self.now();
            self.dial_failed(peer, now, "it said goodbye".to_owned());
            self.link_changed(false);
        }
    }
}

/// Links that a node holds at most, both directions together.
pub(super) const MAX_LINKS: usize = 64;
/// A fresh link is probed often for this long, so that its cost is known soon.
const SETTLING: Micros = Micros::from_millis(1_500);
const SETTLING_PROBE: Micros = Micros::from_millis(150);
const PROBE_IDLE: Micros = Micros::from_millis(1_000);
/// For how long after its link went silent a region is not passed through if there is another way:
/// by then its other neighbours have noticed as well.
const SUSPICION: Micros = Micros::from_millis(3_000);
const ADVERTISE_PAUSE: Micros = Micros::from_millis(5_000);
/// Shortest paths are computed this long after a change, so that a burst is one computation.
const SPF_DELAY: Micros = Micros::from_millis(50);
const HELLO_TIMEOUT: Micros = Micros::from_millis(5_000);
