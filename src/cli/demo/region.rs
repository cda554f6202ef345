//! A region process of the demo: a real node, run by commands on stdin.

use std::{
    cell::RefCell,
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use fedist::{
    PingTarget,
    prelude::*,
    registry::{Delineator, RegionId, RoundRobin},
};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{
    order::{Order, Voice},
    protocol::{
        Command, Count, Counted, Halfway, Ping, Pinged, Pour, Poured, Sink, Start, Started,
    },
    scratch,
    work::{Numbered, SinkActor, SinkBook, count_words},
};

/// A region of the demo; started by `fedist demo`, not by hand.
#[derive(Debug, clap::Args)]
pub(crate) struct RegionArgs {
    /// The region's number
    #[arg(long)]
    region: RegionId,
    /// The region's name
    #[arg(long)]
    name: String,
    /// Its data directory, removed when the demo goes away
    #[arg(long)]
    data_dir: PathBuf,
}

/// Runs until told to stop, or until stdin ends.
pub(crate) fn run_region(args: RegionArgs) -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FEDIST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // Fails only if a subscriber is set already, which serves as well.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
    let (orders, ordered) = mpsc::unbounded_channel();
    let data_dir = args.data_dir.clone();
    std::thread::Builder::new()
        .name("demo-stdin".into())
        .spawn(move || listen(&orders, &data_dir))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(args, ordered))
}

/// Reads orders. The end of stdin means that the demo is gone: nothing may stay behind.
fn listen(orders: &mpsc::UnboundedSender<Order<Command>>, data_dir: &Path) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(order) => {
                if orders.send(order).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "not an order of the demo"),
        }
    }
    abandon(data_dir)
}

/// Ends the process at once and removes its traces; the last region takes the demo's directory too.
fn abandon(data_dir: &Path) -> ! {
    let _ = fs::remove_dir_all(data_dir);
    if let Some(base) = data_dir.parent().filter(|base| scratch::is_scratch(base)) {
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        let mut regions = entries.filter(|entry| {
            let name = entry.file_name();
            entry.path().is_dir() && name != CA_DIR
        });
        if regions.next().is_none() {
            let _ = fs::remove_dir_all(base);
        }
    }
    process::exit(1)
}

