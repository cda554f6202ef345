//! The processor time of the calling thread.

use fedist_registry::Micros;

/// Processor time that this thread has used since it started; zero where the system does not tell.
#[cfg(unix)]
pub(super) fn thread_cpu_time() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Micros::from_secs(seconds) + Micros(nanoseconds / 1_000)
}

/// Processor time that this thread has used since it started; zero where the system does not tell.
#[cfg(not(unix))]
pub(super) fn thread_cpu_time() -> Micros {
    Micros::ZERO
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_processor_time() {
        let before = thread_cpu_time();
        let mut work = 0_u64;
        while thread_cpu_time() - before < Micros::from_millis(2) {
            work = std::hint::black_box(work + 1);
        }
        assert!(work > 0);
    }
}
