//! A process that the driver has started, whatever program it is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cores::Cores;
use crate::run::Said;

/// Ends with this value.
pub(crate) struct Process {
    child: Child,
    /// Its end tells the process to end, should the driver not be able to.
    _input: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// Where a process may run.
#[derive(Copy, Clone)]
pub(crate) enum Place {
    Sender,
    Receiver,
    Anywhere,
}

impl Process {
    /// Starts `command` on the processor of `place`; all its threads inherit that.
    pub(crate) fn start(mut command: Command, place: Place, cores: Option<Cores>) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let start = move || -> Result<Child> {
            match (place, cores) {
                (Place::Sender, Some(cores)) => cores.take_senders()?,
                (Place::Receiver, Some(cores)) => cores.take_receivers()?,
                _ => {}
            }
            command.spawn().with_context(|| format!("{command:?} could not be started"))
        };
        // A child runs where the thread may that starts it, so that is one for this only.
        let mut child = match std::thread::spawn(start).join() {
            Ok(child) => child?,
            Err(_) => bail!("the thread that starts a process panicked"),
        };
        let input = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What else a program says is for people.
                if !line.starts_with('{') {
                    eprintln!("{line}");
                } else if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, _input: input, lines })
    }

    /// What the process says next.
    pub(crate) fn listen(&mut self, patience: Duration) -> Result<Said> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("nothing was said within {patience:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the process ended early"),
        }
    }

    /// User and system time of all its living threads. `schedstat` counts nanoseconds; `stat` has
    /// the sum in hundredths of a second, too coarse for a run of a second.
    pub(crate) fn time(&self) -> Option<Duration> {
        let mut sum = Duration::ZERO;
        let threads = format!("/proc/{}/task", self.child.id());
        for thread in fs::read_dir(threads).ok()?.flatten() {
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let nanos = text.split_whitespace().next()?.parse().ok()?;
            sum += Duration::from_nanos(nanos);
        }
        (sum > Duration::ZERO).then_some(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
