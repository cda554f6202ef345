//! The floor of a link: nothing but quinn, set up as FeDist sets it up, one thread a side.
//!
//! Each end opens one stream. The client's first byte says which work it brings:
//!
//! ```text
//! echo   the client sends a frame, u32 length and 64 bytes; the server sends it back
//! tell   the client sends records, a header as long as FeDist's and 64 bytes, packed into batches
//!        of 16 KiB; the server reads each header and counts. A record of kind TOTAL is answered
//!        by the count, u64
//! ```

mod endpoint;
mod records;

use std::any::Any;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};

use crate::actors::BODY_LEN;
use crate::child::say;
use crate::processor_time::ProcessorTime;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{ask_in_turn, rate};
use records::{Counting, RECORD_LEN, TICK, TOTAL, put_record};

/// Serves one client for ever.
pub(crate) fn serve(run: &Run) -> Result<Box<dyn Any>> {
    runtime()?.block_on(async {
        let endpoint = endpoint::server(run)?;
        say(&Said::Ready { address: endpoint.local_addr()?.to_string(), actor: None })?;
        let connection = endpoint.accept().await.context("closed")?.await?;
        let (mut tx, mut rx, work) = streams(&connection, SERVER).await?;
        let outcome = match work {
            ECHO => echo(&mut tx, &mut rx).await,
            TELL => count(&mut tx, &mut rx).await,
            other => bail!("unknown work {other}"),
        };
        match connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(_)) => Ok(Box::new(()) as Box<dyn Any>),
            _ => Err(outcome.err().context("a stream has ended")?),
        }
    })
}

/// Asks one after the other.
pub(crate) fn ask(run: &Run) -> Result<Outcome> {
    measure(run, ECHO, async |link, span| link.ask(span).await)
}

/// Sends and does not wait.
pub(crate) fn tell(run: &Run) -> Result<Outcome> {
    measure(run, TELL, async |link, span| link.tell(span).await)
}

/// Measures against a server in another process.
fn measure(
    run: &Run,
    first: u8,
    mut work: impl AsyncFnMut(&mut Link, Duration) -> Result<(u64, Outcome)>,
) -> Result<Outcome> {
    runtime()?.block_on(async {
        let endpoint = endpoint::client(run)?;
        let address = run.next_hop()?.address.parse()?;
        let connection = endpoint.connect(address, endpoint::SERVER_NAME)?.await?;
        let (tx, rx, _) = streams(&connection, first).await?;
        let mut link = Link { tx, rx };
        let mut outcome = Outcome::new();
        for span in [run.warm_up, run.span] {
            let time = ProcessorTime::start(&run.servers);
            let (count, mut measured) = work(&mut link, span).await?;
            time.stop(count, &mut measured);
            outcome = measured;
        }
        connection.close(VarInt::from_u32(0), b"done");
        endpoint.wait_idle().await;
        Ok(outcome)
    })
}

struct Link {
    tx: SendStream,
    rx: RecvStream,
}

impl Link {
    async fn ask(&mut self, span: Duration) -> Result<(u64, Outcome)> {
        let mut frame = [0x5a; FRAME_LEN];
        frame[..LENGTH_LEN].copy_from_slice(&(BODY_LEN as u32).to_be_bytes());
        ask_in_turn(span, 1, async || {
            let mut answer = [0; FRAME_LEN];
            self.tx.write_all(&frame).await?;
            self.rx.read_exact(&mut answer).await?;
            ensure!(answer == frame, "the answer differs");
            Ok(())
        })
        .await
    }

    async fn tell(&mut self, span: Duration) -> Result<(u64, Outcome)> {
        let before = self.total().await?;
        let start = Instant::now();
        let mut sent = 0;
        let mut buffer = BytesMut::new();
        while start.elapsed() < span {
            for _ in 0..BATCHES {
                buffer.reserve(BATCH_LEN);
                for _ in 0..BATCH_LEN / RECORD_LEN {
                    put_record(&mut buffer, TICK);
                    sent += 1;
                }
                self.tx.write_chunk(buffer.split().freeze()).await?;
            }
            // quinn's own task shares this thread.
            tokio::task::yield_now().await;
        }
        let handled = self.total().await? - before;
        let elapsed = start.elapsed();
        ensure!(handled == sent, "{handled} of {sent} messages were handled");
        Ok((sent, rate(sent, elapsed)))
    }

    async fn total(&mut self) -> Result<u64> {
        let mut record = BytesMut::new();
        put_record(&mut record, TOTAL);
        self.tx.write_chunk(record.freeze()).await?;
        let mut answer = [0; 8];
        self.rx.read_exact(&mut answer).await?;
        Ok(u64::from_be_bytes(answer))
    }
}

async fn echo(tx: &mut SendStream, rx: &mut RecvStream) -> Result<()> {
    loop {
        let mut length = [0; LENGTH_LEN];
        rx.read_exact(&mut length).await?;
        let mut frame = [0; FRAME_LEN];
        ensure!(u32::from_be_bytes(length) as usize == BODY_LEN, "another length");
        frame[..LENGTH_LEN].copy_from_slice(&length);
        rx.read_exact(&mut frame[LENGTH_LEN..]).await?;
        tx.write_all(&frame).await?;
    }
}

async fn count(tx: &mut SendStream, rx: &mut RecvStream) -> Result<()> {
    let mut counting = Counting::default();
    while let Some(chunk) = rx.read_chunk(usize::MAX, true).await? {
        for _ in 0..counting.push(&chunk.bytes)? {
            let total = Bytes::copy_from_slice(&counting.ticks.to_be_bytes());
            tx.write_chunk(total).await?;
        }
    }
    Ok(())
}

/// Our stream and the peer's. A stream shows at the other end only with its first byte.
async fn streams(connection: &Connection, first: u8) -> Result<(SendStream, RecvStream, u8)> {
    let mut tx = connection.open_uni().await?;
    tx.write_all(&[first]).await?;
    let mut rx = connection.accept_uni().await?;
    let mut theirs = [0];
    rx.read_exact(&mut theirs).await?;
    Ok((tx, rx, theirs[0]))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("runtime")
}

/// First bytes of a stream.
const ECHO: u8 = 1;
const TELL: u8 = 2;
const SERVER: u8 = 3;

const LENGTH_LEN: usize = 4;
const FRAME_LEN: usize = LENGTH_LEN + BODY_LEN;

/// Bytes of a batch of records, as FeDist's sessions fill them.
const BATCH_LEN: usize = 16 * 1024;

/// Batches between two moments at which others may run.
const BATCHES: usize = 4;
