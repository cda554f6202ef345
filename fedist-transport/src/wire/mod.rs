//! What is on the wire: fixed layouts, big endian, parsed by hand.
//!
//! A frame is a [`HopHeader`] and a payload. The payload of a session frame is a session header and
//! the records that it counts:
//!
//! ```text
//! +------------------+----------------------+----------+----------+-- ..
//! | hop header (40)  | session header (68)  | record 1 | record 2 |
//! +------------------+----------------------+----------+----------+-- ..
//!   read by relays     read by the destination node only
//! ```
//!
//! No decoder panics, whatever the bytes, and none allocates from a length that the bytes claim.

mod error;
mod hop_header;
mod record;
mod session_header;

pub use error::WireError;
pub use hop_header::{
    Class, FrameKind, HOP_HEADER_LEN, HopHeader, MAX_FRAME_PAYLOAD, MAX_RELAYS, SourceRoute, Stamp,
};
pub(crate) use record::check_records;
pub use record::{Fragment, RecordHeader, RecordKind, Records, type_hash};
pub use session_header::{
    Ack, FLAG_GOODBYE, FLAG_OVER, FLAG_PROBE, Lane, SESSION_HEADER_LEN, SessionHeader,
};