async fn serve(
    args: RegionArgs,
    mut orders: mpsc::UnboundedReceiver<Order<Command>>,
) -> anyhow::Result<ExitCode> {
    let first = orders.recv().await.context("no order came")?;
    let Command::Start(start) = first.command else {
        bail!("the first order must start the node");
    };
    let voice = Voice(first.id);
    let node = match start_node(&args, *start).await {
        Ok(node) => node,
        Err(error) => {
            voice.failed(&error);
            return Ok(ExitCode::FAILURE);
        }
    };
    voice.done(&Started { address: node.local_address().to_owned() });
    let region = Rc::new(Region { node, sink: RefCell::new(None) });
    while let Some(order) = orders.recv().await {
        let voice = Voice(order.id);
        if matches!(order.command, Command::Stop) {
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

async fn start_node(args: &RegionArgs, start: Start) -> anyhow::Result<Node> {
    let mut builder = Node::builder(args.region)
        .name(&args.name)
        .listen("127.0.0.1:0")
        .data_dir(&args.data_dir)
        .ca_dir(&start.ca_dir)
        .nearest(0)
        .join_timeout(JOIN_TIMEOUT)
        .task(count_words);
    if let Some(parent) = start.parent {
        builder = builder.parent(parent);
    }
    if let Some(join) = start.join {
        builder = builder.join(join);
    }
    if let Some(coordinates) = start.coordinates {
        builder = builder.coordinates(coordinates);
    }
    for (region, door) in start.dial {
        builder = builder.dial(region, door);
        if Some(region) != start.parent {
            builder = builder.link(region);
        }
    }
    Ok(builder.start().await?)
}

struct Region {
    node: Node,
    sink: RefCell<Option<SinkBook>>,
}

impl Region {
    async fn obey(&self, command: Command, voice: &Voice) -> anyhow::Result<()> {
        match command {
            Command::Status => {
                let status = self.node.status().await.context("the node is stopped")?;
                voice.done(&status);
            }
            Command::Ping(ping) => {
                self.ping(ping, voice).await;
                voice.done(&());
            }
            Command::Count(count) => voice.done(&self.count(count).await?),
            Command::Sink(sink) => voice.done(&self.put_up_sink(&sink)?),
            Command::Pour(pour) => voice.done(&self.pour(&pour, voice).await?),
            Command::Drained => {
                let book = self.sink.borrow().clone();
                voice.done(&book.context("there is no sink here")?.report());
            }
            Command::Start(_) => bail!("the node is started already"),
            Command::Stop => {}
        }
        Ok(())
    }

    async fn ping(&self, ping: Ping, voice: &Voice) {
        let deadline = Duration::from_millis(ping.deadline_ms);
        let pinged = stream::iter(ping.targets)
            .map(|to| self.ping_one(to, ping.samples, deadline))
            .buffer_unordered(ping.at_once.max(1));
        pinged.for_each(|pinged| async move { voice.event(&pinged) }).await;
    }

    /// The first round trip opens the session of the two regions and is not counted.
    async fn ping_one(&self, to: RegionId, samples: usize, deadline: Duration) -> Pinged {
        let mut rtt_ms = Vec::new();
        for sample in 0..=samples {
            match self.node.ping(PingTarget::Region(to), deadline).await {
                Ok(_) if sample == 0 => {}
                Ok(pong) => rtt_ms.push(pong.rtt.as_secs_f64() * 1e3),
                Err(error) => {
                    let error = Some(error.to_string());
                    return Pinged { to, rtt_ms, error };
                }
            }
        }
        Pinged { to, rtt_ms, error: None }
    }

    /// The home of a piece is delineated; the other regions stand by, the cheapest to reach first.
    async fn count(&self, count: Count) -> anyhow::Result<Counted> {
        let view = self.node.view();
        let home = RoundRobin::default().home(&count.piece.into(), &view.federation())?;
        let mut others: Vec<_> = view.routes.iter().map(|(to, route)| (route.cost, to)).collect();
        others.sort_unstable();
        let others = others.into_iter().map(|(_, to)| to);
        let regions: Vec<RegionId> = [home]
            .into_iter()
            .chain(others.filter(|to| *to != home))
            .chain((home != self.node.region()).then_some(self.node.region()))
            .collect();
        let counted =
            self.node.tasks().supervised(count_words, count.text, regions, TASK_DEADLINE).await?;
        Ok(Counted { counts: counted.value, region: counted.region, attempts: counted.attempts })
    }

    fn put_up_sink(&self, sink: &Sink) -> anyhow::Result<RegionPid> {
        let book = SinkBook::new(sink.messages);
        self.sink.replace(Some(book.clone()));
        let actor = self.node.spawn(SinkActor(book))?;
        let export = self.node.export(&actor).handles::<Numbered>();
        Ok(export.name("demo/sink").publish()?)
    }

    async fn pour(&self, pour: &Pour, voice: &Voice) -> anyhow::Result<Poured> {
        let sink = pour.to.recipient::<Numbered>(&self.node);
        let started = Instant::now();
        let mut sent = 0;
        let mut halfway = None;
        while sent < pour.messages {
            let share = started.elapsed().as_secs_f64() * 1e3 / pour.over_ms.max(1) as f64;
            let due = (pour.messages as f64 * share) as u64;
            while sent < due.min(pour.messages) {
                let told = sink.tell(Numbered { seq: sent }).await;
                told.map_err(|error| anyhow!("message {sent} was refused: {error}"))?;
                sent += 1;
            }
            if halfway.is_none() && sent >= pour.messages / 2 {
                let path = self.path_to(pour.to.region()).await;
                voice.event(&Halfway { path: path.clone() });
                halfway = Some(path);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Poured {
            sent,
            took_ms: started.elapsed().as_secs_f64() * 1e3,
            path: halfway.unwrap_or_default(),
        })
    }

    async fn path_to(&self, region: RegionId) -> Vec<RegionId> {
        let routes = self.node.status().await.map(|status| status.routes);
        let mut routes = routes.into_iter().flatten();
        routes.find(|route| route.to == region).map(|route| route.path).unwrap_or_default()
    }
}

/// The directory beside the regions' data directories that holds the CA.
pub(crate) const CA_DIR: &str = "ca";

const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const TASK_DEADLINE: Duration = Duration::from_secs(20);
