//! One run: what the driver asks of a process, and what comes back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::work::Task;

/// What one process is to do; travels as JSON in its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) side: Side,
    pub(crate) task: Task,
    /// See [`Work::apart`](crate::work::Work::apart).
    pub(crate) apart: bool,
    pub(crate) warm_up: Duration,
    pub(crate) span: Duration,
    pub(crate) mtu: u16,
    pub(crate) cores: Option<Cores>,
    /// Shared by the two processes of a run, and by nobody else.
    pub(crate) directory: PathBuf,
    pub(crate) role: Role,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Side {
    Floor,
    Fedist,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Answers until its standard input ends.
    Server,
    /// Measures, and prints the outcome.
    Client { server: Option<ServerAt> },
}

/// Where the server of a run is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerAt {
    /// What the server said about itself when it was ready.
    pub(crate) address: String,
    /// The pid of its counting actor, where it has actors.
    pub(crate) actor: Option<String>,
    /// The number of its process, to read its processor time.
    pub(crate) process: u32,
}

/// What a client measured, by the keys in [`work`](crate::work).
pub(crate) type Outcome = BTreeMap<String, f64>;

/// What a process says on its standard output, one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    Ready { address: String, actor: Option<String> },
    Measured(Outcome),
}
