//! Many inputs through one task: a stream of results with bounded concurrency.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use fedist_registry::RegionId;
use futures_util::{Stream, StreamExt, stream};

use super::{Task, TaskError, Tasks, call::run_within};
use crate::{AskError, DEFAULT_DEADLINE, Node, Where, home_of};

/// A stream of tasks in the making. Made by [`Tasks::stream`]; [`start`](TaskStreamBuilder::start)
/// gives the stream.
#[must_use = "a stream of tasks does nothing until it is started and polled"]
pub struct TaskStreamBuilder<T: Task, I> {
    node: Node,
    task: T,
    inputs: I,
    regions: Vec<RegionId>,
    place: Option<ChoosePlace<T>>,
    max_in_flight: usize,
    ordered: bool,
    timeout: Duration,
    on_timeout: OnTimeout,
}

/// Where an input belongs.
type ChoosePlace<T> = Box<dyn Fn(&<T as Task>::Input) -> Where + Send>;

/// What a stream does when one of its tasks takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// The stream gives the time-out and ends; everything that is under way is cancelled.
    #[default]
    Exit,
    /// That task is cancelled, its place in the stream is the time-out, and the stream goes on.
    KillTask,
}

impl Tasks {
    /// Runs `task` once for each of `inputs`, a bounded number at a time, and streams the results.
    /// (Elixir: `Task.Supervisor.async_stream_nolink`.)
    ///
    /// An input is taken only when a task can be started with it, and nothing is started before
    /// the stream is polled. A task that fails is an `Err` in the stream, which goes on.
    ///
    /// By default: in the own region, 4 at a time, in the order of the inputs, 5 s for each,
    /// and a time-out ends the stream.
    pub fn stream<T, I>(&self, inputs: I, task: T) -> TaskStreamBuilder<T, I::IntoIter>
    where
        T: Task,
        I: IntoIterator<Item = T::Input>,
    {
        TaskStreamBuilder {
            node: self.node.clone(),
            task,
            inputs: inputs.into_iter(),
            regions: Vec::new(),
            place: None,
            max_in_flight: 4,
            ordered: true,
            timeout: DEFAULT_DEADLINE,
            on_timeout: OnTimeout::Exit,
        }
    }
}

impl<T, I> TaskStreamBuilder<T, I>
where
    T: Task,
    I: Iterator<Item = T::Input> + Send + 'static,
{
    /// Where to run: one region after the other, round and round.
    pub fn regions(mut self, regions: impl IntoIterator<Item = RegionId>) -> Self {
        self.regions = regions.into_iter().collect();
        self
    }

    /// Runs each at the home of its key, which `key` makes of the input; in place of [`regions`](Self::regions).
    pub fn homes<K: serde::Serialize>(
        mut self,
        key: impl Fn(&T::Input) -> K + Send + 'static,
    ) -> Self {
        self.place = Some(Box::new(move |input| home_of(&key(input))));
        self
    }

    /// How many tasks run at a time, over all regions; at least 1. In an ordered stream a result
    /// that waits for its turn counts as running.
    pub fn max_in_flight(mut self, count: usize) -> Self {
        self.max_in_flight = count.max(1);
        self
    }

    /// Whether results come in the order of their inputs (`true`) or as they are ready.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// How long each task may take, from its start to its result.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What to do when one takes longer.
    pub fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.on_timeout = on_timeout;
        self
    }

    /// The stream. Dropping it cancels what is under way.
    pub fn start(self) -> TaskStream<T::Output> {
        let Self {
            node, task, inputs, mut regions, place, max_in_flight, ordered, timeout, ..
        } = self;
        if regions.is_empty() {
            regions.push(node.region());
        }
        let runs = inputs.zip(regions.into_iter().cycle()).map(move |(input, region)| {
            let place = place.as_ref().map_or(region.into(), |place| place(&input));
            run_within(&node, place, task, &input, timeout)
        });
        let runs = stream::iter(runs);
        let results: Results<T::Output> = if ordered {
            Box::pin(runs.buffered(max_in_flight))
        } else {
            Box::pin(runs.buffer_unordered(max_in_flight))
        };
        TaskStream { results: Some(results), on_timeout: self.on_timeout }
    }
}

type Results<O> = Pin<Box<dyn Stream<Item = Result<O, TaskError>> + Send>>;

/// The results of a stream of tasks. Dropping it cancels what is under way.
#[must_use = "streams do nothing unless polled"]
pub struct TaskStream<O> {
    /// `None` once the stream has ended.
    results: Option<Results<O>>,
    on_timeout: OnTimeout,
}

impl<O> Stream for TaskStream<O> {
    type Item = Result<O, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(results) = self.results.as_mut() else {
            return Poll::Ready(None);
        };
        let next = ready!(results.as_mut().poll_next(cx));
        let late = match &next {
            // Not even the start was answered in time.
            Some(Err(TaskError::Indeterminate { cause: AskError::Timeout(_), .. })) => true,
            Some(Err(TaskError::Timeout(_))) => true,
            _ => false,
        };
        let exits = late && self.on_timeout == OnTimeout::Exit;
        if next.is_none() || exits {
            self.results = None;
        }
        Poll::Ready(next)
    }
}
