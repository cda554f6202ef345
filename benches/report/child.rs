//! A process of a run: what it does when it is one, and how the driver holds one.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::CHILD;
use crate::run::{Outcome, Role, Run, Said, ServerAt, Side};
use crate::{federation, local, raw_quinn};

/// Does what the driver asks of this process.
pub(crate) fn perform(run: &Run) -> Result<()> {
    if let Some(cores) = &run.cores {
        // Threads inherit it. A local run has its receiver in this process, too.
        match &run.role {
            Role::Client { server: Some(_) } => cores.take_senders()?,
            Role::Server | Role::Client { server: None } => cores.take_receivers()?,
        }
    }
    // The driver holds the other end; when it is gone, for whatever reason, so is this process.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match &run.role {
        Role::Server => {
            let _node = match run.side {
                Side::Floor => {
                    raw_quinn::serve(run)?;
                    None
                }
                Side::Fedist => Some(federation::serve(run)?),
            };
            loop {
                std::thread::park();
            }
        }
        Role::Client { server } => {
            let outcome = measure(run, server.as_ref())?;
            say(&Said::Measured(outcome))
        }
    }
}

fn measure(run: &Run, server: Option<&ServerAt>) -> Result<Outcome> {
    match (run.side, server) {
        (Side::Floor, None) => local::floor(run),
        (Side::Fedist, None) => local::fedist(run),
        (Side::Floor, Some(server)) => raw_quinn::measure(run, server),
        (Side::Fedist, Some(server)) => federation::measure(run, server),
    }
}

/// Tells the driver.
pub(crate) fn say(said: &Said) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, said)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// A process that the driver has started. Ends with this value.
pub(crate) struct Process {
    child: Child,
    /// Its end tells the process to end.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(run: &Run) -> Result<Self> {
        let program = std::env::current_exe().context("own executable")?;
        let mut child = Command::new(program)
            .arg(CHILD)
            .arg(serde_json::to_string(run)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a process of the run could not be started")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
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
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const GRACE: Duration = Duration::from_secs(2);
