//! What a node offers to other regions: tasks and factories, by name and version.

use std::{collections::BTreeMap, fmt, sync::Arc};

use actix::Actor;
use bytes::Bytes;
use fedist_registry::RegionPid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::{Task, cx::TaskCx, refusal::StartRefused, spawn::Order};
use crate::{
    Context, Export, Node,
    address::with_decoding_node,
    exit::panic_text,
    inlet::LocalFuture,
    message::{decode, encode},
    process::current,
};

/// Runs a task from its encoded input to its encoded output.
pub(super) type Runner =
    Arc<dyn Fn(TaskCx, Bytes) -> LocalFuture<Result<Bytes, String>> + Send + Sync>;

/// Makes an actor from encoded arguments; the receiver tells when its factory has returned.
pub(super) type Spawner =
    Arc<dyn Fn(&Node, &Order, &[u8]) -> Result<Spawned, StartRefused> + Send + Sync>;

/// An actor that is on its way: it has a pid and its export, its factory may still run.
pub(super) struct Spawned {
    pub(super) pid: RegionPid,
    /// `Err` with the panic's text when the factory panicked.
    pub(super) made: oneshot::Receiver<Result<(), String>>,
}

/// The tasks and factories of a node. Fixed when it starts.
#[derive(Default)]
pub(crate) struct Offers {
    tasks: BTreeMap<(&'static str, u16), Runner>,
    factories: BTreeMap<(String, u16), Spawner>,
}

impl Offers {
    pub(crate) fn add_task<T: Task>(&mut self, _: T) {
        let runner: Runner = Arc::new(|cx: TaskCx, body: Bytes| {
            Box::pin(async move {
                let input =
                    with_decoding_node(cx.node(), Some(cx.caller()), || decode::<T::Input>(&body))
                        .map_err(|error| error.to_string())?;
                drop(body);
                let output = T::run(cx, input).await;
                encode(T::NAME, &output).map_err(|error| error.to_string())
            })
        });
        self.tasks.insert((T::NAME, T::VERSION), runner);
    }

    pub(crate) fn add_factory<A, I, F, E>(&mut self, name: String, version: u16, make: F, export: E)
    where
        A: Actor<Context = Context<A>>,
        I: DeserializeOwned + Send + 'static,
        F: Fn(I) -> A + Send + Sync + 'static,
        E: Fn(Export<A>) -> Export<A> + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let spawner: Spawner = Arc::new(move |node: &Node, order: &Order, body: &[u8]| {
            let arguments = decode_arguments::<I>(node, order, body)?;
            let make = Arc::clone(&make);
            let (tell, made) = oneshot::channel();
            let (refused, there) = (order.clone(), node.clone());
            let make = move || {
                let made =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| make(arguments)));
                match made {
                    Ok(actor) => {
                        let _ = tell.send(Ok(()));
                        actor
                    }
                    Err(payload) => {
                        if let Some(current) = current() {
                            refused.untie(&there, current.pid);
                        }
                        let _ = tell.send(Err(panic_text(&*payload)));
                        std::panic::resume_unwind(payload)
                    }
                }
            };
            let pid = order.spawn(node, make, &export)?;
            Ok(Spawned { pid, made })
        });
        self.factories.insert((name, version), spawner);
    }

    pub(super) fn task(&self, name: &str, version: u16) -> Result<Runner, StartRefused> {
        let found = self.tasks.iter().find(|((known, its), _)| *known == name && *its == version);
        found.map(|(_, runner)| Arc::clone(runner)).ok_or_else(|| StartRefused::UnknownTask {
            name: name.to_owned(),
            version,
            available: listing(self.catalog().tasks),
        })
    }

    /// The factory of this version, or the newest when none is named.
    pub(super) fn factory(
        &self,
        name: &str,
        version: Option<u16>,
    ) -> Result<Spawner, StartRefused> {
        let mut versions = self.factories.iter().filter(|((known, its), _)| {
            known == name && version.is_none_or(|version| *its == version)
        });
        let newest = versions.next_back();
        newest.map(|(_, spawner)| Arc::clone(spawner)).ok_or_else(|| StartRefused::UnknownFactory {
            name: name.to_owned(),
            version,
            available: listing(self.catalog().factories),
        })
    }

    pub(super) fn catalog(&self) -> Catalog {
        let tasks = self.tasks.keys().map(|(name, version)| Listed::new(name, *version));
        let factories = self.factories.keys().map(|(name, version)| Listed::new(name, *version));
        Catalog { tasks: tasks.collect(), factories: factories.collect() }
    }
}

/// A panic in a user's `Deserialize` counts as undecodable.
fn decode_arguments<I: DeserializeOwned>(
    node: &Node,
    order: &Order,
    body: &[u8],
) -> Result<I, StartRefused> {
    let decode = || with_decoding_node(node, Some(order.source), || decode::<I>(body));
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)) {
        Ok(Ok(arguments)) => Ok(arguments),
        Ok(Err(error)) => Err(StartRefused::BadArguments(error.to_string())),
        Err(payload) => Err(StartRefused::BadArguments(panic_text(&*payload))),
    }
}

/// What a region lets others start there. Given by [`Node::catalog`]; sorted by name and version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Catalog {
    /// Its tasks.
    pub tasks: Vec<Listed>,
    /// Its factories of actors.
    pub factories: Vec<Listed>,
}

/// One task or factory of a [`Catalog`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listed {
    /// The stable name.
    pub name: String,
    /// The version.
    pub version: u16,
}

impl Listed {
    fn new(name: &str, version: u16) -> Self {
        Self { name: name.to_owned(), version }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

fn listing(listed: Vec<Listed>) -> Vec<String> {
    listed.iter().map(Listed::to_string).collect()
}
