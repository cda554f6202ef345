//! Several ways to one peer, tried side by side.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;

use super::{DialError, Link};

/// After this long without an answer the next address is tried beside (RFC 8305, section 5).
pub(crate) const STAGGER: Duration = Duration::from_millis(250);

/// Starts the attempts in order, each when one before has failed or `stagger` after it was started, and gives the first link
/// that comes up; the others are given up. Otherwise all failures, in the order of the attempts.
pub(crate) async fn race<F>(attempts: Vec<F>, stagger: Duration) -> Result<Link, Vec<DialError>>
where
    F: Future<Output = Result<Link, DialError>>,
{
    let mut waiting = attempts.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut failures: Vec<(usize, DialError)> = Vec::new();
    let mut start_next = true;
    loop {
        if start_next && let Some((index, attempt)) = waiting.next() {
            running.push(async move { (index, attempt.await) });
        }
        if running.is_empty() {
            failures.sort_by_key(|(index, _)| *index);
            return Err(failures.into_iter().map(|(_, error)| error).collect());
        }
        start_next = tokio::select! {
            biased;
            Some((index, outcome)) = running.next() => {
                match outcome {
                    Ok(link) => return Ok(link),
                    Err(error) => failures.push((index, error)),
                }
                true
            }
            () = sleep(stagger), if waiting.len() > 0 => true,
        };
    }
}
