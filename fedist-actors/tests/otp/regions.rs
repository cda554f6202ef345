//! Lost connections. Pages: "Processes", sections "Sending Exit Signals" (noconnection) and "Delivery of
//! Signals"; net_kernel:monitor_nodes/1; erlang:monitor/2.

use std::time::Duration;

use fedist_actors::{AskError, ExitReason, Node, PidSend, RegionChange};
use fedist_transport::memory::MemoryNet;

use crate::{probe::*, support::*};

const TIMEOUT: Duration = Duration::from_millis(1_200);

/// A chain of `hops` links whose sessions end soon.
async fn short_chain(net: &MemoryNet, hops: u16) -> Vec<Node> {
    let mut nodes = vec![root(net).session_timeout(TIMEOUT).start().await.unwrap()];
    for number in 2..=hops + 1 {
        let node = below(net, number - 1, number).session_timeout(TIMEOUT).start().await.unwrap();
        nodes.push(node);
    }
    routed(&nodes).await;
    nodes
}

fn unreachable(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Unreachable { .. })
}

/// Runs a rule with the far region at one hop and at three, and the way to cut it off.
fn when_cut(seed: u64, rule: impl AsyncFn(&MemoryNet, &Node, &Node)) {
    for hops in [1, 3] {
        println!("at {hops} hops");
        run(async {
            let net = MemoryNet::new(seed);
            let nodes = short_chain(&net, hops).await;
            rule(&net, &nodes[0], &nodes[usize::from(hops)]).await;
            for number in 1..=hops + 1 {
                net.rejoin(id(number));
            }
            stop(&nodes).await;
        });
    }
}

// Sending Exit Signals: `noconnection` to both participants of each link when the connection is lost, and
// the other side may well be alive. Monitors: 'DOWN' with `noconnection`, once each.
#[test]
fn a_lost_connection_ends_links_and_fires_monitors_on_both_sides() {
    when_cut(50, async |net, near: &Node, far: &Node| {
        let (trapping, plain) = (Proc::trapping(near).await, Proc::new(near));
        let (there, there_trapping) = (Proc::new(far), Proc::trapping(far).await);
        let (watched, bystander) = (Proc::new(far), Proc::new(far));
        trapping.link(&there).await;
        plain.link(&there_trapping).await;
        let first = trapping.monitor(&watched).await;
        let second = trapping.monitor(&watched).await;
        net.isolate(far.region());

        assert!(unreachable(&plain.ended().await));
        assert!(unreachable(&there.ended().await));
        trapping.until("signal and Downs", |a| a.events().len() == 3).await;
        there_trapping.until("the signal", |b| b.events().len() == 1).await;
        assert!(matches!(&trapping.exits()[..], [(from, reason)]
            if *from == there.pid && unreachable(reason)));
        assert!(matches!(&there_trapping.exits()[..], [(from, reason)]
            if *from == plain.pid && unreachable(reason)));
        let mut downs: Vec<_> = trapping.downs();
        downs.sort_by_key(|down| down.0);
        assert_eq!(downs.iter().map(|down| down.0).collect::<Vec<_>>(), [first, second]);
        assert!(downs.iter().all(|down| unreachable(&down.1)));
        assert!(watched.alive().await && bystander.alive().await, "unreachable is not dead");

        net.rejoin(far.region());
        eventually("they talk again", || async {
            watched.pid.send(near, Sync).deadline(ms(300)).await.is_ok()
        })
        .await;
        settle(&trapping, &watched).await;
        assert_eq!(trapping.events().len(), 3, "each told once");
        // What was lost stays lost: a new monitor is a new start.
        let monitor = trapping.monitor(&watched).await;
        watched.stop();
        trapping.until("the Down", |a| a.downs().len() == 3).await;
        assert_eq!(trapping.downs()[2], (monitor, ExitReason::Normal));
    });
}

