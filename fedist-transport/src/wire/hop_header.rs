//! What a relay reads of each frame on a link: 40 bytes, big endian.
//!
//! ```text
//!  0      1       2     3           4           5         6           8
//! +------+-------+-----+-----------+-----------+---------+-----------+
//! | kind | class | ttl | route_len | route_pos | repairs | flags = 0 |
//! +------+-------+-----+-----------+-----------+---------+-----------+
//!  8      10      12            16
//! +------+-------+-------------+
//! | src  | dst   | payload_len |            payload_len <= 64 KiB
//! +------+-------+-------------+
//!  16        20        24        28
//! +---------+---------+---------+
//! | sent_us | echo_us | held_us |            hop-local, rewritten on each link
//! +---------+---------+---------+
//!  28                                       40
//! +----------+----------+-- .. --+----------+
//! | relay 0  | relay 1  |        | relay 5  |   unused entries are zero
//! +----------+----------+-- .. --+----------+
//! ```
//!
//! The payload follows. A relay touches `ttl`, `route_pos`, `repairs`, the stamps and, when it
//! repairs a route, the relays that are still ahead; it never looks into the payload,
//! except for that of a trace, which is meant for it.

use std::fmt;

use fedist_registry::RegionId;

use super::WireError;

/// Length of an encoded [`HopHeader`].
pub const HOP_HEADER_LEN: usize = 40;

/// Greatest payload of one frame. Larger records travel as fragments.
pub const MAX_FRAME_PAYLOAD: usize = 64 * 1024;

/// Most relays between the two ends of a route.
pub const MAX_RELAYS: usize = 6;

/// What the payload of a frame is, and who reads it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// End to end: a session header and records, read by the destination only.
    Session = 1,
    /// Hop-local control message between the two hubs of a link.
    Control = 2,
    /// Asks the other end of the link to answer at once.
    Ping = 3,
    /// The answer to a [`FrameKind::Ping`]; its echo stamp is the measurement.
    Pong = 4,
    /// A relay tells the origin of a frame that it cannot pass it on: the region behind the dead link and the frame's
    /// destination, 2 bytes each. Goes back over the relays that the frame came by.
    LinkDown = 8,
    /// Takes the way of a message and collects what each relay says about itself, or brings that back to the origin.
    /// Relays read and extend the payload; it promises nothing to anybody.
    Trace = 9,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Result<Self, WireError> {
        match byte {
            1 => Ok(Self::Session),
            2 => Ok(Self::Control),
            3 => Ok(Self::Ping),
            4 => Ok(Self::Pong),
            8 => Ok(Self::LinkDown),
            9 => Ok(Self::Trace),
            other => Err(WireError::UnknownKind(other)),
        }
    }
}

/// Priority class of a frame. Each class has its own stream on a link and its own bound in queues,
/// so a full bulk queue never delays control.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Link control, probes and bare acknowledgements.
    Control = 0,
    /// Ordinary messages.
    Message = 1,
    /// Large messages in pieces, and what must stay in order behind them.
    Bulk = 2,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Class; 3] = [Class::Control, Class::Message, Class::Bulk];

    /// The place of this class in [`Class::ALL`]; also its byte on the wire.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl TryFrom<u8> for Class {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        match byte {
            0 => Ok(Self::Control),
            1 => Ok(Self::Message),
            2 => Ok(Self::Bulk),
            other => Err(WireError::UnknownClass(other)),
        }
    }
}

/// Stamps of one link, on the clocks of the two nodes, in microseconds modulo 2^32.
///
/// As in NTP (RFC 5905) the receiver gets four readings: T1 `echo_us`, T2 `sent_us - held_us`, T3 `sent_us` and T4, its own
/// clock now. The round trip is `T4 - T1 - held_us`, and the peer's clock is ahead by `T3 - T4` at least and `T2 - T1` at
/// most; all of it wraps.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sender's clock when the frame was written.
    pub sent_us: u32,
    /// The last `sent_us` that the sender had seen from the other end.
    pub echo_us: u32,
    /// How long the sender held that stamp before this frame; [`Stamp::NO_ECHO`] if it echoes none.
    pub held_us: u32,
}

