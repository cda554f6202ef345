//! `--include`, `--exclude`, `--only` and their variables.

use fedist_testkit::Suite;

use crate::process::kv;

const LOOKING: &str = "looking for a second node\n";

pub(crate) fn add_to(suite: Suite) -> Suite {
    suite
        .test("an excluded test is named, counted, and has a reason", || {
            kv(&[], &[]).answers(
                0,
                "\
Excluding tags: [distributed: true]

running 5 tests
test a bucket is created      ... ok
test a bucket answers         ... ok
test routes to the other node ... ignored (no second node: SAMPLE_NODE is not set)
test europe is near           ... ok
test asia is far              ... ok

test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out

4 tests, 0 failures, 1 excluded
",
                LOOKING,
            )
        })
        .test("exclude leaves out by tag and by value, in both forms, with as many as are given", || {
            kv(&["--exclude", "distributed", "--exclude=region:eu"], &[]).answers(
                0,
                "\
Excluding tags: [:distributed, region: \"eu\"]

running 5 tests
test a bucket is created      ... ok
test a bucket answers         ... ok
test routes to the other node ... ignored (due to distributed filter)
test europe is near           ... ignored (due to region filter)
test asia is far              ... ok

test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out

3 tests, 0 failures, 2 excluded
",
                "",
            )
        })
        .test("include wins over exclude", || {
            kv(
                &["--exclude", "region", "--include", "region:asia", "--exclude", "distributed"],
                &[],
            )
            .answers(
                0,
                "\
Excluding tags: [:region, :distributed]
Including tags: [region: \"asia\"]

running 5 tests
test a bucket is created      ... ok
test a bucket answers         ... ok
test routes to the other node ... ignored (due to distributed filter)
test europe is near           ... ignored (due to region filter)
test asia is far              ... ok

test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out

3 tests, 0 failures, 2 excluded
",
                "",
            )
        })
        .test("an included test runs without what it needs, and fails by itself", || {
            kv(&["--include", "distributed", "node", "created"], &[]).answers(
                101,
                "\
Including tags: [:distributed]

running 2 tests
test a bucket is created      ... ok
test routes to the other node ... FAILED

failures:

---- routes to the other node ----
failed at fedist-testkit/tests/end_to_end/../suites/kv.rs:16:5:
no second node: SAMPLE_NODE is not set


failures:
    routes to the other node

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out

2 tests, 1 failure
",
                LOOKING,
            )
        })
        .test("only excludes everything else", || {
            kv(&["--only=region:asia", "--only", "region:eu"], &[]).answers(
                0,
                "\
Excluding tags: [:test]
Including tags: [region: \"asia\", region: \"eu\"]

running 5 tests
test a bucket is created      ... ignored (due to only filter)
test a bucket answers         ... ignored (due to only filter)
test routes to the other node ... ignored (due to only filter)
test europe is near           ... ok
test asia is far              ... ok

test result: ok. 2 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out

2 tests, 0 failures, 3 excluded
",
                "",
            )
        })
        .test("only fails if it leaves no test, and an unknown tag is named", || {
            kv(&["--only", "distribted", "bucket"], &[]).answers(
                101,
                "\
Excluding tags: [:test]
Including tags: [:distribted]

running 2 tests
test a bucket is created ... ignored (due to only filter)
test a bucket answers    ... ignored (due to only filter)

test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out

All tests have been excluded.
0 tests, 0 failures, 2 excluded
",
                "\
note: no test has the tag (distribted, --only); it chooses nothing; tags are distributed, region, slow
error: no test was run (--only distribted); --only is there to run some; look at the tags and names that were given
",
            )
        })
        .test("an unknown tag to include is named, and all goes on", || {
            kv(&["--include", "region:us", "--exact", "europe is near"], &[]).answers(
                0,
                "\
Including tags: [region: \"us\"]

running 1 test
test europe is near ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out

1 test, 0 failures
",
                "note: no test has the tag (region:us, --include); it includes nothing; values of region are asia, eu\n",
            )
        })
        .test("the variables do what the options do, and add to them", || {
            kv(
                &["-q", "--include", "region:eu"],
                &[
                    ("FEDIST_TEST_EXCLUDE", "slow, region,distributed"),
                    ("FEDIST_TEST_INCLUDE", "slow"),
                ],
            )
            .answers(
                0,
                "\
Excluding tags: [:region, :distributed]
Including tags: [:slow, region: \"eu\"]

running 5 tests
..i..
test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out

excluded:
    routes to the other node (due to distributed filter)

4 tests, 0 failures, 1 excluded
",
                "",
            )
        })
        .test("a variable that leaves no test is no failure, because other suites may have some", || {
            kv(&["-q", "europe"], &[("FEDIST_TEST_ONLY", "elsewhere")]).answers(
                0,
                "\
Excluding tags: [:test]
Including tags: [:elsewhere]

running 1 test
i
test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out

excluded:
    europe is near (due to only filter)

All tests have been excluded.
0 tests, 0 failures, 1 excluded
",
                "",
            )
        })
}
