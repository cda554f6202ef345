//! Addresses that never change.

use super::{Discovery, DiscoveryError};

/// Addresses that are known beforehand.
#[derive(Clone, Debug)]
pub struct StaticList(Vec<String>);

impl StaticList {
    /// The addresses, as `host:port`.
    pub fn new<S: Into<String>>(addresses: impl IntoIterator<Item = S>) -> Self {
        Self(addresses.into_iter().map(Into::into).collect())
    }
}

impl Discovery for StaticList {
    fn name(&self) -> &str {
        "list"
    }

    async fn discover(&mut self) -> Result<Vec<String>, DiscoveryError> {
        Ok(self.0.clone())
    }

    fn gone_after(&self) -> u32 {
        1
    }
}
