//! Regions that are found: by strategies of a test, by a file, by a name; and let go when they are not there any more.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use fedist_actors::{
    Discovery, DiscoveryError, DnsName, LinkStatus, Node, NodeBuilder, PeerState, PeerStatus,
    PidSend, StartError, StaticList, WatchedFile,
};
use fedist_registry::{LinkReason, MeshConfig, Micros, Topology};
use fedist_transport::{identity::CertificateAuthority, memory::MemoryNet};

use crate::support::*;

const SOON: Duration = Duration::from_millis(50);

/// What it is set to. `Err` is a strategy that is down; "panic" one that is broken.
#[derive(Clone)]
struct Board(Arc<Mutex<Result<Vec<String>, String>>>);

impl Board {
    fn new(addresses: &[&str]) -> Self {
        let board = Self(Arc::new(Mutex::new(Ok(Vec::new()))));
        board.set(addresses);
        board
    }

    fn set(&self, addresses: &[&str]) {
        *self.0.lock().unwrap() = Ok(addresses.iter().map(|it| (*it).to_owned()).collect());
    }

    fn fail(&self, why: &str) {
        *self.0.lock().unwrap() = Err(why.to_owned());
    }
}

impl Discovery for Board {
    fn name(&self) -> &str {
        "board"
    }

    async fn discover(&mut self) -> Result<Vec<String>, DiscoveryError> {
        let says = self.0.lock().unwrap().clone();
        match says {
            Err(why) if why == "panic" => panic!("as asked"),
            Err(why) => Err(DiscoveryError::Other(why)),
            Ok(addresses) => Ok(addresses),
        }
    }

    fn gone_after(&self) -> u32 {
        1
    }
}

/// Links to parent, child and whoever was discovered, and those that go do it soon.
fn bare(builder: NodeBuilder) -> NodeBuilder {
    builder.discover_every(SOON).mesh(MeshConfig {
        topology: Topology::Tree,
        settle: Micros::from_millis(500),
        drain: Micros::from_millis(300),
        ..MeshConfig::default()
    })
}

async fn link(node: &Node, peer: u16) -> Option<LinkStatus> {
    let status = node.status().await.unwrap();
    status.links.into_iter().find(|link| link.peer == id(peer))
}

async fn peer(node: &Node, address: &str) -> Option<PeerStatus> {
    node.peers().await.into_iter().find(|peer| peer.address == address)
}

async fn is(node: &Node, address: &str, state: PeerState) {
    eventually(&format!("{address} is {state}"), || async {
        peer(node, address).await.is_some_and(|peer| peer.state == state)
    })
    .await;
}

async fn linked(node: &Node, number: u16, linked: bool) {
    eventually(&format!("link of {} to {number}: {linked}", node.region()), || async {
        link(node, number).await.is_some() == linked
    })
    .await;
}

/// A root, and region 3 below it.
async fn root_and_third(net: &MemoryNet) -> (Node, Node) {
    let root = bare(root(net)).start().await.unwrap();
    let third = bare(below(net, 1, 3)).start().await.unwrap();
    (root, third)
}

fn newcomer(net: &MemoryNet, number: u16, strategy: impl Discovery) -> NodeBuilder {
    let builder = Node::builder(id(number)).parent(id(1)).memory(net.port(id(number)));
    bare(builder).discover(strategy)
}

#[test]
fn a_node_that_knows_nobody_joins_when_somebody_is_found() {
    run(async {
        let net = MemoryNet::new(300);
        net.set_dial_timeout(Duration::from_millis(100));
        let board = Board::new(&[]);
        let second = newcomer(&net, 2, board.clone()).wait_until_live(false);
        let second = second.start().await.unwrap();
        // Itself, one that is no address, and one where nobody is yet.
        board.set(&["memory:2", "nonsense", "memory:1"]);
        is(&second, "memory:1", PeerState::Failing).await;
        is(&second, "memory:2", PeerState::Ourselves).await;
        assert!(!second.is_live());
        let source = second.status().await.unwrap().sources.remove(0);
        assert_eq!((source.name.as_str(), source.refused), ("board", 1));
        assert!(source.error.unwrap().contains("malformed address (nonsense)"));

        let root = bare(root(&net)).start().await.unwrap();
        eventually("it is live", || async { second.is_live() }).await;
        is(&second, "memory:1", PeerState::Linked).await;
        let found = peer(&second, "memory:1").await.unwrap();
        assert_eq!((found.region, found.failures, found.error), (Some(id(1)), 0, None));
        routed(&[root.clone(), second.clone()]).await;
        assert_eq!(root.reachable_regions(), [id(2)]);
        stop(&[root, second]).await;
    });
}

