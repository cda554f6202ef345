//! The runtime's own supervision tree: services, hub and relays.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use fedist_registry::{LocalId, RegionPid, service};
use tokio::sync::oneshot;

use super::{
    Hub,
    links::MAX_LINKS,
    membership::{Propose, Registrar, ReserveSeats},
    quorum::{AskDecided, QuorumSays},
    relay::RELAYS,
};
use crate::{
    ChildSpec, ExitReason, ExportError, Node, SpawnError, StartError, Supervisor,
    delineation::{AskHome, AskHomeOf, AskReports, DelineatorService, ReplaceRule, TellRegions},
    discovery::{DiscoveryService, Strategy},
    echo::{EchoRequest, EchoService},
    groups::{GroupCopy, GroupService, GroupStream, GroupUpdate, Hello as GroupHello},
    names::{AskAliasLease, NameService, ReleaseAlias, Whereis, WhoHolds},
    supervision::{Started, supervisor_child},
    task::{
        AskCatalog, AskStanding, CancelTask, SpawnActor, StartTask, TaskDone, TaskPrint,
        TaskService,
    },
};

/// Between the end of a service and its next start.
const PAUSE: Duration = Duration::from_millis(10);
/// However often it panics: while the hub is away, nothing is forwarded.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Starts one service on the hub's thread.
type StartService = Rc<dyn Fn(&Node) -> Result<RegionPid, ServiceError>>;

#[derive(Debug, thiserror::Error)]
enum ServiceError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Export(#[from] ExportError),
}

thread_local! {
    /// How the services of this thread's node are made. They hold the hub's core, which cannot leave
    /// its thread; the specs in the tree hold their ids.
    static SERVICES: RefCell<BTreeMap<LocalId, StartService>> =
        const { RefCell::new(BTreeMap::new()) };
}

/// Lists how the well-known services are made, each under its fixed local id. The hub is made anew
/// from the same core: links and sessions live there and in its relays, so they outlast it.
pub(super) fn list(hub: Hub, strategies: Vec<Strategy>) {
    let registrar_core = Rc::clone(&hub.core);
    let groups_core = Rc::clone(&hub.core);
    let lives = Cell::new(0_u32);
    let discovery_core = Rc::clone(&hub.core);
    let services: [(LocalId, StartService); 7] = [
        (
            service::REGISTRAR,
            Rc::new(move |node| {
                let core = Rc::clone(&registrar_core);
                let addr = node.spawn_here_at(service::REGISTRAR, move |_| Registrar { core })?;
                let export = node.export(&addr).handles::<Propose>().handles::<ReserveSeats>();
                Ok(export.handles::<QuorumSays>().handles::<AskDecided>().publish()?)
            }),
        ),
        (
            service::NAMES,
            Rc::new(|node| {
                let own = node.clone();
                let addr =
                    node.spawn_here_at(service::NAMES, move |_| NameService { node: own })?;
                let export = node.export(&addr).handles::<Whereis>().handles::<WhoHolds>();
                Ok(export.handles::<AskAliasLease>().handles::<ReleaseAlias>().publish()?)
            }),
        ),
        (
            service::DELINEATOR,
            Rc::new(|node| {
                let own = node.clone();
                let make = move |_: &mut _| DelineatorService::new(own);
                let addr = node.spawn_here_at(service::DELINEATOR, make)?;
                let export = node.export(&addr).handles::<AskHome>().handles::<AskHomeOf>();
                let export = export.handles::<ReplaceRule>().handles::<TellRegions>();
                Ok(export.handles::<AskReports>().publish()?)
            }),
        ),
        (
            service::TASKS,
            Rc::new(|node| {
                let own = node.clone();
                let addr =
                    node.spawn_here_at(service::TASKS, move |_| TaskService { node: own })?;
                let export = node.export(&addr).handles::<StartTask>().handles::<SpawnActor>();
                let export = export.handles::<AskStanding>().handles::<AskCatalog>();
                let export = export.handles::<CancelTask>().handles::<TaskPrint>();
                Ok(export.handles::<TaskDone>().publish()?)
            }),
        ),
        (
            service::GROUPS,
            Rc::new(move |node| {
                let (own, core) = (node.clone(), Rc::clone(&groups_core));
                let make = move |_: &mut _| GroupService::new(&own, core);
                let addr = node.spawn_here_at(service::GROUPS, make)?;
                let export = node.export(&addr).handles::<GroupHello>().handles::<GroupUpdate>();
                Ok(export.handles::<GroupCopy>().handles::<GroupStream>().publish()?)
            }),
        ),
        (
            service::ECHO,
            Rc::new(|node| {
                let own = node.clone();
                let addr = node.spawn_here_at(service::ECHO, move |_| EchoService { node: own })?;
                Ok(node.export(&addr).handles::<EchoRequest>().publish()?)
            }),
        ),
        (
            service::HUB,
            Rc::new(move |node| {
                if lives.replace(lives.get().saturating_add(1)) > 0 {
                    hub.core.borrow_mut().count("hub_restarts");
                }
                let hub = Hub {
                    core: Rc::clone(&hub.core),
                    outbound: Rc::clone(&hub.outbound),
                    answers: Rc::clone(&hub.answers),
                };
                Ok(node.spawn_here_at(service::HUB, move |_| hub)?.pid())
            }),
        ),
    ];
    let discovery: Option<StartService> = (!strategies.is_empty()).then(|| {
        Rc::new(move |node: &Node| {
            let (core, strategies) = (Rc::clone(&discovery_core), strategies.clone());
            let make = move |_: &mut _| DiscoveryService { core, strategies };
            Ok(node.spawn_here_at(service::DISCOVERY, make)?.pid())
        }) as StartService
    });
    SERVICES.with_borrow_mut(|known| {
        known.extend(services);
        known.extend(discovery.map(|start| (service::DISCOVERY, start)));
    });
}

