/// Counters and levels of a session since it was made; they go on across epochs.
///
/// At any moment `accepted == acked + dropped_ended + in_flight`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Records that `push` has taken.
    pub accepted: u64,
    /// Records that the peer has acknowledged as delivered.
    pub acked: u64,
    /// Records that an end of the session has reported as undelivered.
    pub dropped_ended: u64,
    /// Records accepted and neither acknowledged nor dropped.
    pub in_flight: u64,
    /// Frames with records handed out for the first time.
    pub frames_sent: u64,
    /// Frames handed out again.
    pub retransmitted_frames: u64,
    /// Frames with records that were taken, each counted once.
    pub frames_received: u64,
    /// Frames that had been received before.
    pub duplicate_frames: u64,
    /// Frames of an epoch, of ours or the peer's, that is over.
    pub stale_frames: u64,
    /// Frames that break a rule of the format or the protocol.
    pub malformed_frames: u64,
    /// Frames that came before their turn and were kept.
    pub reordered_frames: u64,
    /// Frames that came before their turn and found no room.
    pub overflowed_frames: u64,
    /// How often a session has ended.
    pub ends: u64,
    /// Smoothed round trip, end to end, including the peer's acknowledgement delay; 0 before the
    /// first sample.
    pub srtt_us: u64,
    /// Bytes accepted and not yet sent.
    pub queued_bytes: usize,
    /// Bytes sent and not yet acknowledged.
    pub unacked_bytes: usize,
}
