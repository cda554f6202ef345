//! A region process: a real node, run by orders on stdin.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, BufRead},
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use actix::{Actor, Handler};
use anyhow::{Context as _, bail};
use fedist::{
    PingTarget, View,
    prelude::*,
    registry::{RegionId, Topology},
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    order::{Order, Voice},
    protocol::{At, Command, Mesh, Pour, Start, Taken, Tally},
};

/// Runs until told to stop, or until stdin ends.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag).context("a flag is missing")?;
        args.get(at + 1).cloned().context("a value is missing")
    };
    let region: RegionId = value("--region")?.parse()?;
    let (name, data_dir) = (value("--name")?, PathBuf::from(value("--data-dir")?));
    let filter = tracing_subscriber::EnvFilter::try_from_env("FEDIST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    // Fails only if a subscriber is set already, which serves as well.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
    let (orders, ordered) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("orders".into()).spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(order) = serde_json::from_str(&line)
                && orders.send(order).is_err()
            {
                return;
            }
        }
        // The end of stdin means that whoever gave the orders is gone: nothing stays behind.
        std::process::exit(1);
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(region, name, data_dir, ordered))
}

async fn serve(
    id: RegionId,
    name: String,
    data_dir: PathBuf,
    mut orders: mpsc::UnboundedReceiver<Order<Command>>,
) -> anyhow::Result<ExitCode> {
    let first = orders.recv().await.context("no order came")?;
    let Command::Start(start) = first.command else {
        bail!("the first order must start the node");
    };
    let voice = Voice(first.id);
    let node = match start_node(id, name, data_dir, *start).await {
        Ok(node) => node,
        Err(error) => {
            voice.failed(&error);
            return Ok(ExitCode::FAILURE);
        }
    };
    voice.done(&());
    let region = Rc::new(Region {
        node,
        book: Arc::default(),
        sink: RefCell::default(),
        chatter: RefCell::default(),
    });
    while let Some(order) = orders.recv().await {
        let voice = Voice(order.id);
        if matches!(order.command, Command::Stop | Command::Drain) {
            if matches!(order.command, Command::Drain) {
                region.node.drain(Duration::from_secs(10)).await;
            }
            region.node.stop().await;
            voice.done(&());
            return Ok(ExitCode::SUCCESS);
        }
        let region = Rc::clone(&region);
        tokio::task::spawn_local(async move {
            if let Err(error) = region.obey(order.command, &voice).await {
                voice.failed(&error);
            }
        });
    }
    Ok(ExitCode::FAILURE)
}

async fn start_node(
    id: RegionId,
    name: String,
    data_dir: PathBuf,
    start: Start,
) -> anyhow::Result<Node> {
    let mut builder = Node::builder(id)
        .name(name)
        .listen(start.listen)
        .data_dir(data_dir)
        .ca_dir(&start.ca_dir)
        // As on the way between two regions; the links here are within one machine.
        .mtu_upper(1452)
        .join_timeout(Duration::from_secs(120));
    if let Some(parent) = start.parent {
        builder = builder.parent(parent);
    }
    if let Some(join) = start.join {
        builder = builder.join(join);
    }
    if let Some(coordinates) = start.coordinates {
        builder = builder.coordinates(coordinates);
    }
    builder = builder.topology(match start.mesh {
        Mesh::Adaptive => Topology::Adaptive,
        Mesh::Full => Topology::Full,
        Mesh::Edges(edges) => Topology::edges(edges)?,
    });
    for (region, door) in start.dial {
        builder = builder.dial(region, door);
    }
    Ok(builder.start().await?)
}

/// One of many messages in a row.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "goals.numbered", version = 1)]
struct Numbered {
    stream: u64,
    seq: u64,
}

type Book = Arc<Mutex<BTreeMap<u64, (Tally, u64, u64)>>>;

