//! The floor of links: nothing but quinn, set up as FeDist sets it up, one thread a process.
//!
//! Each work has a stream in either direction. The client's begins with an [`Opening`]:
//!
//! ```text
//! echo     the client sends a frame, u32 length and 64 bytes; the server sends it back
//! mirror   the client sends records; the server reads each header and sends them back
//! count    the client sends records; the server reads each header and counts. A record of kind
//!          TOTAL is answered by the count, u64
//! ```
//!
//! A record is a header as long as FeDist's and a body. A server that is not meant passes all bytes
//! on, in both directions, as they come, and looks at none of them.

mod client;
mod endpoint;
mod records;

use std::any::Any;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join;
use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream, VarInt};

use crate::actors::BODY_LEN;
use crate::child::say;
use crate::run::{Run, Said, ServerAt};
use records::Counting;

pub(crate) use client::{ask, ask_at_once, ask_near_and_far, tell, tell_from_many};

/// Serves one client until it closes. One that is not the first is linked with the one before it.
pub(crate) fn serve(run: &Run) -> Result<Box<dyn Any>> {
    runtime()?.block_on(async {
        let endpoint = endpoint::open(run)?;
        let next = match run.servers.last() {
            None => None,
            Some(server) => Some(connect(&endpoint, server).await?),
        };
        let address = endpoint.local_addr()?.to_string();
        say(&Said::Ready { address, actors: Vec::new() })?;
        let connection = endpoint.accept().await.context("closed")?.await?;
        loop {
            let rx = match connection.accept_uni().await {
                Err(ConnectionError::ApplicationClosed(_)) => {
                    return Ok(Box::new(()) as Box<dyn Any>);
                }
                accepted => accepted?,
            };
            let (connection, next) = (connection.clone(), next.clone());
            tokio::spawn(async move {
                // Streams end with an error, too, when the client has closed.
                if let Err(error) = serve_stream(&connection, rx, next).await
                    && connection.close_reason().is_none()
                {
                    connection.close(VarInt::from_u32(1), error.to_string().as_bytes());
                }
            });
        }
    })
}

async fn serve_stream(
    connection: &Connection,
    mut rx: RecvStream,
    next: Option<Connection>,
) -> Result<()> {
    let mut opening = [0; Opening::LEN];
    rx.read_exact(&mut opening).await?;
    let opening = Opening::from_bytes(opening);
    let mut tx = connection.open_uni().await?;
    if opening.relays > 0 {
        let next = next.context("no link to pass it on")?;
        let (mut next_tx, mut next_rx) =
            streams(&next, Opening { relays: opening.relays - 1, ..opening }).await?;
        // A stream shows at the other end only with its first byte.
        tx.write_all(&[ACCEPTED]).await?;
        let passed = try_join(pass_on(&mut rx, &mut next_tx), pass_on(&mut next_rx, &mut tx));
        return passed.await.map(|_| ());
    }
    tx.write_all(&[ACCEPTED]).await?;
    match opening.work {
        ECHO => echo(&mut tx, &mut rx).await,
        MIRROR => mirror(&mut tx, &mut rx).await,
        COUNT => count(&mut tx, &mut rx).await,
        other => bail!("unknown work {other}"),
    }
}

async fn pass_on(rx: &mut RecvStream, tx: &mut SendStream) -> Result<()> {
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    while let Some(count) = rx.read_chunks(&mut chunks).await? {
        tx.write_all_chunks(&mut chunks[..count]).await?;
    }
    Ok(())
}

async fn echo(tx: &mut SendStream, rx: &mut RecvStream) -> Result<()> {
    loop {
        let mut length = [0; LENGTH_LEN];
        match rx.read_exact(&mut length).await {
            Err(ReadExactError::FinishedEarly(0)) => return Ok(()),
            read => read?,
        }
        let mut frame = [0; FRAME_LEN];
        ensure!(u32::from_be_bytes(length) as usize == BODY_LEN, "another length");
        frame[..LENGTH_LEN].copy_from_slice(&length);
        rx.read_exact(&mut frame[LENGTH_LEN..]).await?;
        tx.write_all(&frame).await?;
    }
}

async fn mirror(tx: &mut SendStream, rx: &mut RecvStream) -> Result<()> {
    let mut counting = Counting::default();
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    while let Some(count) = rx.read_chunks(&mut chunks).await? {
        for chunk in &chunks[..count] {
            counting.push(chunk)?;
        }
        tx.write_all_chunks(&mut chunks[..count]).await?;
    }
    Ok(())
}

async fn count(tx: &mut SendStream, rx: &mut RecvStream) -> Result<()> {
    let mut counting = Counting::default();
    while let Some(chunk) = rx.read_chunk(usize::MAX, true).await? {
        for _ in 0..counting.push(&chunk.bytes)? {
            let total = Bytes::copy_from_slice(&counting.ticks().to_be_bytes());
            tx.write_chunk(total).await?;
        }
    }
    Ok(())
}

/// The first bytes of a client's stream.
#[derive(Copy, Clone)]
struct Opening {
    work: u8,
    /// Servers that are to pass it on.
    relays: u8,
}

impl Opening {
    const LEN: usize = 2;

    fn from_bytes([work, relays]: [u8; Self::LEN]) -> Self {
        Self { work, relays }
    }
}

/// Begins a work; gives its streams when the server, or the first relay, has accepted.
async fn streams(connection: &Connection, opening: Opening) -> Result<(SendStream, RecvStream)> {
    let mut tx = connection.open_uni().await?;
    tx.write_all(&[opening.work, opening.relays]).await?;
    let mut rx = connection.accept_uni().await?;
    let mut accepted = [0];
    rx.read_exact(&mut accepted).await?;
    ensure!(accepted == [ACCEPTED], "not accepted");
    Ok((tx, rx))
}

async fn connect(endpoint: &quinn::Endpoint, server: &ServerAt) -> Result<Connection> {
    Ok(endpoint.connect(server.address.parse()?, endpoint::SERVER_NAME)?.await?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("runtime")
}

const ECHO: u8 = 1;
const MIRROR: u8 = 2;
const COUNT: u8 = 3;
const ACCEPTED: u8 = 4;

const LENGTH_LEN: usize = 4;
const FRAME_LEN: usize = LENGTH_LEN + BODY_LEN;

/// Chunks that are taken from a stream, or given to it, at once.
const CHUNKS: usize = 32;
