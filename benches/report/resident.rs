//! Resident memory of a process.

use std::fs;

use anyhow::{Context, Result};

/// What the resident set of this process grows by, from now on.
pub(crate) struct Growth(f64);

impl Growth {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self(resident(std::process::id())?))
    }

    /// Bytes for each of `count` things, all tables included.
    pub(crate) fn each(&self, count: usize) -> Result<f64> {
        Ok((resident(std::process::id())? - self.0) / count as f64)
    }
}

/// The resident set in bytes; of Linux only, as all works that need it.
pub(crate) fn resident(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).context("no /proc")?;
    let pages = text.split_whitespace().nth(1).context("statm without resident pages")?;
    Ok(pages.parse::<f64>()? * PAGE)
}

const PAGE: f64 = 4096.0;
