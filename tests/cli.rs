//! The `fedist` command as a user meets it: real processes, real sockets, real files.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fedist::transport::identity::CertificateAuthority;
use serde_json::Value;
use tempfile::TempDir;

/// Bounds every wait; a healthy machine needs a fraction of it.
const PATIENCE: Duration = Duration::from_secs(60);

// ---- the good path ---------------------------------------------------------------------------

#[test]
fn a_root_and_two_children_find_each_other_answer_and_stop() {
    let dir = scratch();
    let root = Node::start(&dir, "root", &["--region", "1", "--name", "root"]);
    assert!(root.greeting.starts_with("region 1 root at 127.0.0.1:"), "{}", root.greeting);
    assert!(root.greeting.contains("federation "), "{}", root.greeting);
    assert!(root.next_line().contains("made the federation's certificate authority"));

    // One child has the CA at hand, the other one a certificate that was issued for it.
    let ca = dir.path().join("root");
    let leaf = Node::start(
        &dir,
        "leaf",
        &[
            "--region",
            "2",
            "--name",
            "leaf",
            "--parent",
            "1",
            "--join",
            &root.address,
            "--ca-dir",
            text(&ca),
        ],
    );
    let far = dir.path().join("far");
    let issued = fedist(&[
        "cert",
        "--ca-dir",
        text(&ca),
        "--region",
        "3",
        "--out",
        text(&far),
        "--days",
        "30",
    ]);
    assert_eq!(issued.code, 0, "{issued:?}");
    assert!(
        issued.stdout.contains("region.key") && issued.stdout.contains("--region 3"),
        "{issued:?}"
    );
    let config = dir.path().join("far.toml");
    let settings = format!(
        "region = 3\nname = \"far\"\nparent = 2\njoin = [\"{}\"]\ndata-dir = \"{}\"\ncoordinates = \"50.1,8.7\"\n",
        root.address,
        text(&far)
    );
    fs::write(&config, settings).unwrap();
    let far = Node::start(&dir, "far", &["--config", text(&config)]);
    assert!(far.greeting.starts_with("region 3 far at "), "{}", far.greeting);

    for node in [&root, &leaf, &far] {
        let all_there = || {
            let regions = node.ask(&["regions"]);
            let live = |region: &Value| region["status"] == "live" && region["reachable"] == true;
            array(&regions["regions"]).iter().filter(|region| live(region)).count() == 3
        };
        wait_for("three live regions in reach", all_there);
        let routes = node.ask(&["routes"]);
        assert_eq!(array(&routes["routes"]).len(), 2, "{routes}");
        for route in array(&routes["routes"]) {
            let path = array(&route["path"]);
            assert_eq!(path.first(), Some(&routes["region"]), "{route}");
            assert_eq!(path.last(), Some(&route["to"]), "{route}");
        }
        let links = node.ask(&["links"]);
        assert!(!array(&links["links"]).is_empty());
        let idle = links["utilisation"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&idle), "{links}");
        assert!(links["links"][0]["probes_sent"].is_u64(), "{links}");
    }
    let regions = root.ask(&["regions"]);
    let far_seen = array(&regions["regions"]).iter().find(|region| region["id"] == 3).unwrap();
    assert_eq!((&far_seen["name"], &far_seen["parent"]), (&"far".into(), &2.into()));
    let to = root.ask(&["routes", "--to", "leaf"]);
    assert_eq!(array(&to["routes"]).len(), 1, "{to}");

    for target in ["1", "root", "1.8"] {
        let explained = far.ask(&["routes", "--explain", target]);
        assert_eq!((&explained["region"], &explained["to"]), (&3.into(), &1.into()), "{explained}");
        let hops = array(&explained["path"]["hops"]);
        let terms = ["propagation_ms", "queueing_ms", "relay_ms"];
        let sum: f64 =
            hops.iter().flat_map(|hop| terms.map(|term| hop[term].as_f64().unwrap())).sum();
        assert!((sum - explained["path"]["cost_ms"].as_f64().unwrap()).abs() < 1e-6, "{explained}");
        assert_eq!(hops.last().unwrap()["to"], 1, "{explained}");
        assert!(explained["changes"].as_u64().is_some_and(|changes| changes > 0), "{explained}");
        assert!(explained["direct"]["state"].is_string(), "{explained}");
    }
    let own = far.command(&["routes", "--explain", "3.8"]);
    assert_eq!(own.code, 1, "{own:?}");
    assert!(
        own.stderr.starts_with("error: no route to explain (3.8, asked at region 3)"),
        "{own:?}"
    );
    for unknown in ["7", "7.42", "nowhere"] {
        let unknown = far.command(&["routes", "--explain", unknown]);
        assert_eq!(unknown.code, 1, "{unknown:?}");
        assert!(unknown.stderr.starts_with("error: unknown region ("), "{unknown:?}");
    }

    for target in ["1", "root", "1.8"] {
        let ping = far.ask(&["ping", target, "--count", "5", "--interval-ms", "1"]);
        assert_eq!(
            (&ping["region"], &ping["sent"], &ping["lost"]),
            (&1.into(), &5.into(), &0.into()),
            "{ping}"
        );
        let rtt = |key: &str| ping["rtt_ms"][key].as_f64().unwrap();
        assert!(
            0.0 < rtt("min") && rtt("min") <= rtt("median") && rtt("median") <= rtt("p99"),
            "{ping}"
        );
        assert!(rtt("p99") < 2000.0, "{ping}");
        let path = array(&ping["path"]);
        assert_eq!((path.first(), path.last()), (Some(&3.into()), Some(&1.into())), "{ping}");
    }
    assert_eq!(far.ask(&["ping", "1.8", "--count", "1"])["actor"], "alive");
    assert_eq!(far.ask(&["ping", "3", "--count", "1"])["lost"], 0, "a node answers itself");
    let none = far.command(&["ping", "1.4999", "--count", "1"]);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(none.stdout.contains("1.4999: no actor"), "{none:?}");
    let unknown = far.command(&["ping", "7", "--count", "1"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.starts_with("error: unknown region (7"), "{unknown:?}");
    let unknown = far.command(&["ping", "7.42", "--count", "3"]);
    assert_eq!(unknown.code, 6, "{unknown:?}");
    assert!(unknown.stderr.contains("unknown region"), "{unknown:?}");

    // The way of a message, by frames of its own.
    let trace = far.ask(&["trace", "root"]);
    assert_eq!((&trace["reached"], &trace["to"]), (&true.into(), &1.into()), "{trace}");
    let hops = array(&trace["hops"]);
    assert_eq!(
        (&hops[0]["region"], &hops.last().unwrap()["region"]),
        (&3.into(), &1.into()),
        "{trace}"
    );
    assert!(hops[0]["link_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{trace}");
    let table = far.command(&["trace", "1.8"]).stdout;
    assert!(table.contains("reached: region 1 root after ") && table.contains("SHARE"), "{table}");
    let here = far.command(&["trace", "3"]);
    assert!(here.code == 0 && here.stdout.contains("this node itself"), "{here:?}");
    let unknown = far.command(&["trace", "7.42"]);
    assert_eq!(unknown.code, 6, "{unknown:?}");
    assert!(unknown.error_line().contains("unknown region (7)"), "{unknown:?}");

    let trees = far.ask(&["tree"]);
    assert_eq!((&trees["region"], &trees["name"]), (&3.into(), &"far".into()));
    let system = &array(&trees["trees"])[0];
    assert_eq!(system["name"], "system", "{trees}");
    let services: Vec<&Value> = array(&system["children"]).iter().collect();
    let hub = services.iter().find(|service| service["name"] == "hub").expect("the hub is there");
    assert_eq!((&hub["state"], &hub["restarts"]), (&"running".into(), &0.into()), "{hub}");
    assert_eq!(hub["pid"], "3.1", "well known: {hub}");
    assert!(array(&far.ask(&["tree", "--no-system"])["trees"]).is_empty());
    let letters = far.ask(&["dead-letters"]);
    assert_eq!(letters["region"], 3, "{letters}");
    assert!(letters["dropped"].is_object() && letters["letters"].is_array(), "{letters}");
    assert!(letters["uptime_ms"].as_u64().is_some_and(|uptime| uptime > 0), "{letters}");

    // What people read, once.
    let tree = far.command(&["tree"]).stdout;
    assert!(tree.starts_with("region 3 far: "), "{tree}");
    assert!(tree.contains("NAME") && tree.contains("─ hub ") && tree.contains("running"), "{tree}");
    let letters = far.command(&["dead-letters"]).stdout;
    assert!(letters.starts_with("region 3 far: "), "{letters}");
    let mistyped = far.command(&["dead-letters", "--reason", "noactor"]);
    assert_eq!(mistyped.code, 2, "{mistyped:?}");
    assert!(mistyped.error_line().contains("unknown reason (noactor)"), "{mistyped:?}");
    assert_eq!(far.command(&["dead-letters", "--reason", "no_actor"]).code, 0);
    let table = root.command(&["regions"]).stdout;
    assert!(
        table.contains("root") && table.contains("└─ leaf") && table.contains("   └─ far"),
        "{table}"
    );
    assert!(far.command(&["routes"]).stdout.contains("3 far → "));
    let explained = far.command(&["routes", "--explain", "root"]).stdout;
    assert!(explained.starts_with("from 3 far to 1 root: "), "{explained}");
    for part in ["propagation", "second way: ", "direct link: ", "last change: "] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let links = far.command(&["links"]).stdout;
    for part in ["RTT", "PROBES", "utilisation", "clock", " ± "] {
        assert!(links.contains(part), "{part}: {links}");
    }
    let ping = far.command(&["ping", "root", "--count", "2"]).stdout;
    assert!(ping.contains("path") && ping.contains("1 root") && ping.contains("median"), "{ping}");
    assert!(ping.contains("0 of 2 (0.0 %)"), "{ping}");

    let drained = leaf.ask(&["drain"]);
    assert_eq!((&drained["region"], &drained["drained"]), (&2.into(), &true.into()), "{drained}");
    assert_eq!(leaf.ask(&["links"])["draining"], true);
    assert!(leaf.command(&["links"]).stdout.contains("(drained: frames in transit go elsewhere)"));
    let again = leaf.command(&["drain", "--drain-timeout", "1000"]);
    assert_eq!(again.stdout, "drained region 2 leaf: nobody passes through it any more\n");
    assert_eq!(leaf.ask(&["drain", "--cancel"])["done"], true);
    let undrained = leaf.command(&["drain", "--cancel"]).stdout;
    assert_eq!(undrained, "region 2 leaf was not drained\n");
    let both = fedist(&["drain", "--cancel", "--drain-timeout", "1"]);
    assert_eq!(both.code, 2, "{both:?}");
    let long = fedist(&["stop", "--drain-timeout", "60001"]);
    assert_eq!(long.code, 2, "{long:?}");

    for (node, options) in [
        (far, &["stop"][..]),
        (leaf, &["stop", "--drain-timeout", "500"]),
        (root, &["stop", "--drain-timeout", "0"]),
    ] {
        let stopped = node.ask(options);
        assert_eq!(stopped["stopped"], true, "{stopped}");
        let data_dir = node.data_dir.clone();
        assert_eq!(node.ended().code, 0);
        assert!(!data_dir.join("admin.json").exists());
        for command in ["regions", "tree", "dead-letters"] {
            let gone = fedist(&[command, "--data-dir", text(&data_dir)]);
            assert_eq!(gone.code, 6, "{gone:?}");
            assert!(gone.stderr.starts_with("error: no node runs on data directory"), "{gone:?}");
        }
    }
}

#[test]
fn a_root_hands_over_by_candidates_and_by_promotion() {
    let dir = scratch();
    let args = ["--region", "1", "--name", "root", "--election-timeout-ms", "500"];
    let root = Node::start(&dir, "root", &args);
    let ca = dir.path().join("root");
    let below = |name: &'static str, number: &str| {
        let args = ["--region", number, "--name", name, "--parent", "1", "--join", &root.address];
        let more = ["--ca-dir", text(&ca), "--election-timeout-ms", "500"];
        Node::start(&dir, name, &[&args[..], &more].concat())
    };
    let (near, _far) = (below("near", "2"), below("far", "3"));
    for (args, code, says) in [
        (&["delegate", "9..=1", "--to", "near"][..], 2, "block (9..=1) is empty"),
        (&["delegate", "9..=0", "--to", "near"], 2, "block (9..=0)"),
        (&["candidates", "1", "2"], 1, "2 candidates are not a set"),
        (&["promote", "near", "--yes-the-root-is-gone"], 2, "a region is promoted on its own node"),
        (&["promote", "root"], 2, "add --yes-the-root-is-gone"),
        (
            &["promote", "root", "--yes-the-root-is-gone"],
            1,
            "region 1 is the registry's master already",
        ),
    ] {
        let refused = root.command(args);
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{args:?}: {refused:?}");
    }
    let refused = near.command(&["promote", "near", "--yes-the-root-is-gone"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("region 1 answers and is the registry's master"),
        "{refused:?}"
    );
    let delegated = root.command(&["delegate", "100..=199", "--to", "near"]);
    assert_eq!(delegated.code, 0, "{delegated:?}");
    assert!(delegated.stdout.contains("region numbers 100 to 199 delegated to region 2 near"));
    let set = root.command(&["candidates", "far"]);
    assert_eq!(set.code, 0, "{set:?}");
    wait_for("region 3 is the master", || {
        let regions = near.ask(&["regions"]);
        regions["master"] == 3 && regions["candidates"] == serde_json::json!([3])
    });
    let text = near.command(&["regions"]).stdout;
    assert!(text.contains(" by region 3, one of candidates 3"), "{text}");
}

#[test]
fn regions_move_split_and_leave_at_run_time() {
    let dir = scratch();
    let root = Node::start(&dir, "root", &["--region", "1", "--name", "root"]);
    let ca = dir.path().join("root");
    let below = |name: &'static str, number: &str| {
        let args = ["--region", number, "--name", name, "--parent", "1", "--join", &root.address];
        Node::start(&dir, name, &[&args[..], &["--ca-dir", text(&ca)]].concat())
    };
    let (near, far) = (below("near", "2"), below("far", "3"));

    let moved = far.ask(&["region", "set", "--parent", "near", "--address", "far.example:1"]);
    let index = moved["registry_index"].as_u64().unwrap();
    let region_3 = |node: &Node| {
        let regions = node.ask(&["regions"]);
        assert!(regions["registry_index"].is_u64(), "{regions}");
        array(&regions["regions"]).iter().find(|region| region["id"] == 3).unwrap().clone()
    };
    let at_root = || region_3(&root)["addresses"][0] == "far.example:1";
    wait_for("the root knows", at_root);
    assert!(index <= root.ask(&["regions"])["registry_index"].as_u64().unwrap());
    assert_eq!(region_3(&far)["parent"], 2, "its own copy has it when the command ends");

    let split = far.command(&["region", "split", "1000..=1999", "--to", "near"]);
    assert_eq!(split.code, 0, "{split:?}");
    assert!(
        split.stdout.starts_with("region 3 far has handed ids 1000 to 1999 of region 3 far over"),
        "{split:?}"
    );
    for (args, code, says) in [
        (&["region", "set"][..], 2, "required"),
        (&["region", "split", "9..=1", "--to", "near"], 2, "range (9..=1) is empty"),
        (&["region", "split", "300..=400", "--to", "7"], 1, "unknown region (7"),
        (&["region", "set", "--parent", "far"], 1, "region 3 cannot be the parent of region 2"),
        (&["leave"], 1, "region 2 is the parent of region 3; a region leaves after its children"),
    ] {
        let refused = near.command(args);
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{args:?}: {refused:?}");
    }

    let left = far.command(&["leave"]);
    assert_eq!((left.code, left.stdout.as_str()), (0, "region 3 far has left its federation\n"));
    assert_eq!(far.ended().code, 0);
    wait_for("a tombstone", || region_3(&root)["status"] == "left");
    assert_eq!(root.command(&["ping", "3", "--count", "1"]).code, 6, "unknown from now on");
}