// unlink/1, demonitor/1: what was taken back has no effect later, on neither side.
#[test]
fn a_lost_connection_is_nothing_to_links_and_monitors_that_were_taken_back() {
    when_cut(57, async |net, near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        a.link(&b).await;
        a.unlink(&b).await;
        let monitor = a.monitor(&b).await;
        assert!(a.demonitor(monitor).await);
        let (witness, there) = (Proc::new(near), Proc::new(far));
        witness.link(&there).await;
        net.isolate(far.region());
        assert!(unreachable(&witness.ended().await) && unreachable(&there.ended().await));
        assert!(a.alive().await && b.alive().await);
        assert!(a.events().is_empty());
    });
}

// monitor_nodes/1: nodedown when the connection is lost, nodeup when it is there again, to every subscriber,
// nodedown behind the signals of the lost connection, and the old connection's nodedown before the new nodeup.
#[test]
fn a_region_monitor_tells_of_loss_and_return_until_it_is_taken_back() {
    when_cut(51, async |net, near: &Node, far: &Node| {
        let region = far.region();
        let (a, other, b) = (Proc::new(near), Proc::new(near), Proc::new(far));
        reach(&a, &b).await;
        a.run(move |_, ctx| ctx.monitor_region(region)).await;
        let taken_back = other.run(move |_, ctx| ctx.monitor_region(region)).await;
        assert!(other.demonitor(taken_back).await);
        a.monitor(&b).await;

        net.isolate(region);
        let lost = |a: &Proc| {
            a.changes().iter().any(|change| matches!(change, RegionChange::Unreachable { .. }))
        };
        a.until("the loss", lost).await;
        a.until("the Down", |a| a.downs().len() == 1).await;
        net.rejoin(region);
        eventually("they talk again", || async {
            b.pid.send(near, Sync).deadline(ms(300)).await.is_ok()
        })
        .await;
        a.until("the return", |a| a.changes().last() == Some(&RegionChange::Reachable)).await;
        let losses =
            a.changes().iter().filter(|c| matches!(c, RegionChange::Unreachable { .. })).count();
        assert_eq!(losses, 1, "{:?}", a.changes());
        let position = |wanted: fn(&Event) -> bool| a.events().iter().position(wanted).unwrap();
        let down = position(|event| matches!(event, Event::Down(..)));
        let loss =
            position(|event| matches!(event, Event::Region(_, RegionChange::Unreachable { .. })));
        assert!(down < loss, "{:?}", a.events());
        assert!(other.events().is_empty(), "nothing after demonitor");
    });
}

// link/1 and monitor/2: when no connection can be made, `noconnection` comes, and not nothing for ever.
#[test]
fn links_and_monitors_towards_a_lost_region_say_so() {
    when_cut(52, async |net, near: &Node, far: &Node| {
        let (a, b) = (Proc::trapping(near).await, Proc::new(far));
        a.monitor(&b).await;
        net.isolate(far.region());
        a.until("the first Down", |a| a.downs().len() == 1).await;
        let pid = b.pid;
        a.run(move |_, ctx| {
            ctx.monitor(pid);
            ctx.link(pid);
        })
        .await;
        a.until("Down and signal", |a| a.events().len() == 3).await;
        assert!(a.downs().iter().all(|down| unreachable(&down.1)));
        assert!(unreachable(&a.exits()[0].1));
    });
}

// gen_server:call/3: a call under way fails with `nodedown` when the connection is lost, ahead of its timeout.
#[test]
fn a_call_under_way_fails_when_the_connection_is_lost() {
    when_cut(56, async |net, near: &Node, far: &Node| {
        let (a, b) = (Proc::new(near), Proc::new(far));
        reach(&a, &b).await;
        b.run(|probe, ctx| {
            let for_ever = actix::WrapFuture::into_actor(std::future::pending::<()>(), probe);
            actix::AsyncContext::wait(ctx, for_ever);
        })
        .await;
        let call = b.pid.send(near, Sync).deadline(ms(15_000)).into_future();
        let cut = async {
            reach(&a, &Proc::new(far)).await;
            net.isolate(far.region());
        };
        let started = std::time::Instant::now();
        let (outcome, ()) = tokio::join!(call, cut);
        assert_eq!(outcome, Err(AskError::Unreachable(far.region())));
        assert!(started.elapsed() < ms(8_000));
    });
}

