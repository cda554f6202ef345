use fedist_registry::Micros;

use crate::wire::{MAX_FRAME_PAYLOAD, SESSION_HEADER_LEN};

/// Bytes of records that fit behind the session header of one frame.
pub(super) const MAX_RECORDS_LEN: usize = MAX_FRAME_PAYLOAD - SESSION_HEADER_LEN;

/// What each frame counts for in windows and queues besides its records, so that very many very
/// small frames are bounded as well.
pub(super) const FRAME_OVERHEAD: usize = 128;

/// How long a session waits and how much it keeps.
///
/// Both ends should use the same `window_bytes` and `reorder_bytes`; an end with a smaller reorder
/// buffer drops frames that come again later, which costs time and nothing else.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Silence after which the session ends while something waits for the peer. Default 10 s:
    /// longer than any route change, short enough for a `Down` to be useful. Raising it makes
    /// failure detection slower and lets more messages survive an outage.
    pub session_timeout: Micros,
    /// Bytes sent and not yet acknowledged, per lane. Default 8 MiB, a round trip of 250 ms at
    /// 256 Mbit/s. Memory of both ends grows with it.
    pub window_bytes: usize,
    /// Bytes accepted and not yet sent, per lane; beyond it `push` says `Full`. Default 16 MiB.
    /// One record is always accepted into an empty queue.
    pub queue_bytes: usize,
    /// Size at which a batch of records is closed under load. Default 32 KiB. Larger frames cost
    /// less per record and delay what is behind them; at most one frame's payload.
    pub batch_bytes: usize,
    /// Longest body. Default 16 MiB; the receiver refuses to reassemble more.
    pub max_message: usize,
    /// Least time before an unacknowledged frame goes again. Default 200 ms, well above
    /// `ack_delay` and the jitter of a relay.
    pub min_rto: Micros,
    /// Greatest time between two attempts. Default 2 s, so that several attempts fall into
    /// `session_timeout`.
    pub max_rto: Micros,
    /// How long an acknowledgement may wait for a frame to travel with. Default 10 ms.
    pub ack_delay: Micros,
    /// Frames after which an acknowledgement waits no longer. Default 32.
    pub ack_every: u32,
    /// Bytes received too early and kept, per lane. Default: as `window_bytes`.
    pub reorder_bytes: usize,
}

impl SessionConfig {
    /// Batch size within what a frame can carry.
    pub(super) fn batch_len(&self) -> usize {
        self.batch_bytes.clamp(1, MAX_RECORDS_LEN)
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            session_timeout: Micros::from_millis(10_000),
            window_bytes: 8 << 20,
            queue_bytes: 16 << 20,
            batch_bytes: 32 << 10,
            max_message: 16 << 20,
            min_rto: Micros::from_millis(200),
            max_rto: Micros::from_millis(2_000),
            ack_delay: Micros::from_millis(10),
            ack_every: 32,
            reorder_bytes: 8 << 20,
        }
    }
}
