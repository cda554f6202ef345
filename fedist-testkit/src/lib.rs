//! Tests with tags, for `cargo test` and cargo-nextest.
//!
//! A test that needs something which may be missing, such as a second node, gets a tag, and the suite says what the tag requires.
//! Where it is missing these tests are excluded, and the run says so, with the reason:
//!
//! ```text
//! Excluding tags: [distributed: true]
//!
//! running 2 tests
//! test a bucket is created      ... ok
//! test routes to the other node ... ignored (no second node: Connection refused (os error 111))
//!
//! test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
//!
//! 1 test, 0 failures, 1 excluded
//! ```
//!
//! A suite is a test target with a `main` of its own. In `Cargo.toml`:
//!
//! ```toml
//! [dev-dependencies]
//! fedist-testkit = { path = "../fedist/fedist-testkit" } # from a clone: there is no release yet
//!
//! [[test]]
//! name = "buckets"
//! harness = false
//! ```
//!
//! and in `tests/buckets.rs`:
//!
//! ```no_run
//! use std::{net::TcpStream, process::ExitCode};
//! use fedist_testkit::{Suite, TestResult};
//!
//! fn second_node() -> Result<TcpStream, String> {
//!     TcpStream::connect("127.0.0.1:4041").map_err(|error| format!("no second node: {error}"))
//! }
//!
//! fn routed() -> TestResult {
//!     second_node()?;
//!     Ok(())
//! }
//!
//! fn main() -> ExitCode {
//!     Suite::new()
//!         .requires("distributed", second_node)
//!         .test("a bucket is created", || {
//!             assert_eq!("milk".len(), 4);
//!             Ok(())
//!         })
//!         .test("routes to the other node", routed).tag("distributed", true)
//!         .async_test("answers in time", async || {
//!             tokio::time::timeout(std::time::Duration::from_secs(5), async {}).await?;
//!             Ok(())
//!         })
//!         .tag("region", "eu")
//!         .run()
//! }
//! ```
//!
//! Tags choose tests as in ExUnit: `cargo test --test buckets -- --only distributed`, and also `--include` and `--exclude`, each with
//! `tag` or `tag:value` and as often as needed. Plain `cargo test -- --only distributed` would give the option to
//! the other test binaries too, which do not know it; the variables `FEDIST_TEST_INCLUDE`, `FEDIST_TEST_EXCLUDE` and
//! `FEDIST_TEST_ONLY`, with lists like `slow,region:eu`, do the same and disturb nobody. `FEDIST_TEST_REQUIRE=distributed`, or
//! `all`, makes a missing requirement a failure; that is for CI.
//!
//! To libtest's options and to other tools excluded tests are ignored ones: `--ignored` runs them alone, `--include-ignored` runs
//! all, and cargo-nextest shows them as skipped. Output is not captured.
//!
//! Reading order: `tag`, `arguments`, `selection` and `summary` decide and know neither process nor console; `failed` and `suite` act.

#![warn(clippy::dbg_macro)]

mod arguments;
mod failed;
mod selection;
mod suite;
mod summary;
mod tag;

pub use failed::{Failed, TestResult};
pub use suite::Suite;
