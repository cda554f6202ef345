//! Numbered messages from region 2 to region 3 while the relay that carries them panics again
//! and again: its supervisor brings it back, and every message arrives once, in order.
//!
//! Run it with `cargo run --release --example relay_failure`.

use std::time::Duration;

use fedist::prelude::*;

const MESSAGES: u64 = 20_000;

#[derive(Debug, Message, Serialize, Deserialize)]
#[wire(name = "example.numbered", version = 1)]
struct Numbered(u64);

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "(u64, u64)")]
#[wire(name = "example.report", version = 1)]
struct Report;

#[derive(Default)]
struct Sink {
    next: u64,
    wrong: u64,
}

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Numbered> for Sink {
    type Result = ();
    fn handle(&mut self, Numbered(n): Numbered, _: &mut Context<Self>) {
        self.wrong += u64::from(n != self.next);
        self.next = n + 1;
    }
}

impl Handler<Report> for Sink {
    type Result = MessageResult<Report>;
    fn handle(&mut self, _: Report, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.next, self.wrong))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let id = |n| RegionId::new(n);
    let hub = Node::builder(id(1)?).data_dir(dir.path().join("1")).start().await?;
    // With no nearest links, what goes from 2 to 3 passes the hub.
    let leaf = |n: u16| -> Result<_, fedist::IdError> {
        Ok(Node::builder(id(n)?).under(&hub).nearest(0).data_dir(dir.path().join(n.to_string())))
    };
    let (source, target) = (leaf(2)?.start().await?, leaf(3)?.start().await?);
    let sink = target.spawn(Sink::default())?;
    let pid = target.export(&sink).handles::<Numbered>().handles::<Report>().publish()?;
    while source.view().routes.get(id(3)?).is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    for n in 0..MESSAGES {
        pid.tell(&source, Numbered(n)).await?;
        if n % (MESSAGES / 4) == MESSAGES / 8 {
            println!(
                "message {n}: the hub's relay to region 3 panics: {}",
                hub.danger_crash_relay(id(3)?).await
            );
        }
    }
    let mut arrived = (0, 0);
    while arrived.0 < MESSAGES {
        tokio::time::sleep(Duration::from_millis(20)).await;
        arrived = pid.send(&source, Report).await?;
    }
    println!("{} arrived, {} lost, doubled or out of order", arrived.0, arrived.1);
    for node in [&source, &target, &hub] {
        node.stop().await;
    }
    Ok(())
}
