//! Orders for single children, from the same node and from another region.

use fedist_actors::{
    AskError, ChildError, ChildRef, CountChildren, DeleteChild, PidSend, RestartChild, Supervisor,
    TerminateChild, WhichChildren, child_fn,
};
use fedist_transport::memory::MemoryNet;

use crate::{
    support::{Note, chain, eventually, run, stop},
    workers::{Journal, alone, pid_of, worker},
};

#[test]
fn children_are_added_ended_restarted_and_deleted_one_by_one() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor =
            Supervisor::one_for_one().child(worker("a", &journal)).start_wait(&node).await.unwrap();
        let b = supervisor.start_child(worker("b", &journal)).await.unwrap();
        assert_eq!(pid_of(&supervisor, "b").await, b);
        let again = supervisor.start_child(worker("b", &journal)).await;
        assert_eq!(again, Err(ChildError::AlreadyStarted { name: "b".into(), pid: b }));
        supervisor.terminate_child("b").await.unwrap();
        journal.reads(&["start a", "start b", "end b"]).await;
        let b = supervisor.restart_child("b").await.unwrap();
        assert_eq!(
            supervisor.delete_child("b").await,
            Err(ChildError::Running { name: "b".into(), pid: b })
        );
        supervisor.terminate_child(b).await.unwrap();
        supervisor.delete_child("b").await.unwrap();
        assert_eq!(
            supervisor.restart_child("b").await,
            Err(ChildError::NotFound(ChildRef::from("b")))
        );
        assert_eq!(supervisor.count_children().await.unwrap().specs, 1);
        node.stop().await;
    });
}

#[test]
fn a_dynamic_supervisor_keeps_children_only_while_they_live() {
    run(async {
        let (node, journal) = (alone().await, Journal::default());
        let supervisor = Supervisor::dynamic().max_children(2).start_wait(&node).await.unwrap();
        let a = supervisor.start_child(worker("a", &journal)).await.unwrap();
        supervisor.start_child(worker("b", &journal)).await.unwrap();
        let third = supervisor.start_child(worker("c", &journal)).await;
        assert_eq!(third, Err(ChildError::MaxChildren(2)));
        supervisor.terminate_child(a).await.unwrap();
        let counts = supervisor.count_children().await.unwrap();
        assert_eq!((counts.specs, counts.active), (1, 1));
        node.stop().await;
    });
}

#[test]
fn a_function_is_a_child_like_any_other() {
    run(async {
        let node = alone().await;
        let (seen, mut notes) = tokio::sync::mpsc::unbounded_channel();
        let spec = child_fn("loop", move |mut mailbox: fedist_actors::Mailbox<Note>| {
            let seen = seen.clone();
            async move {
                let Note(number) = mailbox.recv().await;
                seen.send((mailbox.pid(), number)).unwrap();
            }
        });
        let supervisor = Supervisor::one_for_one().child(spec).start_wait(&node).await.unwrap();
        let first = pid_of(&supervisor, "loop").await;
        node.exit(first, fedist_actors::ExitReason::Shutdown);
        eventually("it is started again", || async {
            supervisor.which_children().await.unwrap()[0].restarts == 1
        })
        .await;
        assert_ne!(pid_of(&supervisor, "loop").await, first);
        assert!(notes.try_recv().is_err());
        node.stop().await;
    });
}

#[test]
fn an_exported_supervisor_takes_orders_from_other_regions_and_any_other_does_not() {
    run(async {
        let net = MemoryNet::new(31);
        let nodes = chain(&net, 3).await;
        let journal = Journal::default();
        let open = Supervisor::one_for_one()
            .exported()
            .child(worker("a", &journal))
            .start_wait(&nodes[2])
            .await
            .unwrap();
        let far = &nodes[0];
        let (pid, child) = (open.pid(), ChildRef::from("a"));
        let children = pid.send(far, WhichChildren).await.unwrap();
        assert_eq!(children, open.which_children().await.unwrap());
        assert_eq!(pid.send(far, CountChildren).await.unwrap().active, 1);
        pid.send(far, TerminateChild { child: child.clone() }).await.unwrap().unwrap();
        let old = children[0].pid.unwrap();
        let new = pid.send(far, RestartChild { child: child.clone() }).await.unwrap().unwrap();
        assert_ne!(new, old);
        let refused = pid.send(far, DeleteChild { child }).await.unwrap();
        assert_eq!(refused, Err(ChildError::Running { name: "a".into(), pid: new }));
        journal.reads(&["start a", "end a", "start a"]).await;

        let closed = Supervisor::one_for_one().start_wait(&nodes[2]).await.unwrap();
        let denied = closed.pid().send(far, WhichChildren).await;
        assert!(matches!(denied, Err(AskError::Denied(_) | AskError::NoActor(_))), "{denied:?}");
        stop(&nodes).await;
    });
}
