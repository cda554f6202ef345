//! Handlers of every kind: asynchronous ones, timers, functions, priority, and the context's own futures.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, MessageResult, Running, WrapFuture,
};
use fedist_actors::{
    AskError, AsyncHandler, Context, Down, ExitReason, FnAddr, GetOrSpawnError, Mailbox,
    MailboxEvent, Message, PidSend, RegionAddr, SendError, async_handler,
};
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::*;

type Log = Arc<Mutex<Vec<String>>>;

/// Waits as long as it is told, then notes itself.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
#[wire(name = "test.slowly", version = 1, crate = "fedist_actors")]
struct Slowly {
    name: String,
    ms: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.quickly", version = 1, crate = "fedist_actors")]
struct Quickly(String);

/// Asks another actor (or itself) for its notes and counts them.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<usize, AskError>")]
#[wire(name = "test.consult", version = 1, crate = "fedist_actors")]
struct Consult(fedist_registry::RegionPid);

#[derive(Default)]
struct Patient {
    log: Log,
    /// Whether a slow handler has begun.
    begun: Arc<AtomicBool>,
    _dropped: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Actor for Patient {
    type Context = Context<Self>;
}

#[async_handler(crate = "fedist_actors")]
impl AsyncHandler<Slowly> for Patient {
    async fn handle(&mut self, Slowly { name, ms }: Slowly, _: &mut Context<Self>) -> usize {
        self.begun.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.log.lock().unwrap().push(name);
        self.log.lock().unwrap().len()
    }
}

#[async_handler(crate = "fedist_actors")]
impl AsyncHandler<Consult> for Patient {
    async fn handle(
        &mut self,
        Consult(pid): Consult,
        ctx: &mut Context<Self>,
    ) -> Result<usize, AskError> {
        Ok(pid.send(ctx.node(), Notes).await?.len())
    }
}

impl Handler<Quickly> for Patient {
    type Result = ();

    fn handle(&mut self, Quickly(name): Quickly, _: &mut Context<Self>) {
        self.log.lock().unwrap().push(name);
    }
}

impl Handler<Notes> for Patient {
    type Result = MessageResult<Notes>;

