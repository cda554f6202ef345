//! One message to all members: once, in order, one copy per link.

use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, MessageResult, WrapFuture};
use fedist_actors::{Context, DropReason, Node, PidSend, PublishError};
use fedist_registry::RegionPid;
use fedist_transport::memory::MemoryNet;

use crate::support::*;

/// `count` exported notebooks of a node in the group.
fn members(node: &Node, group: &str, count: usize) -> Vec<RegionPid> {
    (0..count)
        .map(|_| {
            let addr = node.spawn(Notebook::default()).unwrap();
            let export = node.export(&addr).handles::<Note>().handles::<Notes>();
            let pid = export.handles::<Blob>().publish().unwrap();
            node.groups().join(group, pid, &()).unwrap();
            pid
        })
        .collect()
}

/// Waits until every node knows of so many members.
async fn known(nodes: &[Node], group: &str, count: usize) {
    eventually("the members are known", || async {
        nodes.iter().all(|node| node.groups().members(group).len() == count)
    })
    .await;
}

async fn have_exactly(nodes: &[Node], pids: &[RegionPid], notes: &[u64]) {
    for pid in pids {
        let node = nodes.iter().find(|node| node.region() == pid.region()).unwrap();
        eventually("everything has come", || async {
            pid.send(node, Notes).await.unwrap().len() >= notes.len()
        })
        .await;
        assert_eq!(pid.send(node, Notes).await.unwrap(), notes, "{pid}");
    }
}

#[test]
fn a_publish_reaches_all_members_in_all_regions_once_and_in_order() {
    run(async {
        let net = MemoryNet::new(70);
        let nodes = chain(&net, 4).await;
        let mut pids = Vec::new();
        // None in region 3: it only forwards.
        for (at, count) in [(0, 1), (1, 2), (3, 3)] {
            pids.extend(members(&nodes[at], "g", count));
        }
        known(&[nodes[0].clone(), nodes[1].clone(), nodes[3].clone()], "g", 6).await;
        for number in 0..500 {
            assert_eq!(nodes[0].groups().publish("g", Note(number)).await.unwrap(), 3);
        }
        have_exactly(&nodes, &pids, &(0..500).collect::<Vec<_>>()).await;
        assert_eq!(nodes[0].groups().publish("nobody", Note(0)).await.unwrap(), 0);
        eventually("all is acknowledged", || async { nodes[0].groups().counters().in_flight == 0 })
            .await;
        let counters = nodes[0].groups().counters();
        assert_eq!((counters.repaired, counters.lost), (0, 0));
        for node in &nodes {
            assert!(node.dropped().is_empty(), "{:?}", node.dropped());
        }
        stop(&nodes).await;
    });
}

#[test]
fn the_publishes_of_many_regions_arrive_each_in_its_order() {
    run(async {
        let net = MemoryNet::new(71);
        let nodes = chain(&net, 3).await;
        let pids: Vec<_> = nodes.iter().flat_map(|node| members(node, "g", 1)).collect();
        known(&nodes, "g", 3).await;
        for number in 0..200 {
            for (at, node) in nodes.iter().enumerate() {
                let number = at as u64 * 1_000 + number;
                node.groups().publish("g", Note(number)).await.unwrap();
            }
        }
        for pid in &pids {
            eventually("everything has come", || async {
                pid.send(&nodes[0], Notes).await.is_ok_and(|notes| notes.len() >= 600)
            })
            .await;
            let notes = pid.send(&nodes[0], Notes).await.unwrap();
            for source in 0..3 {
                let from = notes.iter().copied().filter(|number| number / 1_000 == source);
                assert!(from.eq((0..200).map(|number| source * 1_000 + number)));
            }
        }
        stop(&nodes).await;
    });
}

/// Bytes sent over every link of the chain, in both directions.
async fn bytes_on_links(nodes: &[Node]) -> u64 {
    let mut bytes = 0;
    for node in nodes {
        let status = node.status().await.unwrap();
        bytes += status.links.iter().map(|link| link.bytes_sent).sum::<u64>();
    }
    bytes
}

