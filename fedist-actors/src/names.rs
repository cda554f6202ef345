//! Names: an actor is found as `region/name`, by asking the name service of its region.

mod cache;
mod lease;
mod path;

use actix::{Actor, Handler, MessageResult};
use fedist_registry::{RegionId, RegionPid, service};

use crate::{AskError, Context, ExportError, Message, Node, PidSend};

/// Asks a region's name service for a name.
#[derive(Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "Option<RegionPid>")]
#[wire(name = "fedist.names.whereis", version = 1, crate = "crate")]
pub struct Whereis {
    /// The name within the region.
    pub name: String,
}

/// Why a name could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The path has no `/`, or nothing before or behind it.
    #[error(
        "malformed path ({path}); it is `region/name` with the region's name or number; write e.g. us-east/room/rust"
    )]
    Malformed {
        /// The path as given.
        path: String,
    },
    /// No region of that name or number.
    #[error(
        "unknown region ({region}); it is not in this node's copy of the registry; see `fedist regions`"
    )]
    UnknownRegion {
        /// The first part of the path.
        region: String,
    },
    /// The region answers, but nothing there has the name.
    #[error(
        "no such name ({name}, in region {region}); no living actor is registered under it; check the spelling"
    )]
    NotFound {
        /// The name.
        name: String,
        /// The region that was asked.
        region: RegionId,
    },
    /// The region could not be asked.
    #[error("the name service of region {region} did not answer: {error}")]
    Ask {
        /// The region that was asked.
        region: RegionId,
        /// What happened.
        error: AskError,
    },
}

impl Node {
    /// The pid registered as `region/name`; the own region is answered from memory.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn whereis(&self, path: &str) -> Result<RegionPid, LookupError> {
        let malformed = || LookupError::Malformed { path: path.to_owned() };
        let (region, name) = path.split_once('/').ok_or_else(malformed)?;
        if region.is_empty() || name.is_empty() {
            return Err(malformed());
        }
        let region = self.region_called(region)?;
        let found = if region == self.region() {
            self.inner().processes.whereis(name)
        } else {
            RegionPid::new(region, service::NAMES)
                .send(self, Whereis { name: name.to_owned() })
                .await
                .map_err(|error| LookupError::Ask { region, error })?
        };
        found.ok_or_else(|| LookupError::NotFound { name: name.to_owned(), region })
    }

    /// The region with this name or number, from this node's copy of the registry.
    ///
    /// # Errors
    /// [`LookupError::UnknownRegion`].
    pub fn region_called(&self, text: &str) -> Result<RegionId, LookupError> {
        let view = self.view();
        let by_number = text
            .parse::<RegionId>()
            .ok()
            .filter(|id| *id == self.region() || view.registry.get(*id).is_some());
        by_number
            .or_else(|| view.registry.by_name(text).map(|record| record.id))
            .ok_or_else(|| LookupError::UnknownRegion { region: text.to_owned() })
    }
}

/// Whether a text can be a name: 1 to 255 bytes without control characters.
pub(crate) fn check_name(name: &str) -> Result<(), ExportError> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(ExportError::MalformedName { name: name.to_owned() });
    }
    Ok(())
}

/// The name service at the well-known pid `region.5`.
pub(crate) struct NameService {
    pub(crate) node: Node,
}

impl Actor for NameService {
    type Context = Context<Self>;
}

impl Handler<Whereis> for NameService {
    type Result = MessageResult<Whereis>;

    fn handle(&mut self, message: Whereis, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.node.inner().processes.whereis(&message.name))
    }
}
