//! Real sockets through the emulator, on loopback.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fedist_registry::RegionId;

use super::{Emulator, LinkProfile, LinkReport};

/// Far more than a loaded machine needs, so that only a fault reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn region(number: u16) -> RegionId {
    RegionId::new(number).expect("a valid region number")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn read(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 65_536];
    let (len, _) = socket.recv_from(&mut buffer)?;
    Ok(buffer[..len].to_vec())
}

/// Sends and waits for the echo.
fn ask(socket: &UdpSocket, door: SocketAddr, text: &[u8]) -> Duration {
    let start = Instant::now();
    socket.send_to(text, door).expect("sent");
    assert_eq!(read(socket).expect("an echo"), text);
    start.elapsed()
}

struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let _ = socket.send_to(&buffer[..len], from);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        client().send_to(b"", self.address).expect("sent");
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the echo ends");
        }
    }
}

struct Wan {
    emulator: Emulator,
    echo: Echo,
    door: SocketAddr,
    a: RegionId,
    b: RegionId,
}

impl Wan {
    /// A client in region 1 and an echo in region 2.
    fn start(there: LinkProfile, back: LinkProfile) -> Self {
        let (a, b) = (region(1), region(2));
        let echo = Echo::start();
        let emulator = Emulator::start(42).expect("an emulator");
        emulator.set(a, b, there);
        emulator.set(b, a, back);
        let door = emulator.link(a, b, echo.address).expect("an address");
        Self { emulator, echo, door, a, b }
    }

    fn report(&self, from: RegionId, to: RegionId) -> LinkReport {
        let reports = self.emulator.report().into_iter();
        let mut wanted = reports.filter(|report| (report.from, report.to) == (from, to));
        wanted.next().expect("a link that was set")
    }

    fn there(&self) -> LinkReport {
        self.report(self.a, self.b)
    }

    fn wait_until(&self, what: &str, mut holds: impl FnMut(&LinkReport) -> bool) {
        let start = Instant::now();
        while !holds(&self.there()) {
            assert!(start.elapsed() < PATIENCE, "never: {what}; {}", self.there());
            thread::sleep(ms(1));
        }
    }
}

fn clean() -> LinkProfile {
    LinkProfile::default()
}

#[test]
fn each_direction_gets_its_own_delay_and_never_less() {
    let (there, back) = (ms(20), ms(35));
    let wan = Wan::start(LinkProfile::with_delay(there), LinkProfile::with_delay(back));
    let socket = client();
    let mut least = Duration::MAX;
    for _ in 0..20 {
        let rtt = ask(&socket, wan.door, b"hello");
        assert!(rtt >= there + back, "{rtt:?}");
        least = least.min(rtt);
    }
    assert!(least < there + back + ms(30), "{least:?}");
    wan.wait_until("20 packets there", |report| report.measured == 20);
    for (report, asked) in [(wan.there(), there), (wan.report(wan.b, wan.a), back)] {
        assert_eq!(report.asked, asked);
        assert!(report.given_min >= asked, "{report}");
        assert!(report.given_min < asked + ms(15), "{report}");
        assert!(report.given_median >= report.given_min - Duration::from_micros(1), "{report}");
        assert!(report.given_p99 >= report.given_median, "{report}");
        assert_eq!((report.bytes, report.dropped), (5 * report.packets, 0));
    }
}

#[test]
fn the_asked_share_is_lost_and_the_same_seed_loses_the_same() {
    let lossy = LinkProfile { loss: 0.1, ..clean() };
    let mut lost = Vec::new();
    for _ in 0..2 {
        let wan = Wan::start(lossy, clean());
        let socket = client();
        // In small groups, so that no socket buffer overflows and all loss is the emulator's.
        for group in 1..=40 {
            for _ in 0..50 {
                socket.send_to(b"x", wan.door).expect("sent");
            }
            wan.wait_until("each packet counted", |report| {
                report.packets + report.dropped == group * 50
            });
        }
        let report = wan.there();
        assert_eq!(report.dropped, report.dropped_by.loss);
        assert_eq!(report.on_the_way, 0);
        lost.push(report.dropped);
    }
    assert!((150..=250).contains(&lost[0]), "{lost:?}");
    assert_eq!(lost[0], lost[1]);
}