#[test]
fn a_publish_costs_each_link_one_copy_however_many_members_are_behind_it() {
    run(async {
        let net = MemoryNet::new(72);
        let nodes = chain(&net, 4).await;
        const MEMBERS: usize = 8;
        const MESSAGES: u64 = 50;
        let far: Vec<_> =
            [2, 3].into_iter().flat_map(|at| members(&nodes[at], "g", MEMBERS)).collect();
        known(&[nodes[0].clone(), nodes[2].clone(), nodes[3].clone()], "g", 2 * MEMBERS).await;
        let blob = || Blob(vec![7; 4_000]);
        let begin = bytes_on_links(&nodes).await;
        for pid in &far {
            for _ in 0..MESSAGES {
                pid.tell(&nodes[0], blob()).await.unwrap();
            }
        }
        // The answer comes behind the tells, so they have crossed all links by then.
        for pid in &far {
            pid.send(&nodes[0], Notes).await.unwrap();
        }
        let told = bytes_on_links(&nodes).await - begin;
        let begin = bytes_on_links(&nodes).await;
        for _ in 0..MESSAGES {
            assert_eq!(nodes[0].groups().publish("g", blob()).await.unwrap(), 2);
        }
        nodes[0].groups().publish("g", Note(1)).await.unwrap();
        have_exactly(&nodes, &far, &[1]).await;
        eventually("all is acknowledged", || async { nodes[0].groups().counters().in_flight == 0 })
            .await;
        let published = bytes_on_links(&nodes).await - begin;
        // Tells cross 1-2 and 2-3 for both regions and 3-4 for one: 5 link crossings for each pair of members;
        // a publish crosses the three links once.
        let ratio = told as f64 / published as f64;
        let ideal = (5 * MEMBERS) as f64 / 3.0;
        assert!(
            ratio >= 0.8 * ideal,
            "{told} B told, {published} B published: {ratio:.1} of {ideal:.1}"
        );
        stop(&nodes).await;
    });
}

/// A diamond: 4 and 5 below the hubs 2 and 3, each linked to both hubs.
async fn diamond(net: &MemoryNet) -> Vec<Node> {
    net.default_latency(Duration::from_millis(2));
    let root = root(net).start().await.unwrap();
    let left = below(net, 1, 2).start().await.unwrap();
    let right = below(net, 1, 3).start().await.unwrap();
    let source = below(net, 2, 4).link(id(3)).start().await.unwrap();
    let target = below(net, 3, 5).link(id(2)).start().await.unwrap();
    let nodes = vec![root, left, right, source, target];
    routed(&nodes).await;
    nodes
}

#[test]
fn publishes_survive_loss_and_the_death_of_a_relay() {
    run(async {
        let net = MemoryNet::new(73);
        let nodes = diamond(&net).await;
        for (a, b) in [(1, 2), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5)] {
            net.set_loss(id(a), id(b), 0.03);
            net.set_loss(id(b), id(a), 0.03);
        }
        let mut pids = members(&nodes[0], "g", 1);
        pids.extend(members(&nodes[4], "g", 2));
        known(&[nodes[3].clone()], "g", 3).await;
        let relay = nodes[3].view().routes.get(id(5)).unwrap().next_hop().unwrap();
        for number in 0..1_500 {
            nodes[3].groups().publish("g", Note(number)).await.unwrap();
            if number == 700 {
                net.isolate(relay);
            }
            if number % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        have_exactly(&nodes, &pids, &(0..1_500).collect::<Vec<_>>()).await;
        assert_eq!(nodes[3].groups().counters().lost, 0);
        stop(&nodes).await;
    });
}

