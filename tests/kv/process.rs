//! The processes of a test: this program again, in another role.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::kv;

/// Plays the role that the environment names, if it names one. A role ends with the test that has started it.
pub(crate) fn role() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    if role == "half-open" {
        half_open();
        return Some(ExitCode::SUCCESS);
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    Some(kv::main())
}

/// A region of the store.
pub(crate) struct Region {
    child: Child,
    /// Its front.
    pub(crate) front: SocketAddr,
    /// Where other regions reach it.
    pub(crate) quic: String,
}

impl Region {
    /// Starts it, with its data below `dir`, and waits until it serves clients.
    pub(crate) fn start(dir: &Path, number: u16, parent: Option<&Region>, more: &[&str]) -> Region {
        let data = dir.join(format!("region-{number}"));
        let mut command = command("region");
        command.args(["--region", &number.to_string(), "--front", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(data).arg("--ca-dir").arg(dir.join("ca"));
        if let Some(parent) = parent {
            command.args(["--parent", "1", "--join", &parent.quic]);
        }
        Self::of(command.args(more))
    }

    /// Starts what `command` says.
    pub(crate) fn of(command: &mut Command) -> Region {
        let mut child = command.spawn().expect("this program runs");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let behind = |mark: &str| {
            let (_, rest) = ready.split_once(mark)?;
            Some(rest.split([',', '\n']).next()?.to_owned())
        };
        let front = behind("clients at ").and_then(|front| front.parse().ok());
        let quic = behind("other regions at ").unwrap_or_default();
        Region { front: front.unwrap_or_else(|| panic!("ready: {ready:?}")), quic, child }
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name, and waits for its exit code.
    pub(crate) fn signal(&mut self, name: &str) -> Option<i32> {
        // Open until then: its end is the region's too.
        let _stdin = self.child.stdin.take();
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", name, &pid]).status().expect("the command kill");
        self.child.wait().unwrap().code()
    }

    /// Resident memory in bytes, where the system tells.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.kill();
    }
}

/// This program in a role, to be given arguments.
pub(crate) fn command(role: &str) -> Command {
    // A thousand connections need more files than many systems allow at first.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 4096 2>/dev/null; exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().expect("this program")).env(ROLE, role);
    command.env("FEDIST_LOG", "error").env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The fronts of two regions that most tests share. Names from `a` to `m` are at home in the first, from `n` to `w` in the
/// second; each of them says that those with `x` are at home in the other.
pub(crate) fn pair() -> [SocketAddr; 2] {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = shared.get_or_insert_with(|| {
        let dir = tempfile::tempdir().unwrap();
        let table = ["--allow-crash", "--table"];
        let first = Region::start(
            dir.path(),
            1,
            None,
            &[&table[..], &["a..m=>1, n..w=>2, x..x=>2"]].concat(),
        );
        let second = Region::start(
            dir.path(),
            2,
            Some(&first),
            &[&table[..], &["a..m=>1, n..w=>2, x..x=>1"]].concat(),
        );
        ([first, second], dir)
    });
    shared.0.each_ref().map(|region| region.front)
}

/// Ends the shared regions.
pub(crate) fn end() {
    *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// A thousand connections to a front, one half silent and one half in the middle of a line, in a process of their own.
pub(crate) struct HalfOpen {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl HalfOpen {
    /// Returns when all are open and have said what they say.
    pub(crate) fn open(front: SocketAddr) -> HalfOpen {
        let mut child = command("half-open").arg(front.to_string()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        HalfOpen { child, said }
    }

    /// Waits until all are closed, and gives what they were told, with how many were.
    pub(crate) fn told(mut self) -> BTreeMap<String, u64> {
        self.child.stdin.take().unwrap().write_all(b"read\n").unwrap();
        let mut told = BTreeMap::new();
        for line in self.said.lines() {
            let line = line.unwrap();
            let (count, text) = line.split_once(' ').unwrap();
            told.insert(text.to_owned(), count.parse().unwrap());
        }
        self.child.wait().unwrap();
        told
    }
}

fn half_open() {
    let front: SocketAddr = std::env::args().nth(1).unwrap().parse().unwrap();
    let open = |number: usize| {
        let mut stream = TcpStream::connect(front).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        if number % 2 == 1 {
            stream.write_all(b"PUT apple milk hal").unwrap();
        }
        stream
    };
    let streams: Vec<TcpStream> = (0..HALF_OPEN).map(open).collect();
    println!("open");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for mut stream in streams {
        let mut text = String::new();
        if let Err(error) = stream.read_to_string(&mut text) {
            text = error.to_string();
        }
        *told.entry(text.trim_end().to_owned()).or_default() += 1;
    }
    told.iter().for_each(|(text, count)| println!("{count} {text}"));
}

static SHARED: Mutex<Option<([Region; 2], tempfile::TempDir)>> = Mutex::new(None);
pub(crate) const HALF_OPEN: usize = 1_000;
const ROLE: &str = "KV_TEST_ROLE";
