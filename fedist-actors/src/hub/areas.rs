//! Areas: in a large federation link states stay inside an area, and those of its borders go everywhere.
//!
//! The rules are in [`Areas`]; here the borders' states get onto the links, and the graph follows what is known.

use std::collections::{BTreeMap, HashMap};

use fedist_registry::{
    AreaConfig, Areas, Flood, FloodMessage, LinkState, LinkStateDb, Micros, RegionId, RouteNews,
    Status, is_urgent,
};
use fedist_transport::wire::{Class, HOP_HEADER_LEN, HopHeader, MAX_RELAYS, SourceRoute};

use super::{Core, control::Control};

/// What areas keep.
pub(super) struct AreaRoom {
    pub(super) engine: Areas,
    /// Floods what borders say, over all links.
    flood: Flood,
    /// The links that the flood knows, by the serial number of each.
    links: HashMap<RegionId, u64>,
    /// The highest sequence number that this region has used or heard of as a border.
    seq: u64,
    announced_at: Micros,
    /// When a link whose queue was full is tried again.
    retry_at: Option<Micros>,
    /// Ways inside the area that were looked for, by the header as it came; none where there was no way.
    ways: HashMap<Way, Option<SourceRoute>>,
    bytes_sent: u64,
    bytes_received: u64,
}

