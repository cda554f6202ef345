use thiserror::Error;

/// Why bytes from the network are not a frame, a session header or a record.
///
/// Decoding changes no state. The same bytes will fail again, so there is nothing to retry: a link
/// closes on a bad hop header (it can no longer find the next frame), a session counts a bad
/// payload and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a header or a body.
    #[error("{what} is cut off: {have} bytes, needs {need}")]
    Truncated {
        /// Which part is incomplete.
        what: &'static str,
        /// Bytes that the part needs.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The first byte of a frame or a record names a kind that this version does not have.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// The frame names a priority class that does not exist.
    #[error("unknown class {0}; classes are 0 control, 1 message, 2 bulk")]
    UnknownClass(u8),
    /// The session header names a lane that does not exist.
    #[error("unknown lane {0}; lanes are 0 message, 1 bulk, 255 none")]
    UnknownLane(u8),
    /// A region field holds 0 or 65535.
    #[error("region {0} is reserved; regions are numbered 1..=65534")]
    BadRegion(u16),
    /// A length field is above the limit of this version.
    #[error("{what} of {len} bytes is too long; the limit is {max}")]
    TooLong {
        /// Which length it is.
        what: &'static str,
        /// The length asked for.
        len: u64,
        /// The greatest length allowed.
        max: u64,
    },
    /// The source route has too many relays, a position past its end, a region twice, or bytes
    /// after its last relay.
    #[error("the source route is malformed; at most 6 different relays, then zeros")]
    BadRoute,
    /// Bits that this version keeps at zero are set.
    #[error("reserved bits are set (0x{0:04x}); they must be zero in this version")]
    ReservedBits(u16),
    /// Fields contradict one another: a sequence number on a frame without a lane, records that
    /// the header does not count, a deadline on a record that is no ask.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// Bytes are left after the last counted record.
    #[error("{0} bytes are left after the last record")]
    TrailingBytes(usize),
}
