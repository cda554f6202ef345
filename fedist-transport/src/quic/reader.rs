//! The receiving half of a QUIC link.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, VarInt};

use super::frame_reader::FrameReader;
use super::part_waker::PartWaker;
use super::writer::link_error;
use crate::link::{InFrame, LinkCore, LinkError, LinkGuard, ProtocolViolation, RECV_SHARE};
use crate::wire::Class;

type Accepting = Pin<Box<dyn Future<Output = Result<RecvStream, ConnectionError>> + Send + Sync>>;

pub(crate) struct QuicReader {
    core: Arc<LinkCore>,
    connection: Connection,
    /// Whoever polls `recv`; the parts below wake it, and are polled only when it was they who did.
    task: Arc<AtomicWaker>,
    /// Kept over calls: a waiter for new streams that is dropped forgets its waker.
    accepting: Accepting,
    /// Of `accepting` and the streams that are unnamed.
    streams_waker: PartWaker,
    /// Streams that have not named their class yet.
    unnamed: Vec<RecvStream>,
    lanes: [Lane; 3],
    /// The connection's end, held back until everything before it has been handed out.
    dead: Option<ConnectionError>,
    failed: Option<LinkError>,
    violations: Arc<AtomicU64>,
    _guard: LinkGuard,
}

struct Lane {
    class: Class,
    stream: Option<RecvStream>,
    ended: bool,
    paused: bool,
    waker: PartWaker,
    frames: FrameReader,
}

impl QuicReader {
    pub(super) fn new(
        core: Arc<LinkCore>,
        connection: Connection,
        violations: Arc<AtomicU64>,
    ) -> Self {
        let task = Arc::new(AtomicWaker::new());
        Self {
            accepting: accept_stream(&connection),
            streams_waker: PartWaker::new(&task),
            connection,
            unnamed: Vec::new(),
            lanes: Class::ALL.map(|class| Lane {
                class,
                stream: None,
                ended: false,
                paused: false,
                waker: PartWaker::new(&task),
                frames: FrameReader::new(class),
            }),
            task,
            dead: None,
            failed: None,
            violations,
            _guard: LinkGuard(Arc::clone(&core)),
            core,
        }
    }

