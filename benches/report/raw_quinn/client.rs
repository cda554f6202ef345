//! The end that measures.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Mutex;

use super::records::{Counting, HEADER_LEN, Kind, RECEIVERS, put_header, put_record};
use super::{
    CHUNKS, COUNT, ECHO, FRAME_LEN, LENGTH_LEN, MIRROR, Opening, connect, endpoint, runtime,
    streams,
};
use crate::actors::BODY_LEN;
use crate::run::{Outcome, Run};
use crate::stopwatch::{self, ask_in_turn, rate, warm_and_measure};

/// Asks one after the other.
pub(crate) fn ask(run: &Run) -> Result<Outcome> {
    measure(run, async |connection| {
        let mut link = Link::open(connection, run, ECHO).await?;
        let ask = async |span| ask_in_turn(span, 1, async || link.echo().await).await;
        warm_and_measure(run, ask).await
    })
}

/// Asks the neighbour and the first server in turn.
pub(crate) fn ask_near_and_far(run: &Run) -> Result<Outcome> {
    measure(run, async |connection| {
        let (tx, rx) = streams(connection, Opening { work: ECHO, relays: 0 }).await?;
        let (mut near, mut far) = (Link { tx, rx }, Link::open(connection, run, ECHO).await?);
        let (near, far) = (async || near.echo().await, async || far.echo().await);
        stopwatch::ask_near_and_far(run, near, far).await
    })
}

/// Keeps so many questions open.
pub(crate) fn ask_at_once(run: &Run, at_once: usize) -> Result<Outcome> {
    measure(run, async |connection| {
        let mut link = Link::open(connection, run, MIRROR).await?;
        warm_and_measure(run, async |span| link.ask_at_once(span, at_once).await).await
    })
}

/// Sends bodies of this length and does not wait.
pub(crate) fn tell(run: &Run, len: usize) -> Result<Outcome> {
    let body = Bytes::from(vec![0x5a; len]);
    measure(run, async |connection| {
        let mut link = Link::open(connection, run, COUNT).await?;
        warm_and_measure(run, async |span| link.tell(span, &body).await).await
    })
}

/// As many senders as there are receivers, on one stream.
pub(crate) fn tell_from_many(run: &Run) -> Result<Outcome> {
    measure(run, async |connection| {
        let mut link = Link::open(connection, run, COUNT).await?;
        warm_and_measure(run, async |span| link.tell_from_many(span).await).await
    })
}

/// Measures against servers in other processes.
fn measure(run: &Run, work: impl AsyncFnOnce(&Connection) -> Result<Outcome>) -> Result<Outcome> {
    runtime()?.block_on(async {
        let endpoint = endpoint::open(run)?;
        let connection = connect(&endpoint, run.next_hop()?).await?;
        // The servers end with their run; a goodbye would only wait, for long where queues are.
        work(&connection).await
    })
}

struct Link {
    tx: SendStream,
    rx: RecvStream,
}

impl Link {
    /// To the first server, past all others.
    async fn open(connection: &Connection, run: &Run, work: u8) -> Result<Self> {
        let relays = u8::try_from(run.links - 1)?;
        let (tx, rx) = streams(connection, Opening { work, relays }).await?;
        Ok(Self { tx, rx })
    }

    async fn echo(&mut self) -> Result<()> {
        let mut frame = [0x5a; FRAME_LEN];
        frame[..LENGTH_LEN].copy_from_slice(&(BODY_LEN as u32).to_be_bytes());
        let mut answer = [0; FRAME_LEN];
        self.tx.write_all(&frame).await?;
        self.rx.read_exact(&mut answer).await?;
        ensure!(answer == frame, "the answer differs");
        Ok(())
    }

    async fn ask_at_once(&mut self, span: Duration, at_once: usize) -> Result<(u64, Outcome)> {
        let body = [0x5a; BODY_LEN];
        let mut answers = Counting::default();
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let mut buffer = BytesMut::new();
        let (mut asked, mut answered) = (0, 0);
        let start = Instant::now();
        loop {
            if start.elapsed() < span {
                buffer.reserve(at_once * (HEADER_LEN + BODY_LEN));
                while asked < answered + at_once as u64 {
                    put_record(&mut buffer, Kind::Tick, 0, &body);
                    asked += 1;
                }
                self.tx.write_chunk(buffer.split().freeze()).await?;
            }
            if answered == asked {
                return Ok((answered, rate(answered, start.elapsed())));
            }
            let count = self.rx.read_chunks(&mut chunks).await?.unwrap_or(0);
            ensure!(count > 0, "the answers have ended");
            for chunk in &chunks[..count] {
                answers.push(chunk)?;
            }
            answered = answers.ticks();
        }
    }

    async fn tell(&mut self, span: Duration, body: &Bytes) -> Result<(u64, Outcome)> {
        let before = self.total().await?;
        let start = Instant::now();
        let mut sent = 0;
        let mut buffer = BytesMut::new();
        let record_len = HEADER_LEN + body.len();
        while start.elapsed() < span {
            if record_len > BATCH_LEN {
                put_header(&mut buffer, Kind::Tick, 0, body.len());
                let mut record = [buffer.split().freeze(), body.clone()];
                self.tx.write_all_chunks(&mut record).await?;
                sent += 1;
            } else {
                for _ in 0..BATCHES {
                    buffer.reserve(BATCH_LEN);
                    for _ in 0..BATCH_LEN / record_len {
                        put_record(&mut buffer, Kind::Tick, 0, body);
                        sent += 1;
                    }
                    self.tx.write_chunk(buffer.split().freeze()).await?;
                }
            }
            // quinn's own task shares this thread.
            tokio::task::yield_now().await;
        }
        let handled = self.total().await? - before;
        let elapsed = start.elapsed();
        ensure!(handled == sent, "{handled} of {sent} messages were handled");
        Ok((sent, rate(sent, elapsed)))
    }

    async fn tell_from_many(&mut self, span: Duration) -> Result<(u64, Outcome)> {
        let body = [0x5a; BODY_LEN];
        let before = self.total().await?;
        let start = Instant::now();
        let tx = Mutex::new(&mut self.tx);
        let senders = (0..RECEIVERS).map(async |sender| {
            let mut buffer = BytesMut::new();
            let mut sent = 0;
            while start.elapsed() < span {
                buffer.reserve(BATCH_LEN);
                for _ in 0..BATCH_LEN / (HEADER_LEN + BODY_LEN) {
                    put_record(&mut buffer, Kind::Tick, sender, &body);
                    sent += 1;
                }
                tx.lock().await.write_chunk(buffer.split().freeze()).await?;
                tokio::task::yield_now().await;
            }
            anyhow::Ok(sent)
        });
        let sent = try_join_all(senders).await?.into_iter().sum::<u64>();
        let handled = self.total().await? - before;
        let elapsed = start.elapsed();
        ensure!(handled == sent, "{handled} of {sent} messages were handled");
        Ok((sent, rate(sent, elapsed)))
    }

    async fn total(&mut self) -> Result<u64> {
        let mut record = BytesMut::new();
        put_record(&mut record, Kind::Total, 0, &[]);
        self.tx.write_chunk(record.freeze()).await?;
        let mut answer = [0; 8];
        self.rx.read_exact(&mut answer).await?;
        Ok(u64::from_be_bytes(answer))
    }
}

/// Bytes of a batch of records, as FeDist's sessions fill them. Longer records go alone.
const BATCH_LEN: usize = 32 * 1024;

/// Batches between two moments at which others may run.
const BATCHES: usize = 4;
