//! Links: opening, greeting, measuring, watching and closing them.

use std::rc::Rc;

use bytes::Bytes;
use fedist_registry::{AdvertPace, KeyHash, LinkEstimate, LinkLiveness, Micros, RegionId};
use fedist_transport::{
    link::{Link, LinkTx},
    wire::{Class, FrameKind, HopHeader},
};

use super::{
    Core, CoreRef,
    connect::DISCONNECTED,
    control::{Control, Hello},
    frames::hop_header,
    measure::LinkMeasures,
    membership::ID_CONFLICT,
    mesh::TOO_MANY_LINKS,
    relay::{Crash, RELAYS, Relay},
};
use crate::{LocalAddr, outbound::Outbound};

/// One link, from its handshake to its end.
pub(super) struct LinkPort {
    pub(super) peer: RegionId,
    pub(super) serial: u64,
    /// The key that the peer proved in this link's handshake.
    pub(super) key: KeyHash,
    pub(super) tx: LinkTx,
    pub(super) dialed: bool,
    pub(super) since: Micros,
    pub(super) estimate: LinkEstimate,
    pub(super) liveness: LinkLiveness,
    pub(super) peer_boot: u32,
    pub(super) relay: Option<LocalAddr<Relay>>,
    pub(super) pace: AdvertPace,
    pub(super) last_probe: Micros,
    pub(super) measures: LinkMeasures,
    /// Frames of sessions in both directions, those in transit included.
    pub(super) carried: std::cell::Cell<u64>,
    /// Whether the other end keeps this link, and what this end has said about that.
    pub(super) peer_wants: bool,
    pub(super) told_wants: bool,
    /// About to be closed: not advertised, so that no route uses it.
    pub(super) retiring: bool,
    /// The other end says so.
    pub(super) peer_retiring: bool,
}

impl LinkPort {
    /// Whether either end is about to close it.
    pub(super) fn is_closing(&self) -> bool {
        self.retiring || self.peer_retiring
    }

    /// Notes a frame of a session that went over this link.
    pub(super) fn note_carried(&self) {
        self.carried.set(self.carried.get().saturating_add(1));
    }

    /// Notes that something was sent: an answer (an acknowledgement at least) is now awaited. Gives back whether that wait
    /// begins here, so that the timer has to be armed for it.
    pub(super) fn liveness_tx(&mut self, now: Micros) -> bool {
        // What came before is no answer. Where frames come all the time there is hardly anything uncounted, and counting has
        // its price.
        let rested = now.saturating_sub(self.liveness.heard_at()) >= COUNTED_AFTER;
        if rested && !self.liveness.awaits() {
            self.liveness.handle_count(now, self.tx.stats().datagrams_received);
        }
        self.liveness.handle_tx(now)
    }
}

