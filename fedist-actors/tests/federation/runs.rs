//! Runs: records of one type for one actor that come together. Each is handled as if it had come alone.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, MessageResult, fut};
use fedist_actors::{
    AskError, Context, DropReason, Mailbox, Message, Node, PidSend, RegionAddr, SendError,
};
use fedist_registry::RegionPid;
use fedist_transport::memory::MemoryNet;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::support::*;

/// Notes its number; the answer is how many have been noted.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
#[wire(name = "test.step", version = 1, crate = "fedist_actors")]
#[serde(try_from = "Written")]
struct Step {
    number: u64,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Then {
    GoOn,
    /// Cannot be decoded.
    BeUnreadable,
    /// Makes its decoder panic.
    UpsetItsReader,
    Panic,
    Wait,
    Stop,
}

#[derive(Deserialize)]
struct Written {
    number: u64,
    then: Then,
}

impl TryFrom<Written> for Step {
    type Error = &'static str;

    fn try_from(Written { number, then }: Written) -> Result<Self, Self::Error> {
        match then {
            Then::BeUnreadable => Err("unreadable as planned"),
            Then::UpsetItsReader => panic!("a reader panics as planned"),
            _ => Ok(Step { number, then }),
        }
    }
}

#[derive(Default)]
struct Stepper(Vec<u64>);

impl Actor for Stepper {
    type Context = Context<Self>;
}

impl Handler<Step> for Stepper {
    type Result = MessageResult<Step>;

    fn handle(&mut self, Step { number, then }: Step, ctx: &mut Context<Self>) -> Self::Result {
        self.0.push(number);
        match then {
            Then::Panic => panic!("a handler panics as planned"),
            Then::Stop => ctx.stop(),
            Then::Wait => {
                let pause = tokio::time::sleep(Duration::from_millis(30));
                let pause = fut::wrap_future::<_, Self>(pause);
                ctx.wait(pause.map(|(), stepper, _| stepper.0.push(WAITED)));
            }
            _ => {}
        }
        MessageResult(self.0.len())
    }
}

impl Handler<Notes> for Stepper {
    type Result = MessageResult<Notes>;

    fn handle(&mut self, _: Notes, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.clone())
    }
}

const WAITED: u64 = 1_000_000;

/// The second region of a chain of two, and an actor there.
async fn stepper(seed: u64) -> (Vec<Node>, RegionPid) {
    let net = MemoryNet::new(seed);
    let near = root(&net).start().await.unwrap();
    let far = below(&net, 1, 2).mailbox_capacity(64).start().await.unwrap();
    let nodes = vec![near, far];
    routed(&nodes).await;
    let stepper = nodes[1].spawn(Stepper::default()).unwrap();
    let export = nodes[1].export(&stepper).handles::<Step>().handles::<Notes>();
    let pid = export.publish().unwrap();
    // From now on both know each other, so that nothing goes alone.
    assert_eq!(pid.send(&nodes[0], Notes).await, Ok(Vec::new()));
    (nodes, pid)
}

/// Sends all steps in one turn of an actor's thread, as asks those whose number divides by five, and gives these answers.
async fn send_at_once(
    from: &Node,
    to: RegionPid,
    steps: Vec<Step>,
) -> Vec<(u64, Result<usize, AskError>)> {
    let (tell, told) = oneshot::channel();
    let node = from.clone();
    let sender = async move |_: Mailbox<Note>| {
        let mut asks = Vec::new();
        for step in steps {
            if !is_ask(step.number) {
                to.try_send(&node, step).unwrap();
                continue;
            }
            let mut ask = to.send(&node, step).into_future();
            // The first poll sends it.
            let sent = poll_fn(|cx| Poll::Ready(Pin::new(&mut ask).poll(cx).is_pending())).await;
            assert!(sent);
            asks.push((step.number, ask));
        }
        let mut answers = Vec::new();
        for (number, ask) in asks {
            answers.push((number, ask.await));
        }
        tell.send(answers).unwrap();
    };
    from.spawn_fn(sender).unwrap();
    told.await.unwrap()
}

fn is_ask(number: u64) -> bool {
    number.is_multiple_of(5)
}

fn steps(count: u64, special: &[(u64, Then)]) -> Vec<Step> {
    let then = |number| special.iter().find(|(at, _)| *at == number).map(|(_, then)| *then);
    (0..count).map(|number| Step { number, then: then(number).unwrap_or(Then::GoOn) }).collect()
}

