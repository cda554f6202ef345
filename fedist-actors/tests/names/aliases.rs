//! One holder in the whole federation, through cuts and restarts of the root.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, Handler};
use fedist_actors::{
    Alias, AliasError, AliasLost, AliasLostReason, Context, LookupError, Node, ViaAskError,
};
use fedist_registry::{LocalId, RegionPid};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn candidate(node: &Node) -> RegionPid {
    let addr = node.spawn(Notebook::default()).unwrap();
    node.export(&addr).handles::<Note>().handles::<Notes>().publish().unwrap()
}

#[test]
fn an_alias_has_one_holder_found_from_everywhere() {
    run(async {
        let net = MemoryNet::new(141);
        let nodes = chain(&net, 4).await;
        let mut last_token = None;
        for holder in [0, 1, 3] {
            let pid = candidate(&nodes[holder]);
            let alias = nodes[holder].claim_alias("leader", pid).await.unwrap();
            assert!(alias.is_held());
            assert!(last_token < Some(alias.token()), "tokens grow");
            last_token = Some(alias.token());
            for node in &nodes {
                assert_eq!(node.whereis("@leader").await, Ok(pid));
                let held = node.alias_holder("leader").await.unwrap().unwrap();
                assert_eq!((held.pid, held.token), (pid, alias.token()));
                let via = node.via("@leader").unwrap();
                assert_eq!(via.send(Notes).await, Ok(vec![]));
                let refused = node.claim_alias("leader", candidate(node)).await;
                if node.region() == pid.region() {
                    assert!(matches!(refused, Err(AliasError::HeldHere(_))), "{refused:?}");
                } else {
                    let taken = AliasError::Taken { alias: "leader".into(), holder: pid };
                    assert_eq!(refused.unwrap_err(), taken);
                }
            }
            drop(alias);
            eventually("it is free", || async {
                nodes[0].alias_holder("leader").await.unwrap().is_none()
            })
            .await;
            // The caches may still know the actor, which lives on; once it ends they do not.
            nodes[holder].kill(pid);
            for node in &nodes {
                eventually("nobody is found", || async {
                    matches!(node.whereis("@leader").await, Err(LookupError::NoHolder { .. }))
                })
                .await;
            }
            let nobody = nodes[3].via("@leader").unwrap().send(Notes).await;
            assert!(matches!(nobody, Err(ViaAskError::Lookup(LookupError::NoHolder { .. }))));
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_alias_ends_with_its_actor_whether_its_handle_lives_or_not() {
    run(async {
        let net = MemoryNet::new(142);
        let nodes = chain(&net, 2).await;
        for kept in [false, true] {
            let pid = candidate(&nodes[1]);
            let alias = nodes[1].claim_alias("leader", pid).await.unwrap();
            let handle = if kept {
                alias.keep();
                None
            } else {
                Some(alias)
            };
            assert_eq!(nodes[0].alias_holder("leader").await.unwrap().unwrap().pid, pid);
            nodes[1].kill(pid);
            eventually("it is free", || async {
                nodes[0].alias_holder("leader").await.unwrap().is_none()
            })
            .await;
            if let Some(handle) = &handle {
                assert_eq!(handle.lost().await, AliasLostReason::Released);
                assert!(!handle.is_held());
            }
            let next = nodes[1].claim_alias("leader", candidate(&nodes[1])).await;
            assert!(next.is_ok(), "an old handle is in nobody's way: {next:?}");
            drop(next);
            eventually("it is free", || async {
                nodes[0].alias_holder("leader").await.unwrap().is_none()
            })
            .await;
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_claim_for_nobody_or_with_a_bad_name_is_refused_by_name() {
    run(async {
        let net = MemoryNet::new(143);
        let nodes = chain(&net, 2).await;
        let pid = candidate(&nodes[1]);
        let refused = nodes[0].claim_alias("leader", pid).await;
        assert_eq!(refused.unwrap_err(), AliasError::NotHere(pid), "claimed where it lives");
        let nobody = RegionPid::new(id(2), LocalId::new(99_999_999).unwrap());
        let refused = nodes[1].claim_alias("leader", nobody).await;
        assert_eq!(refused.unwrap_err(), AliasError::NotHere(nobody));
        let refused = nodes[1].claim_alias("", pid).await;
        assert_eq!(refused.unwrap_err(), AliasError::Malformed { alias: String::new() });
        assert_eq!(nodes[1].alias_holder("leader").await, Ok(None));
        stop(&nodes).await;
    });
}

#[test]
fn a_claim_whose_caller_has_gone_is_given_back() {
    run(async {
        let net = MemoryNet::new(144);
        net.default_latency(ms(30));
        let nodes = chain(&net, 2).await;
        let pid = candidate(&nodes[1]);
        let claim = nodes[1].claim_alias("leader", pid).into_future();
        assert!(tokio::time::timeout(ms(5), claim).await.is_err(), "dropped on its way");
        eventually("it is free", || async {
            nodes[0].alias_holder("leader").await == Ok(None)
                && nodes[1].claim_alias("leader", pid).await.is_ok()
        })
        .await;
        stop(&nodes).await;
    });
}

/// Holds an alias and is told of its loss.
struct Holder(Arc<Mutex<Vec<AliasLost>>>);

impl Actor for Holder {
    type Context = Context<Self>;
}

impl Handler<AliasLost> for Holder {
    type Result = ();

    fn handle(&mut self, lost: AliasLost, _: &mut Context<Self>) {
        self.0.lock().unwrap().push(lost);
    }
}

#[test]
fn a_holder_that_is_cut_off_gives_up_before_another_gets_the_alias() {
    run(async {
        let net = MemoryNet::new(145);
        let ttl = ms(900);
        let root = root(&net).alias_ttl(ttl).start().await.unwrap();
        let nodes = [root, below(&net, 1, 2).start().await.unwrap()];
        routed(&nodes).await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let addr = nodes[1].spawn(Holder(Arc::clone(&told))).unwrap();
        let recipient = (*addr).clone().recipient();
        let alias = nodes[1].claim_alias("leader", &addr).notify(recipient).await.unwrap();
        tokio::time::sleep(ttl * 2).await;
        assert!(alias.is_held(), "renewed all the time");
        net.cut(id(1), id(2));
        let cut = Instant::now();
        let next = candidate(&nodes[0]);
        let successor = loop {
            match nodes[0].claim_alias("leader", next).await {
                Ok(successor) => break successor,
                Err(AliasError::Taken { .. }) => tokio::time::sleep(ms(2)).await,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(!alias.is_held(), "given up by itself before it was granted again");
        assert!(cut.elapsed() >= ttl / 2, "not before the lease was over");
        assert!(successor.is_held() && successor.token() > alias.token());
        assert_eq!(alias.lost().await, AliasLostReason::Expired);
        eventually("the actor is told", || async { told.lock().unwrap().len() == 1 }).await;
        assert_eq!(told.lock().unwrap()[0].token, alias.token());
        net.heal(id(1), id(2));
        tokio::time::sleep(ttl / 2).await;
        assert!(successor.is_held() && !alias.is_held());
        assert_eq!(told.lock().unwrap().len(), 1);
        stop(&nodes).await;
    });
}

#[test]
fn a_restarted_root_lets_the_holder_go_on_and_grants_nothing_before_it_could_know() {
    run(async {
        let net = MemoryNet::new(146);
        let ttl = ms(3_000);
        let dir = tempfile::tempdir().unwrap();
        let start = || root(&net).data_dir(dir.path().join("root")).alias_ttl(ttl).start();
        let first = start().await.unwrap();
        let holder = below(&net, 1, 2).start().await.unwrap();
        let other = below(&net, 1, 3).start().await.unwrap();
        routed(&[first.clone(), holder.clone(), other.clone()]).await;
        let alias = holder.claim_alias("leader", candidate(&holder)).await.unwrap();
        let token = alias.token();
        first.stop().await;
        let second = start().await.unwrap();
        let restarted = Instant::now();
        assert_eq!(second.boot(), 2);
        // Until its holder is known again nobody else may have it, nor anything else.
        let rival = candidate(&other);
        eventually("the root knows its holder again", || async {
            match other.claim_alias("leader", rival).await {
                Err(AliasError::Taken { holder, .. }) => holder == alias.pid(),
                Err(AliasError::Settling { .. } | AliasError::Ask { .. }) => false,
                outcome => panic!("{outcome:?}"),
            }
        })
        .await;
        let early = other.claim_alias("another", rival).await;
        if restarted.elapsed() < ttl {
            assert!(matches!(early, Err(AliasError::Settling { .. })), "{early:?}");
        }
        assert!(alias.is_held());
        assert_eq!(alias.token(), token, "the same grant goes on");
        eventually("other aliases are granted after one lease", || async {
            match other.claim_alias("another", rival).await {
                Ok(granted) => {
                    assert!(granted.token() > token);
                    true
                }
                Err(_) => false,
            }
        })
        .await;
        assert!(alias.is_held());
        stop(&[second, holder, other]).await;
    });
}

#[test]
fn a_node_that_stops_gives_its_aliases_back() {
    run(async {
        let net = MemoryNet::new(147);
        let nodes = chain(&net, 3).await;
        nodes[2].claim_alias("leader", candidate(&nodes[2])).await.unwrap().keep();
        let begun = Instant::now();
        nodes[2].stop().await;
        eventually("it is free", || async {
            nodes[0].alias_holder("leader").await.unwrap().is_none()
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(10), "not because the lease of 15 s is over");
        stop(&nodes[..2]).await;
    });
}

/// Candidates that claim again and again while links are cut and healed, lose frames, and the root
/// is restarted once: at no moment two of them hold the alias, and every grant has a higher token.
#[test]
fn under_cuts_and_loss_never_two_hold_the_alias_at_a_time() {
    run(async {
        let net = MemoryNet::new(148);
        net.default_latency(ms(5));
        let ttl = ms(500);
        let dir = tempfile::tempdir().unwrap();
        let start = root(&net).data_dir(dir.path().join("root")).alias_ttl(ttl).start();
        let top = start.await.unwrap();
        let regions = [2, 3, 4];
        let mut below_root = Vec::new();
        for number in regions {
            below_root.push(below(&net, 1, number).start().await.unwrap());
            net.set_loss(id(1), id(number), 0.05);
        }
        let held: Arc<Mutex<Vec<Option<Alias>>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let highest = Arc::new(Mutex::new(None));
        let mut candidates = Vec::new();
        for node in below_root.clone() {
            let (held, over) = (Arc::clone(&held), Arc::clone(&over));
            let highest = Arc::clone(&highest);
            let slot = {
                let mut held = held.lock().unwrap();
                held.push(None);
                held.len() - 1
            };
            candidates.push(tokio::spawn(async move {
                let pid = candidate(&node);
                let mut random = fastrand::Rng::with_seed(slot as u64);
                let mut grants = 0;
                while !over.load(Ordering::Relaxed) {
                    let claim = node.claim_alias("leader", pid).into_future();
                    if let Ok(Ok(alias)) = tokio::time::timeout(ms(1_000), claim).await {
                        grants += 1;
                        let token = Some(alias.token());
                        let before = std::mem::replace(&mut *highest.lock().unwrap(), token);
                        assert!(before < token, "{before:?}, then {token:?}");
                        held.lock().unwrap()[slot] = Some(alias);
                        // Given back after a while, unless it is lost before.
                        let most = if random.bool() { 400 } else { 4_000 };
                        let until = Instant::now() + ms(random.u64(50..most));
                        while Instant::now() < until
                            && held.lock().unwrap()[slot].as_ref().is_some_and(Alias::is_held)
                        {
                            tokio::time::sleep(ms(3)).await;
                        }
                        held.lock().unwrap()[slot] = None;
                    }
                    tokio::time::sleep(ms(10)).await;
                }
                grants
            }));
        }
        let mut random = fastrand::Rng::with_seed(148);
        let begun = Instant::now();
        let mut next_fault = begun;
        let (mut cut, mut restart) = (None, None);
        while begun.elapsed() < ms(6_000) {
            let believers: Vec<String> = held
                .lock()
                .unwrap()
                .iter()
                .flatten()
                .filter(|alias| alias.is_held())
                .map(|alias| format!("{alias:?}"))
                .collect();
            assert!(believers.len() <= 1, "{believers:?}");
            if Instant::now() >= next_fault {
                next_fault += ms(random.u64(200..1_200));
                if let Some(number) = cut.take() {
                    net.heal(id(1), id(number));
                } else {
                    // The holder, if there is one now.
                    let holder = held.lock().unwrap().iter().position(Option::is_some);
                    let number = regions[holder.unwrap_or(random.usize(0..3))];
                    net.cut(id(1), id(number));
                    cut = Some(number);
                }
            }
            if begun.elapsed() > ms(3_000) && restart.is_none() {
                let top = top.clone();
                let again = root(&net).data_dir(dir.path().join("root")).alias_ttl(ttl);
                restart = Some(tokio::spawn(async move {
                    top.stop().await;
                    again.start().await.unwrap()
                }));
            }
            tokio::time::sleep(ms(1)).await;
        }
        over.store(true, Ordering::Relaxed);
        let mut grants = 0;
        for candidate in candidates {
            grants += candidate.await.unwrap();
        }
        assert!(grants >= 5, "{grants} grants");
        for number in regions {
            net.heal(id(1), id(number));
        }
        held.lock().unwrap().clear();
        stop(&below_root).await;
        if let Some(again) = restart {
            again.await.unwrap().stop().await;
        }
        top.stop().await;
    });
}
