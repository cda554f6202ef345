//! The supervisor: the actor that does what its plan says.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Handler, SpawnHandle, WrapFuture};
use fedist_registry::{Micros, RegionPid};
use tokio::sync::oneshot;

use super::{
    orders::{
        Adopt, CountChildren, DeleteChild, RestartChild, StopSupervisor, TerminateChild,
        WhichChildren,
    },
    plan::{Action, ChildKey, Outcome, Plan, Token},
    rules::{AutoShutdown, ChildError, ChildRules, Flags, Shutdown, Strategy},
    spec::{Birth, ChildSpec, NotStarted, Start, Starter},
    tree::Entry,
};
use crate::{
    Context, Exit, ExitReason, ExportError, LocalAddr, Node, SpawnError,
    exit::panic_text,
    names::{NameScope, check_name},
};

/// Starts children, keeps them running, and ends them: the supervisor of OTP.
///
/// Children start in the order in which they were added, each when the one before it has started,
/// and end in reverse. When a child ends and its [`Restart`](super::Restart) says so, the strategy
/// decides who is started anew, after a back-off. More restarts than the intensity allows end the
/// supervisor with [`ExitReason::Shutdown`], its children before it; what then happens is up to
/// its own supervisor.
///
/// It is linked to its children: killed or crashed, it takes them along. It traps exit signals, and
/// obeys that of its parent only, the actor that was linked to it when it started; others end it
/// with [`LocalAddr::stop`].
///
/// It may also be spawned as any actor, by a factory for other regions for one: with
/// [`RemoteChild::supervisor`](super::RemoteChild::supervisor) one tree spans several regions.
///
/// ```
/// # use actix::Actor;
/// # use fedist_actors::{child, supervisor_child, Context, Node, Supervisor, SupervisorError};
/// # struct Cache; impl Actor for Cache { type Context = Context<Self>; }
/// # struct Worker; impl Actor for Worker { type Context = Context<Self>; }
/// # async fn example(node: Node) -> Result<(), SupervisorError> {
/// let supervisor = Supervisor::rest_for_one()
///     .child(child("cache", || Cache))
///     .child(supervisor_child("workers", || {
///         Supervisor::one_for_one().child(child("worker", || Worker))
///     }))
///     .start_wait(&node)
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct Supervisor {
    flags: Flags,
    /// Children before the start.
    specs: Vec<ChildSpec>,
    label: Option<String>,
    name: Option<String>,
    exported: bool,
    parent: Option<RegionPid>,
    plan: Arc<Mutex<Plan>>,
    starters: HashMap<ChildKey, Starter>,
    /// Whether children were put by a factory, so that only links tell of their ends.
    has_placed: bool,
    /// What to end when a start is not wanted any more.
    under_way: HashMap<ChildKey, RegionPid>,
    answers: HashMap<Token, Answer>,
    next_token: u64,
    ready: Option<Ready>,
    timer: Option<(Micros, SpawnHandle)>,
    entered: Option<(Node, RegionPid)>,
}

type Answer = oneshot::Sender<Result<Option<RegionPid>, ChildError>>;
type Ready = oneshot::Sender<Result<(), String>>;
/// Resolves when all children have been started, or with why not.
pub(crate) type Started = oneshot::Receiver<Result<(), String>>;

/// Why a supervisor was not started. Whatever was started for it has been stopped again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// No pid.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A child spec is not valid.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Its name is taken or has not the form of a name.
    #[error(transparent)]
    Name(#[from] ExportError),
    /// A child did not start, or the supervisor was stopped before all had.
    #[error("supervisor; did not start; {0}")]
    Start(String),
}

impl Supervisor {
    fn new(strategy: Strategy) -> Self {
        let flags = Flags::new(strategy);
        Self {
            // The one to use is made with the last of the flags.
            plan: Arc::new(Mutex::new(Plan::new(flags.clone(), fastrand::Rng::new()))),
            flags,
            specs: Vec::new(),
            label: None,
            name: None,
            exported: false,
            parent: None,
            starters: HashMap::new(),
            has_placed: false,
            under_way: HashMap::new(),
            answers: HashMap::new(),
            next_token: 0,
            ready: None,
            timer: None,
            entered: None,
        }
    }

    /// A child that ends is restarted by itself; the others do not depend on it.
    pub fn one_for_one() -> Self {
        Self::new(Strategy::OneForOne)
    }

    /// When a child is to be restarted, all are stopped and started again.
    pub fn one_for_all() -> Self {
        Self::new(Strategy::OneForAll)
    }

    /// When a child is to be restarted, those added after it are stopped and started again with it.
    pub fn rest_for_one() -> Self {
        Self::new(Strategy::RestForOne)
    }

    /// Children are added at run time ([`LocalAddr::start_child`]), have no order, and are named by
    /// pid. One that is not restarted is forgotten.
    pub fn dynamic() -> Self {
        Self::new(Strategy::Dynamic)
    }

