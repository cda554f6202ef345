//! The memory fabric in real time; waits are bounded and asserted from below, where chance cannot help.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedist_registry::RegionId;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::fabric::Fabric;
use crate::identity::PeerRefused;
use crate::link::*;
use crate::wire::{Class, FrameKind, HopHeader, SourceRoute, Stamp};

const SOON: Duration = Duration::from_millis(50);

fn region(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
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

struct Running {
    tx: LinkTx,
    rx: LinkRx,
    writer: JoinHandle<LinkError>,
}

impl Running {
    fn new(link: Link) -> Self {
        Self { tx: link.tx, rx: link.rx, writer: tokio::spawn(link.writer.run()) }
    }

    fn send(&self, class: Class, number: u32) {
        let parts = [Bytes::copy_from_slice(&number.to_be_bytes()), Bytes::new()];
        self.tx.send(header(class), parts).unwrap();
    }

    async fn take(&mut self) -> Result<Vec<InFrame>, LinkError> {
        let mut frames = Vec::new();
        within(self.rx.recv(&mut frames)).await?;
        Ok(frames)
    }

    /// The numbers that arrive until none comes for a while.
    async fn numbers(&mut self) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut frames = Vec::new();
        while let Ok(result) = timeout(SOON, self.rx.recv(&mut frames)).await {
            result.unwrap();
            numbers.extend(frames.drain(..).map(|frame| number(&frame)));
        }
        numbers
    }
}

fn number(frame: &InFrame) -> u32 {
    u32::from_be_bytes(frame.payload[..4].try_into().unwrap())
}

async fn connect(one: &MemoryPort, two: &MemoryPort) -> (Running, Running) {
    let address = two.local_address();
    let (dialed, accepted) =
        within(async { tokio::join!(one.dial(&address, Some(two.region())), two.accept()) }).await;
    (Running::new(dialed.unwrap()), Running::new(accepted.unwrap().unwrap()))
}

#[tokio::test]
async fn frames_take_the_latency_of_their_direction_and_keep_their_order() {
    let net = MemoryNet::new(1);
    net.default_latency(ms(10));
    net.set_latency(region(1), region(2), ms(60));
    let (port_one, port_two) = (net.port(region(1)), net.port(region(2)));
    let begun = Instant::now();
    let (mut one, mut two) = connect(&port_one, &port_two).await;
    assert!(begun.elapsed() >= ms(70));
    let begun = Instant::now();
    for number in 0..100 {
        one.send(Class::Message, number);
        // Later frames would overtake the earlier ones if they could.
        net.set_latency(region(1), region(2), ms(60).saturating_sub(ms(1) * number / 2));
    }
    let mut got = Vec::new();
    while got.len() < 100 {
        let frames = two.take().await.unwrap();
        assert!(begun.elapsed() >= ms(10));
        got.extend(frames.iter().map(number));
    }
    assert_eq!(got, (0..100).collect::<Vec<u32>>());
    net.set_latency(region(1), region(2), ms(30));
    one.send(Class::Control, 1);
    two.take().await.unwrap();
    two.send(Class::Control, 2);
    let back = one.take().await.unwrap();
    let sample = back[0].rtt_sample_us().expect("an echo");
    assert!((40_000..400_000).contains(&sample), "{sample}");
    assert_eq!(one.tx.stats().rtt_us, 40_000);
}

#[tokio::test]
async fn loss_follows_the_seed_and_hits_control_too() {
    let arrivals = |seed| async move {
        let net = MemoryNet::new(seed);
        net.set_loss(region(1), region(2), 0.3);
        let (port_one, port_two) = (net.port(region(1)), net.port(region(2)));
        let (one, mut two) = connect(&port_one, &port_two).await;
        for number in 0..1_000 {
            one.send(Class::Control, number);
        }
        let numbers = two.numbers().await;
        assert_eq!(net.stats().frames_lost + net.stats().frames_carried, 1_000);
        assert_eq!(net.stats().frames_carried, numbers.len() as u64);
        numbers
    };
    let first = arrivals(7).await;
    assert!((600..800).contains(&first.len()), "{}", first.len());
    assert!(first.is_sorted());
    assert_eq!(arrivals(7).await, first);
    assert_ne!(arrivals(8).await, first);
}

#[tokio::test]
async fn a_cut_swallows_frames_silently_and_the_link_lives_on_after_it() {
    let net = MemoryNet::new(1);
    let (port_one, port_two) = (net.port(region(1)), net.port(region(2)));
    let (mut one, mut two) = connect(&port_one, &port_two).await;
    net.cut(region(1), region(2));
    one.send(Class::Message, 1);
    two.send(Class::Message, 1);
    assert_eq!(two.numbers().await, []);
    assert_eq!(one.numbers().await, []);
    net.heal(region(1), region(2));
    one.send(Class::Message, 2);
    assert_eq!(two.numbers().await, [2]);

    net.cut_one_way(region(1), region(2));
    one.send(Class::Message, 3);
    two.send(Class::Message, 4);
    assert_eq!(one.numbers().await, [4]);
    assert_eq!(two.numbers().await, []);
    net.heal(region(1), region(2));

    net.isolate(region(2));
    one.send(Class::Message, 5);
    assert_eq!(two.numbers().await, []);
    net.rejoin(region(2));
    one.send(Class::Message, 6);
    assert_eq!(two.numbers().await, [6]);
    assert_eq!(net.stats().frames_swallowed, 4);
}

