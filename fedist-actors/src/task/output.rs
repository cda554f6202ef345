//! What a task prints, on its way to the caller's side: bounded in rate and in bytes.

use std::collections::VecDeque;

use fedist_registry::Micros;

/// Bytes of a line that are kept; the rest is cut off.
pub(crate) const LINE_BYTES: usize = 4 * 1024;
/// Bytes that may wait to be sent, and that may come in one burst.
const BURST_BYTES: u64 = 64 * 1024;
/// Bytes per second in the long run.
const BYTES_PER_SECOND: u64 = 64 * 1024;
/// What a line costs beside its bytes, so that empty lines are not free.
const LINE_COST: u64 = 32;

/// The lines of one task. Lines beyond the allowance are dropped and counted.
#[derive(Debug)]
pub(crate) struct Output {
    waiting: VecDeque<String>,
    waiting_bytes: u64,
    allowance: u64,
    refilled: Micros,
    lost: u64,
}

impl Output {
    pub(crate) fn new(now: Micros) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            allowance: BURST_BYTES,
            refilled: now,
            lost: 0,
        }
    }

    /// Takes what was printed, line by line.
    pub(crate) fn print(&mut self, now: Micros, text: &str) {
        for line in text.lines() {
            self.print_line(now, line);
        }
    }

    fn print_line(&mut self, now: Micros, line: &str) {
        self.refill(now);
        let line = cut(line);
        let cost = line.len() as u64 + LINE_COST;
        if cost > self.allowance || self.waiting_bytes + cost > BURST_BYTES {
            self.lost += 1;
            return;
        }
        self.allowance -= cost;
        self.waiting_bytes += cost;
        self.waiting.push_back(line.to_owned());
    }

    /// Takes out all lines that wait.
    pub(crate) fn take(&mut self) -> Vec<String> {
        self.waiting_bytes = 0;
        self.waiting.drain(..).collect()
    }

    /// Puts lines back that could not be sent, in front of what came since.
    pub(crate) fn put_back(&mut self, lines: Vec<String>) {
        for line in lines.into_iter().rev() {
            self.waiting_bytes += line.len() as u64 + LINE_COST;
            self.waiting.push_front(line);
        }
    }

    /// How many lines were dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn refill(&mut self, now: Micros) {
        let passed = now.saturating_sub(self.refilled).0;
        let earned = passed.saturating_mul(BYTES_PER_SECOND) / 1_000_000;
        if earned > 0 {
            self.allowance = self.allowance.saturating_add(earned).min(BURST_BYTES);
            self.refilled = now;
        }
    }
}

/// The start of a line, at most [`LINE_BYTES`], never within a character.
pub(crate) fn cut(line: &str) -> &str {
    let mut end = line.len().min(LINE_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

/// The last line when some were dropped.
pub(crate) fn lost_lines(lost: u64) -> Option<String> {
    (lost > 0).then(|| format!("({lost} lines of output were dropped: more than 64 KiB/s)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    #[test]
    fn lines_come_out_in_the_order_printed() {
        let mut output = Output::new(at(0));
        output.print(at(0), "one\ntwo");
        output.print(at(0), "three");
        assert_eq!(output.take(), ["one", "two", "three"]);
        assert_eq!(output.take(), Vec::<String>::new());
    }

    #[test]
    fn lines_that_could_not_be_sent_stay_in_front() {
        let mut output = Output::new(at(0));
        output.print(at(0), "one");
        let lines = output.take();
        output.print(at(0), "two");
        output.put_back(lines);
        assert_eq!(output.take(), ["one", "two"]);
    }

    #[test]
    fn a_flood_is_dropped_and_counted_and_time_gives_room_again() {
        let mut output = Output::new(at(0));
        for _ in 0..10_000 {
            output.print(at(0), &"x".repeat(100));
        }
        let kept = output.take().len() as u64;
        assert_eq!(kept, BURST_BYTES / (100 + LINE_COST));
        assert_eq!(output.lost(), 10_000 - kept);
        output.print(at(1_000), "later");
        assert_eq!(output.take(), ["later"]);
    }

    #[test]
    fn what_waits_is_bounded_however_long_it_cannot_be_sent() {
        let mut output = Output::new(at(0));
        for second in 0..100 {
            output.print(at(second * 1_000), &"x".repeat(LINE_BYTES));
            output.print(at(second * 1_000), &"x".repeat(LINE_BYTES));
        }
        let bytes: usize = output.take().iter().map(String::len).sum();
        assert!(bytes as u64 <= BURST_BYTES);
        assert!(output.lost() > 0);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = "ä".repeat(LINE_BYTES);
        assert_eq!(cut(&line).len(), LINE_BYTES);
        let odd = format!("x{line}");
        assert_eq!(cut(&odd).len(), LINE_BYTES - 1);
    }

    #[test]
    fn slow_printing_earns_its_allowance_even_in_small_steps() {
        let mut output = Output::new(at(0));
        let mut micros = 0;
        for _ in 0..100_000 {
            micros += 1_000;
            output.print(Micros(micros), "tick");
            output.take();
        }
        assert_eq!(output.lost(), 0);
    }
}
