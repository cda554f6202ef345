//! The node's end of the admin socket.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fedist::{AskError, ChangeError, ConnectError, Node, PingTarget, transport::link::DialError};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    AdminFile, Answer, Ask, ChangeOf, Contact, Letters, MAX_REQUEST, Request, Token, Trees,
};
use crate::cli::{
    config::AdminAddress,
    exit::{Exit, Failure},
};

/// A bound socket that does not answer yet.
pub(crate) struct Server {
    listener: TcpListener,
}

/// The file that leads to an answering socket. Dropping it removes the file; connections that are
/// open stay until the process ends, by which a `stop` sees that it has.
pub(crate) struct Open {
    _file: AdminFile,
}

/// What every connection works with.
struct Room {
    node: Node,
    token: Token,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Takes the port, before the node starts: a port that is taken costs no start then.
    pub(crate) async fn bind(address: AdminAddress) -> Result<Self, Failure> {
        let address = address.get();
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::new(
                Exit::Network,
                format!("admin address ({address}) cannot be listened at: {error}; one process has a port; choose another, or port 0 for a free one"),
            )
        })?;
        Ok(Self { listener })
    }

    /// Answers from now on, and writes the file that leads here. A request to stop sets `stop`.
    pub(crate) fn open(
        self,
        node: Node,
        data_dir: &Path,
        stop: watch::Sender<bool>,
    ) -> Result<Open, Failure> {
        let unready = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Other, format!("admin socket (loopback) failed: {error}"))
        };
        let token = Token::random().map_err(|error| unready(&error))?;
        let contact = Contact {
            address: self.listener.local_addr().map_err(|error| unready(&error))?,
            token: token.clone(),
            pid: std::process::id(),
        };
        let room = Arc::new(Room { node, token, stop });
        tokio::spawn(accept(self.listener, room));
        Ok(Open { _file: AdminFile::write(data_dir, &contact)? })
    }
}

async fn accept(listener: TcpListener, room: Arc<Room>) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, most likely; trying at once again would only burn the CPU.
                tracing::warn!(%error, "admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&seats).try_acquire_owned() {
            Ok(seat) => {
                let room = Arc::clone(&room);
                tokio::spawn(async move {
                    converse(stream, &room).await;
                    drop(seat);
                });
            }
            Err(_) => tracing::warn!(
                "admin socket: more than {MAX_CONNECTIONS} connections, one was closed"
            ),
        }
    }
}

/// Answers line by line until the peer goes, idles or breaks a rule.
async fn converse(stream: TcpStream, room: &Room) {
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let answer = match timeout(IDLE, read_line(&mut reader)).await {
            Ok(Some(line)) => room.answer(&line).await,
            Ok(None) => return,
            Err(_) => Answer::Refused("no request within 10 s".to_owned()),
        };
        let written = timeout(IDLE, write_line(&mut writer, &answer)).await;
        if !matches!(written, Ok(true)) {
            return;
        }
        match answer {
            Answer::Refused(_) => return,
            Answer::Stopping => {
                room.stop.send_replace(true);
                // The end of this connection tells the other side that the process has ended.
                return std::future::pending().await;
            }
            _ => {}
        }
    }
}

/// The next line; `None` at the end of the connection. A line that is too long comes cut, without its end.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = reader.take(MAX_REQUEST as u64);
    match limited.read_until(b'\n', &mut line).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line),
    }
}

async fn write_line(writer: &mut OwnedWriteHalf, answer: &Answer) -> bool {
    let Ok(mut line) = serde_json::to_vec(answer) else {
        return false;
    };
    line.push(b'\n');
    writer.write_all(&line).await.is_ok()
}

