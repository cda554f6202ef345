//! One address of the emulator: takes packets of the clients that dial it, and brings back the
//! answers.
//!
//! A UDP answer can only be told apart by the socket it comes in on, so each client address has
//! an upstream socket of its own. A client that restarts has a new port, hence a new upstream.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::{self, AbortHandle};

use super::delay_line::{Intake, Parcel};
use super::emulator::DirectedLink;
use super::report::DropReason;
use super::shaper::Fate;

/// Client addresses that one proxy serves at once; the one idle for longest makes room.
pub(crate) const MAX_CLIENTS: usize = 64;

/// The task behind one address that [`Emulator::link`](super::Emulator::link) gave out.
pub(crate) struct Proxy {
    listener: Arc<UdpSocket>,
    target: SocketAddr,
    there: Arc<DirectedLink>,
    back: Arc<DirectedLink>,
    intake: Intake,
    clients: HashMap<SocketAddr, Client>,
}

struct Client {
    upstream: Arc<UdpSocket>,
    /// Last packet in either direction, in microseconds of the emulator's clock.
    active_us: Arc<AtomicU64>,
    answers: AbortHandle,
}

impl Proxy {
    pub(crate) fn new(
        listener: UdpSocket,
        target: SocketAddr,
        there: Arc<DirectedLink>,
        back: Arc<DirectedLink>,
        intake: Intake,
    ) -> Self {
        Self { listener: Arc::new(listener), target, there, back, intake, clients: HashMap::new() }
    }

    pub(crate) async fn run(mut self) {
        let listener = Arc::clone(&self.listener);
        receive(&listener, |client, packet| self.forward(client, packet)).await;
    }

    fn forward(&mut self, client: SocketAddr, packet: &[u8]) {
        let received = self.intake.now();
        let upstream = match self.upstream(client, received) {
            Ok(upstream) => upstream,
            Err(error) => {
                tracing::warn!(%client, %error, "no socket for a new client of the WAN emulator");
                self.there.lock().meter.dropped(DropReason::System);
                return;
            }
        };
        let (link, to) = (&self.there, self.target);
        carry(&self.intake, received, link, upstream, to, packet);
    }

    fn upstream(&mut self, client: SocketAddr, now: Duration) -> io::Result<Arc<UdpSocket>> {
        if let Some(known) = self.clients.get(&client) {
            known.active_us.store(micros(now), Ordering::Relaxed);
            return Ok(Arc::clone(&known.upstream));
        }
        if self.clients.len() >= MAX_CLIENTS {
            self.forget_the_most_idle();
        }
        let upstream = Arc::new(UdpSocket::from_std(bind(near_side_of(self.target))?)?);
        let active_us = Arc::new(AtomicU64::new(micros(now)));
        let answers = Answers {
            upstream: Arc::clone(&upstream),
            target: self.target,
            listener: Arc::clone(&self.listener),
            client,
            active_us: Arc::clone(&active_us),
            link: Arc::clone(&self.back),
            intake: self.intake.clone(),
        };
        self.clients.insert(
            client,
            Client {
                upstream: Arc::clone(&upstream),
                active_us,
                answers: task::spawn(answers.run()).abort_handle(),
            },
        );
        Ok(upstream)
    }

    fn forget_the_most_idle(&mut self) {
        let active = |client: &Client| client.active_us.load(Ordering::Relaxed);
        let most_idle = self.clients.iter().min_by_key(|(_, client)| active(client));
        if let Some(address) = most_idle.map(|(address, _)| *address) {
            self.clients.remove(&address);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// The way back to one client.
struct Answers {
    upstream: Arc<UdpSocket>,
    target: SocketAddr,
    listener: Arc<UdpSocket>,
    client: SocketAddr,
    active_us: Arc<AtomicU64>,
    link: Arc<DirectedLink>,
    intake: Intake,
}

impl Answers {
    async fn run(self) {
        receive(&self.upstream, |from, packet| {
            // The upstream is not connected (a connected socket reports a dead target as an
            // error on the next send, and that send is lost), so strangers are kept out here.
            if from == self.target {
                let received = self.intake.now();
                self.active_us.store(micros(received), Ordering::Relaxed);
                let socket = Arc::clone(&self.listener);
                carry(&self.intake, received, &self.link, socket, self.client, packet);
            }
        })
        .await;
    }
}

/// Lets the link decide about a packet, and puts it on the delay line.
fn carry(
    intake: &Intake,
    received: Duration,
    link: &Arc<DirectedLink>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    packet: &[u8],
) {
    let Some((due, copy_due, ticket)) = ({
        let mut link = link.lock();
        match link.shaper.admit(received, packet.len()) {
            Fate::Carry { due, copy_due, ticket } => Some((due, copy_due, ticket)),
            Fate::Drop(reason) => {
                link.meter.dropped(reason);
                None
            }
        }
    }) else {
        return;
    };
    let bytes = Bytes::copy_from_slice(packet);
    let parcel = |due| Parcel {
        due,
        received,
        link: Arc::clone(link),
        ticket,
        socket: Arc::clone(&socket),
        to,
        bytes: bytes.clone(),
    };
    intake.put(parcel(due));
    if let Some(due) = copy_due {
        intake.put(parcel(due));
    }
}

/// Gives each datagram to `take` until the socket fails for good.
async fn receive(socket: &UdpSocket, mut take: impl FnMut(SocketAddr, &[u8])) {
    let mut failures = 0;
    while failures < MAX_FAILURES {
        if socket.readable().await.is_err() {
            return;
        }
        for _ in 0..BURST {
            let result = BUFFER.with_borrow_mut(|buffer| {
                let (len, from) = socket.try_recv_from(buffer)?;
                take(from, buffer.get(..len).unwrap_or_default());
                Ok::<_, io::Error>(())
            });
            match result {
                Ok(()) => failures = 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Some systems report an unreachable peer here; that says nothing of the socket.
                Err(_) => failures += 1,
            }
        }
        // Lets the other sockets have their turn.
        task::yield_now().await;
    }
    tracing::warn!("a socket of the WAN emulator keeps failing and was given up");
    // The proxy's other sockets stay as they are.
    future::pending::<()>().await;
}

/// A socket on `ip`, with any port, as the receiving runtime wants it.
pub(crate) fn bind(ip: IpAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((ip, 0))?;
    let reference = SockRef::from(&socket);
    // Best effort: the system may allow less, and then holds what it allows.
    let _ = reference.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = reference.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The own address from which `target` can be reached.
fn near_side_of(target: SocketAddr) -> IpAddr {
    match (target.ip().is_loopback(), target.is_ipv4()) {
        (true, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv6Addr::LOCALHOST.into(),
        (false, true) => Ipv4Addr::UNSPECIFIED.into(),
        (false, false) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

thread_local! {
    /// The longest datagram fits. All receiving tasks run on one thread and share it.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 65_536]);
}

const SOCKET_BUFFER: usize = 4 << 20;
/// Packets taken from one socket before the next one has its turn.
const BURST: usize = 64;
const MAX_FAILURES: u32 = 1_024;
