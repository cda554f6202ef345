//! The key-value store of `examples/kv`, by its clients: exact bytes, several regions, load, and what fails.
//!
//! Regions are processes of this program, which then does what the example does. Tests with the tag `distributed` need two regions
//! that run already, with the table `a..m => 1, n..z => 2`; they find them as `KV_FRONTS=127.0.0.1:4040,127.0.0.1:4041`.

mod client;
mod failure;
// The example itself; its own `main` runs the processes.
#[allow(dead_code, unused_imports, reason = "the example uses more of it")]
#[path = "../../examples/kv/main.rs"]
mod kv;
mod load;
mod process;
mod pure;
mod session;
mod settings;

use std::{net::SocketAddr, process::ExitCode};

use fedist_testkit::{Suite, TestResult};

fn main() -> ExitCode {
    if let Some(code) = process::role() {
        return code;
    }
    let code = Suite::new()
        .requires("distributed", fronts)
        .test("commands are words, whatever the white space", pure::commands)
        .test("lines come out of any pieces, and a long one is told once", pure::lines)
        .test("a session gives the bytes of the guide at either front", || {
            session::scripts(&process::pair())
        })
        .test("a bucket made at one front is there at the other", || {
            session::crossings(&process::pair())
        })
        .test("a subscriber hears of changes from another region until it goes", || {
            session::subscribers(&process::pair())
        })
        .test("commands may come in any pieces and all at once", session::pieces)
        .test("bytes that are no text are kept as they are", session::bytes)
        .test("a name without an entry is told with the table", session::no_entry)
        .test("tables that send a name in a circle end in an error", session::circle)
        .test(
            "a crashed bucket is gone, its subscribers hear it, and it can be made anew",
            session::crash,
        )
        .test("without a table every bucket is at home in the only region", settings::no_table)
        .test("a table and the manners may come from a file", settings::file)
        .test("wrong settings are refused with a text and an exit code", settings::refused)
        .test("told to stop it ends in an orderly way", settings::stops)
        .test("fifty clients at once, one of them killed in the middle of a command", load::fifty)
        .test("lines of 64 KiB work, and a longer one is an error", load::long_lines)
        .test("garbage is answered and harms nobody", load::garbage)
        .test("a thousand half-open connections are bounded and told so", load::half_open)
        .test(
            "a subscriber that does not read holds up nobody and is let go",
            load::slow_subscriber,
        )
        .test(
            "a region that is down is an error in time and disturbs nobody else",
            failure::region_down,
        )
        .test("route requests across nodes", || session::crossings(&fronts()?))
        .tag("distributed", true)
        .test("server interaction", || session::scripts(&fronts()?))
        .tag("distributed", true)
        .test("subscribes to buckets", || session::subscribers(&fronts()?))
        .tag("distributed", true)
        .run();
    process::end();
    code
}

/// The fronts of two regions that run already.
fn fronts() -> Result<[SocketAddr; 2], String> {
    let text = std::env::var("KV_FRONTS").map_err(|_| {
        "no second node: KV_FRONTS is not set; it names the fronts of two regions".to_owned()
    })?;
    let fronts = text.split(',').map(|front| front.trim().parse()).collect::<Result<Vec<_>, _>>();
    let fronts: Option<[SocketAddr; 2]> = fronts.ok().and_then(|fronts| fronts.try_into().ok());
    let fronts = fronts.ok_or_else(|| format!("KV_FRONTS ({text}) is not ADDRESS,ADDRESS"))?;
    for front in fronts {
        std::net::TcpStream::connect(front)
            .map_err(|error| format!("no node at {front}: {error}"))?;
    }
    Ok(fronts)
}

/// A name that no other test has, which begins with `first`.
fn unique(first: char) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{first}-{}-{next}", std::process::id())
}

/// Waits until something holds, for as long as a slow machine may need.
fn until(what: &str, mut holds: impl FnMut() -> bool) -> TestResult {
    let begun = std::time::Instant::now();
    while !holds() {
        if begun.elapsed() > std::time::Duration::from_secs(60) {
            return Err(format!("waited in vain: {what}").into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}