    fn handle(&mut self, _: Notes, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Vec::new())
    }
}

fn slowly(name: &str, ms: u64) -> Slowly {
    Slowly { name: name.to_owned(), ms }
}

#[test]
fn the_next_message_waits_for_an_asynchronous_handler_near_and_far() {
    run(async {
        let net = MemoryNet::new(301);
        let nodes = chain(&net, 2).await;
        for home in [0, 1] {
            let log = Log::default();
            let patient = Patient { log: Arc::clone(&log), ..Patient::default() };
            let addr = nodes[home].spawn(patient).unwrap();
            let export = nodes[home].export(&addr).handles::<Slowly>().handles::<Quickly>();
            let pid = export.publish().unwrap();
            let slow = pid.send(&nodes[0], slowly("first", 40));
            let quick = async {
                pid.tell(&nodes[0], Quickly("second".into())).await.unwrap();
                pid.send(&nodes[0], slowly("third", 0)).await
            };
            let (first, third) = tokio::join!(slow.into_future(), quick);
            assert_eq!((first, third), (Ok(1), Ok(3)));
            assert_eq!(*log.lock().unwrap(), ["first", "second", "third"]);
        }
        stop(&nodes).await;
    });
}

#[test]
fn an_asynchronous_handler_asks_others_and_is_told_at_once_when_it_asks_itself() {
    run(async {
        let net = MemoryNet::new(302);
        let nodes = chain(&net, 2).await;
        let other = notebook(&nodes[1]);
        other.tell(&nodes[1], Note(7)).await.unwrap();
        let addr = nodes[0].spawn(Patient::default()).unwrap();
        let export = nodes[0].export(&addr).handles::<Consult>().handles::<Notes>();
        let pid = export.publish().unwrap();
        assert_eq!(pid.send(&nodes[1], Consult(other)).await, Ok(Ok(1)));
        assert_eq!(pid.send(&nodes[0], Consult(pid)).await, Ok(Err(AskError::CallsItself(pid))));
        // It goes on after both.
        assert_eq!(pid.send(&nodes[0], Consult(other)).await, Ok(Ok(1)));
        stop(&nodes).await;
    });
}

#[test]
fn a_kill_ends_an_actor_at_the_await_of_its_handler() {
    run(async {
        let net = MemoryNet::new(303);
        let nodes = chain(&net, 1).await;
        let (gone, dropped) = tokio::sync::oneshot::channel();
        let patient = Patient { _dropped: Some(gone), ..Patient::default() };
        let addr = nodes[0].spawn(patient).unwrap();
        let monitor = nodes[0].monitor(addr.pid());
        let asked = addr.send(slowly("never", 3_600_000));
        let killed = async {
            nodes[0].kill(addr.pid());
            monitor.await.reason
        };
        let (answer, reason) = tokio::join!(asked, killed);
        assert!(answer.is_err());
        assert_eq!(reason, ExitReason::Killed);
        // Its state went with it.
        assert!(dropped.await.is_err());
        stop(&nodes).await;
    });
}

#[test]
fn two_actors_that_ask_each_other_with_full_mailboxes_end_at_a_deadline_and_go_on() {
    /// Asks the other one for what it asks this one for.
    #[derive(Debug, Message, Serialize, Deserialize)]
    #[rtype(result = "Result<(), AskError>")]
    #[wire(name = "test.cross", version = 1, crate = "fedist_actors")]
    struct Cross(fedist_registry::RegionPid, u32);

    struct Crossed;
    impl Actor for Crossed {
        type Context = Context<Self>;
    }
    #[async_handler(crate = "fedist_actors")]
    impl AsyncHandler<Cross> for Crossed {
        async fn handle(
            &mut self,
            Cross(other, left): Cross,
            ctx: &mut Context<Self>,
        ) -> Result<(), AskError> {
            let Some(left) = left.checked_sub(1) else { return Ok(()) };
            let me = ctx.pid();
            let ask = other.send(ctx.node(), Cross(me, left)).deadline(Duration::from_millis(300));
            ask.await?
        }
    }

    run(async {
        let net = MemoryNet::new(304);
        let near = root(&net).mailbox_capacity(2).start().await.unwrap();
        let nodes = [near, below(&net, 1, 2).mailbox_capacity(2).start().await.unwrap()];
        routed(&nodes).await;
        let pids = [0, 1].map(|at: usize| {
            let addr = nodes[at].spawn(Crossed).unwrap();
            nodes[at].export(&addr).handles::<Cross>().publish().unwrap()
        });
        // Each waits for the other, far more of them than the mailboxes hold.
        let asks = (0..12_usize).map(|n| {
            let cross = Cross(pids[(n + 1) % 2], 2);
            pids[n % 2].send(&nodes[0], cross).deadline(Duration::from_secs(30)).into_future()
        });
        let answers = futures_util::future::join_all(asks).await;
        assert!(
            answers.iter().all(|answer| matches!(
                answer,
                Ok(Ok(()) | Err(AskError::Timeout(_) | AskError::Full))
            )),
            "{answers:?}"
        );
        // What the deadlines gave up may still stand in the mailboxes.
        eventually("both go on", || async {
            pids[1].send(&nodes[0], Cross(pids[0], 1)).await == Ok(Ok(()))
        })
        .await;
        stop(&nodes).await;
    });
}

/// Notes what its timers and futures do.
struct Clockwork {
    log: Log,
}

#[derive(Clone, Debug)]
struct Tick(&'static str);

impl actix::Message for Tick {
    type Result = ();
}

impl Actor for Clockwork {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.send_after(Duration::from_millis(30), Tick("late"));
        ctx.send_after(Duration::from_millis(1), Tick("soon"));
        let never = ctx.send_after(Duration::from_millis(20), Tick("never"));
        assert!(ctx.cancel_timer(never));
        assert!(!ctx.cancel_timer(never), "a timer is taken back once");
        let beat = ctx.send_interval(Duration::from_millis(2), Tick("beat"));
        ctx.run_later(Duration::from_millis(60), move |_, ctx| {
            assert!(ctx.cancel_timer(beat));
            ctx.stop();
        });
        // What is waited for comes before any message.
        let first = async {}.into_actor(self).map(|(), actor, _| actor.note("first"));
        ctx.wait(first);
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.note("stopping");
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.note("stopped");
    }
}

impl Clockwork {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(what.to_owned());
    }
}

