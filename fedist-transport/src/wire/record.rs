//! The records inside a session frame, one after another, big endian.
//!
//! ```text
//!  0              1        7        11        13         17
//! +--------------+--------+--------+---------+----------+------+-------------+----------+------+
//! | flags | kind | to u48 | type   | version | body_len | from | correlation | deadline | body |
//! |  4    |  4   |        | u32    | u16     | u32      | u48  | u32         | u32 ms   |      |
//! +--------------+--------+--------+---------+----------+------+-------------+----------+------+
//!                                                         \____ each only if its flag is set ____/
//! ```
//!
//! Flags: `0x10` from, `0x20` correlation, `0x40` deadline, `0x80` zero. A field whose flag is not
//! set reads as `None` or 0, and a field that holds that value is not written, so a plain tell with
//! its sender costs 23 bytes. `to` is 0 for a record that names no actor.
//!
//! A record that does not fit into one frame is encoded as above, cut into pieces, and each piece
//! is the only content of a frame of the bulk lane, see [`Fragment`]:
//!
//! ```text
//!  0              1
//! +--------------+-------------------+
//! | flags | 6    | piece, to the end |      flags: 0x10 first piece, 0x20 last piece
//! +--------------+-------------------+
//! ```
//!
//! The first piece holds the whole header of the record.

use bytes::{Buf, BufMut, Bytes};
use fedist_registry::LocalId;

use super::WireError;

/// What a record is, and so how its body is read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A message that wants no answer.
    Tell = 1,
    /// A message that wants an answer with its correlation before its deadline.
    Ask = 2,
    /// The answer to an ask.
    Reply = 3,
    /// The answer to an ask that failed; the body is the encoded error.
    ReplyError = 4,
    /// A system signal (monitor, down, ...); the type field is the signal's number.
    Signal = 5,
}

/// Everything of a record but its body.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record is.
    pub kind: RecordKind,
    /// The receiving actor; `None` where the node itself is meant.
    pub to: Option<LocalId>,
    /// The sending actor, if it is to be known.
    pub from: Option<LocalId>,
    /// [`type_hash`] of the message type's name, or the number of a signal.
    pub type_hash: u32,
    /// Version of the message type.
    pub version: u16,
    /// Joins a reply to its ask; 0 for none.
    pub correlation: u32,
    /// Time that an ask has left, in milliseconds; 0 for none.
    pub deadline_ms: u32,
}

impl RecordHeader {
    /// Longest encoded header.
    pub const MAX_LEN: usize = FIXED_LEN + 6 + 4 + 4;

    /// Bytes that this header and a body of `body_len` bytes take in a frame.
    pub const fn encoded_len(&self, body_len: usize) -> usize {
        let from = if self.from.is_some() { 6 } else { 0 };
        let correlation = if self.correlation != 0 { 4 } else { 0 };
        let deadline = if self.deadline_ms != 0 { 4 } else { 0 };
        (FIXED_LEN + from + correlation + deadline).saturating_add(body_len)
    }

    /// Appends the header and `body`.
    ///
    /// A body of 4 GiB or more cannot be expressed; it is cut to the greatest length that can. The
    /// session refuses such a body long before.
    pub fn encode_into(&self, body: &[u8], out: &mut impl BufMut) {
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.encode_header(len, out);
        out.put_slice(body.get(..len as usize).unwrap_or(body));
    }

    /// Appends the header of a record whose body of `body_len` bytes will follow.
    pub(crate) fn encode_header(&self, body_len: u32, out: &mut impl BufMut) {
        // The header is put together on the stack and appended in one piece: one bounds check and
        // one copy on the path that each message takes.
        let mut bytes = [0_u8; Self::MAX_LEN];
        let mut flags = 0;
        bytes[1..7].copy_from_slice(&local_bytes(self.to));
        bytes[7..11].copy_from_slice(&self.type_hash.to_be_bytes());
        bytes[11..13].copy_from_slice(&self.version.to_be_bytes());
        bytes[13..17].copy_from_slice(&body_len.to_be_bytes());
        let mut end = FIXED_LEN;
        if self.from.is_some() {
            flags |= FLAG_FROM;
            bytes[end..end + 6].copy_from_slice(&local_bytes(self.from));
            end += 6;
        }
        if self.correlation != 0 {
            flags |= FLAG_CORRELATION;
            bytes[end..end + 4].copy_from_slice(&self.correlation.to_be_bytes());
            end += 4;
        }
        if self.deadline_ms != 0 {
            flags |= FLAG_DEADLINE;
            bytes[end..end + 4].copy_from_slice(&self.deadline_ms.to_be_bytes());
            end += 4;
        }
        bytes[0] = flags | self.kind as u8;
        out.put_slice(&bytes[..end]);
    }

