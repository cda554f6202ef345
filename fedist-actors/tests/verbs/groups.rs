//! Groups.

use std::sync::atomic::{AtomicU64, Ordering};

use fedist_actors::{GroupEvent, GroupWatch, LeaveReason, Node};
use fedist_registry::RegionPid;

use crate::{probe::*, support::*, table::debug};

/// A group that nobody else uses.
fn new_group() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("verbs/{}/all", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn pids(node: &Node, group: &str) -> Vec<RegionPid> {
    node.groups().members(group).iter().map(|member| member.pid).collect()
}

async fn knows(node: &Node, group: &str, expected: &[RegionPid]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    eventually("the members are known", || async { pids(node, group) == expected }).await;
}

async fn next(watch: &mut GroupWatch) -> GroupEvent {
    within("a change of the group", watch.next()).await.expect("the watch goes on")
}

pub(crate) async fn group_join(near: &Node, far: &Node) -> String {
    let (b, group) = (Proc::new(far), new_group());
    far.groups().join(&group, b.pid, "hello").unwrap();
    knows(near, &group, &[b.pid]).await;
    let members = near.groups().members(&group).into_iter();
    debug(members.map(|member| member.meta.get::<String>().unwrap()).collect::<Vec<_>>())
}

pub(crate) async fn group_leave(near: &Node, far: &Node) -> String {
    let (b, group) = (Proc::new(far), new_group());
    far.groups().join(&group, b.pid, &()).unwrap();
    knows(near, &group, &[b.pid]).await;
    assert!(far.groups().leave(&group, b.pid));
    knows(near, &group, &[]).await;
    debug(pids(near, &group))
}

/// A watch of `near` on a group whose one member lives in `far`.
async fn watched(near: &Node, far: &Node) -> (GroupWatch, Proc, String) {
    let (b, group) = (Proc::new(far), new_group());
    far.groups().join(&group, b.pid, "old").unwrap();
    knows(near, &group, &[b.pid]).await;
    let mut watch = near.groups().watch(&group);
    assert!(matches!(next(&mut watch).await, GroupEvent::Snapshot(groups) if groups.len() == 1));
    (watch, b, group)
}

pub(crate) async fn group_end_of_a_member(near: &Node, far: &Node) -> String {
    let (mut watch, b, _) = watched(near, far).await;
    b.exit(custom("over"));
    match next(&mut watch).await {
        GroupEvent::Left { member, reason, .. } if member.pid == b.pid => {
            format!("Left, {reason:?}")
        }
        other => debug(other),
    }
}

pub(crate) async fn group_update_meta(near: &Node, far: &Node) -> String {
    let (mut watch, b, group) = watched(near, far).await;
    far.groups().update_meta(&group, b.pid, "new").unwrap();
    match next(&mut watch).await {
        GroupEvent::Updated { member, .. } if member.pid == b.pid => {
            format!("Updated to {:?}", member.meta.get::<String>().unwrap())
        }
        other => debug(other),
    }
}

pub(crate) async fn group_watch(near: &Node, far: &Node) -> String {
    let (mut watch, b, group) = watched(near, far).await;
    let other = Proc::new(far);
    far.groups().join(&group, other.pid, &()).unwrap();
    let joined = match next(&mut watch).await {
        GroupEvent::Joined { member, .. } if member.pid == other.pid => "Joined".to_owned(),
        event => debug(event),
    };
    far.groups().leave(&group, b.pid);
    let left = match next(&mut watch).await {
        GroupEvent::Left { member, reason: LeaveReason::Left, .. } if member.pid == b.pid => {
            "Left".to_owned()
        }
        event => debug(event),
    };
    format!("Snapshot of 1, {joined}, {left}")
}

pub(crate) async fn group_publish(near: &Node, far: &Node) -> String {
    let (b, group) = (Proc::new(far), new_group());
    far.groups().join(&group, b.pid, &()).unwrap();
    knows(near, &group, &[b.pid]).await;
    for number in 1..=3 {
        near.groups().publish(&group, Note(number)).await.unwrap();
    }
    b.until("all have come", |b| b.events().len() >= 3).await;
    numbers(&b)
}

fn numbers(proc: &Proc) -> String {
    let number = |event| match event {
        Event::Note(number) => number,
        other => panic!("{other:?}"),
    };
    debug(proc.events().into_iter().map(number).collect::<Vec<u64>>())
}

pub(crate) async fn group_publish_both_ways(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    let (to_a, to_b) = (new_group(), new_group());
    near.groups().join(&to_a, a.pid, &()).unwrap();
    far.groups().join(&to_b, b.pid, &()).unwrap();
    knows(far, &to_a, &[a.pid]).await;
    knows(near, &to_b, &[b.pid]).await;
    far.groups().publish(&to_a, Note(1)).await.unwrap();
    near.groups().publish(&to_b, Note(2)).await.unwrap();
    a.until("it has come", |a| !a.events().is_empty()).await;
    b.until("it has come", |b| !b.events().is_empty()).await;
    format!("{}, {}", numbers(&a), numbers(&b))
}

pub(crate) async fn group_groups(near: &Node, far: &Node) -> String {
    let (b, group) = (Proc::new(far), new_group());
    far.groups().join(&group, b.pid, &()).unwrap();
    knows(near, &group, &[b.pid]).await;
    let prefix = group.strip_suffix("all").unwrap();
    match &near.groups().groups(prefix)[..] {
        [only] if **only == *group => "one with the prefix".to_owned(),
        other => debug(other),
    }
}