impl Stamp {
    /// `held_us` of a stamp without an echo.
    pub const NO_ECHO: u32 = u32::MAX;

    /// A stamp that says nothing yet: what a frame carries before a link fills it at write time.
    pub const EMPTY: Stamp = Stamp { sent_us: 0, echo_us: 0, held_us: Stamp::NO_ECHO };
}

impl Default for Stamp {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The relays that a frame is to pass, in order, and how many of them it has passed.
///
/// Neither end is part of it: a route without relays goes straight to the destination. No region
/// appears twice, so a frame cannot run in a circle by its route.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default)]
pub struct SourceRoute {
    relays: [Option<RegionId>; MAX_RELAYS],
    len: u8,
    position: u8,
}

impl SourceRoute {
    /// No relays: the destination is at the other end of the link.
    pub const DIRECT: SourceRoute = SourceRoute { relays: [None; MAX_RELAYS], len: 0, position: 0 };

    /// A route over `relays`, none of them passed yet.
    ///
    /// # Errors
    /// [`WireError::BadRoute`] for more than [`MAX_RELAYS`] relays or a region that appears twice.
    pub fn new(relays: &[RegionId]) -> Result<Self, WireError> {
        let mut route = Self::DIRECT;
        for &relay in relays {
            route.append(relay)?;
        }
        Ok(route)
    }

    /// The relay that the frame is on its way to; `None` on the last link, to the destination.
    pub fn next_relay(&self) -> Option<RegionId> {
        self.relays.get(usize::from(self.position)).copied().flatten()
    }

    /// Where the next link must lead: the next relay, or `dst` behind the last one.
    pub fn next_hop(&self, dst: RegionId) -> RegionId {
        self.next_relay().unwrap_or(dst)
    }

    /// Notes that the frame has reached its next relay. Past the last relay nothing changes.
    pub fn advance(&mut self) {
        if self.position < self.len {
            self.position += 1;
        }
    }

    /// Whether `region` is a relay of this route, passed or still ahead.
    pub fn contains(&self, region: RegionId) -> bool {
        self.relays.contains(&Some(region))
    }

    /// The relays that the frame has passed, in order.
    pub fn visited(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.relays().take(usize::from(self.position))
    }

    /// All relays in order, passed ones first.
    pub fn relays(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.relays.iter().flatten().copied()
    }

    /// The same past with another future: keeps the relays passed so far and goes on over `ahead`.
    ///
    /// # Errors
    /// [`WireError::BadRoute`] if that is too long or would pass a region twice; the frame then
    /// has no repair here.
    pub fn repaired(&self, ahead: &[RegionId]) -> Result<Self, WireError> {
        let mut route = Self::DIRECT;
        for relay in self.visited() {
            route.append(relay)?;
        }
        route.position = self.position;
        for &relay in ahead {
            route.append(relay)?;
        }
        Ok(route)
    }

    /// Number of relays.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the route has no relay at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many relays the frame has passed.
    pub const fn position(&self) -> usize {
        self.position as usize
    }

    fn append(&mut self, relay: RegionId) -> Result<(), WireError> {
        if self.contains(relay) {
            return Err(WireError::BadRoute);
        }
        let slot = self.relays.get_mut(usize::from(self.len)).ok_or(WireError::BadRoute)?;
        *slot = Some(relay);
        self.len += 1;
        Ok(())
    }
}

impl fmt::Debug for SourceRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceRoute[")?;
        for (place, relay) in self.relays().enumerate() {
            let mark = if place == self.position() { "*" } else { "" };
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{mark}{relay}")?;
        }
        write!(f, "]")
    }
}

