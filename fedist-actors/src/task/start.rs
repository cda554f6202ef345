//! Starting tasks in a region.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid};
use tokio::sync::oneshot;

use super::{
    Task, TaskError, TaskHandle,
    book::{Awaited, PrintSink},
    request::{Request, RequestError},
    service::{Hold, StartTask},
};
use crate::{DEFAULT_DEADLINE, Node, Where, message::encode, origin::Origin, process::current};

/// Starts tasks. Made by [`Node::tasks`].
#[derive(Clone)]
pub struct Tasks {
    pub(super) node: Node,
}

/// Starts tasks in one region. Made by [`Tasks::at`].
#[derive(Clone)]
pub struct TasksAt {
    node: Node,
    place: Where,
    linked: bool,
    print: Option<PrintSink>,
    deadline: Duration,
}

/// The outcome of a supervised task.
#[derive(Clone, Debug)]
pub struct Supervised<O> {
    /// The result.
    pub value: O,
    /// Where it was made.
    pub region: RegionId,
    /// How many regions were tried.
    pub attempts: usize,
}

impl Tasks {
    pub(crate) fn new(node: Node) -> Self {
        Self { node }
    }

    /// Starts tasks in a region, the own one as good as any other, or at the home of a key
    /// ([`home_of`](crate::home_of)), which is asked for with each start.
    pub fn at(&self, place: impl Into<Where>) -> TasksAt {
        TasksAt {
            node: self.node.clone(),
            place: place.into(),
            linked: true,
            print: None,
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// Runs a task to its end in the first of `regions` where that succeeds: when a region is
    /// unreachable, refuses it, panics or takes longer than `attempt`, the next one is tried.
    ///
    /// A region that was given up may still have run it: use it for work that may run twice.
    ///
    /// # Errors
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the running attempt.
    pub async fn supervised<T: Task>(
        &self,
        task: T,
        input: T::Input,
        regions: impl IntoIterator<Item = RegionId>,
        attempt: Duration,
    ) -> Result<Supervised<T::Output>, TaskError>
    where
        T::Input: Clone,
    {
        let mut last = TaskError::NoRegion;
        for (tried, region) in regions.into_iter().enumerate() {
            let outcome = match self.at(region).begin(task, &input, Tie::Handle).await {
                Ok(handle) => handle.await_for(attempt).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => {
                    return Ok(Supervised { value, region, attempts: tried + 1 });
                }
                Err(error) => {
                    tracing::info!(%region, task = T::NAME, %error, "a supervised task moves on");
                    last = error;
                }
            }
        }
        Err(last)
    }
}

/// What a task that is started with a handle hangs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    /// Its handle and the actor that starts it, to which it is linked.
    Caller,
    /// Its handle only; it is no concern of the actor's.
    Handle,
    /// Nothing.
    Nothing,
}

impl TasksAt {
    /// Starts tasks that run on whatever happens to the one who started them; only the handle
    /// learns how they end. (Elixir: `async_nolink`.)
    pub fn nolink(mut self) -> Self {
        self.linked = false;
        self
    }

    /// Starts tasks that are linked to the actor that starts them, which is the default: when it
    /// ends they are cancelled, and when one of them panics the actor gets the exit signal.
    /// (Elixir: `async`.) From code that is no actor the tie is to the handle alone.
    pub fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// Takes the lines that the tasks [print](crate::TaskCx::print), in order, all before the result.
    /// Without it they go to the log (`tracing`, target `fedist::task`).
    ///
    /// Called on the node's own thread: hand a line on, do not work on it there.
    pub fn on_print(mut self, print: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.print = Some(Arc::new(print));
        self
    }

