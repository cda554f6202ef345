//! Asking whoever a key belongs to, hop by hop.
//!
//! The node that asks goes by its own rule. If that names another region, the message goes to the delineator there, which goes
//! by *its* rule, and so on, until a rule names the region that it is asked in: that one handles it. So tables may differ, a key
//! may move while messages are on their way, and a federation may be divided finer and finer without everybody knowing. The message
//! carries whom it has passed, and by which of their rules: when it comes to a region again that would send it on by the same rule as
//! before, it ends with an error that shows the circle. A region whose rule was replaced meanwhile may be passed again.

use std::{
    future::IntoFuture,
    marker::PhantomData,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid, service};
use fedist_transport::wire::type_hash;
use futures_util::future::{BoxFuture, Either, select};
use serde::{Deserialize, Serialize};

use super::{book::Counters, hold::Passage, home::HomeError, service::AskHomeOf};
use crate::{
    AskError, DEFAULT_DEADLINE, Node, PidSend, WireMessage,
    address::with_decoding_node,
    message::{decode, encode},
};

/// Why whoever a key belongs to gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HomeAskError {
    /// A region on the way could not say where the key belongs. Nothing was handled.
    #[error("{error} (asked in region {region})")]
    NoHome {
        /// Who was asked.
        region: RegionId,
        /// What it said.
        error: HomeError,
    },
    /// The rules of some regions send the key round in a circle. Nothing was handled.
    #[error(
        "the rules send this key in a circle ({}); one of the regions must say that it is home; compare their rules",
        shown(.path)
    )]
    Loop {
        /// The regions in the order in which they were asked, the repeated one last.
        path: Vec<RegionId>,
    },
    /// More regions pass it on than there should be. Nothing was handled.
    #[error(
        "the rules send this key on and on ({}); at most 8 regions are asked; let the first ones name the home itself",
        shown(.path)
    )]
    TooFar {
        /// The regions in the order in which they were asked.
        path: Vec<RegionId>,
    },
    /// The key is at home in a region that does not handle such messages.
    #[error(
        "region {region} does not handle {message} for keys at home there; handlers are listed; list one with `Node::serve_home`"
    )]
    NotServed {
        /// The home.
        region: RegionId,
        /// The stable name of the message's type.
        message: String,
    },
    /// A region on the way could not be asked, or gave no answer. After `Timeout` and `Unreachable` the message may have been handled.
    #[error("region {region}: {error}")]
    Ask {
        /// Which region.
        region: RegionId,
        /// What happened.
        error: AskError,
    },
    /// Key, message or answer could not be encoded or decoded.
    #[error("key or message: {0}")]
    Codec(String),
}

fn shown(path: &[RegionId]) -> String {
    path.iter().map(RegionId::to_string).collect::<Vec<_>>().join(" → ")
}

/// A message to whoever a key belongs to; `.await` it. Made by [`Node::ask_home`].
#[must_use = "an ask does nothing until it is awaited"]
pub struct HomeAsk<M: WireMessage> {
    node: Node,
    encoded: Result<(Bytes, Bytes), String>,
    deadline: Duration,
    message: PhantomData<fn(M)>,
}

impl Node {
    /// Asks whoever serves `key` at its home ([`serve_home`](Self::serve_home)): the region that the rule here names, or the one to which that passes
    /// it on by its own rule. The deadline is 5 s unless [`HomeAsk::deadline`] says otherwise.
    ///
    /// A key that moves from one home to another takes what is on its way along. Two messages that were sent one after the
    /// other while the rule changes may take different ways, and so the later one may arrive first: who needs their order waits
    /// for the answer of the first.
    ///
    /// # Errors
    /// [`HomeAskError`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; the message may still be handled.
    pub fn ask_home<K: Serialize + ?Sized, M: WireMessage>(
        &self,
        key: &K,
        message: M,
    ) -> HomeAsk<M> {
        let key = encode("fedist.delineator.key", key);
        let encoded = key.and_then(|key| Ok((key, encode(M::NAME, &message)?)));
        HomeAsk {
            node: self.clone(),
            encoded: encoded.map_err(|error| error.to_string()),
            deadline: DEFAULT_DEADLINE,
            message: PhantomData,
        }
    }
}