/// Lets go of the hub's core when the node has ended.
pub(super) fn forget() {
    SERVICES.take();
}

/// The supervisor of what the runtime itself consists of. It never gives up: without its hub a node
/// is nothing, and the back-off sets the pace.
fn system_tree() -> Supervisor {
    let service = |name: &str, id: LocalId| {
        ChildSpec::service(name, move |node| {
            let start = SERVICES.with_borrow(|services| services.get(&id).cloned());
            let start = start.ok_or_else(|| "the node has ended".to_owned())?;
            start(node).map_err(|error| error.to_string())
        })
    };
    // The hub dials anew where a relay has ended.
    let relays = || Supervisor::dynamic().max_children(4 * MAX_LINKS);
    let tree = Supervisor::one_for_one()
        .intensity(usize::MAX, Duration::from_secs(5))
        .backoff(PAUSE)
        .backoff_max(PAUSE_MAX)
        .child(supervisor_child(RELAYS, relays))
        .child(service("registrar", service::REGISTRAR))
        .child(service("names", service::NAMES))
        .child(service("delineator", service::DELINEATOR))
        .child(service("tasks", service::TASKS))
        .child(service("groups", service::GROUPS))
        .child(service("echo", service::ECHO))
        .child(service("hub", service::HUB));
    // A node that asks nobody for addresses needs nobody to do it.
    match SERVICES.with_borrow(|services| services.contains_key(&service::DISCOVERY)) {
        true => tree.child(service("discovery", service::DISCOVERY)),
        false => tree,
    }
}

/// Starts the tree, and again should its uppermost supervisor be killed or panic.
pub(super) fn start(node: &Node) -> Result<Started, StartError> {
    let (pid, started) = system_tree()
        .launch_system(node, "system")
        .map_err(|error| StartError::Thread(format!("the services did not start: {error}")))?;
    let (ended, end) = oneshot::channel();
    node.watch(
        pid,
        Box::new(move |down| {
            let _ = ended.send(down.reason);
        }),
    );
    let node = node.clone();
    actix_rt::spawn(async move {
        if let Ok(reason @ (ExitReason::Panicked(_) | ExitReason::Killed)) = end.await {
            tracing::error!(%reason, "the system supervisor ended and is started again");
            tokio::time::sleep(PAUSE).await;
            let _ = start(&node);
        }
    });
    Ok(started)
}

/// Waits until all services run.
pub(super) async fn wait(started: Started) -> Result<(), StartError> {
    let failure = match started.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => "they ended while they started".to_owned(),
    };
    Err(StartError::Thread(format!("the services did not start: {failure}")))
}
