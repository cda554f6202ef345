//! Erlang/OTP: processes within a node, and the distribution between two, plain or over TLS.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Peer;
use crate::certificates::{self, CA, CERTIFICATE, KEY};
use crate::run::{Role, Run};
use crate::stopwatch::IDLE;
use crate::work::Task;

pub(crate) struct Erlang {
    pub(crate) tls: bool,
}

impl Peer for Erlang {
    fn name(&self) -> &'static str {
        if self.tls { "erlang-tls" } else { "erlang" }
    }

    fn encrypted(&self) -> bool {
        self.tls
    }

    fn does(&self, task: Task) -> bool {
        task.needs_a_server() || !self.tls
    }

    fn excluded(&self) -> Option<String> {
        let probe = if self.tls { "ok = application:load(ssl), halt()." } else { "halt()." };
        let works = Command::new("erl")
            .args(["-noinput", "-eval", probe])
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        (!works).then(|| format!("`erl -noinput -eval '{probe}'` does not work here"))
    }

    fn prepare(&self, run: &Run) -> Result<()> {
        let directory = &run.directory;
        certificates::make(directory)?;
        let path = |file: &str| directory.join(file).display().to_string();
        let options = format!(
            "[{{verify, verify_peer}}, {{cacertfile, {:?}}}, {{certfile, {:?}}}, {{keyfile, {:?}}}",
            path(CA),
            path(CERTIFICATE),
            path(KEY),
        );
        let options = format!(
            "[{{server, {options}, {{fail_if_no_peer_cert, true}}]}}, {{client, {options}]}}]."
        );
        Ok(fs::write(directory.join(OPTIONS), options)?)
    }

    fn command(&self, run: &Run) -> Result<Command> {
        compile(&run.directory)?;
        let mut command = Command::new("erl");
        command.arg("-noshell").arg("-pa").arg(&run.directory);
        if run.task.needs_a_server() {
            // No EPMD: the server listens at the port, and the client looks for it there.
            command.args(["-start_epmd", "false", "-erl_epmd_port", &run.port.to_string()]);
            command.args(["-setcookie", "peers"]);
        }
        if self.tls {
            command.args(["-proto_dist", "inet_tls", "-ssl_dist_optfile"]);
            command.arg(run.directory.join(OPTIONS));
        }
        if let Role::Client { server: Some(_) } = &run.role {
            command.args(["-sname", "client@localhost", "-dist_listen", "false"]);
        } else if run.task.needs_a_server() {
            command.args(["-sname", "server@localhost"]);
        }
        command.args(["-s", "works", "main"]);
        match &run.role {
            Role::Server => command.arg("server"),
            Role::Client { server } => command
                .arg("client")
                .args(words(run.task))
                .arg(run.warm_up.as_millis().to_string())
                .arg(run.span.as_millis().to_string())
                .args(server),
        };
        Ok(command)
    }
}

/// As `works.erl` knows it.
fn words(task: Task) -> [String; 2] {
    let (name, argument) = match task {
        Task::LocalTell { apart: false } => ("local_tell", 0),
        Task::LocalTell { apart: true } => ("local_tell_apart", 0),
        Task::LocalAsk { apart: false } => ("local_ask", 0),
        Task::LocalAsk { apart: true } => ("local_ask_apart", 0),
        Task::Idle => ("idle", IDLE),
        Task::OneWay { bytes } => ("one_way", bytes),
        Task::Ask { in_flight } => ("ask", in_flight),
    };
    [name.to_owned(), argument.to_string()]
}

fn compile(directory: &Path) -> Result<()> {
    let source = directory.join("works.erl");
    if source.exists() {
        return Ok(());
    }
    fs::write(&source, include_str!("works.erl"))?;
    let mut compiler = Command::new("erlc");
    compiler.arg("-o").arg(directory).arg(&source);
    let status = compiler.status().context("erlc could not be started")?;
    ensure!(status.success(), "{compiler:?} ended with {status}");
    Ok(())
}

/// What OTP takes its TLS settings for the distribution from.
const OPTIONS: &str = "ssl_dist.conf";