    /// Waits at most this long for the region to say that a task was started. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts `task`. Its handle gives the result.
    ///
    /// It ends when the handle is dropped, when the actor that started it ends (if one did), and
    /// when this region can no longer be reached from there; not so with [`nolink`](Self::nolink).
    ///
    /// # Errors
    /// [`TaskError::Refused`], [`TaskError::Ask`], [`TaskError::NoHome`] or [`TaskError::Codec`]: nothing was started.
    /// [`TaskError::Indeterminate`]: it may have been started; unless with `nolink`, it is cancelled then.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the task may have been started; unless with `nolink`, it is
    /// cancelled then.
    pub fn start<T: Task>(
        &self,
        task: T,
        input: T::Input,
    ) -> impl Future<Output = Result<TaskHandle<T::Output>, TaskError>> + Send + use<T> {
        let tie = if self.linked { Tie::Caller } else { Tie::Nothing };
        self.begin(task, &input, tie)
    }

    pub(super) fn begin<T: Task>(
        &self,
        _: T,
        input: &T::Input,
        tie: Tie,
    ) -> impl Future<Output = Result<TaskHandle<T::Output>, TaskError>> + Send + use<T> {
        // Who starts it is whoever calls this, on whatever thread the future is polled then.
        let caller = (tie == Tie::Caller).then(current).flatten().map(|caller| caller.pid);
        let input = encode_input::<T>(input);
        let Self { node, place, print, deadline, .. } = self.clone();
        async move {
            let region = place.resolve(&node).await?;
            let request = Request::open(&node, region, caller);
            let reference = request.id.reference;
            let hold = if tie == Tie::Nothing { Hold::Free } else { Hold::Bound };
            let message = start_message::<T>(&request, input?, hold, caller);
            let (result, outcome) = oneshot::channel();
            node.inner().tasks.await_task(
                reference,
                Awaited { region, task: T::NAME, print, result: Some(result) },
            );
            let bound = tie != Tie::Nothing;
            let mut handle = TaskHandle::new(&node, region, reference, outcome, bound);
            match request.ask(message, deadline).await {
                Ok(pid) => {
                    handle.follow(pid, caller);
                    Ok(handle)
                }
                Err(error @ RequestError::Indeterminate(..)) => Err(error.into()),
                Err(error) => {
                    handle.void();
                    Err(error.into())
                }
            }
        }
    }

    /// Starts `task` and leaves it alone: it is linked to nobody, outlives its caller, and what it
    /// returns is dropped. Gives its pid. (Elixir: `Task.Supervisor.start_child`.)
    ///
    /// # Errors
    /// As [`start`](Self::start); [`TaskError::Indeterminate`] leaves it running if it runs.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the task may have been started, and runs on.
    pub fn start_child<T: Task>(
        &self,
        _: T,
        input: T::Input,
    ) -> impl Future<Output = Result<RegionPid, TaskError>> + Send + use<T> {
        let input = encode_input::<T>(&input);
        let Self { node, place, print, deadline, .. } = self.clone();
        async move {
            let region = place.resolve(&node).await?;
            let request = Request::open(&node, region, None);
            let reference = request.id.reference;
            let message = start_message::<T>(&request, input?, Hold::Detached, None);
            let awaited = Awaited { region, task: T::NAME, print, result: None };
            node.inner().tasks.await_task(reference, awaited);
            let started = request.ask(message, deadline).await;
            if let Err(RequestError::Refused(_) | RequestError::Ask(_)) = &started {
                node.inner().tasks.forget_awaited(reference);
            }
            Ok(started?)
        }
    }
}

fn encode_input<T: Task>(input: &T::Input) -> Result<Bytes, TaskError> {
    encode(T::NAME, input).map_err(|error| TaskError::Codec(error.to_string()))
}

fn start_message<T: Task>(
    request: &Request,
    input: Bytes,
    hold: Hold,
    link: Option<RegionPid>,
) -> StartTask {
    StartTask {
        name: T::NAME.to_owned(),
        version: T::VERSION,
        input,
        reference: request.id.reference,
        settled_below: request.settled_below,
        hold,
        link,
        origin: Origin::here(),
    }
}

impl From<RequestError> for TaskError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refused) => TaskError::Refused(refused),
            RequestError::Ask(error) => TaskError::Ask(error),
            RequestError::Indeterminate(request, cause) => {
                TaskError::Indeterminate { request, cause }
            }
        }
    }
}
