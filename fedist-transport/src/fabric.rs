//! Either kind of network below a node.

use fedist_registry::RegionId;

use crate::link::{AcceptError, DialError, Link, NodeClock, STAGGER, race};
use crate::memory::MemoryPort;
use crate::quic::QuicEndpoint;

/// What a node dials from and accepts at: a UDP socket, or a port of the in-process fabric. Both give
/// the same [`Link`]. Clones share it.
#[derive(Clone, Debug)]
pub enum Fabric {
    /// QUIC over UDP.
    Quic(QuicEndpoint),
    /// The in-process fabric, for tests.
    Memory(MemoryPort),
}

impl Fabric {
    /// Connects to `address`: `host:port`, or `memory:<region>`. With `expect`, whoever answers must
    /// be that region.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(&self, address: &str, expect: Option<RegionId>) -> Result<Link, DialError> {
        match self {
            Self::Quic(endpoint) => endpoint.dial(address, expect).await,
            Self::Memory(port) => port.dial(address, expect).await,
        }
    }

    /// Connects to one of several addresses of a peer: tries them in order, the next one when the one before has failed
    /// or after 250 ms without an answer, and takes the first that comes up (as RFC 8305, "happy eyeballs", does). Names
    /// are resolved anew each time.
    ///
    /// # Errors
    /// Where all have failed, what the last address of the list led to.
    ///
    /// # Cancel safety
    /// Dropping the future gives all attempts up.
    pub async fn dial_any(
        &self,
        addresses: &[String],
        expect: Option<RegionId>,
    ) -> Result<Link, DialError> {
        let attempts = addresses.iter().map(|address| self.dial(address, expect)).collect();
        race(attempts, STAGGER).await.map_err(|mut failures| {
            failures.pop().unwrap_or_else(|| DialError::Unresolved {
                address: String::new(),
                detail: "no address to dial".to_owned(),
            })
        })
    }

    /// The next caller, or one that failed to prove itself; `None` once closed. Cancel safe.
    pub async fn accept(&self) -> Option<Result<Link, AcceptError>> {
        match self {
            Self::Quic(endpoint) => endpoint.accept().await,
            Self::Memory(port) => port.accept().await,
        }
    }

    /// The address at which this end accepts, as [`dial`](Self::dial) takes it.
    pub fn local_address(&self) -> String {
        match self {
            Self::Quic(endpoint) => endpoint.local_addr().to_string(),
            Self::Memory(port) => port.local_address(),
        }
    }

    /// The clock that all its links stamp with.
    pub fn clock(&self) -> NodeClock {
        match self {
            Self::Quic(endpoint) => endpoint.clock(),
            Self::Memory(port) => port.clock(),
        }
    }

    /// Closes all links and stops accepting; returns within about a second.
    pub async fn close(&self) {
        match self {
            Self::Quic(endpoint) => endpoint.close().await,
            Self::Memory(port) => port.close().await,
        }
    }
}
