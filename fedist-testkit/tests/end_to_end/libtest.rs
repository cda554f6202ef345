//! What libtest's users and tools say to a test binary.

use std::fs;

use fedist_testkit::Suite;

use crate::process::{kv, text, without_times};

const LOOKING: &str = "looking for a second node\n";

pub(crate) fn add_to(suite: Suite) -> Suite {
    suite
        .test("names choose by parts, by whole names, and by what is skipped", || {
            for (words, expected) in [
                (&["bucket"][..], "2 tests, 0 failures\n"),
                (&["bucket", "europe"], "3 tests, 0 failures\n"),
                (&["bucket", "--skip", "answers"], "1 test, 0 failures\n"),
                (&["--exact", "a bucket answers", "asia is far"], "2 tests, 0 failures\n"),
                (&["--exact", "bucket"], "0 tests, 0 failures\n"),
                (&["--skip", "node"], "4 tests, 0 failures\n"),
                (&["node", "--exact", "--skip", "node"], "0 tests, 0 failures\n"),
                (&["--", "bucket"], "2 tests, 0 failures\n"),
            ] {
                let output = kv(words, &[]).output()?;
                assert_eq!(output.status.code(), Some(0), "{words:?}");
                assert!(text(&output.stdout).ends_with(expected), "{words:?}: {output:?}");
            }
            Ok(())
        })
        .test("a list has every test, and one of the ignored has the excluded", || {
            let all = "\
a bucket is created: test
a bucket answers: test
routes to the other node: test
europe is near: test
asia is far: test
";
            for format in [&["--list", "--format", "terse"][..], &["--list"]] {
                kv(format, &[]).answers(0, all, "")?;
            }
            kv(&["--list", "--only", "region"], &[]).answers(0, all, "")?;
            kv(&["--list", "europe"], &[]).answers(0, "europe is near: test\n", "")?;
            kv(&["--list", "--format", "terse", "--ignored"], &[]).answers(
                0,
                "routes to the other node: test\n",
                LOOKING,
            )?;
            let required = [("FEDIST_TEST_REQUIRE", "distributed")];
            kv(&["--list", "--ignored"], &required).answers(0, "", LOOKING)?;
            kv(&["--list", "--ignored"], &[("FEDIST_TEST_ONLY", "region:eu,distributed")]).answers(
                0,
                "a bucket is created: test\na bucket answers: test\nasia is far: test\n",
                "",
            )
        })
        .test("one test by its exact name says what became of it, as nextest asks for it", || {
            kv(&["--exact", "routes to the other node", "--nocapture"], &[]).answers(
                0,
                "\
Excluding tags: [distributed: true]

running 1 test
test routes to the other node ... ignored (no second node: SAMPLE_NODE is not set)

test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out

All tests have been excluded.
0 tests, 0 failures, 1 excluded
",
                LOOKING,
            )?;
            kv(&["--exact", "asia is far", "--nocapture"], &[]).answers(
                0,
                "
running 1 test
test asia is far ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out

1 test, 0 failures
",
                "",
            )
        })
        .test("ignored runs the excluded alone, include-ignored runs all", || {
            let failed = "
failures:

---- routes to the other node ----
failed at fedist-testkit/tests/end_to_end/../suites/kv.rs:16:5:
no second node: SAMPLE_NODE is not set


failures:
    routes to the other node
";
            kv(&["-q", "--ignored"], &[]).answers(
                101,
                &format!(
                    "
running 1 test
F
{}
test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out

1 test, 1 failure
",
                    &failed[1..]
                ),
                &LOOKING.repeat(2),
            )?;
            kv(&["-q", "--include-ignored"], &[]).answers(
                101,
                &format!(
                    "
running 5 tests
..F..
{}
test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out

5 tests, 1 failure
",
                    &failed[1..]
                ),
                LOOKING,
            )?;
            kv(&["-q", "--ignored", "--exclude", "slow", "--skip", "node"], &[]).answers(
                0,
                "
running 1 test
.
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out

1 test, 0 failures
",
                "",
            )
        })
        .test("a stream of JSON holds nothing else", || {
            kv(&["node", "asia", "-Z", "unstable-options", "--format=json", "--show-output"], &[])
                .answers(
                    0,
                    r#"{ "type": "suite", "event": "started", "test_count": 2 }
{ "type": "test", "event": "started", "name": "routes to the other node" }
{ "type": "test", "name": "routes to the other node", "event": "ignored" }
{ "type": "test", "event": "started", "name": "asia is far" }
{ "type": "test", "name": "asia is far", "event": "ok" }
{ "type": "suite", "event": "ok", "passed": 1, "failed": 0, "ignored": 1, "measured": 0, "filtered_out": 3 }
"#,
                    "\
looking for a second node
Excluding tags: [distributed: true]
excluded:
    routes to the other node (no second node: SAMPLE_NODE is not set)

1 test, 0 failures, 1 excluded
",
                )
        })
        .test("a log file gets the tests' lines, and the console what was left out", || {
            let dir = tempfile::tempdir()?;
            let path = dir.path().join("log");
            let path = path.to_str().ok_or("the temporary directory is no Unicode")?;
            kv(&["--logfile", path, "asia", "node"], &[]).answers(
                0,
                "Excluding tags: [distributed: true]\n1 test, 0 failures, 1 excluded\n",
                LOOKING,
            )?;
            assert_eq!(
                without_times(&fs::read_to_string(path)?),
                "
running 2 tests
test routes to the other node ... ignored (no second node: SAMPLE_NODE is not set)
test asia is far              ... ok

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out

"
            );
            kv(&["--logfile", "/there/is/no/such/log"], &[]).answers(
                2,
                "",
                "error: cannot write the log (/there/is/no/such/log): No such file or directory (os error 2); \
                 --logfile is a file; give another path\n",
            )
        })
        .test("colours come when asked for", || {
            let ok = |words: &[&str], variables: &[(&str, &str)]| {
                kv(words, variables).output().map(|output| text(&output.stdout).contains("\x1b[32mok"))
            };
            assert!(ok(&["asia", "--color", "always"], &[])?);
            assert!(!ok(&["asia", "--color=never"], &[])?);
            assert!(!ok(&["asia"], &[])?);
            Ok(())
        })
        .test("threads are a number from 1, of the option or the variable", || {
            for (words, variables) in [
                (&["-q", "--test-threads=1", "asia", "europe"][..], &[][..]),
                (&["-q", "--test-threads", "4", "asia", "europe"], &[]),
                (&["-q", "asia", "europe"], &[("RUST_TEST_THREADS", "3")]),
            ] {
                let output = kv(words, variables).output()?;
                assert!(text(&output.stdout).ends_with("\n2 tests, 0 failures\n"), "{output:?}");
            }
            kv(&["--test-threads", "0"], &[]).answers(
                2,
                "",
                "error: thread count (\"0\", --test-threads); it is a number from 1; give one, or leave it out\n",
            )
        })
        .test("nothing runs under bench, because there are no benches", || {
            let output = kv(&["--bench"], &[]).output()?;
            assert_eq!(output.status.code(), Some(0));
            assert!(text(&output.stdout).contains("5 ignored"), "{output:?}");
            Ok(())
        })
        .test("what is not understood is refused with exit code 2, and nothing runs", || {
            for (words, variables, expected) in [
                (
                    &["--inclde", "slow"][..],
                    &[][..],
                    "error: unknown option (--inclde); options are libtest's, --include, --exclude and --only; see --help\n",
                ),
                (
                    &["--only"],
                    &[],
                    "error: option without value (--only); it takes a tag, as TAG or TAG:VALUE; add one\n",
                ),
                (
                    &["--exclude", "region:"],
                    &[],
                    "error: tag (region) has no value behind the colon; leave out the colon, or give a value (in --exclude)\n",
                ),
                (
                    &["--format", "junit"],
                    &[],
                    "error: unknown value (\"junit\", --format); values are pretty, terse or json; take one of them\n",
                ),
                (
                    &[],
                    &[("FEDIST_TEST_INCLUDE", "slow,a b")],
                    "error: tag name (\"a b\") contains ' '; names have no space, comma or colon; use letters, digits and '_' (in FEDIST_TEST_INCLUDE)\n",
                ),
            ] {
                kv(words, variables).answers(2, "", expected)?;
            }
            Ok(())
        })
        .test("help tells the options and the variables", || {
            let output = kv(&["--help"], &[]).output()?;
            assert_eq!(output.status.code(), Some(0));
            let help = text(&output.stdout);
            for word in ["--include TAG", "--exclude TAG", "--only TAG", "FEDIST_TEST_REQUIRE", "--exact"] {
                assert!(help.contains(word), "{word}");
            }
            Ok(())
        })
}