#[tokio::test]
async fn a_dial_across_a_cut_or_to_nobody_times_out() {
    let net = MemoryNet::new(1);
    net.set_dial_timeout(ms(80));
    let (one, _two) = (net.port(region(1)), net.port(region(2)));
    net.cut_one_way(region(2), region(1));
    for address in ["memory:2", "memory:3"] {
        let begun = Instant::now();
        let error = one.dial(address, None).await.unwrap_err();
        assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
        assert!(begun.elapsed() >= ms(80));
    }
    net.heal(region(1), region(2));
    one.dial("memory:2", None).await.unwrap();
    for bad in ["", "memory:", "memory:0", "memory:x", "127.0.0.1:1"] {
        let error = one.dial(bad, None).await.unwrap_err();
        assert!(matches!(error, DialError::BadAddress { .. }), "{bad}: {error}");
    }
}

#[tokio::test]
async fn a_dialer_that_expects_another_region_is_told_and_the_other_end_closes() {
    let net = MemoryNet::new(1);
    let fabric = Fabric::Memory(net.port(region(1)));
    let two = net.port(region(2));
    let (dialed, accepted) =
        within(async { tokio::join!(fabric.dial("memory:2", Some(region(3))), two.accept()) })
            .await;
    let error = dialed.unwrap_err();
    assert!(
        matches!(error, DialError::PeerRefused { reason: PeerRefused::OtherRegion { .. }, .. }),
        "{error}"
    );
    let mut two = Running::new(accepted.unwrap().unwrap());
    two.take().await.unwrap_err();
}

#[tokio::test]
async fn closing_delivers_what_was_queued_and_then_the_reason() {
    let net = MemoryNet::new(1);
    net.default_latency(ms(20));
    let (port_one, port_two) = (net.port(region(1)), net.port(region(2)));
    let (one, mut two) = connect(&port_one, &port_two).await;
    for number in 0..50 {
        one.send(Class::Bulk, number);
    }
    one.tx.close("enough");
    let mut got = Vec::new();
    let error = loop {
        match two.take().await {
            Ok(frames) => got.extend(frames.iter().map(number)),
            Err(error) => break error,
        }
    };
    assert_eq!(got, (0..50).collect::<Vec<u32>>());
    let reason = "enough".to_owned();
    assert_eq!(error, LinkError::ClosedByPeer { reason: reason.clone() });
    assert_eq!(within(two.writer).await.unwrap(), error);
    assert_eq!(within(one.writer).await.unwrap(), LinkError::ClosedHere { reason });
    assert_eq!(two.tx.send(header(Class::Control), Default::default()), Err(LinkSendError::Closed));
}

#[tokio::test]
async fn a_crashed_region_is_gone_without_a_word_and_may_come_back() {
    let net = MemoryNet::new(1);
    let (port_one, port_two) = (net.port(region(1)), net.port(region(2)));
    let (mut one, mut two) = connect(&port_one, &port_two).await;
    net.crash(region(2));
    let error = two.take().await.unwrap_err();
    assert!(matches!(error, LinkError::Lost { .. }), "{error}");
    drop(two);
    one.send(Class::Message, 1);
    assert_eq!(one.numbers().await, []);
    let error = port_two.dial("memory:1", None).await.unwrap_err();
    assert!(matches!(error, DialError::Stopped), "{error}");
    assert!(within(port_two.accept()).await.is_none());
    let port_two = net.port(region(2));
    let (one, mut two) = connect(&port_one, &port_two).await;
    one.send(Class::Message, 2);
    assert_eq!(two.numbers().await, [2]);
}

#[tokio::test]
async fn a_reader_that_stops_holds_its_writer_back_and_loses_nothing() {
    let net = MemoryNet::new(1);
    let (port_one, port_two) = (net.port(region(1)), net.port(region(2)));
    let (one, mut two) = connect(&port_one, &port_two).await;
    let payload = Bytes::from(vec![0; 60_000]);
    let mut sent = 0_usize;
    let mut idle = 0;
    while idle < 100 {
        match one.tx.send(header(Class::Bulk), [payload.clone(), Bytes::new()]) {
            Ok(()) => (sent, idle) = (sent + 1, 0),
            Err(LinkSendError::Full { .. }) => idle += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(sent * 60_040 < 20 << 20, "{sent} frames are more than a queue and a window hold");
    one.send(Class::Control, 9);
    let mut got = 0;
    while got < sent + 1 {
        got += two.take().await.unwrap().len();
    }
    assert_eq!(one.tx.stats().frames_sent, sent as u64 + 1);
}

#[test]
fn regions_on_threads_of_their_own_reach_one_another() {
    let net = MemoryNet::new(1);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let two = net.port(region(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runtime().block_on(async {
                let mut two = Running::new(two.accept().await.unwrap().unwrap());
                let mut next = 0;
                while next < 10_000 {
                    for frame in two.take().await.unwrap() {
                        assert_eq!(number(&frame), next);
                        next += 1;
                    }
                }
                two.send(Class::Control, next);
                two.tx.close("done");
                within(two.writer).await.unwrap();
            });
        });
        runtime().block_on(async {
            let one = net.port(region(1));
            let mut one = Running::new(one.dial("memory:2", None).await.unwrap());
            for number in 0..10_000 {
                one.send(Class::Message, number);
            }
            assert_eq!(number(&one.take().await.unwrap()[0]), 10_000);
        });
    });
}
