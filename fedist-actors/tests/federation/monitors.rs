//! Monitors: one `Down` for each, with the right reason, near and far.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, AsyncContext, Handler};
use fedist_actors::{
    Context, Down, ExitReason, FnAddr, Mailbox, MailboxEvent, PidSend, RegionChange, Restart,
    Supervisor, WhichChildren, exported_child,
};
use fedist_registry::{LocalId, RegionPid};
use fedist_transport::memory::MemoryNet;

use crate::support::*;

type Seen = Arc<Mutex<Vec<(RegionPid, ExitReason)>>>;

struct Watcher {
    targets: Vec<RegionPid>,
    seen: Seen,
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for target in &self.targets {
            ctx.monitor(*target);
        }
    }
}

impl Handler<Down> for Watcher {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        self.seen.lock().unwrap().push((down.pid, down.reason));
    }
}

#[test]
fn a_panic_becomes_one_down_at_every_distance() {
    run(async {
        let net = MemoryNet::new(20);
        let nodes = chain(&net, 3).await;
        for target in 0..3 {
            let pid = notebook(&nodes[target]);
            let nobody = RegionPid::new(pid.region(), LocalId::new(77_777_777).unwrap());
            let seen = Seen::default();
            let watcher = Watcher { targets: vec![pid, nobody, pid], seen: Arc::clone(&seen) };
            nodes[0].spawn(watcher).unwrap();
            eventually("the monitor of nobody fires", || async {
                seen.lock().unwrap().contains(&(nobody, ExitReason::NoActor))
            })
            .await;
            pid.tell(&nodes[0], Crash("as planned".into())).await.unwrap();
            eventually("both monitors of the notebook fire", || async {
                seen.lock().unwrap().len() == 3
            })
            .await;
            let panicked = (pid, ExitReason::Panicked("as planned".into()));
            assert_eq!(seen.lock().unwrap()[1..], [panicked.clone(), panicked]);
            assert!(
                nodes[0]
                    .ping(fedist_actors::PingTarget::Actor(pid), Duration::from_secs(5))
                    .await
                    .is_ok_and(|pong| !pong.echo.alive)
            );
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_region_that_is_cut_off_gives_unreachable_once_and_the_other_actors_go_on() {
    run(async {
        let net = MemoryNet::new(21);
        let timeout = Duration::from_millis(1_500);
        let near = root(&net).session_timeout(timeout).start().await.unwrap();
        let far = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        let pid = notebook(&nodes[1]);
        let seen = Seen::default();
        nodes[0].spawn(Watcher { targets: vec![pid], seen: Arc::clone(&seen) }).unwrap();
        pid.tell(&nodes[0], Note(1)).await.unwrap();
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [1]);
        net.cut(id(1), id(2));
        eventually("the region is given up", || async { seen.lock().unwrap().len() == 1 }).await;
        assert!(matches!(seen.lock().unwrap()[0].1, ExitReason::Unreachable { .. }));
        // Each side goes on alone (C20).
        assert_eq!(pid.send(&nodes[1], Notes).await.unwrap(), [1]);
        net.heal(id(1), id(2));
        eventually("the regions talk again", || async {
            pid.send(&nodes[0], Notes).deadline(Duration::from_millis(500)).await.is_ok()
        })
        .await;
        assert_eq!(seen.lock().unwrap().len(), 1, "a monitor fires once");
        stop(&nodes).await;
    });
}

#[test]
fn plain_async_code_can_watch_and_take_it_back() {
    run(async {
        let net = MemoryNet::new(25);
        let nodes = chain(&net, 2).await;
        for target in [0, 1] {
            let pid = notebook(&nodes[target]);
            drop(nodes[0].monitor(pid));
            let monitor = nodes[0].monitor(pid);
            // Behind the monitor in the pair's order, so it is set when this has arrived.
            pid.tell(&nodes[0], Crash("seen".into())).await.unwrap();
            let down = monitor.await;
            assert_eq!((down.pid, down.reason), (pid, ExitReason::Panicked("seen".into())));
            let late = nodes[0].monitor(pid).await;
            assert_eq!(late.reason, ExitReason::NoActor);
        }
        stop(&nodes).await;
    });
}

#[test]
fn a_node_that_stops_says_shutdown_for_its_actors() {
    run(async {
        let net = MemoryNet::new(22);
        let nodes = chain(&net, 2).await;
        let pid = notebook(&nodes[1]);
        let seen = Seen::default();
        nodes[0].spawn(Watcher { targets: vec![pid], seen: Arc::clone(&seen) }).unwrap();
        assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [] as [u64; 0]);
        nodes[1].stop().await;
        eventually("the end is told", || async { !seen.lock().unwrap().is_empty() }).await;
        assert_eq!(*seen.lock().unwrap(), [(pid, ExitReason::Shutdown)]);
        stop(&nodes).await;
    });
}

#[test]
fn a_supervisor_builds_a_crashed_child_anew_under_its_old_name() {
    run(async {
        let net = MemoryNet::new(23);
        let nodes = chain(&net, 2).await;
        let spec = exported_child("notes", Notebook::default, |export| {
            export.handles::<Note>().handles::<Notes>().handles::<Crash>().name("notes")
        });
        let supervisor = Supervisor::one_for_one()
            .intensity(10, Duration::from_secs(5))
            .child(spec.restart(Restart::Permanent))
            .start(&nodes[1])
            .unwrap();
        let mut pids: Vec<RegionPid> = Vec::new();
        for round in 0..3 {
            let found = std::cell::Cell::new(None);
            eventually("a child that is new has the name", || async {
                let pid = nodes[0].whereis("2/notes").await.ok();
                found.set(pid.filter(|pid| !pids.contains(pid)));
                found.get().is_some()
            })
            .await;
            let pid = found.get().unwrap();
            pid.tell(&nodes[0], Note(round)).await.unwrap();
            assert_eq!(pid.send(&nodes[0], Notes).await.unwrap(), [round], "no state is left over");
            pid.tell(&nodes[0], Crash("again".into())).await.unwrap();
            pids.push(pid);
        }
        eventually("three restarts are counted", || async {
            supervisor.send(WhichChildren).await.unwrap()[0].restarts == 3
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn a_supervisor_gives_up_when_its_intensity_is_reached() {
    run(async {
        let net = MemoryNet::new(24);
        let nodes = chain(&net, 1).await;
        struct Hopeless;
        impl Actor for Hopeless {
            type Context = Context<Self>;
            fn started(&mut self, ctx: &mut Context<Self>) {
                ctx.run_later(Duration::from_millis(20), |_, _| panic!("hopeless"));
            }
        }
        let supervisor = Supervisor::one_for_one()
            .intensity(2, Duration::from_secs(60))
            .backoff(Duration::from_millis(1))
            .child(fedist_actors::child("hopeless", || Hopeless))
            .start(&nodes[0])
            .unwrap();
        let seen = Seen::default();
        nodes[0]
            .spawn(Watcher { targets: vec![supervisor.pid()], seen: Arc::clone(&seen) })
            .unwrap();
        eventually("the supervisor ends", || async { !seen.lock().unwrap().is_empty() }).await;
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, [(supervisor.pid(), ExitReason::Shutdown)]);
    });
}

#[test]
fn a_region_is_lost_once_however_often_it_is_tried_again_and_then_reachable_again() {
    run(async {
        let net = MemoryNet::new(26);
        let timeout = Duration::from_millis(400);
        let near = root(&net).session_timeout(timeout).start().await.unwrap();
        let far = below(&net, 1, 2).session_timeout(timeout).start().await.unwrap();
        let nodes = [near, far];
        routed(&nodes).await;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _: FnAddr<Note> = nodes[0]
            .spawn_fn(move |mut mailbox: Mailbox<Note>| async move {
                mailbox.monitor_region(id(2));
                loop {
                    if let MailboxEvent::Region(event) = mailbox.next().await {
                        tell.send(event.change).unwrap();
                    }
                }
            })
            .unwrap();
        assert_eq!(told.recv().await, Some(RegionChange::Reachable));
        net.cut(id(1), id(2));
        assert!(matches!(told.recv().await, Some(RegionChange::Unreachable { .. })));
        // Each of these opens a session anew, and gives it up.
        let nobody = RegionPid::new(id(2), LocalId::new(77_777_777).unwrap());
        for _ in 0..3 {
            let reason = nodes[0].monitor(nobody).await.reason;
            assert!(matches!(reason, ExitReason::Unreachable { .. }), "{reason}");
        }
        assert!(told.try_recv().is_err(), "it is told of the loss once");
        net.heal(id(1), id(2));
        assert_eq!(told.recv().await, Some(RegionChange::Reachable));
        stop(&nodes).await;
    });
}
