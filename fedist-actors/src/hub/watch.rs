//! Watching the links: whether they answer, what they measure, and what to do when one falls silent.

use std::collections::HashMap;

use fedist_registry::{Micros, RegionId, RouteNews};

use super::{
    Core,
    drain::Drain,
    failover::Failover,
    links::{HELLO_TIMEOUT, LinkPort},
    mesh::Dial,
};

/// What watching keeps.
#[derive(Default)]
pub(super) struct Watch {
    /// Regions whose link here went silent, and until when they are not trusted as relays.
    pub(super) suspects: HashMap<RegionId, Micros>,
    pub(super) failover: Failover,
    /// Links that were crowded with frames in transit while the present batch was handled, by class.
    pub(super) crowded: [Option<RegionId>; 3],
    pub(super) drain: Drain,
}

impl Core {
    pub(super) fn link_changed(&mut self, up: bool) {
        self.update_own_state();
        if up {
            self.schedule_recompute(RouteNews::Reached);
        } else {
            // What was sent that way may be lost: another route takes it at once.
            self.recompute_routes();
        }
    }

    pub(super) fn tick_links(&mut self, now: Micros) {
        let settled = |port: &LinkPort| now.saturating_sub(port.since) >= SETTLING;
        if self.links.values().any(settled) {
            let links = &self.links;
            self.mesh.dials.retain(|peer, _| !links.get(peer).is_some_and(settled));
            self.mesh.join_dial = Dial::default();
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
        self.tick_contacts(now);
        self.open_links(now);
    }
}

/// A fresh link is probed often for this long, so that its cost is known soon.
pub(super) const SETTLING: Micros = Micros::from_millis(1_500);
pub(super) const SETTLING_PROBE: Micros = Micros::from_millis(150);
