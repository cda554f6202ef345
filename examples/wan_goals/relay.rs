//! What a relay adds, beside a bare UDP forwarder in the same run.

use std::{
    net::{SocketAddr, UdpSocket},
    process::{Child, Command as Process, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fedist::registry::RegionId;

use super::{
    Row, note, percentile,
    protocol::{Command, Mesh},
    say,
    stage::{Federation, Plan, Site, region},
};

pub(crate) const ROWS: &[&str] = &[
    "relay-one-way-p50",
    "relay-one-way-p99",
    "relay-bare-udp-forwarder-p50",
    "relay-bare-udp-forwarder-p99",
];

pub(crate) fn rows(rows: &mut Vec<Row>) -> anyhow::Result<()> {
    // 1 - 2 - 3 over loopback: 1 reaches 2 directly, and 3 through 2.
    let edges = vec![(region(0), region(1)), (region(1), region(2))];
    let sites = [("one", None), ("relay", Some(0)), ("three", Some(1))];
    let federation = Federation::start(Plan {
        sites: sites
            .map(|(name, parent)| Site {
                name: name.to_owned(),
                parent: parent.map(region),
                coordinates: None,
            })
            .into(),
        delay: None,
        mesh: Mesh::Edges(edges),
    })?;
    thread::sleep(Duration::from_secs(5));
    let mut forwarder = Forwarder::start()?;
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    let (mut bare_direct, mut bare_forwarded) = (Vec::new(), Vec::new());
    // In turn, so that a mood of the machine meets all four.
    for _ in 0..ROUNDS {
        direct.extend(ping(&federation, region(1))?);
        relayed.extend(ping(&federation, region(2))?);
        bare_direct.extend(forwarder.round_trips(forwarder.echo)?);
        bare_forwarded.extend(forwarder.round_trips(forwarder.door)?);
    }
    federation.end();
    forwarder.end();
    for (what, samples) in [
        ("direct", &direct),
        ("over the relay", &relayed),
        ("bare UDP, direct", &bare_direct),
        ("bare UDP, forwarded", &bare_forwarded),
    ] {
        let (p50, p99) = (percentile(samples, 0.5), percentile(samples, 0.99));
        note(&format!("  round trip {what:<20} p50 {p50:>6.1} us, p99 {p99:>6.1} us"));
    }
    // One way, over the median of the direct way: the tail holds what direct round trips suffer too.
    let over = |with: &[f64], without: &[f64], share: f64| {
        (percentile(with, share) - percentile(without, 0.5)) / 2.0
    };
    let added = |share: f64| over(&relayed, &direct, share);
    let bare = |share: f64| over(&bare_forwarded, &bare_direct, share);
    let limit = "10-15 us: two system calls, two AEAD passes";
    say(rows, Row::at_most("relay-one-way-p50", added(0.5), 50.0, "us", limit));
    say(rows, Row::at_most("relay-one-way-p99", added(0.99), 250.0, "us", limit));
    say(
        rows,
        Row::beside(
            "relay-bare-udp-forwarder-p50",
            bare(0.5),
            "us",
            "the same path without FeDist",
        ),
    );
    say(
        rows,
        Row::beside(
            "relay-bare-udp-forwarder-p99",
            bare(0.99),
            "us",
            "the same path without FeDist",
        ),
    );
    Ok(())
}

fn ping(federation: &Federation, to: RegionId) -> anyhow::Result<Vec<f64>> {
    let command = Command::Ping { to, samples: SAMPLES, pause_us: PAUSE_US };
    let rtt_ns: Vec<u64> = federation.ask(region(0), command)?;
    Ok(rtt_ns.into_iter().map(|ns| ns as f64 / 1e3).collect())
}

/// Two more processes of this program: one echoes datagrams, one passes them on to it.
struct Forwarder {
    children: Vec<Child>,
    echo: SocketAddr,
    door: SocketAddr,
}

impl Forwarder {
    fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut children = Vec::new();
        let mut begin = |target: Option<SocketAddr>| -> anyhow::Result<SocketAddr> {
            let mut child = Process::new(&program)
                .arg(UDP_COMMAND)
                .args(target.map(|target| target.to_string()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut line = String::new();
            let out = child.stdout.take().context("no pipe")?;
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)?;
            children.push(child);
            Ok(line.trim().parse()?)
        };
        let echo = begin(None)?;
        let door = begin(Some(echo))?;
        Ok(Self { children, echo, door })
    }

    fn round_trips(&self, to: SocketAddr) -> anyhow::Result<Vec<f64>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut buffer = [0; 2_048];
        let mut samples = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            socket.send_to(&[7; 120], to)?;
            socket.recv_from(&mut buffer)?;
            samples.push(begun.elapsed().as_nanos() as f64 / 1e3);
            thread::sleep(Duration::from_micros(PAUSE_US));
        }
        Ok(samples)
    }

    fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The process of a forwarder: echoes without a target, passes on with one. Ends with its stdin.
pub(crate) fn forward(target: Option<&str>) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("{}", socket.local_addr()?);
    thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let target: Option<SocketAddr> = target.map(str::parse).transpose()?;
    let mut client: Option<SocketAddr> = None;
    let mut buffer = [0; 2_048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        let to = match target {
            None => from,
            Some(target) if from == target => client.context("an answer without a question")?,
            Some(target) => {
                client = Some(from);
                target
            }
        };
        socket.send_to(&buffer[..len], to)?;
    }
}

/// The first argument of a forwarder's process.
pub(crate) const UDP_COMMAND: &str = "udp-forwarder";
const ROUNDS: usize = 10;
const SAMPLES: usize = 200;
const PAUSE_US: u64 = 500;
