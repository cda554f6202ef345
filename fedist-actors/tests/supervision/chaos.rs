//! A tree over three regions among a thousand random failures.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler};
use fedist_actors::{
    ChildState, Context, Down, LocalAddr, MonitorRef, Node, NodeBuilder, Place, Supervisor, child,
    remote_child, supervisor_child,
};
use fedist_registry::{RegionId, RegionPid};
use fedist_transport::memory::MemoryNet;

use crate::support::{below, eventually, id, root, routed, run, stop};

const KILLS: u32 = 1_000;
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// Who is alive, by name; all regions write into it.
#[derive(Clone, Default)]
struct Census(Arc<Mutex<BTreeMap<String, Vec<RegionPid>>>>);

impl Census {
    fn enter(&self, name: &str, pid: RegionPid) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().push(pid);
    }

    fn leave(&self, name: &str, pid: RegionPid) {
        if let Some(pids) = self.0.lock().unwrap().get_mut(name) {
            pids.retain(|known| *known != pid);
        }
    }

    fn alive(&self) -> Vec<RegionPid> {
        self.0.lock().unwrap().values().flatten().copied().collect()
    }

    /// How many of each name are alive.
    fn counts(&self) -> BTreeMap<String, usize> {
        self.0.lock().unwrap().iter().map(|(name, pids)| (name.clone(), pids.len())).collect()
    }
}

/// A worker that is counted.
struct Counted {
    name: String,
    census: Census,
    pid: Option<RegionPid>,
}

impl Counted {
    fn new(name: &str, census: &Census) -> Self {
        Self { name: name.to_owned(), census: census.clone(), pid: None }
    }
}

impl Actor for Counted {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.pid = Some(ctx.pid());
        self.census.enter(&self.name, ctx.pid());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            self.census.leave(&self.name, pid);
        }
    }
}

/// Watches whom it is told to, and counts how often each monitor fires.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HashMap<MonitorRef, u32>>>);

struct Watcher(Seen);

impl Actor for Watcher {
    type Context = Context<Self>;
}

struct Watch(RegionPid);

impl actix::Message for Watch {
    type Result = ();
}

impl Handler<Watch> for Watcher {
    type Result = ();

    fn handle(&mut self, Watch(pid): Watch, ctx: &mut Context<Self>) {
        self.0.0.lock().unwrap().insert(ctx.monitor(pid), 0);
    }
}

impl Handler<Down> for Watcher {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        *self.0.0.lock().unwrap().entry(down.monitor).or_insert(100) += 1;
    }
}

/// Three workers that depend on one another, under a supervisor that gives up now and then.
fn branch(name: &str, census: &Census) -> Supervisor {
    let worker = |part: &str| {
        let (name, census) = (format!("{name}.{part}"), census.clone());
        child(name.clone(), move || Counted::new(&name, &census))
    };
    Supervisor::rest_for_one()
        .intensity(20, Duration::from_secs(1))
        .backoff(Duration::from_millis(1))
        .backoff_max(Duration::from_millis(20))
        .child(worker("a"))
        .child(worker("b"))
        .child(worker("c"))
}

/// The whole tree: a branch in each region, and a child that goes where it can.
fn trunk(census: &Census) -> Supervisor {
    let local = census.clone();
    let far = |name: &str, region| {
        remote_child(name, "branch", name.to_owned()).supervisor().place(Place::At(id(region)))
    };
    let roamer = remote_child("roamer", "worker", "roamer".to_owned()).place(Place::AnyOf(vec![
        id(2),
        id(3),
        id(1),
    ]));
    Supervisor::one_for_one()
        .intensity(usize::MAX, Duration::from_secs(1))
        .backoff(Duration::from_millis(1))
        .backoff_max(Duration::from_millis(50))
        .child(supervisor_child("here", move || branch("here", &local)))
        .child(far("east", 2))
        .child(far("west", 3))
        .child(roamer)
}

fn region(net: &MemoryNet, census: &Census, number: u16, boot: u32) -> NodeBuilder {
    let (branches, workers) = (census.clone(), census.clone());
    let builder = match number {
        1 => root(net),
        2 => below(net, 1, 2),
        _ => below(net, 1, number).link(id(2)),
    };
    builder
        .boot(boot)
        .session_timeout(TIMEOUT)
        .factory("branch", 1, move |name: String| branch(&name, &branches), |export| export)
        .factory("worker", 1, move |n: String| Counted::new(&n, &workers), |export| export)
}

