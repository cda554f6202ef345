//! How the command ends when something is wrong: a text and an exit code.
//!
//! The text reads `error: what (value, where); rule; fix`, on stderr. Libraries below speak in that
//! form already; what is added here is the code.

use std::process::ExitCode;

use fedist::{
    StartError,
    registry::StoreError,
    transport::{identity::IdentityError, quic::BindError},
};

/// Exit codes other than 0. Usage errors that clap finds itself end with 2 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exit {
    /// None of the others.
    Other = 1,
    /// The command line.
    Usage = 2,
    /// The configuration file, or settings that contradict one another.
    Config = 3,
    /// Keys, certificates, permissions, a federation that refuses.
    Security = 4,
    /// The data directory.
    Storage = 5,
    /// Addresses, links, regions that do not answer.
    Network = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error of the command itself, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

/// Prints the error and gives the code to end with.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", text(error));
    exit_of(error).into()
}

/// The code that belongs to an error: that of the first cause which has one.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(known).unwrap_or(Exit::Other)
}

fn known(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(error) = cause.downcast_ref::<StartError>() {
        return Some(of_start(error));
    }
    if let Some(error) = cause.downcast_ref::<IdentityError>() {
        return Some(of_identity(error));
    }
    cause.downcast_ref::<StoreError>().map(|_| Exit::Storage)
}

fn of_start(error: &StartError) -> Exit {
    match error {
        StartError::Config(_) => Exit::Config,
        StartError::Identity(error) => of_identity(error),
        StartError::Store(_) => Exit::Storage,
        StartError::Bind(BindError::Identity(error)) => of_identity(error),
        // The last attempt comes as text. All refusals for whom one of the two ends is, theirs or
        // ours, speak of a certificate; no other failure to reach an address does.
        StartError::JoinTimedOut { last, .. } if last.contains("certificate") => Exit::Security,
        StartError::Bind(_) | StartError::JoinTimedOut { .. } => Exit::Network,
        StartError::JoinRefused(_) => Exit::Security,
        _ => Exit::Other,
    }
}

/// A key that cannot be read for a full or broken disk is no matter of security.
fn of_identity(error: &IdentityError) -> Exit {
    match error {
        IdentityError::Io { .. } => Exit::Storage,
        _ => Exit::Security,
    }
}

/// The error and its causes on one line. Some texts of the libraries include their cause already,
/// so a cause is added only where it says something new.
fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_context_does_not_hide_the_code_of_its_cause() {
        let cause = Err::<(), _>(Failure::new(Exit::Storage, "disk (full)"));
        let error = cause.context("cannot start").unwrap_err();
        assert_eq!(exit_of(&error), Exit::Storage);
        assert_eq!(text(&error), "cannot start: disk (full)");
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let source = std::io::Error::other("no such thing");
        let path = "region.key".into();
        let action = "open file";
        let error =
            anyhow::Error::from(StartError::from(IdentityError::Io { action, path, source }));
        assert_eq!(text(&error), "cannot open file (region.key): no such thing");
        assert_eq!(exit_of(&error), Exit::Storage);
    }

    #[test]
    fn errors_of_a_start_have_their_codes() {
        let start = |error: StartError| exit_of(&anyhow::Error::from(error));
        assert_eq!(start(StartError::Config("x".into())), Exit::Config);
        assert_eq!(start(StartError::JoinRefused("x".into())), Exit::Security);
        assert_eq!(start(StartError::Thread("x".into())), Exit::Other);
        let timed_out = |last: &str| StartError::JoinTimedOut {
            join: "127.0.0.1:1".into(),
            after: std::time::Duration::from_secs(1),
            last: last.into(),
        };
        assert_eq!(start(timed_out("no answer")), Exit::Network);
        let foreign = "refused the peer: the peer's certificate belongs to another federation";
        assert_eq!(start(timed_out(foreign)), Exit::Security);
        let path = "x".into();
        assert_eq!(start(StoreError::InUse { path }.into()), Exit::Storage);
        let path = "x".into();
        let open = IdentityError::KeyOpen { path, mode: 0o644 };
        assert_eq!(start(open.into()), Exit::Security);
        let addr = "127.0.0.1:1".parse().unwrap();
        assert_eq!(start(BindError::AddressInUse { addr }.into()), Exit::Network);
        assert_eq!(exit_of(&anyhow::anyhow!("anything")), Exit::Other);
    }
}
