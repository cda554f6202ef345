//! A region that is killed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use fedist_testkit::TestResult;

use super::{client::Client, process::Region, until};

pub(crate) fn region_down() -> TestResult {
    let dir = tempfile::tempdir()?;
    let table = ["--table", "a..m => 1, n..z => 2"];
    let first = Region::start(dir.path(), 1, None, &table);
    let mut second = Region::start(dir.path(), 2, Some(&first), &table);
    let mut client = Client::new(first.front);
    for name in ["apple", "shopping"] {
        client.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        client.ask(format!("PUT {name} milk 1\r\n"), "OK\r\n");
    }
    let mut subscriber = Client::new(first.front);
    subscriber.say("SUBSCRIBE shopping\r\n");
    until("a subscriber", || client.subscribers("shopping") == 1)?;
    second.kill();

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Buckets at home here are served while others wait for the lost region.
        let other = scope.spawn(|| {
            let mut other = Client::new(first.front);
            let mut count = 0_u32;
            while !over.load(Ordering::Acquire) {
                other.ask(format!("PUT apple count {count}\r\n"), "OK\r\n");
                other.ask("GET apple count\r\n", format!("{count}\r\nOK\r\n"));
                count += 1;
            }
            count
        });
        let waiting: Vec<_> =
            ["GET shopping milk\r\n", "PUT shopping milk 2\r\n", "DELETE shopping milk\r\n"]
                .map(|command| {
                    let mut client = Client::new(first.front);
                    scope.spawn(move || {
                        let asked = Instant::now();
                        client.error(command, &["region 2"]);
                        // And the same connection goes on.
                        client.ask("GET apple milk\r\n", "1\r\nOK\r\n");
                        asked.elapsed()
                    })
                })
                .into();
        for waiting in waiting {
            let took = waiting.join().unwrap();
            assert!(took < AWAIT, "an error within the time: {took:?}");
        }
        client.ask("CREATE tomato\r\n", "FAILED TO CREATE BUCKET\r\n");
        over.store(true, Ordering::Release);
        let served = other.join().unwrap();
        assert!(served > 100, "others were served: {served}");
    });
    let line = subscriber.line();
    assert!(line.starts_with("ERROR bucket has ended (unreachable"), "{line}");

    // It comes back without its buckets, and is found.
    let second = Region::start(dir.path(), 2, Some(&first), &table);
    until("the second region", || {
        client.say("CREATE shopping\r\n");
        client.line() == "OK\r\n"
    })?;
    Client::new(second.front).ask("GET shopping milk\r\n", "\r\nOK\r\n");
    Ok(())
}

/// The time in which there has to be an answer, and a second for a machine that is busy.
const AWAIT: Duration = Duration::from_secs(6);