impl Handler<Tick> for Clockwork {
    type Result = ();

    fn handle(&mut self, Tick(what): Tick, _: &mut Context<Self>) {
        self.note(what);
    }
}

#[test]
fn timers_fire_in_their_order_can_be_taken_back_and_end_with_their_actor() {
    run(async {
        let net = MemoryNet::new(305);
        let nodes = chain(&net, 1).await;
        let log = Log::default();
        let addr = nodes[0].spawn(Clockwork { log: Arc::clone(&log) }).unwrap();
        assert_eq!(nodes[0].monitor(addr.pid()).await.reason, ExitReason::Normal);
        let log = log.lock().unwrap().clone();
        let others: Vec<&str> =
            log.iter().map(String::as_str).filter(|what| *what != "beat").collect();
        assert_eq!(others, ["first", "soon", "late", "stopping", "stopped"]);
        assert!(log.iter().filter(|what| *what == "beat").count() >= 3, "{log:?}");
        stop(&nodes).await;
    });
}

#[test]
fn a_flooded_actor_lets_the_others_of_its_thread_have_their_turn_and_takes_priority_first() {
    /// Sends to itself without end.
    struct Flood(Log);
    impl Actor for Flood {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            for _ in 0..1_000 {
                ctx.address().do_send(Tick("again"));
            }
            ctx.run_later(Duration::from_millis(5), |actor, _| {
                actor.0.lock().unwrap().push("timer".to_owned());
            });
        }
    }
    impl Handler<Tick> for Flood {
        type Result = ();
        fn handle(&mut self, Tick(what): Tick, ctx: &mut Context<Self>) {
            if what == "again" {
                ctx.address().do_send(Tick("again"));
            } else {
                self.0.lock().unwrap().push(what.to_owned());
            }
        }
    }

    run(async {
        let net = MemoryNet::new(306);
        let nodes = chain(&net, 1).await;
        let log = Log::default();
        let flood = nodes[0].spawn(Flood(Arc::clone(&log))).unwrap();
        let other = notebook(&nodes[0]);
        assert_eq!(other.send(&nodes[0], Notes).await, Ok(vec![]));
        eventually("the flooded actor's own timer fires", || async {
            log.lock().unwrap().contains(&"timer".to_owned())
        })
        .await;
        flood.send_priority(Tick("one")).unwrap();
        flood.send_priority(Tick("two")).unwrap();
        eventually("what has priority is handled", || async { log.lock().unwrap().len() == 3 })
            .await;
        assert_eq!(*log.lock().unwrap(), ["timer", "one", "two"]);
        nodes[0].kill(flood.pid());
        let reason = nodes[0].monitor(flood.pid()).await.reason;
        assert!(matches!(reason, ExitReason::Killed | ExitReason::NoActor), "{reason}");
        assert!(matches!(flood.send_priority(Tick("late")), Err(SendError::NoActor(..))));
        stop(&nodes).await;
    });
}

