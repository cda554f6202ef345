//! The comparison of two benchmark reports: `cargo bench --bench report -- --compare`.

#[path = "../benches/report/compare.rs"]
mod compare;

use std::{fs, path::Path};

use compare::{Comparison, Line};

/// Lines from `name unit fedist ratio low high`, with `-` for what a line does not have.
fn report(text: &str) -> Vec<Line> {
    let number =
        |word: &str| word.parse::<f64>().map_or_else(|_| "null".to_owned(), |n| n.to_string());
    let line = |line: &str| {
        let [name, unit, fedist, ratio, low, high] =
            line.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let spread = if low == "-" { "null".to_owned() } else { format!("[{low}, {high}]") };
        format!(
            r#"{{"name": "{name}", "fedist": {}, "floor": null, "unit": "{unit}", "ratio": {},
                "goal": "ratio >= 1", "ok": null, "spread": {spread}}}"#,
            number(fedist),
            number(ratio)
        )
    };
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(line).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    fs::write(&path, format!("[{}]", lines.join(","))).unwrap();
    compare::read(&path).unwrap()
}

fn compared(old: &str, new: &str) -> Comparison {
    compare::compare(&report(old), &report(new)).unwrap()
}

#[test]
fn a_ratio_is_worse_if_it_left_the_spread_to_its_bad_side() {
    let worse = |old, new| compared(old, new).is_worse();
    // Rates fall, times rise.
    assert!(worse("a M/s 1 0.9 0.85 0.95", "a M/s 1 0.7 0.65 0.75"));
    assert!(!worse("a M/s 1 0.9 0.85 0.95", "a M/s 1 1.2 1.15 1.25"));
    assert!(worse("a µs 1 0.9 0.85 0.95", "a µs 1 1.2 1.15 1.25"));
    assert!(!worse("a µs 1 0.9 0.85 0.95", "a µs 1 0.7 0.65 0.75"));
    // Within the spread of either is no news.
    assert!(!worse("a µs 1 0.9 0.85 1.3", "a µs 1 1.2 1.15 1.25"));
    assert!(!worse("a µs 1 0.9 0.85 0.95", "a µs 1 1.2 0.8 1.25"));
    // The machine may be another one: values do not count where there is a ratio.
    assert!(!worse("a µs 1 0.9 0.85 0.95", "a µs 5 0.9 0.85 0.95"));
}

#[test]
fn values_without_a_floor_are_compared_by_themselves_and_without_rounds_within_five_percent() {
    let worse = |old, new| compared(old, new).is_worse();
    assert!(worse("a B 100 - 99 101", "a B 110 - 109 111"));
    assert!(!worse("a instructions 100 - - -", "a instructions 104 - - -"));
    assert!(worse("a instructions 100 - - -", "a instructions 112 - - -"));
    assert!(!worse("a instructions 100 - - -", "a instructions 50 - - -"));
}

#[test]
fn what_only_one_report_has_is_named_and_is_no_failure() {
    let found = compared("a B 1 - - -\ngone B 1 - - -", "a B 1 - - -\nadded B 1 - - -");
    assert!(!found.is_worse());
    let text = found.text();
    assert!(text.contains("1 figures compared: 0 worse, 0 better"), "{text}");
    assert!(text.contains("any more: gone") && text.contains("new: added"), "{text}");
    let worse = compared("a B 1 - - -", "a B 2 - - -").text();
    assert!(worse.lines().nth(2).unwrap().starts_with("| a "), "{worse}");
}

#[test]
fn files_that_are_no_reports_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, content: Option<&str>, expected: &str| {
        let path = directory.path().join(name);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = format!("{:#}", compare::read(&path).unwrap_err());
        assert!(error.contains(name) && error.contains(expected), "{error}");
    };
    check("missing.json", None, "cannot be read");
    check("text.json", Some("no JSON"), "is not understood; it is the array of bench-report.json");
    check("object.json", Some("{}"), "is not understood");
    check("other.json", Some(r#"[{"name": 5}]"#), "is not understood");
    check("empty.json", Some("[]"), "is empty");
    assert!(compare::compare(&report("a B 1 - - -"), &report("b B 1 - - -")).is_err());
    assert!(compare::read(Path::new("/")).is_err());
}
