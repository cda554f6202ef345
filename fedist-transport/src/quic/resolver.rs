//! Names to addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;

/// Turns `host:port` into addresses. Asked again for every attempt to dial, so that a name may move.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `address`, the preferred ones first.
    ///
    /// # Errors
    /// Why there are none; the attempt has failed then, and a later one asks again.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver, on tokio's threads for blocking work.
#[derive(Copy, Clone, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(address).await?.collect()) })
    }
}
