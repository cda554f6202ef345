//! Calling a task as a function, in one region or in many.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

use fedist_registry::RegionId;
use futures_util::future::join_all;

use super::{Task, TaskError, start::Tie};
use crate::{DEFAULT_DEADLINE, Node, Where};

/// A call that is about to be made; `.await` it. Made by [`Node::call`].
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<T: Task> {
    node: Node,
    place: Where,
    task: T,
    input: T::Input,
    deadline: Duration,
}

impl<T: Task> Call<T> {
    /// Waits at most this long in all, then cancels the task. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<T: Task> IntoFuture for Call<T> {
    type Output = Result<T::Output, TaskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run_within(&self.node, self.place, self.task, &self.input, self.deadline))
    }
}

impl Node {
    /// Runs a task in a region, or at the home of a key ([`home_of`](crate::home_of)), and gives its result: a remote function call, as `erpc:call` of
    /// Erlang. The task is linked to nobody; it is cancelled when the future is dropped, at the
    /// deadline, and when the regions lose each other.
    ///
    /// ```text
    /// let words = node.call(region, count, lines).deadline(Duration::from_secs(1)).await?;
    /// ```
    ///
    /// # Errors
    /// The future gives [`TaskError`].
    pub fn call<T: Task>(&self, place: impl Into<Where>, task: T, input: T::Input) -> Call<T> {
        Call { node: self.clone(), place: place.into(), task, input, deadline: DEFAULT_DEADLINE }
    }

    /// Runs a task in every one of `regions` at a time; gives each one's result, in the order of
    /// `regions`. What has given none within `timeout` is cancelled. (Erlang: `erpc:multicall`.)
    ///
    /// # Cancel safety
    /// Dropping the future cancels what is under way.
    pub fn multicall<T: Task>(
        &self,
        regions: impl IntoIterator<Item = RegionId>,
        task: T,
        input: &T::Input,
        timeout: Duration,
    ) -> impl Future<Output = Vec<(RegionId, Result<T::Output, TaskError>)>> + Send {
        let calls: Vec<_> = regions
            .into_iter()
            .map(|region| {
                let call = run_within(self, region.into(), task, input, timeout);
                async move { (region, call.await) }
            })
            .collect();
        join_all(calls)
    }
}

/// From the start of a task to its result, within `timeout` in all.
pub(crate) fn run_within<T: Task>(
    node: &Node,
    place: Where,
    task: T,
    input: &T::Input,
    timeout: Duration,
) -> impl Future<Output = Result<T::Output, TaskError>> + Send + use<T> {
    let start = node.tasks().at(place).deadline(timeout).begin(task, input, Tie::Handle);
    let node = node.clone();
    async move {
        let begun = node.inner().clock.now();
        let handle = start.await?;
        let spent = node.inner().clock.now().saturating_sub(begun).as_duration();
        match handle.await_for(timeout.saturating_sub(spent)).await {
            Err(TaskError::Timeout(_)) => Err(TaskError::Timeout(timeout)),
            result => result,
        }
    }
}
