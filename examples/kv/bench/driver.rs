//! The clients: one that asks and waits, and many at once.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

/// Puts there what will be asked for. A region may need a moment until it knows all others.
pub(crate) fn fill(address: SocketAddr, bucket: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let mut client = client(address)?;
        let created = ask(&mut client, &format!("CREATE {bucket}\r\n"), "OK\r\n");
        match created
            .and_then(|()| ask(&mut client, &format!("PUT {bucket} {KEY} {VALUE}\r\n"), "OK\r\n"))
        {
            Err(error) if begun.elapsed() > READY => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
            Ok(()) => return Ok(()),
        }
    }
}

/// p50 and p99 of GETs, one after the other, in µs.
pub(crate) fn latency(
    address: SocketAddr,
    bucket: &str,
    span: Duration,
) -> anyhow::Result<(f64, f64)> {
    let (mut client, question, answer) = (client(address)?, question(bucket), answer());
    let mut nanos = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        ask(&mut client, &question, &answer)?;
        let now = Instant::now();
        // A third more at the beginning is for warming up.
        if now - begun > span / 3 {
            nanos.saturating_record(u64::try_from((now - asked).as_nanos())?.max(1));
        }
        if now - begun > span / 3 + span {
            break;
        }
    }
    let micros = |quantile: f64| nanos.value_at_quantile(quantile) as f64 / 1e3;
    Ok((micros(0.5), micros(0.99)))
}

/// GETs per second of many clients that each ask one after the other, and how many were answered in all.
pub(crate) fn rate(
    address: SocketAddr,
    bucket: &str,
    span: Duration,
    clients: usize,
) -> anyhow::Result<(f64, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut running = JoinSet::new();
        let begun = Instant::now();
        let (from, to) = (begun + span / 3, begun + span / 3 + span);
        for _ in 0..clients {
            let (question, answer) = (question(bucket), answer());
            running.spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let mut got = vec![0; answer.len()];
                let (mut count, mut all) = (0_u64, 0_u64);
                loop {
                    stream.write_all(question.as_bytes()).await?;
                    stream.read_exact(&mut got).await?;
                    ensure!(
                        got == answer.as_bytes(),
                        "wrong answer: {:?}",
                        String::from_utf8_lossy(&got)
                    );
                    let now = Instant::now();
                    if now >= to {
                        return Ok((count, all + 1));
                    }
                    count += u64::from(now >= from);
                    all += 1;
                }
            });
        }
        let (mut total, mut answered) = (0, 0);
        while let Some(counts) = running.join_next().await {
            let (count, all) = counts??;
            total += count;
            answered += all;
        }
        Ok((total as f64 / span.as_secs_f64(), answered))
    })
}

fn client(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let client = TcpStream::connect(address).with_context(|| format!("no server at {address}"))?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(client)
}

fn ask(client: &mut TcpStream, question: &str, expected: &str) -> anyhow::Result<()> {
    client.write_all(question.as_bytes())?;
    let mut got = [0; 128];
    let mut len = 0;
    while len < expected.len() && got[..len] == expected.as_bytes()[..len] {
        match client.read(&mut got[len..])? {
            0 => break,
            more => len += more,
        }
    }
    let got = &got[..len];
    ensure!(
        got == expected.as_bytes(),
        "answer to {question:?}: {:?}",
        String::from_utf8_lossy(got)
    );
    Ok(())
}

fn question(bucket: &str) -> String {
    format!("GET {bucket} {KEY}\r\n")
}

fn answer() -> String {
    format!("{VALUE}\r\nOK\r\n")
}

const KEY: &str = "milk";
const VALUE: &str = "sixteen-bytes-16";
const READY: Duration = Duration::from_secs(30);
