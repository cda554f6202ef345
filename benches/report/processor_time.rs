//! Processor time of a process, to the nanosecond where the kernel tells.

use std::fs;
use std::time::Duration;

use crate::run::Outcome;
use crate::work::{CPU, CPU_HERE, CPU_THERE};

/// Measures what two processes use from now on.
pub(crate) struct ProcessorTime {
    server: u32,
    before: Option<(Duration, Duration)>,
}

impl ProcessorTime {
    pub(crate) fn start(server: u32) -> Self {
        Self { server, before: used_by_both(server) }
    }

    /// Adds what each of `count` messages took. Nothing on systems without Linux's `/proc`.
    pub(crate) fn stop(self, count: u64, outcome: &mut Outcome) {
        let (Some(before), Some(after)) = (self.before, used_by_both(self.server)) else {
            return;
        };
        let each = |from: Duration, to: Duration| {
            to.saturating_sub(from).as_secs_f64() * 1e6 / count as f64
        };
        let (here, there) = (each(before.0, after.0), each(before.1, after.1));
        outcome.insert(CPU_HERE.to_owned(), here);
        outcome.insert(CPU_THERE.to_owned(), there);
        outcome.insert(CPU.to_owned(), here + there);
    }
}

fn used_by_both(server: u32) -> Option<(Duration, Duration)> {
    Some((used_by(std::process::id())?, used_by(server)?))
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
