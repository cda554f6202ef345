//! Rules of the tests' own, and what they place.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use fedist_actors::{Context, Message, Node, NodeBuilder, TaskCx, task};
use fedist_registry::{Caching, Delineator, FederationView, NoHome, RegionId};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A user, as an application writes its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserId(pub(crate) u64);

/// Users live in the region that their number says, and some are trouble.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(crate) asked: Arc<AtomicU64>,
}

impl Delineator for Rules {
    type Key = UserId;

    fn home(&self, key: &UserId, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match key.0 {
            666 => panic!("not that one"),
            404 => Ok(id(9_999)),
            0 => Err(NoHome::refused("nobody is user 0")),
            number => {
                let live: Vec<_> = view.live_regions().collect();
                let at = usize::try_from(number).unwrap() % live.len();
                Ok(live[at])
            }
        }
    }

    fn caching(&self) -> Caching {
        Caching::Registry
    }
}

/// Counts how often each key was done, by the test's own name.
static DONE: LazyLock<Mutex<HashMap<(String, u64), u64>>> = LazyLock::new(Mutex::default);

pub(crate) fn times_done(test: &str) -> Vec<u64> {
    let done = DONE.lock().unwrap();
    done.iter().filter(|((of, _), _)| of == test).map(|(_, times)| *times).collect()
}

/// A piece of work: it takes so many milliseconds, notes that it was done, and says where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) test: String,
    pub(crate) number: u64,
    pub(crate) millis: u64,
}

#[task(name = "place.work", version = 1, crate = "fedist_actors")]
pub(crate) async fn work(cx: TaskCx, piece: Piece) -> (u64, u16) {
    tokio::time::sleep(Duration::from_millis(piece.millis)).await;
    *DONE.lock().unwrap().entry((piece.test, piece.number)).or_default() += 1;
    (piece.number, cx.node().region().get())
}

#[task(name = "place.picky", version = 1, crate = "fedist_actors")]
pub(crate) async fn picky(cx: TaskCx, number: u64) -> (u64, u16) {
    assert!(cx.node().region() != id(2) || !number.is_multiple_of(3), "not here");
    assert!(number != 13, "nowhere");
    (number, cx.node().region().get())
}

#[task(name = "place.only_in_3", version = 1, crate = "fedist_actors")]
pub(crate) async fn only_in_3(cx: TaskCx, number: u64) -> (u64, u16) {
    (number, cx.node().region().get())
}

pub(crate) fn pieces(test: &str, count: u64, millis: u64) -> Vec<Piece> {
    (0..count).map(|number| Piece { test: test.to_owned(), number, millis }).collect()
}

/// An actor that says where it is.
#[derive(Default)]
pub(crate) struct Here;

impl Actor for Here {
    type Context = Context<Self>;
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u16")]
#[wire(name = "place.where", version = 1, crate = "fedist_actors")]
pub(crate) struct WhereAreYou;

impl Handler<WhereAreYou> for Here {
    type Result = u16;

    fn handle(&mut self, _: WhereAreYou, ctx: &mut Context<Self>) -> u16 {
        ctx.node().region().get()
    }
}

pub(crate) fn ready(builder: NodeBuilder) -> NodeBuilder {
    builder.task(work).task(picky).factory(
        "here",
        1,
        |(): ()| Here,
        |export| export.handles::<WhereAreYou>(),
    )
}

/// A root and regions below it, each linked to it alone, with the tests' tasks and factories.
pub(crate) async fn star(net: &MemoryNet, count: u16) -> Vec<Node> {
    let mut nodes = vec![ready(root(net)).start().await.unwrap()];
    for number in 2..=count {
        let mut builder = ready(below(net, 1, number));
        if number == 3 {
            builder = builder.task(only_in_3);
        }
        nodes.push(builder.start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}
