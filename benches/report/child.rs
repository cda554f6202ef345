//! A process of a run: what it does when it is one, and how the driver holds one.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::CHILD;
use crate::run::{Role, Run, Said};
use crate::works;

/// Does what the driver asks of this process.
pub(crate) fn perform(run: &Run) -> Result<()> {
    let work = works::all().find(|work| work.name == run.work).context("no such work")?;
    let cast = work.cast(run.side).context("a work without a floor")?;
    if let Some(cores) = &run.cores {
        // Threads inherit it.
        match run.role {
            // The receiver of a work without servers is in this process, too.
            Role::Client if cast.servers.is_empty() => cores.take_receivers()?,
            Role::Client => cores.take(0)?,
            Role::Server(index) => cores.take(cast.servers.len() - index)?,
        }
    }
    // The driver holds the other end; when it is gone, for whatever reason, so is this process.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match run.role {
        Role::Server(index) => {
            let serve = cast.servers.get(index).context("no such server")?;
            let _kept = serve(run)?;
            loop {
                std::thread::park();
            }
        }
        Role::Client => say(&Said::Measured((cast.client)(run)?)),
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
