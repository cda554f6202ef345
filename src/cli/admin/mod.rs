//! The admin socket: how a command asks the node that runs on a data directory.
//!
//! The node listens on a TCP port of the loopback interface and writes `admin.json` into its data
//! directory, for its owner only: the address, a token of 256 random bits that is new with every
//! start, and its process id. Whoever can read that file may ask; nobody else, however local.
//!
//! Both sides speak JSON, one value per line:
//!
//! ```text
//! -> {"token":"6f…","ask":"status"}
//! <- {"status":{…}}
//! -> {"token":"6f…","ask":{"ping":{"target":"2.8","deadline_ms":1000}}}
//! <- {"pong":{"rtt_us":1043,"alive":true,"boot":1}}       or {"lost":{"reason":"…","lasting":false}}
//! -> {"token":"6f…","ask":{"explain":{"target":"2.8"}}}
//! <- {"explained":{…}}                                    or {"explained":null} where there is nothing to explain
//! -> {"token":"6f…","ask":{"trace":{"to":2,"deadline_ms":1000}}}
//! <- {"traced":{…}}                                        or {"untraced":"…"}
//! -> {"token":"6f…","ask":"tree"}
//! <- {"tree":{…}}
//! -> {"token":"6f…","ask":"dead_letters"}
//! <- {"dead_letters":{…}}
//! -> {"token":"6f…","ask":{"drain":{"timeout_ms":5000}}}
//! <- {"drained":{"done":true}}
//! -> {"token":"6f…","ask":{"change":{"parent":2}}}
//! <- {"changed":{"index":17}}                             or {"not_changed":{"reason":"…","exit":"other"}}
//! -> {"token":"6f…","ask":{"change":"leave"}}             answered as "stop" when the region has left
//! -> {"token":"6f…","ask":{"connect":{"to":"a.example:4433"}}}
//! <- {"linked":{"peer":2}}                                or {"not_linked":{"reason":"…","exit":"network"}}
//! -> {"token":"6f…","ask":{"disconnect":{"region":2}}}
//! <- {"parted":{"peer":2}}                                or {"not_linked":{"reason":"…","exit":"other"}}
//! -> {"token":"6f…","ask":{"stop":{}}}
//! <- "stopping"                                           and the connection ends when the node has
//! ```
//!
//! A request is at most 64 KiB and must be complete within 10 s; 16 connections at a time. What
//! breaks a rule is answered with `{"refused":"…"}`, and the connection is closed.

mod client;
mod server;
mod token;

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use fedist::{
    DeadLetter, NodeStatus, PingTarget, RegionId, RegionPid, Trace, Tree,
    registry::{LocalId, RouteExplanation},
};
use serde::{Deserialize, Serialize};

pub(crate) use client::{Client, Pinged, Traced};
pub(crate) use server::Server;
use token::Token;

use super::exit::{Exit, Failure};

/// One line from the command to the node.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    token: String,
    ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// The node's snapshot of itself.
    Status,
    /// One ping from the node.
    Ping {
        target: PingOf,
        /// Clamped to 1 ms..=60 s.
        deadline_ms: u32,
    },
    /// Why messages take the way that they take.
    Explain { target: PingOf },
    /// The way of a message, by real frames.
    Trace {
        to: RegionId,
        /// Clamped to 1 ms..=60 s.
        deadline_ms: u32,
    },
    /// Its supervision trees.
    Tree,
    /// The messages that reached nobody.
    DeadLetters,
    /// Moves the routes of all others away from the node.
    Drain {
        /// Clamped to 0..=60 s.
        timeout_ms: u32,
    },
    /// Takes a drain back.
    Undrain,
    /// Opens a link to an address, and keeps it.
    Connect { to: String },
    /// The same to a region of the registry.
    ConnectRegion { region: RegionId },
    /// Closes the link with a region, and has none.
    Disconnect { region: RegionId },
    /// Changes the region's own place in the federation.
    Change(ChangeOf),
    /// Ends the node.
    Stop {
        /// How long it may drain before; clamped to 0..=60 s. The node's own setting if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drain_timeout_ms: Option<u32>,
    },
}

/// What a region can have changed of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ChangeOf {
    /// Other addresses for the others to dial.
    Addresses(Vec<String>),
    /// Another region above.
    Parent(RegionId),
    /// A range of ids goes to another region.
    Split { of: RegionId, first: LocalId, last: LocalId, to: RegionId },
    /// Other regions elect the master.
    Candidates(Vec<RegionId>),
    /// A block of region numbers goes to a region.
    Delegate { to: RegionId, first: RegionId, last: RegionId },
    /// The region takes over from a master that is gone.
    Promote,
    /// The region leaves for good, and the node ends.
    Leave,
}

