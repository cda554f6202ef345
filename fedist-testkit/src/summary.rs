//! What a run says before and after its tests, in the words of ExUnit.

use crate::{
    selection::{Case, Selection, Verdict},
    tag::as_list,
};

/// `Excluding tags: [distributed: true]` and `Including tags: [:slow]`, a line each, if there are any.
pub(crate) fn opening(selection: &Selection) -> String {
    let mut text = String::new();
    for (title, filters) in
        [("Excluding", &selection.excluding), ("Including", &selection.including)]
    {
        if !filters.is_empty() {
            text.push_str(&format!("{title} tags: {}\n", as_list(filters)));
        }
    }
    text
}

/// The excluded tests by name, with their reasons, for outputs that have no line for each test.
pub(crate) fn excluded_by_name(cases: &[Case], selection: &Selection) -> String {
    let lines: String = cases
        .iter()
        .zip(&selection.verdicts)
        .filter_map(|(case, verdict)| match verdict {
            Verdict::Exclude(reason) => Some(format!("    {} ({reason})\n", case.name)),
            _ => None,
        })
        .collect();
    if lines.is_empty() { lines } else { format!("excluded:\n{lines}\n") }
}

/// `7 tests, 0 failures, 1 excluded`. As in ExUnit since 1.19, the tests are those that ran.
pub(crate) fn closing(ran: u64, failed: u64, excluded: usize) -> String {
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let mut text = String::new();
    if ran == 0 && excluded > 0 {
        text.push_str("All tests have been excluded.\n");
    }
    text.push_str(&format!("{ran} test{}, {failed} failure{}", plural(ran), plural(failed)));
    if excluded > 0 {
        text.push_str(&format!(", {excluded} excluded"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::Filter;

    #[test]
    fn the_closing_line_counts_what_ran_and_knows_one_from_many() {
        for (ran, failed, excluded, expected) in [
            (0, 0, 0, "0 tests, 0 failures\n"),
            (1, 0, 0, "1 test, 0 failures\n"),
            (1, 1, 1, "1 test, 1 failure, 1 excluded\n"),
            (7, 0, 1, "7 tests, 0 failures, 1 excluded\n"),
            (13, 3, 14, "13 tests, 3 failures, 14 excluded\n"),
            (0, 0, 2, "All tests have been excluded.\n0 tests, 0 failures, 2 excluded\n"),
        ] {
            assert_eq!(closing(ran, failed, excluded), expected);
        }
    }

    #[test]
    fn the_opening_has_a_line_for_each_kind_of_filter_that_is_there() {
        let opening = |excluding: &[&str], including: &[&str]| {
            let filters =
                |texts: &[&str]| texts.iter().map(|text| Filter::parse(text).unwrap()).collect();
            let (excluding, including) = (filters(excluding), filters(including));
            opening(&Selection { verdicts: Vec::new(), excluding, including })
        };
        assert_eq!(opening(&[], &[]), "");
        assert_eq!(opening(&["distributed:true"], &[]), "Excluding tags: [distributed: true]\n");
        assert_eq!(
            opening(&["test"], &["slow"]),
            "Excluding tags: [:test]\nIncluding tags: [:slow]\n"
        );
    }
}
