//! `fedist demo` as a user runs it: the real command, real processes, nothing left behind.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

#[test]
fn the_demo_holds_and_says_so_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let texts: [(&str, &[u8]); 4] = [
        ("greek.txt", "Ο ΟΔΥΣΣΕΥΣ, ο Οδυσσεύς. ΟΔΟΣ οδος!".as_bytes()),
        ("broken.bin", b"caf\xe9s caf\xc3\xa9 \xff\xfe the end\xf0\x9f"),
        ("empty", b""),
        ("sub/long.txt", &b"supercalifragilistic".repeat(400)),
    ];
    fs::create_dir(folder.path().join("sub")).unwrap();
    for (name, bytes) in texts {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let many = "The quick brown fox, the lazy dog; don't stop.\n".repeat(900);
    fs::write(folder.path().join("many.txt"), &many).unwrap();
    let (total, words) = count(folder.path());

    let home = tempfile::tempdir().unwrap();
    let demo = demo(home.path())
        .args(["--json", "--regions", "5", "--input"])
        .arg(folder.path())
        .spawn()
        .unwrap();
    let id = demo.id();
    let output = end_within(demo, LIMIT);
    let log = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}\n{log}\n{stdout}", output.status);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();

    assert_eq!(report["regions"], 5, "{report}");
    assert_eq!(report["pairs_ok"], 20, "{report}");
    assert!(report["links"].as_u64().unwrap() < 10, "{report}");
    let routes = report["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 20);
    for route in routes {
        let path = route["path"].as_array().unwrap();
        assert_eq!((path.first(), path.last()), (Some(&route["from"]), Some(&route["to"])));
        let (measured, emulated) = (&route["measured_ms"], &route["emulated_ms"]);
        let (measured, emulated) = (measured.as_f64().unwrap(), emulated.as_f64().unwrap());
        assert!((measured - emulated).abs() <= 0.15 * emulated + 3.0, "{route}");
        assert!(route["predicted_ms"].as_f64().unwrap() > 0.0, "{route}");
    }
    assert!(routes.iter().any(|route| route["path"].as_array().unwrap().len() > 2));

    assert_eq!(report["words"]["total"], total, "{report}");
    assert_eq!(report["words"]["distinct"], words.len(), "{report}");
    let top = report["words"]["top"].as_array().unwrap();
    assert_eq!(top.len(), 10);
    for entry in top {
        assert_eq!(entry[1], words[entry[0].as_str().unwrap()], "{entry}");
    }
    assert_eq!(report["words"]["tasks"].as_array().unwrap().len(), 5, "tasks ran in all regions");

    let failover = &report["failover"];
    assert_eq!((&failover["sent"], &failover["delivered"]), (&200_000.into(), &200_000.into()));
    for none in ["lost", "doubled", "reordered"] {
        assert_eq!(failover[none], 0, "{failover}");
    }
    assert!(failover["longest_pause_ms"].as_f64().unwrap() > 0.0);
    assert!(failover["path_before"].as_array().unwrap().contains(&failover["killed"]));
    assert!(!failover["path_after"].as_array().unwrap().contains(&failover["killed"]));
    nothing_is_left(home.path(), id);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = demo(home.path()).args(["--regions", "4"]).spawn().unwrap();
    let id = demo.id();
    // In the middle: all regions run and have begun to talk.
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(
        lines.any(|line| line.contains("Every region asks")),
        "the demo ended before it was interrupted"
    );
    assert_eq!(region_processes(home.path()).len(), 4);
    let interrupt = Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap();
    assert!(interrupt.success());
    let rest = thread::spawn(move || lines.collect::<Vec<_>>());
    let output = end_within(demo, LIMIT);
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let rest = rest.join().unwrap();
    assert!(!rest.iter().any(|line| line.contains("✗")), "{rest:?}");
    nothing_is_left(home.path(), id);
}

fn demo(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedist"));
    command
        .arg("demo")
        .env("TMPDIR", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits for the end and reads what was printed; kills what takes longer.
fn end_within(mut child: Child, limit: Duration) -> Output {
    fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    }
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > limit {
            child.kill().unwrap();
            let stderr = stderr.join().unwrap();
            panic!("not ended within {limit:?}\n{}", String::from_utf8_lossy(&stderr));
        }
        thread::sleep(Duration::from_millis(20));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// The regions have their data directories, which lie below `home`, on their command lines.
fn region_processes(home: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|line| line.contains(home.to_str().unwrap())).collect()
}

fn nothing_is_left(home: &Path, parent: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !region_processes(home).is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(region_processes(home), Vec::<String>::new(), "processes of {parent} are left");
    let files: Vec<_> = fs::read_dir(home).unwrap().flatten().collect();
    assert!(files.is_empty(), "{files:?} are left");
}

/// The definition of the issue, over whole files: maximal runs of letters, lower-cased, without bytes that are not UTF-8.
fn count(folder: &Path) -> (u64, HashMap<String, u64>) {
    let (mut total, mut words) = (0, HashMap::new());
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            let (below, of_below) = count(&entry.path());
            total += below;
            for (word, times) in of_below {
                *words.entry(word).or_default() += times;
            }
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let text: String = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
        for word in text.split(|c: char| !is_letter(c)).filter(|word| !word.is_empty()) {
            total += 1;
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    (total, words)
}

fn is_letter(c: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
    c.general_category_group() == GeneralCategoryGroup::Letter
}

const LIMIT: Duration = Duration::from_secs(120);
