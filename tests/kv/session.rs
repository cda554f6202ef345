//! Sessions of clients at two fronts.

use std::net::SocketAddr;

use fedist_testkit::TestResult;

use super::{client::Client, process::pair, unique, until};

/// The guide's own test of its server, at each front, for a bucket of each region.
pub(crate) fn scripts(fronts: &[SocketAddr; 2]) -> TestResult {
    for front in fronts {
        for first in ['b', 's'] {
            let name = unique(first);
            let mut client = Client::new(*front);
            client.ask("UNKNOWN shopping\r\n", "UNKNOWN COMMAND\r\n");
            client.ask("WHATEVER\r\n", "UNKNOWN COMMAND\r\n");
            client.ask(format!("GET {name}\r\n"), "UNKNOWN COMMAND\r\n");
            for command in ["GET", "DELETE"] {
                client.ask(format!("{command} {name} eggs\r\n"), "NOT FOUND\r\n");
            }
            client.ask(format!("PUT {name} eggs 3\r\n"), "NOT FOUND\r\n");
            client.ask(format!("SUBSCRIBE {name}\r\n"), "NOT FOUND\r\n");
            client.ask(format!("CREATE {name}\r\n"), "OK\r\n");
            client.ask(format!("PUT {name} eggs 3\r\n"), "OK\r\n");
            client.ask(format!("GET {name} eggs\r\n"), "3\r\nOK\r\n");
            client.ask(format!("PUT   {name}\teggs  4 \r\n"), "OK\r\n");
            client.ask(format!("CREATE {name}\n"), "OK\r\n");
            client.ask(format!("GET {name} eggs\n"), "4\r\nOK\r\n");
            client.ask(format!("DELETE {name} eggs\r\n"), "OK\r\n");
            client.ask(format!("GET {name} eggs\r\n"), "\r\nOK\r\n");
            client.ask(format!("DELETE {name} eggs\r\n"), "OK\r\n");
        }
    }
    Ok(())
}

pub(crate) fn crossings(fronts: &[SocketAddr; 2]) -> TestResult {
    let [mut here, mut there] = fronts.map(Client::new);
    for name in ["hello", "world"].map(|name| format!("{name}-{}", unique('x'))) {
        here.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        there.ask(format!("PUT {name} milk 1\r\n"), "OK\r\n");
        here.ask(format!("GET {name} milk\r\n"), "1\r\nOK\r\n");
        here.ask(format!("DELETE {name} milk\r\n"), "OK\r\n");
        there.ask(format!("GET {name} milk\r\n"), "\r\nOK\r\n");
    }
    Ok(())
}

pub(crate) fn subscribers(fronts: &[SocketAddr; 2]) -> TestResult {
    for (at, first) in [(0, 'b'), (0, 's'), (1, 'b'), (1, 's')] {
        let name = unique(first);
        let (mut subscriber, mut other) = (Client::new(fronts[at]), Client::new(fronts[1 - at]));
        other.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        // As in the guide a subscription is not answered.
        subscriber.say(format!("SUBSCRIBE {name}\r\n"));
        until("a subscriber", || other.subscribers(&name) == 1)?;
        other.ask(format!("PUT {name} milk 1\r\n"), "OK\r\n");
        subscriber.hear("milk SET TO 1\r\n");
        subscriber.say("whatever is said now is thrown away\r\n");
        other.ask(format!("PUT {name} eggs 10\r\n"), "OK\r\n");
        other.ask(format!("DELETE {name} milk\r\n"), "OK\r\n");
        subscriber.hear("eggs SET TO 10\r\nmilk DELETED\r\n");
        drop(subscriber);
        until("no subscriber", || other.subscribers(&name) == 0)?;
    }
    Ok(())
}