#[test]
fn a_cut_stops_both_directions_and_what_is_on_the_way_until_it_is_restored() {
    let wan = Wan::start(clean(), clean());
    let socket = client();
    ask(&socket, wan.door, b"before");

    wan.emulator.set(wan.a, wan.b, LinkProfile::with_delay(ms(1_000)));
    socket.send_to(b"on the way", wan.door).expect("sent");
    wan.wait_until("a packet on the way", |report| report.on_the_way == 1);
    wan.emulator.cut(wan.a, wan.b);
    socket.send_to(b"during", wan.door).expect("sent");
    wan.wait_until("both packets lost", |report| report.dropped_by.cut == 2);
    wan.emulator.set(wan.a, wan.b, clean());
    socket.send_to(b"one way back", wan.door).expect("sent");
    let start = Instant::now();
    while wan.report(wan.b, wan.a).dropped_by.cut != 1 {
        assert!(start.elapsed() < PATIENCE, "the answer was not cut");
        thread::sleep(ms(1));
    }

    wan.emulator.restore(wan.b, wan.a);
    // Had anything leaked, it would come first.
    ask(&socket, wan.door, b"after");
}

#[test]
fn a_rate_limits_the_bytes_per_second() {
    let narrow = LinkProfile { rate_bytes_per_s: Some(200_000), ..clean() };
    let wan = Wan::start(narrow, clean());
    let socket = client();
    let start = Instant::now();
    for _ in 0..40 {
        socket.send_to(&[7; 1_000], wan.door).expect("sent");
    }
    for _ in 0..40 {
        read(&socket).expect("an echo");
    }
    let took = start.elapsed();
    assert!(took >= ms(199), "{took:?}");
    assert!(took < ms(2_000), "{took:?}");
}

#[test]
fn past_the_backlog_of_a_rate_packets_are_dropped_and_counted() {
    let narrow = LinkProfile { rate_bytes_per_s: Some(1_000), ..clean() };
    let wan = Wan::start(narrow, clean());
    let socket = client();
    for sent in 1..=30 {
        socket.send_to(&[7; 20_000], wan.door).expect("sent");
        let fits = sent.min(13);
        wan.wait_until("the packet was decided on", |report| report.dropped == sent - fits);
    }
    let report = wan.there();
    assert_eq!((report.packets, report.on_the_way), (0, 13));
    assert_eq!(report.dropped_by.rate, 17);
}

#[test]
fn duplicates_arrive_twice() {
    let double = LinkProfile { duplicate: 1.0, ..LinkProfile::with_delay(ms(2)) };
    let wan = Wan::start(double, clean());
    let socket = client();
    ask(&socket, wan.door, b"twin");
    assert_eq!(read(&socket).expect("the second"), b"twin");
    wan.wait_until("both counted", |report| report.packets == 2);
}

#[test]
fn jitter_alone_does_not_change_the_order_but_reorder_does() {
    let jittery = LinkProfile { jitter: ms(10), ..LinkProfile::with_delay(ms(20)) };
    let wan = Wan::start(jittery, clean());
    let socket = client();
    let round = |count: u8| -> Vec<u8> {
        for i in 0..count {
            socket.send_to(&[i], wan.door).expect("sent");
        }
        (0..count).map(|_| read(&socket).expect("an echo")[0]).collect()
    };
    let in_order: Vec<u8> = (0..100).collect();
    assert_eq!(round(100), in_order);
    let reorder = LinkProfile { reorder: true, ..jittery };
    wan.emulator.set(wan.a, wan.b, reorder);
    let mixed = round(100);
    assert_ne!(mixed, in_order);
    let mut sorted = mixed;
    sorted.sort_unstable();
    assert_eq!(sorted, in_order);
}

#[test]
fn clients_do_not_get_one_anothers_answers() {
    let wan = Wan::start(LinkProfile::with_delay(ms(3)), clean());
    let clients: Vec<_> = (0..10).map(|_| client()).collect();
    for (i, socket) in clients.iter().enumerate() {
        socket.send_to(&[i as u8], wan.door).expect("sent");
    }
    for (i, socket) in clients.iter().enumerate() {
        assert_eq!(read(socket).expect("an echo"), [i as u8]);
    }
}

