//! Orders to region processes and their answers: JSON, one value per line, orders on stdin and answers on stdout. The end
//! of stdin ends the region, whoever closed it.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command with the number that its answers will carry.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order<C> {
    pub(crate) id: u64,
    #[serde(rename = "do")]
    pub(crate) command: C,
}

/// One line from a region process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) heard: Heard,
}

/// What is heard of a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Heard {
    /// It goes on, and this happened.
    Event(Value),
    /// It is done.
    Done(Value),
    /// It failed.
    Failed(String),
}

/// Answers to one order, on stdout.
pub(crate) struct Voice(pub(crate) u64);

impl Voice {
    pub(crate) fn event(&self, value: &impl Serialize) {
        self.say(Heard::Event(json(value)));
    }

    pub(crate) fn done(&self, value: &impl Serialize) {
        self.say(Heard::Done(json(value)));
    }

    pub(crate) fn failed(&self, error: &anyhow::Error) {
        self.say(Heard::Failed(format!("{error:#}")));
    }

    fn say(&self, heard: Heard) {
        let mut line = json(&Reply { id: self.0, heard }).to_string();
        line.push('\n');
        let mut out = io::stdout().lock();
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            // Nobody listens any more; the end of stdin says so too, and cleans up.
            tracing::debug!("the demo does not listen");
        }
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| Value::String(error.to_string()))
}
