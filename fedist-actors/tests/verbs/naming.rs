//! Names.

use fedist_actors::{ExportError, LookupError, Node, RegionAddr};
use fedist_registry::RegionPid;

use crate::{
    probe::*,
    support::{Note, Notebook, Notes},
    table::{debug, name_of},
};

fn path(far: &Node, name: &str) -> String {
    format!("{}/{name}", far.region())
}

fn whereis_name(outcome: &Result<RegionPid, LookupError>, expected: RegionPid) -> String {
    match outcome {
        Ok(pid) if *pid == expected => "found".to_owned(),
        Ok(_) => "found another".to_owned(),
        Err(LookupError::NotFound { .. }) => "NotFound".to_owned(),
        Err(other) => debug(other),
    }
}

pub(crate) async fn name_and_whereis(near: &Node, far: &Node) -> String {
    let b = Proc::new(far);
    far.export(&b.addr).name("a name").publish().unwrap();
    let outcome = whereis_name(&near.whereis(&path(far, "a name")).await, b.pid);
    b.stop();
    b.ended().await;
    outcome
}

pub(crate) async fn whereis_unknown(near: &Node, far: &Node) -> String {
    whereis_name(&near.whereis(&path(far, "nobody's name")).await, nobody(far))
}

pub(crate) async fn whereis_after_its_end(near: &Node, far: &Node) -> String {
    let (a, b) = (Proc::new(near), Proc::new(far));
    far.export(&b.addr).name("short").publish().unwrap();
    assert!(near.whereis(&path(far, "short")).await.is_ok());
    a.monitor(&b).await;
    b.crash("a bug");
    a.until("the Down", |a| !a.downs().is_empty()).await;
    whereis_name(&near.whereis(&path(far, "short")).await, b.pid)
}

pub(crate) async fn name_taken(near: &Node, far: &Node) -> String {
    let (b, other) = (Proc::new(far), Proc::new(far));
    far.export(&b.addr).name("taken").publish().unwrap();
    let outcome = match far.export(&other.addr).name("taken").publish() {
        Err(ExportError::NameTaken { .. }) => "NameTaken".to_owned(),
        outcome => debug(outcome),
    };
    let found = whereis_name(&near.whereis(&path(far, "taken")).await, b.pid);
    b.stop();
    b.ended().await;
    if found == "found" { outcome } else { found }
}

pub(crate) async fn lookup(near: &Node, far: &Node) -> String {
    let addr = far.spawn(Notebook::default()).unwrap();
    let export = far.export(&addr).handles::<Note>().handles::<Notes>();
    let pid = export.name("looked up").publish().unwrap();
    let found: RegionAddr<Notebook> = near.lookup(&path(far, "looked up")).await.unwrap();
    found.do_send(Note(1));
    let outcome = name_of(found.send(Notes).await);
    far.kill(pid);
    far.monitor(pid).await;
    outcome
}
