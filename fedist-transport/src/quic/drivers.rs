//! Where the tasks run that drive a socket and its connections.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// Tokio, with the tasks among those of a `LocalSet` if that is wanted. A runtime of one thread that runs its own tasks and a
/// `LocalSet` looks for events of the system whenever it changes from one to the other: once more for each packet.
#[derive(Debug)]
pub(super) struct Drivers {
    /// The thread of the `LocalSet`.
    local: Option<ThreadId>,
}

impl Drivers {
    pub(super) fn new(local: bool) -> Self {
        Self { local: local.then(|| std::thread::current().id()) }
    }
}

impl Runtime for Drivers {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if self.local == Some(std::thread::current().id()) {
            tokio::task::spawn_local(future);
        } else {
            tokio::spawn(future);
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