impl AreaRoom {
    pub(super) fn new(me: RegionId, boot: u32, config: AreaConfig) -> AreaRoom {
        AreaRoom {
            engine: Areas::new(me, config),
            flood: Flood::new(me),
            links: HashMap::new(),
            seq: LinkState::sequence(boot, 0),
            announced_at: Micros::ZERO,
            retry_at: None,
            ways: HashMap::new(),
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// For the node's status.
    pub(super) fn counters(&self, inner: &LinkStateDb) -> BTreeMap<String, u64> {
        if !self.engine.is_split() {
            return BTreeMap::new();
        }
        let facts = [
            ("areas", self.engine.map().len() as u64),
            ("area_link_states", inner.len() as u64),
            ("border_link_states", self.engine.backbone().len() as u64),
            ("border_state_bytes_sent", self.bytes_sent),
            ("border_state_bytes_received", self.bytes_received),
        ];
        facts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// Counts a message that came, header included.
    pub(super) fn note_received(&mut self, payload_len: usize) {
        self.bytes_received += (HOP_HEADER_LEN + payload_len) as u64;
    }
}

impl Core {
    /// What routes are computed over: all link states, or in a large federation what is known of the other areas.
    pub(super) fn graph(&self) -> &LinkStateDb {
        self.areas.engine.graph(&self.db)
    }

    /// The registry has changed: areas may have.
    pub(super) fn areas_registry_changed(&mut self) {
        if !self.areas.engine.handle_registry(&self.registry) {
            return;
        }
        let foreign: Vec<RegionId> =
            self.db.regions().filter(|region| !self.areas.engine.is_inside(*region)).collect();
        for region in foreign {
            self.db.remove(region);
        }
        self.count("areas_divided");
        self.refresh_areas();
        self.schedule_recompute(RouteNews::Reached);
    }

    /// Builds the graph anew, and says as a border what has changed.
    pub(super) fn refresh_areas(&mut self) {
        self.areas.engine.rebuild(&self.db);
        self.forget_ways();
        if self.areas.engine.is_split() {
            self.update_border_state();
        }
    }

    /// News of these regions: if they take away what the graph has, it cannot wait.
    pub(super) fn refresh_outdated_areas(&mut self, regions: &[RegionId]) {
        if self.areas.engine.is_outdated(&self.db, regions) {
            self.refresh_areas();
        }
    }

    /// Tells everybody what this region has to say as a border, if it is one: links that came or went at once, costs at most
    /// every 5 s.
    fn update_border_state(&mut self) {
        let now = self.now();
        self.follow_border_links(now);
        let Some(links) = self.areas.engine.border_links(&self.db, &self.own_state) else {
            return;
        };
        let me = self.region();
        let LinkState { relay, no_transit, .. } = self.own_state;
        let said = self.areas.engine.backbone().get(me);
        let ends = |links: &[fedist_registry::LinkAdvert]| {
            links.iter().map(|link| (link.to, link.flags)).collect::<Vec<_>>()
        };
        if let Some(said) = &said
            && said.no_transit == no_transit
            && said.seq == self.areas.seq
        {
            if !Areas::differs(&said.links, &links) {
                return;
            }
            let next = self.areas.announced_at + COST_PAUSE;
            if ends(&said.links) == ends(&links) && now < next {
                self.routing.pace.plan(next);
                return;
            }
        }
        if !self.is_live() {
            return;
        }
        self.areas.seq += 1;
        let state = LinkState { region: me, seq: self.areas.seq, relay, no_transit, links };
        let urgent = is_urgent(said.as_ref(), &state);
        self.areas.engine.backbone_mut().apply(state);
        self.areas.announced_at = now;
        self.areas.flood.announce(now, urgent);
        self.count("border_states_announced");
        self.flush_borders();
    }

    /// A neighbour's message about the borders' states.
    pub(super) fn handle_borders(&mut self, peer: RegionId, message: FloodMessage) {
        let now = self.now();
        if !self.areas.engine.is_split() {
            // The neighbour's copy of the registry is ahead, or behind. What it has is compared when the areas are there.
            self.count("border_states_ignored");
            return;
        }
        self.follow_border_links(now);
        let changes = matches!(
            message,
            FloodMessage::States { .. } | FloodMessage::Have(_) | FloodMessage::Offer(_)
        );
        if changes && self.is_live() && !self.registry.is_live(peer) {
            self.count("control_not_live");
            self.areas.flood.handle_refusal(peer);
            return;
        }
        let registry = &self.registry;
        let known = |region: RegionId| {
            registry.get(region).is_some_and(|record| record.status != Status::Left)
        };
        let AreaRoom { flood, engine, .. } = &mut self.areas;
        let heard = flood.handle_message(now, peer, message, engine.backbone_mut(), &known);
        if let Some(seq) = heard.outbid {
            // Somebody remembers an earlier life of this region.
            self.areas.seq = self.areas.seq.max(seq);
            self.update_border_state();
        }
        for region in &heard.news {
            self.watch.suspects.remove(region);
        }
        self.flush_borders();
        if !heard.news.is_empty() {
            self.link_states_changed(&heard.news);
        }
    }

    /// What is due now.
    pub(super) fn tick_areas(&mut self, now: Micros) {
        if !self.areas.engine.is_split() {
            return;
        }
        self.follow_border_links(now);
        if self.areas.flood.poll_timeout().is_some_and(|at| at <= now) {
            self.areas.flood.handle_timeout(now);
        }
        self.flush_borders();
    }

    /// Tells the flood which links came and went since the last time.
    fn follow_border_links(&mut self, now: Micros) {
        let room = &mut self.areas;
        let mut gone: Vec<RegionId> =
            room.links.keys().filter(|peer| !self.links.contains_key(peer)).copied().collect();
        gone.sort_unstable();
        for peer in gone {
            room.links.remove(&peer);
            room.flood.handle_link_down(now, peer);
        }
        for (peer, port) in &self.links {
            if room.links.insert(*peer, port.serial) != Some(port.serial) {
                room.flood.handle_link_up(now, *peer);
            }
        }
    }

    fn flush_borders(&mut self) {
        loop {
            let links = &self.links;
            let has_room = |peer: RegionId| {
                links.get(&peer).is_some_and(|port| port.tx.queued(Class::Control) < LINK_HIGH)
            };
            let AreaRoom { flood, engine, .. } = &mut self.areas;
            let Some((peer, message)) = flood.poll_transmit(engine.backbone(), &has_room) else {
                break;
            };
            let Some(serial) = self.links.get(&peer).map(|port| port.serial) else {
                continue;
            };
            let Some(body) = Control::Borders(message).encode() else {
                continue;
            };
            self.areas.bytes_sent += (HOP_HEADER_LEN + body.len()) as u64;
            self.send_encoded(peer, serial, body);
        }
        let retry = self.now() + Micros::from_millis(10);
        self.areas.retry_at = self.areas.flood.has_output().then_some(retry);
        let times = [self.areas.retry_at, self.areas.flood.poll_timeout()];
        for at in times.into_iter().flatten() {
            self.arm(at);
        }
    }

    /// The route of a frame whose next region is no neighbour: this region's own way there inside the area, put in front. A
    /// relay that is named already is never named again, so the frame cannot loop.
    pub(super) fn expanded(&mut self, header: &HopHeader) -> Option<(SourceRoute, RegionId)> {
        if !self.areas.engine.is_split() {
            return None;
        }
        let key = (header.src, header.dst, header.route);
        if !self.areas.ways.contains_key(&key) {
            let found = self.find_way(header);
            if self.areas.ways.len() >= MOST_WAYS {
                self.areas.ways.clear();
            }
            self.areas.ways.insert(key, found);
        }
        let route = self.areas.ways.get(&key).copied().flatten()?;
        let first = route.next_hop(header.dst);
        // The link has just gone: another way is looked for with the next frame.
        if !self.is_usable(first) {
            self.areas.ways.remove(&key);
            return None;
        }
        Some((route, first))
    }

    fn find_way(&self, header: &HopHeader) -> Option<SourceRoute> {
        let next = header.route.next_hop(header.dst);
        let named: Vec<RegionId> = header
            .route
            .relays()
            .chain([header.src, header.dst, self.region()])
            .chain(self.suspect_links())
            .collect();
        let room = MAX_RELAYS.checked_sub(header.route.len())?;
        let more = self.areas.engine.way_inside(&self.db, next, &named, room)?;
        let ahead: Vec<RegionId> =
            more.into_iter().chain(header.route.relays().skip(header.route.position())).collect();
        header.route.repaired(&ahead).ok()
    }

    /// Links or link states inside the area have changed: ways are looked for anew.
    pub(super) fn forget_ways(&mut self) {
        self.areas.ways.clear();
    }
}

/// What a frame's header says about where it goes.
type Way = (RegionId, RegionId, SourceRoute);
/// Ways inside the area that are remembered.
const MOST_WAYS: usize = 4_096;
const COST_PAUSE: Micros = Micros::from_secs(5);
/// Bytes of control frames queued at a link beyond which states wait; they are replaced there by newer ones.
const LINK_HIGH: usize = 128 * 1024;
