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
