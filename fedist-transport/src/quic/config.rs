//! How a QUIC endpoint is set up.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::{Resolve, SystemResolver};
use crate::link::LinkLimits;

/// Settings of a [`QuicEndpoint`](super::QuicEndpoint).
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// Largest UDP payload that path discovery tries; default 1452, an Ethernet frame over IPv6.
    /// Discovery starts at 1200, so too high a value costs a few lost probes and nothing else. Some
    /// 6400 on a network of jumbo frames save system calls and encryption per byte.
    pub mtu_upper: u16,
    /// The same for links within this machine, by a loopback address at the other end; default 6400.
    /// Ten of these must fit into 64 KiB, what the system takes in one call: above some 6500 bytes
    /// discovery comes to a wrong end.
    pub mtu_loopback: u16,
    /// A link on which nothing arrives for this long has ended; default 60 s. Nothing is sent to keep
    /// an idle link: its owner probes it, every 15 s at least, and finds a dead one long before.
    pub idle_timeout: Duration,
    /// How long a handshake may take, per address dialed and per caller; default 5 s.
    pub handshake_timeout: Duration,
    /// Bytes asked of the kernel for each direction of the socket; default 4 MiB. The kernel may give
    /// less (`net.core.rmem_max` on Linux); too little shows as loss under load.
    pub socket_buffer: usize,
    /// What turns `host:port` into addresses, once for each attempt to dial; the system's by default.
    pub resolver: Arc<dyn Resolve>,
    /// Whether the tasks that drive the socket and its connections are spawned into tokio's `LocalSet` instead of its runtime;
    /// default false. `bind`, `dial` and `accept` must then be called inside of the set. For whoever uses the links there: a
    /// frame passes from one kind of tasks to the other for nothing.
    pub local_tasks: bool,
    /// Bounds of each link's send queues.
    pub limits: LinkLimits,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            mtu_upper: 1452,
            mtu_loopback: 6400,
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(5),
            socket_buffer: 4 << 20,
            resolver: Arc::new(SystemResolver),
            local_tasks: false,
            limits: LinkLimits::default(),
        }
    }
}

impl QuicConfig {
    /// How a connection is set up, with somebody elsewhere or on this machine.
    pub(super) fn transport(&self, loopback: bool) -> Arc<TransportConfig> {
        let mut discovery = MtuDiscoveryConfig::default();
        let upper = if loopback { self.mtu_loopback } else { self.mtu_upper };
        discovery.upper_bound(upper.max(FIRST_MTU));
        // Longer than QUIC can say means for ever.
        let idle = IdleTimeout::try_from(self.idle_timeout).ok();
        let mut congestion = CubicConfig::default();
        congestion.initial_window(INITIAL_WINDOW);
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(3))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(LINK_WINDOW))
            .send_window(u64::from(LINK_WINDOW))
            .max_idle_timeout(idle)
            .keep_alive_interval(None)
            .initial_mtu(FIRST_MTU)
            .mtu_discovery_config(Some(discovery))
            .initial_rtt(Duration::from_millis(100))
            .congestion_controller_factory(Arc::new(congestion))
            .crypto_buffer_size(8 << 10)
            .datagram_receive_buffer_size(None);
        Arc::new(transport)
    }
}

/// What every path carries; QUIC demands it (RFC 9000, section 14).
const FIRST_MTU: u16 = 1200;

/// What a link may send in its first round trip, paced over it. Ten times what RFC 6928 grants a
/// stranger: links are few and live long, and when one dies, its traffic moves to links that were
/// idle; over 200 ms each doubling from 14 KiB would cost that traffic a fifth of a second.
const INITIAL_WINDOW: u64 = 128 << 10;

/// What one class may have on its way and unread. 8 MiB fill 40 MB/s over 200 ms.
const STREAM_WINDOW: u32 = 8 << 20;

/// What a link may have on its way and unread. More than two stream windows, so that message and
/// bulk streams whose reader has stopped leave room for control.
const LINK_WINDOW: u32 = 20 << 20;
