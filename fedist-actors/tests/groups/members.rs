//! Who is where: replication, watches, splits, restarts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Handler, MessageResult};
use fedist_actors::{
    Context, ExitReason, GroupEvent, GroupWatch, JoinError, LeaveReason, Member, Node, PidSend,
};
use fedist_registry::RegionPid;
use fedist_transport::memory::MemoryNet;

use crate::support::*;

fn pids(members: &[Member]) -> Vec<RegionPid> {
    members.iter().map(|member| member.pid).collect()
}

/// Waits until a node sees exactly these members.
async fn sees(node: &Node, group: &str, expected: &[RegionPid]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    eventually("the members are known", || async {
        pids(&node.groups().members(group)) == expected
    })
    .await;
}

async fn next(watch: &mut GroupWatch) -> GroupEvent {
    tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap()
}

#[test]
fn every_region_knows_the_members_of_all_with_their_metadata() {
    run(async {
        let net = MemoryNet::new(60);
        let nodes = chain(&net, 4).await;
        let mut all = Vec::new();
        for node in &nodes {
            let pid = notebook(node);
            node.groups().join("room/rust", pid, &format!("at {}", node.region())).unwrap();
            all.push(pid);
        }
        for node in &nodes {
            sees(node, "room/rust", &all).await;
            for member in node.groups().members("room/rust") {
                let text: String = member.meta.get().unwrap();
                assert_eq!(text, format!("at {}", member.pid.region()));
            }
            assert_eq!(node.groups().local_members("room/rust").len(), 1);
        }
        nodes[0].groups().update_meta("room/rust", all[0], "new").unwrap();
        eventually("the new metadata is known", || async {
            let members = nodes[3].groups().members("room/rust");
            members[0].meta.get::<String>().unwrap() == "new"
        })
        .await;
        assert!(nodes[3].groups().leave("room/rust", all[3]));
        sees(&nodes[0], "room/rust", &all[..3]).await;
        assert_eq!(nodes[0].groups().groups("room/"), [Arc::from("room/rust")]);
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_takes_part_later_learns_who_is_there() {
    run(async {
        let net = MemoryNet::new(61);
        let mut nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[0]);
        nodes[0].groups().join("g", pid, &()).unwrap();
        nodes.push(below(&net, 2, 3).start().await.unwrap());
        routed(&nodes).await;
        sees(&nodes[2], "g", &[pid]).await;
        stop(&nodes).await;
    });
}

#[test]
fn only_living_actors_of_the_own_node_can_join() {
    run(async {
        let net = MemoryNet::new(62);
        let nodes = chain(&net, 2).await;
        let far = notebook(&nodes[1]);
        let groups = nodes[0].groups();
        assert_eq!(groups.join("g", far, &()), Err(JoinError::NotLocal { pid: far }));
        let near = notebook(&nodes[0]);
        let end = nodes[0].monitor(near);
        nodes[0].kill(near);
        assert_eq!(end.await.reason, ExitReason::Killed);
        assert_eq!(groups.join("g", near, &()), Err(JoinError::NoActor { pid: near }));
        let other = notebook_unnamed(&nodes[1]);
        let refused = nodes[1].groups().update_meta("g", other, &());
        assert!(matches!(refused, Err(JoinError::NotMember { .. })));
        stop(&nodes).await;
    });
}

#[test]
fn the_end_of_a_member_is_a_leave_with_its_reason_everywhere() {
    run(async {
        let net = MemoryNet::new(63);
        let nodes = chain(&net, 3).await;
        let (crashed, killed) = (notebook_unnamed(&nodes[2]), notebook_unnamed(&nodes[2]));
        for pid in [crashed, killed] {
            nodes[2].groups().join("g", pid, &()).unwrap();
        }
        sees(&nodes[0], "g", &[crashed, killed]).await;
        let mut watch = nodes[0].groups().watch("g");
        assert!(
            matches!(next(&mut watch).await, GroupEvent::Snapshot(groups) if groups.len() == 1)
        );
        crashed.do_send(&nodes[0], Crash("boom".to_owned()));
        let GroupEvent::Left { member, reason, .. } = next(&mut watch).await else {
            panic!("not a leave");
        };
        let panicked = LeaveReason::Ended(ExitReason::Panicked("boom".to_owned()));
        assert_eq!((member.pid, reason), (crashed, panicked));
        nodes[2].kill(killed);
        let GroupEvent::Left { member, reason, .. } = next(&mut watch).await else {
            panic!("not a leave");
        };
        assert_eq!((member.pid, reason), (killed, LeaveReason::Ended(ExitReason::Killed)));
        assert!(nodes[0].groups().members("g").is_empty());
        stop(&nodes).await;
    });
}

fn notebook_unnamed(node: &Node) -> RegionPid {
    let addr = node.spawn(Notebook::default()).unwrap();
    node.export(&addr).handles::<Note>().handles::<Notes>().handles::<Crash>().publish().unwrap()
}

/// Keeps what a watch tells: folding it must give what `members` says.
fn fold(known: &mut BTreeMap<RegionPid, Member>, event: GroupEvent) {
    match event {
        GroupEvent::Snapshot(groups) => {
            *known = groups
                .into_iter()
                .flat_map(|(_, members)| members)
                .map(|member| (member.pid, member))
                .collect();
        }
        GroupEvent::Joined { member, .. } => {
            assert!(known.insert(member.pid, member).is_none(), "joined twice");
        }
        GroupEvent::Updated { member, .. } => {
            assert!(known.insert(member.pid, member).is_some(), "updated before it joined");
        }
        GroupEvent::Left { member, .. } => {
            assert!(known.remove(&member.pid).is_some(), "left before it joined");
        }
        _ => unreachable!(),
    }
}

#[test]
fn a_watch_has_no_gap_between_its_snapshot_and_the_changes() {
    run(async {
        let net = MemoryNet::new(64);
        let nodes = chain(&net, 2).await;
        let far = nodes[1].groups();
        let pids: Vec<_> = (0..200).map(|_| notebook_unnamed(&nodes[1])).collect();
        let churn = async {
            for (round, pid) in pids.iter().enumerate() {
                far.join("room/a", *pid, &round).unwrap();
                far.join("other", *pid, &round).unwrap();
                if round % 3 == 0 {
                    far.update_meta("room/a", *pid, &"again").unwrap();
                }
                if round % 2 == 0 {
                    far.leave("room/a", *pid);
                }
                tokio::task::yield_now().await;
            }
        };
        let watching = async {
            let mut known = BTreeMap::new();
            // Begins somewhere in the middle.
            eventually("something is there", || async {
                nodes[0].groups().members("room/a").len() > 3
            })
            .await;
            let mut watch = nodes[0].groups().watch("room/");
            let first = next(&mut watch).await;
            assert!(matches!(first, GroupEvent::Snapshot(_)));
            fold(&mut known, first);
            while known.len() < 100 {
                let event = next(&mut watch).await;
                assert!(event.group().is_none_or(|group| group == "room/a"));
                fold(&mut known, event);
            }
            (watch, known)
        };
        let ((), (mut watch, mut known)) = tokio::join!(churn, watching);
        sees(&nodes[0], "room/a", &pids.iter().skip(1).step_by(2).copied().collect::<Vec<_>>())
            .await;
        while let Some(event) = watch.try_next() {
            fold(&mut known, event);
        }
        assert_eq!(
            known.into_values().collect::<Vec<_>>(),
            nodes[0].groups().members("room/a"),
            "the events tell the same as the list"
        );
        stop(&nodes).await;
    });
}

#[test]
fn a_watcher_that_falls_behind_gets_a_snapshot_in_place_of_what_it_missed() {
    run(async {
        let net = MemoryNet::new(65);
        let node = root(&net).start().await.unwrap();
        let pid = notebook(&node);
        let groups = node.groups();
        let mut watch = groups.watch("");
        for _ in 0..3_000 {
            groups.join("g", pid, &()).unwrap();
            groups.leave("g", pid);
        }
        groups.join("g", pid, &"last").unwrap();
        let mut known = BTreeMap::new();
        let mut snapshots = 0;
        while let Some(event) = watch.try_next() {
            snapshots += usize::from(matches!(event, GroupEvent::Snapshot(_)));
            fold(&mut known, event);
        }
        assert_eq!(snapshots, 1, "what was queued was let go of");
        assert_eq!(known[&pid].meta.get::<String>().unwrap(), "last");
        groups.leave("g", pid);
        assert!(matches!(watch.try_next(), Some(GroupEvent::Left { .. })), "it goes on from there");
        stop(&[node]).await;
    });
}

#[derive(Default)]
struct Lobby(BTreeMap<RegionPid, Member>);

struct Present;

impl actix::Message for Present {
    type Result = Vec<RegionPid>;
}

impl Actor for Lobby {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.node().groups().watch_for("room/", ctx.address().recipient());
    }
}

impl Handler<GroupEvent> for Lobby {
    type Result = ();

    fn handle(&mut self, event: GroupEvent, _: &mut Context<Self>) {
        fold(&mut self.0, event);
    }
}

impl Handler<Present> for Lobby {
    type Result = MessageResult<Present>;

    fn handle(&mut self, _: Present, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.keys().copied().collect())
    }
}

