//! Order when mailboxes are full. OTP's mailboxes have no bound; its rules on the order of signals hold here
//! for those that wait for room as well. Pages: "Processes", "Delivery of Signals"; net_kernel:monitor_nodes/1.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, WrapFuture};
use fedist_actors::{ExitReason, Mailbox, Node, NodeBuilder, PidSend, RegionChange};
use fedist_registry::RegionPid;
use fedist_transport::memory::MemoryNet;
use tokio::sync::oneshot;

use crate::{probe::*, support::*};

const NOTES: u64 = 300;

/// A chain of four whose mailboxes hold 16 messages.
async fn small_chain(net: &MemoryNet) -> Vec<Node> {
    let small = |builder: NodeBuilder| {
        builder.mailbox_capacity(16).session_timeout(Duration::from_millis(1_500))
    };
    let mut nodes = vec![small(root(net)).start().await.unwrap()];
    for number in 2..=4 {
        nodes.push(small(below(net, number - 1, number)).start().await.unwrap());
    }
    routed(&nodes).await;
    nodes
}

/// Has `busy` handle nothing until the returned sender is used.
async fn hold_up(busy: &Proc) -> oneshot::Sender<()> {
    let (go_on, may_go_on) = oneshot::channel::<()>();
    busy.run(move |probe, ctx| ctx.wait(may_go_on.into_actor(probe).map(|_, _, _| ()))).await;
    go_on
}

/// A function that tells `to` its numbers, waiting for room, and returns; it starts when told anything.
fn writer(node: &Node, to: RegionPid) -> RegionPid {
    let writer = node.spawn_fn(move |mut mailbox: Mailbox<Note>| async move {
        mailbox.recv().await;
        for number in 0..NOTES {
            to.tell(mailbox.node(), Note(number)).await.unwrap();
        }
    });
    node.export(&writer.unwrap()).links().publish().unwrap()
}

fn notes() -> Vec<Event> {
    (0..NOTES).map(Event::Note).collect()
}

// The writer's end comes behind all that it wrote, also when that has waited for room.
#[test]
fn a_down_waits_behind_messages_that_wait_for_room() {
    run(async {
        let net = MemoryNet::new(44);
        let nodes = small_chain(&net).await;
        for hops in [0, 1, 3] {
            let (a, far) = (Proc::trapping(&nodes[0]).await, &nodes[hops]);
            let pid = writer(far, a.pid);
            let monitor = a
                .run(move |_, ctx| {
                    ctx.link(pid);
                    ctx.monitor(pid)
                })
                .await;
            let go_on = hold_up(&a).await;
            pid.tell(&nodes[0], Note(0)).await.unwrap();
            eventually("the sender is held back", || async {
                matches!(a.pid.try_send(far, Note(NOTES)), Err(error)
                    if matches!(error, fedist_actors::SendError::Full(_)))
            })
            .await;
            go_on.send(()).unwrap();
            a.until("both", |a| a.downs().len() + a.exits().len() == 2).await;
            let mut events = a.events();
            let ends = events.split_off(events.len() - 2);
            // Numbers of the one that looked for the bound aside.
            events.retain(|event| *event != Event::Note(NOTES));
            assert_eq!(events, notes(), "at {hops} hops");
            let down = Event::Down(monitor, pid, ExitReason::Normal);
            let exit = Event::Exit(pid, ExitReason::Normal);
            assert!(ends.contains(&down) && ends.contains(&exit), "at {hops} hops: {ends:?}");
        }
        stop(&nodes).await;
    });
}

// monitor_nodes/1: nodedown comes behind the signals that arrived over the lost connection.
#[test]
fn the_loss_of_a_region_waits_behind_messages_that_wait_for_room() {
    run(async {
        let net = MemoryNet::new(45);
        let nodes = small_chain(&net).await;
        let (a, far) = (Proc::new(&nodes[0]), &nodes[3]);
        let (pid, region) = (writer(far, a.pid), far.region());
        a.run(move |_, ctx| {
            ctx.monitor_region(region);
            ctx.monitor(pid);
        })
        .await;
        let go_on = hold_up(&a).await;
        pid.tell(&nodes[0], Note(0)).await.unwrap();
        eventually("the sender is held back", || async {
            nodes[0].status().await.unwrap().counters.contains_key("mailboxes_full")
        })
        .await;
        let witness = Proc::new(&nodes[0]);
        witness.run(move |_, ctx| ctx.monitor_region(region)).await;
        net.isolate(region);
        let lost = |proc: &Proc| {
            proc.changes().iter().any(|change| matches!(change, RegionChange::Unreachable { .. }))
        };
        witness.until("the loss", lost).await;
        go_on.send(()).unwrap();
        a.until("the loss", lost).await;
        a.until("the Down", |a| a.downs().len() == 1).await;
        let events = a.events();
        let last_note = events.iter().rposition(|event| matches!(event, Event::Note(_))).unwrap();
        let first = |wanted: fn(&Event) -> bool| events.iter().position(wanted).unwrap();
        let down = first(|event| matches!(event, Event::Down(..)));
        let loss =
            first(|event| matches!(event, Event::Region(_, RegionChange::Unreachable { .. })));
        assert!(last_note < down && down < loss, "{last_note}, {down}, {loss}");
        net.rejoin(region);
        stop(&nodes).await;
    });
}