// Delivery of Signals: an outage the session survives loses nothing (ours, C7): no signal of a loss either.
#[test]
fn a_short_outage_is_no_loss() {
    run(async {
        let net = MemoryNet::new(53);
        let nodes = chain(&net, 2).await;
        let (a, b) = (Proc::trapping(&nodes[0]).await, Proc::new(&nodes[1]));
        a.link(&b).await;
        let monitor = a.monitor(&b).await;
        net.cut(id(1), id(2));
        b.exit(custom("while cut off"));
        b.ended().await;
        tokio::time::sleep(ms(300)).await;
        assert!(a.events().is_empty());
        net.heal(id(1), id(2));
        a.until("both", |a| a.events().len() == 2).await;
        assert_eq!(a.exits(), [(b.pid, custom("while cut off"))]);
        assert_eq!(a.downs(), [(monitor, custom("while cut off"))]);
        stop(&nodes).await;
    });
}

// A node that comes back with a later start: its processes are gone for good, and monitors of it say which it is.
#[test]
fn a_region_that_restarts_is_told_as_restarted() {
    run(async {
        let net = MemoryNet::new(54);
        let near = root(&net).session_timeout(TIMEOUT).start().await.unwrap();
        let far = below(&net, 1, 2).session_timeout(TIMEOUT).start().await.unwrap();
        routed(&[near.clone(), far.clone()]).await;
        let (a, b) = (Proc::trapping(&near).await, Proc::new(&far));
        a.link(&b).await;
        a.monitor(&b).await;
        a.run(|_, ctx| ctx.monitor_region(id(2))).await;
        net.crash(id(2));
        let again = below(&net, 1, 2).boot(2).session_timeout(TIMEOUT).start().await.unwrap();
        a.until("the restart", |a| a.changes().contains(&RegionChange::Restarted { boot: 2 }))
            .await;
        assert_eq!((a.downs().len(), a.exits().len()), (1, 1), "{:?}", a.events());
        assert!(unreachable(&a.downs()[0].1) && unreachable(&a.exits()[0].1));
        let new = Proc::new(&again);
        eventually("the new start answers", || async {
            new.pid.send(&near, Sync).deadline(ms(500)).await.is_ok()
        })
        .await;
        stop(&[near, again]).await;
    });
}

// A node that shuts down in an orderly way: its processes end with `shutdown` before the connection goes.
#[test]
fn a_node_that_stops_ends_its_processes_first() {
    for hops in [1, 3] {
        run(async {
            let net = MemoryNet::new(55);
            let nodes = chain(&net, hops + 1).await;
            let far = &nodes[usize::from(hops)];
            let (a, b) = (Proc::trapping(&nodes[0]).await, Proc::new(far));
            a.link(&b).await;
            let monitor = a.monitor(&b).await;
            far.stop().await;
            a.until("both", |a| a.events().len() == 2).await;
            assert_eq!(a.exits(), [(b.pid, ExitReason::Shutdown)]);
            assert_eq!(a.downs(), [(monitor, ExitReason::Shutdown)]);
            stop(&nodes).await;
        });
    }
}

// monitor_node/2: where there is no connection yet, one is set up, or nodedown tells that it could not be.
#[test]
fn a_monitor_reaches_for_a_region_that_nobody_has_talked_to() {
    when_cut(58, async |net, near: &Node, far: &Node| {
        let (a, late, region) = (Proc::new(near), Proc::new(near), far.region());
        a.run(move |_, ctx| ctx.monitor_region(region)).await;
        a.until("the first sight", |a| a.changes() == [RegionChange::Reachable]).await;
        net.isolate(region);
        a.until("the loss", |a| a.changes().len() == 2).await;
        assert!(matches!(a.changes()[1], RegionChange::Unreachable { .. }));
        late.run(move |_, ctx| ctx.monitor_region(region)).await;
        let lost = |late: &Proc| matches!(late.changes()[..], [RegionChange::Unreachable { .. }]);
        late.until("that it cannot be reached", lost).await;
    });
}