#[test]
fn regions_are_discovered_connected_and_disconnected() {
    let dir = scratch();
    let bare = ["--topology", "tree"];
    let root =
        Node::start(&dir, "root", &[&["--region", "1", "--name", "root"], &bare[..]].concat());
    let ca = dir.path().join("root");
    let peers = dir.path().join("peers");
    let peers_env = |node: &mut Command| {
        node.env("FEDIST_PEERS", format!("{}, 127.0.0.1:9", root.address));
    };
    let below = ["--parent", "1", "--ca-dir", text(&ca), "--discover-every", "100"];
    let file = ["--region", "2", "--name", "near", "--discover-file", text(&peers)];
    let env = ["--discover-env", "FEDIST_PEERS"];
    let near =
        Node::start_with(&dir, "near", &[&file, &below[..], &env, &bare].concat(), peers_env);
    let config = dir.path().join("far.toml");
    let port = root.address.rsplit_once(':').unwrap().1;
    let settings = format!(
        "region = 3\nname = \"far\"\nparent = 1\ntopology = \"tree\"\ndiscover-dns = [\"localhost:{port}\"]\ndata-dir = \"{}\"\nca-dir = \"{}\"\n",
        text(&dir.path().join("far")),
        text(&ca)
    );
    fs::write(&config, settings).unwrap();
    let far = Node::start(&dir, "far", &["--config", text(&config)]);

    let linked = |node: &Node, peer: u16| {
        let links = node.ask(&["links"]);
        array(&links["links"]).iter().find(|link| link["peer"] == peer).cloned()
    };
    let peer = |node: &Node, address: &str| {
        let links = node.ask(&["links"]);
        array(&links["peers"]).iter().find(|peer| peer["address"] == address).cloned()
    };
    let by = |found: Option<Value>| found.map(|found| found["sources"][0].clone());
    assert_eq!(by(peer(&near, &root.address)), Some("env FEDIST_PEERS".into()));
    wait_for("nobody at port 9", || {
        peer(&near, "127.0.0.1:9").is_some_and(|it| it["state"] == "failing")
    });
    assert_eq!(by(peer(&far, &root.address)), Some(format!("dns localhost:{port}").into()));
    assert!(linked(&near, 3).is_none());
    let system = near.ask(&["tree"])["trees"][0].clone();
    let services = array(&system["children"]);
    assert!(services.iter().any(|service| service["name"] == "discovery"), "{system}");
    fs::write(&peers, format!("{}  # far\n", far.address)).unwrap();
    wait_for("the line is found", || {
        linked(&near, 3).is_some_and(|link| link["reason"] == "discovered")
    });
    let shown = near.command(&["links"]).stdout;
    for part in ["discovered", &far.address, "3 far", &format!("file {}", text(&peers))] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let parted = near.ask(&["disconnect", "far"]);
    assert_eq!((&parted["region"], &parted["peer"]), (&2.into(), &3.into()), "{parted}");
    assert!(linked(&near, 3).is_none());
    assert_eq!(near.ask(&["links"])["disconnected"], serde_json::json!([3]));
    assert!(near.command(&["links"]).stdout.contains("disconnected from 3 far"));
    assert!(near.command(&["regions"]).stdout.contains("over 1, disconnected"));
    assert_eq!(near.ask(&["ping", "far", "--count", "2"])["lost"], 0, "over the root");
    let refused = far.command(&["connect", &near.address]);
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.error_line().contains("it was told to disconnect"), "{refused:?}");
    let linked_again = near.command(&["connect", "far"]);
    assert_eq!(linked_again.code, 0, "{linked_again:?}");
    assert_eq!(linked_again.stdout, "region 2 near is linked to region 3 far\n");
    assert_eq!(near.ask(&["connect", &far.address])["peer"], 3);
    for (args, code, says) in [
        (&["connect", "nowhere:"][..], 2, "host:port"),
        (&["connect", "99"], 1, "unknown region (99"),
        (&["connect", "127.0.0.1:9"], 6, "127.0.0.1:9"),
        (&["connect", "near"], 1, "region 2 is this node's own"),
        (&["disconnect", "near"], 1, "region 2 is this node's own"),
        (&["disconnect", "nobody"], 1, "unknown region (nobody"),
        (&["disconnect", "127.0.0.1:9"], 2, "region name '127.0.0.1:9'"),
    ] {
        let refused = near.command(args);
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{args:?}: {refused:?}");
    }
    let only_way = far.command(&["disconnect", "root"]);
    assert!(only_way.code == 0 || only_way.stderr.contains("is the parent"), "{only_way:?}");
}