#[test]
fn newcomers_that_find_each_other_first_still_join() {
    run(async {
        let net = MemoryNet::new(301);
        net.set_dial_timeout(Duration::from_millis(100));
        let all = ["memory:3", "memory:2", "memory:1"];
        let start =
            |number| newcomer(&net, number, StaticList::new(all)).wait_until_live(false).start();
        let (second, third) = (start(2).await.unwrap(), start(3).await.unwrap());
        linked(&second, 3, true).await;
        let root = bare(root(&net)).discover(StaticList::new(all)).start().await.unwrap();
        let nodes = [root, second, third];
        eventually("all are live", || async { nodes.iter().all(Node::is_live) }).await;
        routed(&nodes).await;
        for (node, other) in [(0, 2), (0, 3), (1, 1), (1, 3), (2, 1), (2, 2)] {
            linked(&nodes[node], other, true).await;
        }
        stop(&nodes).await;
    });
}

#[test]
fn two_that_find_each_other_at_the_same_moment_have_one_link_at_once() {
    run(async {
        let net = MemoryNet::new(307);
        net.default_latency(Duration::from_millis(40));
        let root = bare(root(&net)).start().await.unwrap();
        let boards = [Board::new(&[]), Board::new(&[])];
        let start = |number: u16, board: &Board| {
            bare(below(&net, 1, number)).discover(board.clone()).start()
        };
        let second = start(2, &boards[0]).await.unwrap();
        let third = start(3, &boards[1]).await.unwrap();
        routed(&[root.clone(), second.clone(), third.clone()]).await;
        boards[0].set(&["memory:3"]);
        boards[1].set(&["memory:2"]);
        linked(&second, 3, true).await;
        linked(&third, 2, true).await;
        let tried = |node: Node, address: &'static str| async move {
            peer(&node, address).await.is_some_and(|peer| peer.state == PeerState::Linked)
        };
        eventually("both see it", || async {
            tried(second.clone(), "memory:3").await && tried(third.clone(), "memory:2").await
        })
        .await;
        // One dial each way at most; a quarrel about which one stays would take more.
        assert!(net.stats().links_opened <= 4, "{:?}", net.stats());
        stop(&[root, second, third]).await;
    });
}

