//! One client: its lines, their answers, and the changes it has subscribed to.

use std::{io, time::Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use fedist::{MailboxEvent, prelude::*};
use tokio::{net::TcpStream, time::timeout};

use super::{
    command::Command,
    front::Manners,
    home::{Failed, ask},
    lines::{Line, Lines, MAX_LINE},
    message::{
        Change, CountSubscribers, Crash, Create, Delete, Get, Put, Refusal, Subscribe, Unsubscribe,
    },
};

/// Serves the client until it goes, or has to.
pub(crate) async fn serve(stream: TcpStream, mailbox: Mailbox<Change>, manners: &Manners) {
    let mut connection = Connection {
        stream,
        mailbox,
        manners,
        lines: Lines::default(),
        begun: None,
        out: BytesMut::new(),
    };
    // The only errors are those of the socket, and then nobody is there to be told.
    let _ = connection.run().await;
}

struct Connection<'a> {
    stream: TcpStream,
    mailbox: Mailbox<Change>,
    manners: &'a Manners,
    lines: Lines,
    /// Since when there has been a line that is not finished.
    begun: Option<Instant>,
    /// Answers that were not written yet.
    out: BytesMut,
}

/// Whether the client is still there and wanted.
#[derive(PartialEq, Eq)]
enum Next {
    GoesOn,
    Closes,
}

