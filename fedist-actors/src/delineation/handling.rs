//! Who handles messages to keys that are at home in this node.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use fedist_registry::RegionId;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::{
    AskError, Node, WireMessage,
    address::with_decoding_node,
    message::{decode, encode, wire_type},
};

/// Handles one type of message for all keys of this node.
pub(super) trait KeyHandler: Send + Sync {
    /// Starts to handle it, in the name of the region that passed it on.
    fn handle(
        &self,
        node: &Node,
        from: Option<RegionId>,
        key: &[u8],
        body: &[u8],
    ) -> BoxFuture<'static, Result<Bytes, AskError>>;
}

struct Typed<K, M, F> {
    handle: F,
    types: PhantomData<fn(K, M)>,
}

impl<K, M, F, R> KeyHandler for Typed<K, M, F>
where
    K: DeserializeOwned,
    M: WireMessage,
    F: Fn(K, M) -> R + Send + Sync,
    R: Future<Output = Result<M::Result, AskError>> + Send + 'static,
{
    fn handle(
        &self,
        node: &Node,
        from: Option<RegionId>,
        key: &[u8],
        body: &[u8],
    ) -> BoxFuture<'static, Result<Bytes, AskError>> {
        let pid =
            fedist_registry::RegionPid::new(node.region(), fedist_registry::service::DELINEATOR);
        let undecodable =
            |error: crate::DecodeError| AskError::Undecodable { pid, detail: error.to_string() };
        let decoded = with_decoding_node(node, from, || {
            Ok((decode::<K>(key).map_err(undecodable)?, decode::<M>(body).map_err(undecodable)?))
        });
        let handled = match decoded {
            Ok((key, message)) => (self.handle)(key, message),
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        Box::pin(async move {
            encode(M::NAME, &handled.await?).map_err(|error| AskError::Encode(error.to_string()))
        })
    }
}

impl Node {
    /// Handles messages of type `M` to keys whose home is this region, sent with [`ask_home`](Self::ask_home) from anywhere: `handle` finds or makes
    /// what stands for the key, usually an actor, and asks it. Later calls for the same type replace earlier ones. This lets other
    /// regions send `M`, as an export does.
    ///
    /// It is called on the thread of the one who asks or on the node's own, so it must not block.
    ///
    /// ```text
    /// node.serve_home(move |bucket: String, message: Put| {
    ///     let bucket = buckets.find(&bucket);
    ///     async move { bucket.send(message).await }
    /// });
    /// ```
    pub fn serve_home<K, M, F, R>(&self, handle: F)
    where
        K: DeserializeOwned + 'static,
        M: WireMessage,
        F: Fn(K, M) -> R + Send + Sync + 'static,
        R: Future<Output = Result<M::Result, AskError>> + Send + 'static,
    {
        let handler = Typed { handle, types: PhantomData };
        self.inner().delineation.handlers.insert(wire_type::<M>(), Arc::new(handler));
    }
}
