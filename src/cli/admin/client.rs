//! A command's end of the admin socket. Blocking: a command does one thing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use fedist::{NodeStatus, RegionId, Trace, registry::RouteExplanation};

use super::{AdminFile, Answer, Ask, ChangeOf, Letters, PingOf, Request, Token, Trees};
use crate::cli::exit::{Exit, Failure};

/// A conversation with the node that runs on a data directory.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    token: Token,
    data_dir: PathBuf,
}

/// How one ping ended.
pub(crate) enum Pinged {
    Pong { rtt: Duration, alive: bool, boot: u32 },
    Lost { reason: String, lasting: bool },
}

/// How a trace ended.
pub(crate) enum Traced {
    Answer(Box<Trace>),
    Failed(String),
}

impl Client {
    /// Finds and calls the node.
    ///
    /// # Errors
    /// [`Exit::Network`] if none runs there; others for an admin file that cannot be used.
    pub(crate) fn connect(data_dir: &Path) -> Result<Self, Failure> {
        let Some(contact) = AdminFile::read(data_dir)? else {
            return Err(absent(data_dir));
        };
        // A node that was killed leaves its file behind; then nobody answers at its address.
        let stream =
            TcpStream::connect_timeout(&contact.address, CONNECT).map_err(|_| absent(data_dir))?;
        let _ = stream.set_nodelay(true);
        Ok(Self {
            stream: BufReader::new(stream),
            token: contact.token,
            data_dir: data_dir.to_owned(),
        })
    }

