//! What a supervisor is told about its children: strategies, child rules, what it answers.

use std::time::Duration;

use fedist_registry::RegionPid;
use serde::{Deserialize, Serialize};

/// Whom a supervisor restarts when one child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// That child only.
    OneForOne,
    /// All children: the others are stopped in reverse order, then all are started in order.
    OneForAll,
    /// That child and those that were added after it.
    RestForOne,
    /// That child only; children are added at run time, have no order and end together.
    Dynamic,
}

/// When a child that ended is started again; Erlang's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only after an abnormal end: any reason but `Normal` and `Shutdown`.
    Transient,
    /// Never. Its spec goes with it.
    Temporary,
}

/// How a supervisor ends a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shutdown {
    /// Exit signal `Shutdown`; when the child still lives after this time, it is killed.
    Timeout(Duration),
    /// Killed at once.
    BrutalKill,
    /// Exit signal `Shutdown`, and then as long as it takes. The default of supervisors, so that a
    /// subtree has time to end.
    Infinity,
}

impl Shutdown {
    /// 5 s, the default of workers.
    pub const DEFAULT: Shutdown = Shutdown::Timeout(Duration::from_secs(5));
}

/// Whether a supervisor ends by itself when significant children have ended by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoShutdown {
    /// No; significant children are refused.
    #[default]
    Never,
    /// When the first significant child ends and is not restarted.
    AnySignificant,
    /// When the last running significant child ends and is not restarted.
    AllSignificant,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildKind {
    /// An actor or a task.
    Worker,
    /// A supervisor with children of its own.
    Supervisor,
}

/// Where a child is between two lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildState {
    /// Being started.
    Starting,
    /// Alive.
    Running,
    /// Told to end.
    Stopping,
    /// Ended, and to be started again after its back-off or in its turn.
    Restarting,
    /// Not running, and nobody is about to start it.
    Stopped,
}

/// One child as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// The name in its spec.
    pub name: String,
    /// Its pid while it is alive.
    pub pid: Option<RegionPid>,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// What it is doing.
    pub state: ChildState,
    /// When it is started again.
    pub restart: Restart,
    /// How often it was started again.
    pub restarts: u64,
}

/// The sums that `count_children` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCounts {
    /// All child specs, whether they run or not.
    pub specs: usize,
    /// Children that are alive.
    pub active: usize,
    /// Specs of supervisors.
    pub supervisors: usize,
    /// Specs of workers.
    pub workers: usize,
}

/// Names one child of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildRef {
    /// By the name in its spec. Not with dynamic supervisors, where names need not differ.
    Name(String),
    /// By the pid of its present life.
    Pid(RegionPid),
}

impl From<&str> for ChildRef {
    fn from(name: &str) -> Self {
        ChildRef::Name(name.to_owned())
    }
}

impl From<String> for ChildRef {
    fn from(name: String) -> Self {
        ChildRef::Name(name)
    }
}

impl From<RegionPid> for ChildRef {
    fn from(pid: RegionPid) -> Self {
        ChildRef::Pid(pid)
    }
}

impl std::fmt::Display for ChildRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChildRef::Name(name) => f.write_str(name),
            ChildRef::Pid(pid) => pid.fmt(f),
        }
    }
}

/// Why a supervisor did not do what it was asked to do with a child. Nothing was changed, but
/// where a start failed: then the child is not running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChildError {
    /// No such child.
    #[error("child ({0}); not known here; ask which_children for those that are")]
    NotFound(ChildRef),
    /// It is alive.
    #[error("child ({name}, running as {pid}); must not be running; terminate it first")]
    Running {
        /// The child.
        name: String,
        /// Its pid.
        pid: RegionPid,
    },
    /// It is about to be started, or is being stopped.
    #[error("child ({0}); is about to be restarted; wait for that, or terminate it")]
    Restarting(String),
    /// A child of that name exists and is not running.
    #[error("child ({0}, already present); a name is used once; restart it or delete it first")]
    AlreadyPresent(String),
    /// A child of that name runs.
    #[error("child ({name}, already started as {pid}); a name is used once; take another name")]
    AlreadyStarted {
        /// The child.
        name: String,
        /// Its pid.
        pid: RegionPid,
    },
    /// The supervisor has as many children as it may have.
    #[error("children ({0}, max_children); no more are allowed; wait, or raise max_children")]
    MaxChildren(usize),
    /// A dynamic supervisor was given a name, or asked for what it does not do.
    #[error(
        "child ({0}, of a dynamic supervisor); such children go by pid and keep no spec; use the pid"
    )]
    Dynamic(ChildRef),
    /// The spec contradicts itself or its supervisor.
    #[error("child ({name}, {rule}); the spec is not valid here; change it")]
    InvalidSpec {
        /// The child.
        name: String,
        /// The rule it breaks.
        rule: String,
    },
    /// Its start failed; the text says why.
    #[error("child ({name}); did not start; {error}")]
    StartFailed {
        /// The child.
        name: String,
        /// Why.
        error: String,
    },
    /// The supervisor is ending.
    #[error("supervisor (ending); takes no more orders; ask the one that replaces it")]
    Stopping,
    /// Too many wait for the end of this child.
    #[error("child ({0}); too many wait for its end already; try again")]
    Busy(String),
}

/// The part of a child's spec that decides; how it is made is the shell's.
#[derive(Clone, Debug)]
pub(crate) struct ChildRules {
    pub(crate) name: String,
    pub(crate) kind: ChildKind,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) significant: bool,
}

impl ChildRules {
    pub(crate) fn worker(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: ChildKind::Worker,
            restart: Restart::Permanent,
            shutdown: Shutdown::DEFAULT,
            significant: false,
        }
    }

    pub(crate) fn supervisor(name: impl Into<String>) -> Self {
        Self { kind: ChildKind::Supervisor, shutdown: Shutdown::Infinity, ..Self::worker(name) }
    }

    /// What makes the spec contradict itself or its supervisor.
    pub(super) fn check(&self, auto_shutdown: AutoShutdown) -> Result<(), ChildError> {
        let invalid = |rule: &str| {
            Err(ChildError::InvalidSpec { name: self.name.clone(), rule: rule.to_owned() })
        };
        if self.significant && self.restart == Restart::Permanent {
            return invalid("significant; a permanent child cannot be");
        }
        if self.significant && auto_shutdown == AutoShutdown::Never {
            return invalid("significant; only with auto_shutdown");
        }
        Ok(())
    }
}

/// What a supervisor is told about itself.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    pub(crate) strategy: Strategy,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) max_restarts: usize,
    pub(crate) period: Duration,
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) max_children: usize,
}

impl Flags {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            auto_shutdown: AutoShutdown::Never,
            max_restarts: 3,
            period: Duration::from_secs(5),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_secs(5),
            max_children: 1_000_000,
        }
    }
}
