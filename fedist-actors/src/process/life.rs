//! Monitors, links, exit signals, and the end of a process.
//!
//! The rules are those of the Erlang Reference Manual ("Processes": links, error handling,
//! monitors, sending exit signals); `tests/otp` has them one by one.

use fedist_registry::{LocalId, RegionId, RegionPid, service};
use std::sync::Arc;

use super::{Books, Process, TrapSink, Watcher, current};
use crate::{
    Down, ExitReason, Node,
    exit::{DownSink, Exit, MonitorRef},
    hub::Core,
    outbound::Outbound,
    region_event::{RegionChange, RegionEvent},
    signal::Signal,
    ties::{Held, Loose, RegionSink, RegionWatcher},
};

/// An exit signal on its way to a process of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitKind {
    /// A linked process ended.
    Link,
    /// Somebody sent it.
    Sent,
    /// Somebody sent the one that cannot be trapped.
    Kill,
}

/// Something to tell to a process, not before what waits for room in its mailbox.
pub(crate) struct Notice {
    pub(crate) holder: Option<LocalId>,
    pub(crate) tell: Box<dyn FnOnce() + Send>,
}

impl Node {
    /// Ends the books of a process: names, watchers, links, table entry.
    pub(crate) fn process_ended(&self, local: LocalId, reason: ExitReason) {
        let Some((pid, books)) = self.inner().processes.end(local) else {
            return;
        };
        if let ExitReason::Panicked(text) = &reason {
            tracing::warn!(%pid, panic = %text, "actor panicked");
        }
        let Some(books) = books else {
            return;
        };
        let Books { held, held_regions, watchers, links, .. } = *books;
        for (monitor, target) in held {
            self.unwatch(target, monitor);
        }
        for (monitor, region) in held_regions {
            self.inner().ties.unwatch_region(region, monitor);
        }
        for ((monitor, region), watcher) in watchers {
            match (watcher, region) {
                (Watcher::Local(sink), _) => sink(Down { monitor, pid, reason: reason.clone() }),
                (Watcher::Remote, Some(region)) => {
                    self.inner().ties.remove_watched(region, monitor);
                    self.signal(region, &Signal::Down { pid, monitor, reason: reason.clone() });
                }
                (Watcher::Remote, None) => {}
            }
        }
        for linked in links {
            if linked.region() == self.region() {
                self.exit_signal(linked.local(), pid, reason.clone(), ExitKind::Link);
            } else {
                self.inner().ties.remove_link(local, linked);
                let signal = Signal::LinkExit { from: pid, to: linked, reason: reason.clone() };
                self.signal(linked.region(), &signal);
            }
        }
    }

    // ---- monitors ------------------------------------------------------------------------------

    /// Watches `pid`; `sink` is called exactly once with its `Down`, unless taken back first.
    pub(crate) fn watch(&self, pid: RegionPid, sink: DownSink) -> MonitorRef {
        let monitor = self.inner().next_monitor();
        self.watch_as(monitor, None, pid, sink);
        monitor
    }

    /// Watches on behalf of a local process, which lets go of the monitor when it ends itself.
    pub(crate) fn watch_for(&self, holder: LocalId, pid: RegionPid, sink: DownSink) -> MonitorRef {
        let monitor = self.inner().next_monitor();
        if let Some(process) = self.inner().processes.get(holder) {
            process.hold(monitor, pid);
        }
        self.watch_as(monitor, Some(holder), pid, sink);
        monitor
    }

    pub(crate) fn watch_as(
        &self,
        monitor: MonitorRef,
        holder: Option<LocalId>,
        pid: RegionPid,
        sink: DownSink,
    ) {
        let inner = self.inner();
        let (asked, pid) = (pid, self.seat(pid));
        let sink: DownSink = match asked == pid {
            true => sink,
            // Told under the pid that was asked about.
            false => Box::new(move |down| sink(Down { pid: asked, ..down })),
        };
        if pid.region() != inner.region {
            inner.ties.hold(monitor, Held { pid, holder, sink });
            self.signal(pid.region(), &Signal::Monitor { pid, monitor });
            return;
        }
        let refused = match inner.processes.get(pid.local()) {
            Some(process) => process.watch(monitor, sink).err(),
            None => Some(sink),
        };
        if let Some(sink) = refused {
            sink(Down { monitor, pid, reason: ExitReason::NoActor });
        }
    }

