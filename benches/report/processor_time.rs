//! Processor time of a process, to the nanosecond where the kernel tells.

use std::fs;
use std::time::Duration;

use crate::run::{Outcome, ServerAt};
use crate::work::{CPU, CPU_BETWEEN, CPU_HERE, CPU_THERE};

/// Measures what this process and the servers of its run use from now on.
pub(crate) struct ProcessorTime {
    processes: Vec<u32>,
    before: Option<Vec<Duration>>,
}

impl ProcessorTime {
    pub(crate) fn start(servers: &[ServerAt]) -> Self {
        let servers = servers.iter().map(|server| server.process);
        let processes: Vec<u32> = std::iter::once(std::process::id()).chain(servers).collect();
        let before = used_by_all(&processes);
        Self { processes, before }
    }

    /// Adds what each of `count` messages took. Nothing on systems without Linux's `/proc`.
    pub(crate) fn stop(self, count: u64, outcome: &mut Outcome) {
        let (Some(before), Some(after)) = (self.before, used_by_all(&self.processes)) else {
            return;
        };
        let used = before.iter().zip(&after).map(|(before, after)| {
            after.saturating_sub(*before).as_secs_f64() * 1e6 / count as f64
        });
        let used: Vec<f64> = used.collect();
        for (key, part) in [(CPU_HERE, 0..1), (CPU_THERE, 1..2), (CPU_BETWEEN, 2..used.len())] {
            if let Some(part @ [_, ..]) = used.get(part) {
                outcome.insert(key.to_owned(), part.iter().sum());
            }
        }
        outcome.insert(CPU.to_owned(), used.iter().sum());
    }
}

fn used_by_all(processes: &[u32]) -> Option<Vec<Duration>> {
    processes.iter().map(|&process| used_by(process)).collect()
}

/// User and system time of all living threads. `schedstat` counts nanoseconds; `stat` has the sum
/// in hundredths of a second, too coarse for a run of a second.
fn used_by(process: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        let nanos = text.split_whitespace().next()?.parse().ok()?;
        sum += Duration::from_nanos(nanos);
    }
    (sum > Duration::ZERO).then_some(sum)
}
