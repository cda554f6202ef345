//! Reads the tree and checks what must stay absent. The rules are those of `docs/architecture.md`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every Rust source file below `folder`, with its path from the workspace root.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// A file without comments and without its `#[cfg(test)]` module, which stands last by our rule.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    before_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Fails with every place in `folders` that has one of `words`, except in files that `allowed` accepts.
fn absent(folders: &[&str], words: &[&str], allowed: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    let mut files = 0;
    for folder in folders {
        for (name, text) in sources(folder) {
            files += 1;
            if allowed(&name) || name.contains("/tests/") || name.ends_with("/tests.rs") {
                continue;
            }
            let text = code(&text);
            for word in words {
                if let Some(line) = text.lines().find(|line| line.contains(word)) {
                    found.push(format!("{name}: `{word}` in `{}`", line.trim()));
                }
            }
        }
    }
    assert!(files > 0, "no sources below {folders:?}: has the tree moved?");
    assert!(found.is_empty(), "must be absent:\n{}", found.join("\n"));
}

const CRATES: [&str; 7] = [
    "fedist-registry/src",
    "fedist-sim/src",
    "fedist-transport/src",
    "fedist-actors/src",
    "fedist-macros/src",
    "fedist-testkit/src",
    "src",
];

#[test]
fn imports_follow_the_arrow() {
    absent(
        &["fedist-registry/src", "fedist-sim/src", "fedist-testkit/src"],
        &["fedist_transport", "fedist_actors", "fedist::"],
        |_| false,
    );
    absent(&["fedist-transport/src"], &["fedist_actors", "fedist::"], |_| false);
    absent(&["fedist-actors/src"], &["use fedist::"], |_| false);
    absent(&["fedist-testkit/src"], &["fedist_registry", "fedist_sim"], |_| false);
}

#[test]
fn only_the_quic_room_imports_quinn() {
    absent(&CRATES, &["quinn"], |name| name.starts_with("fedist-transport/src/quic/"));
}

#[test]
fn actix_stays_in_the_actors_crate() {
    absent(&["fedist-registry/src", "fedist-transport/src"], &["actix"], |_| false);
}

#[test]
fn pure_rooms_have_no_clock_no_runtime_and_no_dice() {
    absent(
        &[
            "fedist-registry/src",
            "fedist-sim/src",
            "fedist-transport/src/wire",
            "fedist-transport/src/session",
        ],
        &[
            "Instant::now",
            "SystemTime",
            "tokio::",
            "std::thread",
            "std::net",
            "fastrand::u",
            "fastrand::f",
            "fastrand::bool",
        ],
        |_| false,
    );
}

#[test]
fn engines_of_names_tasks_and_timers_have_no_clock_no_runtime_and_no_dice() {
    let engines = [
        "names/lease.rs",
        "names/cache.rs",
        "names/path.rs",
        "task/ledger.rs",
        "task/output.rs",
        "task/requests.rs",
        "timers/queue.rs",
    ];
    absent(
        &["fedist-actors/src/names", "fedist-actors/src/task", "fedist-actors/src/timers"],
        &["Instant::now", "SystemTime", "tokio::", "actix", "Rng::new", "fastrand::u", ".clock"],
        |name| !engines.iter().any(|engine| name.ends_with(engine)),
    );
}

#[test]
fn the_plan_of_scattered_pieces_has_no_clock_no_runtime_and_no_dice() {
    absent(
        &["fedist-actors/src/scatter"],
        &["Instant::now", "SystemTime", "tokio::", "actix", "Rng::new", "fastrand::u", ".clock"],
        |name| !name.ends_with("scatter/plan.rs"),
    );
}

#[test]
fn the_choice_of_tests_knows_no_process_no_console_and_no_harness() {
    absent(
        &["fedist-testkit/src"],
        &["std::env", "env::", "std::process", "std::io", "std::fs", "libtest_mimic", "tokio::"],
        |name| name.ends_with("/suite.rs") || name.ends_with("/failed.rs"),
    );
}

#[test]
fn the_plan_of_a_supervisor_has_no_clock_no_runtime_and_no_dice() {
    absent(
        &["fedist-actors/src/supervision"],
        &["Instant::now", "SystemTime", "tokio::", "actix", "Rng::new", "fastrand::u", ".clock"],
        |name| {
            !["supervision/plan", "supervision/pace.rs", "supervision/rules.rs"]
                .iter()
                .any(|pure| name.contains(pure))
        },
    );
}

#[test]
fn files_are_read_and_written_in_their_shells_only() {
    absent(&["fedist-registry/src", "fedist-transport/src"], &["std::fs", "redb::"], |name| {
        name.starts_with("fedist-registry/src/store")
            || name.starts_with("fedist-transport/src/identity/")
            || name.starts_with("fedist-transport/src/emulator/")
    });
}

#[test]
fn decoders_of_the_wire_cannot_panic() {
    absent(
        &["fedist-transport/src/wire"],
        &[".unwrap()", ".expect(", "panic!", "unreachable!", "todo!"],
        |_| false,
    );
}

#[test]
fn no_unsafe_and_nothing_unfinished() {
    absent(
        &CRATES,
        &["unsafe {", "unsafe fn", "unsafe impl", "todo!(", "unimplemented!(", "dbg!("],
        |_| false,
    );
}

#[test]
fn no_file_grows_beyond_what_one_can_read() {
    let long: Vec<String> = CRATES
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|(_, text)| text.lines().count() > 900)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "a room this large usually holds two:\n{}", long.join("\n"));
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for member in
        ["fedist-registry", "fedist-transport", "fedist-actors", "fedist-macros", "fedist-testkit"]
    {
        let manifest = fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member}: lints of the workspace");
        for line in manifest.lines().skip_while(|line| *line != "[dependencies]") {
            let own_version = line.contains("version =") || line.contains("= \"");
            assert!(!own_version, "{member}: `{line}` states a version of its own");
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    assert_eq!(manifest.matches("\nrust-version = \"").count(), 1, "the MSRV is stated once");
}