    /// Where in an encoded record its correlation stands, if it has one: four bytes, big endian.
    pub const fn correlation_at(&self) -> Option<usize> {
        match (self.correlation, self.from) {
            (0, _) => None,
            (_, None) => Some(FIXED_LEN),
            (_, Some(_)) => Some(FIXED_LEN + 6),
        }
    }

    /// Of the record at the front of `bytes`: whether it is a tell or an ask of the type and for the actor of `first`, and how
    /// many bytes it takes. `None` where no such record is, or its end is not there.
    pub fn continues(first: &[u8], bytes: &[u8]) -> Option<usize> {
        let (fixed, _) = bytes.split_first_chunk::<FIXED_LEN>()?;
        let same = first.get(TARGET)? == &fixed[TARGET];
        let kind = fixed[0] & KIND_MASK;
        if !same || (kind != RecordKind::Tell as u8 && kind != RecordKind::Ask as u8) {
            return None;
        }
        let has = |flag: u8, len: usize| if fixed[0] & flag != 0 { len } else { 0 };
        let optional = has(FLAG_FROM, 6) + has(FLAG_CORRELATION, 4) + has(FLAG_DEADLINE, 4);
        let [.., a, b, c, d] = *fixed;
        let body = u32::from_be_bytes([a, b, c, d]) as usize;
        Some(FIXED_LEN + optional + body).filter(|len| *len <= bytes.len())
    }

    /// Reads the record at the front of `bytes`: its header, its body, and how many bytes both take.
    ///
    /// # Errors
    /// [`WireError`] when no whole record is there.
    pub fn decode_first(bytes: &[u8]) -> Result<(Self, &[u8], usize), WireError> {
        let (header, len, body_len) = Self::decode_prefix(bytes)?;
        let end = len.saturating_add(body_len as usize);
        match bytes.get(len..end) {
            Some(body) => Ok((header, body, end)),
            None => Err(truncated("record body", end, bytes.len())),
        }
    }

    /// Reads the header at the front of `bytes`; gives it with its own length and the length of the
    /// body that is claimed to follow.
    pub(crate) fn decode_prefix(bytes: &[u8]) -> Result<(Self, usize, u32), WireError> {
        let short = |len| truncated("record header", len, bytes.len());
        let (fixed, mut rest) =
            bytes.split_first_chunk::<FIXED_LEN>().ok_or_else(|| short(FIXED_LEN))?;
        let [first, a, b, c, d, e, f, t0, t1, t2, t3, v0, v1, l0, l1, l2, l3] = *fixed;
        let kind = match first & KIND_MASK {
            1 => RecordKind::Tell,
            2 => RecordKind::Ask,
            3 => RecordKind::Reply,
            4 => RecordKind::ReplyError,
            5 => RecordKind::Signal,
            other => return Err(WireError::UnknownKind(other)),
        };
        if first & FLAG_RESERVED != 0 {
            return Err(WireError::ReservedBits(FLAG_RESERVED.into()));
        }
        let to = local_id([a, b, c, d, e, f]);
        let type_hash = u32::from_be_bytes([t0, t1, t2, t3]);
        let version = u16::from_be_bytes([v0, v1]);
        let body_len = u32::from_be_bytes([l0, l1, l2, l3]);
        let has = |flag: u8| first & flag != 0;
        let mut len = FIXED_LEN;
        len += if has(FLAG_FROM) { 6 } else { 0 };
        len += if has(FLAG_CORRELATION) { 4 } else { 0 };
        len += if has(FLAG_DEADLINE) { 4 } else { 0 };
        let (mut from, mut correlation, mut deadline_ms) = (None, 0, 0);
        if has(FLAG_FROM) {
            from = local_id(take(&mut rest).ok_or_else(|| short(len))?);
        }
        if has(FLAG_CORRELATION) {
            correlation = u32::from_be_bytes(take(&mut rest).ok_or_else(|| short(len))?);
        }
        if has(FLAG_DEADLINE) {
            deadline_ms = u32::from_be_bytes(take(&mut rest).ok_or_else(|| short(len))?);
        }
        let header = Self { kind, to, from, type_hash, version, correlation, deadline_ms };
        Ok((header, len, body_len))
    }
}

fn local_id([a, b, c, d, e, f]: [u8; 6]) -> Option<LocalId> {
    LocalId::new(u64::from_be_bytes([0, 0, a, b, c, d, e, f])).ok()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// Walks the records of one frame. A body is a slice of the frame, not a copy.
///
/// After an error the rest of the frame cannot be read, so the error is the last item.
#[derive(Clone, Debug)]
pub struct Records {
    rest: Bytes,
}

impl Records {
    /// The records in `payload`: what a session delivers, without its session header.
    pub fn new(payload: Bytes) -> Self {
        Self { rest: payload }
    }

    fn take(&mut self) -> Result<(RecordHeader, Bytes), WireError> {
        let (header, len, body_len) = RecordHeader::decode_prefix(&self.rest)?;
        let end = len.saturating_add(body_len as usize);
        if end > self.rest.len() {
            return Err(truncated("record body", end, self.rest.len()));
        }
        let body = self.rest.slice(len..end);
        self.rest.advance(end);
        Ok((header, body))
    }
}

impl Iterator for Records {
    type Item = Result<(RecordHeader, Bytes), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.take();
        if item.is_err() {
            self.rest.clear();
        }
        Some(item)
    }
}

