//! Asking where something belongs, and naming a place by that question.

use std::time::Duration;

use bytes::Bytes;
use fedist_registry::{NoHome, RegionId, RegionPid, service};
use serde::Serialize;

use super::service::AskHome;
use crate::{AskError, DEFAULT_DEADLINE, Node, PidSend, message::encode};

/// Why nobody could say where something belongs. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum HomeError {
    /// The rule was asked and named none.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// The delineator could not be asked, or did not answer.
    #[error("the delineator of region {region} could not be asked: {error}")]
    Ask {
        /// Whose it is.
        region: RegionId,
        /// What happened.
        error: AskError,
    },
    /// The key could not be encoded.
    #[error("key of a home: {0}")]
    Encode(String),
}

/// Where something is to be done: in a region, or at the home of a key, whoever that is when the time comes.
///
/// Made from a [`RegionId`], or by [`home_of`]; taken wherever a region can be named: [`Node::spawn_at`], [`Node::call`],
/// [`Tasks::at`](crate::Tasks::at), [`Place::home_of`](crate::Place::home_of).
#[derive(Clone, Debug)]
pub struct Where(Target);

#[derive(Clone, Debug)]
enum Target {
    Region(RegionId),
    Home(Result<Bytes, String>),
}

impl From<RegionId> for Where {
    fn from(region: RegionId) -> Self {
        Where(Target::Region(region))
    }
}

/// At the home of `key`, by the rule of the node that does it, asked each time it is done.
///
/// ```text
/// let pid = node.spawn_at(home_of("user-1"), "session", &args).await?;
/// node.call(home_of(&piece), count, text).await?;
/// ```
pub fn home_of<K: Serialize + ?Sized>(key: &K) -> Where {
    Where(Target::Home(encode("fedist.delineator.key", key).map_err(|error| error.to_string())))
}

impl Where {
    /// The region that is meant now.
    pub(crate) async fn resolve(&self, node: &Node) -> Result<RegionId, HomeError> {
        match &self.0 {
            Target::Region(region) => Ok(*region),
            Target::Home(Ok(key)) => node.home_of_encoded(key.clone(), DEFAULT_DEADLINE).await,
            Target::Home(Err(error)) => Err(HomeError::Encode(error.clone())),
        }
    }
}

impl Node {
    /// The region that `key` belongs to, by the rule of this node. It waits at most 5 s, which it does only while the delineator is
    /// being restarted or its thread is busy. Answers that still hold are remembered.
    ///
    /// # Errors
    /// [`HomeError`].
    ///
    /// # Cancel safety
    /// May be dropped and called again; a rule that takes turns may have used one up.
    pub async fn home_of<K: Serialize + ?Sized>(&self, key: &K) -> Result<RegionId, HomeError> {
        home_of(key).resolve(self).await
    }

    pub(crate) async fn home_of_encoded(
        &self,
        key: Bytes,
        patience: Duration,
    ) -> Result<RegionId, HomeError> {
        let book = &self.inner().delineation;
        if let Some(home) = book.cached(book.stamp(&self.view()), &key) {
            return Ok(home);
        }
        let delineator = RegionPid::new(self.region(), service::DELINEATOR);
        let begun = self.inner().clock.now();
        loop {
            let spent = self.inner().clock.now().saturating_sub(begun).as_duration();
            let left = patience.saturating_sub(spent);
            let ask = AskHome { key: key.clone() };
            match delineator.send(self, ask).deadline(left).await {
                Ok(answer) => return Ok(answer?),
                // It is being started again, and for a moment it is there and not exported yet; a key that is asked about
                // twice is none the worse.
                Err(
                    AskError::NoActor(_)
                    | AskError::Denied(_)
                    | AskError::NoReply(_)
                    | AskError::Full,
                ) if !left.is_zero() && !self.is_stopped() => {
                    self.sleep(RESTART_PAUSE.min(left)).await;
                }
                Err(error) => return Err(HomeError::Ask { region: self.region(), error }),
            }
        }
    }
}

/// A little shorter than the pause after which a service is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(5);
