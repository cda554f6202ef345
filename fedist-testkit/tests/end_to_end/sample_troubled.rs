//! Tests that fail in all ways, a requirement whose probe panics, and a suite that cannot be meant.

use std::fs;

use fedist_testkit::{Suite, TestResult};

fn read() -> TestResult {
    fs::read("/there/is/no/such/file")?;
    Ok(())
}

pub(crate) fn suite() -> Suite {
    Suite::new()
        .tag("kind", "odd")
        .requires("docker", || -> Result<(), String> { panic!("docker speaks\nin riddles") })
        .requires("database", || Err::<(), _>("no database"))
        .requires("docker", || Err::<(), _>("never asked"))
        .exclude("broken")
        .test("passes", || Ok(()))
        .test("needs docker", || Ok(()))
        .tag("docker", "any")
        .tag("kind", "usual")
        .test("needs docker again", || Ok(()))
        .tag("docker", "any")
        .test("needs two", || Ok(()))
        .tag("database", 16)
        .tag("docker", "any")
        .test("panics", || panic!("three is {}", 4))
        .tag("broken", true)
        .async_test("panics while it awaits", async || {
            tokio::task::yield_now().await;
            assert_eq!(3, 4, "counting");
            Ok(())
        })
        .tag("broken", true)
        .test("panics with a number", || std::panic::panic_any(7))
        .tag("broken", true)
        .test("meets an error", read)
        .tag("broken", true)
        .test("says why", || Err(format!("{} is odd", 3).into()))
        .tag("broken", true)
        .test("passes as well", || Ok(()))
}

pub(crate) fn mistaken() -> Suite {
    Suite::new()
        .requires("region:eu", || Ok::<(), String>(()))
        .requires("", || Ok::<(), String>(()))
        .exclude("a b")
        .tag("x,y", 1)
        .test("one", || Ok(()))
        .tag("test", "mine")
        .tag("region", "")
        .test("one", || Ok(()))
        .test(" two", || Ok(()))
        .test("", || Ok(()))
        .test("--list", || Ok(()))
}
