//! Registered names. Pages: "Processes", sections "Registered Processes" and "Directly Visible Erlang
//! Resources"; erlang:register/2, erlang:whereis/1.

use fedist_actors::{ExportError, LookupError, Node};

use crate::probe::*;

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
