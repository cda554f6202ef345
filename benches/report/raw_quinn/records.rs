//! Records of the floor: with a header as long as FeDist's, and read no further than needed to
//! count them.

use anyhow::{Result, bail};
use bytes::{BufMut, BytesMut};

#[derive(Copy, Clone)]
pub(super) enum Kind {
    /// A message that is counted.
    Tick = 1,
    /// The question how many there were.
    Total = 2,
}

/// kind, receiver, type, version, length, sender: what FeDist's header of a tell has.
pub(super) const HEADER_LEN: usize = 1 + 6 + 4 + 2 + 4 + 6;

/// Receivers that are told apart.
pub(super) const RECEIVERS: usize = 16;

pub(super) fn put_record(buffer: &mut BytesMut, kind: Kind, receiver: usize, body: &[u8]) {
    put_header(buffer, kind, receiver, body.len());
    buffer.put_slice(body);
}

pub(super) fn put_header(buffer: &mut BytesMut, kind: Kind, receiver: usize, len: usize) {
    buffer.put_u8(kind as u8);
    buffer.put_uint(FIRST_RECEIVER + receiver as u64, 6);
    buffer.put_u32(0x5eed_cafe);
    buffer.put_u16(1);
    buffer.put_u32(len as u32);
    buffer.put_uint(257, 6);
}

/// Reads records off a stream that is cut anywhere.
#[derive(Default)]
pub(super) struct Counting {
    ticks: [u64; RECEIVERS],
    /// The beginning of a record whose end has not come yet.
    begun: Vec<u8>,
}

impl Counting {
    /// Of all receivers.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.iter().sum()
    }

    /// Counts the ticks of a chunk; gives how often the total was asked for.
    pub(super) fn push(&mut self, mut chunk: &[u8]) -> Result<usize> {
        let mut asked = 0;
        while !self.begun.is_empty() {
            let whole = record_len(&self.begun).unwrap_or(HEADER_LEN);
            let missing = whole - self.begun.len();
            let Some((end, rest)) = chunk.split_at_checked(missing) else {
                self.begun.extend_from_slice(chunk);
                return Ok(asked);
            };
            self.begun.extend_from_slice(end);
            chunk = rest;
            if record_len(&self.begun) == Some(whole) {
                let record = std::mem::take(&mut self.begun);
                asked += self.take(&record)?;
                self.begun = record;
                self.begun.clear();
            } else if let Some(len) = record_len(&self.begun) {
                self.begun.reserve(len - HEADER_LEN);
            }
        }
        while let Some((record, rest)) =
            record_len(chunk).and_then(|len| chunk.split_at_checked(len))
        {
            asked += self.take(record)?;
            chunk = rest;
        }
        self.begun.extend_from_slice(chunk);
        Ok(asked)
    }

    fn take(&mut self, record: &[u8]) -> Result<usize> {
        let (header, body) = record.split_at(HEADER_LEN);
        let [kind, _, _, _, _, high, low, ..] = *header else {
            bail!("a short header");
        };
        // The receiver decides what becomes of a record, so it is looked up.
        let receiver = u64::from(u16::from_be_bytes([high, low])) - FIRST_RECEIVER;
        let Some(ticks) = self.ticks.get_mut(receiver as usize) else {
            bail!("no such receiver");
        };
        std::hint::black_box(body);
        match kind {
            1 => *ticks += 1,
            2 => return Ok(1),
            other => bail!("unknown kind {other}"),
        }
        Ok(0)
    }
}

/// What the header says, once it is whole.
fn record_len(begun: &[u8]) -> Option<usize> {
    let length = begun.get(13..17)?;
    begun.get(HEADER_LEN - 1)?;
    Some(HEADER_LEN + u32::from_be_bytes(length.try_into().ok()?) as usize)
}

const FIRST_RECEIVER: u64 = 256;