    /// Takes a monitor back. False when it has fired already.
    pub(crate) fn unwatch(&self, pid: RegionPid, monitor: MonitorRef) -> bool {
        let inner = self.inner();
        let pid = self.seat(pid);
        if pid.region() == inner.region {
            return inner
                .processes
                .get(pid.local())
                .is_some_and(|process| process.unwatch(None, monitor));
        }
        let was_set = inner.ties.take_held(pid.region(), monitor).is_some();
        if was_set {
            self.signal(pid.region(), &Signal::Demonitor { pid, monitor });
        }
        was_set
    }

    /// Calls `sink` with every change of a region until [`unwatch_region`](Self::unwatch_region),
    /// behind what waits for room in the holder's mailbox.
    pub(crate) fn watch_region(
        &self,
        holder: LocalId,
        region: RegionId,
        sink: RegionSink,
    ) -> MonitorRef {
        let monitor = self.inner().next_monitor();
        self.inner().ties.watch_region(
            region,
            monitor,
            RegionWatcher { holder, sink, reachable: None },
        );
        if region != self.region() {
            self.queue(Outbound::Run(Box::new(move |core: &mut Core| core.keep_watch(region))));
            // A session opens with its first record. This one says nothing new to the other side;
            // without it, a region that nobody talks to would be neither reachable nor lost.
            let pid = RegionPid::new(region, service::HUB);
            self.signal(region, &Signal::Demonitor { pid, monitor });
        }
        monitor
    }

    pub(crate) fn unwatch_region(&self, region: RegionId, monitor: MonitorRef) -> bool {
        self.inner().ties.unwatch_region(region, monitor)
    }

    /// A process of another region wants to know of the end of one of ours.
    pub(crate) fn watched_from(&self, region: RegionId, pid: RegionPid, monitor: MonitorRef) {
        if self.is_elsewhere(pid) {
            // The asker's registry is behind: watch in its place.
            let node = self.clone();
            self.watch(
                pid,
                Box::new(move |down| {
                    node.signal(region, &Signal::Down { pid, monitor, reason: down.reason });
                }),
            );
            return;
        }
        let ties = &self.inner().ties;
        let refused = match self.local_address_of(pid) {
            None => Some(ExitReason::NoActor),
            Some(_) if !ties.add_watched(region, monitor, pid.local()) => {
                Some(ExitReason::Custom("too many monitors from one region".to_owned()))
            }
            Some(process) => (!process.watch_from(region, monitor)).then(|| {
                ties.remove_watched(region, monitor);
                ExitReason::NoActor
            }),
        };
        if let Some(reason) = refused {
            self.signal(region, &Signal::Down { pid, monitor, reason });
        }
    }

    pub(crate) fn unwatched_from(&self, region: RegionId, pid: RegionPid, monitor: MonitorRef) {
        self.inner().ties.remove_watched(region, monitor);
        if let Some(process) = self.local_address_of(pid) {
            process.unwatch(Some(region), monitor);
        }
    }

    // ---- links ---------------------------------------------------------------------------------

    /// Links a process of this node to any other. Linking twice is linking once.
    pub(crate) fn link(&self, me: LocalId, other: RegionPid) {
        let inner = self.inner();
        let other = self.seat(other);
        let pid = RegionPid::new(inner.region, me);
        let Some(process) = inner.processes.get(me) else {
            return;
        };
        if pid == other {
            return;
        }
        let Some(is_new) = process.write(|books| books.links.insert(other)) else {
            return;
        };
        if other.region() != inner.region {
            // Told again even when it is not new here: the other side's view may be that of an unlink
            // which crossed a link on the way.
            if inner.ties.add_link(me, other) {
                self.signal(other.region(), &Signal::Link { from: pid, to: other });
            } else {
                let reason = ExitReason::Custom("too many links to one region".to_owned());
                self.exit_signal(me, other, reason, ExitKind::Link);
            }
            return;
        }
        if !is_new {
            return;
        }
        let entered = inner
            .processes
            .get(other.local())
            .is_some_and(|other| other.write(|books| books.links.insert(pid)).is_some());
        if !entered {
            self.exit_signal(me, other, ExitReason::NoActor, ExitKind::Link);
        }
    }