#[test]
fn a_node_comes_back_on_its_data_directory_and_its_file_of_a_crash_misleads_nobody() {
    let dir = scratch();
    let mut root = Node::start(&dir, "root", &["--region", "1"]);
    root.child.kill().unwrap();
    root.child.wait().unwrap();
    assert!(root.data_dir.join("admin.json").exists(), "a killed node cannot tidy up");
    let stale = root.command(&["links"]);
    assert_eq!(stale.code, 6, "{stale:?}");
    assert!(stale.stderr.starts_with("error: no node runs on data directory"), "{stale:?}");

    let root = Node::start(&dir, "root", &["--region", "1"]);
    assert!(root.greeting.contains("region-1"), "{}", root.greeting);
    assert!(root.greeting.ends_with("start 2"), "{}", root.greeting);
    assert_eq!(root.ask(&["regions"])["boot"], 2);

    // The directory by environment, and an end by signal.
    let by_environment =
        run(command(&["regions", "--json"]).env("FEDIST_DATA_DIR", &root.data_dir));
    assert_eq!(by_environment.code, 0, "{by_environment:?}");
    let admin = root.data_dir.join("admin.json");
    signal(&root.child, "TERM");
    assert_eq!(root.ended().code, 0);
    assert!(!admin.exists());
}