impl Connection<'_> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            while let Some(line) = self.lines.next() {
                if self.handle(line).await? == Next::Closes {
                    return self.flush().await;
                }
                if self.out.len() >= FLUSH {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            if self.read().await? == Next::Closes {
                return self.flush().await;
            }
        }
    }

    async fn handle(&mut self, line: Line) -> io::Result<Next> {
        self.begun = None;
        let Line::Whole(line) = line else {
            self.say(format_args!(
                "ERROR line too long (more than {MAX_LINE} bytes); it was not read to its end; send shorter ones"
            ));
            return Ok(Next::GoesOn);
        };
        let node = self.mailbox.node().clone();
        let answer = match Command::parse(&line) {
            Some(Command::Create { bucket }) => match ask(&node, &bucket, Create).await {
                Ok(()) => OK.into(),
                Err(why) => {
                    // The client is told in the words of the guide; any other command on this bucket tells it the reason.
                    let bucket = String::from_utf8_lossy(&bucket[..bucket.len().min(80)]);
                    tracing::info!(%bucket, %why, "failed to create a bucket");
                    "FAILED TO CREATE BUCKET\r\n".into()
                }
            },
            Some(Command::Put { bucket, key, value }) => {
                answer(ask(&node, &bucket, Put { key, value }).await, |()| OK.into())
            }
            Some(Command::Get { bucket, key }) => {
                answer(ask(&node, &bucket, Get { key }).await, |value| {
                    let value = value.unwrap_or_default();
                    [&value[..], b"\r\nOK\r\n"].concat().into()
                })
            }
            Some(Command::Delete { bucket, key }) => {
                answer(ask(&node, &bucket, Delete { key }).await, |()| OK.into())
            }
            Some(Command::CountSubscriptions { bucket }) => {
                answer(ask(&node, &bucket, CountSubscribers).await, |count| {
                    format!("{count}\r\nOK\r\n").into()
                })
            }
            Some(Command::Crash { bucket }) if self.manners.may_crash => {
                answer(ask(&node, &bucket, Crash).await, |()| OK.into())
            }
            Some(Command::Subscribe { bucket }) => return self.subscribe(&bucket).await,
            Some(Command::Crash { .. }) | None => "UNKNOWN COMMAND\r\n".into(),
        };
        self.out.extend_from_slice(&answer);
        Ok(Next::GoesOn)
    }

    /// Passes on what changes in the bucket, until the client goes or the bucket ends. What the client says meanwhile is
    /// thrown away.
    async fn subscribe(&mut self, bucket: &Bytes) -> io::Result<Next> {
        let node = self.mailbox.node().clone();
        let subscriber = self.mailbox.pid().recipient(&node);
        let pid = match ask(&node, bucket, Subscribe { subscriber }).await {
            Ok(pid) => pid,
            failed => {
                let failed: Bytes = answer(failed, |_| OK.into());
                self.out.extend_from_slice(&failed);
                return Ok(Next::GoesOn);
            }
        };
        self.mailbox.monitor(pid);
        self.lines.forget();
        loop {
            tokio::select! {
                event = self.mailbox.next() => match event {
                    MailboxEvent::Message(change, _) => {
                        let kept = self.tell(&change);
                        if !kept {
                            // What is pending is written while nothing more is added to it.
                            let subscriber = self.mailbox.pid();
                            let _ = ask(&node, bucket, Unsubscribe { subscriber }).await;
                            return Ok(Next::Closes);
                        }
                    }
                    MailboxEvent::Down(down) if down.pid == pid => {
                        self.say(format_args!(
                            "ERROR bucket has ended ({}); no more changes will come; create it and subscribe again",
                            down.reason
                        ));
                        return Ok(Next::GoesOn);
                    }
                    _ => {}
                },
                ready = self.stream.writable(), if !self.out.is_empty() => {
                    ready?;
                    self.write()?;
                }
                ready = self.stream.readable() => {
                    ready?;
                    let mut ignored = [0; 1024];
                    match self.stream.try_read(&mut ignored) {
                        Ok(0) => return Ok(Next::Closes),
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Puts a change among what is to be written. False if the client is too far behind to go on.
    fn tell(&mut self, change: &Change) -> bool {
        match change {
            Change::Set { key, value } => {
                for part in [&key[..], b" SET TO ", value, b"\r\n"] {
                    self.out.extend_from_slice(part);
                }
            }
            Change::Deleted { key } => {
                self.out.extend_from_slice(key);
                self.out.extend_from_slice(b" DELETED\r\n");
            }
            Change::Behind => {}
        }
        let behind = matches!(change, Change::Behind) || self.out.len() > MAX_PENDING;
        if behind {
            self.say(format_args!(
                "ERROR subscription has ended (changes come faster than they are taken); subscribe again"
            ));
        }
        !behind
    }

    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        let text = one_line(&text.to_string());
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Waits for more of the client's bytes.
    async fn read(&mut self) -> io::Result<Next> {
        let (what, limit, left) = if self.lines.has_begun() {
            let begun = self.begun.get_or_insert_with(Instant::now);
            let limit = self.manners.patience;
            ("line not finished", limit, limit.saturating_sub(begun.elapsed()))
        } else {
            self.begun = None;
            ("nothing said", self.manners.idle, self.manners.idle)
        };
        loop {
            let Ok(ready) = timeout(left, self.stream.readable()).await else {
                self.say(format_args!(
                    "ERROR {what} for {} s; others want to be served too; connect again",
                    limit.as_secs()
                ));
                return Ok(Next::Closes);
            };
            ready?;
            match self.stream.try_read_buf(self.lines.space()) {
                // A line that was not finished is no command: the client may have died within it.
                Ok(0) => return Ok(Next::Closes),
                Ok(_) => return Ok(Next::GoesOn),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all answers; an error if the client takes none of them for too long.
    async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            // Most answers fit at once, and then there is nothing to wait for.
            self.write()?;
            if !self.out.is_empty() {
                timeout(self.manners.patience, self.stream.writable()).await??;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.out) {
            Ok(written) => self.out.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        }
        Ok(())
    }
}

/// The answer to a command that was sent to a bucket's home.
fn answer<T>(outcome: Result<T, Failed>, done: impl FnOnce(T) -> Bytes) -> Bytes {
    match outcome {
        Ok(value) => done(value),
        Err(Failed::Refused(Refusal::NotFound)) => "NOT FOUND\r\n".into(),
        Err(failed) => one_line(&format!("ERROR {failed}")).into(),
    }
}

/// An answer is a line, whatever an error's text contains.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    line.push_str("\r\n");
    line
}

const OK: &str = "OK\r\n";
/// Answers are written together up to this many bytes.
const FLUSH: usize = 64 * 1024;
/// The memory for answers that a quiet connection keeps.
const KEPT: usize = 4 * 1024;
/// How far a subscriber may be behind, in bytes.
const MAX_PENDING: usize = 1024 * 1024;
