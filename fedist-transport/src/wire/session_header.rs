//! What the two ends of a session read of each frame: 68 bytes, big endian, in front of the
//! records.
//!
//! ```text
//!  0         8             16     17      18             20
//! +---------+-------------+------+-------+--------------+
//! | epoch   | peer_epoch  | lane | flags | record_count |
//! +---------+-------------+------+-------+--------------+
//!  20        28            36
//! +---------+-------------+
//! | seq     | barrier     |
//! +---------+-------------+
//!  36              44              52              60              68
//! +---------------+---------------+---------------+---------------+
//! | message       | message       | bulk          | bulk          |
//! | delivered     | received      | delivered     | received      |
//! +---------------+---------------+---------------+---------------+
//! ```
//!
//! `epoch` is the sender's, `boot << 32 | counter`; `peer_epoch` is the receiver's as the sender
//! knows it, 0 if it does not, or with [`FLAG_OVER`] the last one that it has ended. The last four words acknowledge, see [`Ack`].

use super::WireError;

/// Length of an encoded [`SessionHeader`].
pub const SESSION_HEADER_LEN: usize = 68;

/// The frame is the sender's last: it ends the session.
pub const FLAG_GOODBYE: u8 = 1;
/// The sender wants to hear from the receiver at once.
pub const FLAG_PROBE: u8 = 2;
/// `peer_epoch` is over at the sender, which waits for a later one.
pub const FLAG_OVER: u8 = 4;

const KNOWN_FLAGS: u8 = FLAG_GOODBYE | FLAG_PROBE | FLAG_OVER;
const NO_LANE: u8 = 0xff;

/// One of the two ordered streams of frames within a session. Each numbers its frames from 1.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Ordinary messages, many in a frame.
    Message = 0,
    /// Large records in pieces, and what must stay in order behind them.
    Bulk = 1,
}

impl Lane {
    /// Both lanes, in the order of their acknowledgements in the header.
    pub const ALL: [Lane; 2] = [Lane::Message, Lane::Bulk];

    /// The other lane: the one that a frame's barrier speaks of.
    pub const fn other(self) -> Lane {
        match self {
            Lane::Message => Lane::Bulk,
            Lane::Bulk => Lane::Message,
        }
    }
}

/// What one side has of a lane of the other side.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub struct Ack {
    /// Every frame up to this number has been delivered.
    pub delivered: u64,
    /// Bit `i` stands for frame `delivered + 1 + i`: received, and kept until it can be delivered.
    /// Bit 0 is set if that frame only waits for its barrier.
    pub received: u64,
}

/// The end-to-end part of a session frame. See the module text for the layout.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SessionHeader {
    /// The sender's epoch.
    pub epoch: u64,
    /// The receiver's epoch that the sender talks to; 0 before it knows one.
    pub peer_epoch: u64,
    /// The lane of the records; `None` for a frame without records.
    pub lane: Option<Lane>,
    /// [`FLAG_GOODBYE`], [`FLAG_PROBE`], [`FLAG_OVER`].
    pub flags: u8,
    /// Number of records behind this header.
    pub record_count: u16,
    /// Number of this frame in its lane, from 1; 0 without a lane.
    pub seq: u64,
    /// The records may be delivered only after frame `barrier` of the other lane; 0 for no such.
    pub barrier: u64,
    /// What the sender has of the receiver's lanes, in the order of [`Lane::ALL`].
    pub acks: [Ack; 2],
}

impl SessionHeader {
    /// The bytes of this header.
    pub fn encode(&self) -> [u8; SESSION_HEADER_LEN] {
        let mut out = [0; SESSION_HEADER_LEN];
        out[0..8].copy_from_slice(&self.epoch.to_be_bytes());
        out[8..16].copy_from_slice(&self.peer_epoch.to_be_bytes());
        out[16] = self.lane.map_or(NO_LANE, |lane| lane as u8);
        out[17] = self.flags;
        out[18..20].copy_from_slice(&self.record_count.to_be_bytes());
        out[20..28].copy_from_slice(&self.seq.to_be_bytes());
        out[28..36].copy_from_slice(&self.barrier.to_be_bytes());
        let [message, bulk] = self.acks;
        out[36..44].copy_from_slice(&message.delivered.to_be_bytes());
        out[44..52].copy_from_slice(&message.received.to_be_bytes());
        out[52..60].copy_from_slice(&bulk.delivered.to_be_bytes());
        out[60..68].copy_from_slice(&bulk.received.to_be_bytes());
        out
    }

