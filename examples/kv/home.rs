//! Where buckets are at home, and commands that go there.
//!
//! This file is all that makes the store a distributed one: [`serve`] says who handles messages to the buckets at home here, and
//! [`ask`] sends one to wherever the bucket is at home.

use std::time::Duration;

use bytes::Bytes;
use fedist::{HomeAskError, prelude::*};

use super::{
    bucket::Bucket,
    buckets::Buckets,
    message::{CountSubscribers, Crash, Create, Delete, Get, Put, Refusal, Subscribe, Unsubscribe},
};

/// Handles what comes for the buckets that are at home in this node's region, from wherever it comes.
pub(crate) fn serve(node: &Node, buckets: &Buckets) {
    let creating = buckets.clone();
    node.serve_home(move |bucket: Bytes, _: Create| {
        let buckets = creating.clone();
        async move { Ok(buckets.create(bucket).await) }
    });
    serve_bucket::<Get, _>(node, buckets);
    serve_bucket::<Put, _>(node, buckets);
    serve_bucket::<Delete, _>(node, buckets);
    serve_bucket::<Subscribe, _>(node, buckets);
    serve_bucket::<Unsubscribe, _>(node, buckets);
    serve_bucket::<CountSubscribers, _>(node, buckets);
    serve_bucket::<Crash, _>(node, buckets);
}

/// Hands messages of type `M` on to the bucket that they are for.
fn serve_bucket<M, T>(node: &Node, buckets: &Buckets)
where
    M: WireMessage<Result = Result<T, Refusal>>,
    T: Send + 'static,
    Bucket: Handler<M>,
    Context<Bucket>: actix::dev::ToEnvelope<Bucket, M>,
{
    let buckets = buckets.clone();
    node.serve_home(move |bucket: Bytes, message: M| {
        let asked = buckets.find(&bucket).map(|bucket| bucket.send(message));
        async move {
            let Some(asked) = asked else { return Ok(Err(Refusal::NotFound)) };
            match asked.await {
                // It has ended, and the keeper is about to hear of it.
                Err(AskError::NoActor(_)) => Ok(Err(Refusal::NotFound)),
                answer => answer,
            }
        }
    });
}

/// Asks the bucket, in whichever region it is at home. Whatever happens, this takes no longer than 5 s.
pub(crate) async fn ask<M, T: 'static>(node: &Node, bucket: &Bytes, message: M) -> Result<T, Failed>
where
    M: WireMessage<Result = Result<T, Refusal>>,
{
    Ok(node.ask_home(bucket, message).deadline(AWAIT).await??)
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The bucket's region was asked and refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The bucket's region was not found, or gave no answer.
    #[error(transparent)]
    Home(#[from] HomeAskError),
}

/// A little less than 5 s, so that the error is with the client before 5 s are over.
const AWAIT: Duration = Duration::from_millis(4_800);
