//! Supervision: children that are built from factories, and built again when they end.

use std::{collections::VecDeque, time::Duration};

use actix::{Actor, AsyncContext, Handler};
use fedist_registry::RegionPid;
use tokio::time::Instant;

use crate::{
    Context, Down, ExitReason, Export, ExportError, LocalAddr, Node, SpawnError, exit::MonitorRef,
};

/// When a child that ended is started again; Erlang's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only after a panic or another abnormal end.
    Transient,
    /// Never.
    Temporary,
}

/// How one child is made. Built by [`child`].
pub struct ChildSpec {
    name: String,
    restart: Restart,
    start: StartChild,
}

type StartChild = Box<dyn FnMut(&Node) -> Result<RegionPid, StartChildError> + Send>;

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartChildError {
    /// No pid.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its export was refused.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// A child that is made by `factory` each time it is started, so that no state survives a crash
/// unless the factory hands it on.
pub fn child<A, F>(name: impl Into<String>, mut factory: F) -> ChildSpec
where
    A: Actor<Context = Context<A>> + Send,
    F: FnMut() -> A + Send + 'static,
{
    ChildSpec {
        name: name.into(),
        restart: Restart::Permanent,
        start: Box::new(move |node| Ok(node.spawn(factory())?.pid())),
    }
}

/// As [`child`], exported anew at every start: `export` lists messages and names.
pub fn exported_child<A, F, E>(name: impl Into<String>, mut factory: F, mut export: E) -> ChildSpec
where
    A: Actor<Context = Context<A>> + Send,
    F: FnMut() -> A + Send + 'static,
    E: FnMut(Export<A>) -> Export<A> + Send + 'static,
{
    ChildSpec {
        name: name.into(),
        restart: Restart::Permanent,
        start: Box::new(move |node| {
            let addr: LocalAddr<A> = node.spawn(factory())?;
            Ok(export(node.export(&addr)).publish()?)
        }),
    }
}

impl ChildSpec {
    /// When it is started again; [`Restart::Permanent`] by default.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }
}

/// Starts children and keeps them running. `one_for_one`: each child is restarted by itself.
pub struct Supervisor {
    node: Option<Node>,
    children: Vec<Child>,
    max_restarts: usize,
    period: Duration,
    backoff: Duration,
    recent: VecDeque<Instant>,
    random: fastrand::Rng,
}

struct Child {
    spec: ChildSpec,
    pid: Option<RegionPid>,
    monitor: Option<MonitorRef>,
    failures: u32,
    restarts: u64,
}

impl Supervisor {
    /// A supervisor whose children do not depend on one another.
    pub fn one_for_one() -> Self {
        Self {
            node: None,
            children: Vec::new(),
            max_restarts: 3,
            period: Duration::from_secs(5),
            backoff: Duration::from_millis(10),
            recent: VecDeque::new(),
            random: fastrand::Rng::new(),
        }
    }

    /// More than `restarts` within `period` end the supervisor itself (by a panic that its own
    /// watchers see). Default 3 within 5 s, as in Erlang.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        self.max_restarts = restarts;
        self.period = period;
        self
    }

    /// The pause before the first restart of a child; doubles with each further one up to 5 s,
    /// with jitter, and starts over once the child has run for `period`. Default 10 ms.
    pub fn backoff(mut self, first: Duration) -> Self {
        self.backoff = first;
        self
    }

    /// Adds a child. Children start in the order in which they were added.
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.children.push(Child { spec, pid: None, monitor: None, failures: 0, restarts: 0 });
        self
    }

    /// Starts the supervisor as an actor of `node`, and with it its children.
    ///
    /// # Errors
    /// [`SpawnError`] of the supervisor itself. A child that cannot be started counts as one that crashed.
    pub fn start(mut self, node: &Node) -> Result<LocalAddr<Supervisor>, SpawnError> {
        self.node = Some(node.clone());
        node.spawn(self)
    }

    fn start_child(&mut self, index: usize, ctx: &mut Context<Self>) {
        let (Some(node), Some(child)) = (self.node.clone(), self.children.get_mut(index)) else {
            return;
        };
        match (child.spec.start)(&node) {
            Ok(pid) => {
                child.pid = Some(pid);
                let supervisor = ctx.address();
                let watch = move |down| supervisor.do_send(ChildDown { index, down });
                child.monitor = Some(node.watch(pid, Box::new(watch)));
            }
            Err(error) => {
                tracing::warn!(child = %child.spec.name, %error, "a child did not start");
                self.restart_later(index, ctx);
            }
        }
    }

    #[allow(
        clippy::panic,
        reason = "reaching the intensity ends the supervisor; its watchers are to see why"
    )]
    fn restart_later(&mut self, index: usize, ctx: &mut Context<Self>) {
        let now = Instant::now();
        while self.recent.front().is_some_and(|at| now.duration_since(*at) > self.period) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let name =
            self.children.get(index).map(|child| child.spec.name.clone()).unwrap_or_default();
        if self.recent.len() > self.max_restarts {
            panic!(
                "reached max restart intensity: {} restarts within {:?}, the last of child {name}",
                self.recent.len(),
                self.period
            );
        }
        if let Some(child) = self.children.get_mut(index) {
            child.restarts += 1;
            let pause = self.backoff.saturating_mul(1 << child.failures.min(9)).min(MAX_BACKOFF);
            child.failures += 1;
            let jitter = pause.mul_f64(self.random.f64() * 0.2);
            ctx.run_later(pause + jitter, move |supervisor, ctx| {
                supervisor.start_child(index, ctx)
            });
        }
    }
}

const MAX_BACKOFF: Duration = Duration::from_secs(5);

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for index in 0..self.children.len() {
            self.start_child(index, ctx);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Children go with their supervisor, in reverse order of their start.
        if let Some(node) = &self.node {
            for child in self.children.iter().rev() {
                if let (Some(pid), Some(monitor)) = (child.pid, child.monitor) {
                    node.unwatch(pid, monitor);
                    node.shut_down(pid);
                }
            }
        }
    }
}

struct ChildDown {
    index: usize,
    down: Down,
}

impl actix::Message for ChildDown {
    type Result = ();
}

impl Handler<ChildDown> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: ChildDown, ctx: &mut Context<Self>) {
        let ChildDown { index, down } = message;
        let Some(child) = self.children.get_mut(index) else {
            return;
        };
        if child.monitor != Some(down.monitor) {
            return;
        }
        child.pid = None;
        child.monitor = None;
        let normal = matches!(down.reason, ExitReason::Normal | ExitReason::Shutdown);
        let again = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        };
        if again {
            self.restart_later(index, ctx);
        }
    }
}

/// Asks a supervisor for its children.
#[derive(Debug, Clone, Copy)]
pub struct WhichChildren;

impl actix::Message for WhichChildren {
    type Result = Vec<ChildStatus>;
}

/// One child as its supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildStatus {
    /// The name in its spec.
    pub name: String,
    /// Its pid, `None` between an end and the next start.
    pub pid: Option<RegionPid>,
    /// How often it was started again.
    pub restarts: u64,
}

impl Handler<WhichChildren> for Supervisor {
    type Result = actix::MessageResult<WhichChildren>;

    fn handle(&mut self, _: WhichChildren, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(
            self.children
                .iter()
                .map(|child| ChildStatus {
                    name: child.spec.name.clone(),
                    pid: child.pid,
                    restarts: child.restarts,
                })
                .collect(),
        )
    }
}
