//! `fedist node`: runs one node until somebody stops it.

use std::{
    future::Future,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use fedist::{
    DnsName, EnvVar, Node, NodeBuilder, StaticList, WatchedFile, registry::MeshConfig,
    transport::identity::Identity,
};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use super::{
    admin,
    config::{NodeArgs, NodeSettings},
    data_dir,
    exit::{Exit, Failure},
    say,
};

pub(crate) fn run(args: NodeArgs) -> anyhow::Result<ExitCode> {
    let settings = match &args.config {
        Some(path) => args.settings.or(NodeSettings::read(path)?),
        None => args.settings,
    };
    log()?;
    let (stop, stopped) = watch::channel(false);
    on_signal(stop.clone())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            Failure::new(Exit::Other, format!("runtime (tokio) cannot be started: {error}"))
        })?;
    runtime.block_on(serve(settings, stop, stopped))
}

async fn serve(
    settings: NodeSettings,
    stop: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(settings.data_dir.clone());
    let ca_dir = settings.ca_dir.clone().unwrap_or_else(|| data_dir.clone());
    let admin_address = settings.admin_listen.unwrap_or_default();
    let builder = builder(settings, &data_dir)?;
    let server = admin::Server::bind(admin_address).await?;
    let had_authority = ca_dir.join("ca.key").exists();
    let Some(started) = unless_stopped(builder.start(), &mut stopped).await else {
        tracing::info!("stopped before the node was live");
        return Ok(ExitCode::SUCCESS);
    };
    let node = started?;
    let made_authority = !had_authority && ca_dir.join("ca.key").exists();
    let open = match server.open(node.clone(), &data_dir, stop) {
        Ok(open) => open,
        Err(error) => {
            node.stop().await;
            return Err(error.into());
        }
    };
    say(&greeting(&node, &data_dir, made_authority.then_some(&ca_dir)))?;
    let ended = unless_stopped(end_of(&node), &mut stopped).await;
    // The file goes first: whoever finds it shall find a node.
    drop(open);
    node.stop().await;
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(()) => Err(Failure::new(
            Exit::Other,
            format!(
                "node of region {} has ended by itself; it should not; see the log above and start it again",
                node.region()
            ),
        )
        .into()),
    }
}

fn builder(settings: NodeSettings, data_dir: &Path) -> Result<NodeBuilder, Failure> {
    let Some(region) = settings.region else {
        return Err(Failure::new(
            Exit::Config,
            "region (missing); a node serves one region; give --region N, or region = N in the file of --config",
        ));
    };
    let mut builder = Node::builder(region.get()).data_dir(data_dir);
    if let Some(name) = settings.name {
        builder = builder.name(name.as_str());
    }
    if let Some(parent) = settings.parent {
        builder = builder.parent(parent.get());
    }
    if let Some(listen) = settings.listen {
        builder = builder.listen(listen.as_str());
    }
    for address in &settings.advertise {
        builder = builder.advertise(address.as_str());
    }
    for address in &settings.join {
        builder = builder.join(address.as_str());
    }
    if !settings.discover.is_empty() {
        let addresses = settings.discover.iter().map(|address| address.as_str());
        builder = builder.discover(StaticList::new(addresses));
    }
    for target in &settings.discover_dns {
        let (name, port) = target.split();
        builder = builder.discover(DnsName::new(name, port));
    }
    for path in &settings.discover_file {
        builder = builder.discover(WatchedFile::new(path));
    }
    for variable in &settings.discover_env {
        builder = builder.discover(EnvVar::new(variable));
    }
    if let Some(ms) = settings.discover_every {
        builder = builder.discover_every(Duration::from_millis(u64::from(ms.get())));
    }
    if let Some(ca_dir) = settings.ca_dir {
        builder = builder.ca_dir(ca_dir);
    }
    let mut mesh = MeshConfig::default();
    if let Some(count) = settings.max_links_out {
        mesh.max_out = count.get() as usize;
    }
    if let Some(count) = settings.max_links_in {
        mesh.max_in = count.get() as usize;
    }
    builder = builder.mesh(mesh);
    for region in settings.link {
        builder = builder.link(region.get());
    }
    builder = builder.root_candidates(settings.root_candidates.iter().map(|id| id.get()));
    if let Some(ms) = settings.election_timeout_ms {
        builder = builder.election_timeout(Duration::from_millis(u64::from(ms.get())));
    }
    if let Some(nearest) = settings.nearest {
        builder = builder.nearest(nearest.get() as usize);
    }
    if let Some(shape) = settings.topology {
        builder = builder.topology(shape.into_inner());
    }
    if settings.dial_only {
        builder = builder.dial_only();
    }
    if let Some(place) = settings.coordinates {
        builder = builder.coordinates(place.get());
    }
    for dial in &settings.dial {
        builder = builder.dial(dial.region, dial.address.as_str());
    }
    if let Some(count) = settings.arbiters {
        builder = builder.arbiters(count.get() as usize);
    }
    if let Some(count) = settings.task_threads {
        builder = builder.task_threads(count.get() as usize);
    }
    if let Some(bytes) = settings.mtu_upper {
        builder = builder.mtu_upper(u16::try_from(bytes.get()).unwrap_or(u16::MAX));
    }
    let millis = |ms: u32| Duration::from_millis(u64::from(ms));
    if let Some(ms) = settings.session_timeout_ms {
        builder = builder.session_timeout(millis(ms.get()));
    }
    if let Some(ms) = settings.join_timeout_ms {
        builder = builder.join_timeout(millis(ms.get()));
    }
    Ok(builder)
}