    /// Reads the header at the front of a session frame's payload.
    ///
    /// # Errors
    /// The first rule that the bytes break; see [`WireError`].
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let Some(bytes) = payload.first_chunk::<SESSION_HEADER_LEN>() else {
            return Err(WireError::Truncated {
                what: "session header",
                need: SESSION_HEADER_LEN,
                have: payload.len(),
            });
        };
        let lane = match bytes[16] {
            0 => Some(Lane::Message),
            1 => Some(Lane::Bulk),
            NO_LANE => None,
            other => return Err(WireError::UnknownLane(other)),
        };
        let flags = bytes[17];
        if flags & !KNOWN_FLAGS != 0 {
            return Err(WireError::ReservedBits(u16::from(flags & !KNOWN_FLAGS)));
        }
        let header = Self {
            epoch: word(bytes, 0),
            peer_epoch: word(bytes, 8),
            lane,
            flags,
            record_count: u16::from_be_bytes([bytes[18], bytes[19]]),
            seq: word(bytes, 20),
            barrier: word(bytes, 28),
            acks: [
                Ack { delivered: word(bytes, 36), received: word(bytes, 44) },
                Ack { delivered: word(bytes, 52), received: word(bytes, 60) },
            ],
        };
        header.check()?;
        Ok(header)
    }

    /// Whether all bits of `flag` are set.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag == flag
    }

    fn check(&self) -> Result<(), WireError> {
        if self.epoch == 0 {
            return Err(WireError::Inconsistent("a session frame without an epoch"));
        }
        let bare = self.seq == 0 && self.record_count == 0 && self.barrier == 0;
        match self.lane {
            None if !bare => Err(WireError::Inconsistent("a frame without a lane has records")),
            Some(_) if self.seq == 0 || self.record_count == 0 => {
                Err(WireError::Inconsistent("a frame of a lane has no number or no records"))
            }
            _ => Ok(()),
        }
    }
}

fn word(bytes: &[u8; SESSION_HEADER_LEN], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> SessionHeader {
        SessionHeader {
            epoch: 0x0000_0001_0000_0002,
            peer_epoch: 3,
            lane: Some(Lane::Bulk),
            flags: FLAG_PROBE,
            record_count: 0x0405,
            seq: 6,
            barrier: 7,
            acks: [Ack { delivered: 8, received: 9 }, Ack { delivered: 10, received: 1 << 63 }],
        }
    }

    #[test]
    fn the_layout_is_the_drawn_one() {
        let bytes = sample().encode();
        #[rustfmt::skip]
        let drawn = [
            0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 4, 5,
            0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7,
            0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9,
            0, 0, 0, 0, 0, 0, 0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, drawn);
        assert_eq!(SessionHeader::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn each_shorter_input_is_truncated() {
        let bytes = sample().encode();
        for have in 0..SESSION_HEADER_LEN {
            assert_eq!(
                SessionHeader::decode(&bytes[..have]),
                Err(WireError::Truncated {
                    what: "session header",
                    need: SESSION_HEADER_LEN,
                    have
                })
            );
        }
    }

    #[test]
    fn contradicting_fields_are_refused() {
        let cases = [
            SessionHeader { epoch: 0, ..sample() },
            SessionHeader { seq: 0, ..sample() },
            SessionHeader { record_count: 0, ..sample() },
            SessionHeader { lane: None, ..sample() },
            SessionHeader { lane: None, seq: 0, record_count: 0, ..sample() },
        ];
        for header in cases {
            let decoded = SessionHeader::decode(&header.encode());
            assert!(matches!(decoded, Err(WireError::Inconsistent(_))), "{header:?}");
        }
        let mut bytes = sample().encode();
        bytes[16] = 2;
        assert_eq!(SessionHeader::decode(&bytes), Err(WireError::UnknownLane(2)));
        bytes[16] = 1;
        bytes[17] = 10;
        assert_eq!(SessionHeader::decode(&bytes), Err(WireError::ReservedBits(8)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_header_that_encodes_back_or_to_an_error(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..100),
            lane in any::<u8>(),
        ) {
            if let Some(byte) = bytes.get_mut(16) {
                *byte = lane % 4;
            }
            if let Some(byte) = bytes.get_mut(17) {
                *byte %= 9;
            }
            if let Ok(header) = SessionHeader::decode(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..SESSION_HEADER_LEN]);
            }
        }
    }
}