    /// The node's snapshot of itself.
    pub(crate) fn status(&mut self) -> Result<NodeStatus, Failure> {
        match self.ask(Ask::Status, ANSWER)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// The node's supervision trees.
    pub(crate) fn tree(&mut self) -> Result<Trees, Failure> {
        match self.ask(Ask::Tree, ANSWER)? {
            Answer::Tree(trees) => Ok(*trees),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// The messages that reached nobody.
    pub(crate) fn dead_letters(&mut self) -> Result<Letters, Failure> {
        match self.ask(Ask::DeadLetters, ANSWER)? {
            Answer::DeadLetters(letters) => Ok(*letters),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Why messages to the target take the way that they take; none where there is nothing to explain.
    pub(crate) fn explain(&mut self, target: PingOf) -> Result<Option<RouteExplanation>, Failure> {
        match self.ask(Ask::Explain { target }, ANSWER)? {
            Answer::Explained(explained) => Ok(explained.map(|explained| *explained)),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// One ping from the node.
    pub(crate) fn ping(&mut self, target: PingOf, deadline_ms: u32) -> Result<Pinged, Failure> {
        let ask = Ask::Ping { target, deadline_ms };
        let patience = ANSWER.saturating_add(Duration::from_millis(u64::from(deadline_ms)));
        match self.ask(ask, patience)? {
            Answer::Pong { rtt_us, alive, boot } => {
                Ok(Pinged::Pong { rtt: Duration::from_micros(rtt_us), alive, boot })
            }
            Answer::Lost { reason, lasting } => Ok(Pinged::Lost { reason, lasting }),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Moves the routes of all others away from the node; whether that came about in time.
    pub(crate) fn drain(&mut self, timeout_ms: u32) -> Result<bool, Failure> {
        let patience = ANSWER.saturating_add(Duration::from_millis(u64::from(timeout_ms)));
        match self.ask(Ask::Drain { timeout_ms }, patience)? {
            Answer::Drained { done } => Ok(done),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Takes a drain back; whether there was one.
    pub(crate) fn undrain(&mut self) -> Result<bool, Failure> {
        match self.ask(Ask::Undrain, ANSWER)? {
            Answer::Drained { done } => Ok(done),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// The way of a message from the node to a region.
    pub(crate) fn trace(&mut self, to: RegionId, deadline: Duration) -> Result<Traced, Failure> {
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        match self.ask(Ask::Trace { to, deadline_ms }, ANSWER.saturating_add(deadline))? {
            Answer::Traced(trace) => Ok(Traced::Answer(trace)),
            Answer::Untraced(reason) => Ok(Traced::Failed(reason)),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Opens a link to an address; the region that answered.
    pub(crate) fn connect_to(&mut self, to: String) -> Result<RegionId, Failure> {
        self.link(Ask::Connect { to })
    }

    /// Opens a link to a region.
    pub(crate) fn connect_region(&mut self, region: RegionId) -> Result<RegionId, Failure> {
        self.link(Ask::ConnectRegion { region })
    }

    /// Closes the link with a region for good.
    pub(crate) fn disconnect(&mut self, region: RegionId) -> Result<RegionId, Failure> {
        self.link(Ask::Disconnect { region })
    }

    fn link(&mut self, ask: Ask) -> Result<RegionId, Failure> {
        match self.ask(ask, LINK)? {
            Answer::Linked { peer } | Answer::Parted { peer } => Ok(peer),
            Answer::NotLinked { reason, exit } => Err(Failure::new(exit, reason)),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Changes the region's place in the federation; the registry's entry with the change.
    pub(crate) fn change(&mut self, change: ChangeOf) -> Result<u64, Failure> {
        match self.ask(Ask::Change(change), CHANGE)? {
            Answer::Changed { index } => Ok(index),
            Answer::NotChanged { reason, exit } => Err(Failure::new(exit, reason)),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Has the region leave its federation, and waits until the node's process has gone.
    pub(crate) fn leave(mut self) -> Result<(), Failure> {
        match self.ask(Ask::Change(ChangeOf::Leave), CHANGE)? {
            Answer::Stopping => self.ended(STOP),
            Answer::NotChanged { reason, exit } => Err(Failure::new(exit, reason)),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Ends the node and waits until its process has gone.
    pub(crate) fn stop(mut self, drain_timeout_ms: Option<u32>) -> Result<(), Failure> {
        let drain = Duration::from_millis(u64::from(drain_timeout_ms.unwrap_or(0)));
        match self.ask(Ask::Stop { drain_timeout_ms }, ANSWER)? {
            Answer::Stopping => self.ended(STOP.saturating_add(drain)),
            _ => Err(absent(&self.data_dir)),
        }
    }

    /// Waits for the end of the node's process.
    fn ended(mut self, patience: Duration) -> Result<(), Failure> {
        let _ = self.stream.get_ref().set_read_timeout(Some(patience));
        let mut rest = [0_u8; 64];
        match self.stream.read(&mut rest) {
            Err(error) if timed_out(&error) => Err(Failure::new(
                Exit::Other,
                format!(
                    "node on data directory {} has not ended within {} s of its stop; it should in about 2 s; look at its log, end it by SIGKILL",
                    self.data_dir.display(),
                    patience.as_secs()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, ask: Ask, patience: Duration) -> Result<Answer, Failure> {
        let request = Request { token: self.token.reveal(), ask };
        let answer = self.exchange(&request, patience);
        let answer = answer.map_err(|error| self.unanswered(&error, patience))?;
        match answer {
            // The port may have gone to another program, or to a node with another token.
            Answer::Refused(reason) => Err(Failure::new(
                Exit::Security,
                format!(
                    "node on data directory {} refused the request ({reason}); its admin file must be of its last start; try again",
                    self.data_dir.display()
                ),
            )),
            answer => Ok(answer),
        }
    }

    fn unanswered(&self, error: &io::Error, patience: Duration) -> Failure {
        let why = match error.kind() {
            // Neither JSON nor the end: another program has the port of a node that was killed.
            io::ErrorKind::InvalidData => return absent(&self.data_dir),
            _ if timed_out(error) => format!(
                "does not answer within {} s; it is overloaded or stopping",
                patience.as_secs()
            ),
            _ => "closed the connection; it takes 16 at a time, or has just ended".to_owned(),
        };
        Failure::new(
            Exit::Network,
            format!("node on data directory {} {why}; try again", self.data_dir.display()),
        )
    }

    fn exchange(&mut self, request: &Request, patience: Duration) -> io::Result<Answer> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_ANSWER).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_slice(&line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

fn absent(data_dir: &Path) -> Failure {
    Failure::new(
        Exit::Network,
        format!(
            "no node runs on data directory {}; the command asks the node that runs there; start one with `fedist node --data-dir {}`, or name another with --data-dir",
            data_dir.display(),
            data_dir.display()
        ),
    )
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(15);
/// A link has ten seconds to come up, and about as many to be left.
const LINK: Duration = Duration::from_secs(20);
/// A change waits for the master and until it is here; a leave also for what is under way.
const CHANGE: Duration = Duration::from_secs(30);

/// 65,534 regions with their routes stay below this.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::cli::admin::Contact;

    /// A listener that plays the node, and the directory that leads to it.
    fn impostor() -> (TcpListener, tempfile::TempDir, AdminFile) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let contact = Contact {
            address: listener.local_addr().unwrap(),
            token: Token::random().unwrap(),
            pid: 1,
        };
        let file = AdminFile::write(dir.path(), &contact).unwrap();
        (listener, dir, file)
    }

    #[test]
    fn a_file_left_by_a_killed_node_means_no_node() {
        let (listener, dir, _file) = impostor();
        drop(listener);
        let Err(error) = Client::connect(dir.path()) else {
            panic!("connected");
        };
        assert!(error.to_string().starts_with("no node runs on data directory"), "{error}");
    }

    #[test]
    fn another_program_on_the_port_means_no_node() {
        let (listener, dir, _file) = impostor();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0_u8; 16];
            let _ = stream.read(&mut heard);
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        let error = Client::connect(dir.path()).unwrap().status().unwrap_err();
        assert!(error.to_string().starts_with("no node runs"), "{error}");
        other.join().unwrap();
    }
}
