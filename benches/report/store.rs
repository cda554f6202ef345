//! The key-value store of the examples, asked by its clients: a GET at the bucket's home, and one by another region's front.

#[allow(dead_code, unused_imports, reason = "the example uses more of it")]
#[path = "../../examples/kv/main.rs"]
mod kv;

use std::any::Any;
use std::net::SocketAddr;

use actix::System;
use anyhow::{Context, Result};
use fedist::prelude::{Node, RegionId};
use fedist::registry::RangeTable;
use kv::bench::{CLIENTS, driver, plain, proxy};
use kv::front::{Front, Manners};
use kv::store;

use crate::child::say;
use crate::processor_time::ProcessorTime;
use crate::run::{Outcome, Run, Said};
use crate::work::{KILO_RATE, P50, P99};

/// A region of the store: the first is home to all buckets, the others have fronts only.
pub(crate) fn region(run: &Run) -> Result<Box<dyn Any>> {
    let place = u16::try_from(run.servers.len())? + 1;
    let directory = |place: u16| run.directory.join(format!("region-{place}"));
    let mut builder =
        Node::builder(RegionId::new(place)?).data_dir(directory(place)).ca_dir(directory(1));
    if let Some(parent) = run.servers.last() {
        builder = builder.parent(RegionId::new(place - 1)?).join(&parent.address);
    }
    let node = builder.start_blocking()?;
    let (front, table) = (Front::bind(ANY_PORT)?, "a..z => 1".parse::<RangeTable>()?);
    let clients = front.address().to_string();
    let opened = store::open(&node, Some(&table), front, Manners::default(), store::MAX_BYTES);
    System::new().block_on(opened)?;
    say(&Said::Ready { address: node.local_address().to_owned(), actors: vec![clients] })?;
    Ok(Box::new(node))
}

/// The floor of a region at home: a plain server.
pub(crate) fn plain_server(_: &Run) -> Result<Box<dyn Any>> {
    serve(plain::accept)
}

/// The floor of a link: a process that passes bytes on.
pub(crate) fn forwarder(run: &Run) -> Result<Box<dyn Any>> {
    let to = clients_at(run)?;
    serve(move |listener| proxy::accept(listener, to))
}

fn serve<F>(
    accept: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
) -> Result<Box<dyn Any>>
where
    F: Future<Output = Result<()>>,
{
    let listener = std::net::TcpListener::bind(ANY_PORT)?;
    listener.set_nonblocking(true)?;
    let clients = listener.local_addr()?.to_string();
    let server = std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { accept(tokio::net::TcpListener::from_std(listener)?).await })
    });
    say(&Said::Ready { address: clients.clone(), actors: vec![clients] })?;
    Ok(Box::new(server))
}

/// One client for half of the time, then many.
pub(crate) fn get(run: &Run) -> Result<Outcome> {
    let address = clients_at(run)?;
    driver::fill(address, BUCKET)?;
    let (p50, p99) = driver::latency(address, BUCKET, run.span / 2)?;
    let time = ProcessorTime::start(&run.servers);
    let (rate, answered) = driver::rate(address, BUCKET, run.span / 2, CLIENTS)?;
    let figures = [(P50, p50), (P99, p99), (KILO_RATE, rate / 1e3)];
    let mut outcome: Outcome = figures.map(|(key, figure)| (key.to_owned(), figure)).into();
    time.stop(answered, &mut outcome);
    Ok(outcome)
}

fn clients_at(run: &Run) -> Result<SocketAddr> {
    Ok(run.next_hop()?.actors.first().context("no front")?.parse()?)
}

const BUCKET: &str = "middle";
const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
