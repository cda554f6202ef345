//! The echo service: what `ping` asks.

use std::time::{Duration, Instant};

use actix::{Actor, Handler, MessageResult};
use fedist_registry::{LocalId, RegionId, RegionPid, service};

use crate::{AskError, Context, Message, Node, PidSend};

/// Asks a region whether it answers, and whether an actor lives there.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Echo")]
#[wire(name = "fedist.echo", version = 1, crate = "crate")]
pub struct EchoRequest {
    /// The actor asked about; `None` for the region itself.
    pub actor: Option<LocalId>,
}

/// The answer of the echo service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Echo {
    /// Whether the actor lives; true for a question about the region itself.
    pub alive: bool,
    /// How often the region has been started.
    pub boot: u32,
}

/// One answered ping.
#[derive(Debug, Clone)]
pub struct Pong {
    /// Time from the send to the answer.
    pub rtt: Duration,
    /// What came back.
    pub echo: Echo,
}

impl Node {
    /// Asks the echo service of the pid's region once, with a deadline.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ping(&self, target: PingTarget, deadline: Duration) -> Result<Pong, AskError> {
        let (region, actor) = match target {
            PingTarget::Region(region) => (region, None),
            PingTarget::Actor(pid) => {
                let seat = self.seat(pid);
                (seat.region(), Some(seat.local()))
            }
        };
        let started = Instant::now();
        let echo = RegionPid::new(region, service::ECHO)
            .send(self, EchoRequest { actor })
            .deadline(deadline)
            .await?;
        Ok(Pong { rtt: started.elapsed(), echo })
    }
}

/// What a ping is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingTarget {
    /// A region.
    Region(RegionId),
    /// One actor of a region.
    Actor(RegionPid),
}

impl PingTarget {
    /// The region itself, or the one that the actor lives in.
    pub fn region(self) -> RegionId {
        match self {
            PingTarget::Region(region) => region,
            PingTarget::Actor(pid) => pid.region(),
        }
    }
}

impl From<RegionId> for PingTarget {
    fn from(region: RegionId) -> Self {
        PingTarget::Region(region)
    }
}

impl From<RegionPid> for PingTarget {
    fn from(pid: RegionPid) -> Self {
        PingTarget::Actor(pid)
    }
}

/// The echo service at the well-known pid `region.8`.
pub(crate) struct EchoService {
    pub(crate) node: Node,
}

impl Actor for EchoService {
    type Context = Context<Self>;
}

impl Handler<EchoRequest> for EchoService {
    type Result = MessageResult<EchoRequest>;

    fn handle(&mut self, message: EchoRequest, _: &mut Context<Self>) -> Self::Result {
        let inner = self.node.inner();
        MessageResult(Echo {
            alive: message.actor.is_none_or(|local| inner.processes.get(local).is_some()),
            boot: inner.boot,
        })
    }
}
