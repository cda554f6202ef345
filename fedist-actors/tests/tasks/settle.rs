//! Requests without an answer: at most once, and what became of them can be asked (C14).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fedist_actors::{AskError, PidSend, RequestId, SettleError, Settled, SpawnAtError, TaskError};
use fedist_transport::memory::MemoryNet;

use crate::{
    actors::*,
    support::*,
    work::{self, seen},
};

async fn pair(net: &MemoryNet) -> [fedist_actors::Node; 2] {
    let timeout = Duration::from_millis(1_500);
    let ready = |builder: fedist_actors::NodeBuilder| {
        work::with_tasks(with_factories(builder.session_timeout(timeout)))
    };
    let nodes =
        [ready(root(net)).start().await.unwrap(), ready(below(net, 1, 2)).start().await.unwrap()];
    routed(&nodes).await;
    // A session, so that what is sent next is on its way at once.
    nodes[0].catalog(id(2)).await.unwrap();
    nodes
}

/// Asks until the region can be asked again.
async fn settle(node: &fedist_actors::Node, request: RequestId) -> Settled {
    for _ in 0..100 {
        match node.settle(request).await {
            Ok(settled) => return settled,
            Err(SettleError::Ask { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never settled: {request}");
}

#[test]
fn a_request_whose_answer_was_lost_was_carried_out_and_says_so() {
    run(async {
        let net = MemoryNet::new(480);
        let nodes = pair(&net).await;
        // The request gets there, its answer does not get back in time.
        net.cut_one_way(id(2), id(1));
        let sent = nodes[0].spawn_at(id(2), ("counter", 1), &CounterArgs { from: 3 }).await;
        let Err(SpawnAtError::Indeterminate { request, .. }) = sent else { panic!("{sent:?}") };
        assert_eq!((request.source(), request.target(), request.boot()), (id(1), id(2), 1));
        net.heal(id(1), id(2));
        let settled = settle(&nodes[0], request).await;
        let Settled::Started(pid) = settled else { panic!("{settled:?}") };
        assert_eq!(pid.send(&nodes[0], Add(1)).await, Ok(4));
        stop(&nodes).await;
    });
}

#[test]
fn a_request_that_never_arrived_is_called_off_by_the_question() {
    run(async {
        let net = MemoryNet::new(481);
        let nodes = pair(&net).await;
        net.cut(id(1), id(2));
        let before = nodes[1].process_count();
        let sent = nodes[0].spawn_at(id(2), ("counter", 1), &CounterArgs { from: 3 }).await;
        let Err(SpawnAtError::Indeterminate { request, cause }) = sent else { panic!("{sent:?}") };
        assert!(matches!(cause, AskError::Unreachable(_) | AskError::Timeout(_)), "{cause}");
        net.heal(id(1), id(2));
        assert_eq!(settle(&nodes[0], request).await, Settled::NeverRan);
        assert_eq!(nodes[1].process_count(), before);
        stop(&nodes).await;
    });
}

#[test]
fn a_task_that_is_indeterminate_is_cancelled_if_it_runs_and_can_be_asked_about() {
    run(async {
        let net = MemoryNet::new(482);
        let nodes = pair(&net).await;
        net.cut_one_way(id(2), id(1));
        let key = "indeterminate".to_owned();
        let started = nodes[0].tasks().at(id(2)).start(work::endless, key.clone()).await;
        let Err(TaskError::Indeterminate { request, .. }) = started else {
            panic!("started");
        };
        eventually("it ran", || async { seen(&key).started == 1 }).await;
        eventually("it is cancelled", || async { seen(&key).ended == 1 }).await;
        net.heal(id(1), id(2));
        let settled = settle(&nodes[0], request).await;
        assert!(matches!(settled, Settled::Started(_)), "{settled:?}");
        stop(&nodes).await;
    });
}

#[test]
fn after_a_restart_of_the_region_nobody_knows() {
    run(async {
        let net = MemoryNet::new(483);
        let nodes = pair(&net).await;
        net.cut(id(1), id(2));
        let sent = nodes[0].spawn_at(id(2), ("counter", 1), &CounterArgs { from: 3 }).await;
        let Err(SpawnAtError::Indeterminate { request, .. }) = sent else { panic!("{sent:?}") };
        let [near, old] = nodes;
        net.heal(id(1), id(2));
        old.stop().await;
        let new = with_factories(below(&net, 1, 2)).boot(2).start().await.unwrap();
        let nodes = [near, new];
        routed(&nodes).await;
        assert_eq!(settle(&nodes[0], request).await, Settled::Lost);
        let elsewhere = nodes[1].settle(request).await;
        assert_eq!(elsewhere, Err(SettleError::NotOurs(request)));
        stop(&nodes).await;
    });
}

static MADE: AtomicU64 = AtomicU64::new(0);

/// Counts how many were made in all.
struct Counted;

impl actix::Actor for Counted {
    type Context = fedist_actors::Context<Self>;
}

/// Over a link that is lossy and cut in either direction now and then, with time-outs short enough
/// that sessions end: as many actors are made as requests say so, and no more.
#[test]
fn every_request_is_settled_and_runs_at_most_once_whatever_the_link_does() {
    run(async {
        let mut random = fastrand::Rng::with_seed(484);
        let net = MemoryNet::new(484);
        let ready = |builder: fedist_actors::NodeBuilder| {
            let make = |(): ()| {
                MADE.fetch_add(1, Ordering::SeqCst);
                Counted
            };
            let builder = builder.session_timeout(Duration::from_millis(600));
            builder.factory("counted", 1, make, |export| export)
        };
        let nodes = [
            ready(root(&net)).start().await.unwrap(),
            ready(below(&net, 1, 2)).start().await.unwrap(),
        ];
        routed(&nodes).await;
        net.set_loss(id(1), id(2), 0.05);
        let mut requests = Vec::new();
        for _ in 0..8 {
            match random.u8(0..3) {
                0 => net.cut(id(1), id(2)),
                1 => net.cut_one_way(id(1), id(2)),
                _ => net.cut_one_way(id(2), id(1)),
            }
            let node = nodes[0].clone();
            let batch = (0..5).map(move |_| {
                let node = node.clone();
                tokio::spawn(async move { node.spawn_at(id(2), "counted", &()).await })
            });
            requests.extend(batch);
            tokio::time::sleep(Duration::from_millis(random.u64(100..1_200))).await;
            net.heal(id(1), id(2));
            tokio::time::sleep(Duration::from_millis(random.u64(0..300))).await;
        }
        net.set_loss(id(1), id(2), 0.0);
        let (mut made, mut never, mut indeterminate) = (0, 0, 0);
        for request in requests {
            match request.await.unwrap() {
                Ok(_) => made += 1,
                Err(SpawnAtError::Ask(_)) => never += 1,
                Err(SpawnAtError::Indeterminate { request, .. }) => {
                    indeterminate += 1;
                    match settle(&nodes[0], request).await {
                        Settled::Started(_) => made += 1,
                        Settled::NeverRan => never += 1,
                        other => panic!("{request}: {other:?}"),
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(MADE.load(Ordering::SeqCst), made);
        assert_eq!(made + never, 40);
        assert!(indeterminate > 0, "the link did too little: {made} made, {never} not");
        stop(&nodes).await;
    });
}
