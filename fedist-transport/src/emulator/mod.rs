//! A WAN on loopback: real sockets, with the delays of real places between them.
//!
//! For tests and demonstrations on one machine. Each directed pair of regions has a
//! [`LinkProfile`] (delay, jitter, loss, duplicates, rate, cut); the [`Emulator`] is a UDP proxy
//! that applies it and reports the delay it *really* gave, because a proxy on a busy machine is
//! later than asked. [`LatencyMatrix`] brings measured round trips of the AWS and Azure regions.
//!
//! ```text
//!   region 1 ──► 127.0.0.1:a ─[1→2]─► region 2
//!            ◄──             ◄─[2→1]─
//! ```
//!
//! Two threads serve all links: one receives (a small tokio runtime), one waits for the due
//! times and sends ([`std::sync::Condvar`], because a tokio timer has a precision of 1 ms).
//! What happens to a packet is decided by a pure, seeded engine, so the n-th packet of a link has
//! the same fate in each run.
//!
//! On an idle virtual machine of two cores the median delay given is 0.05 to 0.15 ms more than
//! asked (5, 50 and 150 ms); 20,000 packets per second cost a quarter of a core.
//!
//! Not emulated: ECN marks (they are cleared on the way), ICMP errors (a dead target is
//! silence, as behind most firewalls), and a path MTU. Not seen: what the system drops from a full
//! socket buffer before the emulator or after it.

mod delay_line;
#[allow(clippy::module_inception, reason = "the room is named after its main noun")]
mod emulator;
mod matrix;
mod matrix_text;
mod profile;
mod proxy;
mod report;
mod shaper;

#[cfg(test)]
mod tests;

pub use emulator::Emulator;
pub use matrix::{LatencyMatrix, Place};
pub use matrix_text::MatrixError;
pub use profile::{LinkProfile, MAX_BACKLOG_BYTES, MAX_DELAY};
pub use report::{DropCounts, LinkReport};
