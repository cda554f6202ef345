//! Running the store: one region of a federation, or two in this process for a try.

use std::{future::Future, net::SocketAddr, path::PathBuf};

use fedist::{Node, RegionId, registry::RangeTable};
use tokio::sync::watch;

use super::{
    exit::{Exit, Failure},
    front::Front,
    options::Settings,
    say, store,
};

/// Runs one region until it is stopped.
pub(crate) async fn one(settings: Settings, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let front = bind(settings.front())?;
    let region = settings.region.unwrap_or(RegionId::new(1)?);
    let data = PathBuf::from("kv-data");
    let data_dir = settings.data_dir.clone();
    let data_dir = data_dir.unwrap_or_else(|| data.join(format!("region-{region}")));
    let ca_dir = settings.ca_dir.clone().unwrap_or_else(|| data.join("ca"));
    let mut builder = Node::builder(region).data_dir(data_dir).ca_dir(ca_dir);
    if let Some(parent) = settings.parent {
        builder = builder.parent(parent);
    }
    for address in &settings.join {
        builder = builder.join(address.as_str());
    }
    if let Some(listen) = &settings.listen {
        builder = builder.listen(listen.as_str());
    }
    for address in &settings.advertise {
        builder = builder.advertise(address.as_str());
    }
    let Some(node) = unless_stopped(builder.start(), &mut stop).await else { return Ok(()) };
    let node = node?;
    let opened = open(&node, front, &settings).await;
    if opened.is_ok() {
        let _ = stop.wait_for(|stopped| *stopped).await;
    }
    node.stop().await;
    opened
}

/// Runs two regions, with QUIC between them, until they are stopped.
pub(crate) async fn two(
    mut settings: Settings,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut next = settings.front();
    let first = bind(next)?;
    if next.port() != 0 {
        next.set_port(next.port().checked_add(1).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "front (port 65535); the second one is at the next port; give a lower one",
            )
        })?);
    }
    let second = bind(next)?;
    if settings.table.is_none() {
        settings.table = Some("a..m => 1, n..z => 2".parse()?);
    }
    settings.allow_crash = true;
    let (first_at, second_at) = (first.address(), second.address());
    let dir = tempfile::tempdir().map_err(|error| {
        Failure::new(
            Exit::Storage,
            format!(
                "temporary directory (cannot be made: {error}); keys are kept there; set TMPDIR"
            ),
        )
    })?;
    let root = Node::builder(RegionId::new(1)?).name("one").data_dir(dir.path().join("1"));
    let Some(root) = unless_stopped(root.start(), &mut stop).await else { return Ok(()) };
    let root = root?;
    let leaf = Node::builder(RegionId::new(2)?).name("two").data_dir(dir.path().join("2"));
    let outcome = match unless_stopped(leaf.under(&root).start(), &mut stop).await {
        None => Ok(()),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(leaf)) => {
            let opened = open_both(&root, &leaf, first, second, &settings).await;
            if opened.is_ok() {
                say(&hint(first_at, second_at, settings.table.as_ref()));
                let _ = stop.wait_for(|stopped| *stopped).await;
            }
            leaf.stop().await;
            opened
        }
    };
    root.stop().await;
    outcome
}

async fn open_both(
    root: &Node,
    leaf: &Node,
    first: Front,
    second: Front,
    settings: &Settings,
) -> anyhow::Result<()> {
    open(root, first, settings).await?;
    open(leaf, second, settings).await
}

async fn open(node: &Node, front: Front, settings: &Settings) -> anyhow::Result<()> {
    let address = front.address();
    let (table, manners) = (settings.table.as_ref(), settings.manners());
    store::open(node, table, front, manners, settings.max_bytes()).await?;
    let table =
        table.map_or_else(|| "none (all buckets are here)".to_owned(), RangeTable::to_string);
    let (region, quic) = (node.region(), node.local_address());
    say(&format!(
        "region {region}: clients at {address}, other regions at {quic}, table {table}\n"
    ));
    Ok(())
}

fn bind(address: SocketAddr) -> Result<Front, Failure> {
    Front::bind(address).map_err(|error| {
        Failure::new(
            Exit::Network,
            format!(
                "front ({address}: {error}); clients connect there; give another one with --front"
            ),
        )
    })
}

fn hint(first: SocketAddr, second: SocketAddr, table: Option<&RangeTable>) -> String {
    let table = table.map(RangeTable::to_string).unwrap_or_default();
    format!(
        "\nTry it, by telnet or nc, and stop it with Ctrl-C:\n\n\
         \x20 $ nc {} {}          # a second one to {}: the same store by the other door\n\
         \x20 CREATE shopping             # at home by its first byte: {table}\n\
         \x20 PUT shopping milk 1\n\
         \x20 GET shopping milk\n\
         \x20 SUBSCRIBE shopping          # at the other front; then PUT and DELETE at this one\n\
         \x20 CRASH shopping              # the bucket panics; GET says NOT FOUND, CREATE makes it anew\n",
        first.ip(),
        first.port(),
        second.port(),
    )
}

async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    stop: &mut watch::Receiver<bool>,
) -> Option<T> {
    tokio::select! {
        outcome = work => Some(outcome),
        _ = stop.wait_for(|stopped| *stopped) => None,
    }
}
