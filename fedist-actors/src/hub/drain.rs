//! Planned drain: a region that is about to leave, or to rest, is first passed by nobody.
//!
//! It floods *no transit* and tells its neighbours directly; each of them moves its own routes and says so. Until then, and
//! until transit has been quiet for as long as a frame may still be under way, it goes on forwarding. So what was on its
//! way arrives over the old path, what follows takes the new one, and nothing has to be sent again.

use std::{collections::HashSet, time::Duration};

use fedist_registry::{Delivery, FloodMessage, LinkState, Micros, RegionId};
use tokio::sync::oneshot;

use super::{Core, CoreRef, control::Control};
use crate::Node;

/// What draining keeps.
#[derive(Default)]
pub(super) struct Drain {
    /// Since when this region drains; none if it does not.
    since: Option<Micros>,
    /// The links, by serial number, over which the other end said that it has moved its routes.
    moved: HashSet<u64>,
    last_transit: Option<Micros>,
}

impl Drain {
    /// A frame was passed on.
    pub(super) fn note_transit(&mut self, now: Micros) {
        self.last_transit = Some(now);
    }

    /// Whether this region asks not to be passed through.
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

impl Node {
    /// Moves the routes of all others away from this region, without an end to it: it is still reached, sends and receives,
    /// but is no longer in between others. Nothing is lost or delayed by it, where there is another way; regions that can be
    /// reached only through this one cannot be reached until [`undrain`](Self::undrain) or a restart.
    ///
    /// `true` once every neighbour has moved its routes and no frame has been in transit for some round trips; `false` if that
    /// took longer than `limit` (the others are still asked to keep away), and when the node is stopped. A second call waits
    /// for the same.
    pub async fn drain(&self, limit: Duration) -> bool {
        let (done, drained) = oneshot::channel();
        let begun = self
            .on_hub(move |core| {
                if let Some(core) = core.handle() {
                    actix_rt::spawn(async move {
                        let _ = done.send(drain(&core, limit).await);
                    });
                }
            })
            .await;
        begun.is_some() && drained.await.unwrap_or(false)
    }

    /// Takes a [`drain`](Self::drain) back: others may route through this region again. False when it was not drained.
    pub async fn undrain(&self) -> bool {
        self.on_hub(|core| {
            let drained = core.watch.drain.is_on();
            if drained {
                core.watch.drain = Drain::default();
                core.update_own_state();
            }
            drained
        })
        .await
        .unwrap_or(false)
    }

    /// How long [`stop`](Self::stop) waits at most until others have moved their routes; see
    /// [`NodeBuilder::drain_timeout`](crate::NodeBuilder::drain_timeout). False when the node is stopped.
    pub async fn set_drain_timeout(&self, limit: Duration) -> bool {
        self.on_hub(move |core| core.config.drain_timeout = limit).await.is_some()
    }
}

/// Asks everybody to route around this region and waits until they do, at most for `limit`.
pub(super) async fn drain(core: &CoreRef, limit: Duration) -> bool {
    core.borrow_mut().begin_drain();
    let begun = tokio::time::Instant::now();
    loop {
        if core.borrow().has_moved_transit() {
            return true;
        }
        if begun.elapsed() >= limit {
            core.borrow_mut().count("drains_timed_out");
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Core {
    fn begin_drain(&mut self) {
        if !self.is_live() || self.watch.drain.is_on() {
            return;
        }
        tracing::info!("draining: others are asked to route around this region");
        self.watch.drain.since = Some(self.now());
        self.count("drains");
        self.update_own_state();
        let message = Control::Draining(self.own_state.clone());
        self.broadcast(&message, None);
    }

    /// A new neighbour has to know as well.
    pub(super) fn tell_draining(&mut self, peer: RegionId, serial: u64) {
        if self.watch.drain.is_on() {
            let message = Control::Draining(self.own_state.clone());
            self.send_control(peer, serial, &message);
        }
    }

    /// Whether nothing is in transit here any more, as far as can be known.
    fn has_moved_transit(&self) -> bool {
        let Some(since) = self.watch.drain.since else {
            return true;
        };
        let now = self.now();
        let waits = |(peer, port): (&RegionId, &super::links::LinkPort)| {
            self.is_usable(*peer)
                && self.registry.is_live(*peer)
                && !self.watch.drain.moved.contains(&port.serial)
        };
        if self.links.iter().any(waits) {
            return false;
        }
        // One that was no relay lately need not wait for stragglers.
        let Some(last) = self.watch.drain.last_transit.filter(|at| *at + MEMORY >= since) else {
            return true;
        };
        now.saturating_sub(last.max(since)) >= self.straggling()
    }

    /// How long a frame may still come that was sent before its origin heard: the news goes out, and the frame comes in.
    fn straggling(&self) -> Micros {
        let srtt = self.links.values().filter_map(|port| port.estimate.srtt_us()).max();
        let farthest = self.routes.iter().map(|(_, route)| route.cost.as_micros()).max();
        let link = Micros(u64::from(srtt.unwrap_or(0)) * 3);
        let path = Micros(farthest.unwrap_or(0) * 2) + LEAST_STRAGGLING;
        link.max(path).min(MOST_STRAGGLING)
    }

    /// A neighbour drains: this region's own routes leave it at once, and it is told.
    pub(super) fn handle_draining(&mut self, peer: RegionId, serial: u64, state: LinkState) {
        if state.region != peer || !self.registry.is_live(peer) {
            self.count("drains_ignored");
            return;
        }
        let states = FloodMessage::States { delivery: Delivery::Urgent, states: vec![state] };
        self.handle_flood(peer, states);
        // The routes' own pace may have put that off.
        if self.routes.iter().any(|(_, route)| route.relays().contains(&peer)) {
            self.recompute_routes();
        }
        self.send_control(peer, serial, &Control::DrainMoved);
    }

    /// A neighbour has moved its routes.
    pub(super) fn handle_drain_moved(&mut self, peer: RegionId, serial: u64) {
        let in_use = self.links.get(&peer).is_some_and(|port| port.serial == serial);
        if in_use && self.watch.drain.is_on() {
            let links = &self.links;
            let moved = &mut self.watch.drain.moved;
            moved.retain(|serial| links.values().any(|port| port.serial == *serial));
            moved.insert(serial);
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(2);
const LEAST_STRAGGLING: Micros = Micros::from_millis(50);
const MOST_STRAGGLING: Micros = Micros::from_secs(1);
/// For how long a region that forwarded something counts as a relay.
const MEMORY: Micros = Micros::from_secs(60);