// ---- what attacks a running node -------------------------------------------------------------

#[test]
fn garbage_on_its_sockets_does_not_disturb_a_node() {
    let dir = scratch();
    let root = Node::start(&dir, "root", &["--region", "1"]);
    let ca = dir.path().join("root");
    let leaf = Node::start(
        &dir,
        "leaf",
        &["--region", "2", "--parent", "1", "--join", &root.address, "--ca-dir", text(&ca)],
    );

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..random.usize(0..1400)).map(|_| random.u8(..)).collect();
        socket.send_to(&bytes, &root.address).unwrap();
    }
    let ping = leaf.ask(&["ping", "1", "--count", "5", "--interval-ms", "20"]);
    assert_eq!(ping["lost"], 0, "{ping}");

    // The admin socket: no token, a wrong one, another protocol, a line without end.
    let contact: Value =
        serde_json::from_slice(&fs::read(root.data_dir.join("admin.json")).unwrap()).unwrap();
    let address = contact["address"].as_str().unwrap();
    let token = contact["token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(root.data_dir.join("admin.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let reply = |request: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The node may close before it has read all of an endless line.
        let _ = stream.write_all(request);
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        line
    };
    let wrong = "0".repeat(64);
    assert!(
        reply(format!("{{\"token\":\"{wrong}\",\"ask\":\"status\"}}\n").as_bytes())
            .contains("wrong token")
    );
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"{\"ask\":\"status\"}\n",
        b"\xff\xfe\n",
        format!("{{\"token\":\"{token}\",\"ask\":\"explode\"}}\n").as_bytes(),
        "[".repeat(10_000).as_bytes(),
    ] {
        let bad = [bad, b"\n"].concat();
        assert!(reply(&bad).contains("refused"), "{}", String::from_utf8_lossy(&bad));
    }
    let endless = reply(&vec![b'x'; 200_000]);
    assert!(endless.is_empty() || endless.contains("65536 bytes"), "{endless}");
    assert!(
        reply(format!("{{\"token\":\"{token}\",\"ask\":\"status\"}}\n").as_bytes())
            .starts_with("{\"status\":")
    );

    // Sixteen may sit there and say nothing; the next is turned away, and let in when one leaves.
    let crowd: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(address).unwrap()).collect();
    let turned_away = || root.command(&["regions"]).code == 6;
    wait_for("the socket to be full", turned_away);
    drop(crowd);
    wait_for("the socket to be free", || root.command(&["regions"]).code == 0);
    assert_eq!(leaf.ask(&["ping", "1", "--count", "2"])["lost"], 0);
}

