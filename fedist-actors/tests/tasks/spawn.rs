//! Making actors in other regions: factories, links and monitors from the first moment.

use std::time::Duration;

use actix::AsyncContext;
use fedist_actors::{AskError, Catalog, ExitReason, Node, PidSend, SpawnAtError, StartRefused};
use fedist_registry::RegionId;
use fedist_transport::memory::MemoryNet;

use crate::{actors::*, support::*, work};

/// A chain 1 - 2 - 3 - 4 where every region has the factories and tasks; `1` asks.
pub(crate) async fn chain_with(net: &MemoryNet, length: u16) -> Vec<Node> {
    let ready = |builder| work::with_tasks(with_factories(builder));
    let mut nodes = vec![ready(root(net)).start().await.unwrap()];
    for number in 2..=length {
        nodes.push(ready(below(net, number - 1, number)).start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}

/// The regions at 0, 1 and 3 hops from region 1 in a chain of four.
pub(crate) fn at_hops() -> [RegionId; 3] {
    [id(1), id(2), id(4)]
}

const FACTORIES: [&str; 4] = ["counter 1", "counter 2", "counter.bad_export 1", "counter.named 1"];

fn args(from: u64) -> CounterArgs {
    CounterArgs { from }
}

#[test]
fn an_actor_is_made_by_a_listed_factory_at_any_distance() {
    run(async {
        let net = MemoryNet::new(400);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let pid = nodes[0].spawn_at(region, ("counter", 1), &args(7)).await.unwrap();
            assert_eq!(pid.region(), region);
            assert_eq!(pid.send(&nodes[0], Add(1)).await.unwrap(), 8);
            let newest = nodes[0].spawn_at(region, "counter", &args(7)).await.unwrap();
            assert_eq!(newest.send(&nodes[0], Add(1)).await.unwrap(), 71);
            let denied = newest.send(&nodes[0], CrashNow).await;
            assert_eq!(denied, Err(AskError::Denied(newest)), "version 2 does not export it");
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_region_lists_its_factories_and_tasks() {
    run(async {
        let net = MemoryNet::new(401);
        let nodes = chain_with(&net, 2).await;
        let own: Catalog = nodes[1].catalog(id(2)).await.unwrap();
        assert_eq!(nodes[0].catalog(id(2)).await.unwrap(), own);
        let factories: Vec<String> = own.factories.iter().map(ToString::to_string).collect();
        assert_eq!(factories, FACTORIES);
        assert!(own.tasks.iter().any(|task| task.to_string() == "work.double 1"));
        stop(&nodes).await;
    });
}

#[test]
fn what_is_not_listed_is_refused_with_what_is() {
    run(async {
        let net = MemoryNet::new(402);
        let nodes = chain_with(&net, 2).await;
        for (name, version) in [("countr", None), ("counter", Some(3))] {
            let refused = match version {
                Some(version) => nodes[0].spawn_at(id(2), (name, version), &args(1)).await,
                None => nodes[0].spawn_at(id(2), name, &args(1)).await,
            };
            let Err(SpawnAtError::Refused(StartRefused::UnknownFactory { available, .. })) =
                refused
            else {
                panic!("{refused:?}");
            };
            assert_eq!(available, FACTORIES);
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_factory_that_cannot_make_the_actor_is_a_refusal_and_leaves_nothing_behind() {
    run(async {
        let net = MemoryNet::new(403);
        let nodes = chain_with(&net, 2).await;
        let before = nodes[1].process_count();
        let node = &nodes[0];
        let bad = node.spawn_at(id(2), ("counter", 1), "seven").await.unwrap_err();
        assert!(matches!(bad, SpawnAtError::Refused(StartRefused::BadArguments(_))), "{bad}");
        let panicked = node.spawn_at(id(2), ("counter", 1), &args(PANICS_IN_FACTORY)).await;
        let expected = StartRefused::FactoryPanicked("no such counter".into());
        assert_eq!(panicked, Err(SpawnAtError::Refused(expected)));
        node.spawn_at(id(2), "counter.named", &args(1)).await.unwrap();
        let second = node.spawn_at(id(2), "counter.named", &args(1)).await.unwrap_err();
        assert!(matches!(second, SpawnAtError::Refused(StartRefused::Export(_))), "{second}");
        let unexported = node.spawn_at(id(2), "counter.bad_export", &args(1)).await;
        let expected = StartRefused::Export("cannot be exported".into());
        assert_eq!(unexported, Err(SpawnAtError::Refused(expected)));
        eventually("only the named one lives", || async { nodes[1].process_count() == before + 1 })
            .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_cannot_be_asked_is_named_and_nothing_is_indeterminate() {
    run(async {
        let net = MemoryNet::new(404);
        let nodes = chain_with(&net, 1).await;
        let unknown = nodes[0].spawn_at(id(9), "counter", &args(1)).await;
        assert_eq!(unknown, Err(SpawnAtError::Ask(AskError::UnknownRegion(id(9)))));
        let no_caller = nodes[0].spawn_link_at(id(1), "counter", &args(1)).await;
        assert_eq!(no_caller, Err(SpawnAtError::NoCaller));
        stop(&nodes).await;
    });
}

/// Erlang, `erlang:spawn_link/4`: the link is there before the process can do anything.
#[test]
fn a_linked_actor_that_dies_at_once_still_tells_why() {
    run(async {
        let net = MemoryNet::new(405);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let (driver, addr) = Driver::spawn(&nodes[0]);
            let pid = within(&addr, move |ctx| {
                ctx.trap_exit(true);
                ctx.node().spawn_link_at(region, ("counter", 1), &args(DIES_AT_ONCE))
            })
            .await
            .unwrap();
            eventually("the exit signal", || async { !driver.trapped().is_empty() }).await;
            assert_eq!(driver.trapped(), [(pid, ExitReason::Panicked("dies at once".into()))]);
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_linked_actor_takes_its_caller_along_and_the_other_way_round() {
    run(async {
        let net = MemoryNet::new(406);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let (_, addr) = Driver::spawn(&nodes[0]);
            let link = move |ctx: &mut fedist_actors::Context<Driver>| {
                ctx.node().spawn_link_at(region, ("counter", 1), &args(1))
            };
            let pid = within(&addr, link).await.unwrap();
            let caller = nodes[0].monitor(addr.pid());
            pid.tell(&nodes[0], CrashNow).await.unwrap();
            assert_eq!(caller.await.reason, ExitReason::Panicked("told to crash".into()));

            let (_, addr) = Driver::spawn(&nodes[0]);
            let pid = within(&addr, link).await.unwrap();
            let child = nodes[0].monitor(pid);
            addr.do_send(Do(Box::new(|ctx| ctx.exit(ExitReason::Custom("enough".into())))));
            assert_eq!(child.await.reason, ExitReason::Custom("enough".into()));
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_actor_obeys_exit_signals_of_the_region_that_had_it_made_and_of_no_other() {
    run(async {
        let net = MemoryNet::new(407);
        let nodes = chain_with(&net, 3).await;
        let pid = nodes[0].spawn_at(id(2), ("counter", 1), &args(1)).await.unwrap();
        let watch = nodes[0].monitor(pid);
        nodes[2].exit(pid, ExitReason::Shutdown);
        assert_eq!(
            pid.send(&nodes[2], Add(1)).await.unwrap(),
            2,
            "the stranger's signal was before"
        );
        nodes[0].exit(pid, ExitReason::Shutdown);
        assert_eq!(watch.await.reason, ExitReason::Shutdown);
        stop(&nodes).await;
    });
}

/// Erlang, `erlang:spawn_monitor/4`: the monitor is there before the process can do anything.
#[test]
fn a_monitored_actor_that_dies_at_once_still_tells_why() {
    run(async {
        let net = MemoryNet::new(408);
        let nodes = chain_with(&net, 4).await;
        for region in at_hops() {
            let dies = ExitReason::Panicked("dies at once".into());
            let spawned = nodes[0].spawn_monitor_at(region, ("counter", 1), &args(DIES_AT_ONCE));
            let (pid, monitor) = spawned.await.unwrap();
            let down = monitor.await;
            assert_eq!((down.pid, down.reason), (pid, dies.clone()));

            let (driver, addr) = Driver::spawn(&nodes[0]);
            let spawn = move |ctx: &mut fedist_actors::Context<Driver>| {
                ctx.spawn_monitor_at(region, ("counter", 1), &args(DIES_AT_ONCE))
            };
            let (pid, monitor) = within(&addr, spawn).await.unwrap();
            eventually("the Down", || async { !driver.reasons().is_empty() }).await;
            assert_eq!(driver.reasons(), [(pid, dies)]);
            assert_eq!(driver.downs.lock().unwrap()[0].monitor, monitor);
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_monitor_from_a_spawn_can_be_taken_back_and_a_refused_spawn_leaves_none() {
    run(async {
        let net = MemoryNet::new(409);
        let nodes = chain_with(&net, 2).await;
        let (driver, addr) = Driver::spawn(&nodes[0]);
        let refused = within(&addr, |ctx| ctx.spawn_monitor_at(id(2), "nothing", &args(1))).await;
        assert!(matches!(refused, Err(SpawnAtError::Refused(_))));
        let spawn = |ctx: &mut fedist_actors::Context<Driver>| {
            ctx.spawn_monitor_at(id(2), ("counter", 1), &args(1))
        };
        let (first, monitor) = within(&addr, spawn).await.unwrap();
        let (second, _) = within(&addr, spawn).await.unwrap();
        let (was_set, told) = tokio::sync::oneshot::channel();
        addr.do_send(Do(Box::new(move |ctx| {
            let _ = was_set.send(ctx.demonitor(monitor));
        })));
        assert!(told.await.unwrap());
        first.tell(&nodes[0], CrashNow).await.unwrap();
        second.tell(&nodes[0], StopNow).await.unwrap();
        eventually("the second's Down", || async { !driver.reasons().is_empty() }).await;
        assert_eq!(driver.reasons(), [(second, ExitReason::Normal)]);
        stop(&nodes).await;
    });
}

#[test]
fn a_refused_actor_is_told_by_the_refusal_alone_and_not_by_its_link_or_monitor() {
    run(async {
        let net = MemoryNet::new(411);
        let nodes = chain_with(&net, 2).await;
        for region in [id(1), id(2)] {
            let (driver, addr) = Driver::spawn(&nodes[0]);
            let (linked, watched) = within(&addr, move |ctx| {
                ctx.trap_exit(true);
                let bad = args(PANICS_IN_FACTORY);
                let link = ctx.node().spawn_link_at(region, ("counter", 1), &bad);
                let watch = ctx.spawn_monitor_at(region, ("counter", 1), &bad);
                async move { (link.await, watch.await) }
            })
            .await;
            let panicked = StartRefused::FactoryPanicked("no such counter".into());
            assert_eq!(linked, Err(SpawnAtError::Refused(panicked.clone())));
            assert_eq!(watched.map(|(pid, _)| pid), Err(SpawnAtError::Refused(panicked)));
            // Whatever the failed ones have sent is here before this answer.
            let spawn = nodes[0].spawn_at(region, ("counter", 1), &args(1)).await.unwrap();
            spawn.send(&nodes[0], Add(1)).await.unwrap();
            within(&addr, |_| std::future::ready(())).await;
            assert_eq!((driver.trapped(), driver.reasons()), (vec![], vec![]));
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_actor_whose_linked_caller_is_gone_before_the_link_ends_as_after_a_broken_link() {
    run(async {
        let net = MemoryNet::new(410);
        net.set_latency(id(1), id(2), Duration::from_millis(50));
        let nodes = chain_with(&net, 2).await;
        let before = nodes[1].process_count();
        let (_, addr) = Driver::spawn(&nodes[0]);
        let gone = nodes[0].monitor(addr.pid());
        addr.do_send(Do(Box::new(|ctx| {
            let spawn = ctx.node().spawn_link_at(id(2), ("counter", 1), &args(1));
            let node = ctx.node().clone();
            let me = ctx.pid();
            // It ends as soon as the request is on its way.
            let run = async move {
                let mut spawn = spawn;
                let polled = futures_util::poll!(&mut spawn);
                assert!(polled.is_pending());
                node.kill(me);
                let _ = spawn.await;
            };
            ctx.spawn(actix::WrapFuture::into_actor(run, &Driver::default()));
        })));
        assert_eq!(gone.await.reason, ExitReason::Killed);
        // Made or not, nothing of it stays.
        let settled = nodes[0].spawn_at(id(2), ("counter", 1), &args(1)).await.unwrap();
        nodes[0].kill(settled);
        eventually("nothing is left over there", || async { nodes[1].process_count() == before })
            .await;
        stop(&nodes).await;
    });
}