/// One line back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Box<NodeStatus>),
    Pong {
        rtt_us: u64,
        alive: bool,
        boot: u32,
    },
    /// No answer to the ping; `lasting` where another ping would fail the same way.
    Lost {
        reason: String,
        lasting: bool,
    },
    /// None for the node's own region and for one that it does not know.
    Explained(Option<Box<RouteExplanation>>),
    Traced(Box<Trace>),
    /// Why there is no trace.
    Untraced(String),
    Tree(Box<Trees>),
    DeadLetters(Box<Letters>),
    /// Whether the drain, or its end, came about.
    Drained {
        done: bool,
    },
    /// The region that is linked now.
    Linked {
        peer: RegionId,
    },
    /// The region to which there is no link now.
    Parted {
        peer: RegionId,
    },
    /// Neither link nor parting came about.
    NotLinked {
        reason: String,
        exit: Exit,
    },
    /// The registry's entry with the change.
    Changed {
        index: u64,
    },
    NotChanged {
        reason: String,
        exit: Exit,
    },
    Stopping,
    /// The node no longer answers for itself.
    Gone,
    Refused(String),
}

/// The supervision trees of a node.
#[derive(Serialize, Deserialize)]
pub(crate) struct Trees {
    pub(crate) region: RegionId,
    pub(crate) name: String,
    pub(crate) trees: Vec<Tree>,
}

/// The messages that reached nobody: the latest one by one, and all by reason.
#[derive(Serialize, Deserialize)]
pub(crate) struct Letters {
    pub(crate) region: RegionId,
    pub(crate) name: String,
    pub(crate) uptime_ms: u64,
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) letters: Vec<Letter>,
}

/// One message that reached nobody.
#[derive(Serialize, Deserialize)]
pub(crate) struct Letter {
    /// Since the node's start.
    pub(crate) at_ms: u64,
    pub(crate) from: Option<RegionPid>,
    pub(crate) to: RegionPid,
    pub(crate) message: String,
    pub(crate) reason: String,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            at_ms: letter.at_ms,
            from: letter.from,
            to: letter.to,
            message: letter.message,
            reason: letter.reason.to_string(),
        }
    }
}

/// What a ping is meant for, as text on the wire: `"2"` or `"2.42"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum PingOf {
    Region(RegionId),
    Actor(RegionPid),
}

impl TryFrom<String> for PingOf {
    type Error = fedist::registry::IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.contains('.') {
            true => text.parse().map(Self::Actor),
            false => text.parse().map(Self::Region),
        }
    }
}

impl From<PingOf> for String {
    fn from(target: PingOf) -> String {
        match target {
            PingOf::Region(region) => region.to_string(),
            PingOf::Actor(pid) => pid.to_string(),
        }
    }
}

impl From<PingOf> for PingTarget {
    fn from(target: PingOf) -> PingTarget {
        match target {
            PingOf::Region(region) => PingTarget::Region(region),
            PingOf::Actor(pid) => PingTarget::Actor(pid),
        }
    }
}

/// The file by which a command finds the node; removed when dropped.
struct AdminFile {
    path: PathBuf,
}

/// What is in it.
#[derive(Serialize, Deserialize)]
struct Contact {
    address: SocketAddr,
    token: Token,
    pid: u32,
}

impl AdminFile {
    /// Writes the file in one step. The caller's node holds the data directory, so a file that is
    /// there was left by a node that was killed.
    fn write(data_dir: &Path, contact: &Contact) -> Result<Self, Failure> {
        let path = data_dir.join(ADMIN_FILE);
        let temporary = data_dir.join(format!("{ADMIN_FILE}.tmp"));
        let written = serde_json::to_vec(contact)
            .map_err(io::Error::other)
            .and_then(|text| write_private(&temporary, &text))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Failure::new(
                Exit::Storage,
                format!(
                    "admin file ({}) cannot be written: {error}; commands find the node by it; check the data directory's permissions and the disk",
                    path.display()
                ),
            )
        })?;
        Ok(Self { path })
    }

    /// What the file of a running node says; `None` if there is no file.
    fn read(data_dir: &Path) -> Result<Option<Contact>, Failure> {
        let path = data_dir.join(ADMIN_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Failure::new(
                    Exit::Security,
                    format!(
                        "admin file ({}) may not be read by this user; it holds the key to the node; run the command as the user that runs the node",
                        path.display()
                    ),
                ));
            }
            Err(error) => {
                return Err(Failure::new(
                    Exit::Storage,
                    format!(
                        "admin file ({}) cannot be read: {error}; commands find the node by it; check --data-dir",
                        path.display()
                    ),
                ));
            }
        };
        let contact: Option<Contact> = serde_json::from_slice(&text).ok();
        match contact {
            Some(contact) if contact.address.ip().is_loopback() => Ok(Some(contact)),
            _ => Err(Failure::new(
                Exit::Storage,
                format!(
                    "admin file ({}) is damaged; a node writes it anew at each start; stop the node by a signal and start it again",
                    path.display()
                ),
            )),
        }
    }
}