/// What a relay reads of a frame. See the module text for the layout.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HopHeader {
    /// What the payload is.
    pub kind: FrameKind,
    /// Priority class; the same on each link of the route.
    pub class: Class,
    /// Links that the frame may still pass; a relay that would forward with 0 drops it.
    pub ttl: u8,
    /// How often a relay has replaced the rest of the route.
    pub repairs: u8,
    /// Region that made the frame.
    pub src: RegionId,
    /// Region that the payload is for.
    pub dst: RegionId,
    /// Bytes that follow the header, at most [`MAX_FRAME_PAYLOAD`].
    pub payload_len: u32,
    /// Hop-local round trip stamps.
    pub stamp: Stamp,
    /// The relays to pass.
    pub route: SourceRoute,
}

impl HopHeader {
    /// The bytes of this header. [`decode`](Self::decode) refuses a `payload_len` above the limit,
    /// so a sender that exceeds it loses its link at the first such frame.
    pub fn encode(&self) -> [u8; HOP_HEADER_LEN] {
        let mut out = [0; HOP_HEADER_LEN];
        out[0] = self.kind as u8;
        out[1] = self.class as u8;
        out[2] = self.ttl;
        out[3] = self.route.len;
        out[4] = self.route.position;
        out[5] = self.repairs;
        out[8..10].copy_from_slice(&self.src.get().to_be_bytes());
        out[10..12].copy_from_slice(&self.dst.get().to_be_bytes());
        out[12..16].copy_from_slice(&self.payload_len.to_be_bytes());
        out[16..20].copy_from_slice(&self.stamp.sent_us.to_be_bytes());
        out[20..24].copy_from_slice(&self.stamp.echo_us.to_be_bytes());
        out[24..28].copy_from_slice(&self.stamp.held_us.to_be_bytes());
        for (slot, relay) in out[28..].chunks_exact_mut(2).zip(self.route.relays) {
            slot.copy_from_slice(&relay.map_or(0, RegionId::get).to_be_bytes());
        }
        out
    }

    /// Reads a header and checks each field, so that what it returns can be used as it is.
    ///
    /// # Errors
    /// The first rule that the bytes break; see [`WireError`].
    pub fn decode(bytes: &[u8; HOP_HEADER_LEN]) -> Result<Self, WireError> {
        let kind = FrameKind::from_byte(bytes[0])?;
        let class = Class::try_from(bytes[1])?;
        let flags = u16::from_be_bytes([bytes[6], bytes[7]]);
        if flags != 0 {
            return Err(WireError::ReservedBits(flags));
        }
        let src = region(bytes[8], bytes[9])?;
        let dst = region(bytes[10], bytes[11])?;
        let payload_len = word(bytes, 12);
        if payload_len as usize > MAX_FRAME_PAYLOAD {
            return Err(WireError::TooLong {
                what: "frame payload",
                len: payload_len.into(),
                max: MAX_FRAME_PAYLOAD as u64,
            });
        }
        Ok(Self {
            kind,
            class,
            ttl: bytes[2],
            repairs: bytes[5],
            src,
            dst,
            payload_len,
            stamp: Stamp {
                sent_us: word(bytes, 16),
                echo_us: word(bytes, 20),
                held_us: word(bytes, 24),
            },
            route: route(bytes)?,
        })
    }
}

fn route(bytes: &[u8; HOP_HEADER_LEN]) -> Result<SourceRoute, WireError> {
    let (len, position) = (bytes[3], bytes[4]);
    if usize::from(len) > MAX_RELAYS || position > len {
        return Err(WireError::BadRoute);
    }
    let mut route = SourceRoute::DIRECT;
    for (place, pair) in bytes[28..].chunks_exact(2).enumerate() {
        if place < usize::from(len) {
            route.append(region(pair[0], pair[1])?)?;
        } else if pair != [0, 0] {
            return Err(WireError::BadRoute);
        }
    }
    route.position = position;
    Ok(route)
}

fn region(high: u8, low: u8) -> Result<RegionId, WireError> {
    let number = u16::from_be_bytes([high, low]);
    RegionId::new(number).map_err(|_| WireError::BadRegion(number))
}

