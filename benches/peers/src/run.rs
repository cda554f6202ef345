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
    /// The name of the peer.
    pub(crate) peer: String,
    pub(crate) task: Task,
    pub(crate) warm_up: Duration,
    pub(crate) span: Duration,
    pub(crate) cores: Option<Cores>,
    /// Shared by the processes of a run, and by nobody else.
    pub(crate) directory: PathBuf,
    /// A port that nobody has; of the broker where there is one, else of the server.
    pub(crate) port: u16,
    pub(crate) role: Role,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Answers until its standard input ends.
    Server,
    /// Measures, and prints the outcome. The address is what the server said when it was ready.
    Client { server: Option<String> },
}

/// What a client measured, by the keys in [`work`](crate::work).
pub(crate) type Outcome = BTreeMap<String, f64>;

/// What a process says on its standard output, one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// A server: it can be reached with this.
    Ready {
        address: String,
    },
    /// A client: it is warm and measures from now on.
    Begin {},
    Measured(Outcome),
}
