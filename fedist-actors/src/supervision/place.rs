//! Children in other regions: where they are put, and where they go when their region is gone.

use std::{sync::Arc, time::Duration};

use fedist_registry::{RegionId, RegionPid};
use serde::Serialize;

use super::{
    rules::{ChildKind, ChildRules, Restart, Shutdown},
    spec::{ChildSpec, NotStarted, Start},
};
use crate::{
    FactoryName, HomeError, Node, RequestId, Settled, SpawnAtError, StartRefused, View, Where,
};

/// Where a child is put, each time it is started.
#[derive(Clone)]
#[non_exhaustive]
pub enum Place {
    /// In this region.
    At(RegionId),
    /// In the region of this actor.
    Near(RegionPid),
    /// In the first of these that can be reached.
    AnyOf(Vec<RegionId>),
    /// In the region that a function names, with the registry and the routes before it. `None`: nowhere at present.
    By(Choose),
    /// Where the supervisor's node is told at that moment: the home of a key, by the delineator. Made by [`Place::home_of`].
    Home(Where),
}

/// Chooses a region for a child.
pub type Choose = Arc<dyn Fn(&View) -> Option<RegionId> + Send + Sync>;

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::At(region) => f.debug_tuple("At").field(region).finish(),
            Place::Near(pid) => f.debug_tuple("Near").field(pid).finish(),
            Place::AnyOf(regions) => f.debug_tuple("AnyOf").field(regions).finish(),
            Place::By(_) => f.write_str("By(..)"),
            Place::Home(place) => f.debug_tuple("Home").field(place).finish(),
        }
    }
}

impl Place {
    /// At the home of `key`, by the rule of the supervisor's node. While the key has no home the start is tried again, as when a
    /// place cannot be reached. A child stays where it was started until it ends, whatever the rule says meanwhile.
    pub fn home_of<K: Serialize + ?Sized>(key: &K) -> Self {
        Place::Home(crate::home_of(key))
    }

    /// The regions to try, in order; those without a route are left out.
    async fn candidates(&self, node: &Node, failover: bool) -> Result<Vec<RegionId>, HomeError> {
        let home = match self {
            Place::Home(place) => Some(place.resolve(node).await),
            _ => None,
        };
        let view = node.view();
        let mut regions = match self {
            Place::At(region) => vec![*region],
            Place::Near(pid) => vec![pid.region()],
            Place::AnyOf(regions) => regions.clone(),
            Place::By(choose) => choose(&view).into_iter().collect(),
            Place::Home(_) => match home {
                Some(Err(error)) if !failover => return Err(error),
                home => home.into_iter().flatten().collect(),
            },
        };
        if failover {
            let mut others: Vec<_> = view
                .registry
                .regions()
                .filter_map(|record| Some((view.routes.get(record.id)?.cost, record.id)))
                .collect();
            others.sort_unstable();
            regions.push(node.region());
            regions.extend(others.into_iter().map(|(_, region)| region));
        }
        let mut tried = std::collections::BTreeSet::new();
        regions.retain(|region| {
            let reachable = *region == node.region() || view.routes.get(*region).is_some();
            reachable && tried.insert(*region)
        });
        Ok(regions)
    }
}

/// A child that is made by a factory listed in another region
/// ([`NodeBuilder::factory`](crate::NodeBuilder::factory)).
///
/// It is linked to its supervisor across the regions. When the session between them ends, both
/// hear `Unreachable`: the supervisor starts the child again, here or there, and the child's own
/// node ends the one that was cut off, unless it traps exits. The two sides may notice some time
/// apart, by up to a session time-out; for so long there may be an old life that the supervisor
/// cannot know of beside the new one. What must exist once at a time needs a lease as well.
///
/// While no place can be reached, the start is tried again after the back-off, and not counted
/// against the intensity.
#[derive(Debug)]
pub struct RemoteChild<I> {
    rules: ChildRules,
    factory: FactoryName,
    arguments: Arc<I>,
    place: Place,
    failover: bool,
}