    /// Takes a link back; no exit signal comes over it any more.
    pub(crate) fn unlink(&self, me: LocalId, other: RegionPid) {
        let inner = self.inner();
        let other = self.seat(other);
        let pid = RegionPid::new(inner.region, me);
        let was_linked = inner
            .processes
            .get(me)
            .and_then(|process| process.write(|books| books.links.remove(&other)));
        if was_linked != Some(true) {
            return;
        }
        if other.region() != inner.region {
            inner.ties.remove_link(me, other);
            self.signal(other.region(), &Signal::Unlink { from: pid, to: other });
        } else if let Some(process) = inner.processes.get(other.local()) {
            process.write(|books| books.links.remove(&pid));
        }
    }

    /// A process of another region links itself to one of ours.
    pub(crate) fn linked_from(&self, from: RegionPid, to: RegionPid) {
        let ties = &self.inner().ties;
        let refused = match self.local_address_of(to) {
            None => Some(ExitReason::NoActor),
            Some(process) if !process.lets_link(from.region()) => Some(match process.is_alive() {
                true => ExitReason::Denied,
                false => ExitReason::NoActor,
            }),
            Some(_) if !ties.add_link(to.local(), from) => {
                Some(ExitReason::Custom("too many links from one region".to_owned()))
            }
            Some(process) => process.write(|books| books.links.insert(from)).is_none().then(|| {
                ties.remove_link(to.local(), from);
                ExitReason::NoActor
            }),
        };
        if let Some(reason) = refused {
            self.signal(from.region(), &Signal::LinkExit { from: to, to: from, reason });
        }
    }

    pub(crate) fn unlinked_from(&self, from: RegionPid, to: RegionPid) {
        self.inner().ties.remove_link(to.local(), from);
        if let Some(process) = self.local_address_of(to) {
            process.write(|books| books.links.remove(&from));
        }
    }

    // ---- exit signals --------------------------------------------------------------------------

    /// Sends an exit signal to an actor of any region, as Erlang's `exit/2`. It comes from the
    /// actor that calls this, else from the node's hub.
    ///
    /// An actor that traps exits gets it as an [`Exit`]; any other ends with `reason`, except that
    /// `Normal` is ignored (unless the actor sends it to itself). In another region only actors
    /// obey that were exported with [`links`](crate::Export::links) or spawned from here; the
    /// signal is dropped otherwise, as it is when nothing lives at the pid.
    pub fn exit(&self, pid: RegionPid, reason: ExitReason) {
        self.signal_exit(self.own_pid(), pid, reason);
    }

    /// Ends an actor of any region at once, trapping or not; its links and watchers hear `Killed`.
    /// The same actors obey as for [`exit`](Self::exit).
    pub fn kill(&self, pid: RegionPid) {
        let from = self.own_pid();
        let pid = self.seat(pid);
        if pid.region() == self.region() {
            self.exit_signal(pid.local(), from, ExitReason::Killed, ExitKind::Kill);
        } else {
            self.signal(pid.region(), &Signal::Kill { from, to: pid });
        }
    }

    pub(crate) fn signal_exit(&self, from: RegionPid, to: RegionPid, reason: ExitReason) {
        let to = self.seat(to);
        if to.region() == self.region() {
            self.exit_signal(to.local(), from, reason, ExitKind::Sent);
        } else {
            self.signal(to.region(), &Signal::Exit { from, to, reason });
        }
    }

    /// The actor that runs now on this thread, else the node's hub.
    pub(crate) fn own_pid(&self) -> RegionPid {
        match current() {
            Some(current) if current.pid.region() == self.region() => current.pid,
            _ => RegionPid::new(self.region(), service::HUB),
        }
    }