#[test]
fn a_certificate_of_another_federation_is_refused_and_the_root_keeps_running() {
    let dir = scratch();
    let root = Node::start(&dir, "root", &["--region", "1"]);
    let (other_ca, stranger) = (dir.path().join("other-ca"), dir.path().join("stranger"));
    CertificateAuthority::load_or_create(&other_ca).unwrap();
    let issued =
        fedist(&["cert", "--ca-dir", text(&other_ca), "--region", "2", "--out", text(&stranger)]);
    assert_eq!(issued.code, 0, "{issued:?}");
    let join = ["--parent", "1", "--join", &root.address, "--join-timeout-ms", "3000"];
    let refused =
        fedist(&[&["node", "--region", "2", "--data-dir", text(&stranger)], &join[..]].concat());
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.error_line().contains("another federation"), "{refused:?}");

    // A number that is taken, with another key of the same federation.
    let ca = dir.path().join("root");
    let second = [&["--region", "2", "--ca-dir", text(&ca)], &join[..]].concat();
    let leaf = Node::start(&dir, "leaf", &second);
    let twin = dir.path().join("twin");
    let conflict = fedist(&[&["node", "--data-dir", text(&twin)], &second[..]].concat());
    assert_eq!(conflict.code, 4, "{conflict:?}");
    assert!(conflict.error_line().contains("IdConflict"), "{conflict:?}");
    assert_eq!(leaf.ask(&["ping", "1", "--count", "2"])["lost"], 0);
    assert_eq!(root.ask(&["regions"])["live"], true);
}

