//! What the demo asks of its region processes, and what they answer; see [`order`](super::order) for the envelope.

use std::path::PathBuf;

use fedist::registry::{Coordinates, RegionId, RegionPid};
use serde::{Deserialize, Serialize};

/// The hidden subcommand that runs a region process.
pub(crate) const REGION_COMMAND: &str = "demo-region";

/// What a region process is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Starts the node; answered with [`Started`]. The first command, given once.
    Start(Box<Start>),
    /// Answered with the node's own `NodeStatus`.
    Status,
    /// Round trips to other regions: an event [`Pinged`] for each, answered with null.
    Ping(Ping),
    /// Counts the words of a piece of text by a supervised task in some region: [`Counted`].
    Count(Count),
    /// Puts up an actor that takes numbered messages; answered with its pid.
    Sink(Sink),
    /// Sends numbered messages to a sink: an event [`Halfway`], answered with [`Poured`].
    Pour(Pour),
    /// What the sink has: its `TallyReport`.
    Drained,
    /// Stops the node, says so, and ends the process.
    Stop,
}

/// How to start the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) parent: Option<RegionId>,
    /// Where to join: the door of the emulator that leads to the parent.
    pub(crate) join: Option<String>,
    pub(crate) ca_dir: PathBuf,
    /// The doors that lead to the regions it links to.
    pub(crate) dial: Vec<(RegionId, String)>,
    pub(crate) coordinates: Option<Coordinates>,
}

/// The node is live and listens here.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) address: String,
}

/// Whom to ping, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ping {
    pub(crate) targets: Vec<RegionId>,
    pub(crate) samples: usize,
    /// How many targets at the same time.
    pub(crate) at_once: usize,
    pub(crate) deadline_ms: u64,
}

/// The round trips to one region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pinged {
    pub(crate) to: RegionId,
    pub(crate) rtt_ms: Vec<f64>,
    pub(crate) error: Option<String>,
}

/// A piece of text, and its number in the order of the text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) piece: u64,
    pub(crate) text: String,
}

/// The words of a piece, and who counted them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) counts: super::words::WordCounts,
    pub(crate) region: RegionId,
    pub(crate) attempts: usize,
}

/// How many messages will come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sink {
    pub(crate) messages: usize,
}

/// How many messages to send, where, and over which time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pour {
    pub(crate) to: RegionPid,
    pub(crate) messages: u64,
    pub(crate) over_ms: u64,
}

/// Half of the messages are sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Halfway {
    /// The route that they take now.
    pub(crate) path: Vec<RegionId>,
}

/// All were accepted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Poured {
    pub(crate) sent: u64,
    pub(crate) took_ms: f64,
    pub(crate) path: Vec<RegionId>,
}
