//! Children that write down when they start and end.

use std::sync::{Arc, Mutex};

use actix::{Actor, Handler};
use fedist_actors::{
    ChildSpec, Context, Exit, ExitReason, LocalAddr, Message, Node, PidSend, Supervisor, child,
    exported_child,
};
use fedist_registry::RegionPid;
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};

use crate::support::{eventually, root};

/// What happened, in order: `start a`, `end a`.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Everything since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// How often a line has been written since the last look.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|known| *known == line).count()
    }

    /// Waits until this, and exactly this, has been written since the last look.
    pub(crate) async fn reads(&self, expected: &[&str]) {
        let seen = || self.0.lock().unwrap().clone();
        for _ in 0..1_000 {
            if seen().len() >= expected.len() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(self.take(), expected);
    }
}

/// A child; `traps` makes it deaf to the exit signal `Shutdown`.
pub(crate) struct Worker {
    name: String,
    journal: Journal,
    traps: bool,
}

impl Worker {
    pub(crate) fn new(name: &str, journal: &Journal) -> Self {
        Self { name: name.to_owned(), journal: journal.clone(), traps: false }
    }

    pub(crate) fn deaf(name: &str, journal: &Journal) -> Self {
        Self { name: name.to_owned(), journal: journal.clone(), traps: true }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.trap_exit(self.traps);
        self.journal.write(format!("start {}", self.name));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.journal.write(format!("end {}", self.name));
    }
}

impl Handler<Exit> for Worker {
    type Result = ();

    fn handle(&mut self, exit: Exit, _: &mut Context<Self>) {
        self.journal.write(format!("{} hears {}", self.name, exit.reason));
    }
}

/// Makes a worker end.
#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "test.end", version = 1, crate = "fedist_actors")]
pub(crate) struct End(pub(crate) ExitReason);

impl Handler<End> for Worker {
    type Result = ();

    fn handle(&mut self, End(reason): End, ctx: &mut Context<Self>) {
        if let ExitReason::Panicked(text) = &reason {
            panic!("{text}");
        }
        ctx.exit(reason);
    }
}

pub(crate) fn panicked() -> ExitReason {
    ExitReason::Panicked("as planned".to_owned())
}

/// A worker under the name `name`.
pub(crate) fn worker(name: &'static str, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    exported_child(
        name,
        move || Worker::new(name, &journal),
        move |e| e.handles::<End>().name(name),
    )
}

pub(crate) fn deaf(name: &'static str, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    child(name, move || Worker::deaf(name, &journal))
}

/// A region of its own.
pub(crate) async fn alone() -> Node {
    root(&MemoryNet::new(1)).start().await.unwrap()
}

/// The pid of a child that runs.
pub(crate) async fn pid_of(supervisor: &LocalAddr<Supervisor>, name: &str) -> RegionPid {
    let found = std::cell::Cell::new(None);
    eventually("the child runs", || async {
        let children = supervisor.which_children().await.unwrap();
        found.set(children.iter().find(|child| child.name == name).and_then(|child| child.pid));
        found.get().is_some()
    })
    .await;
    found.get().unwrap()
}

/// Ends a worker by a message.
pub(crate) async fn end(node: &Node, pid: RegionPid, reason: ExitReason) {
    pid.tell(node, End(reason)).await.unwrap();
}