/// Checks that `bytes` are exactly `count` well-formed records.
pub(crate) fn check_records(mut bytes: &[u8], count: u16) -> Result<(), WireError> {
    for _ in 0..count {
        let (_, len, body_len) = RecordHeader::decode_prefix(bytes)?;
        let end = len.saturating_add(body_len as usize);
        let Some(rest) = bytes.get(end..) else {
            return Err(truncated("record body", end, bytes.len()));
        };
        bytes = rest;
    }
    if bytes.is_empty() { Ok(()) } else { Err(WireError::TrailingBytes(bytes.len())) }
}

/// One piece of a record that is too large for a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// This piece begins a record.
    pub first: bool,
    /// This piece ends a record.
    pub last: bool,
    /// The bytes of the encoded record that this piece carries.
    pub piece: Bytes,
}

impl Fragment {
    /// Bytes in front of the piece.
    pub const HEADER_LEN: usize = 1;

    /// The byte in front of a piece.
    pub(crate) const fn lead(first: bool, last: bool) -> u8 {
        let first = if first { FRAGMENT_FIRST } else { 0 };
        let last = if last { FRAGMENT_LAST } else { 0 };
        FRAGMENT_KIND | first | last
    }

    /// Whether the content of a frame is a piece of a record rather than whole records.
    pub fn is_fragment(payload: &[u8]) -> bool {
        payload.first().is_some_and(|first| first & KIND_MASK == FRAGMENT_KIND)
    }

    /// Reads the content of a frame for which [`is_fragment`](Self::is_fragment) holds.
    ///
    /// # Errors
    /// [`WireError`] if the content is no fragment, an empty one, or has reserved bits set.
    pub fn decode(mut payload: Bytes) -> Result<Self, WireError> {
        let Some(&lead) = payload.first() else {
            return Err(truncated("fragment", Self::HEADER_LEN, 0));
        };
        if lead & KIND_MASK != FRAGMENT_KIND {
            return Err(WireError::UnknownKind(lead & KIND_MASK));
        }
        let reserved = lead & !(KIND_MASK | FRAGMENT_FIRST | FRAGMENT_LAST);
        if reserved != 0 {
            return Err(WireError::ReservedBits(reserved.into()));
        }
        payload.advance(Self::HEADER_LEN);
        if payload.is_empty() {
            return Err(truncated("fragment", Self::HEADER_LEN + 1, Self::HEADER_LEN));
        }
        Ok(Self {
            first: lead & FRAGMENT_FIRST != 0,
            last: lead & FRAGMENT_LAST != 0,
            piece: payload,
        })
    }
}

