//! The socket: dialing, accepting, closing.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fedist_registry::RegionId;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::QuicConfig;
use super::drivers::Drivers;
use super::handshake::{accept_error, dial_error, link_up};
use super::tls::{ALPN, TlsMaterial};
use crate::identity::{Identity, IdentityError};
use crate::link::{AcceptError, DialError, Link, NodeClock, STAGGER, race};

/// A region's UDP socket, from which it dials and at which it is dialed. Clones share it.
///
/// Each accepted or dialed connection must prove itself as a region of the same federation before it
/// becomes a [`Link`]. Whatever else comes to the port is dropped. When the last clone is dropped the
/// socket stays open until its links have ended; [`close`](Self::close) ends them all.
#[derive(Clone)]
pub struct QuicEndpoint(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    local: SocketAddr,
    identity: Identity,
    tls: TlsMaterial,
    transport: Transports,
    server: ServerConfig,
    config: QuicConfig,
    clock: NodeClock,
    /// Callers whose handshakes are under way. They outlive a dropped call of `accept`.
    callers: Mutex<FuturesUnordered<BoxFuture<'static, Result<Link, AcceptError>>>>,
    counters: Counters,
}

/// How connections are set up, by where the other end is.
struct Transports {
    far: Arc<TransportConfig>,
    loopback: Arc<TransportConfig>,
}

impl Transports {
    fn to(&self, other: SocketAddr) -> &Arc<TransportConfig> {
        if other.ip().to_canonical().is_loopback() { &self.loopback } else { &self.far }
    }
}

#[derive(Default)]
struct Counters {
    dialed: AtomicU64,
    accepted: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    turned_away: AtomicU64,
    violations: Arc<AtomicU64>,
}

/// What came to an endpoint so far.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Links dialed.
    pub dialed: u64,
    /// Links accepted.
    pub accepted: u64,
    /// Callers whose handshake failed.
    pub failed: u64,
    /// Callers asked to prove their address first, because many were waiting.
    pub retried: u64,
    /// Callers turned away because too many were waiting.
    pub turned_away: u64,
    /// Links closed because the peer broke the protocol.
    pub violations: u64,
}

