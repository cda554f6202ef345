//! What a task prints reaches the side that started it, before its result.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fedist_actors::TaskError;
use fedist_transport::memory::MemoryNet;

use crate::{
    spawn::{at_hops, chain_with},
    support::*,
    work,
};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn all_lines_come_in_order_and_before_the_result() {
    run(async {
        let net = MemoryNet::new(460);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let lines = Arc::new(Mutex::new(Vec::new()));
            let sink = Arc::clone(&lines);
            let tasks = nodes[0].tasks().at(region).on_print(move |line| {
                sink.lock().unwrap().push(line.to_owned());
            });
            let task = tasks.start(work::print, (100, 1)).await.unwrap();
            assert_eq!(task.await_for(PATIENCE).await, Ok(100));
            let expected: Vec<String> = (0..100).map(|line| format!("{line} x")).collect();
            assert_eq!(*lines.lock().unwrap(), expected);
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_flood_of_output_is_cut_off_and_the_last_line_says_so() {
    run(async {
        let net = MemoryNet::new(461);
        let nodes = chain_with(&net, 2).await;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let tasks = nodes[0].tasks().at(id(2)).on_print(move |line| {
            sink.lock().unwrap().push(line.to_owned());
        });
        let task = tasks.start(work::print, (5_000, 100)).await.unwrap();
        assert_eq!(task.await_for(PATIENCE).await, Ok(5_000));
        let lines = lines.lock().unwrap().clone();
        let (last, kept) = lines.split_last().unwrap();
        assert!(kept.len() > 100 && kept.len() < 5_000, "{}", kept.len());
        let lost = 5_000 - kept.len();
        assert!(last.starts_with(&format!("({lost} lines of output were dropped")), "{last}");
        stop(&nodes).await;
    });
}

#[test]
fn output_of_a_child_without_a_handle_arrives_too() {
    run(async {
        let net = MemoryNet::new(462);
        let nodes = chain_with(&net, 2).await;
        let lines = Arc::new(Mutex::new(0));
        let sink = Arc::clone(&lines);
        let tasks = nodes[0].tasks().at(id(2)).on_print(move |_| *sink.lock().unwrap() += 1);
        tasks.start_child(work::print, (10, 1)).await.unwrap();
        eventually("ten lines", || async { *lines.lock().unwrap() == 10 }).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_printer_that_panics_costs_its_lines_and_nothing_else() {
    run(async {
        let net = MemoryNet::new(463);
        let nodes = chain_with(&net, 2).await;
        let tasks = nodes[0].tasks().at(id(2)).on_print(|line| panic!("cannot print {line}"));
        let task = tasks.start(work::print, (3, 1)).await.unwrap();
        assert_eq!(task.await_for(PATIENCE).await, Ok(3));
        let crash = nodes[0].call(id(2), work::crash, "still there".to_owned()).await;
        assert_eq!(crash, Err(TaskError::Panicked("still there".into())));
        stop(&nodes).await;
    });
}