/// The stable number of a message type: 32-bit FNV-1a of its name.
///
/// Source: Fowler, Noll, Vo, <http://www.isthe.com/chongo/tech/comp/fnv/>. Two names of one program
/// can collide (one pair in four thousand million), so whoever registers types compares the names.
pub const fn type_hash(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

fn local_bytes(id: Option<LocalId>) -> [u8; 6] {
    let [_, _, bytes @ ..] = id.map_or(0, LocalId::get).to_be_bytes();
    bytes
}

fn truncated(what: &'static str, need: usize, have: usize) -> WireError {
    WireError::Truncated { what, need, have }
}

/// Receiver and type within it.
const TARGET: std::ops::Range<usize> = 1..11;
const FIXED_LEN: usize = 17;
const KIND_MASK: u8 = 0x0f;
const FLAG_FROM: u8 = 0x10;
const FLAG_CORRELATION: u8 = 0x20;
const FLAG_DEADLINE: u8 = 0x40;
const FLAG_RESERVED: u8 = 0x80;
const FRAGMENT_KIND: u8 = 6;
const FRAGMENT_FIRST: u8 = 0x10;
const FRAGMENT_LAST: u8 = 0x20;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use proptest::prelude::*;

    fn local(number: u64) -> Option<LocalId> {
        LocalId::new(number).ok()
    }

    fn tell() -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Tell,
            to: local(0x0102_0304_0506),
            from: local(9),
            type_hash: type_hash("chat.Line"),
            version: 3,
            correlation: 0,
            deadline_ms: 0,
        }
    }

    fn any_header() -> impl Strategy<Value = RecordHeader> {
        let kinds = [
            RecordKind::Tell,
            RecordKind::Ask,
            RecordKind::Reply,
            RecordKind::ReplyError,
            RecordKind::Signal,
        ];
        let ids = (0..kinds.len(), 0..1_u64 << 48, prop_oneof![Just(0), 1..1_u64 << 48]);
        let rest = (any::<u32>(), any::<u16>(), any::<u32>(), 0..3_u32);
        (ids, rest).prop_map(move |((kind, to, from), (hash, version, correlation, deadline))| {
            RecordHeader {
                kind: kinds[kind],
                to: local(to),
                from: local(from),
                type_hash: hash,
                version,
                correlation,
                deadline_ms: deadline,
            }
        })
    }

    #[test]
    fn a_tell_with_its_sender_costs_at_most_24_bytes() {
        let mut out = BytesMut::new();
        tell().encode_into(b"body", &mut out);
        assert_eq!(out.len() - 4, 23);
        assert_eq!(out.len(), tell().encoded_len(4));
    }

    #[test]
    fn the_layout_is_the_drawn_one() {
        let header = RecordHeader {
            kind: RecordKind::Ask,
            type_hash: 0x0a0b_0c0d,
            correlation: 5,
            deadline_ms: 6,
            ..tell()
        };
        let mut out = BytesMut::new();
        header.encode_into(&[0xee], &mut out);
        #[rustfmt::skip]
        let drawn = [
            0x72, 1, 2, 3, 4, 5, 6, 0x0a, 0x0b, 0x0c, 0x0d, 0, 3, 0, 0, 0, 1,
            0, 0, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 6, 0xee,
        ];
        assert_eq!(out[..], drawn);
    }

    #[test]
    fn type_hashes_are_those_of_the_published_test_vectors() {
        // From the FNV reference's test suite (test_fnv.c, fnv1a_32 vectors).
        assert_eq!(type_hash(""), 0x811c_9dc5);
        assert_eq!(type_hash("a"), 0xe40c_292c);
        assert_eq!(type_hash("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn each_shorter_input_ends_in_one_error() {
        let mut out = BytesMut::new();
        tell().encode_into(b"body", &mut out);
        let whole = out.freeze();
        for have in 1..whole.len() {
            let items: Vec<_> = Records::new(whole.slice(..have)).collect();
            assert!(matches!(items[..], [Err(WireError::Truncated { .. })]), "{have} bytes");
            assert!(check_records(&whole[..have], 1).is_err());
        }
        assert_eq!(check_records(&whole, 1), Ok(()));
        assert_eq!(check_records(&whole, 0), Err(WireError::TrailingBytes(whole.len())));
    }

    #[test]
    fn a_claimed_length_allocates_nothing_and_is_refused() {
        let mut out = BytesMut::new();
        tell().encode_header(u32::MAX, &mut out);
        let items: Vec<_> = Records::new(out.freeze()).collect();
        assert!(matches!(items[..], [Err(WireError::Truncated { what: "record body", .. })]));
    }

    #[test]
    fn a_fragment_is_told_from_records_by_its_first_byte() {
        let payload = Bytes::copy_from_slice(&[Fragment::lead(true, false), 7, 8]);
        assert!(Fragment::is_fragment(&payload));
        let piece = Bytes::from_static(&[7, 8]);
        let fragment = Fragment { first: true, last: false, piece };
        assert_eq!(Fragment::decode(payload), Ok(fragment));
        assert!(Fragment::decode(Bytes::new()).is_err());
        assert!(Fragment::decode(Bytes::from_static(&[FRAGMENT_KIND])).is_err());
        assert!(Fragment::decode(Bytes::from_static(&[FRAGMENT_KIND | 0x80, 1])).is_err());
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_went_in(
            records in proptest::collection::vec(
                (any_header(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let mut out = BytesMut::new();
            for (header, body) in &records {
                header.encode_into(body, &mut out);
            }
            let payload = out.freeze();
            prop_assert_eq!(check_records(&payload, records.len() as u16), Ok(()));
            let back: Vec<_> = Records::new(payload)
                .map(|item| item.map(|(header, body)| (header, body.to_vec())))
                .collect::<Result<_, _>>()
                .expect("well-formed");
            prop_assert_eq!(back, records);
        }

        #[test]
        fn any_bytes_end_in_records_or_one_error(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u8..8,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x70 | kind;
            }
            if bytes.len() > 16 {
                bytes[13..16].fill(0);
            }
            let payload = Bytes::from(bytes);
            let items: Vec<_> = Records::new(payload.clone()).collect();
            let good = items.iter().take_while(|item| item.is_ok()).count();
            prop_assert!(items.len() - good <= 1);
            let whole = good == items.len();
            prop_assert_eq!(check_records(&payload, good as u16).is_ok(), whole);
            let _ = Fragment::decode(payload);
        }
    }
}