impl Room {
    async fn answer(&self, line: &[u8]) -> Answer {
        if line.last() != Some(&b'\n') {
            return Answer::Refused(format!(
                "a request is one line of at most {MAX_REQUEST} bytes"
            ));
        }
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(_) => return Answer::Refused("malformed request".to_owned()),
        };
        if !self.token.is(&request.token) {
            tracing::warn!("admin socket: a request with a wrong token was refused");
            return Answer::Refused("wrong token".to_owned());
        }
        match request.ask {
            Ask::Status => match self.node.status().await {
                Some(status) => Answer::Status(Box::new(status)),
                None => Answer::Gone,
            },
            Ask::Ping { target, deadline_ms } => {
                let deadline =
                    Duration::from_millis(u64::from(deadline_ms.clamp(1, MAX_DEADLINE_MS)));
                let asked = Instant::now();
                match self.node.ping(target.into(), deadline).await {
                    Ok(pong) => Answer::Pong {
                        rtt_us: u64::try_from(pong.rtt.as_micros()).unwrap_or(u64::MAX),
                        alive: pong.echo.alive,
                        boot: pong.echo.boot,
                    },
                    Err(error) => {
                        tracing::debug!(%error, waited = ?asked.elapsed(), "ping");
                        Answer::Lost { reason: error.to_string(), lasting: lasting(&error) }
                    }
                }
            }
            Ask::Explain { target } => {
                Answer::Explained(self.node.explain(PingTarget::from(target)).await.map(Box::new))
            }
            Ask::Trace { to, deadline_ms } => {
                let deadline =
                    Duration::from_millis(u64::from(deadline_ms.clamp(1, MAX_DEADLINE_MS)));
                match self.node.trace(to, deadline).await {
                    Ok(trace) => Answer::Traced(Box::new(trace)),
                    Err(error) => Answer::Untraced(error.to_string()),
                }
            }
            Ask::Tree => Answer::Tree(Box::new(Trees {
                region: self.node.region(),
                name: self.node.name().to_owned(),
                trees: self.node.tree(),
            })),
            Ask::DeadLetters => match self.node.status().await {
                Some(status) => Answer::DeadLetters(Box::new(Letters {
                    region: status.region,
                    name: status.name,
                    uptime_ms: status.uptime_ms,
                    dropped: status.dropped,
                    letters: self.node.dead_letters().into_iter().map(Into::into).collect(),
                })),
                None => Answer::Gone,
            },
            Ask::Drain { timeout_ms } => {
                let done = self.node.drain(drain_limit(timeout_ms)).await;
                Answer::Drained { done }
            }
            Ask::Undrain => Answer::Drained { done: self.node.undrain().await },
            Ask::Connect { to } => match self.node.connect(to).await {
                Ok(peer) => Answer::Linked { peer },
                Err(error) => not_connected(&error),
            },
            Ask::ConnectRegion { region } => match self.node.connect_region(region).await {
                Ok(()) => Answer::Linked { peer: region },
                Err(error) => not_connected(&error),
            },
            Ask::Disconnect { region } => match self.node.disconnect(region).await {
                Ok(()) => Answer::Parted { peer: region },
                Err(error) => Answer::NotLinked { reason: error.to_string(), exit: Exit::Other },
            },
            Ask::Change(change) => self.change(change).await,
            Ask::Stop { drain_timeout_ms } => {
                if let Some(ms) = drain_timeout_ms {
                    self.node.set_drain_timeout(drain_limit(ms)).await;
                }
                Answer::Stopping
            }
        }
    }

    async fn change(&self, change: ChangeOf) -> Answer {
        let node = &self.node;
        let made = match change {
            ChangeOf::Addresses(addresses) => node.advertise(addresses).await,
            ChangeOf::Parent(parent) => node.set_parent(parent).await,
            ChangeOf::Split { of, first, last, to } => node.split(of, first..=last, to).await,
            ChangeOf::Candidates(regions) => node.set_root_candidates(&regions).await,
            ChangeOf::Delegate { to, first, last } => node.delegate_block(to, first, last).await,
            ChangeOf::Promote => match node.danger_promote().await {
                Ok(promotion) => Ok(promotion.index),
                Err(error) => {
                    let (reason, exit) = (error.to_string(), Exit::Other);
                    return Answer::NotChanged { reason, exit };
                }
            },
            ChangeOf::Leave => match node.leave().await {
                Ok(()) => return Answer::Stopping,
                Err(error) => Err(error),
            },
        };
        match made {
            Ok(index) => Answer::Changed { index },
            Err(error) => Answer::NotChanged {
                exit: match error {
                    ChangeError::Master { .. } | ChangeError::NoMaster { .. } => Exit::Network,
                    ChangeError::Storage(_) => Exit::Storage,
                    _ => Exit::Other,
                },
                reason: error.to_string(),
            },
        }
    }
}

