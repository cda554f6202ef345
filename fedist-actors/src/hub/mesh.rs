//! The mesh: which links to open, and opening them.

use std::{collections::HashMap, rc::Rc};

use fedist_registry::{MeshConfig, Micros, RegionId, desired_links};
use fedist_transport::link::DialError;

use super::Core;

/// Attempts to open links.
#[derive(Default)]
pub(super) struct Mesh {
    pub(super) dials: HashMap<RegionId, Dial>,
    pub(super) join_dial: Dial,
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

impl Core {
    /// Dials whom this region wants a link to and has none.
    pub(super) fn open_links(&mut self, now: Micros) {
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
            let dial = self.mesh.dials.entry(region).or_default();
            if !linked && dial.ready(now) && !address.is_empty() {
                dial.running = true;
                self.dial(Some(region), address);
            }
        }
        if self.wants_join()
            && self.links.is_empty()
            && self.greeting.is_empty()
            && self.mesh.join_dial.ready(now)
        {
            self.mesh.join_dial.running = true;
            let join = self.config.join.clone();
            self.dial(None, join);
        }
    }

    pub(super) fn dial_failed(&mut self, peer: RegionId, now: Micros, error: String) {
        self.mesh.dials.entry(peer).or_default().failed(now, error, &mut self.random);
    }

    pub(super) fn dial(&mut self, expect: Option<RegionId>, addresses: Vec<String>) {
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
    pub(super) fn dial_ended(&mut self, expect: Option<RegionId>, error: String) {
        let now = self.now();
        match expect {
            Some(region) => self.dial_failed(region, now, error),
            None => self.mesh.join_dial.failed(now, error, &mut self.random),
        }
    }
}