#[test]
fn more_clients_than_are_held_still_all_get_answers_one_after_the_other() {
    let wan = Wan::start(clean(), clean());
    let clients: Vec<_> = (0..80).map(|_| client()).collect();
    for socket in &clients {
        ask(socket, wan.door, b"new");
    }
    ask(&clients[0], wan.door, b"forgotten, and known again");
}

#[test]
fn a_target_that_comes_later_or_again_is_reached() {
    let (a, b) = (region(1), region(2));
    let emulator = Emulator::start(1).expect("an emulator");
    let target = client();
    let address = target.local_addr().expect("an address");
    drop(target);
    let door = emulator.link(a, b, address).expect("an address");
    let socket = client();
    for _ in 0..5 {
        socket.send_to(b"nobody", door).expect("sent");
    }
    let start = Instant::now();
    while emulator.report().iter().all(|report| report.packets < 5) {
        assert!(start.elapsed() < PATIENCE, "not passed on");
        thread::sleep(ms(1));
    }
    let target = UdpSocket::bind(address).expect("the address again");
    target.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send_to(b"somebody", door).expect("sent");
    assert_eq!(read(&target).expect("a packet"), b"somebody");
}

#[test]
fn the_longest_datagram_passes_whole() {
    let wan = Wan::start(clean(), clean());
    ask(&client(), wan.door, &[9; 65_507]);
}

#[test]
fn asking_for_the_same_link_again_gives_the_same_address() {
    let wan = Wan::start(clean(), clean());
    let again = wan.emulator.link(wan.a, wan.b, wan.echo.address);
    assert_eq!(again.expect("an address"), wan.door);
    let other = wan.emulator.link(wan.b, wan.a, wan.echo.address);
    assert_ne!(other.expect("an address"), wan.door);
}

#[test]
fn many_links_are_reported_in_order_each_with_its_own_figures() {
    let echo = Echo::start();
    let emulator = Emulator::start(3).expect("an emulator");
    let socket = client();
    let mut sent = BTreeMap::new();
    for from in 1..=4 {
        for to in (1..=4).filter(|to| *to != from) {
            let (from, to) = (region(from), region(to));
            let door = emulator.link(from, to, echo.address).expect("an address");
            ask(&socket, door, b"hi");
            *sent.entry((from, to)).or_insert(0) += 1;
            *sent.entry((to, from)).or_insert(0) += 1;
        }
    }
    let start = Instant::now();
    loop {
        let reports = emulator.report();
        let counted: Vec<_> = reports.iter().map(|r| ((r.from, r.to), r.packets)).collect();
        if counted == sent.clone().into_iter().collect::<Vec<_>>() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{counted:?}");
        thread::sleep(ms(1));
    }
}

#[test]
fn dropping_the_emulator_closes_its_addresses() {
    let wan = Wan::start(LinkProfile::with_delay(Duration::from_secs(30)), clean());
    client().send_to(b"on the way", wan.door).expect("sent");
    let (door, start) = (wan.door, Instant::now());
    drop(wan);
    assert!(start.elapsed() < Duration::from_secs(5), "waits for no packet");
    UdpSocket::bind(door).expect("the port is free again");
}

#[test]
fn it_starts_and_stops_inside_a_tokio_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let wan = Wan::start(clean(), clean());
        ask(&client(), wan.door, b"inside");
    });
}

#[test]
fn a_report_reads_as_one_line() {
    let wan = Wan::start(LinkProfile::with_delay(ms(44)), clean());
    let mut report = wan.there();
    let line = report.to_string();
    assert_eq!(line, "1→2 asked 44.00 ms, gave nothing yet (0 packets, 0 bytes, 0 dropped)");

    report.measured = 1;
    report.given_median = Duration::from_micros(44_290);
    let line = report.to_string();
    assert!(line.contains("gave 0.00 min 44.29 median 0.00 p99 ("), "{line}");
}
