//! The documentation keeps its word: links lead somewhere, pages with Rust are doc tests, and every
//! piece of Rust in a right column of the "coming from" pages occurs in a block of the same page
//! that is compiled and run.

use std::{fs, path::Path};

const PAGES: [&str; 4] = [
    "docs/coming-from-actix.md",
    "docs/coming-from-erlang.md",
    "docs/coming-from-kameo.md",
    "docs/coming-from-ractor.md",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code of a page's doc tests: blocks that begin with a bare "```rust", without comments, with
/// every run of white space as one space; and the file that they may include.
fn tested(page: &str) -> String {
    let mut code = String::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```rust") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                let line = line.trim_start().trim_start_matches("# ");
                code.push_str(line.split("//").next().unwrap_or(line));
                code.push('\n');
            }
            (false, _) => {}
        }
    }
    if code.contains("/docs/counter.rs") {
        code.push_str(&read("docs/counter.rs"));
    }
    squeeze(&code)
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cells of a row; a `\|` is no border.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    row.split('|').map(|cell| cell.replace('\u{0}', "|").trim().to_owned()).collect()
}

/// What stands between backticks.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The last cells of all rows of tables whose last heading is `FeDist`.
fn right_columns(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut ours = false;
    for line in page.lines() {
        if !line.starts_with('|') {
            ours = false;
            continue;
        }
        let cells = cells(line);
        let last = cells.last().cloned().unwrap_or_default();
        if last == "FeDist" {
            ours = true;
        } else if ours && !last.starts_with("---") {
            found.push(last);
        }
    }
    found
}

#[test]
fn every_line_on_the_right_is_compiled_and_run() {
    let mut missing = Vec::new();
    for path in PAGES {
        let page = read(path);
        let (code, rows) = (tested(&page), right_columns(&page));
        assert!(rows.len() >= 20, "{path}: {} rows; have the tables moved?", rows.len());
        for row in rows {
            assert!(!row.is_empty(), "{path}: a row without a right side");
            for span in spans(&row) {
                // A command of the shell is no Rust.
                if !span.starts_with("fedist ") && !code.contains(&squeeze(span)) {
                    missing.push(format!("{path}: `{span}`"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in a tested block of its page:\n{}", missing.join("\n"));
}

#[test]
fn the_pages_are_doc_tests() {
    let facade = read("src/lib.rs");
    for path in PAGES {
        assert!(facade.contains(&format!("include_str!(\"../{path}\")")), "{path}");
    }
}

#[test]
fn every_page_of_the_documentation_with_rust_in_it_is_a_doc_test() {
    let facade = read("src/lib.rs");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for entry in fs::read_dir(docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && read(&format!("docs/{name}")).contains("```rust") {
            assert!(facade.contains(&format!("include_str!(\"../docs/{name}\")")), "{name}");
        }
    }
}

/// A heading as the part of a link behind the `#`, as GitHub and rustdoc make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The lines outside of code blocks.
fn prose(page: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push(line);
        }
    }
    lines
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    let (mut broken, mut links) = (Vec::new(), 0);
    for path in &pages {
        let text = read(path);
        let lines = prose(&text);
        for target in lines.iter().flat_map(|line| line.split("](").skip(1)) {
            let target = target.split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            let file = if file.is_empty() { path.into() } else { folder.join(file) };
            if !root.join(&file).exists() {
                broken.push(format!("{path}: {target}: no such file"));
            } else if !heading.is_empty() {
                let text = fs::read_to_string(root.join(&file)).unwrap();
                let mut headings = prose(&text).into_iter().filter(|line| line.starts_with('#'));
                if !headings.any(|line| anchor(line) == heading) {
                    broken.push(format!("{path}: {target}: no such heading"));
                }
            }
        }
    }
    assert!(links > 30, "{links} links; is something wrong with the search?");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn headings_become_anchors_as_readers_have_them() {
    assert_eq!(anchor("## Links and exits"), "links-and-exits");
    assert_eq!(anchor("### Plain async code, with a mailbox"), "plain-async-code-with-a-mailbox");
    assert_eq!(anchor("# What is `fedist`?"), "what-is-fedist");
}

#[test]
fn a_line_that_no_block_has_is_found() {
    let page = "| a | FeDist |\n|---|---|\n| x | `f(\\|x\\| x)` and `g()` |\n\n```rust\nf(|x|\n    x); // g()\n```\n";
    let code = tested(page);
    let right = right_columns(page);
    assert_eq!(spans(&right[0]), ["f(|x| x)", "g()"]);
    assert!(code.contains("f(|x| x)") && !code.contains("g()"));
}
