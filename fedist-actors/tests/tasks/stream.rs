//! `Task.Supervisor.async_stream_nolink`: order, concurrency, time-outs, laziness.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fedist_actors::{OnTimeout, TaskError};
use fedist_transport::memory::MemoryNet;
use futures_util::StreamExt;

use crate::{
    spawn::{at_hops, chain_with},
    support::*,
    work::{self, seen},
};

fn sleeps(key: &str, millis: &[u64]) -> Vec<(String, u64)> {
    millis.iter().map(|millis| (key.to_owned(), *millis)).collect()
}

/// `:ordered` (the default): results come in the order of the inputs.
#[test]
fn an_ordered_stream_gives_results_in_the_order_of_the_inputs() {
    run(async {
        let net = MemoryNet::new(450);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let inputs = sleeps("ordered", &[120, 1, 60, 2]);
            let stream = nodes[0].tasks().stream(inputs, work::sleep).regions([region]);
            let results: Vec<_> = stream.start().collect().await;
            assert_eq!(results, [Ok(120), Ok(1), Ok(60), Ok(2)]);
        }
        stop(&nodes).await;
    });
}

/// `ordered: false`: results come as they are ready.
#[test]
fn an_unordered_stream_gives_results_as_they_come() {
    run(async {
        let net = MemoryNet::new(451);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let inputs = sleeps("unordered", &[700, 1, 350]);
            let stream = nodes[0].tasks().stream(inputs, work::sleep).regions([region]);
            let results: Vec<_> = stream.ordered(false).start().collect().await;
            assert_eq!(results, [Ok(1), Ok(350), Ok(700)]);
        }
        stop(&nodes).await;
    });
}

/// `:max_concurrency`: so many tasks run at a time and no more.
#[test]
fn no_more_tasks_run_at_a_time_than_allowed_and_all_regions_get_some() {
    run(async {
        let net = MemoryNet::new(452);
        let nodes = chain_with(&net, 2).await;
        let inputs = sleeps("concurrency", &[20; 12]);
        let stream = nodes[0].tasks().stream(inputs, work::sleep).regions([id(1), id(2)]);
        let results: Vec<_> = stream.max_in_flight(3).start().collect().await;
        assert_eq!(results.len(), 12);
        assert_eq!(seen("concurrency").started, 12);
        // The last one's end may be seen here only after its result was.
        assert!(seen("concurrency").most <= 4, "{:?}", seen("concurrency"));
        let places = nodes[0].tasks().stream([(); 4], work::where_am_i).regions([id(1), id(2)]);
        let places: Vec<_> = places.start().collect().await;
        assert_eq!(places, [Ok(1), Ok(2), Ok(1), Ok(2)]);
        stop(&nodes).await;
    });
}

/// `:on_timeout`, `:exit` (the default): the one who spawned the tasks exits, and all of them with it.
#[test]
fn by_default_a_timeout_ends_the_stream_and_all_that_runs() {
    run(async {
        let net = MemoryNet::new(453);
        let nodes = chain_with(&net, 2).await;
        let timeout = Duration::from_millis(1_000);
        let inputs = sleeps("exit", &[1, 600_000, 600_000, 2]);
        let stream = nodes[0].tasks().stream(inputs, work::sleep).regions([id(2)]);
        let mut stream = stream.max_in_flight(2).timeout(timeout).start();
        assert_eq!(stream.next().await, Some(Ok(1)));
        assert_eq!(stream.next().await, Some(Err(TaskError::Timeout(timeout))));
        assert_eq!(stream.next().await, None);
        eventually("all have ended", || async { seen("exit").started == seen("exit").ended }).await;
        stop(&nodes).await;
    });
}

/// `:on_timeout`, `:kill_task`: the late task is killed, its element is `{:exit, :timeout}`.
#[test]
fn with_kill_task_a_timeout_costs_that_one_task_and_the_stream_goes_on() {
    run(async {
        let net = MemoryNet::new(454);
        let nodes = chain_with(&net, 2).await;
        let timeout = Duration::from_millis(1_000);
        let inputs = sleeps("kill", &[1, 600_000, 2]);
        let stream = nodes[0].tasks().stream(inputs, work::sleep).regions([id(2)]);
        let stream = stream.timeout(timeout).on_timeout(OnTimeout::KillTask).start();
        let results: Vec<_> = stream.collect().await;
        assert_eq!(results, [Ok(1), Err(TaskError::Timeout(timeout)), Ok(2)]);
        eventually("it was killed", || async { seen("kill").started == seen("kill").ended }).await;
        stop(&nodes).await;
    });
}

/// async_stream_nolink: a crash is an element `{:exit, reason}` of the stream, which goes on.
#[test]
fn a_crash_is_an_element_of_the_stream() {
    run(async {
        let net = MemoryNet::new(455);
        let nodes = chain_with(&net, 2).await;
        let inputs = ["one".to_owned(), "two".to_owned()];
        let stream = nodes[0].tasks().stream(inputs, work::crash).regions([id(2), id(9)]);
        let results: Vec<_> = stream.start().collect().await;
        assert_eq!(results[0], Err(TaskError::Panicked("one".into())));
        assert!(matches!(results[1], Err(TaskError::Ask(_))), "{results:?}");
        stop(&nodes).await;
    });
}

/// Streams are lazy, and no task is left running behind a stream that is given up.
#[test]
fn inputs_are_taken_as_results_are_and_the_rest_is_cancelled_with_the_stream() {
    run(async {
        let net = MemoryNet::new(456);
        let nodes = chain_with(&net, 2).await;
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let inputs = (0..).map(move |n| {
            count.fetch_add(1, Ordering::SeqCst);
            ("lazy".to_owned(), if n < 4 { 1 } else { 600_000 })
        });
        let stream = nodes[0].tasks().stream(inputs, work::sleep).regions([id(2)]);
        let mut stream = stream.max_in_flight(2).start();
        assert_eq!(taken.load(Ordering::SeqCst), 0);
        for _ in 0..4 {
            assert_eq!(stream.next().await, Some(Ok(1)));
        }
        assert!(taken.load(Ordering::SeqCst) <= 6, "no more than are in flight");
        let blocked = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
        assert!(blocked.is_err());
        drop(stream);
        eventually("all have ended", || async { seen("lazy").started == seen("lazy").ended }).await;
        stop(&nodes).await;
    });
}
