//! One run: what the driver asks of a process, and what comes back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cores::Cores;

/// What one process is to do; travels as JSON in its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The work's name.
    pub(crate) work: String,
    pub(crate) side: Side,
    pub(crate) role: Role,
    /// Links between the client and the first server.
    pub(crate) links: usize,
    /// The servers that are ready, in the order of [`Cast::servers`](crate::work::Cast::servers).
    pub(crate) servers: Vec<ServerAt>,
    pub(crate) warm_up: Duration,
    pub(crate) span: Duration,
    /// Largest UDP payload that either side tries.
    pub(crate) mtu: u16,
    /// The processors of the run, if it may choose any.
    pub(crate) cores: Option<Cores>,
    /// Shared by the processes of a run, and by nobody else.
    pub(crate) directory: PathBuf,
}

impl Run {
    /// Where the messages of this run go.
    pub(crate) fn server(&self) -> Result<&ServerAt> {
        self.servers.first().context("a work without a server")
    }

    /// The server that this process is to link with: the last that has come up.
    pub(crate) fn next_hop(&self) -> Result<&ServerAt> {
        self.servers.last().context("a work without a server")
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Side {
    Floor,
    Fedist,
}

#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Answers until its standard input ends. Its place in the cast.
    Server(usize),
    /// Measures, and prints the outcome.
    Client,
}

/// Where a server of a run is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerAt {
    /// What the server said about itself when it was ready.
    pub(crate) address: String,
    /// The pids of its actors, where it has any.
    pub(crate) actors: Vec<String>,
    /// The number of its process, to read its processor time.
    pub(crate) process: u32,
}

/// What a client measured, by the keys in [`work`](crate::work).
pub(crate) type Outcome = BTreeMap<String, f64>;

/// What a process says on its standard output, one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    Ready { address: String, actors: Vec<String> },
    Measured(Outcome),
}
