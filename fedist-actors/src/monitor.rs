//! Watching actors of any region from plain async code.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use fedist_registry::RegionPid;
use tokio::sync::oneshot;

use crate::{Down, Node, exit::MonitorRef};

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

impl Monitor {
    pub(crate) fn new(
        node: &Node,
        pid: RegionPid,
        monitor: MonitorRef,
        down: oneshot::Receiver<Down>,
    ) -> Self {
        Self { node: node.clone(), pid, monitor: Some(monitor), down }
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
