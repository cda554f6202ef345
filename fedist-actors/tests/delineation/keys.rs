//! Messages that follow their keys home, hop by hop, and keys that move.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use fedist_actors::{AskError, HomeAskError, HomeError, Message, Node};
use fedist_registry::{NoHome, RangeTable, Rule};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::{rules::*, support::*};

/// Adds to the account of a key; gives its balance and the region that holds it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "(u64, u16)")]
#[wire(name = "keys.add", version = 1, crate = "fedist_actors")]
struct Add(u64);

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "keys.unserved", version = 1, crate = "fedist_actors")]
struct Unserved;

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "keys.slow", version = 1, crate = "fedist_actors")]
struct Slow;

type Accounts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Each node keeps the accounts of the keys that are at home there.
fn serve(node: &Node) -> Accounts {
    let accounts = Accounts::default();
    let (held, region) = (Arc::clone(&accounts), node.region().get());
    node.serve_home(move |key: String, Add(n): Add| {
        let held = Arc::clone(&held);
        async move {
            // As asking an actor does, it gives way to others first.
            tokio::task::yield_now().await;
            let mut held = held.lock().unwrap();
            let balance = held.entry(key).or_default();
            *balance += n;
            Ok((*balance, region))
        }
    });
    node.serve_home(|_: String, _: Slow| async {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        Ok(0)
    });
    accounts
}

fn go_by(node: &Node, table: &str) {
    node.delineate_by(&table.parse::<RangeTable>().unwrap().into()).unwrap();
}

#[test]
fn a_message_is_handled_at_the_home_of_its_key_whoever_sends_it() {
    run(async {
        let net = MemoryNet::new(930);
        let nodes = star(&net, 3).await;
        let _accounts: Vec<_> = nodes.iter().map(serve).collect();
        // Region 1 knows of 2 only; 2 has handed its second half to 3; 3 knows itself.
        go_by(&nodes[0], "a..m => 1, n..z => 2");
        go_by(&nodes[1], "a..m => 1, n..s => 2, t..z => 3");
        go_by(&nodes[2], "a..z => 3");
        for (key, home) in [("apple", 1), ("nut", 2), ("zoo", 3)] {
            assert_eq!(nodes[0].ask_home(key, Add(5)).await, Ok((5, home)));
            assert_eq!(nodes[1].ask_home(key, Add(2)).await, Ok((7, home)));
        }
        assert_eq!(nodes[1].delineation().forwarded, 1, "zoo went over region 2");
        assert_eq!(nodes[2].ask_home("apple", Add(1)).await, Ok((1, 3)), "its own table says so");
        stop(&nodes).await;
    });
}

