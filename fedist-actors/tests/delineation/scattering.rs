//! Pieces spread over regions and gathered again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fedist_actors::TaskError;
use fedist_registry::{PlaceKey, RegionFacts, RegionPid, Rule, service};
use fedist_transport::memory::MemoryNet;
use futures_util::StreamExt;

use crate::{rules::*, support::*};

#[test]
fn every_piece_is_done_once_by_whatever_rule() {
    run(async {
        let net = MemoryNet::new(940);
        let nodes = star(&net, 4).await;
        let node = &nodes[0];
        for rule in [
            Rule::RoundRobin,
            Rule::Random { seed: Some(1) },
            Rule::ConsistentHash { weights: Vec::new(), by_capacity: false },
            Rule::ByCapacity,
            Rule::Fixed { region: id(4) },
            Rule::first_of([Rule::ByPrivilege, Rule::RoundRobin]),
        ] {
            let test = rule.to_string();
            let done = node
                .scatter(pieces(&test, 200, 0))
                .keyed(|piece| PlaceKey::named(piece.number.to_be_bytes()).work(1 + piece.number))
                .by(rule)
                .task(work)
                .gather(|sum: &mut u64, (number, _)| *sum += number)
                .await
                .unwrap();
            assert_eq!((done.value, done.pieces, done.retried), (199 * 200 / 2, 200, 0));
            assert_eq!(times_done(&test), vec![1; 200], "{test}");
            assert_eq!(done.regions.values().map(|share| share.pieces).sum::<u64>(), 200);
            let units: u64 = done.regions.values().map(|share| share.work).sum();
            assert_eq!(units, 200 + 199 * 200 / 2);
        }
        assert!(node.region_reports().iter().all(|report| report.queued == 0));
        assert_eq!(
            node.region_reports().iter().map(|report| report.done_pieces).sum::<u64>(),
            1_200
        );
        stop(&nodes).await;
    });
}

#[test]
fn the_rule_of_the_node_counts_and_may_be_replaced_and_its_delineator_killed_meanwhile() {
    run(async {
        let net = MemoryNet::new(941);
        let nodes = star(&net, 4).await;
        let node = nodes[0].clone();
        node.delineate_by(&Rule::Fixed { region: id(2) }).unwrap();
        let steward = node.clone();
        let seen = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&seen);
        let gathering = node
            .scatter(pieces("replaced", 400, 1))
            .task(work)
            .on_progress(move |now| progress.store(now.done, Ordering::Relaxed))
            .gather(|places: &mut Vec<(u64, u16)>, place| places.push(place));
        let meddling = async {
            let mut rules = [
                Rule::Fixed { region: id(3) },
                Rule::RoundRobin,
                Rule::ByCapacity,
                Rule::Fixed { region: id(4) },
            ]
            .into_iter();
            for step in 1..=40 {
                eventually("it goes on", || async { seen.load(Ordering::Relaxed) >= step * 9 })
                    .await;
                steward.kill(RegionPid::new(id(1), service::DELINEATOR));
                if step % 10 == 0 {
                    let rule = rules.next().unwrap();
                    steward.delineator(id(1)).replace(rule).await.unwrap().unwrap();
                }
            }
        };
        let (gathered, ()) = futures_util::future::join(gathering, meddling).await;
        let gathered = gathered.unwrap();
        assert_eq!(gathered.pieces, 400);
        assert_eq!(times_done("replaced"), vec![1; 400], "none lost, none done twice");
        let first = gathered.value.iter().filter(|(number, _)| *number < 20);
        assert!(first.clone().all(|(_, place)| *place == 2), "{:?}", first.collect::<Vec<_>>());
        assert!(gathered.regions.len() > 1, "later rules placed elsewhere: {:?}", gathered.regions);
        stop(&nodes).await;
    });
}

