//! The files of a report.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::figure::Measured;
use crate::options::Options;
use crate::plot::plot;
use crate::table::table;
use crate::work::Group;

/// What was measured, by groups.
pub(crate) struct Report {
    /// How it was measured, and on what.
    heading: String,
    groups: Vec<(&'static Group, Vec<Measured>)>,
    /// Runs that broke off.
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let spans = if options.quick { " of half the span" } else { "" };
        let heading = format!(
            "{}; UDP payloads up to {} bytes; medians of {} rounds{spans}",
            machine(),
            options.mtu,
            options.rounds
        );
        Self { heading, groups: Vec::new(), failures: Vec::new() }
    }

    pub(crate) fn add(&mut self, group: &'static Group, figures: Vec<Measured>) {
        match self.groups.last_mut() {
            Some((last, known)) if last.name == group.name => known.extend(figures),
            _ => self.groups.push((group, figures)),
        }
    }

    fn figures(&self) -> Vec<&Measured> {
        self.groups.iter().flat_map(|(_, figures)| figures).collect()
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.figures())?)
    }

    /// All tables; `plots` is what the pictures' file names begin with, or `None` to leave them out.
    pub(crate) fn markdown(&self, plots: Option<&str>) -> String {
        let mut text = format!("# Benchmark report\n\n{}.\n", self.heading);
        for (group, figures) in &self.groups {
            let _ = write!(text, "\n## {}\n\n{}\n", group.title, table(figures));
            if let Some(plots) = plots {
                let _ = write!(text, "\n![{}]({plots}{}.svg)\n", group.title, group.name);
            }
        }
        let figures = self.figures();
        let judged = figures.iter().filter_map(|figure| figure.is_met());
        let (with_goal, met) = (judged.clone().count(), judged.filter(|met| *met).count());
        let _ = write!(text, "\n{met} of {with_goal} goals are met.\n");
        for failure in &self.failures {
            let _ = write!(text, "\nBroke off: {failure}\n");
        }
        text
    }

    /// Writes `bench-report.json`, `bench-report.md` and a plot for each group into cargo's target
    /// directory, and the same as `report.json` and so on into `keep`.
    ///
    /// # Errors
    ///
    /// A file cannot be written; some may be there already.
    pub(crate) fn write(&self, keep: Option<&Path>) -> Result<()> {
        let target = target();
        self.write_into(&target, "bench-report", "bench-report-")?;
        eprintln!("written: {}", target.join("bench-report.md").display());
        if let Some(keep) = keep {
            fs::create_dir_all(keep).with_context(|| keep.display().to_string())?;
            self.write_into(keep, "report", "")?;
            eprintln!("kept: {}", keep.join("report.md").display());
        }
        Ok(())
    }

    fn write_into(&self, directory: &Path, name: &str, plots: &str) -> Result<()> {
        let write = |name: String, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        write(format!("{name}.json"), &(self.json()? + "\n"))?;
        write(format!("{name}.md"), &self.markdown(Some(plots)))?;
        for (group, figures) in &self.groups {
            write(format!("{plots}{}.svg", group.name), &plot(group.title, figures))?;
        }
        Ok(())
    }
}

/// Where [`Report::write`] has put the figures of the last report.
pub(crate) fn latest() -> PathBuf {
    target().join("bench-report.json")
}

/// cargo's target directory: `CARGO_TARGET_TMPDIR` is a directory in it.
fn target() -> PathBuf {
    let inside = Path::new(env!("CARGO_TARGET_TMPDIR"));
    inside.parent().unwrap_or(inside).to_owned()
}

/// Processor, its count, system.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let version = read("/proc/sys/kernel/osrelease");
    format!("{processors} processors, {model}; {} {}", std::env::consts::OS, version.trim())
}