#[test]
fn tells_and_asks_of_a_run_are_handled_in_their_order_and_give_their_room_back() {
    run(async {
        let (nodes, pid) = stepper(901).await;
        for round in 0..20 {
            let answers = send_at_once(&nodes[0], pid, steps(60, &[])).await;
            assert_eq!(answers.len(), 12);
            for (number, answer) in answers {
                let noted = round * 60 + usize::try_from(number).unwrap() + 1;
                assert_eq!(answer, Ok(noted), "{number}");
            }
        }
        let notes = pid.send(&nodes[0], Notes).await.unwrap();
        assert!(notes.iter().copied().eq((0..20).flat_map(|_| 0..60)));
        // The mailbox is as roomy as ever.
        let local: RegionAddr<Stepper> = nodes[1].address(pid);
        let hold = Step { number: 0, then: Then::Wait };
        local.send(hold).await.unwrap();
        let mut accepted = 0;
        while accepted <= 64 && local.try_send(Step { number: 1, then: Then::GoOn }).is_ok() {
            accepted += 1;
        }
        assert_eq!(accepted, 64);
        let more = local.try_send(Step { number: 1, then: Then::GoOn });
        assert!(matches!(more, Err(SendError::Full(_))));
        stop(&nodes).await;
    });
}

#[test]
fn a_record_that_cannot_be_read_is_left_out_of_its_run() {
    run(async {
        let (nodes, pid) = stepper(902).await;
        // The first of a run, some in the middle, the last.
        let bad = [
            (0, Then::BeUnreadable),
            (12, Then::BeUnreadable),
            (13, Then::UpsetItsReader),
            (20, Then::BeUnreadable),
            (25, Then::UpsetItsReader),
            (39, Then::BeUnreadable),
        ];
        let answers = send_at_once(&nodes[0], pid, steps(40, &bad)).await;
        for (number, answer) in answers {
            match [0, 20, 25].contains(&number) {
                true => assert!(
                    matches!(&answer, Err(AskError::Undecodable { pid: at, .. }) if *at == pid),
                    "{number}: {answer:?}"
                ),
                false => assert!(answer.is_ok(), "{number}: {answer:?}"),
            }
        }
        let notes = pid.send(&nodes[0], Notes).await.unwrap();
        let good = (0..40).filter(|number| bad.iter().all(|(at, _)| at != number));
        assert!(notes.iter().copied().eq(good), "{notes:?}");
        eventually("all that was lost is counted", || async {
            nodes[1].dropped().get(&DropReason::Undecodable) == Some(&6)
        })
        .await;
        stop(&nodes).await;
    });
}

#[test]
fn what_is_behind_a_handler_that_panics_or_stops_hears_that_there_is_no_answer() {
    for (seed, at, then) in [
        (903, 22, Then::Panic),
        (904, 20, Then::Panic),
        (905, 22, Then::Stop),
        (906, 20, Then::Stop),
    ] {
        run(async {
            let (nodes, pid) = stepper(seed).await;
            let monitor = nodes[0].monitor(pid);
            let answers = send_at_once(&nodes[0], pid, steps(60, &[(at, then)])).await;
            for (number, answer) in answers {
                let answered = number < at || (number == at && then == Then::Stop);
                let expected = if answered {
                    Ok(usize::try_from(number).unwrap() + 1)
                } else {
                    Err(AskError::NoReply(pid))
                };
                assert_eq!(answer, expected, "{number}, {then:?} at {at}");
            }
            assert_eq!(monitor.await.pid, pid);
            assert_eq!(pid.send(&nodes[0], Notes).await, Err(AskError::NoActor(pid)));
            stop(&nodes).await;
        });
    }
}

#[test]
fn the_rest_of_a_run_waits_while_its_actor_waits() {
    run(async {
        let (nodes, pid) = stepper(907).await;
        let pauses = [(0, Then::Wait), (17, Then::Wait), (20, Then::Wait)];
        let answers = send_at_once(&nodes[0], pid, steps(60, &pauses)).await;
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
        let notes = pid.send(&nodes[0], Notes).await.unwrap();
        let expected = (0..60).flat_map(|number| {
            let waits = pauses.iter().any(|(at, _)| *at == number);
            std::iter::once(number).chain(waits.then_some(WAITED))
        });
        assert!(notes.iter().copied().eq(expected), "{notes:?}");
        stop(&nodes).await;
    });
}
