//! `cargo test` and cargo-nextest over a package that has a suite beside ordinary tests.
//!
//! The package has no dependencies and compiles in a second: its suite is a program that starts this one as the sample.

use std::{env, fs, net::TcpListener, process::Output};

use fedist_testkit::{Failed, Suite, TestResult};
use tempfile::TempDir;

use crate::process::{SAMPLE, text, undisturbed};

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Whether cargo-nextest is installed.
pub(crate) fn nextest() -> Result<(), String> {
    let output = undisturbed(&cargo())
        .args(["nextest", "--version"])
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if output.status.success() { Ok(()) } else { Err("cargo-nextest is not installed".to_owned()) }
}

struct Package(TempDir);

impl Package {
    fn new() -> Result<Package, Failed> {
        let dir = tempfile::tempdir()?;
        let program = env::current_exe()?;
        fs::create_dir_all(dir.path().join("src"))?;
        fs::create_dir_all(dir.path().join("tests"))?;
        for (path, content) in [
            (
                "Cargo.toml",
                "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                 [[test]]\nname = \"kv\"\nharness = false\n[workspace]\n"
                    .to_owned(),
            ),
            ("src/lib.rs", String::new()),
            ("tests/ordinary.rs", "#[test]\nfn adds() { assert_eq!(1 + 1, 2); }\n".to_owned()),
            (
                "tests/kv.rs",
                format!(
                    "use std::{{env, process}};\n\
                     fn main() {{\n\
                         let mut suite = process::Command::new({program:?});\n\
                         let status = suite.env({SAMPLE:?}, \"kv\").args(env::args_os().skip(1)).status();\n\
                         process::exit(status.unwrap().code().unwrap());\n\
                     }}\n"
                ),
            ),
        ] {
            fs::write(dir.path().join(path), content)?;
        }
        Ok(Package(dir))
    }

    fn cargo(&self, words: &[&str], variables: &[(&str, &str)]) -> std::io::Result<Output> {
        undisturbed(&cargo())
            .current_dir(self.0.path())
            .env("CARGO_TARGET_DIR", self.0.path().join("target"))
            .env("CARGO_NET_OFFLINE", "true")
            .envs(variables.iter().copied())
            .args(words)
            .output()
    }
}

fn exits_with(output: &Output, code: i32, words: &[&str]) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{stdout}\n{stderr}");
}

/// Runs nextest and compares its exit code and its last counts.
fn nextest_counts(
    package: &Package,
    words: &[&str],
    variables: &[(&str, &str)],
    code: i32,
    counts: &str,
) -> TestResult {
    let words: Vec<&str> =
        ["nextest", "run", "--no-fail-fast", "--test", "kv"].iter().chain(words).copied().collect();
    let output = package.cargo(&words, variables)?;
    exits_with(&output, code, &words);
    let said = text(&output.stderr);
    let summary = said.lines().find(|line| line.contains("Summary")).unwrap_or_default();
    assert!(summary.ends_with(counts), "{words:?}: {counts}\n{said}");
    Ok(())
}

pub(crate) fn add_to(suite: Suite) -> Suite {
    suite
        .test("cargo test runs a suite beside ordinary tests, with options for it or variables for all", || {
            let package = Package::new()?;
            let plain = package.cargo(&["test"], &[])?;
            exits_with(&plain, 0, &["test"]);
            let stdout = text(&plain.stdout);
            assert!(stdout.contains("test adds ... ok"), "{stdout}");
            assert!(stdout.contains("\n4 tests, 0 failures, 1 excluded\n"), "{stdout}");

            let words = ["test", "--test", "kv", "--", "--only", "region"];
            let only = package.cargo(&words, &[])?;
            exits_with(&only, 0, &words);
            assert!(text(&only.stdout).contains("\n2 tests, 0 failures, 3 excluded\n"));

            let all = package.cargo(&["test"], &[("FEDIST_TEST_ONLY", "region")])?;
            exits_with(&all, 0, &["test"]);
            let stdout = text(&all.stdout);
            assert!(stdout.contains("test adds ... ok"), "{stdout}");
            assert!(stdout.contains("\n2 tests, 0 failures, 3 excluded\n"), "{stdout}");

            // Ordinary tests do not know the options.
            let words = ["test", "--test", "ordinary", "--", "--only", "region"];
            let refused = package.cargo(&words, &[])?;
            assert!(!refused.status.success(), "then the documentation can be simpler");

            let required = package.cargo(&["test"], &[("FEDIST_TEST_REQUIRE", "all")])?;
            exits_with(&required, 101, &["test"]);
            assert!(text(&required.stdout).contains("\n5 tests, 1 failure\n"));
            Ok(())
        })
        .test("nextest lists and runs the tests one by one, and skips the excluded", || {
            let package = Package::new()?;
            nextest_counts(&package, &[], &[], 0, "4 tests run: 4 passed, 1 skipped")?;
            let only = [("FEDIST_TEST_ONLY", "region")];
            nextest_counts(&package, &[], &only, 0, "2 tests run: 2 passed, 3 skipped")?;
            let exclude = [("FEDIST_TEST_EXCLUDE", "slow,distributed")];
            nextest_counts(&package, &[], &exclude, 0, "3 tests run: 3 passed, 2 skipped")?;
            let include = [("FEDIST_TEST_INCLUDE", "distributed")];
            nextest_counts(&package, &[], &include, 100, "5 tests run: 4 passed, 1 failed, 0 skipped")?;
            let required = [("FEDIST_TEST_REQUIRE", "all")];
            nextest_counts(&package, &[], &required, 100, "5 tests run: 4 passed, 1 failed, 0 skipped")?;
            let node = TcpListener::bind("127.0.0.1:0")?;
            let address = node.local_addr()?.to_string();
            let there = [("SAMPLE_NODE", address.as_str())];
            nextest_counts(&package, &[], &there, 0, "5 tests run: 5 passed, 0 skipped")?;
            let words = ["--run-ignored", "only"];
            nextest_counts(&package, &words, &[], 100, "1 test run: 0 passed, 1 failed, 4 skipped")?;
            let words = ["-E", "test(=a bucket answers)"];
            nextest_counts(&package, &words, &[], 0, "1 test run: 1 passed, 4 skipped")
        })
        .tag("nextest", true)
}
