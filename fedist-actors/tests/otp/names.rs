//! Registered names. Pages: "Processes", sections "Registered Processes" and "Directly Visible Erlang
//! Resources"; erlang:register/2, erlang:whereis/1.

use fedist_actors::{ExportError, LookupError, Node, PidSend, RegisterError, ViaAskError};

use crate::{probe::*, support::Note};

fn name(proc: &Proc, name: &str) -> Result<(), ExportError> {
    proc.node.export(&proc.addr).name(name).publish().map(drop)
}

async fn whereis(from: &Node, owner: &Node, name: &str) -> Option<fedist_registry::RegionPid> {
    match from.whereis(&format!("{}/{name}", owner.region())).await {
        Ok(pid) => Some(pid),
        Err(LookupError::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

// whereis/1: the pid for a name that is registered, undefined for one that is not.
#[test]
fn a_name_leads_to_its_process() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        assert_eq!(whereis(near, far, "a name").await, None);
        name(&b, "a name").unwrap();
        assert_eq!(whereis(near, far, "a name").await, Some(b.pid));
        b.stop();
        b.ended().await;
    });
}

// register/2: a name that is taken is an error, and stays where it is.
#[test]
fn a_name_has_one_holder() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (holder, other) = (Proc::new(far), Proc::new(far));
        name(&holder, "taken").unwrap();
        match name(&other, "taken") {
            Err(ExportError::NameTaken { holder: by, .. }) => assert_eq!(by, holder.pid),
            outcome => panic!("{outcome:?}"),
        }
        assert_eq!(whereis(near, far, "taken").await, Some(holder.pid));
        holder.stop();
        holder.ended().await;
    });
}

// register/2: a name for a process that has ended is an error.
#[test]
fn the_dead_get_no_name() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        b.stop();
        b.ended().await;
        match name(&b, "late") {
            Err(ExportError::Ended(pid)) => assert_eq!(pid, b.pid),
            outcome => panic!("{outcome:?}"),
        }
        assert_eq!(whereis(near, far, "late").await, None);
    });
}

// Directly Visible Resources: by the time a 'DOWN' or an exit signal arrives, the name is free.
#[test]
fn a_name_is_free_by_the_time_its_holders_end_is_known() {
    at_every_distance(async |near: &Node, far: &Node| {
        for linked in [false, true] {
            let (a, b) = (Proc::trapping(near).await, Proc::new(far));
            name(&b, "held").unwrap();
            if linked {
                a.link(&b).await;
            } else {
                a.monitor(&b).await;
            }
            b.crash("a bug");
            a.until("its end", |a| !a.events().is_empty()).await;
            assert_eq!(whereis(near, far, "held").await, None);
            let next = Proc::new(far);
            name(&next, "held").unwrap();
            assert_eq!(whereis(near, far, "held").await, Some(next.pid));
            next.stop();
            next.ended().await;
        }
    });
}

