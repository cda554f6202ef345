//! The door for clients: a TCP socket, and a process for each connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fedist::{ChildSpec, child_fn, prelude::*};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{connection, message::Change};

/// How clients are treated.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// Connections at once; one more is told so and closed.
    pub(crate) max_connections: usize,
    /// How long a connection may say nothing before it is closed; subscribers may for ever.
    pub(crate) idle: Duration,
    /// How long a line may take from its first byte, and an answer to be taken.
    pub(crate) patience: Duration,
    /// Whether `CRASH` is a command.
    pub(crate) may_crash: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            idle: Duration::from_secs(600),
            patience: Duration::from_secs(60),
            may_crash: false,
        }
    }
}

/// A socket that listens. Made before anything is started, so that a taken port is told at once.
pub(crate) struct Front {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Front {
    pub(crate) fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = std::net::TcpListener::from(socket);
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The acceptor, as a child of a supervisor. It is made anew from the same socket.
    pub(crate) fn acceptor(self, manners: Manners) -> ChildSpec {
        let manners = Arc::new(manners);
        let room = Arc::new(Semaphore::new(manners.max_connections));
        let listener = Mutex::new(self.listener);
        child_fn("front", move |mailbox: Mailbox<Never>| {
            let socket = listener.lock().unwrap_or_else(PoisonError::into_inner).try_clone();
            accept(mailbox, socket, Arc::clone(&manners), Arc::clone(&room))
        })
    }
}

/// Nobody sends anything to the acceptor.
pub(crate) enum Never {}

impl actix::Message for Never {
    type Result = ();
}

async fn accept(
    mailbox: Mailbox<Never>,
    socket: std::io::Result<std::net::TcpListener>,
    manners: Arc<Manners>,
    room: Arc<Semaphore>,
) {
    let listener = match socket.and_then(TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the socket for clients is lost"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => welcome(mailbox.node(), stream, &manners, &room),
            // Out of file descriptors, mostly: others are closed sooner or later.
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn welcome(node: &Node, stream: TcpStream, manners: &Arc<Manners>, room: &Arc<Semaphore>) {
    let Ok(place) = Arc::clone(room).try_acquire_owned() else {
        let limit = manners.max_connections;
        let text = format!(
            "ERROR too many connections ({limit}); no more are served at once; come again later\r\n"
        );
        // Its send buffer is empty, so this is written or the client is gone.
        let _ = stream.try_write(text.as_bytes());
        return;
    };
    let _ = stream.set_nodelay(true);
    // A peer that is gone without a word is noticed after some two minutes.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    if let Err(error) = start(node, stream, Arc::clone(manners), place) {
        tracing::warn!(%error, "a client could not be served");
    }
}

/// A connection is a process: it subscribes under its own pid, and ends without harm to others.
fn start(
    node: &Node,
    stream: TcpStream,
    manners: Arc<Manners>,
    place: OwnedSemaphorePermit,
) -> Result<(), Box<dyn std::error::Error>> {
    let connection = node.spawn_fn(move |mailbox: Mailbox<Change>| async move {
        connection::serve(stream, mailbox, &manners).await;
        drop(place);
    })?;
    node.export(&connection).publish()?;
    Ok(())
}

const BACKLOG: i32 = 1_024;
const PAUSE: Duration = Duration::from_millis(100);
const KEEPALIVE: Duration = Duration::from_secs(60);