/// A child that is made by `factory` (`"counter"`, or `("counter", 2)` for that version) in another
/// region. Say where with [`place`](RemoteChild::place); without it, in the supervisor's own.
pub fn remote_child<I>(
    name: impl Into<String>,
    factory: impl Into<FactoryName>,
    arguments: I,
) -> RemoteChild<I>
where
    I: Serialize + Send + Sync + 'static,
{
    RemoteChild {
        rules: ChildRules::worker(name),
        factory: factory.into(),
        arguments: Arc::new(arguments),
        place: Place::AnyOf(Vec::new()),
        failover: true,
    }
}

impl<I> RemoteChild<I> {
    /// Where it is put. It waits for that place when it cannot be reached; see
    /// [`failover`](Self::failover).
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self.failover = false;
        self
    }

    /// Whether it may be put elsewhere while its place cannot be reached: into the supervisor's own
    /// region, else the nearest one that lists the factory. It stays there. Off unless said so.
    pub fn failover(mut self, failover: bool) -> Self {
        self.failover = failover;
        self
    }

    /// The factory makes a [`Supervisor`](super::Supervisor): it has all the time it needs to end its
    /// children, and its shutdown rule is set to that.
    pub fn supervisor(mut self) -> Self {
        self.rules.kind = ChildKind::Supervisor;
        self.shutdown(Shutdown::Infinity)
    }

    /// As [`ChildSpec::restart`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// As [`ChildSpec::shutdown`].
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.rules.shutdown = shutdown;
        self
    }

    /// As [`ChildSpec::significant`].
    pub fn significant(mut self, significant: bool) -> Self {
        self.rules.significant = significant;
        self
    }
}

impl<I: Serialize + Send + Sync + 'static> From<RemoteChild<I>> for ChildSpec {
    fn from(child: RemoteChild<I>) -> Self {
        let RemoteChild { rules, factory, arguments, place, failover } = child;
        ChildSpec::new(rules, move |birth| {
            let (factory, place) = (factory.clone(), place.clone());
            let (arguments, node) = (Arc::clone(&arguments), birth.node.clone());
            let supervisor = birth.supervisor;
            let outcome = async move {
                let mut last = "no region of its place can be reached".to_owned();
                let mut refused = 0;
                let regions = match place.candidates(&node, failover).await {
                    Ok(regions) => regions,
                    Err(error) => return Err(NotStarted::NoPlace(error.to_string())),
                };
                for region in &regions {
                    let made = node.spawn_link_at(*region, factory.clone(), &*arguments).await;
                    match made {
                        Ok(pid) => return Ok(pid),
                        Err(SpawnAtError::Indeterminate { request, cause }) => {
                            if let Some(pid) = settle(&node, request).await {
                                node.link(supervisor.local(), pid);
                                return Ok(pid);
                            }
                            last = cause.to_string();
                        }
                        Err(error) => {
                            refused += usize::from(is_its_fault(&error));
                            last = error.to_string();
                        }
                    }
                }
                if refused > 0 && refused == regions.len() {
                    return Err(NotStarted::Failed(last));
                }
                Err(NotStarted::NoPlace(last))
            };
            Start::Later { pid: None, outcome: Box::pin(outcome) }
        })
    }
}

/// Whether a start would fail again in the same way.
fn is_its_fault(error: &SpawnAtError) -> bool {
    match error {
        SpawnAtError::Refused(StartRefused::NoPid(_) | StartRefused::Busy { .. })
        | SpawnAtError::Ask(_)
        | SpawnAtError::NoHome(_)
        | SpawnAtError::Indeterminate { .. } => false,
        SpawnAtError::Refused(_) | SpawnAtError::Encode(_) | SpawnAtError::NoCaller => true,
    }
}

/// What became of a start that was not answered. `None`: nothing lives of it, or it is being ended
/// by its broken link.
async fn settle(node: &Node, request: RequestId) -> Option<RegionPid> {
    for _ in 0..SETTLE_ATTEMPTS {
        match node.settle(request).await {
            Ok(Settled::Started(pid)) => return Some(pid),
            Ok(_) => return None,
            // Once its session has ended on the other side too, the link has ended what was made.
            Err(_) => node.sleep(node.inner().session_timeout.max(SETTLE_PAUSE)).await,
        }
    }
    None
}

const SETTLE_ATTEMPTS: u32 = 3;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
