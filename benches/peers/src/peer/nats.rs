//! NATS: the sender, a broker and the receiver. Client and receiver are async-nats on tokio
//! runtimes with one thread each; the broker is a program with threads of its own.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Peer, on_this_thread};
use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Nats;

impl Peer for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn does(&self, task: Task) -> bool {
        task.needs_a_server()
    }

    fn excluded(&self) -> Option<String> {
        let mut probe = Command::new(BROKER);
        let works = probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        works.is_err().then(|| format!("{BROKER} is not installed"))
    }

    fn broker(&self, run: &Run) -> Result<Option<Command>> {
        let mut broker = Command::new(BROKER);
        broker.args(["--addr", "127.0.0.1", "--port", &run.port.to_string()]);
        broker.args(["--log", "/dev/null"]);
        Ok(Some(broker))
    }

    fn serve(&self, run: &Run) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", run.port)).is_err() {
            ensure!(start.elapsed() < Duration::from_secs(10), "{BROKER} does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        on_this_thread(async {
            let address = format!("127.0.0.1:{}", run.port);
            let client = ConnectOptions::new().connect(&address).await?;
            // One subject, so that a question stays behind the messages before it.
            let mut messages = client.subscribe(SUBJECT).await?;
            client.flush().await?;
            say(&Said::Ready { address })?;
            let mut ticks: u64 = 0;
            while let Some(message) = messages.next().await {
                match message.reply {
                    None => ticks += 1,
                    // A question with a body wants it back, one without the total.
                    Some(to) if message.payload.is_empty() => {
                        client.publish(to, ticks.to_string().into()).await?;
                    }
                    Some(to) => client.publish(to, message.payload).await?,
                }
            }
            Ok(())
        })
    }

    fn measure(&self, run: &Run, server: &str) -> Result<Outcome> {
        on_this_thread(async {
            let client = ConnectOptions::new().connect(server).await?;
            let body = Bytes::from(vec![0x5a; run.task.bytes()]);
            stopwatch::measure(run, &Remote { client, body }).await
        })
    }
}

struct Remote {
    client: Client,
    body: Bytes,
}

impl Way for Remote {
    async fn tell(&self) -> Result<()> {
        Ok(self.client.publish(SUBJECT, self.body.clone()).await?)
    }

    async fn echo(&self) -> Result<()> {
        self.client.request(SUBJECT, self.body.clone()).await?;
        Ok(())
    }

    async fn total(&self) -> Result<u64> {
        let answer = self.client.request(SUBJECT, Bytes::new()).await?;
        std::str::from_utf8(&answer.payload)?.parse().context("total")
    }

    /// The broker cuts off, and the client drops the messages of, a receiver that is too slow.
    const HOLDS_BACK: bool = false;
}

const SUBJECT: &str = "counter";
const BROKER: &str = "nats-server";
