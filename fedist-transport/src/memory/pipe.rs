//! One direction of one memory link: frames under way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use crate::link::{LinkError, RECV_SHARE};
use crate::wire::{HOP_HEADER_LEN, HopHeader};

#[derive(Default)]
pub(super) struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    lanes: [Lane; 3],
    reader: Option<Waker>,
    /// The writer of the other direction, which ends with this one.
    watcher: Option<Waker>,
    /// The end that the reader will see, and when it gets there.
    end: Option<(Instant, LinkError)>,
    /// Nothing goes in any more, and nobody is told.
    vanished: bool,
}

#[derive(Default)]
struct Lane {
    frames: VecDeque<(Instant, HopHeader, Bytes)>,
    bytes: usize,
    last_due: Option<Instant>,
    writer: Option<Waker>,
}

/// What a look into the pipe gave.
pub(super) enum Arrival {
    /// Frames have been appended.
    Frames,
    /// Nothing before then, unless the pipe wakes the reader.
    Until(Instant),
    /// Nothing until the pipe wakes the reader.
    Nothing,
    /// The link has ended and everything before it has been read.
    End(LinkError),
}

impl Pipe {
    /// Waits until `class` has room: as on a real link, a reader that stops holds its writer back.
    pub(super) fn poll_room(&self, class: usize, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let vanished = state.vanished;
        let Some(lane) = state.lanes.get_mut(class) else {
            return Poll::Ready(());
        };
        if vanished || lane.bytes < WINDOW {
            return Poll::Ready(());
        }
        lane.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Puts a frame on its way, behind those of its class that are under way already.
    pub(super) fn push(&self, due: Instant, header: HopHeader, payload: Bytes) {
        let mut state = self.lock();
        if state.vanished || state.end.is_some() {
            return;
        }
        if let Some(lane) = state.lanes.get_mut(header.class.index()) {
            let due = lane.last_due.map_or(due, |last| last.max(due));
            lane.last_due = Some(due);
            lane.bytes += HOP_HEADER_LEN + payload.len();
            lane.frames.push_back((due, header, payload));
        }
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Lets the reader know that its peer has closed, behind everything under way.
    pub(super) fn close(&self, due: Instant, error: LinkError) {
        let mut state = self.lock();
        if state.vanished || state.end.is_some() {
            return;
        }
        let last = state.lanes.iter().filter_map(|lane| lane.last_due).max();
        state.end = Some((last.map_or(due, |last| last.max(due)), error));
        let (reader, watcher) = (state.reader.take(), state.watcher.take());
        drop(state);
        wake(reader);
        wake(watcher);
    }

    /// Waits until the reader may see the end.
    pub(super) async fn ended(&self) -> LinkError {
        let (due, error) = poll_fn(|context| {
            let mut state = self.lock();
            if let Some(end) = &state.end {
                return Poll::Ready(end.clone());
            }
            state.watcher = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        tokio::time::sleep_until(due).await;
        error
    }

    /// From now on whatever goes in is gone; what is under way still arrives.
    pub(super) fn vanish(&self) {
        let mut state = self.lock();
        state.vanished = true;
        let writers = state.lanes.each_mut().map(|lane| lane.writer.take());
        drop(state);
        writers.into_iter().for_each(wake);
    }

    /// Ends the reading side at once, frames under way included, unless it has ended already.
    pub(super) fn end_reader(&self, error: LinkError) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.end.as_ref().is_some_and(|(due, _)| *due <= now) {
            return;
        }
        for lane in &mut state.lanes {
            lane.frames.clear();
            lane.bytes = 0;
        }
        state.vanished = true;
        state.end = Some((now, error));
        let writers = state.lanes.each_mut().map(|lane| lane.writer.take());
        let (reader, watcher) = (state.reader.take(), state.watcher.take());
        drop(state);
        writers.into_iter().for_each(wake);
        wake(reader);
        wake(watcher);
    }

    pub(super) fn lose_reader(&self, detail: &str) {
        self.end_reader(LinkError::Lost { detail: detail.to_owned() });
    }

    /// Takes what has arrived of the classes that are not paused, control first; what is still under way when the end is due comes first.
    pub(super) fn take(
        &self,
        context: &Context<'_>,
        now: Instant,
        paused: [bool; 3],
        out: &mut Vec<(Instant, HopHeader, Bytes)>,
    ) -> Arrival {
        let mut state = self.lock();
        let mut next: Option<Instant> = None;
        let mut writers = [None, None, None];
        let lanes = state.lanes.iter_mut().zip(RECV_SHARE).zip(&mut writers).zip(paused);
        for ((lane, share), writer) in lanes.filter(|(_, paused)| !paused).map(|(lane, _)| lane) {
            for _ in 0..share {
                match lane.frames.front() {
                    Some(&(due, ..)) if due <= now => {}
                    Some(&(due, ..)) => {
                        next = Some(next.map_or(due, |next| next.min(due)));
                        break;
                    }
                    None => break,
                }
                if let Some((due, header, payload)) = lane.frames.pop_front() {
                    lane.bytes = lane.bytes.saturating_sub(HOP_HEADER_LEN + payload.len());
                    out.push((due, header, payload));
                }
            }
            if lane.bytes < WINDOW {
                *writer = lane.writer.take();
            }
        }
        let arrival = match (&state.end, next) {
            _ if !out.is_empty() => Arrival::Frames,
            (_, Some(next)) => Arrival::Until(next),
            (Some((due, error)), None) if *due <= now => Arrival::End(error.clone()),
            (Some((due, _)), None) => Arrival::Until(*due),
            (None, None) => Arrival::Nothing,
        };
        if matches!(arrival, Arrival::Until(_) | Arrival::Nothing) {
            state.reader = Some(context.waker().clone());
        }
        drop(state);
        writers.into_iter().for_each(wake);
        arrival
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What one class may have under way and unread, as a QUIC stream of ours.
const WINDOW: usize = 8 << 20;