    pub(crate) fn set_paused(&mut self, class: Class, paused: bool) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.class == class) {
            lane.paused = paused;
        }
    }

    pub(crate) async fn recv(&mut self, out: &mut Vec<InFrame>) -> Result<(), LinkError> {
        poll_fn(|context| self.poll_recv(context, out)).await
    }

    fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
        out: &mut Vec<InFrame>,
    ) -> Poll<Result<(), LinkError>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        self.task.register(context.waker());
        let before = out.len();
        if let Err(violation) = self.poll_streams(out) {
            self.violations.fetch_add(1, Relaxed);
            let reason = format!("protocol violation: {violation}");
            self.connection.close(VIOLATION, reason.as_bytes());
            self.core.end(&reason);
            self.failed = Some(violation.into());
        }
        let taken = out.len() - before;
        self.core.count_received(taken);
        if taken > 0 {
            return Poll::Ready(Ok(()));
        }
        if self.failed.is_none() {
            let Some(dead) = self.dead.take() else {
                return Poll::Pending;
            };
            self.failed = Some(link_error(dead, &self.core));
        }
        let error = self.failed.clone();
        Poll::Ready(error.map_or(Ok(()), Err))
    }

    fn poll_streams(&mut self, out: &mut Vec<InFrame>) -> Result<(), ProtocolViolation> {
        if self.streams_waker.take() {
            self.poll_new_streams()?;
        }
        for (lane, share) in self.lanes.iter_mut().zip(RECV_SHARE) {
            if !lane.paused && lane.waker.take() {
                let dead = lane.poll_frames(&self.core, share, out)?;
                self.dead = self.dead.take().or(dead);
            }
        }
        Ok(())
    }

    fn poll_new_streams(&mut self) -> Result<(), ProtocolViolation> {
        let waker = self.streams_waker.waker().clone();
        let mut context = Context::from_waker(&waker);
        while self.dead.is_none() {
            match self.accepting.as_mut().poll(&mut context) {
                Poll::Ready(Ok(stream)) => {
                    self.unnamed.push(stream);
                    self.accepting = accept_stream(&self.connection);
                    let named = self.lanes.iter().filter(|lane| lane.stream.is_some());
                    if self.unnamed.len() + named.count() > self.lanes.len() {
                        return Err(ProtocolViolation::ExtraStream);
                    }
                }
                Poll::Ready(Err(error)) => self.dead = Some(error),
                Poll::Pending => break,
            }
        }
        self.poll_names(&mut context)
    }

    fn poll_names(&mut self, context: &mut Context<'_>) -> Result<(), ProtocolViolation> {
        let mut at = 0;
        while let Some(stream) = self.unnamed.get_mut(at) {
            let class = match poll_chunk(stream, 1, context) {
                Poll::Pending | Poll::Ready(Err(ReadError::ConnectionLost(_))) => {
                    at += 1;
                    continue;
                }
                Poll::Ready(Ok(Some(chunk))) => match chunk.bytes.first() {
                    Some(&byte) => {
                        Class::try_from(byte).map_err(|_| ProtocolViolation::UnknownClass(byte))?
                    }
                    None => continue,
                },
                Poll::Ready(Ok(None) | Err(_)) => return Err(ProtocolViolation::CutOff),
            };
            let stream = self.unnamed.swap_remove(at);
            for lane in &mut self.lanes {
                if lane.class == class && lane.stream.is_some() {
                    return Err(ProtocolViolation::RepeatedClass(class));
                }
            }
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.class == class) {
                lane.stream = Some(stream);
                lane.waker.set();
            }
        }
        Ok(())
    }
}

impl Lane {
    /// Hands out up to `share` frames; gives the connection's end if the stream came upon it.
    fn poll_frames(
        &mut self,
        core: &LinkCore,
        share: usize,
        out: &mut Vec<InFrame>,
    ) -> Result<Option<ConnectionError>, ProtocolViolation> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let mut context = Context::from_waker(self.waker.waker());
        let mut now = None;
        let mut taken = 0;
        loop {
            while let Some((header, payload)) = self.frames.next()? {
                let received = *now.get_or_insert_with(Instant::now);
                out.push(InFrame {
                    exchange: core.clock().arrive(received, self.class, header.stamp),
                    header,
                    payload,
                    received,
                });
                taken += 1;
                if taken == share {
                    // What is left has woken nobody; it must be looked at again without being asked.
                    self.waker.set();
                    return Ok(None);
                }
            }
            if self.ended {
                return Ok(None);
            }
            match poll_chunk(stream, usize::MAX, &mut context) {
                Poll::Pending => return Ok(None),
                Poll::Ready(Ok(Some(chunk))) => self.frames.push(chunk.bytes),
                Poll::Ready(Ok(None)) if self.frames.is_between_frames() => self.ended = true,
                Poll::Ready(Err(ReadError::ConnectionLost(error))) => return Ok(Some(error)),
                Poll::Ready(Ok(None) | Err(_)) => return Err(ProtocolViolation::CutOff),
            }
        }
    }
}

fn accept_stream(connection: &Connection) -> Accepting {
    let connection = connection.clone();
    Box::pin(async move { connection.accept_uni().await })
}

fn poll_chunk(
    stream: &mut RecvStream,
    max: usize,
    context: &mut Context<'_>,
) -> Poll<Result<Option<quinn::Chunk>, ReadError>> {
    // Reading is cancel safe, and the stream keeps the waker of a read that was dropped.
    pin!(stream.read_chunk(max, true)).poll(context)
}

/// The application close code of a link whose peer broke the protocol.
const VIOLATION: VarInt = VarInt::from_u32(1);