    /// More than `restarts` within `period` end the supervisor. Default 3 within 5 s, as in Elixir.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        self.flags.max_restarts = restarts;
        self.flags.period = period;
        self
    }

    /// The pause before the first restart of a child; doubles with each further one, with a fifth
    /// of jitter, and starts over once the child has run for the intensity's period. Default 10 ms;
    /// zero restarts at once, as OTP does.
    pub fn backoff(mut self, first: Duration) -> Self {
        self.flags.backoff = first;
        self
    }

    /// The longest pause before a restart. Default 5 s.
    pub fn backoff_max(mut self, max: Duration) -> Self {
        self.flags.backoff_max = max;
        self
    }

    /// How many children it may have. Default 1,000,000.
    pub fn max_children(mut self, max: usize) -> Self {
        self.flags.max_children = max;
        self
    }

    /// Whether it ends with [`ExitReason::Shutdown`] when significant children have ended.
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        self.flags.auto_shutdown = when;
        self
    }

    /// Registers it under a name of this region; found as `region/name`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets other regions see its children, and terminate, restart and delete them.
    pub fn exported(mut self) -> Self {
        self.exported = true;
        self
    }

    /// Adds a child. Children start in the order in which they were added.
    pub fn child(mut self, spec: impl Into<ChildSpec>) -> Self {
        self.specs.push(spec.into());
        self
    }

    /// Starts the supervisor as an actor of `node`, and with it its children. Does not wait for
    /// them: a child that cannot be started ends the supervisor.
    ///
    /// # Errors
    /// [`SupervisorError`]; never of a start that fails.
    pub fn start(self, node: &Node) -> Result<LocalAddr<Supervisor>, SupervisorError> {
        self.launch(node, |_| ()).map(|(addr, _)| addr)
    }

    /// As [`start`](Self::start), and waits until all children have been started.
    ///
    /// # Errors
    /// [`SupervisorError`]. When a child does not start, those before it are stopped again first.
    ///
    /// # Cancel safety
    /// A supervisor whose start is not waited for any more goes on.
    pub async fn start_wait(self, node: &Node) -> Result<LocalAddr<Supervisor>, SupervisorError> {
        let (addr, ready) = self.launch(node, |_| ())?;
        match ready.await {
            Ok(Ok(())) => Ok(addr),
            Ok(Err(error)) => Err(SupervisorError::Start(error)),
            Err(_) => Err(SupervisorError::Start("it was ended".to_owned())),
        }
    }

    /// As [`start`](Self::start), as a child of the running actor: linked to it, and ended with it
    /// in an orderly way.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub fn start_link<A>(self, ctx: &Context<A>) -> Result<LocalAddr<Supervisor>, SupervisorError>
    where
        A: Actor<Context = Context<A>>,
    {
        let (node, parent) = (ctx.node().clone(), ctx.pid());
        let tied = node.clone();
        self.child_of(parent)
            .launch(&node, |pid| tied.link(parent.local(), pid))
            .map(|(addr, _)| addr)
    }

    pub(super) fn labelled(mut self, label: &str) -> Self {
        self.label.get_or_insert_with(|| label.to_owned());
        self
    }

    pub(super) fn child_of(mut self, parent: RegionPid) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Starts the supervisor on the thread for actors; `tie` runs before it does.
    pub(super) fn launch(
        mut self,
        node: &Node,
        tie: impl FnOnce(RegionPid),
    ) -> Result<(LocalAddr<Supervisor>, Started), SupervisorError> {
        let ready = self.prepare()?;
        let (name, exported, parent) = (self.name.clone(), self.exported, self.parent);
        let mut refused = None;
        let addr = node.spawn_tied(
            move |_| self,
            |node, pid| {
                tie(pid);
                // What hangs in the runtime's own tree outlives the application's actors.
                if parent.is_some_and(|parent| is_system(node, parent)) {
                    node.local_address_of(pid).inspect(|process| process.set_system());
                }
                if let Some(name) = &name {
                    refused = register(node, pid, name).err();
                }
                if refused.is_some() {
                    node.shut_down(pid);
                }
            },
        )?;
        if let Some(error) = refused {
            return Err(error.into());
        }
        if exported {
            node.export(&addr)
                .handles::<WhichChildren>()
                .handles::<CountChildren>()
                .handles::<TerminateChild>()
                .handles::<RestartChild>()
                .handles::<DeleteChild>()
                .publish()?;
        }
        Ok((addr, ready))
    }

    /// As [`launch`](Self::launch), for the runtime's own supervisor on the hub's thread.
    pub(crate) fn launch_system(
        mut self,
        node: &Node,
        name: &str,
    ) -> Result<(RegionPid, Started), SupervisorError> {
        let ready = self.prepare()?;
        let addr = node.spawn_here(self.labelled(name))?;
        Ok((addr.pid(), ready))
    }

    /// Moves the specs into the plan.
    fn prepare(&mut self) -> Result<Started, ChildError> {
        let mut plan = Plan::new(self.flags.clone(), fastrand::Rng::new());
        for ChildSpec { rules, starter } in std::mem::take(&mut self.specs) {
            let key = plan.add_child(rules)?;
            self.starters.insert(key, starter);
        }
        self.plan = Arc::new(Mutex::new(plan));
        let (ready, started) = oneshot::channel();
        self.ready = Some(ready);
        Ok(started)
    }

    // ---- the shell of the plan -----------------------------------------------------------------

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self, ctx: &Context<Self>) -> Micros {
        ctx.node().inner().clock.now()
    }

    pub(super) fn keep(&mut self, key: ChildKey, starter: Starter) {
        self.starters.insert(key, starter);
    }

    pub(super) fn expect_answer(
        &mut self,
    ) -> (Token, oneshot::Receiver<Result<Option<RegionPid>, ChildError>>) {
        self.next_token += 1;
        let token = Token(self.next_token);
        let (answer, answered) = oneshot::channel();
        self.answers.insert(token, answer);
        (token, answered)
    }

    pub(super) fn expect_no_answer(&mut self, token: Token) {
        self.answers.remove(&token);
    }

    /// Does all that the plan wants done.
    pub(super) fn act(&mut self, ctx: &mut Context<Self>) {
        loop {
            let action = self.plan().poll_action();
            let Some(action) = action else {
                break;
            };
            match action {
                Action::Start(key) => self.start_child(key, ctx),
                Action::Stop(pid) => {
                    ctx.node().signal_exit(ctx.pid(), pid, ExitReason::Shutdown);
                }
                Action::Kill(pid) => ctx.node().kill(pid),
                Action::Abandon(key) => {
                    if let Some(pid) = self.under_way.get(&key) {
                        ctx.node().signal_exit(ctx.pid(), *pid, ExitReason::Shutdown);
                    }
                }
                Action::Forget(key) => {
                    self.starters.remove(&key);
                }
                Action::Reply(token, answer) => {
                    if let Some(asker) = self.answers.remove(&token) {
                        let _ = asker.send(answer);
                    }
                }
                Action::Ready => self.tell_ready(Ok(())),
                Action::Finish(outcome) => self.finish(outcome, ctx),
            }
        }
        self.set_timer(ctx);
    }

    fn start_child(&mut self, key: ChildKey, ctx: &mut Context<Self>) {
        let me = ctx.address();
        let birth = Birth {
            node: ctx.node().clone(),
            supervisor: ctx.pid(),
            ended: Arc::new(move |pid, reason| me.do_send(ChildEnded { pid, reason })),
        };
        let start = match self.starters.get_mut(&key) {
            None => Start::Done(Err("its factory is gone".to_owned())),
            Some(starter) => {
                catch_unwind(AssertUnwindSafe(|| starter(&birth))).unwrap_or_else(|panic| {
                    Start::Done(Err(format!("its factory panicked: {}", panic_text(&*panic))))
                })
            }
        };
        match start {
            Start::Done(outcome) => {
                self.start_ended(key, outcome.map_err(NotStarted::Failed), ctx);
            }
            Start::Later { pid, outcome } => {
                match pid {
                    Some(pid) => {
                        self.under_way.insert(key, pid);
                    }
                    None => self.has_placed = true,
                }
                ctx.spawn(outcome.into_actor(self).map(move |outcome, supervisor, ctx| {
                    supervisor.under_way.remove(&key);
                    supervisor.start_ended(key, outcome, ctx);
                    supervisor.act(ctx);
                }));
            }
        }
    }

    fn start_ended(
        &mut self,
        key: ChildKey,
        outcome: Result<RegionPid, NotStarted>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.now(ctx);
        let mut plan = self.plan();
        match outcome {
            Ok(pid) => plan.handle_started(now, key, pid),
            Err(NotStarted::Failed(error)) => {
                tracing::warn!(supervisor = %ctx.pid(), child = %plan.name(key), %error, "a child did not start");
                plan.handle_start_failed(now, key, error);
            }
            Err(NotStarted::NoPlace(error)) => {
                tracing::debug!(supervisor = %ctx.pid(), child = %plan.name(key), %error, "no place for a child");
                plan.handle_no_place(now, key, &error);
            }
        }
    }

    fn tell_ready(&mut self, outcome: Result<(), String>) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(outcome);
        }
    }

    fn finish(&mut self, outcome: Outcome, ctx: &mut Context<Self>) {
        let supervisor = ctx.pid();
        let (reason, why) = match outcome {
            Outcome::Told(reason) => (reason, "it was stopped".to_owned()),
            Outcome::AutoShutdown => {
                (ExitReason::Shutdown, "its significant children have ended".to_owned())
            }
            Outcome::StartFailed { child, error } => {
                (ExitReason::Shutdown, format!("child {child}: {error}"))
            }
            Outcome::Intensity { child, why } => {
                tracing::error!(%supervisor, %child, %why, "a supervisor gives up: more restarts than its intensity allows");
                let max = self.flags.max_restarts;
                let text = format!("more than {max} restarts, the last of child {child}: {why}");
                (ExitReason::Shutdown, text)
            }
        };
        self.tell_ready(Err(why));
        ctx.exit(reason);
    }

    /// Keeps one timer, for whatever of the plan is due next.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let next = self.plan().next_timer();
        if self.timer.map(|(at, _)| at) == next {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = next {
            let delay = (at - self.now(ctx)).as_duration();
            let handle = ctx.run_later(delay, move |supervisor, ctx| {
                supervisor.timer = None;
                // The timer's clock and the node's may differ by less than its grain.
                let now = supervisor.now(ctx).max(at);
                supervisor.plan().handle_timer(now);
                supervisor.act(ctx);
            });
            self.timer = Some((at, handle));
        }
    }
}