fn intended() -> BTreeMap<String, usize> {
    let mut names = vec!["roamer".to_owned()];
    for branch in ["here", "east", "west"] {
        names.extend(["a", "b", "c"].map(|part| format!("{branch}.{part}")));
    }
    names.into_iter().map(|name| (name, 1)).collect()
}

/// Takes a region away for longer than its sessions last, or restarts its node.
async fn lose_region(
    net: &MemoryNet,
    census: &Census,
    nodes: &mut [Node],
    lost: RegionId,
    restart: Option<u32>,
) {
    let at = usize::from(lost.get()) - 1;
    match restart {
        Some(boot) => {
            nodes[at].stop().await;
            nodes[at] = region(net, census, lost.get(), boot).start().await.unwrap();
        }
        None => {
            net.isolate(lost);
            tokio::time::sleep(TIMEOUT + Duration::from_millis(700)).await;
            net.rejoin(lost);
        }
    }
}

fn storm(seed: u64) {
    eprintln!("seed {seed}");
    run(async move {
        let (net, census, seen) = (MemoryNet::new(seed), Census::default(), Seen::default());
        let mut random = fastrand::Rng::with_seed(seed);
        let mut nodes = Vec::new();
        for number in 1..=3 {
            nodes.push(region(&net, &census, number, 1).start().await.unwrap());
        }
        routed(&nodes).await;
        let tree = trunk(&census).start_wait(&nodes[0]).await.unwrap();
        let watcher = nodes[0].spawn(Watcher(seen.clone())).unwrap();
        eventually("the tree stands", || async { census.counts() == intended() }).await;

        let (mut kills, mut boots, mut watched) = (0, 1, 0);
        while kills < KILLS {
            match random.u32(0..1_000) {
                0..=4 => {
                    let lost = id(random.u16(2..=3));
                    boots += 1;
                    let restart = random.bool().then_some(boots);
                    lose_region(&net, &census, &mut nodes, lost, restart).await;
                }
                5..=60 => {
                    let (at, peer) = (random.usize(0..3), id(random.u16(1..=3)));
                    if !nodes[at].danger_crash_relay(peer).await {
                        continue;
                    }
                }
                61..=120 => {
                    // A supervisor of a branch, wherever it is.
                    let children = tree.which_children().await.unwrap();
                    let Some(pid) = random.choice(&children).and_then(|child| child.pid) else {
                        continue;
                    };
                    watcher.send(Watch(pid)).await.unwrap();
                    watched += 1;
                    nodes[usize::from(pid.region().get()) - 1].kill(pid);
                }
                _ => {
                    let alive = census.alive();
                    let Some(pid) = random.choice(&alive).copied() else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    };
                    watcher.send(Watch(pid)).await.unwrap();
                    watched += 1;
                    nodes[usize::from(pid.region().get()) - 1].kill(pid);
                }
            }
            kills += 1;
            tokio::time::sleep(Duration::from_micros(random.u64(0..8_000))).await;
        }

        eventually("the tree has its intended shape, each child once", || async {
            census.counts() == intended() && stands(&tree).await
        })
        .await;
        let expected = usize::try_from(watched).unwrap();
        eventually("every monitor fired", || async {
            let seen = seen.0.lock().unwrap();
            seen.len() == expected && seen.values().all(|times| *times > 0)
        })
        .await;
        // Late and double ones would come with what is still on its way.
        assert_eq!(watcher.send(Watch(tree.pid())).await, Ok(()));
        tree.stop(fedist_actors::ExitReason::Shutdown).await;
        eventually("all have gone with the tree", || async { census.alive().is_empty() }).await;
        eventually("its own end is seen", || async {
            seen.0.lock().unwrap().values().all(|times| *times > 0)
        })
        .await;
        assert!(seen.0.lock().unwrap().values().all(|times| *times == 1), "each exactly once");
        stop(&nodes).await;
    });
}

async fn stands(tree: &LocalAddr<Supervisor>) -> bool {
    let children = tree.which_children().await.unwrap();
    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["here", "east", "west", "roamer"]);
    children.iter().all(|child| child.state == ChildState::Running)
}

#[test]
fn a_tree_over_three_regions_survives_a_thousand_kills_and_ends_in_its_intended_shape() {
    let seed = std::env::var("FEDIST_SEED").ok().and_then(|seed| seed.parse().ok());
    storm(seed.unwrap_or(4_711));
}
