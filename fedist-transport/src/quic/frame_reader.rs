//! Frames out of the chunks of a stream.

use bytes::{Buf, Bytes, BytesMut};

use crate::link::ProtocolViolation;
use crate::wire::{Class, HOP_HEADER_LEN, HopHeader};

/// Cuts one stream's bytes into frames.
///
/// A frame that lies inside one chunk is a slice of it; only a frame that spans chunks is copied. It
/// holds one chunk and at most one frame's worth of copied bytes, which grow as they arrive.
pub(super) struct FrameReader {
    class: Class,
    chunk: Bytes,
    head: [u8; HOP_HEADER_LEN],
    head_len: usize,
    header: Option<HopHeader>,
    body: BytesMut,
}

impl FrameReader {
    pub(super) fn new(class: Class) -> Self {
        Self {
            class,
            chunk: Bytes::new(),
            head: [0; HOP_HEADER_LEN],
            head_len: 0,
            header: None,
            body: BytesMut::new(),
        }
    }

    /// Takes the stream's next chunk; the one before must be used up ([`next`](Self::next) said `None`).
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// The next frame that is complete.
    pub(super) fn next(&mut self) -> Result<Option<(HopHeader, Bytes)>, ProtocolViolation> {
        let header = match self.header {
            Some(header) => header,
            None => match self.next_header()? {
                Some(header) => *self.header.insert(header),
                None => return Ok(None),
            },
        };
        // The header's decoder has bounded it.
        let wanted = header.payload_len as usize;
        let payload = if self.body.is_empty() && self.chunk.len() >= wanted {
            let slice = self.chunk.split_to(wanted);
            if wanted <= COPIED { Bytes::copy_from_slice(&slice) } else { slice }
        } else {
            let missing = wanted.saturating_sub(self.body.len());
            let part = self.chunk.split_to(missing.min(self.chunk.len()));
            self.body.extend_from_slice(&part);
            if self.body.len() < wanted {
                return Ok(None);
            }
            std::mem::take(&mut self.body).freeze()
        };
        self.header = None;
        Ok(Some((header, payload)))
    }

    /// Whether the stream may end here.
    pub(super) fn is_between_frames(&self) -> bool {
        self.chunk.is_empty() && self.head_len == 0 && self.header.is_none()
    }

    fn next_header(&mut self) -> Result<Option<HopHeader>, ProtocolViolation> {
        let whole = if self.head_len == 0 { self.chunk.first_chunk().copied() } else { None };
        let head = match whole {
            Some(head) => {
                self.chunk.advance(HOP_HEADER_LEN);
                head
            }
            None => {
                let space = self.head.get_mut(self.head_len..).unwrap_or_default();
                let len = space.len().min(self.chunk.len());
                let part = self.chunk.split_to(len);
                for (to, from) in space.iter_mut().zip(part) {
                    *to = from;
                }
                self.head_len += len;
                if self.head_len < HOP_HEADER_LEN {
                    return Ok(None);
                }
                self.head_len = 0;
                self.head
            }
        };
        let header = HopHeader::decode(&head)?;
        if header.class != self.class {
            return Err(ProtocolViolation::WrongClass { stream: self.class, frame: header.class });
        }
        Ok(Some(header))
    }
}

/// Payloads up to this are copied out even if they lie inside a chunk: a slice keeps the whole
/// received buffer alive, up to 64 KiB, and queues count only the slice.
const COPIED: usize = 1024;

#[cfg(test)]
mod tests {
    use fedist_registry::RegionId;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{FrameKind, SourceRoute, Stamp};

    fn frame(class: Class, payload: &[u8]) -> Vec<u8> {
        let header = HopHeader {
            kind: FrameKind::Session,
            class,
            ttl: 8,
            repairs: 0,
            src: RegionId::MIN,
            dst: RegionId::MAX,
            payload_len: payload.len() as u32,
            stamp: Stamp::EMPTY,
            route: SourceRoute::DIRECT,
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_are_the_same_however_the_stream_is_cut(
            lens in prop::collection::vec(0_usize..3_000, 1..12),
            cuts in prop::collection::vec(1_usize..2_000, 1..40),
        ) {
            let payloads: Vec<Vec<u8>> = lens.iter().enumerate().map(|(n, &len)| vec![n as u8; len]).collect();
            let mut stream = Bytes::from(payloads.iter().flat_map(|p| frame(Class::Message, p)).collect::<Vec<u8>>());
            let mut reader = FrameReader::new(Class::Message);
            let mut got = Vec::new();
            for cut in cuts.iter().cycle() {
                if stream.is_empty() {
                    break;
                }
                reader.push(stream.split_to((*cut).min(stream.len())));
                while let Some((header, payload)) = reader.next().unwrap() {
                    prop_assert_eq!(header.payload_len as usize, payload.len());
                    got.push(payload.to_vec());
                }
            }
            prop_assert_eq!(got, payloads);
            prop_assert!(reader.is_between_frames());
        }

        #[test]
        fn any_bytes_give_frames_or_an_error_and_no_panic(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        ) {
            let mut reader = FrameReader::new(Class::Bulk);
            'stream: for chunk in chunks {
                reader.push(Bytes::from(chunk));
                loop {
                    match reader.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_on_the_stream_of_another_class_is_refused() {
        let mut reader = FrameReader::new(Class::Control);
        reader.push(Bytes::from(frame(Class::Bulk, b"x")));
        let expected = ProtocolViolation::WrongClass { stream: Class::Control, frame: Class::Bulk };
        assert_eq!(reader.next(), Err(expected));
    }

    #[test]
    fn a_claimed_length_alone_allocates_nothing() {
        let mut reader = FrameReader::new(Class::Bulk);
        let whole = frame(Class::Bulk, &[7; 60_000]);
        reader.push(Bytes::copy_from_slice(&whole[..HOP_HEADER_LEN]));
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(reader.body.capacity(), 0);
    }
}
