//! Plain functions as processes. Pages: "Processes", sections "Process Creation", "Process Termination" and
//! those on links and monitors, which make no difference between a function and a server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fedist_actors::{Exit, ExitReason, Mailbox, MailboxEvent, Node, PidSend};

use crate::{probe::*, support::Note};

// Process Creation: a function is a process too, normal when it returns, with its error when it fails.
#[test]
fn a_plain_function_is_a_process() {
    at_every_distance(async |near: &Node, far: &Node| {
        let returns = far
            .spawn_fn(
                |mut mailbox: Mailbox<Note>| async move { while mailbox.recv().await.0 < 3 {} },
            )
            .unwrap();
        let returns = far.export(&returns).publish().unwrap();
        let down = near.monitor(returns);
        for number in 1..=3 {
            returns.tell(near, Note(number)).await.unwrap();
        }
        assert_eq!(within("the function returns", down).await.reason, ExitReason::Normal);

        let fails = far
            .spawn_fn(|mut mailbox: Mailbox<Note>| async move {
                let _ = mailbox.recv().await;
                panic!("a bug");
            })
            .unwrap();
        let fails = far.export(&fails).publish().unwrap();
        let down = near.monitor(fails);
        fails.tell(near, Note(1)).await.unwrap();
        assert_eq!(within("the function fails", down).await.reason, panicked("a bug"));
    });
}

// exit/2: a function is ended by signals as any process: dropped where it waits.
#[test]
fn a_plain_function_can_be_killed() {
    at_every_distance(async |near: &Node, far: &Node| {
        struct Held(Arc<AtomicBool>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let released = Arc::new(AtomicBool::new(false));
        let held = Held(Arc::clone(&released));
        let waits = far.spawn_fn(move |_: Mailbox<Note>| async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let pid = waits.unwrap().pid();
        let down = near.monitor(pid);
        let _ = pid.send(near, Sync).await;
        far.kill(pid);
        assert_eq!(within("it is killed", down).await.reason, ExitReason::Killed);
        assert!(released.load(Ordering::SeqCst), "by the time of its Down");
    });
}

// Monitors: a function gets its 'DOWN' in its mailbox, and a monitor that it took back tells nothing.
#[test]
fn a_plain_function_can_monitor() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (watched, witness) = (Proc::new(far), Proc::new(near));
        let (pid, to) = (watched.pid, witness.pid);
        let watches = near
            .spawn_fn(move |mut mailbox: Mailbox<Note>| async move {
                let taken_back = mailbox.monitor(pid);
                let kept = mailbox.monitor(pid);
                assert!(mailbox.demonitor(taken_back));
                assert!(!mailbox.demonitor(taken_back));
                to.do_send(mailbox.node(), Note(1));
                match mailbox.next().await {
                    MailboxEvent::Down(down) => {
                        assert_eq!((down.monitor, down.pid), (kept, pid));
                        assert_eq!(down.reason, custom("over"));
                    }
                    other => panic!("{other:?}"),
                }
            })
            .unwrap();
        let down = near.monitor(watches.pid());
        witness.until("the monitors are set", |witness| !witness.events().is_empty()).await;
        reach(&witness, &watched).await;
        watched.exit(custom("over"));
        assert_eq!(within("the function returns", down).await.reason, ExitReason::Normal);
    });
}

// demonitor/2 with `flush` for a function: a 'DOWN' in its mailbox is taken out.
#[test]
fn a_plain_function_can_flush_a_down() {
    at_every_distance(async |near: &Node, far: &Node| {
        let watched = Proc::new(far);
        let pid = watched.pid;
        let watches = near
            .spawn_fn(move |mut mailbox: Mailbox<Note>| async move {
                let flushed = mailbox.monitor(pid);
                let kept = mailbox.monitor(pid);
                // Once another monitor, set later, has fired, this one has.
                mailbox.node().monitor(pid).await;
                mailbox.demonitor(flushed);
                match mailbox.next().await {
                    MailboxEvent::Down(down) => assert_eq!(down.monitor, kept),
                    other => panic!("{other:?}"),
                }
            })
            .unwrap();
        let down = near.monitor(watches.pid());
        let witness = Proc::new(near);
        witness.run(|_, _| ()).await;
        reach(&witness, &watched).await;
        watched.stop();
        assert_eq!(within("the function returns", down).await.reason, ExitReason::Normal);
    });
}

// Links and trapping: a function may link, and trap what comes of it.
#[test]
fn a_plain_function_can_link_and_trap() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (linked, witness) = (Proc::new(far), Proc::new(near));
        let (pid, to) = (linked.pid, witness.pid);
        let links = near
            .spawn_fn(move |mut mailbox: Mailbox<Note>| async move {
                mailbox.trap_exit(true);
                mailbox.link(pid);
                to.do_send(mailbox.node(), Note(1));
                match mailbox.next().await {
                    MailboxEvent::Exit(Exit { from, reason, .. }) => {
                        assert_eq!((from, reason), (pid, custom("over")));
                    }
                    other => panic!("{other:?}"),
                }
            })
            .unwrap();
        let down = near.monitor(links.pid());
        witness.until("the link is set", |witness| !witness.events().is_empty()).await;
        reach(&witness, &linked).await;
        linked.exit(custom("over"));
        assert_eq!(within("the function returns", down).await.reason, ExitReason::Normal);
    });
}

// Links: one that does not trap ends with what it is linked to, in the middle of its wait.
#[test]
fn a_plain_function_ends_with_what_it_is_linked_to() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (linked, witness) = (Proc::new(far), Proc::new(near));
        let (pid, to) = (linked.pid, witness.pid);
        let links = near
            .spawn_fn(move |mailbox: Mailbox<Note>| async move {
                mailbox.link(pid);
                to.do_send(mailbox.node(), Note(1));
                std::future::pending::<()>().await;
            })
            .unwrap();
        let down = near.monitor(links.pid());
        witness.until("the link is set", |witness| !witness.events().is_empty()).await;
        reach(&witness, &linked).await;
        linked.crash("a bug");
        assert_eq!(within("the function ends", down).await.reason, panicked("a bug"));
    });
}
