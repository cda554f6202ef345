//! Real QUIC through the WAN emulator: loss, jitter, duplicates and a cut, and still every message
//! arrives once and in order.

use std::time::Duration;

use fedist::{
    prelude::*,
    transport::emulator::{Emulator, LinkProfile},
};

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "wan.numbered", version = 1)]
struct Numbered(u64);

/// Asks how many have come, and how many of them not in their turn.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "(u64, u64)")]
#[wire(name = "wan.report", version = 1)]
struct Report;

#[derive(Default)]
struct Sink {
    arrived: u64,
    wrong: u64,
}

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Numbered> for Sink {
    type Result = ();
    fn handle(&mut self, Numbered(number): Numbered, _: &mut Context<Self>) {
        self.wrong += u64::from(number != self.arrived);
        self.arrived += 1;
    }
}

impl Handler<Report> for Sink {
    type Result = MessageResult<Report>;
    fn handle(&mut self, _: Report, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.arrived, self.wrong))
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    for _ in 0..3_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

#[tokio::test]
async fn a_lossy_wan_and_a_cut_link_lose_nothing() {
    const MESSAGES: u64 = 6_000;
    let id = |number| RegionId::new(number).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(7).unwrap();
    let mut rough = LinkProfile::with_delay(Duration::from_millis(15));
    rough.jitter = Duration::from_millis(5);
    rough.loss = 0.02;
    rough.duplicate = 0.01;
    for (from, to) in [(1, 2), (1, 3), (2, 3)] {
        emulator.set(id(from), id(to), rough);
        emulator.set(id(to), id(from), rough);
    }

    // A triangle: 2 and 3 below the root, and a link of 3 to 2; each dials through the emulator.
    let root =
        Node::builder(id(1)).data_dir(dir.path().join("1")).nearest(0).start().await.unwrap();
    let through = |from: u16, to: &Node| {
        let target = to.local_address().parse().unwrap();
        emulator.link(id(from), to.region(), target).unwrap().to_string()
    };
    let below = |number: u16| {
        let root_address = through(number, &root);
        Node::builder(id(number))
            .parent(id(1))
            .join(&root_address)
            .dial(id(1), root_address)
            .ca_dir(dir.path().join("1"))
            .data_dir(dir.path().join(number.to_string()))
            .nearest(0)
    };
    let target = below(2).start().await.unwrap();
    let source = below(3).link(id(2)).dial(id(2), through(3, &target)).start().await.unwrap();
    let sink = target.spawn(Sink::default()).unwrap();
    let sink = target.export(&sink).handles::<Numbered>().handles::<Report>().publish().unwrap();
    eventually("the direct link is the route", || async {
        source.view().routes.get(id(2)).is_some_and(|route| route.hops == [id(2)])
    })
    .await;

    for number in 0..MESSAGES {
        sink.tell(&source, Numbered(number)).await.unwrap();
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if number == MESSAGES / 2 {
            emulator.cut(id(3), id(2));
        }
    }
    eventually("all have come by way of the root", || async {
        sink.send(&source, Report).await.is_ok_and(|(arrived, _)| arrived == MESSAGES)
    })
    .await;
    assert_eq!(sink.send(&source, Report).await.unwrap(), (MESSAGES, 0), "each once, in order");
    let around = source.view().routes.get(id(2)).unwrap().hops;
    assert_eq!(around, [id(1), id(2)]);

    emulator.restore(id(3), id(2));
    eventually("the direct link is back", || async {
        source.view().routes.get(id(2)).is_some_and(|route| route.hops == [id(2)])
    })
    .await;
    let dropped: u64 = emulator.report().iter().map(|link| link.dropped).sum();
    assert!(dropped > 0, "the loss was real");
    for node in [&source, &target, &root] {
        node.stop().await;
    }
}
