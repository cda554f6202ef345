//! Supervisors: asked and told from afar, and with children that are far away themselves.

use fedist_actors::{
    ChildError, ChildState, CountChildren, DeleteChild, LocalAddr, Node, PidSend, Place,
    RestartChild, Supervisor, TerminateChild, WhichChildren, exported_child, remote_child,
};
use fedist_registry::RegionPid;

use crate::{
    probe::*,
    support::{Note, eventually},
    table::debug,
};

/// A supervisor at `node` with the children `a` and `b`, which may be told and ended from afar.
async fn supervisor(node: &Node) -> LocalAddr<Supervisor> {
    let child = |name: &str| {
        let factory = || Probe::with_start(|_, _| ());
        exported_child(name, factory, |export| export.handles::<Note>().handles::<Sync>().links())
    };
    let supervisor = Supervisor::one_for_one().exported().child(child("a")).child(child("b"));
    supervisor.start_wait(node).await.unwrap()
}

/// The children as `near` sees them.
async fn children(near: &Node, supervisor: RegionPid) -> Vec<(String, ChildState, u64)> {
    let children = supervisor.send(near, WhichChildren).deadline(ms(15_000)).await.unwrap();
    children.into_iter().map(|child| (child.name, child.state, child.restarts)).collect()
}

async fn pid_of(near: &Node, supervisor: RegionPid, name: &str) -> Option<RegionPid> {
    let children = supervisor.send(near, WhichChildren).deadline(ms(15_000)).await.unwrap();
    children.into_iter().find(|child| child.name == name)?.pid
}

pub(crate) async fn which_children(near: &Node, far: &Node) -> String {
    let supervisor = supervisor(far).await;
    debug(children(near, supervisor.pid()).await)
}

pub(crate) async fn count_children(near: &Node, far: &Node) -> String {
    let supervisor = supervisor(far).await;
    match supervisor.pid().send(near, CountChildren).await {
        Ok(counts) => format!("{} of {}", counts.active, counts.specs),
        other => debug(other),
    }
}

pub(crate) async fn terminate_and_restart_child(near: &Node, far: &Node) -> String {
    let supervisor = supervisor(far).await.pid();
    let first = pid_of(near, supervisor, "a").await.unwrap();
    let terminated = supervisor.send(near, TerminateChild { child: "a".into() }).await.unwrap();
    let gone = near.monitor(first).await.reason;
    let restarted = supervisor.send(near, RestartChild { child: "a".into() }).await.unwrap();
    let fresh = restarted.as_ref().is_ok_and(|pid| *pid != first);
    format!("{terminated:?}, {gone:?}, another: {fresh}")
}

pub(crate) async fn delete_child(near: &Node, far: &Node) -> String {
    let supervisor = supervisor(far).await.pid();
    let delete = || supervisor.send(near, DeleteChild { child: "a".into() });
    let running = match delete().await.unwrap() {
        Err(ChildError::Running { .. }) => "Running".to_owned(),
        other => debug(other),
    };
    supervisor.send(near, TerminateChild { child: "a".into() }).await.unwrap().unwrap();
    let deleted = delete().await.unwrap();
    format!("{running}, then {deleted:?}, {} left", children(near, supervisor).await.len())
}

pub(crate) async fn restart_of_a_killed_child(near: &Node, far: &Node) -> String {
    let supervisor = supervisor(far).await.pid();
    let killer = Proc::new(near);
    let first = pid_of(near, supervisor, "b").await.unwrap();
    killer.run(move |_, ctx| ctx.node().kill(first)).await;
    eventually("another one lives", || async {
        pid_of(near, supervisor, "b").await.is_some_and(|pid| pid != first)
    })
    .await;
    debug(children(near, supervisor).await)
}

pub(crate) async fn remote_child_is_restarted(near: &Node, far: &Node) -> String {
    let child = remote_child("far", "probe", false).place(Place::At(far.region()));
    let supervisor =
        Supervisor::one_for_one().exported().child(child.failover(false)).start(near).unwrap();
    let running = async |other_than: Option<RegionPid>| {
        let pid = std::cell::Cell::new(None);
        eventually("the child runs", || async {
            pid.set(pid_of(near, supervisor.pid(), "far").await);
            pid.get().is_some_and(|pid| Some(pid) != other_than)
        })
        .await;
        pid.get().unwrap()
    };
    let first = running(None).await;
    far.kill(first);
    let second = running(Some(first)).await;
    let in_place = first.region() == far.region() && second.region() == far.region();
    let watch = far.monitor(second);
    let stopped = supervisor.stop(fedist_actors::ExitReason::Shutdown).await.reason;
    format!("in place: {in_place}, {stopped:?}, {:?}", watch.await.reason)
}

pub(crate) async fn supervisor_ends_its_remote_child_when_killed(
    near: &Node,
    far: &Node,
) -> String {
    let child = remote_child("far", "probe", false).place(Place::At(far.region()));
    let supervisor = Supervisor::one_for_one().exported().child(child).start(near).unwrap();
    let pid = std::cell::Cell::new(None);
    eventually("the child runs", || async {
        pid.set(pid_of(near, supervisor.pid(), "far").await);
        pid.get().is_some()
    })
    .await;
    let watch = far.monitor(pid.get().unwrap());
    near.kill(supervisor.pid());
    debug(watch.await.reason)
}
