//! Counting: a work runs in a process of its own under callgrind.

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
};

use fedist_testkit::Failed;

use crate::ceilings::{WORKS, Work};

/// The first argument of a process that runs a work.
pub(crate) const PERFORM: &str = "--perform-a-work";

/// Whether this build is one whose counts mean something.
pub(crate) fn optimised() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("this build is not optimised; counts are those of cargo test --release");
    }
    Ok(())
}

/// Whether valgrind is there.
pub(crate) fn valgrind() -> Result<(), String> {
    let answer = Command::new("valgrind").arg("--version").output();
    match answer {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("valgrind does not run ({})", output.status)),
        Err(error) => Err(format!("no valgrind: {error}")),
    }
}

/// What a process under callgrind does.
pub(crate) fn perform(work: &str, messages: &str) -> ExitCode {
    let found = WORKS.iter().find(|known| known.name == work);
    let outcome = match (found, messages.parse()) {
        (Some(work), Ok(messages)) => (work.perform)(messages),
        _ => Err(format!("no such work ({work} {messages})").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Instructions per message of `work`, thread by thread.
pub(crate) fn count(work: &Work) -> Result<Vec<f64>, Failed> {
    let few = run(work, work.messages)?;
    let many = run(work, 2 * work.messages)?;
    if few.len() != many.len() {
        return Err(
            format!("{} threads with fewer messages, {} with more", few.len(), many.len()).into()
        );
    }
    let more = work.messages as f64;
    Ok(few.iter().zip(&many).map(|(few, many)| (many - few) / more).collect())
}

/// All instructions of one process, by the order in which its threads began.
fn run(work: &Work, messages: u64) -> Result<Vec<f64>, Failed> {
    let directory = tempfile::tempdir()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", directory.path().join("out").display()))
        .arg(std::env::current_exe()?)
        .args([PERFORM, work.name, &messages.to_string()])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(
            format!("{} under valgrind: {}; it said: {said}", work.name, output.status).into()
        );
    }
    // One file for each thread, `out-01` and so on, beside `out` with what none of them did.
    let mut threads = Vec::new();
    for number in 1.. {
        let Ok(text) = fs::read_to_string(directory.path().join(format!("out-{number:02}"))) else {
            break;
        };
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = total.and_then(|total| total.trim().parse::<f64>().ok());
        threads.push(total.ok_or("callgrind's file has no line of totals")?);
    }
    if threads.is_empty() {
        return Err("callgrind has written no file".into());
    }
    Ok(threads)
}
