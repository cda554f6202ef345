//! Addresses behind a name.

use std::{sync::Arc, time::Duration};

use fedist_transport::quic::{Resolve, SystemResolver};

use super::{Discovery, DiscoveryError};

/// A name with one address or many, each of them a region's, all at the same port. It is looked up again every time.
///
/// Resolvers often tell only some of many addresses, others each time, so an address goes when three answers in a row lack it
/// ([`gone_after`](Self::gone_after)). A name that cannot be resolved changes nothing.
#[derive(Clone, Debug)]
pub struct DnsName {
    target: String,
    name: String,
    every: Option<Duration>,
    gone_after: u32,
    resolver: Arc<dyn Resolve>,
}

impl DnsName {
    /// The name, and the port at which all its addresses are dialed.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        let target = format!("{}:{port}", name.into());
        Self {
            name: format!("dns {target}"),
            target,
            every: None,
            gone_after: 3,
            resolver: Arc::new(SystemResolver),
        }
    }

    /// Looks it up so often.
    pub fn every(mut self, period: Duration) -> Self {
        self.every = Some(period);
        self
    }

    /// Lets an address go when so many answers in a row lack it; `u32::MAX` means never. Default 3.
    pub fn gone_after(mut self, answers: u32) -> Self {
        self.gone_after = answers;
        self
    }

    /// Asks another resolver than the system's.
    pub fn resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }
}

impl Discovery for DnsName {
    fn name(&self) -> &str {
        &self.name
    }

    async fn discover(&mut self) -> Result<Vec<String>, DiscoveryError> {
        match self.resolver.resolve(&self.target).await {
            Ok(found) => Ok(found.into_iter().map(|address| address.to_string()).collect()),
            Err(error) => Err(DiscoveryError::Unresolved {
                name: self.target.clone(),
                detail: error.to_string(),
            }),
        }
    }

    fn every(&self) -> Option<Duration> {
        self.every
    }

    fn gone_after(&self) -> u32 {
        self.gone_after
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::SocketAddr, sync::Mutex};

    use futures_util::future::BoxFuture;

    use super::*;

    /// Gives its answers one after the other, then none.
    #[derive(Debug)]
    struct Scripted(Mutex<Vec<Vec<&'static str>>>);

    impl Resolve for Scripted {
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.is_empty() { None } else { Some(answers.remove(0)) };
            Box::pin(async move {
                let found = answer.ok_or_else(|| io::Error::other("no such name"))?;
                Ok(found.into_iter().map(|address| address.parse().unwrap()).collect())
            })
        }
    }

    #[tokio::test]
    async fn every_address_of_the_name_is_told_and_a_failure_is_one() {
        let answers = vec![vec!["192.0.2.1:7", "[2001:db8::1]:7"], vec!["192.0.2.2:7"]];
        let mut name = DnsName::new("regions.example", 7).resolver(Scripted(answers.into()));
        assert_eq!(Discovery::name(&name), "dns regions.example:7");
        assert_eq!(name.discover().await.unwrap(), ["192.0.2.1:7", "[2001:db8::1]:7"]);
        assert_eq!(name.discover().await.unwrap(), ["192.0.2.2:7"], "asked anew");
        let error = name.discover().await.unwrap_err().to_string();
        assert!(error.contains("(regions.example:7): no such name"), "{error}");
    }

    #[tokio::test]
    async fn the_systems_resolver_knows_this_machine() {
        let found = DnsName::new("localhost", 4433).discover().await.unwrap();
        assert!(found.iter().any(|address| address == "127.0.0.1:4433"), "{found:?}");
    }
}
