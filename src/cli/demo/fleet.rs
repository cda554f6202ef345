//! The region processes: started, asked, killed, and never left behind.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use fedist::registry::RegionId;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    order::{Heard, Order, Reply},
    protocol::{Command, REGION_COMMAND},
    scratch::ScratchDir,
};

/// All region processes and the directory they live in. Dropping it kills and removes them.
pub(crate) struct Fleet {
    hold: Hold,
    regions: BTreeMap<RegionId, Arc<RegionProcess>>,
    verbose: bool,
}

/// What must not stay behind; shared with the handler of Ctrl-C.
#[derive(Clone)]
pub(crate) struct Hold(Arc<Mutex<Held>>);

struct Held {
    children: BTreeMap<RegionId, Child>,
    scratch: Option<ScratchDir>,
    released: bool,
}

impl Hold {
    /// Takes the directory that goes with the processes.
    pub(crate) fn new(scratch: ScratchDir) -> Self {
        Self(Arc::new(Mutex::new(Held {
            children: BTreeMap::new(),
            scratch: Some(scratch),
            released: false,
        })))
    }

    /// Kills every process, waits for its end, and removes the directory. Nothing can be started
    /// afterwards. Gives the number of processes killed.
    pub(crate) fn release(&self) -> usize {
        let mut held = lock(&self.0);
        held.released = true;
        let children = std::mem::take(&mut held.children);
        let count = children.len();
        let mut children: Vec<Child> = children.into_values().collect();
        for child in &mut children {
            // Fails only for one that has ended by itself.
            let _ = child.kill();
        }
        for child in &mut children {
            let _ = child.wait();
        }
        drop(held.scratch.take());
        count
    }

    /// Whether [`release`](Self::release) was called, by whomever.
    pub(crate) fn is_released(&self) -> bool {
        lock(&self.0).released
    }

    fn spawn(&self, id: RegionId, command: &mut std::process::Command) -> anyhow::Result<Pipes> {
        // Under the lock, so that no process starts after the others were killed.
        let mut held = lock(&self.0);
        if held.released {
            bail!("the demo is being stopped");
        }
        let mut child = command.spawn().context("a region process could not be started")?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        held.children.insert(id, child);
        Ok(pipes)
    }

    fn take(&self, id: RegionId) -> Option<Child> {
        lock(&self.0).children.remove(&id)
    }
}

type Pipes =
    (Option<ChildStdin>, Option<std::process::ChildStdout>, Option<std::process::ChildStderr>);

impl Fleet {
    /// No process yet. With `verbose` their logs go to stderr, else they are kept for the case of failure.
    pub(crate) fn new(hold: Hold, verbose: bool) -> Self {
        Self { hold, regions: BTreeMap::new(), verbose }
    }

    /// Starts the process of a region; its node starts with [`Command::Start`].
    pub(crate) fn spawn(
        &mut self,
        id: RegionId,
        name: &str,
        data_dir: &Path,
    ) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        let mut command = std::process::Command::new(program);
        command
            .arg(REGION_COMMAND)
            .args(["--region", &id.to_string(), "--name", name, "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if self.verbose { Stdio::inherit() } else { Stdio::piped() });
        // Ctrl-C is for the demo, which ends its regions itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let (stdin, stdout, stderr) = self.hold.spawn(id, &mut command)?;
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            bail!("region {id} has no pipes");
        };
        let region = RegionProcess {
            id,
            stdin: Mutex::new(stdin),
            calls: Arc::default(),
            last_words: Arc::default(),
        };
        let calls = Arc::clone(&region.calls);
        thread::Builder::new()
            .name(format!("demo-region-{id}"))
            .spawn(move || hear(id, BufReader::new(stdout), &calls))?;
        if let Some(stderr) = stderr {
            let last_words = Arc::clone(&region.last_words);
            thread::Builder::new()
                .name(format!("demo-log-{id}"))
                .spawn(move || keep_last(BufReader::new(stderr), &last_words))?;
        }
        self.regions.insert(id, Arc::new(region));
        Ok(())
    }

    /// The process of a region that was started and not killed.
    pub(crate) fn region(&self, id: RegionId) -> anyhow::Result<&Arc<RegionProcess>> {
        self.regions.get(&id).with_context(|| format!("region {id} does not run"))
    }

    /// All that run, in the order of their numbers.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Arc<RegionProcess>> {
        self.regions.values()
    }

    /// Kills the process of a region with SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self, id: RegionId) -> anyhow::Result<()> {
        let mut child = self.hold.take(id).with_context(|| format!("region {id} does not run"))?;
        self.regions.remove(&id);
        child.kill().with_context(|| format!("region {id} could not be killed"))?;
        child.wait()?;
        Ok(())
    }

    /// Asks all to stop and waits for them, `patience` at most; gives how many ended in time.
    /// The others are killed when the fleet is dropped.
    pub(crate) fn stop(&mut self, patience: Duration) -> usize {
        let until = Instant::now() + patience;
        let calls: Vec<_> = self.running().map(|region| region.order(Command::Stop)).collect();
        let ids: Vec<RegionId> = self.regions.keys().copied().collect();
        let stopped: Vec<bool> = calls
            .into_iter()
            .map(|call| {
                let rest = until.saturating_duration_since(Instant::now());
                call.and_then(|call| call.answer::<Value>(rest)).is_ok()
            })
            .collect();
        let mut ended = 0;
        for (id, _) in ids.into_iter().zip(stopped).filter(|(_, stopped)| *stopped) {
            // It said goodbye, so its end is a matter of milliseconds.
            self.regions.remove(&id);
            if let Some(mut child) = self.hold.take(id) {
                ended += usize::from(wait_until(&mut child, until));
            }
        }
        ended
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.hold.release();
    }
}