#[test]
fn flapping_links_and_crashing_hubs_lose_nothing_and_leave_all_regions_agreed() {
    run(async {
        let net = MemoryNet::new(78);
        let nodes = diamond(&net).await;
        let mut random = fastrand::Rng::with_seed(78);
        let pids: Vec<_> = nodes.iter().flat_map(|node| members(node, "g", 1)).collect();
        known(&nodes, "g", 5).await;
        let links = [(1, 2), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5)];
        let mut cut = None;
        let mut churning: Vec<(usize, RegionPid)> = Vec::new();
        const ROUNDS: u64 = 120;
        for round in 0..ROUNDS {
            for (at, node) in nodes.iter().enumerate() {
                let number = at as u64 * 1_000 + round;
                node.groups().publish("g", Note(number)).await.unwrap();
            }
            let at = random.usize(..nodes.len());
            if random.bool() {
                churning.extend(members(&nodes[at], "churn", 1).into_iter().map(|pid| (at, pid)));
            } else if !churning.is_empty() {
                let (at, pid) = churning.swap_remove(random.usize(..churning.len()));
                match random.bool() {
                    true => nodes[at].kill(pid),
                    false => assert!(nodes[at].groups().leave("churn", pid)),
                }
            }
            if round % 12 == 0 {
                // One link at a time, so that a way remains.
                if let Some((a, b)) = cut.take() {
                    net.heal(id(a), id(b));
                }
                let (a, b) = links[random.usize(..links.len())];
                net.cut(id(a), id(b));
                cut = Some((a, b));
                nodes[random.usize(..nodes.len())].danger_crash_hub().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Some((a, b)) = cut {
            net.heal(id(a), id(b));
        }
        for pid in &pids {
            let node = nodes.iter().find(|node| node.region() == pid.region()).unwrap();
            let expected = nodes.len() as u64 * ROUNDS;
            eventually("everything has come", || async {
                pid.send(node, Notes).await.is_ok_and(|notes| notes.len() as u64 >= expected)
            })
            .await;
            let notes = pid.send(node, Notes).await.unwrap();
            for source in 0..nodes.len() as u64 {
                let from = notes.iter().copied().filter(|number| number / 1_000 == source);
                assert!(from.eq((0..ROUNDS).map(|n| source * 1_000 + n)), "{source} to {pid}");
            }
        }
        let mut living: Vec<_> = churning.iter().map(|(_, pid)| *pid).collect();
        living.sort_unstable();
        eventually("all regions know the living", || async {
            nodes.iter().all(|node| {
                let members = node.groups().members("churn");
                members.iter().map(|member| member.pid).eq(living.iter().copied())
            })
        })
        .await;
        for node in &nodes {
            assert_eq!(node.groups().counters().lost, 0);
        }
        stop(&nodes).await;
    });
}

#[test]
fn what_is_on_its_way_when_a_session_ends_is_counted_and_later_publishes_arrive() {
    run(async {
        let net = MemoryNet::new(74);
        let timeout = Duration::from_millis(700);
        let near = root(&net).session_timeout(timeout).start().await.unwrap();
        let far = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        let pids = members(&nodes[1], "g", 1);
        known(&nodes, "g", 1).await;
        nodes[0].groups().publish("g", Note(0)).await.unwrap();
        have_exactly(&nodes, &pids, &[0]).await;
        eventually("it is acknowledged", || async { nodes[0].groups().counters().in_flight == 0 })
            .await;
        net.cut(id(1), id(2));
        for number in 1..=10 {
            nodes[0].groups().publish("g", Note(number)).await.unwrap();
        }
        eventually("they are counted as lost", || async {
            nodes[0].groups().counters().lost == 10
        })
        .await;
        assert!(nodes[0].dropped()[&DropReason::SessionEnded] >= 10);
        assert_eq!(nodes[0].groups().publish("g", Note(11)).await.unwrap(), 0, "nobody is there");
        net.heal(id(1), id(2));
        known(&nodes, "g", 1).await;
        nodes[0].groups().publish("g", Note(12)).await.unwrap();
        have_exactly(&nodes, &pids, &[0, 12]).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_member_that_is_not_exported_for_the_message_gets_nothing() {
    run(async {
        let net = MemoryNet::new(75);
        let nodes = chain(&net, 2).await;
        let pids = members(&nodes[1], "g", 1);
        let hidden = nodes[1].spawn(Notebook::default()).unwrap();
        nodes[1].groups().join("g", &hidden, &()).unwrap();
        known(&nodes, "g", 2).await;
        nodes[0].groups().publish("g", Note(1)).await.unwrap();
        have_exactly(&nodes, &pids, &[1]).await;
        assert!(hidden.send(Notes).await.unwrap().is_empty());
        let letters = nodes[1].dead_letters();
        assert!(
            letters.iter().any(|letter| letter.to == hidden.pid()
                && letter.reason == DropReason::Denied
                && letter.message == "test.note"),
            "{letters:?}"
        );
        stop(&nodes).await;
    });
}

#[test]
fn a_message_that_is_too_long_comes_back() {
    run(async {
        let net = MemoryNet::new(76);
        let node = root(&net).max_message(10_000).start().await.unwrap();
        members(&node, "g", 1);
        let refused = node.groups().publish("g", Blob(vec![0; 10_001])).await;
        assert!(matches!(refused, Err(PublishError::TooLarge { max: 10_000, .. })));
        assert_eq!(refused.unwrap_err().into_message().0.len(), 10_001);
        stop(&[node]).await;
    });
}

/// Takes a while for each note.
#[derive(Default)]
struct Slow(Vec<u64>);

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Note> for Slow {
    type Result = ();

    fn handle(&mut self, Note(number): Note, ctx: &mut Context<Self>) {
        self.0.push(number);
        if number % 20 == 0 {
            ctx.wait(tokio::time::sleep(Duration::from_millis(1)).into_actor(self));
        }
    }
}

impl Handler<Notes> for Slow {
    type Result = MessageResult<Notes>;

    fn handle(&mut self, _: Notes, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.clone())
    }
}

#[test]
fn a_slow_member_makes_its_group_wait_and_no_other_and_loses_nothing() {
    run(async {
        let net = MemoryNet::new(77);
        let near = root(&net).mailbox_capacity(64).start().await.unwrap();
        let far = below(&net, 1, 2).mailbox_capacity(64).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        for (at, group) in [(1, "far"), (0, "near")] {
            let slow = nodes[at].spawn(Slow::default()).unwrap();
            let export = nodes[at].export(&slow).handles::<Note>().handles::<Notes>();
            let slow = export.publish().unwrap();
            nodes[at].groups().join(group, slow, &()).unwrap();
            let quick = members(&nodes[at], "quick", 1);
            known(&nodes[..1], group, 1).await;
            known(&nodes[..1], "quick", 1).await;
            let groups = nodes[0].groups();
            let mut refused = 0;
            for number in 0..3_000 {
                if let Err(PublishError::Full(Note(number))) =
                    groups.try_publish(group, Note(number))
                {
                    refused += 1;
                    if refused == 1 {
                        // The way there may be full for a moment; the slow member stays so.
                        eventually("the others go on", || async {
                            groups.try_publish("quick", Note(7)).is_ok()
                        })
                        .await;
                    }
                    groups.publish(group, Note(number)).await.unwrap();
                }
                if number % 64 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            assert!(refused > 0, "the publishers were paused ({group})");
            have_exactly(&nodes, &[slow], &(0..3_000).collect::<Vec<_>>()).await;
            have_exactly(&nodes, &quick, &[7]).await;
            nodes[at].groups().leave("quick", quick[0]);
            known(&nodes[..1], "quick", 0).await;
        }
        for node in &nodes {
            assert!(node.dropped().is_empty(), "{:?}", node.dropped());
        }
        stop(&nodes).await;
    });
}