/// What the node is, on one line, and a second one about a root key that was made.
fn greeting(node: &Node, data_dir: &Path, authority: Option<&PathBuf>) -> String {
    let federation = match Identity::load(data_dir, node.region()) {
        Ok(identity) => identity.federation().to_string(),
        Err(error) => format!("unknown ({error})"),
    };
    let mut text = format!(
        "region {} {} at {}, data directory {}, federation {federation}, start {}\n",
        node.region(),
        node.name(),
        node.local_address(),
        data_dir.display(),
        node.boot(),
    );
    if let Some(dir) = authority {
        text += &format!(
            "first start of a root: made the federation's certificate authority in {}; keep ca.key secret, whoever has it decides who is a region\n",
            dir.display()
        );
    }
    text
}

/// The outcome of `work`, or `None` if a signal or a command to stop comes first.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<T> {
    tokio::select! {
        outcome = work => Some(outcome),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    }
}

/// Ends when the node no longer answers for itself.
async fn end_of(node: &Node) {
    while node.status().await.is_some() {
        tokio::time::sleep(CHECK).await;
    }
    // A region that leaves stops its node first and says so next.
    tokio::time::sleep(LAST_WORD).await;
}

/// The first Ctrl-C, SIGTERM or SIGHUP stops the node, a second one the process at once.
fn on_signal(stop: watch::Sender<bool>) -> Result<(), Failure> {
    ctrlc::set_handler(move || {
        if stop.send_replace(true) {
            std::process::exit(130);
        }
    })
    .map_err(|error| {
        Failure::new(Exit::Other, format!("signal handler (Ctrl-C) cannot be set: {error}"))
    })
}

/// The log goes to stderr; stdout is for answers.
fn log() -> Result<(), Failure> {
    let filter = match std::env::var("FEDIST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            Failure::new(
                Exit::Config,
                format!("FEDIST_LOG ({filter}): {error}; it is a list of target=level; write e.g. FEDIST_LOG=fedist=debug"),
            )
        })?,
        _ => EnvFilter::new("warn,fedist=info"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| {
            Failure::new(Exit::Other, format!("log (stderr) cannot be started: {error}"))
        })
}

const CHECK: Duration = Duration::from_secs(5);
const LAST_WORD: Duration = Duration::from_secs(1);
