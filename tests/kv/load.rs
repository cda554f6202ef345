//! Many clients, large lines, garbage, and clients that do not behave.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    thread,
    time::Duration,
};

use fedist_testkit::TestResult;

use super::{
    client::Client,
    kv::lines::MAX_LINE,
    process::{HALF_OPEN, HalfOpen, Region, pair},
    unique, until,
};

pub(crate) fn fifty() -> TestResult {
    let fronts = pair();
    let shared = [unique('b'), unique('s')];
    for name in &shared {
        Client::new(fronts[0]).ask(format!("CREATE {name}\r\n"), "OK\r\n");
    }
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let shared = shared.clone();
            thread::spawn(move || script(number, fronts[number % 2], &shared))
        })
        .collect();
    // One more goes without a word, in the middle of a command.
    let mut killed = Client::new(fronts[0]);
    killed.ask(format!("PUT {} victim whole\r\n", shared[1]), "OK\r\n");
    killed.say(format!("PUT {} victim torn-", shared[1]));
    socket2::SockRef::from(killed.stream()).set_linger(Some(Duration::ZERO))?;
    drop(killed);
    for client in clients {
        client.join().map_err(|_| "a client was answered wrongly")?;
    }
    let mut client = Client::new(fronts[1]);
    client.ask(format!("GET {} victim\r\n", shared[1]), "whole\r\nOK\r\n");
    // Everybody's last word is there.
    for name in &shared {
        for number in 0..50 {
            client.ask(format!("GET {name} last-{number}\r\n"), "19\r\nOK\r\n");
        }
    }
    Ok(())
}

fn script(number: usize, front: SocketAddr, shared: &[String; 2]) {
    let mut client = Client::new(front);
    let own = unique(if number.is_multiple_of(4) { 'b' } else { 's' });
    client.ask(format!("CREATE {own}\r\n"), "OK\r\n");
    for turn in 0..20 {
        client.ask(format!("PUT {own} key {turn}\r\n"), "OK\r\n");
        client.ask(format!("GET {own} key\r\n"), format!("{turn}\r\nOK\r\n"));
        for name in shared {
            client.ask(format!("PUT {name} last-{number} {turn}\r\n"), "OK\r\n");
            client.ask(format!("GET {name} last-{number}\r\n"), format!("{turn}\r\nOK\r\n"));
        }
        client.ask(format!("DELETE {own} key\r\n"), "OK\r\n");
        client.ask(format!("GET {own} key\r\n"), "\r\nOK\r\n");
        client.ask("NONSENSE\r\n", "UNKNOWN COMMAND\r\n");
    }
}

pub(crate) fn long_lines() -> TestResult {
    for (front, first) in pair().into_iter().zip(['s', 'b']) {
        let mut client = Client::new(front);
        let name = unique(first);
        client.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        // The whole line 64 KiB, and the value alone; and the longest line that there is.
        let put = format!("PUT {name} k ");
        for len in [65_536 - put.len() - 2, 65_536, MAX_LINE - put.len() - 1] {
            let value = "v".repeat(len);
            client.ask(format!("{put}{value}\r\n"), "OK\r\n");
            client.ask(format!("GET {name} k\r\n"), format!("{value}\r\nOK\r\n"));
        }
        let text = format!("line too long (more than {MAX_LINE} bytes)");
        for len in [MAX_LINE - put.len(), MAX_LINE, 10 * MAX_LINE] {
            client.error(&format!("{put}{}\r\n", "w".repeat(len)), &[&text]);
        }
        client.say(format!("GET {name} k\r\n"));
        assert!(client.line().starts_with("vvv"), "the last good value is there");
        client.hear("OK\r\n");
        let (bucket, key) = ("s".repeat(30_000), "k".repeat(30_000));
        client.ask(format!("CREATE {bucket}\r\n"), "OK\r\n");
        client.ask(format!("PUT {bucket} {key} 1\r\n"), "OK\r\n");
        client.ask(format!("GET {bucket} {key}\r\n"), "1\r\nOK\r\n");
    }
    Ok(())
}

pub(crate) fn garbage() -> TestResult {
    let mut dice = fastrand::Rng::with_seed(5);
    for front in pair() {
        let client = Client::new(front);
        let mut garbage: Vec<u8> = (0..1 << 20).map(|_| dice.u8(..)).collect();
        // A megabyte without an end is in it too.
        garbage.extend((0..1 << 20).map(|_| dice.u8(b'a'..=b'z')));
        let ends = garbage.iter().filter(|byte| **byte == b'\n').count();
        let mut writer = client.stream().try_clone()?;
        let write = thread::spawn(move || {
            writer.write_all(&garbage)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut answers = String::new();
        client.stream().try_clone()?.read_to_string(&mut answers)?;
        write.join().map_err(|_| "the writer")??;
        assert_eq!(answers.matches("UNKNOWN COMMAND\r\n").count(), ends, "an answer to each line");
        assert_eq!(answers.matches("ERROR line too long").count(), 1);
        assert_eq!(answers.lines().count(), ends + 1);
        let name = unique('b');
        Client::new(front).ask(format!("CREATE {name}\r\n"), "OK\r\n");
    }
    Ok(())
}

pub(crate) fn half_open() -> TestResult {
    let dir = tempfile::tempdir()?;
    let limits = ["--max-connections", "1200", "--line-secs", "3", "--idle-secs", "4"];
    let region = Region::start(dir.path(), 1, None, &limits);
    let mut client = Client::new(region.front);
    client.ask("CREATE apple\r\n", "OK\r\n");
    client.ask("PUT apple milk 1\r\n", "OK\r\n");
    let before = region.memory();
    let open = HalfOpen::open(region.front);
    // The others are served as if nobody else was there, also those who come now.
    for turn in 0..100 {
        client.ask(format!("PUT apple turn {turn}\r\n"), "OK\r\n");
        let mut newcomer = Client::new(region.front);
        newcomer.ask("GET apple turn\r\n", format!("{turn}\r\nOK\r\n"));
        newcomer.stream().shutdown(Shutdown::Both)?;
        newcomer.line();
    }
    if let (Some(before), Some(after)) = (before, region.memory()) {
        let each = after.saturating_sub(before) / HALF_OPEN as u64;
        assert!(each < 16 * 1024, "a half-open connection takes {each} bytes");
    }
    let told = open.told();
    let half = HALF_OPEN as u64 / 2;
    let line = "ERROR line not finished for 3 s; others want to be served too; connect again";
    let silence = "ERROR nothing said for 4 s; others want to be served too; connect again";
    assert_eq!(told.get(line), Some(&half), "{told:?}");
    assert_eq!(told.get(silence), Some(&half), "{told:?}");
    // No torn line was a command.
    Client::new(region.front).ask("GET apple milk\r\n", "1\r\nOK\r\n");
    Ok(())
}

pub(crate) fn slow_subscriber() -> TestResult {
    let fronts = pair();
    for first in ['b', 's'] {
        let name = unique(first);
        let [mut slow, mut other] = fronts.map(Client::new);
        other.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        slow.say(format!("SUBSCRIBE {name}\r\n"));
        until("a subscriber", || other.subscribers(&name) == 1)?;
        let put = format!("PUT {name} k {}\r\n", "v".repeat(65_000));
        // The sockets hold some megabytes for it, the front one; then it is over.
        let mut puts = 0;
        until("its end", || {
            other.ask(&put, "OK\r\n");
            puts += 1;
            puts % 10 == 0 && other.subscribers(&name) == 0
        })?;
        // It finds what was written before it was let go.
        assert!(slow.line().starts_with("k SET TO vvv"));
    }
    Ok(())
}
