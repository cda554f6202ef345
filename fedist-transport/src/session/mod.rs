//! The conversation of two regions: ordered, exactly once, whatever the network between them does.
//!
//! [`Session`] is a pure engine. It reads no clock, opens no socket and draws no randomness: the
//! shell hands it records ([`push`](Session::push)), frames ([`handle_frame`](Session::handle_frame))
//! and the time, and takes frames ([`poll_transmit`](Session::poll_transmit)), events
//! ([`poll_event`](Session::poll_event)) and the next deadline
//! ([`poll_timeout`](Session::poll_timeout)). A node keeps one session for each other region, for
//! both directions, as long as it runs.
//!
//! # Lanes, order, acknowledgement
//!
//! Records are gathered into frames; a frame is numbered within its lane and kept until the peer
//! has *delivered* it, in order, to its shell. Small records take the message lane, records that
//! do not fit into one frame are cut and take the bulk lane. To keep the order of a pair of actors
//! across lanes:
//!
//! - a record to a receiver that has an unacknowledged record on the bulk lane takes the bulk lane
//!   too;
//! - a bulk frame names the last message frame made before it as its barrier, and is delivered
//!   after that one;
//! - a signal to no actor in particular is ordered against everything: its message frame names the
//!   last bulk frame as its barrier.
//!
//! A barrier always points to a frame that was closed earlier, so barriers cannot wait for each
//! other.
//!
//! Each frame carries what the sender has of the peer's lanes: all frames up to a number
//! (delivered), and a bitmap of the 64 behind it (received and kept). A frame goes again when three
//! received ones lie behind it, when nothing has been acknowledged for a retransmission time-out,
//! or when the route changes. After a time-out little is sent at first and more as
//! acknowledgements come, so a slow path is not flooded with copies.
//!
//! # Epochs
//!
//! Each side numbers its lives in the pair by an epoch, `boot << 32 | counter`, that only grows. A
//! conversation is a pair of epochs, one of each side. Each frame says `(epoch, peer_epoch)`: the
//! sender's, and the receiver's as far as the sender knows it (0 before it does). Records may
//! travel in the first frame, with `peer_epoch` 0.
//!
//! Each side keeps its own epoch, the peer's current epoch if it knows one, and a floor below which
//! the peer's epochs are over. *Ending* means: report each unacknowledged record, forget all
//! frames, raise the own epoch by one, and put the floor above the peer's current epoch. So an
//! epoch that a side has ended with never opens anything again, and delayed frames of it are told
//! from new ones. A side that waits for a new epoch of its peer says so: its frames carry the last
//! one that it has ended, and a flag, "over". On a frame `(e, p)` with own epoch `own` and current
//! peer epoch `r`:
//!
//! | frame | meaning | what happens |
//! |---|---|---|
//! | `p > own` | from a future that was rolled back | dropped |
//! | `e` below the floor, or `e < r` | delayed, or the peer has not noticed the end | dropped, answered |
//! | no `r`; `p` is 0, `own`, or over and `< own` | opening | `e` is taken, the frame too |
//! | no `r`; `p < own` | the peer talks to what we have ended | dropped, answered |
//! | `e = r`; `p` is 0, `own`, or over and `< own` | the conversation | the frame is taken |
//! | `e = r`; `p < own` | sent before the peer learnt of our new epoch | dropped, answered |
//! | `e > r`, same boot; `own` is not over, nothing of ours acknowledged | *switch*: the peer has ended its old epoch without ever having known our present one | the old conversation ends without loss: our frames stay, `e` is taken; the frame too unless `p < own` |
//! | `e > r` otherwise, or `p = own` is over | *reset*: the peer has ended the conversation or restarted | we end, `e` is taken; the frame too if it opens |
//!
//! Why a switch loses and doubles nothing: a side takes the epochs of its peer in growing order,
//! and says in each frame which one it has or has ended last. A frame of a new epoch that does not
//! say that `own` is over comes from a side that never had `own` in an older epoch, so it has
//! delivered nothing of it there. Without the switch two sides that reset at the same moment would
//! end each other's new epochs for ever.
//!
//! A goodbye counts whatever its `p` is, unless `e` is over: this side ends. One that is over
//! counts if there is no `r` and `p = own`: it answers what was sent to a side that has closed.
//!
//! An answer is a frame without records that shows our epochs; the peer then finds itself in one
//! of the rows above.
//!
//! Acknowledgements count only if `p = own` and it is not over. Only such frames count as hearing
//! from the peer.
//!
//! A side ends by itself when it has heard nothing for the session timeout while something waits:
//! an unacknowledged record, or a watcher ([`set_watched`](Session::set_watched)). It then
//! shows its new epoch until the peer answers it, for three more timeouts, and again at each route
//! change: a peer that missed the end would lose what it accepts before it finds out.
//!
//! Events come in the order of their effects: `Ended` of a conversation comes before `Opened` and
//! `Deliver` of the next. An `Opened` is always followed by one `Ended` before the next `Opened`.
//! An `Ended` without `Opened` reports records to a peer that never answered.

mod config;
mod engine;
mod epoch;
mod event;
mod incoming;
mod lane_rx;
mod lane_tx;
mod order;
mod reassembly;
mod round_trip;
mod stats;
#[cfg(test)]
mod tests;
mod timers;

pub use config::SessionConfig;
pub use engine::Session;
pub use event::{EndReason, PushError, SessionEvent, Transmit};
pub use stats::SessionStats;
