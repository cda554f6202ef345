//! A suite as users write one: some tests need a second node.

use std::{net::TcpStream, time::Duration};

use fedist_testkit::{Suite, TestResult};

/// The second node, if `SAMPLE_NODE` tells its address and it is there.
fn second_node() -> Result<TcpStream, String> {
    eprintln!("looking for a second node");
    let address = std::env::var("SAMPLE_NODE")
        .map_err(|_| "no second node: SAMPLE_NODE is not set".to_owned())?;
    TcpStream::connect(&address).map_err(|error| format!("no second node at {address}: {error}"))
}

fn routed() -> TestResult {
    second_node()?;
    Ok(())
}

pub(crate) fn suite() -> Suite {
    Suite::new()
        .requires("distributed", second_node)
        .test("a bucket is created", || {
            assert_eq!("milk".len(), 4);
            Ok(())
        })
        .async_test("a bucket answers", async || {
            tokio::time::timeout(Duration::from_secs(5), tokio::spawn(async { 4 })).await??;
            Ok(())
        })
        .test("routes to the other node", routed)
        .tag("distributed", true)
        .test("europe is near", || Ok(()))
        .tag("region", "eu")
        .test("asia is far", || Ok(()))
        .tag("region", "asia")
        .tag("slow", true)
}
