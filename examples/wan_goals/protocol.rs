//! What the goals ask of their region processes, and what those answer.

use std::path::PathBuf;

use fedist::registry::{Coordinates, RegionId, RegionPid};
use serde::{Deserialize, Serialize};

/// The first argument of a region process.
pub(crate) const REGION_COMMAND: &str = "region-process";

/// What a region process is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Starts the node; answered with null once it is live. The first command, given once.
    Start(Box<Start>),
    /// Answered with the node's own `NodeStatus`.
    Status,
    /// From now on, one small request to each of these regions per period; none stops it. Answered at once.
    Chatter { to: Vec<RegionId>, period_ms: u64 },
    /// Round trips to a region, one after the other, in µs; a pause between them lets everything fall asleep.
    Ping { to: RegionId, samples: usize, pause_us: u64 },
    /// Puts up an actor that takes numbered messages; answered with its pid.
    Sink,
    /// Sends numbered messages to a sink; answered with how many were accepted.
    Pour(Pour),
    /// What the sink has of every stream: a list of [`Tally`].
    Tallies,
    /// Waits until no route of this region (or not the one to `to`) passes the link between `a` and `b`: the time as [`At`].
    Avoids { a: RegionId, b: RegionId, to: Option<RegionId>, patience_ms: u64 },
    /// Waits until this region has given up its link to `peer`, and has told so: the time as [`At`].
    GivenUp { peer: RegionId, patience_ms: u64 },
    /// The route to a region for a while: an event [`Taken`] at the beginning and at each change.
    RouteLog { to: RegionId, for_ms: u64 },
    /// Keeps the node's own thread busy for a share of the time.
    Burn { permille: u64, for_ms: u64 },
    /// Waits until this copy of the registry holds a region: the time as [`At`].
    Knows { region: RegionId, patience_ms: u64 },
    /// Takes this region out of the others' routes, losing nothing, and stops it.
    Drain,
    /// Stops the node, says so, and ends the process.
    Stop,
}

/// How to start the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) parent: Option<RegionId>,
    pub(crate) listen: String,
    pub(crate) join: Option<String>,
    pub(crate) ca_dir: PathBuf,
    /// The doors that lead to all other regions.
    pub(crate) dial: Vec<(RegionId, String)>,
    pub(crate) coordinates: Option<Coordinates>,
    pub(crate) mesh: Mesh,
}

/// Which links are open.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mesh {
    /// As a federation chooses by itself.
    Adaptive,
    /// All of them.
    Full,
    /// These and no others.
    Edges(Vec<(RegionId, RegionId)>),
}

/// A stream of numbered messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pour {
    pub(crate) to: RegionPid,
    pub(crate) stream: u64,
    pub(crate) every_us: u64,
    pub(crate) for_ms: u64,
}

/// A moment on the machine's clock, in µs since 1970, the same in all processes.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct At {
    pub(crate) at_us: u64,
}

/// The route that was taken from a moment on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) at_us: u64,
    /// The regions after this one; empty for no route.
    pub(crate) hops: Vec<RegionId>,
}

/// What came of one stream.
#[derive(Copy, Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) stream: u64,
    pub(crate) arrived: u64,
    /// Came a second time.
    pub(crate) doubled: u64,
    /// Came after one that was sent later.
    pub(crate) reordered: u64,
    /// The longest time between two arrivals, and when it ended.
    pub(crate) pause_us: u64,
    pub(crate) pause_end_us: u64,
}
