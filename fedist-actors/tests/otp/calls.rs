//! Calls. Pages: gen_server:call/3, gen_server:cast/2; Elixir's GenServer, "call/3" and "Timeouts".

use std::time::{Duration, Instant};

use actix::{Actor, Handler};
use fedist_actors::{
    AskError, AsyncHandler, Context, Down, LocalAddr, Message, Node, PidSend, SendError,
    async_handler,
};
use fedist_registry::RegionPid;
use serde::{Deserialize, Serialize};

use crate::{probe::*, support::Note};

/// Counts, and calls others while it does.
#[derive(Default)]
struct Server {
    count: u64,
    running: bool,
}

impl Actor for Server {
    type Context = Context<Self>;
}

/// Waits for so many milliseconds, then answers with the number of calls that were answered before.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.work", version = 1, crate = "fedist_actors")]
struct Work(u64);

/// Calls the pid with `Work(0)` from within the handler, waiting at most so many milliseconds.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, AskError>")]
#[wire(name = "test.ask_on", version = 1, crate = "fedist_actors")]
struct AskOn(RegionPid, u64);

/// Ends the server in the middle of a call: by a panic, or by an exit signal to itself.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.die", version = 1, crate = "fedist_actors")]
struct Die {
    panics: bool,
}

/// The number of calls answered so far, at once.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[wire(name = "test.count", version = 1, crate = "fedist_actors")]
struct Count;

#[async_handler(crate = "fedist_actors")]
impl AsyncHandler<Work> for Server {
    async fn handle(&mut self, Work(milliseconds): Work, _: &mut Context<Self>) -> u64 {
        assert!(!self.running, "one message at a time");
        self.running = true;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        self.running = false;
        self.count += 1;
        self.count - 1
    }
}

#[async_handler(crate = "fedist_actors")]
impl AsyncHandler<AskOn> for Server {
    async fn handle(
        &mut self,
        AskOn(pid, milliseconds): AskOn,
        ctx: &mut Context<Self>,
    ) -> Result<u64, AskError> {
        pid.send(ctx.node(), Work(0)).deadline(Duration::from_millis(milliseconds)).await
    }
}

#[async_handler(crate = "fedist_actors")]
impl AsyncHandler<Die> for Server {
    async fn handle(&mut self, Die { panics }: Die, ctx: &mut Context<Self>) -> u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!panics, "as asked");
        ctx.node().exit(ctx.pid(), custom("as asked"));
        std::future::pending().await
    }
}

impl Handler<Count> for Server {
    type Result = u64;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.count
    }
}

impl Handler<Note> for Server {
    type Result = ();

    fn handle(&mut self, Note(number): Note, _: &mut Context<Self>) {
        self.count += number;
    }
}

impl Handler<Down> for Server {
    type Result = ();

    fn handle(&mut self, _: Down, _: &mut Context<Self>) {}
}

fn server(node: &Node) -> RegionPid {
    let server: LocalAddr<Server> = node.spawn(Server::default()).unwrap();
    node.export(&server)
        .handles::<Work>()
        .handles::<AskOn>()
        .handles::<Die>()
        .handles::<Count>()
        .handles::<Note>()
        .links()
        .publish()
        .unwrap()
}

// gen_server:call/3: a request, and its reply.
#[test]
fn a_call_gives_the_reply() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        assert_eq!(server.send(near, Work(0)).await, Ok(0));
        assert_eq!(server.send(near, Work(1)).await, Ok(1));
    });
}

// gen_server:call/3: no reply within the time is a timeout; the server does not notice.
#[test]
fn a_call_times_out_and_the_server_goes_on() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        let started = Instant::now();
        let outcome = server.send(near, Work(300)).deadline(ms(50)).await;
        assert_eq!(outcome, Err(AskError::Timeout(ms(50))));
        assert!(started.elapsed() < ms(250), "{:?}", started.elapsed());
        assert_eq!(server.send(near, Count).await, Ok(1), "it was handled to its end");
    });
}

// gen_server:call/3: a reply that comes too late is dropped and cannot be taken for that of a later call.
#[test]
fn a_late_reply_is_not_that_of_the_next_call() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        for late in 0..3 {
            assert!(server.send(near, Work(60)).deadline(ms(20)).await.is_err());
            assert_eq!(server.send(near, Count).await, Ok(late + 1));
        }
    });
}

// gen_server:call/3: `noproc` at once, not after the timeout.
#[test]
fn a_call_of_nobody_fails_at_once() {
    at_every_distance(async |near: &Node, far: &Node| {
        let nobody = nobody(far);
        let started = Instant::now();
        assert_eq!(nobody.send(near, Work(0)).await, Err(AskError::NoActor(nobody)));
        assert!(started.elapsed() < ms(2_000));
    });
}