#[test]
fn a_piece_that_fails_is_tried_elsewhere_and_one_that_fails_everywhere_is_told() {
    run(async {
        let net = MemoryNet::new(942);
        let nodes = star(&net, 3).await;
        let scatter = |numbers: std::ops::Range<u64>| {
            nodes[0].scatter(numbers).by(Rule::Fixed { region: id(2) }).task(picky)
        };
        let done = scatter(0..12).gather(|sum: &mut u64, (n, _)| *sum += n).await.unwrap();
        assert_eq!((done.value, done.retried), (66, 4));
        assert_eq!(done.regions[&id(2)].pieces, 8);
        let error = scatter(10..16).gather(|sum: &mut u64, (n, _)| *sum += n).await.unwrap_err();
        assert_eq!((error.gathered.value, error.gathered.pieces), (10 + 11 + 12 + 14 + 15, 5));
        let failed = &error.failed[0];
        assert_eq!((error.failed.len(), failed.index, failed.attempts), (1, 3, 3));
        assert!(matches!(&failed.error, TaskError::Panicked(text) if text == "nowhere"));
        let text = error.to_string();
        assert!(
            text.contains("1 of 6 scattered pieces failed") && text.contains("nowhere"),
            "{text}"
        );
        let once = scatter(0..12).at_most_once().gather(|sum: &mut u64, (n, _)| *sum += n).await;
        assert_eq!(once.unwrap_err().failed.len(), 4, "what has run is not tried again");
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_does_not_list_the_task_is_passed_by() {
    run(async {
        let net = MemoryNet::new(943);
        let nodes = star(&net, 3).await;
        let done = nodes[0]
            .scatter(0..30_u64)
            .by(Rule::RoundRobin)
            .task(only_in_3)
            .at_most_once()
            .gather(|places: &mut Vec<u16>, (_, place)| places.push(place))
            .await
            .unwrap();
        assert_eq!(done.value, [3; 30]);
        stop(&nodes).await;
    });
}

#[test]
fn pieces_of_a_region_that_is_lost_are_done_elsewhere() {
    run(async {
        let net = MemoryNet::new(944);
        let mut nodes =
            vec![ready(root(&net)).session_timeout(Duration::from_secs(1)).start().await.unwrap()];
        for number in 2..=3 {
            let builder = ready(below(&net, 1, number)).session_timeout(Duration::from_secs(1));
            nodes.push(builder.start().await.unwrap());
        }
        routed(&nodes).await;
        let lost = net.clone();
        let gathered = nodes[0]
            .scatter(pieces("lost", 60, 20))
            .by(Rule::RoundRobin)
            .task(work)
            .max_in_flight(2)
            .on_progress(move |now| {
                if now.done == 10 {
                    lost.isolate(id(3));
                }
            })
            .gather(|sum: &mut u64, (number, _)| *sum += number)
            .await
            .unwrap();
        assert_eq!((gathered.value, gathered.pieces), (59 * 60 / 2, 60));
        assert!(gathered.retried > 0, "{gathered:?}");
        assert_eq!(times_done("lost").len(), 60);
        net.rejoin(id(3));
        stop(&nodes).await;
    });
}

#[test]
fn results_come_as_they_are_ready_and_dropping_the_stream_cancels_the_rest() {
    run(async {
        let net = MemoryNet::new(945);
        let nodes = star(&net, 2).await;
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let endless = (0..).map(move |number| {
            count.fetch_add(1, Ordering::Relaxed);
            Piece { test: "stream".into(), number, millis: if number == 0 { 500 } else { 1 } }
        });
        let mut stream =
            nodes[0].scatter(endless).by(Rule::RoundRobin).task(work).max_in_flight(2).stream();
        let mut came = Vec::new();
        while came.len() < 20 {
            came.push(stream.next().await.unwrap().index);
        }
        assert_ne!(came[0], 0, "the slow piece is not waited for: {came:?}");
        let ahead = taken.load(Ordering::Relaxed);
        assert!(ahead <= 20 + 2 * 2 * 2 + 1, "{ahead} were taken");
        assert!(nodes[0].region_reports().iter().any(|report| report.queued > 0));
        drop(stream);
        assert!(nodes[0].region_reports().iter().all(|report| report.queued == 0));
        stop(&nodes).await;
    });
}

#[test]
fn faster_regions_get_more_work_by_capacity_as_it_is_told_and_as_it_is_measured() {
    run(async {
        let net = MemoryNet::new(946);
        let nodes = star(&net, 3).await;
        nodes[0]
            .tell_regions([
                RegionFacts::new(id(1)).capacity(0.0),
                RegionFacts::new(id(2)).capacity(1.0),
                RegionFacts::new(id(3)).capacity(3.0),
            ])
            .unwrap();
        let done = nodes[0]
            .scatter(pieces("capacity", 200, 0))
            .keyed(|piece| PlaceKey::numbered(piece.number).work(10))
            .by(Rule::ByCapacity)
            .task(work)
            .max_in_flight(1)
            .gather(|sum: &mut u64, (number, _)| *sum += number)
            .await
            .unwrap();
        assert!(!done.regions.contains_key(&id(1)), "{:?}", done.regions);
        assert!(done.regions.len() == 2, "{:?}", done.regions);
        let reports = nodes[0].region_reports();
        assert!(reports[1..].iter().all(|report| report.speed.is_some()), "{reports:?}");
        stop(&nodes).await;
    });
}