/// Takes numbered messages and keeps book: per stream the tally, the next number, and the last arrival.
struct Sink(Book);

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Numbered> for Sink {
    type Result = ();

    fn handle(&mut self, message: Numbered, _: &mut Context<Self>) {
        let now = now_us();
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (tally, next, last) = book.entry(message.stream).or_default();
        tally.stream = message.stream;
        tally.arrived += 1;
        // Numbers that are passed over show as lost at the end, where what was sent is known.
        tally.reordered += u64::from(message.seq > *next);
        tally.doubled += u64::from(message.seq < *next);
        *next = (*next).max(message.seq + 1);
        let pause = now.saturating_sub(*last);
        if *last > 0 && pause > tally.pause_us {
            (tally.pause_us, tally.pause_end_us) = (pause, now);
        }
        *last = now;
    }
}

/// Keeps the thread of the hub busy: it lives there.
struct Burner;

impl Actor for Burner {
    type Context = Context<Self>;
}

#[derive(Debug)]
struct Spin {
    permille: u64,
    until: Instant,
}

impl actix::Message for Spin {
    type Result = ();
}

impl Handler<Spin> for Burner {
    type Result = ();

    fn handle(&mut self, spin: Spin, ctx: &mut Context<Self>) {
        const SLICE_US: u64 = 20_000;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(SLICE_US * spin.permille / 1_000) {
            std::hint::spin_loop();
        }
        if Instant::now() < spin.until {
            let rest = Duration::from_micros(SLICE_US * (1_000 - spin.permille.min(1_000)) / 1_000);
            actix::AsyncContext::notify_later(ctx, spin, rest);
        }
    }
}

struct Region {
    node: Node,
    book: Book,
    sink: RefCell<Option<RegionPid>>,
    chatter: RefCell<Vec<AbortHandle>>,
}

impl Region {
    async fn obey(&self, command: Command, voice: &Voice) -> anyhow::Result<()> {
        match command {
            Command::Status => {
                voice.done(&self.node.status().await.context("the node is stopped")?);
            }
            Command::Chatter { to, period_ms } => {
                self.chatter(to, Duration::from_millis(period_ms.max(1)));
                voice.done(&());
            }
            Command::Ping { to, samples, pause_us } => {
                voice.done(&self.ping(to, samples, Duration::from_micros(pause_us)).await?);
            }
            Command::Sink => voice.done(&self.put_up_sink()?),
            Command::Pour(pour) => voice.done(&self.pour(&pour).await?),
            Command::Tallies => {
                let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
                let tallies: Vec<Tally> = book.values().map(|(tally, ..)| *tally).collect();
                voice.done(&tallies);
            }
            Command::Avoids { a, b, to, patience_ms } => {
                let clear = |view: &View| !uses_link(view, self.node.region(), (a, b), to);
                voice.done(&self.when(clear, patience_ms).await?);
            }
            Command::GivenUp { peer, patience_ms } => {
                voice.done(&self.given_up(peer, Duration::from_millis(patience_ms)).await?);
            }
            Command::Knows { region, patience_ms } => {
                let known = |view: &View| view.registry.get(region).is_some();
                voice.done(&self.when(known, patience_ms).await?);
            }
            Command::RouteLog { to, for_ms } => {
                self.log_route(to, Duration::from_millis(for_ms), voice).await;
                voice.done(&());
            }
            Command::Burn { permille, for_ms } => {
                let until = Instant::now() + Duration::from_millis(for_ms);
                self.node.spawn(Burner)?.do_send(Spin { permille, until });
                voice.done(&());
            }
            Command::Start(_) => bail!("the node is started already"),
            Command::Stop | Command::Drain => {}
        }
        Ok(())
    }

