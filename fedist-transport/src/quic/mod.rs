//! Links over QUIC: the only room that imports quinn.
//!
//! One connection is one link. Each end opens three unidirectional streams, one per class, and
//! writes the class as the first byte of each; frames follow back to back until the link ends.
//! The TLS handshake names the protocol and its version by ALPN ([`ALPN`]) and runs the check of
//! [`identity`](crate::identity) on both ends. There is no other mode, no 0-RTT, and no resumption,
//! which would skip the check.
//!
//! `endpoint` owns the socket; quinn spawns the tasks that drive it. Those are the only ones.

mod config;
mod drivers;
mod endpoint;
mod frame_reader;
mod handshake;
mod part_waker;
mod reader;
mod resolver;
mod tls;
mod writer;

pub use config::QuicConfig;
pub use endpoint::{BindError, EndpointStats, QuicEndpoint};
pub use resolver::{Resolve, SystemResolver};
pub use tls::ALPN;

pub(crate) use reader::QuicReader;
pub(crate) use writer::QuicWriter;

#[cfg(test)]
mod tests;
