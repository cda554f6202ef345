//! Making actors in other regions with the factories that are listed there.

use std::pin::Pin;

use actix::{Actor, Handler};
use bytes::Bytes;
use fedist_registry::{RegionId, RegionPid, service};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    catalog::Catalog,
    refusal::StartRefused,
    request::{Request, RequestError},
    requests::RequestId,
    service::{AskCatalog, SpawnActor},
};
use crate::{
    AskError, Context, DEFAULT_DEADLINE, Down, Export, ExportError, HomeError, Monitor, Node,
    PidSend, Where,
    exit::{DownSink, MonitorRef, panic_text},
    message::encode,
    origin::Origin,
    process::current,
    ties::Held,
};

/// The future of a spawn in another region. It borrows nothing.
pub type SpawnAt<T> = Pin<Box<dyn Future<Output = Result<T, SpawnAtError>> + Send>>;

/// Names a factory: `"counter"` for its newest version there, `("counter", 2)` for that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactoryName {
    name: String,
    version: Option<u16>,
}

impl From<&str> for FactoryName {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), version: None }
    }
}

impl From<String> for FactoryName {
    fn from(name: String) -> Self {
        Self { name, version: None }
    }
}

impl<N: Into<String>> From<(N, u16)> for FactoryName {
    fn from((name, version): (N, u16)) -> Self {
        Self { name: name.into(), version: Some(version) }
    }
}

/// Why no actor was made in a region, or why nobody knows whether.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnAtError {
    /// The region refused; nothing was made.
    #[error(transparent)]
    Refused(#[from] StartRefused),
    /// The region could not be asked; nothing was made.
    #[error("region could not be asked to spawn: {0}")]
    Ask(AskError),
    /// No answer came: it may have been made. [`Node::settle`] finds out.
    #[error(
        "spawn request {request} is indeterminate ({cause}); the actor may live; ask with `node.settle(request)`"
    )]
    Indeterminate {
        /// Names the request.
        request: RequestId,
        /// Why no answer came.
        cause: AskError,
    },
    /// The arguments could not be encoded; nothing was asked.
    #[error("factory arguments: {0}")]
    Encode(String),
    /// Nobody could say where it belongs; nothing was made.
    #[error(transparent)]
    NoHome(#[from] HomeError),
    /// A link needs two: this was not called by an actor of the node.
    #[error("no caller to link to; call it from within an actor, or use `spawn_at`")]
    NoCaller,
}

impl From<RequestError> for SpawnAtError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refused) => SpawnAtError::Refused(refused),
            RequestError::Ask(error) => SpawnAtError::Ask(error),
            RequestError::Indeterminate(request, cause) => {
                SpawnAtError::Indeterminate { request, cause }
            }
        }
    }
}

/// Who asks for an actor, and how it is to be tied to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The region that asks, and its name for the request; filled in by the one that is asked.
    pub(super) source: RegionId,
    reference: u64,
    link: Option<RegionPid>,
    monitor: Option<MonitorRef>,
}

impl Order {
    /// The order as the session proves it: nobody links an actor to one of another region.
    pub(super) fn proven(self, source: RegionId, reference: u64) -> Result<Self, StartRefused> {
        if self.link.is_some_and(|linked| linked.region() != source) {
            let text = "a link to an actor of another region than the one that asks";
            return Err(StartRefused::BadArguments(text.to_owned()));
        }
        Ok(Self { source, reference, ..self })
    }

    /// Spawns the actor, tied as ordered and exported before it runs.
    pub(super) fn spawn<A>(
        &self,
        node: &Node,
        make: impl FnOnce() -> A + Send + 'static,
        export: impl FnOnce(Export<A>) -> Export<A>,
    ) -> Result<RegionPid, StartRefused>
    where
        A: Actor<Context = Context<A>>,
    {
        let mut exported = Ok(());
        let tie = |node: &Node, pid: RegionPid| {
            let process = node.local_address_of(pid);
            if let Some(process) = &process {
                process.set_spawned_for(self.source);
            }
            if let Some(caller) = self.link {
                node.link_spawned(pid.local(), caller, self.reference);
            }
            if let Some(monitor) = self.monitor {
                node.watch_spawned(self.source, pid, monitor);
            }
            // The list is the user's code; the process is entered already and must not be left there.
            let publish = std::panic::AssertUnwindSafe(|| {
                export(Export::new(node, process.ok_or(ExportError::Ended(pid)))).publish()
            });
            exported = match std::panic::catch_unwind(publish) {
                Ok(published) => published.map(drop).map_err(|error| error.to_string()),
                Err(payload) => Err(panic_text(&*payload)),
            };
        };
        let addr = node
            .spawn_spread(move |_| make(), tie)
            .map_err(|error| StartRefused::NoPid(error.to_string()))?;
        let pid = addr.pid();
        exported.map_err(|error| {
            self.untie(node, pid);
            node.shut_down(pid);
            StartRefused::Export(error)
        })?;
        Ok(pid)
    }

