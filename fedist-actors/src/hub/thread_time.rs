//! How long the calling thread worked, and how long it waited for a processor.

use std::{
    fs::File,
    io::{Read, Seek},
};

use fedist_registry::Micros;

/// The times of the thread on which it is made, since that thread started.
///
/// On Linux the scheduler tells both (`/proc/thread-self/schedstat`, fields in nanoseconds: running, waiting). Elsewhere only
/// the processor time is known; where not even that is, it stays zero.
pub(super) struct ThreadTime {
    schedstat: Option<File>,
}

/// Time that a thread spent since it started.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) working: Micros,
    /// In the run queue: it could have worked, and got no processor. `None` where the system does not tell.
    pub(super) waiting: Option<Micros>,
}

impl ThreadTime {
    pub(super) fn of_this_thread() -> Self {
        ThreadTime { schedstat: File::open("/proc/thread-self/schedstat").ok() }
    }

    pub(super) fn read(&mut self) -> Spent {
        if let Some(spent) = self.schedstat.as_mut().and_then(read_schedstat) {
            return spent;
        }
        self.schedstat = None;
        Spent { working: processor_time(), waiting: None }
    }
}

fn read_schedstat(file: &mut File) -> Option<Spent> {
    let mut text = [0; 96];
    file.rewind().ok()?;
    let len = file.read(&mut text).ok()?;
    parse_schedstat(std::str::from_utf8(text.get(..len)?).ok()?)
}

fn parse_schedstat(text: &str) -> Option<Spent> {
    let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || Some(Micros(fields.next()?.ok()? / 1_000));
    Some(Spent { working: next()?, waiting: Some(next()?) })
}

#[cfg(unix)]
fn processor_time() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Micros::from_secs(seconds) + Micros(nanoseconds / 1_000)
}

#[cfg(not(unix))]
fn processor_time() -> Micros {
    Micros::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_thread_that_works_uses_processor_time() {
        let mut time = ThreadTime::of_this_thread();
        let before = time.read();
        let mut work = 0_u64;
        while time.read().working - before.working < Micros::from_millis(2) {
            work = std::hint::black_box(work + 1);
        }
        assert!(work > 0 && time.read().waiting >= before.waiting);
        time.schedstat = None;
        assert!(time.read().working >= before.working + Micros::from_millis(1), "by either source");
    }

    #[test]
    fn the_schedulers_line_is_read_and_nonsense_is_not() {
        let spent = Spent { working: Micros(5), waiting: Some(Micros(7)) };
        assert_eq!(parse_schedstat("5999 7000 3\n"), Some(spent));
        for nonsense in ["", "5", "5 x 3", "-1 2 3"] {
            assert_eq!(parse_schedstat(nonsense), None, "{nonsense:?}");
        }
    }
}