// ---- a node that must not start --------------------------------------------------------------

#[test]
fn a_data_directory_has_one_node_of_one_region() {
    let dir = scratch();
    let root = Node::start(&dir, "root", &["--region", "1"]);
    let second = fedist(&["node", "--region", "1", "--data-dir", text(&root.data_dir)]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.error_line().contains("in use"), "{second:?}");
    assert_eq!(root.ask(&["regions"])["live"], true, "the first node can still be asked");
    let data_dir = root.data_dir.clone();
    root.ask(&["stop"]);
    assert_eq!(root.ended().code, 0);
    let other = fedist(&["node", "--region", "5", "--data-dir", text(&data_dir)]);
    assert_eq!(other.code, 4, "{other:?}");
    assert!(other.error_line().contains("belongs to another region"), "{other:?}");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = scratch();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data_dir = dir.path().join("data");
    let node = ["node", "--region", "1", "--data-dir", text(&data_dir)];
    let refused = fedist(&[&node[..], &["--listen", &address]].concat());
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.error_line().contains(&format!("address in use ({address})")), "{refused:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = fedist(&[&node[..], &["--admin-listen", &address]].concat());
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(
        refused.error_line().starts_with(&format!("error: admin address ({address})")),
        "{refused:?}"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
    let dir = scratch();
    let (ca, data_dir) = (dir.path().join("ca"), dir.path().join("data"));
    CertificateAuthority::load_or_create(&ca).unwrap();
    let cert = |region: &str| {
        fedist(&["cert", "--ca-dir", text(&ca), "--region", region, "--out", text(&data_dir)])
    };
    assert_eq!(cert("2").code, 0);
    let key = fs::read(data_dir.join("region.key")).unwrap();
    assert!(cert("2").stdout.contains("kept"), "a second call keeps key and certificate");
    let other = cert("3");
    assert_eq!(other.code, 4, "{other:?}");
    assert!(other.error_line().contains("another region"), "{other:?}");
    assert_eq!(fs::read(data_dir.join("region.key")).unwrap(), key);
    assert!(!data_dir.join("ca.key").exists(), "the root's key stays where it is");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(data_dir.join("region.key"), open).unwrap();
        let join = ["--parent", "1", "--join", "127.0.0.1:9"];
        let refused = fedist(
            &[&["node", "--region", "2", "--data-dir", text(&data_dir)], &join[..]].concat(),
        );
        assert_eq!(refused.code, 4, "{refused:?}");
        assert!(refused.error_line().contains("chmod 600"), "{refused:?}");
    }
    let none =
        fedist(&["cert", "--ca-dir", text(dir.path()), "--region", "2", "--out", text(&data_dir)]);
    assert_eq!(none.code, 4, "{none:?}");
}