/// One region process that runs, or did until a moment ago.
pub(crate) struct RegionProcess {
    pub(crate) id: RegionId,
    stdin: Mutex<ChildStdin>,
    calls: Arc<Mutex<Calls>>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

#[derive(Default)]
struct Calls {
    last_id: u64,
    open: HashMap<u64, Sender<(RegionId, Heard)>>,
    gone: bool,
}

/// An order that was given, and what is heard of it.
pub(crate) struct Call {
    region: Arc<RegionProcess>,
    heard: Receiver<(RegionId, Heard)>,
}

impl RegionProcess {
    /// Gives an order and waits for its end.
    pub(crate) fn ask<T: DeserializeOwned>(
        self: &Arc<Self>,
        command: Command,
        patience: Duration,
    ) -> anyhow::Result<T> {
        self.order(command)?.answer(patience)
    }

    /// Gives an order.
    pub(crate) fn order(self: &Arc<Self>, command: Command) -> anyhow::Result<Call> {
        let (sender, heard) = mpsc::channel();
        self.order_into(command, sender)?;
        Ok(Call { region: Arc::clone(self), heard })
    }

    /// Gives an order whose answers go into a channel that several orders share.
    pub(crate) fn order_into(
        &self,
        command: Command,
        sender: Sender<(RegionId, Heard)>,
    ) -> anyhow::Result<()> {
        let id = {
            let mut calls = lock(&self.calls);
            if calls.gone {
                return Err(self.gone());
            }
            calls.last_id += 1;
            let id = calls.last_id;
            calls.open.insert(id, sender);
            id
        };
        let mut line = serde_json::to_vec(&Order { id, command })?;
        line.push(b'\n');
        let mut stdin = lock(&self.stdin);
        let written = stdin.write_all(&line).and_then(|()| stdin.flush());
        written.map_err(|_| self.gone())
    }

    /// The error of a process that ended before its time, with the last of its log.
    pub(crate) fn gone(&self) -> anyhow::Error {
        anyhow!("region {} ended unexpectedly{}", self.id, self.last_words())
    }

    /// The last lines of its log, each on a line of its own; empty if it said nothing.
    pub(crate) fn last_words(&self) -> String {
        let lines = lock(&self.last_words);
        lines.iter().map(|line| format!("\n    {line}")).collect()
    }
}

impl Call {
    /// The next event; `None` at the end of the order.
    pub(crate) fn event<T: DeserializeOwned>(
        &self,
        patience: Duration,
    ) -> anyhow::Result<Option<T>> {
        match self.next(patience)? {
            Heard::Event(value) => Ok(Some(self.read(value)?)),
            Heard::Done(_) => Ok(None),
            Heard::Failed(error) => Err(anyhow!("region {}: {error}", self.region.id)),
        }
    }

    /// The answer; events are passed over.
    pub(crate) fn answer<T: DeserializeOwned>(&self, patience: Duration) -> anyhow::Result<T> {
        let until = Instant::now() + patience;
        loop {
            match self.next(until.saturating_duration_since(Instant::now()))? {
                Heard::Event(_) => {}
                Heard::Done(value) => return self.read(value),
                Heard::Failed(error) => bail!("region {}: {error}", self.region.id),
            }
        }
    }

    fn next(&self, patience: Duration) -> anyhow::Result<Heard> {
        match self.heard.recv_timeout(patience) {
            Ok((_, heard)) => Ok(heard),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.region.gone()),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(anyhow!(
                "region {} did not answer within {patience:.1?}{}",
                self.region.id,
                self.region.last_words()
            )),
        }
    }

    fn read<T: DeserializeOwned>(&self, value: Value) -> anyhow::Result<T> {
        serde_json::from_value(value)
            .with_context(|| format!("region {} gave an answer of another form", self.region.id))
    }
}

/// Hands each line of a region to the call it belongs to; the end closes all calls.
fn hear(id: RegionId, lines: impl BufRead, calls: &Mutex<Calls>) {
    for line in lines.lines() {
        let Ok(line) = line else { break };
        let Ok(Reply { id: call, heard }) = serde_json::from_str(&line) else {
            continue;
        };
        let mut calls = lock(calls);
        let last = !matches!(heard, Heard::Event(_));
        let sender = match last {
            true => calls.open.remove(&call),
            false => calls.open.get(&call).cloned(),
        };
        if let Some(sender) = sender {
            // Nobody waits for a call that was given up.
            let _ = sender.send((id, heard));
        }
    }
    let mut calls = lock(calls);
    calls.gone = true;
    for (_, sender) in calls.open.drain() {
        let _ = sender.send((id, Heard::Failed("the process ended unexpectedly".to_owned())));
    }
}

fn keep_last(lines: impl BufRead, last: &Mutex<VecDeque<String>>) {
    // By bytes, so that odd ones do not end the reading.
    for line in lines.split(b'\n').map_while(Result::ok) {
        let mut last = lock(last);
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(&line).into_owned());
    }
}

fn wait_until(child: &mut Child, until: Instant) -> bool {
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Keeps working after a panic elsewhere: each of these values is whole between two statements.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines of a region's log that are shown when it fails.
const LAST_WORDS: usize = 20;

/// Where a region keeps its data.
pub(crate) fn data_dir(base: &Path, id: RegionId) -> PathBuf {
    base.join(format!("region-{id}"))
}
