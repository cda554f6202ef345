//! The processes that are measured: this program again, with other flags.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};

/// A server; it ends with this value.
pub(crate) struct Process {
    child: Child,
    /// Where clients are served.
    pub(crate) address: SocketAddr,
    /// What it said when it was ready.
    ready: String,
}

impl Process {
    pub(crate) fn plain() -> anyhow::Result<Self> {
        Self::start(&["--bench-plain", ANY_PORT])
    }

    pub(crate) fn proxy(to: SocketAddr) -> anyhow::Result<Self> {
        Self::start(&["--bench-proxy", &to.to_string()])
    }

    pub(crate) fn region(
        dir: &Path,
        region: u16,
        parent: Option<(u16, String)>,
        table: &str,
    ) -> anyhow::Result<Self> {
        let (number, data, ca) = (region.to_string(), dir.join(region.to_string()), dir.join("ca"));
        let mut arguments = vec!["--region", &number, "--front", ANY_PORT, "--table", table];
        let (data, ca) = (data.display().to_string(), ca.display().to_string());
        arguments.extend(["--data-dir", &data, "--ca-dir", &ca]);
        let parent = parent.map(|(parent, address)| (parent.to_string(), address));
        if let Some((parent, address)) = &parent {
            arguments.extend(["--parent", parent, "--join", address]);
        }
        Self::start(&arguments)
    }

    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("this program cannot be started again")?;
        let mut ready = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut ready)?;
        }
        let mut process = Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), ready };
        let address = process.word_behind("clients at ").and_then(|text| text.parse().ok());
        let Some(address) = address else { bail!("{arguments:?} did not start") };
        process.address = address;
        Ok(process)
    }

    /// Where other regions reach it.
    pub(crate) fn quic(&self) -> anyhow::Result<String> {
        self.word_behind("other regions at ").map(str::to_owned).context("no address of the node")
    }

    fn word_behind(&self, mark: &str) -> Option<&str> {
        let (_, rest) = self.ready.split_once(mark)?;
        rest.split([',', '\n']).next()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What it has is in a temporary directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ANY_PORT: &str = "127.0.0.1:0";