#[test]
fn an_unreadable_configuration_is_placed_by_key_line_and_column() {
    let dir = scratch();
    let path = dir.path().join("node.toml");
    let check = |settings: Option<&[u8]>, expected: &[&str]| {
        if let Some(settings) = settings {
            fs::write(&path, settings).unwrap();
        }
        let refused = fedist(&["node", "--config", text(&path)]);
        assert_eq!(refused.code, 3, "{refused:?}");
        for part in [&["error: configuration", text(&path)], expected].concat() {
            assert!(refused.error_line().contains(part), "{part:?} is not in {refused:?}");
        }
    };
    check(None, &["cannot be read"]);
    check(Some(b"region = 1\nname = \"a"), &["line 2, column"]);
    check(
        Some(b"region = 1\nregoin = 2\n"),
        &["`regoin`", "line 2, column 1", "unknown field", "`region`"],
    );
    check(Some(b"region = 0"), &["`region`", "line 1, column 10", "1..=65534"]);
    check(Some(b"region = \"one\""), &["`region`", "line 1, column 10", "a region number"]);
    check(Some(b"region = 1\narbiters = 0"), &["`arbiters`", "line 2, column 12", "1..=256"]);
    check(Some(b"region = 1\nadmin-listen = \"0.0.0.0:1\""), &["`admin-listen`", "loopback"]);
    check(Some(b"region = 1\n# \xff"), &["line 2, column 3", "UTF-8"]);
    check(Some(&vec![b'#'; 2_000_000]), &["longer than"]);
    let folder = fedist(&["node", "--config", text(dir.path())]);
    assert_eq!(folder.code, 3, "{folder:?}");
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let dir = scratch();
    let data_dir = dir.path().join("data");
    let node = |args: &[&str]| fedist(&[&["node", "--data-dir", text(&data_dir)], args].concat());
    let check = |args: &[&str], text: &str| {
        let refused = node(args);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.error_line().contains(text), "{refused:?}");
    };
    check(&[], "region (missing)");
    check(&["--region", "2", "--join", "127.0.0.1:9"], "parent (missing)");
    check(&["--region", "2", "--parent", "1"], "join (missing)");
    check(&["--region", "2", "--parent", "2", "--join", "127.0.0.1:9"], "its own parent");
    let unreachable =
        ["--region", "2", "--parent", "1", "--join", "127.0.0.1:9", "--join-timeout-ms", "100"];
    let ca = dir.path().join("ca");
    CertificateAuthority::load_or_create(&ca).unwrap();
    let alone = node(&[&unreachable[..], &["--ca-dir", text(&ca)]].concat());
    assert_eq!(alone.code, 6, "{alone:?}");
    assert!(alone.error_line().contains("join timed out"), "{alone:?}");
}

// ---- the command line ------------------------------------------------------------------------

