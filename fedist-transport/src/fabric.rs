//! Either kind of network below a node.

use fedist_registry::RegionId;

use crate::link::{AcceptError, DialError, Link, NodeClock};
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
