//! Child specs: how one child is made, and the rules for it.

use std::{future::Future, sync::Arc, time::Duration};

use actix::Actor;
use fedist_registry::RegionPid;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::{
    rules::{ChildRules, Restart, Shutdown},
    supervisor::Supervisor,
};
use crate::{Context, ExitReason, Export, Mailbox, Node};

/// How one child is made, and what happens when it ends. Made by [`child`], [`exported_child`],
/// [`child_fn`] and [`supervisor_child`].
pub struct ChildSpec {
    pub(super) rules: ChildRules,
    pub(super) starter: Starter,
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildSpec").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Makes the child, each time anew.
pub(super) type Starter = Box<dyn FnMut(&Birth) -> Start + Send>;

/// What a starter gives.
pub(super) enum Start {
    /// It runs, or it failed.
    Done(Result<RegionPid, String>),
    /// It takes its time; `pid` is what is to be ended when it is not wanted any more.
    Later {
        pid: Option<RegionPid>,
        outcome: LocalBoxFuture<'static, Result<RegionPid, NotStarted>>,
    },
}

/// Why a start came to nothing.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The child's fault.
    Failed(String),
    /// No place for it can be reached at present.
    NoPlace(String),
}

/// Who asks for a child, and how the supervisor learns of its end.
pub(super) struct Birth {
    pub(super) node: Node,
    pub(super) supervisor: RegionPid,
    pub(super) ended: Arc<dyn Fn(RegionPid, ExitReason) + Send + Sync>,
}

impl Birth {
    /// Links the child to its supervisor and watches it, before it runs. The link takes the child
    /// along when the supervisor is killed; the monitor tells of its end, which nobody can pretend.
    pub(super) fn tie(&self, pid: RegionPid) {
        self.node.link(self.supervisor.local(), pid);
        let ended = Arc::clone(&self.ended);
        let sink = move |down: crate::Down| ended(down.pid, down.reason);
        self.node.watch_for(self.supervisor.local(), pid, Box::new(sink));
    }

    fn spawn<A>(&self, actor: A) -> Result<crate::LocalAddr<A>, String>
    where
        A: Actor<Context = Context<A>> + Send,
    {
        self.node
            .spawn_tied(move |_| actor, |_, pid| self.tie(pid))
            .map_err(|error| error.to_string())
    }
}

/// A child that is made by `factory` each time it is started, so that no state survives a crash
/// unless the factory hands it on.
///
/// Its start is done when its `started` has returned, and whatever that waits for
/// (`AsyncContext::wait`) is done. A panic there or in the factory is a start that failed.
pub fn child<A, F>(name: impl Into<String>, mut factory: F) -> ChildSpec
where
    A: Actor<Context = Context<A>> + Send,
    F: FnMut() -> A + Send + 'static,
{
    ChildSpec::new(ChildRules::worker(name), move |birth| {
        started(birth.spawn(factory()).map(|addr| (addr.pid(), addr.when_started())))
    })
}

/// As [`child`], exported anew at every start: `export` lists messages and names.
pub fn exported_child<A, F, E>(name: impl Into<String>, mut factory: F, mut export: E) -> ChildSpec
where
    A: Actor<Context = Context<A>> + Send,
    F: FnMut() -> A + Send + 'static,
    E: FnMut(Export<A>) -> Export<A> + Send + 'static,
{
    ChildSpec::new(ChildRules::worker(name), move |birth| {
        started(birth.spawn(factory()).and_then(|addr| {
            match export(birth.node.export(&addr)).publish() {
                Ok(pid) => Ok((pid, addr.when_started())),
                Err(error) => {
                    birth.node.shut_down(addr.pid());
                    Err(error.to_string())
                }
            }
        }))
    })
}

/// The start of an actor that has been spawned, or why it has not.
fn started(spawned: Result<(RegionPid, oneshot::Receiver<()>), String>) -> Start {
    match spawned {
        Err(error) => Start::Done(Err(error)),
        Ok((pid, when)) => {
            let outcome = async move {
                let ended = |_| NotStarted::Failed("it ended while it started".to_owned());
                when.await.map(|()| pid).map_err(ended)
            };
            Start::Later { pid: Some(pid), outcome: Box::pin(outcome) }
        }
    }
}

/// Plain async code as a child, with a mailbox for `M` ([`Node::spawn_fn`]). When the future is
/// done the child has ended with `Normal`.
pub fn child_fn<M, F, R>(name: impl Into<String>, factory: F) -> ChildSpec
where
    M: actix::Message<Result: Send> + Send + 'static,
    F: Fn(Mailbox<M>) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + 'static,
{
    let factory = Arc::new(factory);
    ChildSpec::new(ChildRules::worker(name), move |birth| {
        let factory = Arc::clone(&factory);
        let spawned =
            birth.node.spawn_fn_tied(move |mailbox| factory(mailbox), |_, pid| birth.tie(pid));
        Start::Done(spawned.map(|addr| addr.pid()).map_err(|error| error.to_string()))
    })
}

/// A supervisor as a child: its start is done when its own children have been started, and it may
/// take as long as it needs to end ([`Shutdown::Infinity`]).
pub fn supervisor_child<F>(name: impl Into<String>, mut factory: F) -> ChildSpec
where
    F: FnMut() -> Supervisor + Send + 'static,
{
    let name = name.into();
    let label = name.clone();
    ChildSpec::new(ChildRules::supervisor(name), move |birth| {
        let supervisor = factory().labelled(&label).child_of(birth.supervisor);
        match supervisor.launch(&birth.node, |pid| birth.tie(pid)) {
            Err(error) => Start::Done(Err(error.to_string())),
            Ok((addr, ready)) => {
                let pid = addr.pid();
                let outcome = async move {
                    match ready.await {
                        Ok(Ok(())) => Ok(pid),
                        Ok(Err(error)) => Err(NotStarted::Failed(error)),
                        Err(_) => Err(NotStarted::Failed("it ended while it started".to_owned())),
                    }
                };
                Start::Later { pid: Some(pid), outcome: Box::pin(outcome) }
            }
        }
    })
}

impl ChildSpec {
    pub(super) fn new(
        rules: ChildRules,
        starter: impl FnMut(&Birth) -> Start + Send + 'static,
    ) -> Self {
        Self { rules, starter: Box::new(starter) }
    }

    /// A service of the runtime: `start` is called on the hub's thread, spawns it and gives its
    /// pid. It does not run before `start` has returned.
    pub(crate) fn service(
        name: &str,
        start: impl Fn(&Node) -> Result<RegionPid, String> + Send + 'static,
    ) -> Self {
        let spec = Self::new(ChildRules::worker(name), move |birth| {
            Start::Done(start(&birth.node).inspect(|pid| birth.tie(*pid)))
        });
        spec.restart(Restart::Transient)
    }

    /// When it is started again; [`Restart::Permanent`] by default.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// How it is ended; 5 s after an exit signal by default, and [`Shutdown::Infinity`] for supervisors.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.rules.shutdown = shutdown;
        self
    }

    /// As [`shutdown`](Self::shutdown) with a [`Shutdown::Timeout`].
    pub fn shutdown_after(self, time: Duration) -> Self {
        self.shutdown(Shutdown::Timeout(time))
    }

    /// Whether its end by itself may end the supervisor
    /// ([`Supervisor::auto_shutdown`]). Not for permanent children.
    pub fn significant(mut self, significant: bool) -> Self {
        self.rules.significant = significant;
        self
    }

    /// The name of the child.
    pub fn name(&self) -> &str {
        &self.rules.name
    }
}