pub(crate) fn pieces() -> TestResult {
    let [front, _] = pair();
    let mut client = Client::new(front);
    let (here, there) = (unique('b'), unique('s'));
    for name in [&here, &there] {
        let commands = format!("CREATE {name}\r\nPUT {name} milk 1\nGET {name} milk\r\nHELLO\r\n");
        client.ask(&commands, "OK\r\nOK\r\n1\r\nOK\r\nUNKNOWN COMMAND\r\n");
        for byte in commands.bytes() {
            client.say([byte]);
        }
        client.hear("OK\r\nOK\r\n1\r\nOK\r\nUNKNOWN COMMAND\r\n");
        let many = format!("GET {name} milk\r\n").repeat(1_000);
        client.ask(many, "1\r\nOK\r\n".repeat(1_000));
    }
    // A client that has said all and hears on gets its answers; its last words are no line.
    client.say(format!("GET {here} milk\r\nDELETE {here} milk"));
    client.stream().shutdown(std::net::Shutdown::Write)?;
    client.hear("1\r\nOK\r\n");
    assert_eq!(client.line(), "");
    Client::new(front).ask(format!("GET {here} milk\r\n"), "1\r\nOK\r\n");
    Ok(())
}

pub(crate) fn bytes() -> TestResult {
    let all: Vec<u8> =
        (0..=255_u8).filter(|byte| !byte.is_ascii_whitespace() && *byte != 11).collect();
    for (front, first) in pair().into_iter().zip(['s', 'b']) {
        let mut client = Client::new(front);
        let name = [unique(first).as_bytes(), &all].concat();
        client.ask([b"CREATE ", &name[..], b"\r\n"].concat(), "OK\r\n");
        client.ask([b"PUT ", &name[..], b" ", &all, b" ", &all, b"\r\n"].concat(), "OK\r\n");
        client.ask(
            [b"GET ", &name[..], b" ", &all, b"\r\n"].concat(),
            [&all[..], b"\r\nOK\r\n"].concat(),
        );
    }
    Ok(())
}

pub(crate) fn no_entry() -> TestResult {
    for front in pair() {
        let mut client = Client::new(front);
        for name in ["9lives", "zebra"] {
            client.ask(format!("CREATE {name}\r\n"), "FAILED TO CREATE BUCKET\r\n");
            let text =
                format!("could not find entry for \"{name}\" in table [a..m => 1, n..w => 2, ");
            client.error(&format!("GET {name} k\r\n"), &[&text]);
            client.error(&format!("PUT {name} k 1\r\n"), &[&text]);
            client.error(&format!("SUBSCRIBE {name}\r\n"), &[&text]);
        }
        client.ask("CREATE \0\r\n", "FAILED TO CREATE BUCKET\r\n");
        client.error("GET \0 k\r\n", &["could not find entry for \"\\0\" in table ["]);
    }
    Ok(())
}

pub(crate) fn circle() -> TestResult {
    for (front, path) in pair().into_iter().zip(["(1 → 2 → 1)", "(2 → 1 → 2)"]) {
        let mut client = Client::new(front);
        client.ask("CREATE xylophone\r\n", "FAILED TO CREATE BUCKET\r\n");
        client.error("GET xylophone k\r\n", &["circle", path]);
    }
    Ok(())
}

pub(crate) fn crash() -> TestResult {
    let fronts = pair();
    for first in ['b', 's'] {
        let name = unique(first);
        let [mut here, mut there] = fronts.map(Client::new);
        here.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        here.ask(format!("PUT {name} milk 1\r\n"), "OK\r\n");
        there.say(format!("SUBSCRIBE {name}\r\n"));
        until("a subscriber", || here.subscribers(&name) == 1)?;
        here.error(&format!("CRASH {name}\r\n"), &["ended before it answered"]);
        here.ask(format!("GET {name} milk\r\n"), "NOT FOUND\r\n");
        here.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        here.ask(format!("GET {name} milk\r\n"), "\r\nOK\r\n");
        // The subscription is over, and the connection takes commands again.
        let line = there.line();
        assert!(
            line.starts_with("ERROR bucket has ended (panicked: as asked by CRASH);"),
            "{line}"
        );
        there.ask(format!("GET {name} milk\r\n"), "\r\nOK\r\n");
        assert_eq!(here.subscribers(&name), 0);
    }
    Ok(())
}
