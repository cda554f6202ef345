//! Runs a sample suite as a process, and compares what it says.

use std::{
    env,
    fmt::Write,
    process::{Command, Output},
};

use fedist_testkit::TestResult;

/// Which sample this program is to be.
pub(crate) const SAMPLE: &str = "FEDIST_TESTKIT_SAMPLE";

/// A command that sees nothing of what this test run was started with.
pub(crate) fn undisturbed(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = ["FEDIST_", "NEXTEST", "RUST_TEST_", "SAMPLE_", "__CARGO", "CARGO"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if ours && !["CARGO", "CARGO_HOME"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command.env("RUST_BACKTRACE", "0").env("NO_COLOR", "1");
    command
}

/// A sample with arguments and variables.
pub(crate) struct Call<'a> {
    pub(crate) sample: &'a str,
    pub(crate) words: &'a [&'a str],
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

/// The sample `kv` with a line of arguments.
pub(crate) fn kv<'a>(words: &'a [&'a str], variables: &'a [(&'a str, &'a str)]) -> Call<'a> {
    Call { sample: "kv", words, variables }
}

impl Call<'_> {
    pub(crate) fn output(&self) -> std::io::Result<Output> {
        let program = env::current_exe()?;
        undisturbed(&program.to_string_lossy())
            .env(SAMPLE, self.sample)
            .envs(self.variables.iter().copied())
            .args(self.words)
            .output()
    }

    /// Exit code, standard output and standard error are these. Tests run one by one unless `words` say otherwise.
    pub(crate) fn answers(&self, code: i32, stdout: &str, stderr: &str) -> TestResult {
        let in_order = [("RUST_TEST_THREADS", "1")];
        let variables: Vec<_> = in_order.iter().chain(self.variables).copied().collect();
        let output = Call { variables: &variables, ..*self }.output()?;
        let expected = format!("exit code {code}\n-- stdout\n{stdout}-- stderr\n{stderr}");
        let found = format!(
            "exit code {}\n-- stdout\n{}-- stderr\n{}",
            output.status.code().unwrap_or(-1),
            without_times(&text(&output.stdout)),
            text(&output.stderr),
        );
        if found == expected {
            return Ok(());
        }
        let mut report = format!("{:?} {:?}\n", self.words, self.variables);
        write!(report, "== expected\n{expected}== found\n{found}")?;
        Err(report.into())
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How long a run took is all that differs between two of them.
pub(crate) fn without_times(text: &str) -> String {
    text.lines()
        .map(|line| match line.split_once("; finished in ") {
            Some((before, _)) => format!("{before}\n"),
            None => match line.split_once(", \"exec_time\"") {
                Some((before, _)) => format!("{before} }}\n"),
                None => format!("{line}\n"),
            },
        })
        .collect()
}
