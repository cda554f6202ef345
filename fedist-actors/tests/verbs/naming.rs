//! Names: of regions, of the whole federation, and what is sent to them.

use std::sync::atomic::{AtomicU64, Ordering};

use fedist_actors::{
    ExportError, LookupError, Node, RegionAddr, RegisterError, ViaAskError, ViaSendError,
};
use fedist_registry::RegionPid;

use crate::{
    probe::*,
    support::{Note, Notebook, Notes, eventually},
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

/// A name that nobody else uses.
fn new_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("name {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn register(near: &Node, far: &Node) -> String {
    let (b, name) = (Proc::new(far), new_name());
    far.register(&name, b.pid).unwrap();
    let found = whereis_name(&near.whereis(&path(far, &name)).await, b.pid);
    let again = match far.register(&name, Proc::new(far).pid) {
        Err(RegisterError::Taken { holder, .. }) if holder == b.pid => "Taken".to_owned(),
        other => debug(other),
    };
    format!("{found}, then {again}")
}

pub(crate) async fn unregister(near: &Node, far: &Node) -> String {
    let (b, name) = (Proc::new(far), new_name());
    far.register(&name, b.pid).unwrap();
    let freed = far.unregister(&name) == Some(b.pid);
    let found = whereis_name(&near.whereis(&path(far, &name)).await, b.pid);
    format!("{freed}, then {found}")
}

pub(crate) async fn via_send(near: &Node, far: &Node) -> String {
    let (b, name) = (Proc::new(far), new_name());
    far.register(&name, b.pid).unwrap();
    let told = near.via::<Note>(&path(far, &name)).unwrap().tell(Note(1)).await;
    let asked = near.via::<Sync>(&path(far, &name)).unwrap().send(Sync).await;
    format!("{:?}, {asked:?}", told.map_err(|error| error.to_string()))
}

pub(crate) async fn via_do_send(near: &Node, far: &Node) -> String {
    let (b, name) = (Proc::new(far), new_name());
    far.register(&name, b.pid).unwrap();
    let via = near.via::<Note>(&path(far, &name)).unwrap();
    for number in 0..3 {
        via.do_send(Note(number));
    }
    b.until("all have come", |b| b.events().len() == 3).await;
    debug(b.events())
}

pub(crate) async fn via_after_a_new_start(near: &Node, far: &Node) -> String {
    let name = new_name();
    let asks = near.via::<Sync>(&path(far, &name)).unwrap();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let b = Proc::new(far);
        far.register(&name, b.pid).unwrap();
        answers.push(asks.send(Sync).await.map_err(|error| error.to_string()));
        b.exit(custom("over"));
        b.ended().await;
    }
    debug(answers)
}

pub(crate) async fn via_unknown(near: &Node, far: &Node) -> String {
    let name = new_name();
    let told = match near.via::<Note>(&path(far, &name)).unwrap().tell(Note(1)).await {
        Err(ViaSendError::Lookup(LookupError::NotFound { .. }, Note(1))) => "NotFound".to_owned(),
        other => debug(other),
    };
    let asked = match near.via::<Sync>(&path(far, &name)).unwrap().send(Sync).await {
        Err(ViaAskError::Lookup(LookupError::NotFound { .. })) => "NotFound".to_owned(),
        other => debug(other),
    };
    format!("{told}, {asked}")
}

pub(crate) async fn alias(near: &Node, far: &Node) -> String {
    let (b, name) = (Proc::new(far), new_name());
    let alias = far.claim_alias(&name, b.pid).await.unwrap();
    let path = format!("@{name}");
    let found = whereis_name(&near.whereis(&path).await, b.pid);
    let asked = near.via::<Sync>(&path).unwrap().send(Sync).await;
    let held = alias.is_held();
    drop(alias);
    eventually("it is free", || async { matches!(near.alias_holder(&name).await, Ok(None)) }).await;
    format!("{found}, {asked:?}, held: {held}, then free")
}

pub(crate) async fn alias_ends_with_its_actor(near: &Node, far: &Node) -> String {
    let (b, name) = (Proc::new(far), new_name());
    let alias = far.claim_alias(&name, b.pid).await.unwrap();
    b.crash("a bug");
    let lost = within("it is lost", alias.lost()).await;
    eventually("nobody has it", || async { matches!(near.alias_holder(&name).await, Ok(None)) })
        .await;
    debug(lost)
}