#[test]
fn what_goes_wrong_on_the_way_is_named() {
    run(async {
        let net = MemoryNet::new(931);
        let nodes = star(&net, 3).await;
        let _accounts: Vec<_> = nodes.iter().map(serve).collect();
        go_by(&nodes[0], "a..f => 2, g..m => 2, n..z => 1");
        go_by(&nodes[1], "a..f => 3");
        go_by(&nodes[2], "a..f => 1");
        let circle = nodes[0].ask_home("apple", Add(1)).await.unwrap_err();
        assert_eq!(circle, HomeAskError::Loop { path: vec![id(1), id(2), id(3), id(1)] });
        assert!(circle.to_string().contains("1 → 2 → 3 → 1"), "{circle}");
        let nowhere = nodes[0].ask_home("hut", Add(1)).await.unwrap_err();
        let text = nowhere.to_string();
        assert!(
            text.contains("could not find entry for \"hut\" in table [a..f => 3]")
                && text.contains("region 2"),
            "{text}"
        );
        let unserved = nodes[0].ask_home("nut", Unserved).await.unwrap_err();
        assert!(matches!(&unserved, HomeAskError::NotServed { .. }), "{unserved}");
        assert!(unserved.to_string().contains("keys.unserved"), "{unserved}");
        let wrong = nodes[0].ask_home(&UserId(1), Add(1)).await;
        assert!(
            matches!(
                wrong,
                Err(HomeAskError::NoHome { error: HomeError::NoHome(NoHome::NoEntry { .. }), .. })
            ),
            "{wrong:?}"
        );
        nodes[0].delineate_by(&Rule::Fixed { region: id(1) }).unwrap();
        let wrong = nodes[0].ask_home(&UserId(1), Add(1)).await;
        assert!(
            matches!(&wrong, Err(HomeAskError::Ask { error: AskError::Undecodable { .. }, .. })),
            "the handler takes texts: {wrong:?}"
        );
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_is_down_or_slow_is_an_error_within_the_deadline_and_others_answer() {
    run(async {
        let net = MemoryNet::new(932);
        let nodes = star(&net, 3).await;
        let _accounts: Vec<_> = nodes.iter().map(serve).collect();
        for node in &nodes {
            go_by(node, "a..m => 1, n..s => 2, t..z => 3");
        }
        let second = Duration::from_secs(1);
        let slow = nodes[0].ask_home("zoo", Slow).deadline(second).await;
        assert!(
            matches!(&slow, Err(HomeAskError::Ask { region, error: AskError::Timeout(after) })
                if *region == id(3) && *after < second),
            "whoever is slow says so itself: {slow:?}"
        );
        net.isolate(id(3));
        let down = nodes[0].ask_home("zoo", Add(1)).deadline(second).await;
        assert!(
            matches!(down, Err(HomeAskError::Ask { region, .. }) if region == id(3)),
            "{down:?}"
        );
        assert_eq!(nodes[0].ask_home("nut", Add(1)).await, Ok((1, 2)));
        net.rejoin(id(3));
        stop(&nodes).await;
    });
}

/// A key moves from home to home and back while others add to it without pause: nothing is lost, nothing counted twice.
#[test]
fn a_key_moves_while_messages_are_on_their_way() {
    run(async {
        let net = MemoryNet::new(933);
        net.default_latency(Duration::from_millis(1));
        let nodes = star(&net, 3).await;
        let accounts: Vec<_> = nodes.iter().map(serve).collect();
        for node in &nodes {
            go_by(node, "a..z => 2");
        }
        let writers: Vec<_> = [0, 1, 2, 0, 2]
            .into_iter()
            .map(|at| {
                let node = nodes[at].clone();
                tokio::spawn(async move {
                    for _ in 0..200 {
                        node.ask_home("user", Add(1))
                            .deadline(Duration::from_secs(60))
                            .await
                            .unwrap();
                    }
                })
            })
            .collect();
        let mut at = 1;
        for turn in 0..6 {
            let to = if at == 1 { 2 } else { 1 };
            let hold = nodes[at].hold_home("user").await.unwrap();
            let balance = accounts[at].lock().unwrap().remove("user").unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(
                !accounts[at].lock().unwrap().contains_key("user"),
                "turn {turn}: a held key is left alone"
            );
            accounts[to].lock().unwrap().insert("user".into(), balance);
            // Not at the same moment everywhere: those who still go by the old table are passed on.
            for node in [to, at, 0] {
                go_by(&nodes[node], &format!("a..z => {}", to + 1));
            }
            drop(hold);
            at = to;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let balances: Vec<u64> = accounts
            .iter()
            .map(|it| it.lock().unwrap().get("user").copied().unwrap_or(0))
            .collect();
        assert_eq!(balances.iter().sum::<u64>(), 1_000, "{balances:?}");
        assert_eq!(balances[at], 1_000);
        stop(&nodes).await;
    });
}

/// A region is split: ids keep their old home's number and are served by the new one; keys follow the rule.
#[test]
fn after_a_split_ids_keep_their_number_and_have_their_new_home() {
    run(async {
        let net = MemoryNet::new(934);
        let nodes = star(&net, 3).await;
        let addr = nodes[1].spawn(Here).unwrap();
        let pid = nodes[1].export(&addr).handles::<WhereAreYou>().publish().unwrap();
        assert_eq!(nodes[0].home_of(&pid).await, Ok(id(2)));
        let local = pid.local();
        nodes[1].split(id(2), local..=local, id(3)).await.unwrap();
        eventually("everybody knows of the split", || async {
            nodes.iter().all(|node| node.view().registry.serving(pid) == id(3))
        })
        .await;
        for node in &nodes {
            assert_eq!(node.home_of(&pid).await, Ok(id(3)), "what was remembered is forgotten");
        }
        let moved = nodes[2].adopt(pid, Here).unwrap();
        nodes[2].export(&moved).handles::<WhereAreYou>().publish().unwrap();
        let answer = fedist_actors::PidSend::send(&pid, &nodes[0], WhereAreYou).await;
        assert_eq!((pid.region(), answer), (id(2), Ok(3)));
        stop(&nodes).await;
    });
}