/// Why an endpoint could not be opened. Nothing is left open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the port. Retry once it is free.
    #[error(
        "address in use ({addr}); another process has this UDP port; choose another or stop that process"
    )]
    AddressInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// No interface of this machine has the address. Never retry as it is.
    #[error(
        "address not available ({addr}); listen on an address of this machine, or on 0.0.0.0 or [::] for all"
    )]
    NotAvailable {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The system does not allow the port. Never retry as it is.
    #[error("address not permitted ({addr}); ports below 1024 need privileges; choose another")]
    Denied {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The socket failed otherwise. May be retried.
    #[error("cannot listen ({addr}): {source}")]
    Io {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The identity cannot be used for TLS. Never retry as it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Called outside a tokio runtime. Never retry as it is.
    #[error("no tokio runtime here; open the endpoint inside the runtime that is to drive it")]
    NoRuntime,
}

impl QuicEndpoint {
    /// Opens the socket. Must be called inside the tokio runtime that is to drive it.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        addr: SocketAddr,
        identity: &Identity,
        config: QuicConfig,
    ) -> Result<Self, BindError> {
        tokio::runtime::Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let tls = TlsMaterial::new(identity)?;
        let transport =
            Transports { far: config.transport(false), loopback: config.transport(true) };
        let (crypto, _) = tls.server(Arc::new(identity.verifier(None)?))?;
        let mut server = ServerConfig::with_crypto(crypto);
        server
            .transport_config(Arc::clone(&transport.far))
            .max_incoming(MAX_CALLERS)
            .incoming_buffer_size(CALLER_BUFFER)
            .incoming_buffer_size_total(CALLER_BUFFER * MAX_CALLERS as u64);
        let mut endpoint_config = EndpointConfig::default();
        // What we may receive; the default would stop the peers' discovery at 1472.
        let largest = config.mtu_upper.max(config.mtu_loopback).max(1472);
        if endpoint_config.max_udp_payload_size(largest).is_err() {
            tracing::debug!(largest, "maximum UDP payload left at quinn's default");
        }
        let failed = |error| bind_error(addr, error);
        let socket = open_socket(addr, config.socket_buffer).map_err(failed)?;
        let drivers = Arc::new(Drivers::new(config.local_tasks));
        let endpoint = Endpoint::new(endpoint_config, Some(server.clone()), socket, drivers)
            .map_err(failed)?;
        let local = endpoint.local_addr().map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            endpoint,
            local,
            identity: identity.clone(),
            tls,
            transport,
            server,
            config,
            clock: NodeClock::start(),
            callers: Mutex::default(),
            counters: Counters::default(),
        })))
    }

    /// The address that the socket has, with the port that the system chose if none was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// The clock that all its links stamp with.
    pub fn clock(&self) -> NodeClock {
        self.0.clock
    }

    /// Connects to `host:port`. A host name is resolved anew each time, and its addresses are tried in
    /// turn, the next one when the one before has failed or after 250 ms without an answer. With
    /// `expect`, whoever answers must be that region.
    ///
    /// The link is ready when our side of the handshake is done. A peer that refuses *our*
    /// certificate can say so only later: the link then ends with
    /// [`LinkError::RefusedByPeer`](crate::link::LinkError::RefusedByPeer).
    ///
    /// # Errors
    /// See [`DialError`]; of several addresses, the answer that says most.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up.
    pub async fn dial(&self, address: &str, expect: Option<RegionId>) -> Result<Link, DialError> {
        let mut failure = DialError::Unresolved {
            address: address.to_owned(),
            detail: "it has no address that this socket can reach".to_owned(),
        };
        let targets = self.resolve(address).await?;
        let attempts = targets.into_iter().map(|target| self.dial_one(target, expect)).collect();
        let failures = match race(attempts, STAGGER).await {
            Ok(link) => {
                self.0.counters.dialed.fetch_add(1, Relaxed);
                return Ok(link);
            }
            Err(failures) => failures,
        };
        for error in failures {
            let silent = matches!(
                failure,
                DialError::TimedOut { .. }
                    | DialError::Unreachable { .. }
                    | DialError::Unresolved { .. }
            );
            // Somebody who answered and was wrong tells more than silence elsewhere.
            if silent || matches!(error, DialError::Stopped) {
                failure = error;
            }
        }
        Err(failure)
    }

    /// The next caller that has proven itself, or that failed to. `None` once the endpoint is closed.
    ///
    /// All handshakes run side by side while this is polled: a slow caller delays nobody.
    ///
    /// # Cancel safety
    /// No caller is lost when the future is dropped before it is ready.
    pub async fn accept(&self) -> Option<Result<Link, AcceptError>> {
        let mut callers = self.0.callers.lock().await;
        loop {
            tokio::select! {
                biased;
                Some(result) = callers.next(), if !callers.is_empty() => {
                    let counters = &self.0.counters;
                    let counter = if result.is_ok() { &counters.accepted } else { &counters.failed };
                    counter.fetch_add(1, Relaxed);
                    return Some(result);
                }
                incoming = self.0.endpoint.accept() => {
                    let waiting = callers.len();
                    if let Some(caller) = self.admit(incoming?, waiting) {
                        callers.push(caller);
                    }
                }
            }
        }
    }

    /// Closes all links and the socket, and waits until the peers have been told, a second at most.
    pub async fn close(&self) {
        self.0.endpoint.close(VarInt::from_u32(0), b"the region is stopping");
        // Peers that do not answer find out by their idle timeout.
        let _ = timeout(CLOSE_TIME, self.0.endpoint.wait_idle()).await;
    }

    /// What came to this endpoint so far.
    pub fn stats(&self) -> EndpointStats {
        let counters = &self.0.counters;
        EndpointStats {
            dialed: counters.dialed.load(Relaxed),
            accepted: counters.accepted.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            retried: counters.retried.load(Relaxed),
            turned_away: counters.turned_away.load(Relaxed),
            violations: counters.violations.load(Relaxed),
        }
    }

    async fn resolve(&self, address: &str) -> Result<Vec<SocketAddr>, DialError> {
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(DialError::BadAddress {
                address: address.to_owned(),
                form: "host:port, an IPv6 host in brackets",
            });
        }
        let resolver = &self.0.config.resolver;
        let found = match timeout(self.0.config.handshake_timeout, resolver.resolve(address)).await
        {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(DialError::Unresolved {
                    address: address.to_owned(),
                    detail: error.to_string(),
                });
            }
            Err(_) => {
                return Err(DialError::Unresolved {
                    address: address.to_owned(),
                    detail: "the resolver did not answer".to_owned(),
                });
            }
        };
        // An IPv6 socket reaches both kinds.
        let reachable = |target: &SocketAddr| target.is_ipv4() || self.0.local.is_ipv6();
        Ok(found.into_iter().filter(reachable).take(MAX_ADDRESSES).collect())
    }

    async fn dial_one(
        &self,
        target: SocketAddr,
        expect: Option<RegionId>,
    ) -> Result<Link, DialError> {
        let inner = &*self.0;
        let unreachable =
            |detail: String| DialError::Unreachable { address: target.to_string(), detail };
        let verifier = inner.identity.verifier(expect).map(Arc::new);
        let verifier = verifier.map_err(|error| unreachable(error.to_string()))?;
        let crypto = inner.tls.client(Arc::clone(&verifier), ALPN);
        let crypto = crypto.map_err(|error| unreachable(error.to_string()))?;
        let mut client = quinn::ClientConfig::new(crypto);
        client.transport_config(Arc::clone(inner.transport.to(target)));
        let begun = Instant::now();
        let name = inner.identity.server_name(expect);
        let connecting = match inner.endpoint.connect_with(client, target, &name) {
            Ok(connecting) => connecting,
            Err(quinn::ConnectError::EndpointStopping) => return Err(DialError::Stopped),
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let after = inner.config.handshake_timeout;
        let refused = |error| dial_error(error, target, after, &verifier);
        let connection = timeout(after, connecting)
            .await
            .map_err(|_| DialError::TimedOut { address: target.to_string(), after })?
            .map_err(refused)?;
        let violations = Arc::clone(&inner.counters.violations);
        link_up(connection, true, &inner.config.limits, inner.clock, begun.elapsed(), violations)
            .await
            .map_err(refused)
    }

    /// Starts a caller's handshake, unless too many are under way.
    fn admit(
        &self,
        incoming: Incoming,
        waiting: usize,
    ) -> Option<BoxFuture<'static, Result<Link, AcceptError>>> {
        let inner = &*self.0;
        if waiting >= MAX_CALLERS {
            inner.counters.turned_away.fetch_add(1, Relaxed);
            incoming.refuse();
            return None;
        }
        if waiting >= RETRY_ABOVE && incoming.may_retry() && !incoming.remote_address_validated() {
            inner.counters.retried.fetch_add(1, Relaxed);
            // It can fail only for one that has been asked before.
            let _ = incoming.retry();
            return None;
        }
        let from = incoming.remote_address();
        let begun = Instant::now();
        let verifier = Arc::new(inner.identity.verifier(None).ok()?);
        let (crypto, offer) = inner.tls.server(Arc::clone(&verifier)).ok()?;
        let mut server = inner.server.clone();
        server.crypto = crypto;
        server.transport_config(Arc::clone(inner.transport.to(from)));
        let accepted = incoming.accept_with(Arc::new(server));
        let (limits, clock) = (inner.config.limits, inner.clock);
        let after = inner.config.handshake_timeout;
        let violations = Arc::clone(&inner.counters.violations);
        Some(Box::pin(async move {
            let failed = |error| accept_error(error, from, after, &verifier, &offer);
            let connecting = accepted.map_err(failed)?;
            let connection = timeout(after, connecting)
                .await
                .map_err(|_| AcceptError::TimedOut { from, after })?
                .map_err(failed)?;
            link_up(connection, false, &limits, clock, begun.elapsed(), violations)
                .await
                .map_err(failed)
        }))
    }
}

impl fmt::Debug for QuicEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicEndpoint")
            .field("local_addr", &self.0.local)
            .field("identity", &self.0.identity)
            .finish_non_exhaustive()
    }
}

fn open_socket(addr: SocketAddr, buffer: usize) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // Best effort: a system without mapped addresses serves IPv6 alone.
        let _ = socket.set_only_v6(false);
    }
    // The kernel caps or refuses what it will not give, and any size works.
    let _ = socket.set_recv_buffer_size(buffer);
    let _ = socket.set_send_buffer_size(buffer);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn bind_error(addr: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse { addr },
        io::ErrorKind::AddrNotAvailable => BindError::NotAvailable { addr },
        io::ErrorKind::PermissionDenied => BindError::Denied { addr },
        _ => BindError::Io { addr, source },
    }
}

/// Callers whose handshakes may be under way at once.
const MAX_CALLERS: usize = 256;

/// From this many on, callers must first prove that they own their address (QUIC Retry).
const RETRY_ABOVE: usize = 64;

/// What a caller may send before its handshake is taken up.
const CALLER_BUFFER: u64 = 16 << 10;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

const CLOSE_TIME: Duration = Duration::from_secs(1);
