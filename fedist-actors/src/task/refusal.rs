//! Why a region does not start what it was asked to start.

use serde::{Deserialize, Serialize};

/// Why a region started nothing. The answer to a request is kept: the same request gets it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartRefused {
    /// No such task is listed there, or not in this version.
    #[error("unknown task ({name} version {version}); the region offers: {}; list it with `NodeBuilder::task`", listed(.available))]
    UnknownTask {
        /// The name asked for.
        name: String,
        /// The version asked for.
        version: u16,
        /// What is listed, as `name version`, sorted.
        available: Vec<String>,
    },
    /// No such factory is listed there, or not in this version.
    #[error("unknown factory ({name}{}); the region offers: {}; list it with `NodeBuilder::factory`", .version.map(|version| format!(" version {version}")).unwrap_or_default(), listed(.available))]
    UnknownFactory {
        /// The name asked for.
        name: String,
        /// The version asked for; `None` for the newest.
        version: Option<u16>,
        /// What is listed, as `name version`, sorted.
        available: Vec<String>,
    },
    /// The arguments do not decode as what the factory takes.
    #[error(
        "undecodable arguments ({0}); both sides must agree on their shape; compare the versions"
    )]
    BadArguments(String),
    /// The factory panicked.
    #[error("the factory panicked ({0}); no actor was made")]
    FactoryPanicked(String),
    /// The actor was made, could not be exported, and was ended.
    #[error("the actor could not be exported ({0}); it was ended")]
    Export(String),
    /// No pid could be given: ids are exhausted or the node is stopping.
    #[error("the region cannot start anything now: {0}")]
    NoPid(String),
    /// The region runs as much for other regions as it is willing to.
    #[error(
        "the region is busy ({running} started for other regions); that is its bound; wait or ask another region"
    )]
    Busy {
        /// How many it runs.
        running: u64,
    },
    /// It was asked about before it came, and was called off by that.
    #[error("the request was asked about before it came; it never runs")]
    Void,
    /// It came after its answer had been forgotten.
    #[error("the request is too old; its answer is not kept any more; it does not run again")]
    Stale,
}

fn listed(available: &[String]) -> String {
    if available.is_empty() { "nothing".to_owned() } else { available.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_what_there_is() {
        let refused = StartRefused::UnknownFactory {
            name: "countr".into(),
            version: Some(2),
            available: vec!["counter 1".into(), "counter 2".into()],
        };
        assert_eq!(
            refused.to_string(),
            "unknown factory (countr version 2); the region offers: counter 1, counter 2; list it with `NodeBuilder::factory`"
        );
        let nothing =
            StartRefused::UnknownTask { name: "t".into(), version: 1, available: Vec::new() };
        assert!(nothing.to_string().contains("offers: nothing"));
    }
}