#[test]
fn a_function_has_a_pid_a_mailbox_and_monitors_of_its_own() {
    run(async {
        let net = MemoryNet::new(307);
        let nodes = chain(&net, 2).await;
        let watched = notebook(&nodes[1]);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let function: FnAddr<Slowly> = nodes[0]
            .spawn_fn(move |mut mailbox: Mailbox<Slowly>| async move {
                mailbox.monitor(watched);
                let mut handled = 0;
                loop {
                    match mailbox.next().await {
                        MailboxEvent::Message(message, reply) if message.name == "end" => {
                            drop(reply);
                            return;
                        }
                        MailboxEvent::Message(_, reply) => {
                            handled += 1;
                            reply.send(handled);
                        }
                        MailboxEvent::Down(Down { pid, .. }) => tell.send(pid).unwrap(),
                        other => panic!("{other:?}"),
                    }
                }
            })
            .unwrap();
        let pid = nodes[0].export(&function).name("function").publish().unwrap();
        for (from, expected) in [(0, 1), (1, 2)] {
            assert_eq!(pid.send(&nodes[from], slowly("", 0)).await, Ok(expected));
        }
        assert_eq!(nodes[1].whereis("root/function").await, Ok(pid));
        watched.tell(&nodes[0], Crash("as planned".into())).await.unwrap();
        assert_eq!(told.recv().await, Some(watched));
        let monitor = nodes[1].monitor(pid);
        assert_eq!(pid.send(&nodes[1], slowly("end", 0)).await, Err(AskError::NoReply(pid)));
        assert_eq!(monitor.await.reason, ExitReason::Normal);
        assert!(matches!(function.try_send(slowly("", 0)), Err(SendError::NoActor(..))));
        stop(&nodes).await;
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back_near_and_holds_a_waiting_sender() {
    run(async {
        let net = MemoryNet::new(308);
        let node = root(&net).mailbox_capacity(4).start().await.unwrap();
        let blocked: FnAddr<Note> = node
            .spawn_fn(|mailbox| async move {
                std::future::pending::<()>().await;
                drop(mailbox);
            })
            .unwrap();
        let begun = Arc::new(AtomicBool::new(false));
        let patient = Patient { begun: Arc::clone(&begun), ..Patient::default() };
        let actor = node.spawn(patient).unwrap();
        let pid = node.export(&actor).handles::<Slowly>().handles::<Quickly>().publish().unwrap();
        let handle = pid.send(&node, slowly("long", 3_600_000)).into_future();
        let handle = tokio::spawn(handle);
        eventually("the slow handler runs", || async { begun.load(Ordering::SeqCst) }).await;
        let mut accepted = 0;
        // Every way to send shares the one bound.
        let addr: RegionAddr<Patient> = node.address(pid);
        while pid.try_send(&node, Quickly("x".into())).is_ok() && accepted < 100 {
            addr.do_send(Quickly("y".into()));
            accepted += 1;
        }
        assert!(accepted <= 4, "{accepted}");
        assert!(
            matches!(addr.try_send(Quickly("z".into())), Err(SendError::Full(Quickly(z))) if z == "z")
        );
        let waiting = tokio::spawn({
            let node = node.clone();
            async move { pid.tell(&node, Quickly("waits".into())).await }
        });
        // Its turn on this one thread: it finds the mailbox full, whose actor is busy for an hour.
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        handle.abort();
        let mut accepted = 0;
        while blocked.try_send(Note(1)).is_ok() && accepted < 100 {
            accepted += 1;
        }
        assert_eq!(accepted, 4);
        let full = node.dropped();
        assert!(full.values().sum::<u64>() <= 5, "{full:?}");
        node.kill(pid);
        assert!(waiting.await.unwrap().is_ok(), "accepted, and lost with its actor");
        node.stop().await;
    });
}

#[test]
fn of_many_that_get_or_spawn_one_name_one_spawns() {
    static MADE: AtomicUsize = AtomicUsize::new(0);

    run(async {
        let net = MemoryNet::new(309);
        let node = root(&net).arbiters(2).start().await.unwrap();
        let make = || {
            MADE.fetch_add(1, Ordering::SeqCst);
            Patient::default()
        };
        let found: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| node.get_or_spawn::<Patient, _>("one", make)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap().pid()).collect()
        });
        assert!(found.iter().all(|pid| *pid == found[0]), "{found:?}");
        assert_eq!(node.whereis("root/one").await, Ok(found[0]));
        let other = node.get_or_spawn::<Notebook, _>("one", Notebook::default);
        assert!(
            matches!(other, Err(GetOrSpawnError::OtherType { holder, .. }) if holder == found[0])
        );
        assert!(matches!(
            node.get_or_spawn::<Notebook, _>("", Notebook::default),
            Err(GetOrSpawnError::Name(_))
        ));
        node.kill(found[0]);
        eventually("the name is free again", || async { node.whereis("root/one").await.is_err() })
            .await;
        let next = node.get_or_spawn::<Notebook, _>("one", Notebook::default).unwrap();
        assert_ne!(next.pid(), found[0]);
        node.stop().await;
    });
}