#[test]
fn malformed_pids_and_regions_are_usage_errors_that_name_the_rule() {
    let check = |args: &[&str], rule: &str| {
        let refused = fedist(args);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.starts_with("error: "), "{refused:?}");
        assert!(refused.stderr.contains(rule), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    };
    for region in ["0", "65535", "70000"] {
        check(&["ping", region], "regions are numbered 1..=65534");
        check(&["node", "--region", region], "regions are numbered 1..=65534");
        check(&["routes", "--to", region], "regions are numbered 1..=65534");
        check(&["routes", "--explain", region], "regions are numbered 1..=65534");
        check(&["ping", &format!("{region}.42")], "regions are numbered 1..=65534");
    }
    for pid in ["7.", "7.x", ".42", "07.42", "7.42.1", "7..42"] {
        check(&["ping", pid], "malformed pid");
        check(&["routes", "--explain", pid], "malformed pid");
        check(&["trace", pid], "malformed pid");
    }
    check(&["routes", "--explain", "2", "--to", "2"], "cannot be used with");
    check(&["ping", "7.0"], "local id 0 is reserved");
    check(&["ping", "Eu"], "a-z");
    check(&["ping", ""], "empty");
    check(&["ping", "7", "--count", "0"], "1..=1000000");
    check(&["trace", "7", "--deadline-ms", "1"], "2..=60000");
    check(&["node", "--region", "x"], "malformed region id");
    check(&["node", "--region", "1", "--listen", "nowhere"], "host:port");
    check(&["node", "--region", "1", "--admin-listen", "0.0.0.0:0"], "loopback only");
    check(&["node", "--region", "1", "--dial", "2:x"], "N=HOST:PORT");
    check(&["node", "--region", "1", "--coordinates", "-91,0"], "-90..=90");
    check(&["frobnicate"], "unrecognized subcommand");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = scratch();
    let (ca, out) = (dir.path().join("ca"), dir.path().join("out"));
    CertificateAuthority::load_or_create(&ca).unwrap();
    let mut child = Guard(
        command(&["cert", "--ca-dir", text(&ca), "--region", "2", "--out", text(&out)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    drop(child.0.stdout.take());
    let mut stderr = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.0.wait().unwrap();
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
}

// ---- processes -------------------------------------------------------------------------------

/// A running node, killed when dropped.
struct Node {
    child: Child,
    data_dir: PathBuf,
    greeting: String,
    address: String,
    lines: std::sync::Mutex<BufReader<ChildStdout>>,
    log: Option<thread::JoinHandle<String>>,
}

impl Node {
    /// Starts `fedist node` on the folder `name`, unless `args` name a configuration, and waits for
    /// its greeting.
    fn start(dir: &TempDir, name: &str, args: &[&str]) -> Node {
        Self::start_with(dir, name, args, |_| {})
    }

    /// The same, with more to be said about the process.
    fn start_with(
        dir: &TempDir,
        name: &str,
        args: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Node {
        let data_dir = dir.path().join(name);
        let mut node = command(&["node"]);
        prepare(node.args(args));
        if !args.contains(&"--config") {
            node.arg("--data-dir").arg(&data_dir);
        }
        let mut child = node.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        // A node that does not become live ends by its own join timeout, which ends this read.
        let mut greeting = String::new();
        lines.read_line(&mut greeting).unwrap();
        if greeting.is_empty() {
            let status = child.wait().unwrap();
            panic!("{name} did not start: {status}\n{}", log.join().unwrap());
        }
        let greeting = greeting.trim_end().to_owned();
        let address = greeting
            .split_once(" at ")
            .and_then(|(_, rest)| rest.split_once(','))
            .unwrap()
            .0
            .to_owned();
        Node { child, data_dir, greeting, address, lines: lines.into(), log: Some(log) }
    }

    fn next_line(&self) -> String {
        let mut line = String::new();
        self.lines.lock().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// A command against this node.
    fn command(&self, args: &[&str]) -> Ended {
        fedist(&[args, &["--data-dir", text(&self.data_dir)]].concat())
    }

    /// A command with `--json` that must succeed: its answer, which must be all that it says.
    fn ask(&self, args: &[&str]) -> Value {
        let ended = self.command(&[args, &["--json"]].concat());
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Waits for the end of the process.
    fn ended(mut self) -> Ended {
        let code = wait(&mut self.child);
        let stderr = self.log.take().unwrap().join().unwrap();
        Ended { code, stdout: String::new(), stderr }
    }
}

impl Drop for Node {
    #[allow(clippy::print_stderr, reason = "the test harness shows it where the test failed")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let (true, Some(log)) = (thread::panicking(), self.log.take()) {
            eprintln!("---- log of {}\n{}", self.greeting, log.join().unwrap_or_default());
        }
    }
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// The error, which must be the last line on stderr.
    fn error_line(&self) -> &str {
        let line = self.stderr.lines().last().unwrap_or("");
        assert!(line.starts_with("error: "), "{self:?}");
        line
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedist"));
    command.args(args).env_remove("FEDIST_DATA_DIR").env_remove("FEDIST_LOG").stdin(Stdio::null());
    command
}

fn fedist(args: &[&str]) -> Ended {
    run(&mut command(args))
}

/// Runs to the end, at most for as long as patience lasts.
fn run(command: &mut Command) -> Ended {
    let mut child = Guard(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut stdout = child.0.stdout.take().unwrap();
    let mut stderr = child.0.stderr.take().unwrap();
    let out = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.read_to_end(&mut text);
        text
    });
    let err = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        text
    });
    let code = wait(&mut child.0);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code, stdout: text(out.join().unwrap()), stderr: text(err.join().unwrap()) }
}

fn wait(child: &mut Child) -> i32 {
    let mut status = None;
    wait_for("the process to end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code().expect("ended by itself")
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let status =
        Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