// The same in the very moment of an end: it is there or it is not; there is nothing in between that denies.
#[test]
fn a_call_of_one_that_is_just_ending_is_answered_or_says_no_actor() {
    at_every_distance(async |near: &Node, far: &Node| {
        for _ in 0..300 {
            let server = server(far);
            far.kill(server);
            // Without a pause, so that some meet the very moment.
            while near.region() == far.region() {
                match server.try_send(near, Note(1)) {
                    Ok(()) | Err(SendError::Full(_)) => {}
                    Err(SendError::NoActor(pid, _)) if pid == server => break,
                    Err(error) => panic!("{error}"),
                }
            }
            match server.send(near, Count).await {
                Ok(_) | Err(AskError::NoReply(_)) => {}
                Err(AskError::NoActor(pid)) if pid == server => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

// gen_server:call/3: when the server ends in the middle of the call, the caller learns at once.
#[test]
fn a_call_fails_as_soon_as_the_server_ends() {
    at_every_distance(async |near: &Node, far: &Node| {
        for panics in [true, false] {
            let server = server(far);
            let started = Instant::now();
            let outcome = server.send(near, Die { panics }).deadline(ms(10_000)).await;
            assert_eq!(outcome, Err(AskError::NoReply(server)));
            assert!(started.elapsed() < ms(4_000));
        }
    });
}

// The same for one that is killed from outside while calls wait in its mailbox.
#[test]
fn calls_that_wait_in_the_mailbox_fail_when_the_server_is_killed() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        let started = Instant::now();
        let first = server.send(near, Work(10_000)).deadline(ms(15_000)).into_future();
        let second = server.send(near, Work(0)).deadline(ms(15_000)).into_future();
        let kill = async {
            tokio::time::sleep(ms(50)).await;
            far.kill(server);
        };
        let (first, second, ()) = tokio::join!(first, second, kill);
        assert_eq!(first, Err(AskError::NoReply(server)));
        assert!(
            matches!(&second, Err(AskError::NoReply(pid) | AskError::NoActor(pid)) if *pid == server),
            "{second:?}"
        );
        assert!(started.elapsed() < ms(5_000));
    });
}

// gen_server:call/3: a server that calls itself could never answer; it fails at once with `calling_self`.
#[test]
fn a_server_that_calls_itself_is_told_so_and_goes_on() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        let outcome = server.send(near, AskOn(server, 4_000)).await;
        assert_eq!(outcome, Ok(Err(AskError::CallsItself(server))));
        assert!(server.send(near, Count).await.is_ok());
    });
}

// gen_server: two servers that call each other wait for each other, until the timeout of the first.
#[test]
fn servers_that_call_each_other_are_freed_by_the_timeout() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (server(near), server(far));
        let one = a.send(far, AskOn(b, 100)).into_future();
        let other = b.send(near, AskOn(a, 1_000)).into_future();
        let (one, other) = tokio::join!(one, other);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.is_ok() || one == Err(AskError::Timeout(ms(100))), "{one:?}");
        assert!(other.is_ok(), "{other:?}");
        assert!(a.send(near, Count).await.is_ok() && b.send(near, Count).await.is_ok());
    });
}

// gen_server:call/3 within a callback of another server: works, and the caller handles nothing meanwhile.
#[test]
fn a_server_may_call_another_within_its_handler() {
    at_every_distance(async |near: &Node, far: &Node| {
        let (a, b) = (server(near), server(far));
        for calls in 0..3 {
            assert_eq!(a.send(near, AskOn(b, 2_000)).await, Ok(Ok(calls)));
        }
    });
}

// gen_server: a server handles one request at a time, in the order in which they came.
#[test]
fn a_server_handles_one_call_at_a_time_in_order() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        // Asks leave in the order in which they are first polled.
        let calls =
            (0..10).map(|number: u64| server.send(near, Work((10 - number) % 4)).into_future());
        let replies = futures_util::future::join_all(calls).await;
        let replies: Vec<u64> = replies.into_iter().map(Result::unwrap).collect();
        assert!(replies.iter().copied().eq(0..10), "{replies:?}");
    });
}

// gen_server:cast/2: no reply and no error, and it keeps its place among the calls of the same sender.
#[test]
fn a_cast_keeps_its_place_among_calls() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        server.do_send(near, Note(100));
        assert_eq!(server.send(near, Work(0)).await, Ok(100));
        server.do_send(near, Note(100));
        assert_eq!(server.send(near, Count).await, Ok(201));
        nobody(far).do_send(near, Note(1));
    });
}

// gen_server:call/3: the caller may give up; that harms neither the server nor its later calls.
#[test]
fn a_caller_may_drop_its_call() {
    at_every_distance(async |near: &Node, far: &Node| {
        let server = server(far);
        let call = server.send(near, Work(50)).into_future();
        assert!(tokio::time::timeout(ms(10), call).await.is_err());
        let again = server.send(near, Work(0)).await.unwrap();
        assert!(again <= 1, "the call that was given up was handled at most once");
    });
}