    /// Takes the ties back: the request is refused, so that its maker hears of it that way alone.
    pub(super) fn untie(&self, node: &Node, pid: RegionPid) {
        if let Some(caller) = self.link {
            node.unlink(pid.local(), caller);
        }
        if let Some(monitor) = self.monitor {
            if self.source == node.region() {
                node.unwatch(pid, monitor);
            } else {
                node.unwatched_from(self.source, pid, monitor);
            }
        }
    }
}

impl Node {
    /// Makes an actor in a region, or at the home of a key ([`home_of`](crate::home_of)), with a factory that is listed there
    /// ([`NodeBuilder::factory`](crate::NodeBuilder::factory)), and gives its pid. It is exported as
    /// the factory says, and tied to nobody: it lives on when this region is gone. Actors of this
    /// region may link to it and send it exit signals.
    ///
    /// ```text
    /// let pid = node.spawn_at(region, "counter", &CounterArgs { from: 7 }).await?;
    /// ```
    ///
    /// The request runs at most once (contract C14). It waits at most 5 s for its answer.
    ///
    /// # Errors
    /// [`SpawnAtError`]; only with `Indeterminate` may the actor live.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the actor may live.
    pub fn spawn_at<I: Serialize + ?Sized>(
        &self,
        place: impl Into<Where>,
        factory: impl Into<FactoryName>,
        arguments: &I,
    ) -> SpawnAt<RegionPid> {
        self.order(place.into(), factory.into(), arguments, None)
    }

    /// As [`spawn_at`](Self::spawn_at), with the new actor linked to the calling one before its first
    /// message. To be called from within an actor.
    ///
    /// When the caller has ended meanwhile, or has dropped the future, the new actor gets the exit
    /// signal of a broken link (`NoActor`), which ends it unless it traps exits.
    ///
    /// # Errors
    /// As [`spawn_at`](Self::spawn_at), and [`SpawnAtError::NoCaller`]. After `Indeterminate` the new
    /// actor is linked if it lives.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the actor may live for a moment; then it gets an exit signal.
    pub fn spawn_link_at<I: Serialize + ?Sized>(
        &self,
        place: impl Into<Where>,
        factory: impl Into<FactoryName>,
        arguments: &I,
    ) -> SpawnAt<RegionPid> {
        match current().filter(|caller| caller.pid.region() == self.region()) {
            Some(caller) => self.order(place.into(), factory.into(), arguments, Some(caller.pid)),
            None => Box::pin(std::future::ready(Err(SpawnAtError::NoCaller))),
        }
    }

    /// As [`spawn_at`](Self::spawn_at), with the new actor watched before its first message: its end
    /// is told with its reason however soon it comes. An actor gets it as a message with
    /// [`Context::spawn_monitor_at`].
    ///
    /// # Errors
    /// As [`spawn_at`](Self::spawn_at); nothing is watched then.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the actor may live, and is not watched.
    pub fn spawn_monitor_at<I: Serialize + ?Sized>(
        &self,
        place: impl Into<Where>,
        factory: impl Into<FactoryName>,
        arguments: &I,
    ) -> SpawnAt<(RegionPid, Monitor)> {
        let (fire, down) = oneshot::channel();
        let sink = move |event| {
            let _ = fire.send(event);
        };
        let made =
            self.order_watched(place.into(), factory.into(), arguments, None, Box::new(sink));
        let node = self.clone();
        Box::pin(async move {
            let (pid, monitor) = made.await?;
            Ok((pid, Monitor::new(&node, pid, monitor, down)))
        })
    }

    /// Has an actor made, tied to nobody or linked.
    fn order<I: Serialize + ?Sized>(
        &self,
        place: Where,
        factory: FactoryName,
        arguments: &I,
        link: Option<RegionPid>,
    ) -> SpawnAt<RegionPid> {
        let arguments = encode("fedist.task.arguments", arguments);
        let node = self.clone();
        Box::pin(async move {
            let arguments = arguments.map_err(|error| SpawnAtError::Encode(error.to_string()))?;
            let region = place.resolve(&node).await?;
            node.order_in(region, factory, arguments, link, None).await
        })
    }

