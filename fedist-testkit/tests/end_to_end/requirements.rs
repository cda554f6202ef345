//! Requirements that are met, missing, mandatory or broken; suites with mistakes.

use std::net::TcpListener;

use fedist_testkit::Suite;

use crate::process::{Call, kv};

const LOOKING: &str = "looking for a second node\n";

pub(crate) fn add_to(suite: Suite) -> Suite {
    suite
        .test("with a second node all tests run, and the run does not speak of tags", || {
            let node = TcpListener::bind("127.0.0.1:0")?;
            let address = node.local_addr()?.to_string();
            // The suite looks once, and the test itself once more.
            kv(&["-q"], &[("SAMPLE_NODE", &address), ("FEDIST_TEST_REQUIRE", "all")]).answers(
                0,
                "
running 5 tests
.....
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out

5 tests, 0 failures
",
                &LOOKING.repeat(2),
            )
        })
        .test("a missing requirement is a failure if it is required", || {
            for required in ["all", "distributed", "docker,distributed"] {
                let remark = if required.starts_with("docker") {
                    "note: no requirement of this suite (docker, FEDIST_TEST_REQUIRE); it demands nothing here; requirements are distributed\n"
                } else {
                    ""
                };
                kv(&["node"], &[("FEDIST_TEST_REQUIRE", required)]).answers(
                    101,
                    "
running 1 test
test routes to the other node ... FAILED

failures:

---- routes to the other node ----
no second node: SAMPLE_NODE is not set (tag distributed); FEDIST_TEST_REQUIRE wants it to be there; provide it, or take distributed out of FEDIST_TEST_REQUIRE


failures:
    routes to the other node

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out

1 test, 1 failure
",
                    &format!("{LOOKING}{remark}"),
                )?;
            }
            Ok(())
        })
        .test("nobody looks for what no test depends on", || {
            for words in [
                &["bucket"][..],
                &["--exclude", "distributed"],
                &["--only", "region"],
                &["--list"],
                &["--help"],
            ] {
                let output = kv(words, &[("FEDIST_TEST_REQUIRE", "all")]).output()?;
                assert_eq!(output.status.code(), Some(0), "{words:?}");
                assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
            }
            Ok(())
        })
        .test("a panic of a probe is a reason, and each is called once", || {
            Call { sample: "troubled", words: &["-q"], variables: &[("FEDIST_TEST_ONLY", "")] }
                .output()
                .map(|output| {
                    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert_eq!(stderr.matches("in riddles").count(), 1, "{stderr}");
                    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
                    let place = "fedist-testkit/tests/end_to_end/sample_troubled.rs:15:56";
                    for line in [
                        "Excluding tags: [:broken, docker: \"any\"]".to_owned(),
                        format!("    needs docker (the probe panicked at {place}: docker speaks in riddles)"),
                        format!("    needs two (the probe panicked at {place}: docker speaks in riddles)"),
                        "    panics (due to broken filter)".to_owned(),
                        "2 tests, 0 failures, 8 excluded".to_owned(),
                    ] {
                        assert!(stdout.lines().any(|found| found == line), "{line}\n{stdout}");
                    }
                })
                .map_err(Into::into)
        })
        .test("a panic fails its own test only, and is reported with its place", || {
            let call = Call {
                sample: "troubled",
                words: &["--only", "broken", "--include", "test:passes as well", "--skip", "docker"],
                variables: &[("RUST_TEST_THREADS", "2")],
            };
            let output = call.output()?;
            assert_eq!(output.status.code(), Some(101));
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let here = "fedist-testkit/tests/end_to_end/sample_troubled.rs";
            for report in [
                format!("---- panics ----\npanicked at {here}:28:28:\nthree is 4\n\n"),
                format!(
                    "---- panics while it awaits ----\npanicked at {here}:32:13:\n\
                     assertion `left == right` failed: counting\n  left: 3\n right: 4\n\n"
                ),
                format!("---- panics with a number ----\npanicked at {here}:36:42:\n(a value that is no text)\n\n"),
                format!("---- meets an error ----\nfailed at {here}:8:5:\nNo such file or directory (os error 2)\n\n"),
                format!("---- says why ----\nfailed at {here}:40:58:\n3 is odd\n\n"),
                "test passes as well         ... ok\n".to_owned(),
                "\n6 tests, 5 failures, 2 excluded\n".to_owned(),
            ] {
                assert!(stdout.contains(&report), "{report}\n== in\n{stdout}");
            }
            Ok(())
        })
        .test("a tag of the suite is one of each test that does not have its own", || {
            let call = Call {
                sample: "troubled",
                words: &["-q", "--only", "kind:usual", "--exclude", "kind:strange"],
                variables: &[],
            };
            let output = call.output()?;
            assert_eq!(
                String::from_utf8_lossy(&output.stderr),
                "note: no test has the tag (kind:strange, --exclude); it excludes nothing; \
                 values of kind are odd, usual\n"
            );
            assert!(String::from_utf8_lossy(&output.stdout).contains("\n1 test, 0 failures, 9 excluded\n"));
            Ok(())
        })
        .test("a suite with mistakes names all of them and runs nothing", || {
            Call { sample: "mistaken", words: &[], variables: &[] }.answers(
                2,
                "",
                "\
error: requirement (region:eu) is of a value; tests with the tag need it whatever the value; name the tag alone
error: a tag's name is empty; a filter is TAG or TAG:VALUE; name a tag, such as slow (of \"requires\")
error: tag name (\"a b\") contains ' '; names have no space, comma or colon; use letters, digits and '_' (of \"exclude\")
error: tag name (\"x,y\") contains ','; names have no space, comma or colon; use letters, digits and '_' (of \"all tests\")
error: tag name (test, of \"one\") is taken; every test has it, with its own name; use another one
error: tag (region) has no value behind the colon; leave out the colon, or give a value (of \"one\")
error: test name (\"one\") is there twice; names are what --exact and other tools choose by; rename one
error: test name (\" two\") is empty or not plain; it is one line without white space at its ends; give another one
error: test name (\"\") is empty or not plain; it is one line without white space at its ends; give another one
error: test name (\"--list\") begins with '-'; --exact could not choose it; give another one
",
            )
        })
        .test("a suite without tests passes, and knows no tags", || {
            let empty = |words, code, stdout, stderr| {
                Call { sample: "empty", words, variables: &[] }.answers(code, stdout, stderr)
            };
            let none = "
running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out

0 tests, 0 failures
";
            empty(&[], 0, none, "")?;
            empty(
                &["--only", "x"],
                101,
                &format!("Excluding tags: [:test]\nIncluding tags: [:x]\n{none}"),
                "note: no test has the tag (x, --only); it chooses nothing; no test has a tag\n\
                 error: no test was run (--only x); --only is there to run some; \
                 look at the tags and names that were given\n",
            )
        })
}