impl Drop for AdminFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // One that was left by a crash may have other permissions.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    io::Write::write_all(&mut options.open(path)?, text)
}

const ADMIN_FILE: &str = "admin.json";

/// The longest request line, its end included.
const MAX_REQUEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn json(ask: Ask) -> String {
        serde_json::to_string(&ask).unwrap()
    }

    #[test]
    fn requests_look_as_the_description_says() {
        assert_eq!(json(Ask::Status), r#""status""#);
        assert_eq!(json(Ask::Stop { drain_timeout_ms: None }), r#"{"stop":{}}"#);
        let stop = Ask::Stop { drain_timeout_ms: Some(70) };
        assert_eq!(json(stop), r#"{"stop":{"drain_timeout_ms":70}}"#);
        assert_eq!(json(Ask::Drain { timeout_ms: 9 }), r#"{"drain":{"timeout_ms":9}}"#);
        assert_eq!(json(Ask::Undrain), r#""undrain""#);
        let connect = Ask::Connect { to: "a:1".to_owned() };
        assert_eq!(json(connect), r#"{"connect":{"to":"a:1"}}"#);
        let disconnect = Ask::Disconnect { region: "2".parse().unwrap() };
        assert_eq!(json(disconnect), r#"{"disconnect":{"region":2}}"#);
        assert_eq!(json(Ask::Tree), r#""tree""#);
        assert_eq!(json(Ask::DeadLetters), r#""dead_letters""#);
        let ping = Ask::Ping { target: PingOf::Actor("2.8".parse().unwrap()), deadline_ms: 1000 };
        let change = |change| json(Ask::Change(change));
        assert_eq!(change(ChangeOf::Parent("2".parse().unwrap())), r#"{"change":{"parent":2}}"#);
        assert_eq!(change(ChangeOf::Promote), r#"{"change":"promote"}"#);
        assert_eq!(change(ChangeOf::Leave), r#"{"change":"leave"}"#);
        assert_eq!(json(ping.clone()), r#"{"ping":{"target":"2.8","deadline_ms":1000}}"#);
        assert_eq!(serde_json::from_str::<Ask>(&json(ping.clone())).unwrap(), ping);
        let explain = Ask::Explain { target: PingOf::Region("2".parse().unwrap()) };
        assert_eq!(json(explain), r#"{"explain":{"target":"2"}}"#);
        for bad in
            ["\"halt\"", "{}", r#"{"ping":{"target":"0","deadline_ms":1}}"#, r#"{"explain":{}}"#]
        {
            assert!(serde_json::from_str::<Ask>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_is_private_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AdminFile::read(dir.path()).unwrap().is_none());
        let contact = Contact {
            address: "127.0.0.1:9".parse().unwrap(),
            token: Token::random().unwrap(),
            pid: 7,
        };
        let file = AdminFile::write(dir.path(), &contact).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&file.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let held = AdminFile::read(dir.path()).unwrap().unwrap();
        assert!(held.token.is(&contact.token.reveal()));
        drop(file);
        assert!(AdminFile::read(dir.path()).unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_and_a_foreign_address_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::random().unwrap().reveal();
        for text in [
            String::new(),
            "{}".to_owned(),
            format!(r#"{{"address":"192.0.2.1:9","token":"{token}","pid":7}}"#),
            format!(r#"{{"address":"127.0.0.1:9","token":"{}","pid":7}}"#, &token[1..]),
        ] {
            fs::write(dir.path().join(ADMIN_FILE), text).unwrap();
            let Err(error) = AdminFile::read(dir.path()) else {
                panic!("was read");
            };
            assert!(error.to_string().contains("damaged"), "{error}");
        }
    }
}