/// Takes links that others open.
pub(super) async fn drive_accepts(core: CoreRef) {
    let fabric = Rc::clone(&core.borrow().fabric);
    while let Some(accepted) = fabric.accept().await {
        match accepted {
            Ok(link) => {
                let _ = core.borrow_mut().link_ready(link);
            }
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
            // An answer awaits none: two idle ends would keep each other awake.
            let begins = header.kind != FrameKind::Pong && port.liveness_tx(now);
            if header.kind == FrameKind::Ping {
                port.measures.note_probe();
            }
            if port.tx.send(header, parts).is_err() {
                self.count("control_frames_refused");
            }
            if begins {
                self.arm_link(peer);
            }
        }
    }

    pub(super) fn send_control(&mut self, peer: RegionId, serial: u64, message: &Control) {
        if let Some(body) = message.encode() {
            self.send_encoded(peer, serial, body);
        }
    }

    pub(super) fn send_encoded(&mut self, peer: RegionId, serial: u64, body: Bytes) {
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

    /// A handshake is done, whoever dialed. The link is used once the other side said hello. Gives its serial number, or why
    /// it was closed.
    pub(super) fn link_ready(&mut self, link: Link) -> Result<u64, String> {
        let refuse = |link: &Link, why: String| {
            link.tx.close(&why);
            Err(why)
        };
        let peer = link.peer.region;
        let now = self.now();
        if self.is_stopping() {
            return refuse(&link, "stopping".to_owned());
        }
        if peer == self.region() {
            self.count("links_refused");
            return refuse(
                &link,
                format!("{ID_CONFLICT}: region {peer} is the one that was called"),
            );
        }
        // The registry's key for the number is the last word.
        let registered = self.registry.get(peer).map(|record| record.key_hash);
        if let Some(key) = registered
            && key != link.peer.key_hash
        {
            self.count("links_refused_key");
            tracing::info!(%peer, key = %link.peer.key_hash, registered = %key,
                "link refused: the region number belongs to another key");
            let theirs = link.peer.key_hash;
            return refuse(
                &link,
                format!("{ID_CONFLICT}: region {peer} is registered with key {key}, not {theirs}"),
            );
        }
        if self.refuses_link(peer) {
            self.count("links_refused_disconnected");
            return refuse(&link, DISCONNECTED.to_owned());
        }
        let full = self.links.len() + self.greeting.len() >= MAX_LINKS;
        if full || (!link.dialed && !self.admit_link(peer)) {
            self.count("links_refused_limit");
            return refuse(&link, TOO_MANY_LINKS.to_owned());
        }
        self.next_serial += 1;
        let serial = self.next_serial;
        let Link { tx, writer, rx, dialed, peer: identity, .. } = link;
        let (mut estimate, mut pace) = (LinkEstimate::new(), AdvertPace::new());
        estimate.set_own_queue(now, self.measure.hides_queues(now));
        // The handshake has measured the round trip once already.
        if let Ok(rtt @ 1..) = u32::try_from(tx.stats().rtt_us) {
            estimate.sample(now, rtt);
            pace.handle_exchange();
        }
        if dialed {
            self.measure.note_dial(peer, &tx.stats());
        }
        self.greeting.insert(
            serial,
            LinkPort {
                peer,
                serial,
                key: identity.key_hash,
                tx,
                dialed,
                since: now,
                estimate,
                liveness: LinkLiveness::new(now),
                peer_boot: 0,
                relay: None,
                pace,
                last_probe: now,
                measures: LinkMeasures::default(),
                carried: std::cell::Cell::new(0),
                peer_wants: false,
                told_wants: false,
                retiring: false,
                peer_retiring: false,
            },
        );
        let Some(core) = self.handle() else {
            return Err("the node is stopped".to_owned());
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
                Ok(serial)
            }
            Err(error) => {
                tracing::error!(%peer, %error, "no relay for a new link");
                self.greeting.remove(&serial);
                Err(error.to_string())
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
                self.contact_linked(peer);
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
        self.watch.suspects.remove(&peer);
        tracing::info!(%peer, dialed = port.dialed, boot = hello.boot, "link up");
        self.count("links_opened");
        self.links.insert(peer, port);
        self.measure.link_ended(peer);
        self.send_probe(peer, serial);
        self.link_changed(true);
        self.tell_draining(peer, serial);
        self.tell_clock(peer, serial);
        self.sync_registry(peer, hello.registry);
        self.push_membership(peer, serial);
        self.contact_linked(peer);
    }

    /// A relay ended: its link died, or it panicked.
    pub(super) fn relay_ended(&mut self, peer: RegionId, serial: u64, reason: &crate::ExitReason) {
        if matches!(reason, crate::ExitReason::Panicked(_)) {
            self.count("relays_panicked");
        }
        if !matches!(reason, crate::ExitReason::Normal) {
            self.contact_ended(peer, serial, &format!("its relay ended: {reason}"));
        }
        self.greeting.remove(&serial);
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            // One that was closed because nobody needs it has not failed.
            let on_purpose = self.links.remove(&peer).is_some_and(|port| port.retiring);
            self.measure.link_ended(peer);
            self.count("links_lost");
            tracing::info!(%peer, %reason, "link down");
            let now = self.now();
            self.dial_failed(peer, now, format!("the relay ended: {reason}"));
            if !on_purpose {
                self.note_flap(peer, now);
            }
            self.link_changed(false);
        }
        self.flush();
    }

    pub(super) fn close_link(&mut self, peer: RegionId, serial: u64, why: &str) {
        if let Some(port) = self.port_mut(peer, serial) {
            port.tx.close(why);
        }
    }

    /// Fault injection: makes the relay of a link panic. False when there is no such link.
    pub(crate) fn crash_relay(&mut self, peer: RegionId) -> bool {
        let relay = self.links.get(&peer).and_then(|port| port.relay.clone());
        relay.is_some_and(|relay| relay.try_send(Crash).is_ok())
    }

    // ---- looking after them ------------------------------------------------------------------

    pub(super) fn announce_leaving(&mut self) {
        self.broadcast(&Control::Leaving, None);
    }

    pub(super) fn peer_leaves(&mut self, peer: RegionId, serial: u64) {
        self.close_link(peer, serial, "goodbye");
        if self.links.get(&peer).is_some_and(|port| port.serial == serial) {
            self.links.remove(&peer);
            self.measure.link_ended(peer);
            let now = self.now();
            self.dial_failed(peer, now, "it said goodbye".to_owned());
            self.link_changed(false);
        }
    }
}

/// Links that a node holds at most, both directions together.
pub(super) const MAX_LINKS: usize = fedist_registry::LinkState::MAX_LINKS;
/// A link that was silent for this long has its datagrams counted before an answer is awaited.
const COUNTED_AFTER: Micros = Micros::from_millis(5);
pub(super) const HELLO_TIMEOUT: Micros = Micros::from_millis(5_000);
