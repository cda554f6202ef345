//! The in-process fabric: the same links without sockets, with latency, loss and cuts to order.
//!
//! A [`MemoryNet`] is one network; each region of a test takes a [`MemoryPort`] of it and dials
//! `memory:<region>`. Frames take the latency that was set, are lost by seeded chance, and are
//! swallowed by a cut; frames of one class that arrive do so in order. Nobody is told of a cut: as on a
//! real network it shows by silence. A memory link has no idle timeout of its own; whoever runs it
//! probes it. Regions may live on different threads and runtimes; time is real.
//!
//! Nothing is encrypted and nobody proves anything: a port *is* the region it was taken for.

mod net;
mod pipe;
mod port;

pub use net::{MemoryNet, MemoryStats};
pub use port::{MemoryPort, memory_key, memory_key_hash};

pub(crate) use port::{MemoryReader, MemoryWriter};

#[cfg(test)]
mod tests;
