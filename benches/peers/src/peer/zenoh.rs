//! zenoh in peer mode with a direct locator: a publisher and a subscriber for what is told, a
//! querier and a queryable for what is asked. zenoh has threads of its own; the sender is the main
//! task of a tokio runtime with one worker, as zenoh wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::query::Querier;
use zenoh::{Config, Session, Wait};

use super::Peer;
use crate::certificates::{self, CA, CERTIFICATE, KEY};
use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Zenoh {
    pub(crate) quic: bool,
}

impl Peer for Zenoh {
    fn name(&self) -> &'static str {
        if self.quic { "zenoh-quic" } else { "zenoh" }
    }

    fn encrypted(&self) -> bool {
        self.quic
    }

    fn does(&self, task: Task) -> bool {
        task.needs_a_server()
    }

    fn prepare(&self, run: &Run) -> Result<()> {
        certificates::make(&run.directory)
    }

    fn serve(&self, run: &Run) -> Result<()> {
        let address =
            format!("{}:{}", if self.quic { "quic/localhost" } else { "tcp/127.0.0.1" }, run.port);
        on_two_threads(async {
            let session = self.open(run, "listen", &address).await?;
            let ticks = Arc::new(AtomicU64::new(0));
            let total = Arc::clone(&ticks);
            session
                .declare_subscriber(TICK)
                .callback(move |sample| {
                    std::hint::black_box(sample.payload());
                    ticks.fetch_add(1, Ordering::Relaxed);
                })
                .background()
                .await
                .map_err(error)?;
            session
                .declare_queryable(ASK)
                .callback(move |query| {
                    // A question with a body wants it back, one without the total.
                    let _ = match query.payload() {
                        Some(body) => query.reply(ASK, body.clone()).wait(),
                        None => {
                            let total = total.load(Ordering::Relaxed).to_string();
                            query.reply(ASK, total).wait()
                        }
                    };
                })
                .background()
                .await
                .map_err(error)?;
            say(&Said::Ready { address: address.clone() })?;
            std::future::pending().await
        })
    }

    fn measure(&self, run: &Run, server: &str) -> Result<Outcome> {
        on_two_threads(async {
            let session = self.open(run, "connect", server).await?;
            let publisher = session
                .declare_publisher(TICK)
                .congestion_control(CongestionControl::Block)
                .await
                .map_err(error)?;
            let querier = session
                .declare_querier(ASK)
                .congestion_control(CongestionControl::Block)
                // An ask that waits alone gains nothing from a batch.
                .express(run.task == Task::Ask { in_flight: 1 })
                .await
                .map_err(error)?;
            let body = Bytes::from(vec![0x5a; run.task.bytes()]);
            let way = Remote { publisher, querier, body };
            let start = Instant::now();
            while !way.publisher.matching_status().await.map_err(error)?.matching()
                || way.total().await.is_err()
            {
                ensure!(start.elapsed() < Duration::from_secs(10), "the server was not found");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stopwatch::measure(run, &way).await
        })
    }
}

impl Zenoh {
    /// `role` is `listen` or `connect`.
    async fn open(&self, run: &Run, role: &str, address: &str) -> Result<Session> {
        let path = |file: &str| format!("{:?}", run.directory.join(file).display().to_string());
        let mut config = Config::default();
        let mut set = |key: &str, value: &str| {
            config.insert_json5(key, value).map_err(|why| anyhow!("{key} = {value}: {why}"))
        };
        set("mode", "'peer'")?;
        set("scouting/multicast/enabled", "false")?;
        set("listen/endpoints", "[]")?;
        set(&format!("{role}/endpoints"), &format!("['{address}']"))?;
        if self.quic {
            set("transport/link/tls/root_ca_certificate", &path(CA))?;
            set("transport/link/tls/enable_mtls", "true")?;
            for side in ["listen", "connect"] {
                set(&format!("transport/link/tls/{side}_certificate"), &path(CERTIFICATE))?;
                set(&format!("transport/link/tls/{side}_private_key"), &path(KEY))?;
            }
        }
        zenoh::open(config).await.map_err(error)
    }
}

struct Remote {
    publisher: Publisher<'static>,
    querier: Querier<'static>,
    body: Bytes,
}

impl Way for Remote {
    async fn tell(&self) -> Result<()> {
        self.publisher.put(self.body.clone()).await.map_err(error)
    }

    async fn echo(&self) -> Result<()> {
        let replies = self.querier.get().payload(self.body.clone()).await.map_err(error)?;
        let reply = replies.recv_async().await.map_err(|_| anyhow!("nobody answered"))?;
        reply.into_result().map(drop).map_err(|error| anyhow!("{error:?}"))
    }

    async fn total(&self) -> Result<u64> {
        let replies = self.querier.get().await.map_err(error)?;
        let reply = replies.recv_async().await.map_err(|_| anyhow!("nobody answered"))?;
        let sample = reply.into_result().map_err(|error| anyhow!("{error:?}"))?;
        let text = sample.payload().try_to_string().context("not a text")?;
        Ok(text.parse()?)
    }
}

fn error(error: zenoh::Error) -> anyhow::Error {
    anyhow!("{error}")
}

const TICK: &str = "peers/tick";
const ASK: &str = "peers/ask";

/// zenoh refuses a runtime without a worker thread.
fn on_two_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build()?.block_on(work)
}
