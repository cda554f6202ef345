//! Newcomers that a delegate admits while the master cannot be reached: given here, passed on, shown, and settled by the log.
//!
//! The decisions are those of [`fedist_registry::GrantBook`]. A region's hub that cannot reach the master admits a newcomer whose number lies in
//! a block of its own; the grant goes to all neighbours, and from each on to its own, so that everybody who can be reached sees
//! the newcomer as a live member. The delegate asks the master for the entries again and again until the log has decided.

use fedist_registry::{Change, GrantError, HeldGrant, Micros, RegionId, RegionRecord, Settled};

use super::{
    Core,
    control::Control,
    membership::{ID_CONFLICT, ProposeError},
    quorum::ask_master,
};
use crate::outbound::Outbound;

impl Core {
    /// Admits a newcomer whose hub is this region, if its number is delegated here; false where it is not.
    pub(super) fn admit_provisionally(
        &mut self,
        peer: RegionId,
        serial: u64,
        record: &RegionRecord,
    ) -> bool {
        let me = self.region();
        if self.registry.delegate_of(record.id) != Some(me) {
            return false;
        }
        let now = self.now();
        let membership = &mut self.membership;
        match membership.grants.admit(now, &self.registry, me, &membership.key, record.clone()) {
            Ok(held) => {
                if !self.registry.is_provisional(record.id) {
                    tracing::warn!(region = %record.id, "admitted without the master, until the log decides");
                    self.count("grants_given");
                    self.broadcast(&Control::Grants(vec![held]), Some(peer));
                    self.members_changed();
                }
                // The newcomer may have been too early for it the last time.
                self.send_grants(peer, serial);
            }
            Err(error) => {
                let permanent = matches!(
                    error,
                    GrantError::IdConflict { .. }
                        | GrantError::NameTaken { .. }
                        | GrantError::Rule(_)
                );
                let reason = error.to_string();
                tracing::warn!(%peer, %reason, "a newcomer was not admitted");
                self.count("joins_refused");
                self.send_control(peer, serial, &Control::JoinRefused { reason, permanent });
            }
        }
        true
    }

    /// Grants that a neighbour passes on.
    pub(super) fn handle_grants(&mut self, peer: RegionId, grants: Vec<HeldGrant>) {
        let now = self.now();
        let mut news = Vec::new();
        for held in grants.into_iter().take(GRANTS_PER_FRAME) {
            match self.membership.grants.take(now, &self.registry, held.clone()) {
                Ok(true) => news.push(held),
                Ok(false) | Err(GrantError::Registered { .. }) => {}
                Err(error) => {
                    tracing::debug!(%peer, %error, "a grant was refused");
                    self.count("grants_refused");
                }
            }
        }
        if !news.is_empty() {
            self.broadcast(&Control::Grants(news), Some(peer));
            self.members_changed();
        }
    }

    /// Tells a neighbour all grants that are held here.
    pub(super) fn send_grants(&mut self, peer: RegionId, serial: u64) {
        for chunk in self.grants_in_frames() {
            self.send_control(peer, serial, &Control::Grants(chunk));
        }
    }

    fn grants_in_frames(&self) -> Vec<Vec<HeldGrant>> {
        let held: Vec<HeldGrant> = self.membership.grants.held(self.now()).collect();
        held.chunks(GRANTS_PER_FRAME).map(<[HeldGrant]>::to_vec).collect()
    }

    /// The log has gone on: what it has decided needs no grant any more.
    pub(super) fn settle_grants(&mut self) {
        let settled = self.membership.grants.settle(&self.registry);
        if settled.is_empty() {
            return;
        }
        for outcome in settled {
            match outcome {
                Settled::Confirmed(region) => {
                    tracing::info!(%region, "the registry has confirmed it");
                    self.count("grants_confirmed");
                }
                Settled::Conflict(region) => {
                    tracing::error!(%region, "{ID_CONFLICT}: the registry gave its number to another key");
                    self.count("grants_in_conflict");
                }
                Settled::Undone(region) => {
                    tracing::warn!(%region, "its delegate has lost the block");
                    self.count("grants_undone");
                }
                _ => {}
            }
        }
        self.show_grants();
    }