    /// Has an actor made that is watched before its first message.
    fn order_watched<I: Serialize + ?Sized>(
        &self,
        place: Where,
        factory: FactoryName,
        arguments: &I,
        holder: Option<RegionPid>,
        sink: DownSink,
    ) -> SpawnAt<(RegionPid, MonitorRef)> {
        let arguments = encode("fedist.task.arguments", arguments);
        let node = self.clone();
        Box::pin(async move {
            let arguments = arguments.map_err(|error| SpawnAtError::Encode(error.to_string()))?;
            let region = place.resolve(&node).await?;
            let early = EarlyMonitor::set(&node, region, holder, sink);
            let made = node.order_in(region, factory, arguments, None, Some(early.monitor));
            let pid = made.await?;
            Ok((pid, early.name(pid)))
        })
    }

    async fn order_in(
        &self,
        region: RegionId,
        factory: FactoryName,
        arguments: Bytes,
        link: Option<RegionPid>,
        monitor: Option<MonitorRef>,
    ) -> Result<RegionPid, SpawnAtError> {
        let request = Request::open(self, region, link);
        let reference = request.id.reference;
        let message = SpawnActor {
            factory: factory.name,
            version: factory.version,
            arguments,
            reference,
            settled_below: request.settled_below,
            order: Order { source: self.region(), reference, link, monitor },
            origin: Origin::here(),
        };
        Ok(request.ask(message, DEFAULT_DEADLINE).await?)
    }

    /// What `region` lets others start there.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn catalog(&self, region: RegionId) -> Result<Catalog, AskError> {
        RegionPid::new(region, service::TASKS).send(self, AskCatalog {}).await
    }
}

impl<A: Actor<Context = Self>> Context<A> {
    /// As [`Node::spawn_monitor_at`]; the one [`Down`] comes as a message, possibly before the future
    /// has resolved. [`demonitor`](Self::demonitor) takes the monitor back.
    ///
    /// # Errors
    /// As [`Node::spawn_at`]; nothing is watched then.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the actor may live, and is not watched.
    pub fn spawn_monitor_at<I: Serialize + ?Sized>(
        &self,
        place: impl Into<Where>,
        factory: impl Into<FactoryName>,
        arguments: &I,
    ) -> SpawnAt<(RegionPid, MonitorRef)>
    where
        A: Handler<Down>,
    {
        let (holder, sink) = (self.pid(), self.down_sink());
        self.node().order_watched(place.into(), factory.into(), arguments, Some(holder), sink)
    }
}

/// A monitor on an actor that has no pid yet. Taken back when dropped.
struct EarlyMonitor {
    node: Node,
    region: RegionId,
    holder: Option<RegionPid>,
    monitor: MonitorRef,
    named: bool,
}

impl EarlyMonitor {
    fn set(node: &Node, region: RegionId, holder: Option<RegionPid>, sink: DownSink) -> Self {
        let monitor = node.inner().next_monitor();
        // Stands for the actor until its pid is known; only its region matters until then.
        let pid = RegionPid::new(region, service::TASKS);
        if let Some(process) = holder.and_then(|holder| node.local_address_of(holder)) {
            process.hold(monitor, pid);
        }
        let holder_id = holder.map(RegionPid::local);
        node.inner().ties.hold(monitor, Held { pid, holder: holder_id, sink });
        Self { node: node.clone(), region, holder, monitor, named: false }
    }

    /// The actor lives as `pid`: from now on this is a monitor as any other.
    fn name(mut self, pid: RegionPid) -> MonitorRef {
        self.named = true;
        self.node.inner().ties.name_held(self.monitor, pid);
        if let Some(process) = self.holder.and_then(|holder| self.node.local_address_of(holder)) {
            // Unless the `Down` came already, or the actor took the monitor back.
            process.rename_held(self.monitor, pid);
        }
        self.monitor
    }
}

impl Drop for EarlyMonitor {
    fn drop(&mut self) {
        if self.named {
            return;
        }
        self.node.inner().ties.take_held(self.region, self.monitor);
        if let Some(process) = self.holder.and_then(|holder| self.node.local_address_of(holder)) {
            process.release(self.monitor);
        }
    }
}

#[cfg(test)]
impl Order {
    pub(super) fn plain(source: RegionId) -> Self {
        Self { source, reference: 0, link: None, monitor: None }
    }

    pub(super) fn linked(source: RegionId, link: RegionPid) -> Self {
        Self { link: Some(link), ..Self::plain(source) }
    }
}