    fn chatter(&self, to: Vec<RegionId>, period: Duration) {
        let mut running = self.chatter.borrow_mut();
        running.drain(..).for_each(|task| task.abort());
        let count = u32::try_from(to.len().max(1)).unwrap_or(u32::MAX);
        for (at, region) in (0_u32..).zip(to) {
            let node = self.node.clone();
            let task = tokio::task::spawn_local(async move {
                // Spread over the period, so that nobody speaks in step.
                tokio::time::sleep(period * at / count).await;
                let mut beat = tokio::time::interval(period);
                loop {
                    beat.tick().await;
                    // The figures come from elsewhere; who does not answer is none of this task's business.
                    let _ = node.ping(PingTarget::Region(region), Duration::from_secs(5)).await;
                }
            });
            running.push(task.abort_handle());
        }
    }

    async fn ping(
        &self,
        to: RegionId,
        samples: usize,
        pause: Duration,
    ) -> anyhow::Result<Vec<u64>> {
        let mut rtt_us = Vec::with_capacity(samples);
        for _ in 0..samples {
            let pong = self.node.ping(PingTarget::Region(to), Duration::from_secs(10)).await?;
            rtt_us.push(pong.rtt.as_nanos() as u64);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(rtt_us)
    }

    fn put_up_sink(&self) -> anyhow::Result<RegionPid> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(pid) = *self.sink.borrow() {
            return Ok(pid);
        }
        let actor = self.node.spawn(Sink(Arc::clone(&self.book)))?;
        let pid = self.node.export(&actor).handles::<Numbered>().publish()?;
        *self.sink.borrow_mut() = Some(pid);
        Ok(pid)
    }

    async fn pour(&self, pour: &Pour) -> anyhow::Result<u64> {
        let sink = pour.to.recipient::<Numbered>(&self.node);
        let until = Instant::now() + Duration::from_millis(pour.for_ms);
        let mut beat = tokio::time::interval(Duration::from_micros(pour.every_us.max(1)));
        let mut seq = 0;
        while Instant::now() < until {
            beat.tick().await;
            sink.tell(Numbered { stream: pour.stream, seq }).await?;
            seq += 1;
        }
        Ok(seq)
    }

    /// Waits for the snapshot of registry and routes that fulfils a condition.
    async fn when(
        &self,
        condition: impl Fn(&View) -> bool,
        patience_ms: u64,
    ) -> anyhow::Result<At> {
        let until = Instant::now() + Duration::from_millis(patience_ms);
        let mut seen = None;
        loop {
            let view = self.node.view();
            let news = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &view));
            if news && condition(&view) {
                return Ok(At { at_us: now_us() });
            }
            seen = Some(view);
            if Instant::now() >= until {
                bail!("it did not come true within {patience_ms} ms");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn given_up(&self, peer: RegionId, patience: Duration) -> anyhow::Result<At> {
        let until = Instant::now() + patience;
        loop {
            let status = self.node.status().await.context("the node is stopped")?;
            if status.links.iter().all(|link| link.peer != peer) {
                return Ok(At { at_us: now_us() });
            }
            if Instant::now() >= until {
                bail!("the link to {peer} was not given up within {patience:?}");
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    async fn log_route(&self, to: RegionId, duration: Duration, voice: &Voice) {
        let until = Instant::now() + duration;
        let mut last = None;
        while Instant::now() < until {
            let hops = self
                .node
                .view()
                .routes
                .get(to)
                .map(|route| route.hops.to_vec())
                .unwrap_or_default();
            if last.as_ref() != Some(&hops) {
                voice.event(&Taken { at_us: now_us(), hops: hops.clone() });
                last = Some(hops);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn uses_link(view: &View, me: RegionId, link: (RegionId, RegionId), to: Option<RegionId>) -> bool {
    let (a, b) = link;
    let mut routes = view.routes.iter().filter(|(dest, _)| to.is_none_or(|to| to == *dest));
    routes.any(|(_, route)| {
        let from = std::iter::once(me).chain(route.hops.iter().copied());
        from.zip(route.hops.iter().copied()).any(|step| step == (a, b) || step == (b, a))
    })
}

/// The machine's clock, the same in all processes of one machine.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