// gen_server:start with a name, `{error, {already_started, Pid}}`: of several that start one, all get the same.
#[test]
fn get_or_spawn_gives_everybody_the_same_actor() {
    at_every_distance(async |near: &Node, far: &Node| {
        let callers = (0..8).map(|_| {
            let far = far.clone();
            std::thread::spawn(move || {
                let found = far.get_or_spawn("only one", || Probe::with_start(|_, _| ()));
                found.map(|addr| addr.pid()).map_err(|error| error.to_string())
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut pids: Vec<_> = callers.into_iter().map(|it| it.join().unwrap().unwrap()).collect();
        pids.dedup();
        assert_eq!(pids.len(), 1, "{pids:?}");
        let watch = near.monitor(pids[0]);
        reach(&Proc::new(near), &Proc::new(far)).await;
        far.kill(pids[0]);
        within("the first one's end", watch).await;
        let next = far.get_or_spawn("only one", || Probe::with_start(|_, _| ())).unwrap().pid();
        assert_ne!(next, pids[0]);
        far.kill(next);
        within("the second one's end", far.monitor(next)).await;
    });
}

// unregister/1: the name is free at once for the next, and the process lives on.
#[test]
fn a_name_can_be_taken_away() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (b, next) = (Proc::new(far), Proc::new(far));
        far.register("taken away", b.pid).unwrap();
        assert_eq!(far.unregister("taken away"), Some(b.pid));
        assert_eq!(far.unregister("taken away"), None);
        assert!(b.alive().await);
        assert_eq!(whereis(near, far, "taken away").await, None);
        far.register("taken away", next.pid).unwrap();
        assert_eq!(whereis(near, far, "taken away").await, Some(next.pid));
        assert_eq!(far.unregister("taken away"), Some(next.pid));
    });
}

// register/2: badarg for a name in use, for a process that has ended, and for one of another node.
#[test]
fn registering_is_refused_for_each_documented_reason() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (b, other, dead) = (Proc::new(far), Proc::new(far), Proc::new(far));
        far.register("refused", b.pid).unwrap();
        let taken = RegisterError::Taken { name: "refused".to_owned(), holder: b.pid };
        assert_eq!(far.register("refused", other.pid), Err(taken));
        dead.stop();
        dead.ended().await;
        assert_eq!(far.register("of the dead", dead.pid), Err(RegisterError::Ended(dead.pid)));
        if near.region() != far.region() {
            let foreign = near.register("of another node", b.pid);
            assert_eq!(foreign, Err(RegisterError::Foreign(b.pid)));
        }
        far.unregister("refused");
    });
}

// registered/0: the names that are registered, and only those.
#[test]
fn the_names_of_a_node_can_be_listed() {
    at_every_distance(async |_, far: &Node| {
        let b = Proc::new(far);
        let listed = || {
            let mine = far.registered().into_iter().filter(|known| known.pid == b.pid);
            mine.map(|known| known.name).collect::<Vec<_>>()
        };
        assert!(listed().is_empty());
        far.register("listed b", b.pid).unwrap();
        far.register("listed a", b.pid).unwrap();
        assert_eq!(listed(), ["listed a", "listed b"]);
        b.stop();
        b.ended().await;
        assert!(listed().is_empty());
    });
}

// erlang:send/2 with a name: the name is looked up when the message is sent, so it reaches whoever has it then.
#[test]
fn a_message_to_a_name_reaches_whoever_has_it_then() {
    at_every_distance(async |near: &Node, far: &Node| {
        let via = near.via::<Note>(&format!("{}/of the day", far.region())).unwrap();
        let asks = near.via::<Sync>(&format!("{}/of the day", far.region())).unwrap();
        for _ in 0..3 {
            let b = Proc::new(far);
            far.register("of the day", b.pid).unwrap();
            assert_eq!(asks.send(Sync).await, Ok(0));
            via.tell(Note(1)).await.unwrap();
            b.until("the message", |b| b.events() == [Event::Note(1)]).await;
            b.crash("a bug");
            b.ended().await;
            reach(&Proc::new(near), &Proc::new(far)).await;
        }
    });
}

// gen_server:call/2 with a name that nobody has: `noproc`.
#[test]
fn a_call_to_a_name_that_nobody_has_says_so() {
    at_every_distance(async |near: &Node, far: &Node| {
        let asks = near.via::<Sync>(&format!("{}/had by nobody", far.region())).unwrap();
        let outcome = asks.send(Sync).await;
        assert!(
            matches!(outcome, Err(ViaAskError::Lookup(LookupError::NotFound { .. }))),
            "{outcome:?}"
        );
    });
}

// Processes, Registered Processes: a message sent to a name keeps its order with those before it.
#[test]
fn messages_to_a_name_keep_their_order() {
    at_every_distance(async |near: &Node, far: &Node| {
        let b = Proc::new(far);
        far.register("in order", b.pid).unwrap();
        let via = near.via::<Note>(&format!("{}/in order", far.region())).unwrap();
        for number in 0..20 {
            via.do_send(Note(number));
        }
        b.until("all", |b| b.events().len() == 20).await;
        assert!(b.events().into_iter().eq((0..20).map(Event::Note)));
        b.pid.do_send(near, Note(20));
        b.stop();
        b.ended().await;
    });
}