    /// Whether an exit signal from another region may act on one of ours.
    pub(crate) fn obeys(&self, from: RegionPid, to: RegionPid) -> bool {
        self.local_address_of(to).is_some_and(|process| process.lets_link(from.region()))
    }

    /// Lets an exit signal act on a process of this node.
    pub(crate) fn exit_signal(
        &self,
        to: LocalId,
        from: RegionPid,
        reason: ExitReason,
        kind: ExitKind,
    ) {
        let Some(process) = self.inner().processes.get(to) else {
            return;
        };
        let verdict = process.write(|books| {
            if kind == ExitKind::Link && !books.links.remove(&from) {
                // Unlinked in the meantime.
                return Verdict::Ignore;
            }
            match &books.trap {
                Some(trap) if kind != ExitKind::Kill => Verdict::Trap(Arc::clone(trap)),
                _ if reason == ExitReason::Normal
                    && (kind == ExitKind::Link || from != process.pid) =>
                {
                    Verdict::Ignore
                }
                _ => Verdict::End,
            }
        });
        if kind == ExitKind::Link && from.region() != self.region() {
            self.inner().ties.remove_link(to, from);
        }
        match verdict {
            Some(Verdict::Trap(trap)) => trap(Exit { from, reason }),
            Some(Verdict::End) => self.terminate(&process, reason),
            Some(Verdict::Ignore) | None => {}
        }
    }

    /// Ends a process from outside. One that runs ends between two polls.
    pub(crate) fn terminate(&self, process: &Process, reason: ExitReason) {
        if process.body.is_run() {
            process.request_exit(reason);
        } else {
            self.process_ended(process.pid.local(), reason);
        }
    }

    /// Ends an actor of this node in an orderly way, whether it traps exits or not.
    pub(crate) fn shut_down(&self, pid: RegionPid) {
        if let Some(process) = self.local_address_of(pid) {
            self.terminate(&process, ExitReason::Shutdown);
        }
    }

    /// Ends every actor and task of the application.
    pub(crate) fn end_all_actors(&self) {
        for pid in self.inner().processes.application() {
            self.shut_down(pid);
        }
    }

    // ---- the end of a session ------------------------------------------------------------------

    /// The session with a region ended: what is to be told to whom here.
    pub(crate) fn region_lost(&self, region: RegionId, reason: &ExitReason) -> Vec<Notice> {
        let Loose { held, watched, links } = self.inner().ties.loosen(region);
        for (monitor, local) in watched {
            if let Some(process) = self.inner().processes.get(local) {
                process.unwatch(Some(region), monitor);
            }
        }
        let mut notices: Vec<Notice> = Vec::with_capacity(held.len() + links.len());
        for (monitor, Held { pid, holder, sink }) in held {
            let down = Down { monitor, pid, reason: reason.clone() };
            notices.push(Notice { holder, tell: Box::new(move || sink(down)) });
        }
        for (local, from) in links {
            notices.push(self.exit_notice(local, from, reason.clone(), ExitKind::Link));
        }
        notices
    }

    /// An exit signal from another region. A trapped one keeps its place behind waiting messages.
    pub(crate) fn exit_notice(
        &self,
        to: LocalId,
        from: RegionPid,
        reason: ExitReason,
        kind: ExitKind,
    ) -> Notice {
        let traps = self
            .inner()
            .processes
            .get(to)
            .and_then(|process| process.read(|books| books.trap.is_some()))
            .unwrap_or(false);
        let node = self.clone();
        Notice {
            holder: (traps && kind != ExitKind::Kill).then_some(to),
            tell: Box::new(move || node.exit_signal(to, from, reason, kind)),
        }
    }

    /// What the monitors of a region are to be told.
    pub(crate) fn region_notices(&self, region: RegionId, change: RegionChange) -> Vec<Notice> {
        let watchers = self.inner().ties.region_watchers(region, change);
        let notice = |(monitor, watcher): (MonitorRef, RegionWatcher)| Notice {
            holder: Some(watcher.holder),
            tell: Box::new(move || (watcher.sink)(RegionEvent { monitor, region, change })),
        };
        watchers.into_iter().map(notice).collect()
    }
}

enum Verdict {
    Ignore,
    Trap(TrapSink),
    End,
}
