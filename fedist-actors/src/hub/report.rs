//! The hub's part of a node's status.

use fedist_registry::{LinkCost, Liveness, RegionId, RegionPid, Route, RouteExplanation, service};

use super::{Core, Hub, relay::Crash};
use crate::{
    LinkStatus, Node, NodeStatus, PingTarget, RegionStatus, RouteStatus, SessionStatus,
    route::{ActorRoute, Route as _},
};

impl Node {
    /// A snapshot of this node; `None` when it is stopped.
    pub async fn status(&self) -> Option<NodeStatus> {
        self.on_hub(|core| core.status()).await
    }

    /// Why messages to a region, or to an actor there, take the way that they take: each term of its cost, the second way,
    /// what is to be said about a direct link, when the way changed last and why. `None` for this region itself, for a
    /// region that the registry copy does not have, and when the node is stopped.
    pub async fn explain(&self, target: impl Into<PingTarget>) -> Option<RouteExplanation> {
        let region = target.into().region();
        self.on_hub(move |core| core.explain_route(region)).await.flatten()
    }

    /// Fault injection for tests and demonstrations: the relay of the link to `peer` panics, as a
    /// defect in it would make it. Its supervisor opens the link again. False without such a link.
    pub async fn danger_crash_relay(&self, peer: RegionId) -> bool {
        self.on_hub(move |core| core.crash_relay(peer)).await.unwrap_or(false)
    }

    /// Fault injection: the hub itself panics. It is started again around the same sessions and links.
    pub async fn danger_crash_hub(&self) -> bool {
        let pid = RegionPid::new(self.region(), service::HUB);
        self.local_address_of(pid)
            .and_then(ActorRoute::<Hub>::new)
            .is_some_and(|hub| hub.try_send(Crash).is_ok())
    }
}

impl Core {
    fn status(&self) -> NodeStatus {
        let inner = self.node.inner();
        let now = self.now();
        let ms = |us: Option<u32>| us.map(|us| f64::from(us) / 1000.0);
        let mut links: Vec<LinkStatus> = self
            .links
            .iter()
            .map(|(peer, port)| {
                let stats = port.tx.stats();
                let clock = self.measure.link_clock(now, *peer);
                LinkStatus {
                    peer: *peer,
                    name: self.name_of(*peer),
                    dialed: port.dialed,
                    reason: self.link_reason(*peer, port),
                    closing: port.is_closing(),
                    rtt_ms: ms(port.estimate.srtt_us()),
                    rtt_min_ms: ms(port.estimate.min_rtt_us(now)),
                    rtt_deviation_ms: ms(Some(port.estimate.deviation_us())),
                    cost_ms: port.estimate.cost(now).map(cost_ms),
                    queueing_ms: port.estimate.queueing(now).map(cost_ms),
                    told_ms: port.pace.told().map(cost_ms),
                    loss_permille: port.estimate.loss_permille(),
                    clock_offset_ms: clock.map(|clock| signed_ms(clock.offset_us())),
                    clock_error_ms: clock.map(|clock| clock.error_us() as f64 / 1000.0),
                    probes_sent: port.measures.probes_sent(),
                    probe_idle_ms: port.measures.probe_idle().as_millis(),
                    set_up_ms: f64::from(self.measure.set_up(*peer).handshake_us()) / 1000.0,
                    frames_sent: stats.frames_sent,
                    frames_received: stats.frames_received,
                    bytes_sent: stats.bytes_sent,
                    bytes_received: stats.bytes_received,
                    suspect: port.liveness.state() != Liveness::Up,
                    announced: port.pace.told().is_some(),
                    up_ms: now.saturating_sub(port.since).as_millis(),
                }
            })
            .collect();
        links.sort_by_key(|link| link.peer);
        let mut sessions: Vec<SessionStatus> = self
            .sessions
            .iter()
            .map(|(peer, slot)| {
                let stats = slot.session.stats();
                SessionStatus {
                    peer: *peer,
                    accepted: stats.accepted,
                    delivered: stats.acked,
                    dropped: stats.dropped_ended,
                    in_flight: stats.in_flight,
                    retransmitted: stats.retransmitted_frames,
                    duplicates: stats.duplicate_frames,
                    rtt_ms: (stats.srtt_us > 0).then(|| stats.srtt_us as f64 / 1000.0),
                }
            })
            .collect();
        sessions.sort_by_key(|session| session.peer);
        let me = self.region();
        let mut counters: std::collections::BTreeMap<String, u64> =
            self.counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let flooding = self.flooding.counters();
        counters.extend(flooding.map(|(name, count)| (name.to_owned(), count)));
        counters.extend(self.areas.counters(&self.db));
        let gated: u64 = inner.gates.used().map(|(_, gate)| gate.outbox().accepted()).sum();
        counters.insert("messages_accepted".to_owned(), gated);
        NodeStatus {
            region: me,
            name: inner.name.clone(),
            boot: inner.boot,
            live: self.is_live(),
            address: inner.local_address.clone(),
            registry_index: self.registry.version().index,
            master: self.master(),
            candidates: self.registry.candidates().to_vec(),
            processes: inner.processes.len(),
            relay_delay_us: self.relay_delay.p90_us(),
            relay_cost_us: self.own_cost().as_micros(),
            utilisation: self.measure.utilisation(),
            refuses_transit: self.measure.refuses_transit(),
            clock: self.clock_estimate(now),
            draining: self.watch.drain.is_on(),
            local_health: self.watch.failover.health_score(),
            uptime_ms: now.as_millis(),
            dropped: self
                .node
                .dropped()
                .into_iter()
                .map(|(reason, count)| (reason.to_string(), count))
                .collect(),
            counters,
            regions: self
                .registry
                .regions()
                .map(|record| RegionStatus {
                    id: record.id,
                    name: record.name.to_string(),
                    parent: record.parent,
                    addresses: record.addresses.clone(),
                    key_hash: record.key_hash.to_string(),
                    status: record.status,
                    provisional: self.registry.is_provisional(record.id),
                    coordinates: record.coordinates,
                    reachable: record.id == me || self.routes.get(record.id).is_some(),
                })
                .collect(),
            links,
            routes: self
                .routes
                .iter()
                .map(|(to, route)| {
                    let second = self.routes.second(to);
                    let history = self.routes.history(to);
                    let since = history.map_or(now, |history| history.since);
                    RouteStatus {
                        to,
                        path: path_from(me, route),
                        cost_ms: cost_ms(route.cost),
                        second_path: second.map(|route| path_from(me, route)).unwrap_or_default(),
                        second_cost_ms: second.map(|route| cost_ms(route.cost)),
                        since_ms: now.saturating_sub(since).as_millis(),
                        changes: history.map_or(0, |history| history.changes),
                    }
                })
                .collect(),
            sessions,
            peers: self.peers_at(now),
            sources: self.sources(),
            disconnected: self.contacts.parted.keys().copied().collect(),
        }
    }

    fn name_of(&self, region: RegionId) -> String {
        self.registry.get(region).map(|record| record.name.to_string()).unwrap_or_default()
    }
}

fn path_from(origin: RegionId, route: &Route) -> Vec<RegionId> {
    std::iter::once(origin).chain(route.hops.iter().copied()).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a cost in µs is far below 2^53")]
fn cost_ms(cost: LinkCost) -> f64 {
    cost.as_micros() as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "for people; half a µs in a thousand years")]
fn signed_ms(us: i64) -> f64 {
    us as f64 / 1000.0
}