fn is_system(node: &Node, pid: RegionPid) -> bool {
    node.local_address_of(pid).is_some_and(|process| process.is_system())
}

fn register(node: &Node, pid: RegionPid, name: &str) -> Result<(), ExportError> {
    check_name(name)?;
    let process = node.local_address_of(pid).ok_or(ExportError::Ended(pid))?;
    let taken = |holder| ExportError::NameTaken { name: name.to_owned(), holder };
    let entered = node.inner().processes.register(NameScope::Region, name, &process);
    if entered.map_err(taken)? { Ok(()) } else { Err(ExportError::Ended(pid)) }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.trap_exit(true);
        let process = ctx.node().local_address_of(ctx.pid());
        self.parent = self.parent.or_else(|| process?.first_link());
        if self.ready.is_none()
            && let Err(error) = self.prepare()
        {
            tracing::error!(supervisor = %ctx.pid(), %error, "a supervisor does not start");
            ctx.exit(ExitReason::Custom(error.to_string()));
            return;
        }
        let name = self.name.clone().or_else(|| self.label.clone());
        let entry = Entry {
            name: name.unwrap_or_else(|| "supervisor".to_owned()),
            parent: self.parent,
            plan: Arc::clone(&self.plan),
            addr: ctx.address(),
            system: is_system(ctx.node(), ctx.pid()),
        };
        ctx.node().inner().supervisors.enter(ctx.pid(), entry);
        self.entered = Some((ctx.node().clone(), ctx.pid()));
        let now = self.now(ctx);
        self.plan().handle_start(now);
        self.act(ctx);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Its children go by their links to it.
        if let Some((node, pid)) = self.entered.take() {
            node.inner().supervisors.leave(pid);
        }
    }
}