#[test]
fn a_newcomer_that_finds_nobody_says_what_its_strategies_said() {
    run(async {
        let net = MemoryNet::new(302);
        let start = |board: &Board| {
            newcomer(&net, 2, board.clone()).join_timeout(Duration::from_millis(400)).start()
        };
        let board = Board::new(&[]);
        let error = start(&board).await.err().unwrap();
        assert!(matches!(&error, StartError::JoinTimedOut { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("discovered by board") && text.contains("no address was"), "{text}");
        board.fail("the board is down");
        let text = start(&board).await.err().unwrap().to_string();
        assert!(text.contains("board: the board is down"), "{text}");
    });
}

#[test]
fn a_discovered_region_is_linked_until_the_last_strategy_has_dropped_it() {
    run(async {
        let net = MemoryNet::new(303);
        let (root, third) = root_and_third(&net).await;
        let (left, right) = (Board::new(&["memory:3"]), Board::new(&[]));
        let second = bare(below(&net, 1, 2)).discover(left.clone()).discover(right.clone());
        let second = second.start().await.unwrap();
        linked(&second, 3, true).await;
        eventually("for that reason", || async {
            link(&second, 3).await.is_some_and(|it| it.reason == LinkReason::Discovered)
        })
        .await;
        right.set(&["memory:3", "memory:1"]);
        is(&second, "memory:1", PeerState::Linked).await;
        left.set(&["memory:1"]);
        eventually("only one has it", || async {
            peer(&second, "memory:3").await.is_some_and(|peer| peer.sources.len() == 1)
        })
        .await;
        right.set(&["memory:1"]);
        eventually("nobody has it", || async { peer(&second, "memory:3").await.is_none() }).await;
        linked(&second, 3, false).await;
        assert_eq!(
            second.reachable_regions(),
            [id(1), id(3)],
            "it is still a member, over the root"
        );
        assert!(link(&second, 1).await.is_some_and(|it| it.reason == LinkReason::Topology));
        stop(&[root, second, third]).await;
    });
}

#[test]
fn strategies_that_fail_panic_or_forget_everybody_for_a_moment_cut_nobody_off() {
    run(async {
        let net = MemoryNet::new(304);
        let (root, third) = root_and_third(&net).await;
        let board = Board::new(&["memory:3"]);
        let second = bare(below(&net, 1, 2)).discover(board.clone()).start().await.unwrap();
        linked(&second, 3, true).await;
        let source = || async { second.status().await.unwrap().sources.remove(0) };
        let serial = || async { link(&second, 3).await.map(|link| link.up_ms) };
        for (says, why) in [("the board is down", "is down"), ("panic", "panicked (as asked)")] {
            board.fail(says);
            let before = source().await.failures;
            eventually("it has failed a few times", || async {
                source().await.failures > before + 3
            })
            .await;
            assert!(source().await.error.unwrap().contains(why));
            assert!(serial().await.is_some());
        }
        // Twice nobody, then somebody again: as each answer is seen by itself.
        board.set(&["memory:3"]);
        eventually("it is well again", || async { source().await.error.is_none() }).await;
        assert_eq!(peer(&second, "memory:3").await.unwrap().state, PeerState::Linked);
        board.set(&[]);
        eventually("believed in the end", || async { peer(&second, "memory:3").await.is_none() })
            .await;
        linked(&second, 3, false).await;
        stop(&[root, second, third]).await;
    });
}

#[test]
fn a_region_that_stopped_is_not_reachable_and_is_found_again_when_it_is_back() {
    run(async {
        let net = MemoryNet::new(305);
        net.set_dial_timeout(Duration::from_millis(100));
        let (root, third) = root_and_third(&net).await;
        let board = Board::new(&["memory:3"]);
        let second = bare(below(&net, 1, 2)).discover(board).start().await.unwrap();
        linked(&second, 3, true).await;
        third.stop().await;
        eventually("3 is gone", || async { second.reachable_regions() == [id(1)] }).await;
        let status = second.status().await.unwrap();
        let shown = status.regions.iter().find(|region| region.id == id(3)).unwrap();
        assert!(
            !shown.reachable && shown.status == fedist_registry::Status::Live,
            "a member still"
        );
        is(&second, "memory:3", PeerState::Failing).await;
        let third = bare(below(&net, 1, 3)).boot(2).start().await.unwrap();
        linked(&second, 3, true).await;
        eventually("it is back", || async { second.reachable_regions() == [id(1), id(3)] }).await;
        notebook(&third).send(&second, Notes).await.unwrap();
        stop(&[root, second, third]).await;
    });
}

#[test]
fn ten_thousand_addresses_are_bounded_and_counted() {
    run(async {
        let net = MemoryNet::new(306);
        net.set_dial_timeout(Duration::from_millis(100));
        let (root, third) = root_and_third(&net).await;
        let many = (1..=10_000).map(|number| format!("memory:{}", number + 50));
        let all: Vec<String> = std::iter::once("memory:3".to_owned()).chain(many).collect();
        let second = bare(below(&net, 1, 2)).discover(StaticList::new(all)).start().await.unwrap();
        linked(&second, 3, true).await;
        let status = second.status().await.unwrap();
        assert_eq!(status.peers.len(), 128);
        assert_eq!(status.sources[0].over_limit, 10_001 - 128);
        stop(&[root, second, third]).await;
    });
}

// ---- over QUIC -------------------------------------------------------------------------------

fn over_quic(dir: &std::path::Path, number: u16) -> NodeBuilder {
    let builder =
        Node::builder(id(number)).data_dir(dir.join(number.to_string())).ca_dir(dir.join("ca"));
    let builder = if number == 1 { builder } else { builder.parent(id(1)) };
    bare(builder)
}

#[test]
fn a_region_whose_address_is_written_into_a_file_is_linked_and_let_go_when_the_line_is_removed() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let watched = || WatchedFile::new(&path).every(SOON);
        let root = over_quic(dir.path(), 1).start().await.unwrap();
        // There is no such file when the second one starts, and no address to join.
        let second = over_quic(dir.path(), 2).discover(watched()).wait_until_live(false);
        let second = second.start().await.unwrap();
        let at_root = root.local_address();
        fs::write(&path, format!("# the root\n{at_root}\n")).unwrap();
        eventually("it has joined", || async { second.is_live() }).await;

        let third = over_quic(dir.path(), 3).join(at_root).start().await.unwrap();
        routed(&[root.clone(), second.clone(), third.clone()]).await;
        assert!(link(&second, 3).await.is_none());
        let at_third = third.local_address();
        let own = second.local_address();
        // Under this name only the handshake shows whose it is.
        let alias = format!("localhost:{}", own.rsplit_once(':').unwrap().1);
        let text = format!("{at_root}\n{own} # itself\n{alias}\n{at_third} # Paris\n");
        fs::write(&path, text).unwrap();
        linked(&second, 3, true).await;
        is(&second, at_third, PeerState::Linked).await;
        is(&second, own, PeerState::Ourselves).await;
        is(&second, &alias, PeerState::Ourselves).await;
        let shown = peer(&second, at_third).await.unwrap();
        assert_eq!(shown.sources, [format!("file {}", path.display())]);
        assert_eq!(shown.region, Some(id(3)));

        // A line that is none: what was before holds, and people are told which line.
        fs::write(&path, format!("{at_root}\nparis\n")).unwrap();
        let error = || async { second.status().await.unwrap().sources[0].error.clone() };
        eventually("it says so", || async {
            error().await.is_some_and(|error| error.starts_with("line 2 of "))
        })
        .await;
        assert!(link(&second, 3).await.is_some());
        fs::write(&path, format!("{at_root}\n")).unwrap();
        linked(&second, 3, false).await;
        assert!(peer(&second, at_third).await.is_none());
        assert_eq!(second.reachable_regions(), [id(1), id(3)]);
        stop(&[root, second, third]).await;
    });
}

