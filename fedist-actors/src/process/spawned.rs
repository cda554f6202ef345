//! Ties between a process and the one, often of another region, that had it made: set before the
//! process runs, so that nothing of its life is missed.

use fedist_registry::{LocalId, RegionId, RegionPid};

use super::ExitKind;
use crate::{ExitReason, Node, exit::MonitorRef, signal::Signal, ties::Held};

impl Node {
    /// Links a process that was made here, and does not run yet, to the one that asked for it.
    pub(crate) fn link_spawned(&self, me: LocalId, caller: RegionPid, reference: u64) {
        if caller.region() == self.region() {
            return self.link(me, caller);
        }
        let inner = self.inner();
        let from = RegionPid::new(inner.region, me);
        if !inner.ties.add_link(me, caller) {
            let reason = ExitReason::Custom("too many links to one region".to_owned());
            return self.exit_signal(me, caller, reason, ExitKind::Sent);
        }
        if let Some(process) = inner.processes.get(me) {
            process.write(|books| books.links.insert(caller));
        }
        self.signal(caller.region(), &Signal::SpawnLinked { from, to: caller, reference });
    }

    /// What one of ours had made in another region is linked to it. Unless it is still wanted, the
    /// link breaks at once, as one to a process that has ended.
    pub(crate) fn spawn_linked_from(&self, from: RegionPid, to: RegionPid, reference: u64) {
        let inner = self.inner();
        let wanted = inner.tasks.takes_link(from.region(), reference, to)
            && inner.ties.add_link(to.local(), from);
        let linked = wanted
            && self
                .local_address_of(to)
                .is_some_and(|process| process.write(|books| books.links.insert(from)).is_some());
        if !linked {
            inner.ties.remove_link(to.local(), from);
            let reason = ExitReason::NoActor;
            self.signal(from.region(), &Signal::LinkExit { from: to, to: from, reason });
        }
    }

    /// Lets a process that was made here be watched under a monitor that its maker holds already.
    pub(crate) fn watch_spawned(&self, region: RegionId, pid: RegionPid, monitor: MonitorRef) {
        if region != self.region() {
            return self.watched_from(region, pid, monitor);
        }
        if let Some(Held { holder, sink, .. }) = self.inner().ties.take_held(region, monitor) {
            self.watch_as(monitor, holder, pid, sink);
        }
    }
}
