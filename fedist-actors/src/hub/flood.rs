//! Flooding: this region's link state to all others, and theirs on their way.
//!
//! The protocol is in [`Flood`]; here its messages get onto the links, and what it learned reaches the routes.

use std::collections::HashMap;

use fedist_registry::{
    Flood, FloodMessage, LinkState, Micros, RegionId, StatePace, Status, is_urgent,
};
use fedist_transport::wire::{Class, HOP_HEADER_LEN};

use super::{Core, control::Control};

/// What flooding keeps.
pub(super) struct Flooding {
    flood: Flood,
    /// The links that the engine knows, by the serial number of each.
    links: HashMap<RegionId, u64>,
    /// What others were told of this region last; nothing before it is live.
    announced: Option<LinkState>,
    /// When they are told next: what is no bad news has to wait where there is much of it.
    pace: StatePace,
    /// The start number of each region's node, as the upper half of its sequence numbers says.
    lives: HashMap<RegionId, u32>,
    /// When a link whose queue was full is tried again.
    retry_at: Option<Micros>,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Flooding {
    pub(super) fn new(me: RegionId) -> Flooding {
        Flooding {
            flood: Flood::new(me),
            links: HashMap::new(),
            announced: None,
            pace: StatePace::new(),
            lives: HashMap::new(),
            retry_at: None,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// For the node's status: bytes of link state, and what the engine counted.
    pub(super) fn counters(&self) -> [(&'static str, u64); 9] {
        let stats = self.flood.stats();
        [
            ("link_state_bytes_sent", self.bytes_sent),
            ("link_state_bytes_received", self.bytes_received),
            ("link_states_new", stats.states_new),
            ("link_states_known", stats.states_known),
            ("link_states_refused", stats.states_unregistered + stats.sequences_refused),
            ("flood_requests_refused", stats.requests_refused),
            ("flood_grafts", stats.grafts),
            ("flood_prunes", stats.prunes),
            ("flood_differences", stats.differences),
        ]
    }
}

impl Core {
    /// Links or the own state may have changed: whoever has not heard of it is told, of bad news at once.
    pub(super) fn flood_own_state(&mut self) {
        let now = self.now();
        self.follow_links(now);
        if self.has_news() {
            let told = self.flooding.announced.as_ref();
            let urgent = told.is_none() || is_urgent(told, &self.own_state);
            if !urgent {
                self.flooding.pace.handle_news(now);
            }
            if urgent || self.flooding.pace.poll_timeout().is_some_and(|at| at <= now) {
                self.announce_own_state(now);
            }
        }
        self.flush_flood();
    }

    /// Whether others do not know yet what the own state says, and should.
    fn has_news(&self) -> bool {
        let told = self.flooding.announced.as_ref();
        self.is_live() && told.is_none_or(|told| told.seq < self.own_state.seq)
    }

    fn announce_own_state(&mut self, now: Micros) {
        self.flooding.pace.handle_announced(now);
        if !self.has_news() {
            return;
        }
        let told = self.flooding.announced.replace(self.own_state.clone());
        let urgent = is_urgent(told.as_ref(), &self.own_state);
        self.flooding.flood.announce(now, urgent);
        self.count("link_states_announced");
    }

    /// Whether others were told what the own state says, or are about to be, or will not be because this region is not live.
    pub(super) fn is_announced(&self) -> bool {
        !self.has_news() || self.flooding.pace.poll_timeout().is_some()
    }

    /// Tells the engine which links came and went since the last time.
    fn follow_links(&mut self, now: Micros) {
        let flooding = &mut self.flooding;
        // Between areas only the borders' states travel.
        let areas = &self.areas.engine;
        let shared = |peer: &RegionId| self.links.contains_key(peer) && areas.is_inside(*peer);
        let mut gone: Vec<RegionId> =
            flooding.links.keys().filter(|peer| !shared(peer)).copied().collect();
        gone.sort_unstable();
        for peer in gone {
            flooding.links.remove(&peer);
            flooding.flood.handle_link_down(now, peer);
        }
        for (peer, port) in self.links.iter().filter(|(peer, _)| shared(peer)) {
            if flooding.links.insert(*peer, port.serial) != Some(port.serial) {
                flooding.flood.handle_link_up(now, *peer);
            }
        }
    }

    /// A neighbour's message about link states.
    pub(super) fn handle_flood(&mut self, peer: RegionId, message: FloodMessage) {
        let now = self.now();
        self.follow_links(now);
        // Whoever is not live may learn the map, but not change it.
        let changes = matches!(
            message,
            FloodMessage::States { .. } | FloodMessage::Have(_) | FloodMessage::Offer(_)
        );
        if changes && self.is_live() && !self.registry.is_live(peer) {
            self.count("control_not_live");
            self.flooding.flood.handle_refusal(peer);
            return;
        }
        let (registry, areas) = (&self.registry, &self.areas.engine);
        let known = |region: RegionId| {
            registry.get(region).is_some_and(|record| record.status != Status::Left)
                && areas.is_inside(region)
        };
        let heard = self.flooding.flood.handle_message(now, peer, message, &mut self.db, &known);
        if let Some(seq) = heard.outbid {
            // Somebody remembers an earlier life of this region.
            self.own_state.seq = seq;
            self.flooding.announced = None;
            self.update_own_state();
        }
        for region in &heard.news {
            // Whoever says something new is alive, whatever became of the link to it.
            self.watch.suspects.remove(region);
            let life = self.db.seq(*region).map_or(0, |seq| (seq >> 32) as u32);
            if self.flooding.lives.insert(*region, life).is_some_and(|before| before < life) {
                self.peer_restarted(*region, life);
            }
        }
        // What is new travels on before routes are computed from it.
        self.flush_flood();
        if !heard.news.is_empty() {
            self.link_states_changed(&heard.news);
        }
    }

    /// The registry has changed: states that came before their regions were registered are fetched.
    pub(super) fn flood_registry_changed(&mut self) {
        let now = self.now();
        self.flooding.flood.handle_registry_change(now);
        self.tick_flood(now);
    }

    /// What is due now.
    pub(super) fn tick_flood(&mut self, now: Micros) {
        if self.flooding.pace.poll_timeout().is_some_and(|at| at <= now) {
            self.announce_own_state(now);
        }
        if self.flooding.flood.poll_timeout().is_some_and(|at| at <= now) {
            self.flooding.flood.handle_timeout(now);
        }
        self.flush_flood();
    }

    /// Puts what the engine has to say onto the links, as far as they take it.
    fn flush_flood(&mut self) {
        loop {
            let links = &self.links;
            let has_room = |peer: RegionId| {
                links.get(&peer).is_some_and(|port| port.tx.queued(Class::Control) < LINK_HIGH)
            };
            let Some((peer, message)) = self.flooding.flood.poll_transmit(&self.db, &has_room)
            else {
                break;
            };
            let Some(serial) = self.links.get(&peer).map(|port| port.serial) else {
                continue;
            };
            let Some(body) = Control::Flood(message).encode() else {
                continue;
            };
            self.flooding.bytes_sent += (HOP_HEADER_LEN + body.len()) as u64;
            self.send_encoded(peer, serial, body);
        }
        let now = self.now();
        self.flooding.retry_at =
            self.flooding.flood.has_output().then(|| now + Micros::from_millis(10));
        let deadlines = [
            self.flooding.retry_at,
            self.flooding.flood.poll_timeout(),
            self.flooding.pace.poll_timeout(),
        ];
        for at in deadlines.into_iter().flatten() {
            self.arm(at);
        }
    }

    /// Counts a message that came, header included.
    pub(super) fn note_flood_received(&mut self, payload_len: usize) {
        self.flooding.bytes_received += (HOP_HEADER_LEN + payload_len) as u64;
    }
}

/// Bytes of control frames queued at a link beyond which states wait; they are replaced there by newer ones.
const LINK_HIGH: usize = 128 * 1024;
