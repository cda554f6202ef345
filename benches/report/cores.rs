//! Which processor a thread runs on. Left to itself, the kernel now packs two talking threads onto
//! one processor and now spreads them, and an ask takes 2 µs here or 60 µs.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Where the processes of a work run.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Places {
    /// All on one processor: what the code costs, without waking another processor.
    OneCore,
    /// Two processors. Processes take turns along the way of the messages: the client has the
    /// second, whom it sends to the first, the next on the way the second again. A work of one
    /// process starts on the first and moves the thread that sends to the second.
    TwoCores,
}

/// The processors of a run; equal if it is to have one only.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cores {
    sender: usize,
    receiver: usize,
}

impl Cores {
    /// The first one or two processors that this process may use. `None` if it may not choose.
    pub(crate) fn choose(places: Places) -> Option<Self> {
        let mut usable = usable().into_iter();
        let receiver = usable.next()?;
        let sender = match places {
            Places::OneCore => receiver,
            Places::TwoCores => usable.next()?,
        };
        Some(Self { sender, receiver })
    }

    /// Ties this thread, and those that it will start, to the processor of the process that is so
    /// many links away from the client.
    pub(crate) fn take(&self, links: usize) -> Result<()> {
        take(if links.is_multiple_of(2) { self.sender } else { self.receiver })
    }

    /// The client's.
    pub(crate) fn take_senders(&self) -> Result<()> {
        take(self.sender)
    }

    /// That of a client's neighbour.
    pub(crate) fn take_receivers(&self) -> Result<()> {
        take(self.receiver)
    }
}

#[cfg(target_os = "linux")]
fn usable() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |set| (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
    )
}

#[cfg(target_os = "linux")]
fn take(core: usize) -> Result<()> {
    use anyhow::Context;
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("processor {core}"))
}

#[cfg(not(target_os = "linux"))]
fn usable() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn take(_: usize) -> Result<()> {
    Ok(())
}