impl<M: WireMessage> HomeAsk<M> {
    /// Waits at most this long for the answer.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<M: WireMessage> IntoFuture for HomeAsk<M> {
    type Output = Result<M::Result, HomeAskError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { node, encoded, deadline, .. } = self;
        Box::pin(async move {
            let (key, body) = encoded.map_err(HomeAskError::Codec)?;
            let hop = Hop {
                key,
                message: M::NAME.to_owned(),
                left_ms: millis(deadline),
                visited: Vec::new(),
            };
            let answer = hop.go_on(&node, body).await?;
            with_decoding_node(&node, None, || decode::<M::Result>(&answer))
                .map_err(|error| HomeAskError::Codec(error.to_string()))
        })
    }
}

/// Where a message to a key is on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hop {
    key: Bytes,
    /// The stable name of the message's type.
    message: String,
    /// Of the deadline.
    left_ms: u32,
    /// Who passed it on, the first one first, and the generation of the rule by which they did.
    visited: Vec<(RegionId, u64)>,
}

impl Hop {
    /// Handles it if the key is at home here, else passes it on.
    pub(super) async fn go_on(self, node: &Node, body: Bytes) -> Result<Bytes, HomeAskError> {
        let deadline = Deadline::new(self.left_ms);
        loop {
            let home = node
                .home_of_encoded(self.key.clone(), deadline.left())
                .await
                .map_err(|error| HomeAskError::NoHome { region: node.region(), error })?;
            if home != node.region() {
                return self.pass_on(node, home, body, &deadline).await;
            }
            let full = HomeAskError::Ask { region: home, error: AskError::Full };
            match node.inner().delineation.holds.pass(&self.key) {
                Passage::Full => return Err(full),
                Passage::Open(_running) => return self.handle(node, &body, &deadline).await,
                // It is moving: afterwards the rule may name another home.
                Passage::Held(waiting) => {
                    deadline.bound(node, std::pin::pin!(waiting.released())).await?;
                }
            }
        }
    }

    async fn handle(
        &self,
        node: &Node,
        body: &Bytes,
        deadline: &Deadline,
    ) -> Result<Bytes, HomeAskError> {
        let region = node.region();
        let handlers = &node.inner().delineation.handlers;
        let handler =
            handlers.get(&type_hash(&self.message)).map(|found| std::sync::Arc::clone(&found));
        let Some(handler) = handler else {
            return Err(HomeAskError::NotServed { region, message: self.message.clone() });
        };
        let from = self.visited.last().map(|(region, _)| *region);
        let handled = handler.handle(node, from, &self.key, body);
        let answer = deadline.bound(node, handled).await?;
        answer.map_err(|error| HomeAskError::Ask { region, error })
    }

    async fn pass_on(
        mut self,
        node: &Node,
        home: RegionId,
        body: Bytes,
        deadline: &Deadline,
    ) -> Result<Bytes, HomeAskError> {
        let here = (node.region(), node.inner().delineation.installed().generation);
        let circle = self.visited.contains(&here);
        self.visited.push(here);
        let path = || self.visited.iter().map(|(region, _)| *region).collect();
        if circle {
            return Err(HomeAskError::Loop { path: path() });
        }
        if self.visited.len() > MAX_HOPS {
            return Err(HomeAskError::TooFar { path: path() });
        }
        if self.visited.len() > 1 {
            Counters::add(&node.inner().delineation.counters.forwarded);
        }
        let left = deadline.left();
        // Whoever is asked answers before the asker gives up, so that its reason is heard.
        self.left_ms = millis(left.saturating_sub((left / 20).min(ANSWER_TIME)));
        let delineator = RegionPid::new(home, service::DELINEATOR);
        let asked = delineator.send(node, AskHomeOf { hop: self, body }).deadline(left).await;
        asked.map_err(|error| HomeAskError::Ask { region: home, error })?
    }
}

struct Deadline {
    begun: Instant,
    time: Duration,
}

impl Deadline {
    fn new(ms: u32) -> Self {
        Self { begun: Instant::now(), time: Duration::from_millis(ms.into()) }
    }

    fn left(&self) -> Duration {
        self.time.saturating_sub(self.begun.elapsed())
    }

    /// Waits no longer than there is time.
    async fn bound<F: Future + Unpin>(
        &self,
        node: &Node,
        work: F,
    ) -> Result<F::Output, HomeAskError> {
        match select(work, node.sleep(self.left())).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => Err(HomeAskError::Ask {
                region: node.region(),
                error: AskError::Timeout(self.time),
            }),
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

const MAX_HOPS: usize = 8;
const ANSWER_TIME: Duration = Duration::from_millis(100);