    /// Asks the master for what was granted here, repeats what neighbours may lack, ends what is over.
    pub(super) fn tick_grants(&mut self, now: Micros) {
        if self.membership.grants.held(now).next().is_none() {
            return;
        }
        if self.membership.grants.expire(now) {
            self.count("grants_expired");
            self.members_changed();
        }
        if now >= self.membership.repeat_grants_at {
            self.membership.repeat_grants_at = now + REPEAT;
            for chunk in self.grants_in_frames() {
                self.broadcast(&Control::Grants(chunk), None);
            }
        }
        if now >= self.membership.ask_grants_at && !self.membership.asking_grants {
            self.membership.ask_grants_at = now + ASK;
            self.ask_for_granted();
        }
    }

    fn ask_for_granted(&mut self) {
        let mine: Vec<RegionRecord> =
            self.membership.grants.given_by(self.region()).cloned().collect();
        if mine.is_empty() {
            return;
        }
        self.membership.asking_grants = true;
        let (node, masters) = (self.node.clone(), self.masters());
        actix_rt::spawn(async move {
            let mut refused = Vec::new();
            for record in mine {
                let id = record.id;
                let joined = ask_master(&node, masters.clone(), Change::Join(record)).await;
                let outcome = match joined {
                    Ok(_) => ask_master(&node, masters.clone(), Change::Live(id)).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(_) => {}
                    Err(ProposeError::Refused(reason)) => refused.push((id, reason)),
                    // The master is away still; the others would hear the same.
                    Err(_) => break,
                }
            }
            node.queue(Outbound::Run(Box::new(move |core| {
                core.membership.asking_grants = false;
                for (id, reason) in refused {
                    core.take_grant_back(id, reason);
                }
            })));
        });
    }

    /// The registry refuses whom this region has admitted.
    fn take_grant_back(&mut self, id: RegionId, reason: String) {
        let now = self.now();
        let membership = &mut self.membership;
        let Some(held) = membership.grants.revoke(now, id, &membership.key) else {
            return;
        };
        tracing::error!(region = %id, %reason, "the registry refuses whom this region has admitted");
        self.count("grants_taken_back");
        if let Some(serial) = self.links.get(&id).map(|port| port.serial) {
            self.send_control(id, serial, &Control::JoinRefused { reason, permanent: true });
        }
        self.broadcast(&Control::Grants(vec![held]), None);
        self.members_changed();
    }

    /// Takes up what was held before this start.
    pub(super) fn load_grants(&mut self, held: Vec<HeldGrant>) {
        let now = self.now();
        for held in held {
            if let Err(error) = self.membership.grants.take(now, &self.registry, held) {
                tracing::debug!(%error, "a grant on disk is worth nothing any more");
            }
        }
        let records: Vec<RegionRecord> = self.membership.grants.records().cloned().collect();
        self.registry.set_provisional(records);
    }

    fn members_changed(&mut self) {
        self.show_grants();
        self.registry_changed();
    }

    fn show_grants(&mut self) {
        let records: Vec<RegionRecord> = self.membership.grants.records().cloned().collect();
        self.registry.set_provisional(records);
        if self.is_live() && !self.registry.is_live(self.region()) && !self.is_root() {
            tracing::error!("this region is no member any more");
            self.node.inner().live.store(false, std::sync::atomic::Ordering::Release);
        }
        if let Some(store) = &self.store {
            let held: Vec<HeldGrant> = self.membership.grants.held(self.now()).collect();
            if let Err(error) = store.save_grants(&held) {
                // They come again from the neighbours; a delegate's own serials do too.
                tracing::warn!(%error, "the grants could not be saved");
                self.count("grants_save_failed");
            }
        }
    }
}

/// A grant is at most about 3 KiB.
pub(super) const GRANTS_PER_FRAME: usize = 16;
/// How often neighbours are told all grants again, for those that could not judge them the first time.
const REPEAT: Micros = Micros::from_secs(30);
/// How often the master is asked for what was granted.
const ASK: Micros = Micros::from_secs(2);
