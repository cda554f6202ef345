//! Copies of the registry: what neighbours say about theirs, made durable before it is shown or passed on.

use fedist_registry::{
    Change, LogEntry, Micros, Refusal, RegionId, Registry, RegistryMessage, Step, Version,
};

use super::{Core, control::Control};

impl Core {
    /// A neighbour said where its copy ends.
    pub(super) fn sync_registry(&mut self, peer: RegionId, theirs: Version) {
        let now = self.now();
        let step = self.membership.replication.link_up(now, &self.registry, peer, theirs);
        self.carry_out(peer, None, step);
    }

    pub(super) fn handle_registry(&mut self, peer: RegionId, message: RegistryMessage) {
        let now = self.now();
        let before = self.registry.clone();
        let links = &self.links;
        let proven = |region: RegionId| links.get(&region).map(|port| port.key);
        let step =
            self.membership.replication.handle(now, &mut self.registry, peer, message, &proven);
        self.carry_out(peer, Some(before), step);
    }

    pub(super) fn tick_replication(&mut self, now: Micros) {
        let replication = &mut self.membership.replication;
        let gone: Vec<RegionId> =
            replication.peers().filter(|peer| !self.links.contains_key(peer)).collect();
        for peer in gone {
            replication.link_down(peer);
        }
        if replication.poll_timeout().is_some_and(|at| at <= now) {
            let step = replication.handle_timeout(now, &self.registry);
            self.send_registry(step.send);
        }
    }

    /// Makes a step durable, shows it, passes it on. `before` is the copy as it was, for when the disk refuses.
    fn carry_out(&mut self, peer: RegionId, before: Option<Registry>, step: Step) {
        if let Some(refusal) = &step.refused {
            self.registry_refused(peer, refusal);
        }
        if step.grown.is_empty() && !step.installed {
            return self.send_registry(step.send);
        }
        if self.keep_entries(&step.grown, step.installed).is_err() {
            // Not on disk, so not held: it is pulled again when there is room.
            if let Some(before) = before {
                self.registry = before;
            }
            return;
        }
        self.send_registry(step.send);
        self.registry_grew(&step.grown, Some(peer));
    }

    /// Puts what is new on disk: entries, and the snapshot where one came or a checkpoint is among them.
    pub(super) fn keep_entries(
        &mut self,
        entries: &[LogEntry],
        installed: bool,
    ) -> Result<(), String> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let compacts = installed
            || entries.iter().any(|entry| matches!(entry.change, Change::Checkpoint { .. }));
        let kept = store
            .append_log(entries)
            .and_then(|()| if compacts { store.compact(&self.registry) } else { Ok(()) });
        kept.map_err(|error| {
            tracing::error!(%error, "the registry could not be saved");
            self.count("registry_save_failed");
            error.to_string()
        })
    }

    /// New entries are in the copy and on disk, or none but a snapshot: pass them on and act on them.
    pub(super) fn registry_grew(&mut self, entries: &[LogEntry], from: Option<RegionId>) {
        let now = self.now();
        let send = self.membership.replication.announce(now, &self.registry, entries, from);
        self.send_registry(send);
        self.registry_changed();
    }

    fn send_registry(&mut self, messages: Vec<(RegionId, RegistryMessage)>) {
        for (peer, message) in messages {
            if let Some(serial) = self.links.get(&peer).map(|port| port.serial) {
                self.send_control(peer, serial, &Control::Registry(message));
            }
        }
    }

    fn registry_refused(&mut self, peer: RegionId, refusal: &Refusal) {
        self.count(match refusal {
            Refusal::Diverged => "registry_diverged",
            Refusal::Snapshot(_) => "registry_snapshots_refused",
            Refusal::OtherRoot => "registry_of_another_root",
            _ => "registry_entries_refused",
        });
        if matches!(refusal, Refusal::Diverged | Refusal::Entry(_)) {
            self.reconcile(peer);
        }
        match refusal {
            Refusal::Diverged => {
                tracing::error!(%peer, "its registry is not the same log as ours; one of the two belongs to another federation or to a restored disk");
                self.membership.last_answer = format!(
                    "the registry of region {peer} is another log than the copy in this data directory"
                );
            }
            other => tracing::error!(%peer, ?other, "what it sent of the registry was refused"),
        }
    }
}
