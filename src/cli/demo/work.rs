//! What the demo runs in its regions: a task, a message and the actor that takes it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use actix::{Actor, Handler};
use fedist::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    tally::{Tally, TallyReport},
    words::WordCounts,
};

/// Counts the words of one piece of text.
#[fedist::task(name = "demo.count", version = 1)]
pub(crate) async fn count_words(_cx: TaskCx, text: String) -> WordCounts {
    WordCounts::of(&text)
}

/// One of many messages in a row.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[wire(name = "demo.numbered", version = 1)]
pub(crate) struct Numbered {
    pub(crate) seq: u64,
}

/// Takes numbered messages and keeps book.
pub(crate) struct SinkActor(pub(crate) SinkBook);

/// The book of a sink, shared with who asks for it.
#[derive(Clone)]
pub(crate) struct SinkBook {
    started: Instant,
    tally: Arc<Mutex<Tally>>,
}

impl SinkBook {
    pub(crate) fn new(messages: usize) -> Self {
        Self { started: Instant::now(), tally: Arc::new(Mutex::new(Tally::new(messages))) }
    }

    pub(crate) fn report(&self) -> TallyReport {
        self.with(|tally| tally.report())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Actor for SinkActor {
    type Context = Context<Self>;
}

impl Handler<Numbered> for SinkActor {
    type Result = ();

    fn handle(&mut self, message: Numbered, _: &mut Context<Self>) {
        let now = self.0.started.elapsed();
        self.0.with(|tally| tally.arrived(now, message.seq));
    }
}
