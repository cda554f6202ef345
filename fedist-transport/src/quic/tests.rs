//! Real sockets on loopback.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fedist_registry::RegionId;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tls::TlsMaterial;
use super::*;
use crate::identity::{CertificateAuthority, Identity, LEAF_LIFE, PeerRefused};
use crate::link::*;
use crate::wire::{Class, FrameKind, HopHeader, SourceRoute, Stamp};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn region(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

fn header(class: Class) -> HopHeader {
    HopHeader {
        kind: FrameKind::Session,
        class,
        ttl: 8,
        repairs: 0,
        src: region(1),
        dst: region(2),
        payload_len: 0,
        stamp: Stamp::EMPTY,
        route: SourceRoute::DIRECT,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("must not take that long")
}

fn bind(identity: &Identity) -> QuicEndpoint {
    QuicEndpoint::bind(LOOPBACK, identity, QuicConfig::default()).unwrap()
}

/// A federation of two endpoints.
struct Pair {
    root: CertificateAuthority,
    one: QuicEndpoint,
    two: QuicEndpoint,
}

impl Pair {
    fn new() -> Self {
        let root = CertificateAuthority::ephemeral().unwrap();
        let one = bind(&Identity::ephemeral(region(1), &root).unwrap());
        let two = bind(&Identity::ephemeral(region(2), &root).unwrap());
        Self { root, one, two }
    }

    fn address(&self) -> String {
        self.two.local_addr().to_string()
    }

    async fn links(&self) -> (Link, Link) {
        let address = self.address();
        let (dialed, accepted) = within(async {
            tokio::join!(self.one.dial(&address, Some(region(2))), self.two.accept())
        })
        .await;
        (dialed.unwrap(), accepted.unwrap().unwrap())
    }

    async fn running(&self) -> (Running, Running) {
        let (one, two) = self.links().await;
        (Running::new(one), Running::new(two))
    }

    /// A bare quinn connection to `two` that has our certificate and keeps no other promise.
    async fn rogue(
        &self,
        alpn: &str,
    ) -> Result<(quinn::Endpoint, quinn::Connection), quinn::ConnectionError> {
        let identity = Identity::ephemeral(region(66), &self.root).unwrap();
        let tls = TlsMaterial::new(&identity).unwrap();
        let verifier = Arc::new(identity.verifier(None).unwrap());
        let client = quinn::ClientConfig::new(tls.client(verifier, alpn).unwrap());
        let endpoint = quinn::Endpoint::client(LOOPBACK).unwrap();
        let connecting =
            endpoint.connect_with(client, self.two.local_addr(), "rogue.fedist.internal").unwrap();
        Ok((endpoint, connecting.await?))
    }
}

/// A link whose writer runs beside the test.
struct Running {
    tx: LinkTx,
    rx: LinkRx,
    writer: JoinHandle<LinkError>,
    waiting: std::collections::VecDeque<InFrame>,
}

impl Running {
    fn new(link: Link) -> Self {
        Self {
            tx: link.tx,
            rx: link.rx,
            writer: tokio::spawn(link.writer.run()),
            waiting: Default::default(),
        }
    }

    fn send(&self, class: Class, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        self.tx.send(header(class), [payload, Bytes::new()]).unwrap();
    }

    async fn next(&mut self) -> Result<InFrame, LinkError> {
        if self.waiting.is_empty() {
            let mut frames = Vec::new();
            within(self.rx.recv(&mut frames)).await?;
            assert!(!frames.is_empty() && frames.len() <= 64);
            self.waiting.extend(frames);
        }
        Ok(self.waiting.pop_front().unwrap())
    }
}

async fn assert_works(one: &mut Running, two: &mut Running) {
    one.send(Class::Message, b"still there?");
    assert_eq!(two.next().await.unwrap().payload, "still there?");
    two.send(Class::Control, b"yes");
    assert_eq!(one.next().await.unwrap().payload, "yes");
}

#[tokio::test]
async fn frames_of_every_class_arrive_whole_and_in_order() {
    let pair = Pair::new();
    let (one, two) = pair.links().await;
    assert_eq!((one.peer.region, two.peer.region), (region(2), region(1)));
    assert!(one.dialed && !two.dialed);
    assert_eq!(one.remote_address, pair.address());
    let (one, mut two) = (Running::new(one), Running::new(two));
    let lens = [0, 1, 63, 64, 1_024, 1_025, 3_000, 16_384, 65_536];
    let parts = |class: Class, n: usize| {
        let len = lens[n % lens.len()];
        let first = len / (1 + n % 3);
        let byte = (n * 3 + class.index()) as u8;
        [Bytes::from(vec![byte; first]), Bytes::from(vec![byte; len - first])]
    };
    const EACH: usize = 60;
    for n in 0..EACH {
        for class in Class::ALL {
            one.tx.send(header(class), parts(class, n)).unwrap();
        }
    }
    let mut next = [0; 3];
    for _ in 0..EACH * 3 {
        let frame = two.next().await.unwrap();
        let place = frame.header.class.index();
        let [first, second] = parts(frame.header.class, next[place]);
        assert_eq!(frame.payload, [first, second].concat());
        assert_eq!(frame.header.payload_len as usize, frame.payload.len());
        next[place] += 1;
    }
    assert_eq!(next, [EACH; 3]);
    assert_eq!(one.tx.stats().frames_sent, 3 * EACH as u64);
    assert_eq!(two.tx.stats().frames_received, 3 * EACH as u64);
    let empty = async {
        while Class::ALL.iter().any(|&class| one.tx.queued(class) > 0) {
            tokio::task::yield_now().await;
        }
    };
    within(empty).await;
}

#[tokio::test]
async fn under_load_many_frames_share_a_datagram() {
    let pair = Pair::new();
    let (one, mut two) = pair.running().await;
    const FRAMES: u32 = 20_000;
    for n in 0..FRAMES {
        let mut payload = [0; 64];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        one.send(Class::Message, &payload);
    }
    for n in 0..FRAMES {
        assert_eq!(two.next().await.unwrap().payload[..4], n.to_be_bytes());
    }
    let stats = one.tx.stats();
    assert_eq!(stats.frames_sent, u64::from(FRAMES));
    assert!(stats.datagrams_sent * 8 < stats.frames_sent, "{stats:?}");
    assert!(stats.bytes_sent > 104 * u64::from(FRAMES));
    assert!(stats.handshake_us > 0 && stats.rtt_us > 0);
}

#[tokio::test]
async fn a_lone_frame_goes_at_once_and_its_echo_measures_the_round_trip() {
    let pair = Pair::new();
    let (mut one, mut two) = pair.running().await;
    let mut samples = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        one.send(Class::Control, b"ping");
        assert_eq!(two.next().await.unwrap().payload, "ping");
        two.send(Class::Control, b"pong");
        let back = one.next().await.unwrap();
        let whole = begun.elapsed().as_micros() as u32;
        let sample = back.rtt_sample_us().expect("each pong echoes its ping");
        assert!(sample <= whole, "{sample} of {whole}");
        samples.push(sample);
    }
    assert!(samples.iter().min() < Some(&50_000));
}

#[tokio::test]
async fn control_overtakes_bulk_that_is_waiting() {
    let pair = Pair::new();
    let (one, mut two) = pair.running().await;
    for _ in 0..100 {
        one.send(Class::Bulk, &[1; 60_000]);
    }
    two.next().await.unwrap();
    one.send(Class::Control, b"urgent");
    let mut bulk_before = 1;
    while two.next().await.unwrap().header.class == Class::Bulk {
        bulk_before += 1;
    }
    assert!(bulk_before < 90, "{bulk_before} of 100 bulk frames came first");
}

#[tokio::test]
async fn a_full_class_says_so_and_leaves_the_others_alone() {
    let pair = Pair::new();
    let (one, _two) = pair.links().await;
    let payload = Bytes::from(vec![0; 60_000]);
    let send = |class| one.tx.send(header(class), [payload.clone(), Bytes::new()]);
    let mut sent = 0;
    while send(Class::Message).is_ok() {
        sent += 60_040;
    }
    assert_eq!(send(Class::Message), Err(LinkSendError::Full { class: Class::Message }));
    let queued = one.tx.queued(Class::Message);
    assert!(((8 << 20) - 60_040..=8 << 20).contains(&queued), "{queued} bytes");
    // The others are on the stream, as much as the peer lets be unread there.
    assert!((queued..=16 << 20).contains(&sent), "{sent} bytes");
    send(Class::Control).unwrap();
    send(Class::Bulk).unwrap();
    let parts = [payload.clone(), payload.clone()];
    let error = one.tx.send(header(Class::Control), parts).unwrap_err();
    assert!(matches!(error, LinkSendError::TooLarge { len: 120_000, .. }));
}

#[tokio::test]
async fn closing_delivers_what_is_queued_and_tells_the_reason() {
    let pair = Pair::new();
    let (one, mut two) = pair.running().await;
    for n in 0..500_u32 {
        one.send(Class::Message, &[n as u8; 1_000]);
    }
    one.tx.close("region 1 goes home");
    one.tx.close("another reason");
    assert_eq!(one.tx.send(header(Class::Control), Default::default()), Err(LinkSendError::Closed));
    for n in 0..500_u32 {
        assert_eq!(two.next().await.unwrap().payload[0], n as u8);
    }
    let reason = "region 1 goes home".to_owned();
    let by_peer = LinkError::ClosedByPeer { reason: reason.clone() };
    assert_eq!(two.next().await.unwrap_err(), by_peer);
    assert_eq!(two.next().await.unwrap_err(), by_peer);
    assert_eq!(within(two.writer).await.unwrap(), by_peer);
    assert_eq!(within(one.writer).await.unwrap(), LinkError::ClosedHere { reason });
}

#[tokio::test]
async fn dropping_either_half_ends_the_link_for_both_at_once() {
    let pair = Pair::new();
    for drop_writer in [true, false] {
        let (one, two) = pair.links().await;
        let mut two = Running::new(two);
        let Link { tx, writer, rx, .. } = one;
        let begun = Instant::now();
        if drop_writer {
            drop(writer);
            std::mem::forget(rx);
        } else {
            drop(rx);
            std::mem::forget(writer);
        }
        let error = two.next().await.unwrap_err();
        assert!(matches!(error, LinkError::ClosedByPeer { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(tx.send(header(Class::Control), Default::default()), Err(LinkSendError::Closed));
    }
}

#[tokio::test]
async fn a_dialer_refuses_another_region_and_another_federation_in_clear_words() {
    let pair = Pair::new();
    let address = pair.address();
    let (dialed, accepted) =
        within(async { tokio::join!(pair.one.dial(&address, Some(region(7))), pair.two.accept()) })
            .await;
    let text = dialed.unwrap_err().to_string();
    assert!(text.contains("the peer's certificate says region 2, expected 7"), "{text}");
    accepted.unwrap().unwrap_err();

    let stranger = CertificateAuthority::ephemeral().unwrap();
    let other = bind(&Identity::ephemeral(region(2), &stranger).unwrap());
    let address = other.local_addr().to_string();
    let (dialed, accepted) =
        within(async { tokio::join!(pair.one.dial(&address, Some(region(2))), other.accept()) })
            .await;
    let error = dialed.unwrap_err();
    assert!(
        matches!(error, DialError::PeerRefused { reason: PeerRefused::OtherFederation { .. }, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("the peer's certificate belongs to another federation"),
        "{error}"
    );
    let error = accepted.unwrap().unwrap_err();
    let says = "says: the peer's certificate belongs to another federation";
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(other.stats().failed, 1);
}

#[tokio::test]
async fn a_region_whose_own_certificate_has_expired_learns_it_from_its_peer() {
    let pair = Pair::new();
    let past = SystemTime::now() - LEAF_LIFE * 2;
    let expired = bind(&pair.root.issue_at(region(3), past, LEAF_LIFE).unwrap());
    let address = pair.address();
    let (dialed, accepted) =
        within(async { tokio::join!(expired.dial(&address, None), pair.two.accept()) }).await;
    let error = accepted.unwrap().unwrap_err();
    assert!(
        matches!(error, AcceptError::PeerRefused { reason: PeerRefused::Expired { .. }, .. }),
        "{error}"
    );
    // The dialer's half of the handshake may be over before the refusal comes.
    let text = match dialed {
        Ok(link) => Running::new(link).next().await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(
        text.contains("refused this region and says: the peer's certificate has expired")
            || text.contains("refused the connection and says: the peer's certificate has expired"),
        "{text}"
    );
}

#[tokio::test]
async fn another_wire_version_is_refused_by_both_ends_with_the_versions() {
    let pair = Pair::new();
    let (rogue, accepted) =
        within(async { tokio::join!(pair.rogue("fedist/2"), pair.two.accept()) }).await;
    rogue.map(drop).unwrap_err();
    let text = accepted.unwrap().unwrap_err().to_string();
    assert!(text.contains("fedist/2") && text.contains("fedist/1"), "{text}");

    let identity = Identity::ephemeral(region(5), &pair.root).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(identity.chain(), identity.private_key())
    .unwrap();
    tls.alpn_protocols = vec![b"fedist/2".to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let server =
        quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(tls)), LOOPBACK).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let serve = async { server.accept().await.unwrap().await };
    let (dialed, served) =
        within(async { tokio::join!(pair.one.dial(&address, None), serve) }).await;
    served.map(drop).unwrap_err();
    let error = dialed.unwrap_err();
    assert!(matches!(error, DialError::WireVersion { ours: "fedist/1", .. }), "{error}");
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_loses_its_own_link_only() {
    let pair = Pair::new();
    let (mut one, mut two) = pair.running().await;
    let frame = |class, len| {
        let mut header = header(class);
        header.payload_len = len;
        header.encode().to_vec()
    };
    let with_class = |class: u8, rest: Vec<u8>| [vec![class], rest].concat();
    // Each stream's bytes, and the reason that they must give.
    let cases: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![vec![9]], "unknown class 9"),
        (vec![vec![1], vec![1]], "second stream"),
        (vec![with_class(0, vec![0xff; 40])], "unknown kind"),
        (vec![with_class(0, frame(Class::Bulk, 0))], "on the Control stream"),
        (vec![with_class(1, frame(Class::Message, 65_537))], "too long"),
    ];
    for (number, (streams, reason)) in cases.iter().enumerate() {
        let (rogue, accepted) =
            within(async { tokio::join!(pair.rogue(ALPN), pair.two.accept()) }).await;
        let (_endpoint, rogue) = rogue.unwrap();
        let mut victim = Running::new(accepted.unwrap().unwrap());
        let mut open = Vec::new();
        for bytes in streams {
            let mut stream = rogue.open_uni().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            open.push(stream);
        }
        let error = victim.next().await.unwrap_err();
        assert!(matches!(error, LinkError::Protocol(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error} should say {reason}");
        let told = within(rogue.closed()).await.to_string();
        assert!(told.contains(reason), "{told} should say {reason}");
        assert_eq!(pair.two.stats().violations, number as u64 + 1);
        assert_works(&mut one, &mut two).await;
    }

    // A stream that ends inside a frame, and one that ends between frames and is opened again.
    let (rogue, accepted) =
        within(async { tokio::join!(pair.rogue(ALPN), pair.two.accept()) }).await;
    let (_endpoint, rogue) = rogue.unwrap();
    let mut victim = Running::new(accepted.unwrap().unwrap());
    for _ in 0..2 {
        let mut stream = rogue.open_uni().await.unwrap();
        stream.write_all(&with_class(1, frame(Class::Message, 0))).await.unwrap();
        stream.finish().unwrap();
    }
    let error = loop {
        if let Err(error) = victim.next().await {
            break error;
        }
    };
    assert_eq!(error, LinkError::Protocol(ProtocolViolation::RepeatedClass(Class::Message)));
    assert_works(&mut one, &mut two).await;
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_no_link() {
    let pair = Pair::new();
    let (mut one, mut two) = pair.running().await;
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..300 {
        let mut bytes = vec![0; rng.usize(0..1_500)];
        rng.fill(&mut bytes);
        if let (Some(first), true) = (bytes.first_mut(), round % 2 == 0) {
            // Looks like a QUIC long header.
            *first |= 0xc0;
        }
        let _ = socket.send_to(&bytes, pair.two.local_addr()).await;
        if round % 10 == 0 {
            assert_works(&mut one, &mut two).await;
        }
    }
}

#[tokio::test]
async fn callers_that_never_finish_delay_nobody_and_bring_retry() {
    let pair = Pair::new();
    // Dials to a socket that only collects their first packets.
    let trap = UdpSocket::bind(LOOPBACK).await.unwrap();
    let trap_address = trap.local_addr().unwrap().to_string();
    let stuck: FuturesUnordered<_> = (0..70).map(|_| pair.one.dial(&trap_address, None)).collect();
    let collect = async {
        let mut firsts = std::collections::HashMap::new();
        let mut buffer = [0; 2_048];
        while firsts.len() < 70 {
            let (len, _) = trap.recv_from(&mut buffer).await.unwrap();
            // A long header's connection id: one length byte and the id, after the version.
            let id = buffer[6..6 + usize::from(buffer[5])].to_vec();
            firsts.entry(id).or_insert_with(|| buffer[..len].to_vec());
        }
        firsts
    };
    let mut stuck = Box::pin(stuck.collect::<Vec<_>>());
    let firsts = within(async {
        tokio::select! { firsts = collect => firsts, _ = &mut stuck => panic!("nobody answers them") }
    })
    .await;
    drop(stuck);
    let two = pair.two.clone();
    let accepting = tokio::spawn(async move {
        loop {
            if let Some(Ok(link)) = two.accept().await {
                return link;
            }
        }
    });
    for first in firsts.values() {
        trap.send_to(first, pair.two.local_addr()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let asked = async {
        while pair.two.stats().retried == 0 {
            tokio::task::yield_now().await;
        }
    };
    within(asked).await;
    let begun = Instant::now();
    let mut one =
        Running::new(within(pair.one.dial(&pair.address(), Some(region(2)))).await.unwrap());
    let mut two = Running::new(within(accepting).await.unwrap());
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_works(&mut one, &mut two).await;
}

#[tokio::test]
async fn closing_an_endpoint_tells_its_peers_and_ends_accept_and_dial() {
    let pair = Pair::new();
    let (one, mut two) = pair.running().await;
    let begun = Instant::now();
    pair.one.close().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    let error = two.next().await.unwrap_err();
    assert!(matches!(error, LinkError::ClosedByPeer { .. }), "{error}");
    let error = within(one.writer).await.unwrap();
    assert!(matches!(error, LinkError::ClosedHere { .. }), "{error}");
    assert!(within(pair.one.accept()).await.is_none());
    let error = pair.one.dial(&pair.address(), None).await.unwrap_err();
    assert!(matches!(error, DialError::Stopped), "{error}");
}

#[tokio::test]
async fn an_address_is_in_use_or_malformed_or_silent() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let identity = Identity::ephemeral(region(1), &root).unwrap();
    let quick =
        QuicConfig { handshake_timeout: Duration::from_millis(100), ..QuicConfig::default() };
    let endpoint = QuicEndpoint::bind(LOOPBACK, &identity, quick).unwrap();
    let error =
        QuicEndpoint::bind(endpoint.local_addr(), &identity, QuicConfig::default()).unwrap_err();
    assert!(matches!(error, BindError::AddressInUse { .. }), "{error}");
    for bad in ["", "host", "host:", ":", "host:0", "host:65536", "host:4433x", "127.0.0.1"] {
        let error = endpoint.dial(bad, None).await.unwrap_err();
        assert!(matches!(error, DialError::BadAddress { .. }), "{bad}: {error}");
    }
    let silent = UdpSocket::bind(LOOPBACK).await.unwrap();
    let error = endpoint.dial(&silent.local_addr().unwrap().to_string(), None).await.unwrap_err();
    assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_host_name_is_resolved_and_larger_datagrams_are_found() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let bind = |number| {
        let identity = Identity::ephemeral(region(number), &root).unwrap();
        QuicEndpoint::bind(LOOPBACK, &identity, QuicConfig::default()).unwrap()
    };
    let (one, two) = (bind(1), bind(2));
    let address = format!("localhost:{}", two.local_addr().port());
    let (dialed, accepted) =
        within(async { tokio::join!(one.dial(&address, None), two.accept()) }).await;
    let (one, mut two) = (Running::new(dialed.unwrap()), Running::new(accepted.unwrap().unwrap()));
    let mut largest = 0;
    for _ in 0..400 {
        let before = one.tx.stats();
        one.send(Class::Bulk, &[0; 60_000]);
        two.next().await.unwrap();
        let after = one.tx.stats();
        let datagrams = (after.datagrams_sent - before.datagrams_sent).max(1);
        largest = largest.max((after.bytes_sent - before.bytes_sent) / datagrams);
        if largest > 4_000 {
            return;
        }
    }
    panic!("datagrams of at most {largest} bytes on average");
}

/// A resolver whose answers the test writes.
#[derive(Debug, Default)]
struct Book(std::sync::Mutex<Vec<SocketAddr>>, std::sync::atomic::AtomicUsize);

impl Book {
    fn write(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl Resolve for Book {
    fn resolve<'a>(
        &'a self,
        address: &'a str,
    ) -> futures_util::future::BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        if let Ok(plain) = address.parse() {
            return Box::pin(async move { Ok(vec![plain]) });
        }
        assert_eq!(address, "region.example:4433");
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(found) })
    }
}

/// One that dials through a book, and one to be found.
fn with_book() -> (QuicEndpoint, QuicEndpoint, Arc<Book>) {
    let root = CertificateAuthority::ephemeral().unwrap();
    let book = Arc::new(Book::default());
    let config = QuicConfig {
        resolver: Arc::clone(&book) as Arc<dyn Resolve>,
        handshake_timeout: Duration::from_secs(1),
        ..QuicConfig::default()
    };
    let one = Identity::ephemeral(region(1), &root).unwrap();
    let one = QuicEndpoint::bind(LOOPBACK, &one, config).unwrap();
    (one, bind(&Identity::ephemeral(region(2), &root).unwrap()), book)
}

#[tokio::test]
async fn a_name_is_resolved_again_for_every_attempt_and_may_move() {
    let (one, two, book) = with_book();
    let name = "region.example:4433";
    let nowhere = one.dial(name, None).await.unwrap_err();
    assert!(matches!(nowhere, DialError::Unresolved { .. }), "{nowhere}");
    let silent = UdpSocket::bind(LOOPBACK).await.unwrap();
    book.write(&[silent.local_addr().unwrap()]);
    let unanswered = one.dial(name, Some(region(2))).await.unwrap_err();
    assert!(matches!(unanswered, DialError::TimedOut { .. }), "{unanswered}");
    book.write(&[two.local_addr()]);
    let (link, accepted) = tokio::join!(one.dial(name, Some(region(2))), two.accept());
    assert_eq!(link.unwrap().peer.region, region(2));
    assert!(accepted.unwrap().is_ok());
    assert_eq!(book.1.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[tokio::test]
async fn of_several_addresses_one_that_answers_wins_over_silent_ones_before_it() {
    let (one, two, book) = with_book();
    let silent = UdpSocket::bind(LOOPBACK).await.unwrap();
    let silent = silent.local_addr().unwrap();
    book.write(&[silent, silent, two.local_addr()]);
    let name = "region.example:4433";
    // Both silent ones would take the whole second of a handshake, one after the other.
    let dialed = tokio::time::timeout(Duration::from_millis(1_800), one.dial(name, None));
    let (link, _) = tokio::join!(dialed, two.accept());
    assert_eq!(link.expect("it was tried beside them").unwrap().peer.region, region(2));

    // The same for addresses that a region lists, and the last one's failure is told.
    let fabric = crate::fabric::Fabric::Quic(one);
    let direct = two.local_addr().to_string();
    let addresses = ["no address".to_owned(), direct.clone()];
    let (link, _) = tokio::join!(fabric.dial_any(&addresses, Some(region(2))), two.accept());
    assert!(link.is_ok());
    let addresses = [direct, "no address".to_owned()];
    let (link, _) = tokio::join!(fabric.dial_any(&addresses, Some(region(3))), two.accept());
    assert!(matches!(link.unwrap_err(), DialError::BadAddress { .. }));
}