fn word(bytes: &[u8; HOP_HEADER_LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u16) -> RegionId {
        RegionId::new(number).expect("a valid region")
    }

    fn sample() -> HopHeader {
        let mut route = SourceRoute::new(&[id(3), id(4)]).expect("two relays");
        route.advance();
        HopHeader {
            kind: FrameKind::Session,
            class: Class::Bulk,
            ttl: 8,
            repairs: 1,
            src: id(1),
            dst: id(65534),
            payload_len: 65536,
            stamp: Stamp { sent_us: 0x0102_0304, echo_us: 5, held_us: 6 },
            route,
        }
    }

    #[test]
    fn the_layout_is_the_drawn_one() {
        #[rustfmt::skip]
        let drawn = [
            1, 2, 8, 2, 1, 1, 0, 0,
            0, 1, 0xff, 0xfe, 0, 1, 0, 0,
            1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 6,
            0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(sample().encode(), drawn);
        assert_eq!(HopHeader::decode(&drawn), Ok(sample()));
    }

    #[test]
    fn each_broken_field_is_refused_by_name() {
        let cases: [(usize, u8, WireError); 11] = [
            (0, 0, WireError::UnknownKind(0)),
            (0, 5, WireError::UnknownKind(5)),
            (1, 3, WireError::UnknownClass(3)),
            (3, 7, WireError::BadRoute),
            (4, 3, WireError::BadRoute),
            (6, 0x80, WireError::ReservedBits(0x8000)),
            (9, 0, WireError::BadRegion(0)),
            (11, 0xff, WireError::BadRegion(0xffff)),
            (15, 1, WireError::TooLong { what: "frame payload", len: 65537, max: 65536 }),
            (31, 3, WireError::BadRoute),
            (39, 1, WireError::BadRoute),
        ];
        for (at, value, error) in cases {
            let mut bytes = sample().encode();
            bytes[at] = value;
            assert_eq!(HopHeader::decode(&bytes), Err(error), "byte {at} = {value}");
        }
    }

    #[test]
    fn a_route_leads_over_its_relays_to_the_destination() {
        let mut route = SourceRoute::new(&[id(3), id(4)]).expect("two relays");
        assert_eq!(route.next_hop(id(9)), id(3));
        route.advance();
        assert_eq!(route.next_hop(id(9)), id(4));
        assert_eq!(route.visited().collect::<Vec<_>>(), [id(3)]);
        route.advance();
        assert_eq!(route.next_hop(id(9)), id(9));
        route.advance();
        assert_eq!(route.position(), 2);
        assert!(route.contains(id(4)) && !route.contains(id(9)));
    }

    #[test]
    fn a_route_holds_six_different_relays() {
        let six: Vec<_> = (1..=6).map(id).collect();
        let seven: Vec<_> = (1..=7).map(id).collect();
        assert_eq!(SourceRoute::new(&six).map(|route| route.len()), Ok(6));
        assert_eq!(SourceRoute::new(&seven), Err(WireError::BadRoute));
        assert_eq!(SourceRoute::new(&[id(1), id(2), id(1)]), Err(WireError::BadRoute));
    }

    #[test]
    fn a_repair_keeps_the_past_and_never_returns_to_it() {
        let mut route = SourceRoute::new(&[id(3), id(4), id(5)]).expect("three relays");
        route.advance();
        let repaired = route.repaired(&[id(7)]).expect("another way");
        assert_eq!(repaired.relays().collect::<Vec<_>>(), [id(3), id(7)]);
        assert_eq!(repaired.next_relay(), Some(id(7)));
        assert_eq!(route.repaired(&[id(3)]), Err(WireError::BadRoute));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_header_that_encodes_back_or_to_an_error(
            bytes in any::<[u8; HOP_HEADER_LEN]>(),
        ) {
            if let Ok(header) = HopHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn nearly_valid_bytes_never_panic(at in 0..HOP_HEADER_LEN, value in any::<u8>()) {
            let mut bytes = sample().encode();
            bytes[at] = value;
            if let Ok(header) = HopHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
