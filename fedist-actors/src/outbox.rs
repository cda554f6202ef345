//! What waits for the hub to hand it to the session with one region.
//!
//! Senders encode their records right behind each other into one batch, whichever thread they are on. The hub is told once
//! for a batch, takes it as it is, and the session makes a frame of it: a message on its way costs no allocation, no queue
//! entry and no wake-up of its own.

use std::collections::VecDeque;

use bytes::Bytes;
use fedist_transport::wire::RecordHeader;
use tokio::sync::oneshot;

use crate::{AskError, message::Body};

pub(crate) type Reply = oneshot::Sender<Result<Bytes, AskError>>;

#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// Where the next record goes, behind those.
    open: Option<Batch>,
    /// Messages that have passed the gate, ever: with the session's own counters this gives conservation (C10).
    accepted: u64,
    /// The hub knows that there is something.
    announced: bool,
    /// Room that the next batch begins with: as much as the last one took.
    room: usize,
}

/// What the hub takes from an outbox, in the order in which it was put there.
pub(crate) enum Waiting {
    Batch(Batch),
    Large(Large),
}

/// Encoded records, one behind the other.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<u8>,
    pub(crate) count: u16,
    /// What they have taken at their gate.
    pub(crate) gated: usize,
    pub(crate) asks: Vec<BatchedAsk>,
}

/// An ask in a batch, which has no number yet.
pub(crate) struct BatchedAsk {
    /// Where its correlation stands.
    pub(crate) at: usize,
    pub(crate) deadline_ms: u32,
    pub(crate) reply: Reply,
}

/// A record that is worth more than a copy.
pub(crate) struct Large {
    pub(crate) header: RecordHeader,
    pub(crate) body: Bytes,
    pub(crate) gated: usize,
    pub(crate) reply: Option<Reply>,
}

impl Outbox {
    /// Adds a record that has taken `gated` bytes at the gate. True when the hub is to be told.
    pub(crate) fn put(
        &mut self,
        header: &RecordHeader,
        body: Body,
        gated: usize,
        reply: Option<Reply>,
    ) -> bool {
        let correlation = if reply.is_some() { UNNUMBERED } else { header.correlation };
        let header = RecordHeader { correlation, ..*header };
        let len = header.encoded_len(body.len());
        self.accepted += u64::from(gated > 0);
        if len > BATCH_LEN {
            self.close_batch();
            let body = body.into_bytes();
            self.waiting.push_back(Waiting::Large(Large { header, body, gated, reply }));
        } else {
            let batch = self.open_batch(len);
            if let Some((at, reply)) = header.correlation_at().zip(reply) {
                let at = batch.records.len() + at;
                batch.asks.push(BatchedAsk { at, deadline_ms: header.deadline_ms, reply });
            }
            header.encode_into(&body, &mut batch.records);
            batch.count += 1;
            batch.gated += gated;
        }
        !std::mem::replace(&mut self.announced, true)
    }

    /// Takes everything. The next record is announced again.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waiting> + use<> {
        self.announced = false;
        let last = self.open.take();
        if let Some(last) = &last {
            self.room = last.records.len();
        }
        std::mem::take(&mut self.waiting).into_iter().chain(last.map(Waiting::Batch))
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    fn open_batch(&mut self, len: usize) -> &mut Batch {
        let full = |batch: &Batch| batch.records.len() + len > BATCH_LEN || batch.count == u16::MAX;
        if self.open.as_ref().is_some_and(full) {
            self.close_batch();
        }
        // One that follows a full one will hardly be shorter.
        let room = if self.waiting.is_empty() { self.room } else { BATCH_LEN };
        self.open.get_or_insert_with(|| Batch {
            records: Vec::with_capacity(len.max(room)),
            ..Batch::default()
        })
    }

    fn close_batch(&mut self) {
        self.waiting.extend(self.open.take().map(Waiting::Batch));
    }
}

/// What an ask has for a correlation until the hub has numbered it.
const UNNUMBERED: u32 = u32::MAX;

/// Bytes of a batch: what a session puts into one frame under load.
const BATCH_LEN: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use fedist_registry::LocalId;
    use fedist_transport::wire::{RecordKind, Records};

    use super::*;

    fn header(kind: RecordKind, to: u64) -> RecordHeader {
        RecordHeader {
            kind,
            to: LocalId::new(to).ok(),
            from: LocalId::new(7).ok(),
            type_hash: 1,
            version: 1,
            correlation: 0,
            deadline_ms: if kind == RecordKind::Ask { 500 } else { 0 },
        }
    }

    fn put(outbox: &mut Outbox, to: u64, len: usize) -> bool {
        let body = Body::from(Bytes::from(vec![to as u8; len]));
        outbox.put(&header(RecordKind::Tell, to), body, len, None)
    }

    #[test]
    fn the_hub_is_told_once_until_it_has_taken_what_is_there() {
        let mut outbox = Outbox::default();
        assert!(put(&mut outbox, 300, 10));
        assert!(!put(&mut outbox, 300, 10));
        assert_eq!(outbox.take().count(), 1);
        assert_eq!(outbox.take().count(), 0);
        assert!(put(&mut outbox, 300, 10));
    }

    #[test]
    fn records_keep_their_order_over_batches_and_large_ones() {
        let mut outbox = Outbox::default();
        let lens = [64, 20_000, 16_000, 40_000, 64, 64, 32_700];
        for (at, len) in lens.into_iter().enumerate() {
            put(&mut outbox, 300 + at as u64, len);
        }
        let (mut seen, mut gated, mut frames) = (Vec::new(), 0, 0);
        for waiting in outbox.take() {
            frames += 1;
            match waiting {
                Waiting::Batch(batch) => {
                    assert!(batch.records.len() <= BATCH_LEN);
                    gated += batch.gated;
                    let records: Vec<_> = Records::new(Bytes::from(batch.records))
                        .map(|record| record.expect("a record"))
                        .collect();
                    assert_eq!(records.len(), usize::from(batch.count));
                    seen.extend(records);
                }
                Waiting::Large(large) => {
                    gated += large.gated;
                    seen.push((large.header, large.body));
                }
            }
        }
        let got: Vec<(u64, usize)> = seen
            .iter()
            .map(|(header, body)| (header.to.expect("a receiver").get(), body.len()))
            .collect();
        let sent: Vec<(u64, usize)> = (300..).zip(lens).collect();
        assert_eq!(got, sent);
        assert_eq!(gated, lens.iter().sum::<usize>());
        assert_eq!(frames, 5);
    }

    #[test]
    fn an_ask_leaves_room_for_its_number() {
        let mut outbox = Outbox::default();
        put(&mut outbox, 300, 5);
        let (reply, _answer) = oneshot::channel();
        let body = Body::from(Bytes::from_static(b"question"));
        outbox.put(&header(RecordKind::Ask, 301), body, 8, Some(reply));
        let Some(Waiting::Batch(mut batch)) = outbox.take().next() else {
            panic!("one batch");
        };
        let [ask] = &batch.asks[..] else {
            panic!("one ask");
        };
        assert_eq!(ask.deadline_ms, 500);
        batch.records[ask.at..ask.at + 4].copy_from_slice(&77_u32.to_be_bytes());
        let records: Vec<_> = Records::new(Bytes::from(batch.records)).flatten().collect();
        assert_eq!(records[1].0.correlation, 77);
        assert_eq!(&records[1].1[..], b"question");
    }
}