/// A child ended.
struct ChildEnded {
    pid: RegionPid,
    reason: ExitReason,
}

impl actix::Message for ChildEnded {
    type Result = ();
}

impl Handler<ChildEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ended: ChildEnded, ctx: &mut Context<Self>) {
        let now = self.now(ctx);
        self.plan().handle_exited(now, ended.pid, &ended.reason);
        self.act(ctx);
    }
}

impl Handler<Exit> for Supervisor {
    type Result = ();

    fn handle(&mut self, exit: Exit, ctx: &mut Context<Self>) {
        let now = self.now(ctx);
        if Some(exit.from) == self.parent {
            self.plan().handle_stop(now, exit.reason);
        } else if self.has_placed {
            self.plan().handle_exited(now, exit.from, &exit.reason);
        }
        // Of all other children the monitors tell, and strangers are not obeyed.
        self.act(ctx);
    }
}

impl Handler<StopSupervisor> for Supervisor {
    type Result = ();

    fn handle(&mut self, order: StopSupervisor, ctx: &mut Context<Self>) {
        let now = self.now(ctx);
        self.plan().handle_stop(now, order.0);
        self.act(ctx);
    }
}

impl Handler<Adopt> for Supervisor {
    type Result = ();

    fn handle(&mut self, order: Adopt, ctx: &mut Context<Self>) {
        let rules = ChildRules { shutdown: Shutdown::DEFAULT, ..ChildRules::worker(order.name) };
        let now = self.now(ctx);
        let adopted = self.plan().adopt(now, rules, order.pid);
        if adopted.is_ok() {
            let me = ctx.address();
            let birth = Birth {
                node: ctx.node().clone(),
                supervisor: ctx.pid(),
                ended: Arc::new(move |pid, reason| me.do_send(ChildEnded { pid, reason })),
            };
            birth.tie(order.pid);
        }
        self.act(ctx);
    }
}