#[test]
fn a_name_is_looked_up_and_its_region_joined_through() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let root = over_quic(dir.path(), 1).start().await.unwrap();
        let port = root.local_address().rsplit_once(':').unwrap().1.parse().unwrap();
        let name = DnsName::new("localhost", port).every(SOON);
        let second = over_quic(dir.path(), 2).discover(name).start().await.unwrap();
        is(&second, root.local_address(), PeerState::Linked).await;
        let peers = second.peers().await;
        assert_eq!(peers.len(), 1, "of IPv6 it can reach nobody: {peers:?}");
        assert_eq!(peers[0].sources, [format!("dns localhost:{port}")]);
        stop(&[root, second]).await;
    });
}

#[test]
fn an_address_of_another_federation_is_refused_and_the_others_are_joined_through() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let root = over_quic(dir.path(), 1).start().await.unwrap();
        let theirs = dir.path().join("theirs");
        CertificateAuthority::load_or_create(&theirs.join("ca")).unwrap();
        let stranger = over_quic(&theirs, 1).start().await.unwrap();
        let list = [stranger.local_address(), root.local_address()];
        let second =
            over_quic(dir.path(), 2).discover(StaticList::new(list)).start().await.unwrap();
        is(&second, root.local_address(), PeerState::Linked).await;
        is(&second, stranger.local_address(), PeerState::Failing).await;
        let refused = peer(&second, stranger.local_address()).await.unwrap();
        assert!(refused.error.unwrap().contains("another federation"));
        assert_eq!(refused.region, None);
        stop(&[root, second, stranger]).await;
    });
}
