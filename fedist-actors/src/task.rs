//! What other regions may start here, and starting it there: tasks (functions with a result) and
//! actors made by factories.
//!
//! Starting is an ask to the task service of the region (`region.4`), which runs the task under
//! a pid of its own on a task thread and answers with the pid. What the task prints and its result
//! come back as messages to the task service of the caller, in the pair's order. The caller's side
//! watches the pid, the task's side watches the caller's region, so that neither waits for the
//! other after it is gone.
//!
//! Every request has a name, made of its source and a reference, and runs at most once (C14):
//! `ledger` is the memory of the one who is asked, `requests` of the one who asks.

mod book;
mod call;
mod catalog;
mod cx;
mod handle;
mod ledger;
mod output;
mod refusal;
mod request;
mod requests;
mod run;
mod service;
mod spawn;
mod start;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fedist_registry::RegionId;
use serde::{Serialize, de::DeserializeOwned};

use crate::{AskError, HomeError};

pub use call::Call;
pub use catalog::{Catalog, Listed};
pub use cx::{CancelToken, TaskCx};
pub use handle::{TaskHandle, TaskShutdown, await_many, yield_many};
pub use refusal::StartRefused;
pub use request::{SettleError, Settled};
pub use requests::RequestId;
pub use spawn::{FactoryName, SpawnAt, SpawnAtError};
pub use start::{Supervised, Tasks, TasksAt};
pub use stream::{OnTimeout, TaskStream, TaskStreamBuilder};

pub(crate) use book::TaskBook;
pub(crate) use call::run_within;
pub(crate) use catalog::Offers;
pub(crate) use service::{
    AskCatalog, AskStanding, CancelTask, SpawnActor, StartTask, TaskDone, TaskPrint, TaskService,
};

/// A function that can be started in another region. Made by `#[fedist::task]`.
pub trait Task: Copy + Send + Sync + 'static {
    /// What it is given.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it gives back; a `Result` where it can fail.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The stable name.
    const NAME: &'static str;
    /// The version of its signature.
    const VERSION: u16;
    /// Runs it. Dropped at its next `await` when the task is cancelled.
    fn run(cx: TaskCx, input: Self::Input) -> impl Future<Output = Self::Output>;
}

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The region does not start it; nothing ran.
    #[error(transparent)]
    Refused(#[from] StartRefused),
    /// The region could not be asked; nothing ran.
    #[error("the task could not be started: {0}")]
    Ask(AskError),
    /// No answer came to the request to start it: it may run. [`Node::settle`](crate::Node::settle) finds out.
    #[error(
        "task request {request} is indeterminate ({cause}); it may have run; ask with `node.settle(request)`"
    )]
    Indeterminate {
        /// Names the request.
        request: RequestId,
        /// Why no answer came.
        cause: AskError,
    },
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// Its region became unreachable while it ran; unless it was started with `nolink` it is
    /// cancelled there when that side notices.
    #[error(
        "region {0} became unreachable while the task ran; it may have finished; start it again only if that is safe"
    )]
    Unreachable(RegionId),
    /// It was stopped from its own side, or by its handle.
    #[error("the task was stopped in its region ({0})")]
    Stopped(String),
    /// No result in time; the task was cancelled.
    #[error("no result within {0:?}; the task was cancelled")]
    Timeout(Duration),
    /// Input or output could not be encoded or decoded.
    #[error("task input or output: {0}")]
    Codec(String),
    /// What it returned is longer than a message may be.
    #[error(
        "task output too large ({len} bytes); at most {max} bytes; split it or raise `max_message`"
    )]
    OutputTooLarge {
        /// Length of the encoded output in bytes.
        len: u64,
        /// The longest allowed, in bytes.
        max: u64,
    },
    /// The result was taken from the handle before.
    #[error("the task's result was taken already")]
    Settled,
    /// Nobody could say where it belongs; nothing ran.
    #[error(transparent)]
    NoHome(#[from] HomeError),
    /// No region was given to run it in.
    #[error("no region to run the task in; name at least one")]
    NoRegion,
}