/// Who is the wrong one at an address is a matter of certificates, all else of the network.
fn not_connected(error: &ConnectError) -> Answer {
    let exit = match error {
        ConnectError::Dial(DialError::PeerRefused { .. } | DialError::RefusedByPeer { .. }) => {
            Exit::Security
        }
        ConnectError::Dial(_) | ConnectError::TimedOut { .. } | ConnectError::Refused { .. } => {
            Exit::Network
        }
        _ => Exit::Other,
    };
    Answer::NotLinked { reason: error.to_string(), exit }
}

fn drain_limit(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms.min(MAX_DRAIN_MS)))
}

/// Whether the next ping would end the same way.
fn lasting(error: &AskError) -> bool {
    matches!(
        error,
        AskError::UnknownRegion(_)
            | AskError::Denied(_)
            | AskError::UnknownType { .. }
            | AskError::Stopped
    )
}

const MAX_CONNECTIONS: usize = 16;
const IDLE: Duration = Duration::from_secs(10);
const MAX_DEADLINE_MS: u32 = 60_000;
pub(super) const MAX_DRAIN_MS: u32 = 60_000;

#[cfg(test)]
mod tests {
    use fedist::{prelude::*, transport::memory::MemoryNet};

    use super::*;
    use crate::cli::admin::Client;

    #[derive(Debug, Message, Serialize, Deserialize)]
    #[wire(name = "test.note", version = 1)]
    struct Note;

    struct Idle;

    impl Actor for Idle {
        type Context = Context<Self>;
    }

    #[tokio::test]
    async fn a_command_sees_the_tree_and_the_dead_letters_of_a_node_with_actors() {
        let one = RegionId::new(1).unwrap();
        let node = Node::builder(one)
            .name("home")
            .memory(MemoryNet::new(1).port(one))
            .start()
            .await
            .unwrap();
        let supervisor = Supervisor::rest_for_one()
            .name("shop")
            .child(child("cart", || Idle))
            .start_wait(&node)
            .await
            .unwrap();
        let nobody: RegionPid = "1.999999".parse().unwrap();
        nobody.do_send(&node, Note);
        nobody.do_send(&node, Note);

        let dir = tempfile::tempdir().unwrap();
        let (stop, _stopped) = watch::channel(false);
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let open = server.open(node.clone(), dir.path(), stop).unwrap();
        let path = dir.path().to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let mut client = Client::connect(&path)?;
            Ok::<_, Failure>((client.tree()?, client.dead_letters()?))
        });
        let (trees, letters) = asked.await.unwrap().unwrap();

        let shop = trees.trees.iter().find(|tree| tree.pid == Some(supervisor.pid())).unwrap();
        let children: Vec<&str> = shop.children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(children, ["cart"]);
        assert!(trees.trees.iter().any(|tree| tree.name == "system"), "the runtime's own");
        assert_eq!(letters.dropped["no_actor"], 2);
        assert_eq!(letters.letters.len(), 2);
        let letter = &letters.letters[0];
        assert_eq!((letter.to, letter.from), (nobody, None));
        assert_eq!((letter.message.as_str(), letter.reason.as_str()), ("test.note", "no_actor"));
        assert!(letter.at_ms <= letters.uptime_ms);
        drop(open);
        node.stop().await;
    }
}
