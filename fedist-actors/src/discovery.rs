//! Where other regions are: strategies that say so again and again, and the actor that asks them.
//!
//! A strategy answers with all addresses that it has now. What the answers mean (what came, what went, whom to dial and how
//! often) is decided by the [`AddressBook`](fedist_registry::AddressBook); the hub dials, and keeps a link to each region that
//! answers. See the guide `docs/discovery.md`.

mod dns_name;
mod env_var;
mod service;
mod static_list;
mod watched_file;

use std::{future::Future, path::PathBuf, pin::Pin, time::Duration};

use fedist_registry::BadAddress;

pub use dns_name::DnsName;
pub use env_var::EnvVar;
pub(crate) use service::{DiscoveryService, Strategy};
pub use static_list::StaticList;
pub use watched_file::WatchedFile;

/// A way to find out where other regions are. [`NodeBuilder::discover`](crate::NodeBuilder::discover) takes it.
///
/// It is asked every [`every`](Self::every) and answers with all that it knows, not with what has changed. It never has to
/// remember its last answer: one that fails is an error, and what it said before holds then. An answer without any address is
/// believed when it has come three times in a row.
///
/// ```
/// use fedist_actors::{Discovery, DiscoveryError};
///
/// /// Asks the machines of a rack, by their numbers.
/// struct Rack(u8);
///
/// impl Discovery for Rack {
///     fn name(&self) -> &str {
///         "rack"
///     }
///
///     async fn discover(&mut self) -> Result<Vec<String>, DiscoveryError> {
///         Ok((1..=self.0).map(|number| format!("10.0.0.{number}:4433")).collect())
///     }
/// }
/// ```
pub trait Discovery: Send + 'static {
    /// What people see it as, its setting included: `file /etc/fedist/peers`.
    fn name(&self) -> &str;

    /// All addresses that it has now, as `host:port`. This region's own may be among them.
    ///
    /// It runs on the hub's thread, so it must wait by `await`: work that blocks belongs into `tokio::task::spawn_blocking`. After
    /// ten seconds the future is dropped, and the attempt has failed. A panic counts as a failure too.
    fn discover(&mut self) -> impl Future<Output = Result<Vec<String>, DiscoveryError>> + Send;

    /// How long to wait between an answer and the next question; by default what
    /// [`discover_every`](crate::NodeBuilder::discover_every) says.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// How many answers in a row must lack an address before it goes; 2 by default. 1 for a source whose every answer is
    /// complete, more for one that tells another part each time.
    fn gone_after(&self) -> u32 {
        2
    }
}

/// Why a strategy has no answer now. What it said before holds; it is asked again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// A name leads nowhere.
    #[error(
        "cannot resolve name ({name}): {detail}; a name must have an address; check it and the resolver"
    )]
    Unresolved {
        /// The name and the port.
        name: String,
        /// What the resolver says.
        detail: String,
    },
    /// A line of a file is no address. No line of it was taken.
    #[error("line {line} of {}: {error}", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        error: BadAddress,
    },
    /// A file or a variable cannot be read as text.
    #[error(
        "{what} cannot be read: {detail}; it is UTF-8 text of at most 1 MiB; check it and its permissions"
    )]
    Unreadable {
        /// Which one.
        what: String,
        /// Why not.
        detail: String,
    },
    /// There was no answer in time.
    #[error("no answer within {} s; a strategy answers sooner; see what it waits for", after.as_secs())]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// The strategy panicked.
    #[error("the strategy panicked ({0}); that is a defect in it; correct it")]
    Panicked(String),
    /// What a strategy of your own has to say.
    #[error("{0}")]
    Other(String),
}

pub(crate) type Answer = Result<Vec<String>, DiscoveryError>;

/// A [`Discovery`] of any type.
pub(crate) trait AnyDiscovery: Send {
    fn name(&self) -> &str;
    fn discover(&mut self) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;
    fn every(&self) -> Option<Duration>;
    fn gone_after(&self) -> u32;
}

impl<D: Discovery> AnyDiscovery for D {
    fn name(&self) -> &str {
        Discovery::name(self)
    }

    fn discover(&mut self) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(Discovery::discover(self))
    }

    fn every(&self) -> Option<Duration> {
        Discovery::every(self)
    }

    fn gone_after(&self) -> u32 {
        Discovery::gone_after(self)
    }
}
