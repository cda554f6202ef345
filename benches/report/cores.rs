//! Which processor a thread runs on. Left to itself, the kernel now packs two talking threads onto
//! one processor and now spreads them, and an ask takes 2 µs here or 60 µs.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The processors of a run; equal if it is to have one only.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cores {
    sender: usize,
    receiver: usize,
}

impl Cores {
    /// The first one or two processors that this process may use. `None` if it may not choose.
    pub(crate) fn choose(count: u8) -> Option<Self> {
        let mut usable = usable().into_iter();
        let receiver = usable.next()?;
        let sender = if count == 1 { receiver } else { usable.next()? };
        Some(Self { sender, receiver })
    }

    /// Ties this thread, and those that it will start, to the sender's processor.
    pub(crate) fn take_senders(&self) -> Result<()> {
        take(self.sender)
    }

    /// The same for the receiver's.
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
