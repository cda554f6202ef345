//! Requests that cannot be met: each ends in an error that names the cause.

use std::time::Duration;

use fedist_actors::{AskError, StartRefused, TaskError};
use fedist_transport::memory::MemoryNet;

use crate::{
    spawn::chain_with,
    support::*,
    work::{self, seen},
};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn an_unknown_task_or_version_is_refused_with_what_there_is() {
    run(async {
        let net = MemoryNet::new(470);
        let nodes = chain_with(&net, 2).await;
        for region in [id(1), id(2)] {
            let unknown = nodes[0].call(region, work::unlisted, ()).await;
            let version = nodes[0].call(region, work::double_version_2, 1).await;
            for (refused, asked) in
                [(unknown.map(|()| 0), "work.unlisted"), (version, "work.double")]
            {
                let Err(TaskError::Refused(StartRefused::UnknownTask { name, available, .. })) =
                    refused
                else {
                    panic!("{refused:?}");
                };
                assert_eq!(name, asked);
                assert!(available.contains(&"work.double 1".to_owned()), "{available:?}");
                assert!(available.is_sorted(), "{available:?}");
            }
        }
        stop(&nodes).await;
    });
}

#[test]
fn input_of_another_type_is_an_error_and_the_next_task_runs() {
    run(async {
        let net = MemoryNet::new(471);
        let nodes = chain_with(&net, 2).await;
        for region in [id(1), id(2)] {
            let bad = nodes[0].call(region, work::double_of_text, "seven".to_owned()).await;
            assert!(matches!(bad, Err(TaskError::Codec(_))), "{bad:?}");
            assert_eq!(nodes[0].call(region, work::double, 7).await, Ok(14));
        }
        stop(&nodes).await;
    });
}

#[test]
fn output_or_input_above_the_limit_is_refused_by_name() {
    run(async {
        let net = MemoryNet::new(472);
        let max = 64 * 1024;
        let nodes = [
            root(&net).max_message(max).start().await.unwrap(),
            work::with_tasks(below(&net, 1, 2)).max_message(max).start().await.unwrap(),
        ];
        routed(&nodes).await;
        let large = nodes[0].call(id(2), work::large, 100_000).await;
        let Err(TaskError::OutputTooLarge { len, max: limit }) = large else { panic!("{large:?}") };
        assert!(len > 100_000 && limit == max as u64, "{len} {limit}");
        let input = nodes[0].call(id(2), work::double_of_text, "x".repeat(100_000)).await;
        assert!(matches!(input, Err(TaskError::Ask(AskError::TooLarge { .. }))), "{input:?}");
        stop(&nodes).await;
    });
}

#[test]
fn a_task_in_a_region_that_is_cut_off_is_unreachable_here_and_cancelled_there() {
    run(async {
        let net = MemoryNet::new(473);
        let timeout = Duration::from_millis(1_000);
        let nodes = [
            root(&net).session_timeout(timeout).start().await.unwrap(),
            work::with_tasks(below(&net, 1, 2)).session_timeout(timeout).start().await.unwrap(),
        ];
        routed(&nodes).await;
        let tasks = nodes[0].tasks().at(id(2));
        let bound = tasks.start(work::endless, "cut".to_owned()).await.unwrap();
        let free =
            tasks.clone().nolink().start(work::endless, "cut free".to_owned()).await.unwrap();
        let child = tasks.start_child(work::endless, "cut child".to_owned()).await.unwrap();
        for key in ["cut", "cut free", "cut child"] {
            eventually("it runs", || async { seen(key).started == 1 }).await;
        }
        net.cut(id(1), id(2));
        assert_eq!(bound.await_for(PATIENCE).await, Err(TaskError::Unreachable(id(2))));
        assert_eq!(free.await_for(PATIENCE).await, Err(TaskError::Unreachable(id(2))));
        eventually("the bound one is cancelled", || async { seen("cut").ended == 1 }).await;
        assert_eq!((seen("cut free").ended, seen("cut child").ended), (0, 0));
        nodes[1].kill(child);
        eventually("ended by its own side", || async { seen("cut child").ended == 1 }).await;
        stop(&nodes).await;
    });
}

#[test]
fn a_task_in_a_region_that_stops_is_told_as_stopped_or_unreachable() {
    run(async {
        let net = MemoryNet::new(474);
        let nodes = chain_with(&net, 2).await;
        let task =
            nodes[0].tasks().at(id(2)).start(work::endless, "stops".to_owned()).await.unwrap();
        eventually("it runs", || async { seen("stops").started == 1 }).await;
        nodes[1].stop().await;
        let told = task.await_for(PATIENCE).await;
        assert!(matches!(told, Err(TaskError::Stopped(_) | TaskError::Unreachable(_))), "{told:?}");
        assert_eq!(seen("stops").ended, 1);
        stop(&nodes).await;
    });
}
