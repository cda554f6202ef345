//! Frames of one class that wait for the wire.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::LinkSendError;
use crate::wire::{Class, HOP_HEADER_LEN, HopHeader};

/// How many bytes of each class a link queues, headers included. A class at its bound answers
/// [`Full`](LinkSendError::Full) and leaves the other classes alone. Raising a bound costs up to that
/// much memory per link, and latency for whoever queues behind.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Bound for control frames; default 1 MiB.
    pub control_bytes: usize,
    /// Bound for message frames; default 8 MiB.
    pub message_bytes: usize,
    /// Bound for bulk frames; default 8 MiB.
    pub bulk_bytes: usize,
}

impl LinkLimits {
    pub(super) fn of(&self, class: Class) -> usize {
        match class {
            Class::Control => self.control_bytes,
            Class::Message => self.message_bytes,
            Class::Bulk => self.bulk_bytes,
        }
    }
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self { control_bytes: 1 << 20, message_bytes: 8 << 20, bulk_bytes: 8 << 20 }
    }
}

pub(crate) struct QueuedFrame {
    pub(crate) header: HopHeader,
    pub(crate) parts: [Bytes; 2],
    /// When a frame in transit came in.
    pub(crate) received: Option<Instant>,
}

impl QueuedFrame {
    pub(crate) fn len(&self) -> usize {
        let [first, second] = &self.parts;
        HOP_HEADER_LEN + first.len() + second.len()
    }
}

pub(crate) struct SendQueue {
    class: Class,
    limit: usize,
    state: Mutex<State>,
}

/// What became of a frame that was to go to the wire at once.
pub(crate) enum Direct {
    Written,
    /// The wire took only its beginning; the rest goes before everything else of its class.
    Rest(Vec<Bytes>),
    /// It cannot now.
    Refused(QueuedFrame),
}

/// What the writer takes from a queue, in this order.
#[derive(Default)]
pub(crate) struct Taken {
    /// The rest of a frame of which the beginning is on the wire.
    pub(crate) rest: Vec<Bytes>,
    pub(crate) frames: Vec<QueuedFrame>,
}

impl Taken {
    pub(crate) fn len(&self) -> usize {
        let rest: usize = self.rest.iter().map(Bytes::len).sum();
        rest + self.frames.iter().map(QueuedFrame::len).sum::<usize>()
    }
}

#[derive(Default)]
struct State {
    rest: Vec<Bytes>,
    frames: VecDeque<QueuedFrame>,
    /// Bytes in `rest`, in `frames` and in the writer's hands.
    bytes: usize,
    closed: bool,
    writer: Option<Waker>,
}

impl SendQueue {
    pub(super) fn new(class: Class, limit: usize) -> Self {
        Self { class, limit, state: Mutex::default() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Adds a frame. Where nothing is before it, `direct` may put it on the wire at once: that spares a turn of the writer.
    pub(super) fn push(
        &self,
        mut frame: QueuedFrame,
        direct: impl FnOnce(QueuedFrame) -> Direct,
    ) -> Result<(), LinkSendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(LinkSendError::Closed);
        }
        if state.bytes == 0 {
            // Under the queue's lock, so that nobody gets between.
            match direct(frame) {
                Direct::Written => return Ok(()),
                Direct::Rest(rest) => {
                    state.bytes = rest.iter().map(Bytes::len).sum();
                    state.rest = rest;
                    wake(state);
                    return Ok(());
                }
                Direct::Refused(refused) => frame = refused,
            }
        }
        let bytes = state.bytes + frame.len();
        // The first frame always fits, or a small bound would block a class for ever.
        if state.frames.len() >= MAX_FRAMES || (bytes > self.limit && state.bytes > 0) {
            return Err(LinkSendError::Full { class: self.class });
        }
        state.bytes = bytes;
        state.frames.push_back(frame);
        wake(state);
        Ok(())
    }

    /// Moves what waits into `out`, up to [`WRITE_BYTES`] or one frame. `false` once the queue is
    /// closed and empty. The bytes stay counted until [`release`](Self::release).
    pub(crate) fn poll_take(&self, context: &Context<'_>, taken: &mut Taken) -> Poll<bool> {
        let mut state = self.lock();
        if !state.rest.is_empty() {
            taken.rest = std::mem::take(&mut state.rest);
            return Poll::Ready(true);
        }
        let out = &mut taken.frames;
        let mut bytes = 0;
        while let Some(frame) = state.frames.front() {
            bytes += frame.len();
            if bytes > WRITE_BYTES && !out.is_empty() {
                break;
            }
            out.extend(state.frames.pop_front());
        }
        if !out.is_empty() {
            return Poll::Ready(true);
        }
        if state.closed {
            return Poll::Ready(false);
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Gives back the room of frames that have been written.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
    }

    /// Empties the queue and gives what was in it; frames in the writer's hands stay there.
    pub(super) fn take_back(&self) -> VecDeque<QueuedFrame> {
        let mut state = self.lock();
        let frames = std::mem::take(&mut state.frames);
        let bytes: usize = frames.iter().map(QueuedFrame::len).sum();
        state.bytes = state.bytes.saturating_sub(bytes);
        frames
    }

    pub(super) fn discard(&self) {
        let mut state = self.lock();
        let frames = std::mem::take(&mut state.frames);
        let rest = std::mem::take(&mut state.rest);
        state.bytes = 0;
        drop(state);
        drop((frames, rest));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let writer = state.writer.take();
    drop(state);
    if let Some(writer) = writer {
        writer.wake();
    }
}

/// Most bytes in one write call. Larger writes save nothing more and make control wait behind them.
const WRITE_BYTES: usize = 256 * 1024;

/// Bounds what the bookkeeping of many tiny frames costs.
const MAX_FRAMES: usize = 64 * 1024;
