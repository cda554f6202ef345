//! FeDist and its peers, one file each: how it is set up, and how it sends, asks and counts.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::options::CHILD;
use crate::run::{Outcome, Run};
use crate::work::{BODY_LEN, Task};

#[cfg(feature = "actix")]
mod actix;
mod erlang;
mod fedist;
#[cfg(feature = "kameo")]
mod kameo;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "ractor")]
mod ractor;
#[cfg(feature = "telepathy")]
mod telepathy;
#[cfg(feature = "zenoh")]
mod zenoh;

/// One that does the works.
pub(crate) trait Peer: Sync {
    /// Its column, and what `--peer` takes.
    fn name(&self) -> &'static str;

    /// Whether what it sends to another process is encrypted and both sides are authenticated.
    fn encrypted(&self) -> bool {
        false
    }

    fn does(&self, task: Task) -> bool;

    /// Why it cannot take part on this machine.
    fn excluded(&self) -> Option<String> {
        None
    }

    /// Makes what the processes of a run share: certificates.
    fn prepare(&self, _run: &Run) -> Result<()> {
        Ok(())
    }

    /// A process between sender and receiver.
    fn broker(&self, _run: &Run) -> Result<Option<Command>> {
        Ok(None)
    }

    /// The process of `run.role`; by default this program, which then calls one of those below.
    fn command(&self, run: &Run) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("own executable")?);
        command.arg(CHILD).arg(serde_json::to_string(run)?);
        Ok(command)
    }

    /// Measures inside this process.
    fn local(&self, run: &Run) -> Result<Outcome> {
        bail!("{} has no {:?}", self.name(), run.task)
    }

    /// Says that it is ready and answers for ever.
    fn serve(&self, run: &Run) -> Result<()> {
        bail!("{} has no {:?}", self.name(), run.task)
    }

    /// Measures what is sent to `server`.
    fn measure(&self, run: &Run, _server: &str) -> Result<Outcome> {
        bail!("{} has no {:?}", self.name(), run.task)
    }
}

/// In the order of the columns.
pub(crate) const ALL: &[&dyn Peer] = &[
    &fedist::Fedist,
    #[cfg(feature = "actix")]
    &actix::Actix,
    #[cfg(feature = "telepathy")]
    &telepathy::Telepathy,
    #[cfg(feature = "ractor")]
    &ractor::Ractor,
    #[cfg(feature = "kameo")]
    &kameo::Kameo,
    #[cfg(feature = "zenoh")]
    &zenoh::Zenoh { quic: false },
    #[cfg(feature = "zenoh")]
    &zenoh::Zenoh { quic: true },
    #[cfg(feature = "nats")]
    &nats::Nats,
    &erlang::Erlang { tls: false },
    &erlang::Erlang { tls: true },
];

/// What local works send: as long as what travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Body(pub(crate) [[u8; BODY_LEN / 2]; 2]);

pub(crate) const BODY: Body = Body([[0x5a; BODY_LEN / 2]; 2]);

/// Ties this thread, and those that it will start, to the processor of the receiver.
fn take_receivers_core(run: &Run) -> Result<()> {
    run.cores.as_ref().map_or(Ok(()), Cores::take_receivers)
}

/// The same for the sender's; threads that run stay where they are.
fn take_senders_core(run: &Run) -> Result<()> {
    run.cores.as_ref().map_or(Ok(()), Cores::take_senders)
}

/// Runs `work` on a tokio runtime of this thread alone.
#[allow(dead_code, reason = "used by some peers, which may be left out")]
fn on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Starts something on a tokio runtime with a thread of its own, which goes on, and ties this
/// thread to the other processor.
#[allow(dead_code, reason = "used by some peers, which may be left out")]
fn on_receivers_thread<T: Send + 'static>(
    run: &Run,
    start: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    take_receivers_core(run)?;
    let (sender, started) = mpsc::channel();
    thread::spawn(move || {
        on_this_thread(async {
            let _ = sender.send(start().await);
            std::future::pending::<Result<()>>().await
        })
    });
    let started = started.recv().context("the receiver's thread ended")??;
    take_senders_core(run)?;
    Ok(started)
}
