//! How the program is told what to do.

use std::{fs, io::Read as _, net::TcpListener};

use fedist_testkit::TestResult;

use super::{
    client::Client,
    process::{Region, command},
};

pub(crate) fn no_table() -> TestResult {
    let dir = tempfile::tempdir()?;
    let region = Region::start(dir.path(), 7, None, &[]);
    let mut client = Client::new(region.front);
    for name in ["apple", "zebra", "9lives", "Ä"] {
        client.ask(format!("CREATE {name}\r\n"), "OK\r\n");
        client.ask(format!("PUT {name} k 1\r\n"), "OK\r\n");
        client.ask(format!("GET {name} k\r\n"), "1\r\nOK\r\n");
    }
    client.ask("CRASH apple\r\n", "UNKNOWN COMMAND\r\n");
    Ok(())
}

pub(crate) fn file() -> TestResult {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("kv.toml");
    let text = "front = \"127.0.0.1:1\"\nmax-connections = 2\nmax-bytes = 1000\n\
                table = [{ keys = \"a..c\", region = 1 }]\n";
    fs::write(&file, text)?;
    let region = Region::start(dir.path(), 1, None, &["--config", &file.display().to_string()]);
    let mut client = Client::new(region.front);
    client.ask("CREATE apple\r\n", "OK\r\n");
    client.ask("CREATE shopping\r\n", "FAILED TO CREATE BUCKET\r\n");
    client.error("GET d k\r\n", &["could not find entry for \"d\" in table [a..c => 1]"]);
    // No more is kept than there is room for, and what goes makes room.
    let half = "v".repeat(500);
    client.ask(format!("PUT apple one {half}\r\n"), "OK\r\n");
    client.error(&format!("PUT apple two {half}\r\n"), &["bytes in this region (1000, reached)"]);
    client.ask("DELETE apple one\r\n", "OK\r\n");
    client.ask(format!("PUT apple two {half}\r\n"), "OK\r\n");

    let mut second = Client::new(region.front);
    second.ask("GET apple two\r\n", format!("{half}\r\nOK\r\n"));
    let mut third = Client::new(region.front);
    let line = third.line();
    assert!(line.starts_with("ERROR too many connections (2);"), "{line}");
    assert_eq!(third.line(), "");
    drop(second);
    super::until("a place", || {
        let mut again = Client::new(region.front);
        again.say("HELLO\r\n");
        again.line() == "UNKNOWN COMMAND\r\n"
    })
}

pub(crate) fn refused() -> TestResult {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("kv.toml");
    fs::write(&file, "colour = \"blue\"")?;
    let file = file.display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--table", "m..a => 1"], 2, "range (m..a); its end lies before its beginning"),
        (&["--region", "0"], 2, "--region"),
        (&["--local", "--region", "1"], 2, "cannot be used with"),
        (&["--config", &file], 3, "unknown field `colour`"),
        (&["--config", "/nowhere/kv.toml"], 3, "configuration file (/nowhere/kv.toml"),
        (&["--front", &taken], 6, "give another one with --front"),
    ];
    for (arguments, code, says) in cases {
        let mut command = command("region");
        let mut child = command.args(arguments).stderr(std::process::Stdio::piped()).spawn()?;
        let mut text = String::new();
        child.stderr.take().ok_or("no stderr")?.read_to_string(&mut text)?;
        assert_eq!(child.wait()?.code(), Some(code), "{arguments:?}: {text}");
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(says), "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{arguments:?}: {text}");
    }
    Ok(())
}

pub(crate) fn stops() -> TestResult {
    let dir = tempfile::tempdir()?;
    let mut region = Region::start(dir.path(), 1, None, &[]);
    let mut client = Client::new(region.front);
    client.ask("CREATE apple\r\n", "OK\r\n");
    assert_eq!(region.signal("TERM"), Some(0));
    let mut both = Region::of(command("region").args(["--local", "--front", "127.0.0.1:0"]));
    Client::new(both.front).ask("CREATE apple\r\n", "OK\r\n");
    assert_eq!(both.signal("INT"), Some(0));
    Ok(())
}
