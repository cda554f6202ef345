//! actix-telepathy between two processes. It has no ask: an answer is a message of its own to an
//! actor on the sender's side, and answers come in the order of the questions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use actix::prelude::*;
use actix_broker::BrokerSubscribe;
use actix_telepathy::prelude::*;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::Peer;
use crate::child::say;
use crate::run::{Outcome, Run, Said};
use crate::stopwatch::{self, Way};
use crate::work::Task;

pub(crate) struct Telepathy;

impl Peer for Telepathy {
    fn name(&self) -> &'static str {
        "telepathy"
    }

    fn does(&self, task: Task) -> bool {
        task.needs_a_server()
    }

    fn serve(&self, run: &Run) -> Result<()> {
        System::new().block_on(async {
            let address = SocketAddr::from(([127, 0, 0, 1], run.port));
            Counter { ticks: 0, answers: None }.start();
            let _cluster = Cluster::new(address, Vec::new());
            say(&Said::Ready { address: address.to_string() })?;
            std::future::pending().await
        })
    }

    fn measure(&self, run: &Run, server: &str) -> Result<Outcome> {
        System::new().block_on(async {
            let (sender, mut members) = mpsc::unbounded_channel();
            let waiting = Rc::default();
            Answers { members: sender, waiting: Rc::clone(&waiting) }.start();
            let own = SocketAddr::from(([127, 0, 0, 1], crate::driver::free_port()?));
            let _cluster = Cluster::new(own, vec![server.parse()?]);
            let counter = members.recv().await.context("the cluster has ended")?;
            let body = Bytes::from(vec![0x5a; run.task.bytes()]);
            stopwatch::measure(run, &Remote { counter, body, waiting }).await
        })
    }
}

type Waiting = Rc<RefCell<VecDeque<oneshot::Sender<Answer>>>>;

enum Answer {
    Body,
    Total(u64),
}

struct Remote {
    counter: RemoteAddr,
    body: Bytes,
    waiting: Waiting,
}

impl Remote {
    async fn answer(&self) -> Result<Answer> {
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        Ok(answer.await?)
    }
}

impl Way for Remote {
    async fn tell(&self) -> Result<()> {
        self.counter.do_send(Tick(self.body.clone()));
        Ok(())
    }

    async fn echo(&self) -> Result<()> {
        self.counter.do_send(Echo(self.body.clone()));
        self.answer().await.map(drop)
    }

    async fn total(&self) -> Result<u64> {
        self.counter.do_send(Total());
        match self.answer().await? {
            Answer::Total(total) => Ok(total),
            Answer::Body => bail!("a body instead of the total"),
        }
    }

    /// `do_send` passes the bounds of all mailboxes on the way.
    const HOLDS_BACK: bool = false;
}

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Tick(Bytes);

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Echo(Bytes);

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Echoed(Bytes);

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Total();

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Counted(u64);

#[derive(RemoteActor)]
#[remote_messages(Tick, Echo, Total)]
struct Counter {
    ticks: u64,
    answers: Option<RemoteAddr>,
}

impl Counter {
    fn answer<M: RemoteMessage>(&self, message: M) {
        if let Some(answers) = &self.answers {
            answers.do_send(message);
        }
    }
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.register(context.address().recipient());
        self.subscribe_system_async::<ClusterLog>(context);
    }
}

impl ClusterListener for Counter {}

impl Handler<ClusterLog> for Counter {
    type Result = ();

    fn handle(&mut self, log: ClusterLog, _: &mut Self::Context) {
        if let ClusterLog::NewMember(node) = log {
            self.answers = Some(node.get_remote_addr(Answers::ACTOR_ID.to_owned()));
        }
    }
}

impl Handler<Tick> for Counter {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        std::hint::black_box(&tick.0);
        self.ticks += 1;
    }
}

impl Handler<Echo> for Counter {
    type Result = ();

    fn handle(&mut self, echo: Echo, _: &mut Self::Context) {
        self.answer(Echoed(echo.0));
    }
}

impl Handler<Total> for Counter {
    type Result = ();

    fn handle(&mut self, _: Total, _: &mut Self::Context) {
        self.answer(Counted(self.ticks));
    }
}

#[derive(RemoteActor)]
#[remote_messages(Echoed, Counted)]
struct Answers {
    members: mpsc::UnboundedSender<RemoteAddr>,
    waiting: Waiting,
}

impl Answers {
    fn give(&self, answer: Answer) {
        if let Some(sender) = self.waiting.borrow_mut().pop_front() {
            let _ = sender.send(answer);
        }
    }
}

impl Actor for Answers {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.register(context.address().recipient());
        self.subscribe_system_async::<ClusterLog>(context);
    }
}

impl ClusterListener for Answers {}

impl Handler<ClusterLog> for Answers {
    type Result = ();

    fn handle(&mut self, log: ClusterLog, _: &mut Self::Context) {
        if let ClusterLog::NewMember(node) = log {
            let _ = self.members.send(node.get_remote_addr(Counter::ACTOR_ID.to_owned()));
        }
    }
}

impl Handler<Echoed> for Answers {
    type Result = ();

    fn handle(&mut self, echoed: Echoed, _: &mut Self::Context) {
        std::hint::black_box(&echoed.0);
        self.give(Answer::Body);
    }
}

impl Handler<Counted> for Answers {
    type Result = ();

    fn handle(&mut self, counted: Counted, _: &mut Self::Context) {
        self.give(Answer::Total(counted.0));
    }
}
