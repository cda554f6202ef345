//! `ctx.monitor(pid)`: watching actors of any region from within an actor.

use actix::{Actor, AsyncContext, Context, Handler};
use fedist_registry::RegionPid;

use crate::{
    Down, Node,
    exit::MonitorRef,
    process::{Current, current},
};

/// What a node adds to the context of the actors that it spawned.
pub trait ContextExt<A: Actor> {
    /// Watches an actor in any region. Exactly one [`Down`] comes for each call, unless
    /// [`demonitor`](Self::demonitor) takes it back or this actor ends first. A pid where
    /// nothing lives gives `Down(NoActor)`.
    ///
    /// `None` when this actor was not spawned by a node: then nobody watches for it.
    fn monitor(&self, pid: RegionPid) -> Option<MonitorRef>
    where
        A: Handler<Down>;

    /// Takes a monitor back. A `Down` that is already in the mailbox still arrives.
    fn demonitor(&self, pid: RegionPid, monitor: MonitorRef);

    /// The pid of this actor, if a node spawned it.
    fn pid(&self) -> Option<RegionPid>;

    /// The node of this actor, if a node spawned it.
    fn node(&self) -> Option<Node>;
}

impl<A: Actor<Context = Context<A>>> ContextExt<A> for Context<A> {
    fn monitor(&self, pid: RegionPid) -> Option<MonitorRef>
    where
        A: Handler<Down>,
    {
        let Current { node, pid: me } = current()?;
        let watcher = self.address().recipient::<Down>();
        Some(node.watch_for(me.local(), pid, Box::new(move |down| watcher.do_send(down))))
    }

    fn demonitor(&self, pid: RegionPid, monitor: MonitorRef) {
        if let Some(Current { node, pid: me }) = current() {
            node.unwatch_for(me.local(), pid, monitor);
        }
    }

    fn pid(&self) -> Option<RegionPid> {
        current().map(|current| current.pid)
    }

    fn node(&self) -> Option<Node> {
        current().map(|current| current.node)
    }
}
