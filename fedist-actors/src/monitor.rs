//! `ctx.monitor(pid)`: watching actors of any region from within an actor.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix::{Actor, AsyncContext, Handler};
use fedist_registry::RegionPid;
use tokio::sync::oneshot;

use crate::{
    Down, Node,
    exit::MonitorRef,
    process::{Current, current},
};

/// A monitor held by code that is no actor: a future that resolves with the one [`Down`].
///
/// Made by [`Node::monitor`]. Dropping it takes the monitor back. Polling it after it has resolved
/// never resolves again.
#[must_use = "dropping a monitor takes it back"]
pub struct Monitor {
    node: Node,
    pid: RegionPid,
    monitor: Option<MonitorRef>,
    down: oneshot::Receiver<Down>,
}

impl Node {
    /// Watches an actor in any region from plain async code. A pid where nothing lives gives
    /// `Down(NoActor)`.
    pub fn monitor(&self, pid: RegionPid) -> Monitor {
        let (fire, down) = oneshot::channel();
        let watch = move |event| {
            let _ = fire.send(event);
        };
        let monitor = Some(self.watch(pid, Box::new(watch)));
        Monitor { node: self.clone(), pid, monitor, down }
    }
}

impl Future for Monitor {
    type Output = Down;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Down> {
        if self.monitor.is_none() {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.down).poll(cx)) {
            Ok(down) => {
                self.monitor = None;
                Poll::Ready(down)
            }
            // The node let go of the monitor without a word: it has stopped.
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some(monitor) = self.monitor.take() {
            self.node.unwatch(self.pid, monitor);
        }
    }
}

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

impl<A: Actor<Context = actix::Context<A>>> ContextExt<A> for actix::Context<A> {
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
