//! The floor: the same commands by a plain server, with tokio and one map that all connections share.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use dashmap::DashMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::super::{
    command::Command,
    lines::{Line, Lines},
    say,
};

type Map = Arc<DashMap<Bytes, DashMap<Bytes, Bytes>>>;

/// Serves until it is killed.
pub(crate) fn run(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        say(&format!("plain server: clients at {}\n", listener.local_addr()?));
        accept(listener).await
    })
}

/// Serves for ever.
pub(crate) async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    let map = Map::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, Arc::clone(&map)));
    }
}

async fn serve(mut stream: TcpStream, map: Map) {
    let (mut lines, mut out) = (Lines::default(), BytesMut::new());
    loop {
        while let Some(line) = lines.next() {
            let Line::Whole(line) = line else { return };
            answer(&map, &line, &mut out);
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
        match stream.read_buf(lines.space()).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn answer(map: &Map, line: &[u8], out: &mut BytesMut) {
    let of = |bucket: &Bytes| map.get(bucket);
    let done = match Command::parse(line) {
        Some(Command::Create { bucket }) => {
            map.entry(bucket).or_default();
            true
        }
        Some(Command::Put { bucket, key, value }) => {
            of(&bucket).map(|bucket| bucket.insert(key, value)).is_some()
        }
        Some(Command::Get { bucket, key }) => of(&bucket)
            .map(|bucket| {
                if let Some(value) = bucket.get(&key) {
                    out.extend_from_slice(&value);
                }
                out.extend_from_slice(b"\r\n");
            })
            .is_some(),
        Some(Command::Delete { bucket, key }) => {
            of(&bucket).map(|bucket| bucket.remove(&key)).is_some()
        }
        _ => return out.extend_from_slice(b"UNKNOWN COMMAND\r\n"),
    };
    out.extend_from_slice(if done { b"OK\r\n" } else { b"NOT FOUND\r\n" });
}
