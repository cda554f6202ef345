//! What the demo shows on the terminal: sections, lines, bars.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where and how to print. On a terminal with colours and bars, else in plain short lines.
pub(crate) struct Show {
    to_stderr: bool,
    terminal: bool,
    colours: bool,
}

/// A bar or a spinner while something goes on; shows nothing when not on a terminal.
pub(crate) struct Bar(Option<ProgressBar>);

/// Colours of the terminal.
#[derive(Copy, Clone)]
pub(crate) enum Ink {
    Bold,
    Dim,
    Green,
    Red,
    Cyan,
}

impl Show {
    /// On stdout, or on stderr where stdout is for JSON.
    pub(crate) fn new(to_stderr: bool) -> Self {
        let terminal =
            if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let plain = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            to_stderr,
            terminal: terminal && !dumb,
            colours: terminal && !dumb && !plain("NO_COLOR"),
        }
    }

    /// One line. A reader that went away is no reason to stop.
    pub(crate) fn line(&self, text: impl Display) {
        let text = format!("{text}\n");
        let _ = if self.to_stderr {
            io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }

    /// Several lines, indented.
    pub(crate) fn block(&self, text: &str) {
        for line in text.lines() {
            self.line(format_args!("    {line}"));
        }
    }

    /// The headline of a section.
    pub(crate) fn section(&self, title: &str) {
        self.line("");
        self.line(self.paint(Ink::Bold, title));
    }

    /// Something that held, or did not.
    pub(crate) fn verdict(&self, held: bool, text: impl Display) {
        let mark = if held { self.paint(Ink::Green, "✓") } else { self.paint(Ink::Red, "✗") };
        self.line(format_args!("  {mark} {text}"));
    }

    /// Something to know.
    pub(crate) fn note(&self, text: impl Display) {
        self.line(self.paint(Ink::Dim, &format!("    {text}")));
    }

    /// Text in colour, where there are colours.
    pub(crate) fn paint(&self, ink: Ink, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Red => "1;31",
            Ink::Cyan => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A bar of `len` steps.
    pub(crate) fn bar(&self, len: usize, message: &str) -> Bar {
        self.progress(
            ProgressBar::with_draw_target(Some(len as u64), self.target()),
            "  {spinner:.cyan} {msg:<28} {bar:24.cyan/dim} {pos}/{len}",
            message,
        )
    }

    /// A spinner, for what has no known length.
    pub(crate) fn spinner(&self, message: &str) -> Bar {
        self.progress(
            ProgressBar::with_draw_target(None, self.target()),
            "  {spinner:.cyan} {msg}",
            message,
        )
    }

    fn progress(&self, bar: ProgressBar, template: &str, message: &str) -> Bar {
        if !self.terminal {
            return Bar(None);
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(Some(bar))
    }

    fn target(&self) -> ProgressDrawTarget {
        match (self.terminal, self.to_stderr) {
            (false, _) => ProgressDrawTarget::hidden(),
            (true, true) => ProgressDrawTarget::stderr(),
            (true, false) => ProgressDrawTarget::stdout(),
        }
    }
}

impl Bar {
    /// So many steps are done in all.
    pub(crate) fn at(&self, steps: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(steps as u64);
        }
    }

    /// Prints something above the bar.
    pub(crate) fn above(&self, print: impl FnOnce()) {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Changes the text.
    pub(crate) fn say(&self, message: impl Display) {
        if let Some(bar) = &self.0 {
            bar.set_message(message.to_string());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