#[test]
fn an_actor_can_watch_with_a_handler() {
    run(async {
        let net = MemoryNet::new(66);
        let nodes = chain(&net, 2).await;
        let (first, second) = (notebook(&nodes[1]), notebook_unnamed(&nodes[1]));
        nodes[1].groups().join("room/a", first, &()).unwrap();
        let lobby = nodes[0].spawn(Lobby::default()).unwrap();
        nodes[1].groups().join("room/b", second, &()).unwrap();
        eventually("both are present", || async {
            lobby.send(Present).await.unwrap() == [first, second]
        })
        .await;
        nodes[1].groups().leave("room/a", first);
        eventually("one has left", || async { lobby.send(Present).await.unwrap() == [second] })
            .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_split_takes_members_away_and_its_heal_brings_back_the_living_and_no_ghosts() {
    run(async {
        let net = MemoryNet::new(67);
        let timeout = Duration::from_millis(700);
        let mut nodes = vec![root(&net).session_timeout(timeout).start().await.unwrap()];
        for number in 2..=4 {
            let builder = below(&net, number - 1, number).session_timeout(timeout);
            nodes.push(builder.start().await.unwrap());
        }
        routed(&nodes).await;
        let pids: Vec<_> = nodes.iter().map(notebook_unnamed).collect();
        for (node, pid) in nodes.iter().zip(&pids) {
            node.groups().join("g", *pid, &()).unwrap();
        }
        for node in &nodes {
            sees(node, "g", &pids).await;
        }
        let mut watch = nodes[0].groups().watch("g");
        net.cut(id(2), id(3));
        // Each side goes on with what it can reach.
        sees(&nodes[0], "g", &pids[..2]).await;
        sees(&nodes[3], "g", &pids[2..]).await;
        let mut reasons = Vec::new();
        while reasons.len() < 2 {
            if let GroupEvent::Left { reason, .. } = next(&mut watch).await {
                reasons.push(reason);
            }
        }
        assert_eq!(reasons, [LeaveReason::Unreachable, LeaveReason::Unreachable]);
        // One dies, one leaves, one joins while nobody on the other side can see it.
        nodes[2].kill(pids[2]);
        nodes[0].groups().leave("g", pids[0]);
        let newcomer = notebook_unnamed(&nodes[3]);
        nodes[3].groups().join("g", newcomer, &()).unwrap();
        sees(&nodes[3], "g", &[pids[3], newcomer]).await;
        net.heal(id(2), id(3));
        let living = [pids[1], pids[3], newcomer];
        for node in &nodes {
            sees(node, "g", &living).await;
        }
        while let Some(event) = watch.try_next() {
            let GroupEvent::Joined { member, .. } = event else { continue };
            assert_ne!(member.pid, pids[2], "the dead do not come back");
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_restarts_begins_without_members() {
    run(async {
        let net = MemoryNet::new(68);
        let timeout = Duration::from_secs(2);
        let first = root(&net).session_timeout(timeout).start().await.unwrap();
        let second = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        routed(&[first.clone(), second.clone()]).await;
        let old = notebook_unnamed(&second);
        second.groups().join("g", old, &()).unwrap();
        sees(&first, "g", &[old]).await;
        net.crash(id(2));
        let again = below(&net, 1, 2).boot(2).session_timeout(timeout).start().await.unwrap();
        let new = notebook_unnamed(&again);
        again.groups().join("g", new, &"second life").unwrap();
        eventually("only the new life is known", || async {
            let members = first.groups().members("g");
            members.len() == 1
                && members[0].meta.get::<String>().ok().as_deref() == Some("second life")
        })
        .await;
        stop(&[first, again]).await;
    });
}
