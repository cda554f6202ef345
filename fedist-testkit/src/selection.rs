//! Which tests run, and why the others do not.
//!
//! The rules are ExUnit's. A test that an include filter matches runs; of the others, one that an exclude filter matches is
//! excluded. `--only` includes, and excludes the tag `test`, which every test has. Requirements come last: a test is also
//! excluded if something that it needs is not there.

use crate::{
    arguments::{Arguments, Ignored, Mode, REQUIRE, Required, TagOption},
    tag::{Filter, Tag},
};

/// The tag that every test has; its value is the test's name.
pub(crate) const EVERY_TEST: &str = "test";

/// A test, as far as it matters for the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    /// Something that is required is not there: fails without being run.
    Fail(String),
    /// Not run, counted and named, for this reason.
    Exclude(String),
    /// Not chosen by its name: not even counted.
    Deselect,
}

/// The verdict on each test, and what the run says of its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) excluding: Vec<Filter>,
    pub(crate) including: Vec<Filter>,
}

impl Selection {
    pub(crate) fn excluded(&self) -> usize {
        self.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Exclude(_))).count()
    }
}

/// Decides about each of `cases`. `required_tags` are the tags that need something; `probe` tells for the index of one
/// whether it is there. It is called at most once for each, and only if a test depends on the answer.
pub(crate) fn select(
    cases: &[Case],
    defaults: &[Filter],
    required_tags: &[String],
    asked: &Arguments,
    probe: impl FnMut(usize) -> Result<(), String>,
) -> Selection {
    let mut including = asked.include.clone();
    let mut excluding: Vec<Filter> = asked.exclude.iter().chain(defaults).cloned().collect();
    if !asked.only.is_empty() {
        including.splice(0..0, asked.only.iter().cloned());
        excluding.insert(0, Filter::any(EVERY_TEST));
    }
    // A plain list shows all tests, and running all needs no reasons.
    let everything = match asked.ignored {
        Ignored::Included => true,
        Ignored::LeftOut => asked.mode == Mode::List,
        Ignored::Alone => false,
    };
    let mut findings = Findings { probe, found: vec![None; required_tags.len()] };
    let mut missing = Vec::new();
    let verdicts = cases
        .iter()
        .map(|case| {
            if !asked.names.choose(&case.name) {
                return Verdict::Deselect;
            }
            if everything || including.iter().any(|filter| filter.matches(&case.tags)) {
                return Verdict::Run;
            }
            if let Some(filter) = excluding.iter().find(|filter| filter.matches(&case.tags)) {
                let by_only = filter.name == EVERY_TEST && !asked.only.is_empty();
                let named = if by_only { "only" } else { &filter.name };
                return Verdict::Exclude(format!("due to {named} filter"));
            }
            for (index, required) in required_tags.iter().enumerate() {
                let Some(tag) = case.tags.iter().find(|tag| tag.name == *required) else {
                    continue;
                };
                let Err(reason) = findings.of(index) else { continue };
                if asked.required.has(required) {
                    return Verdict::Fail(format!(
                        "{reason} (tag {required}); {REQUIRE} wants it to be there; \
                         provide it, or take {required} out of {REQUIRE}"
                    ));
                }
                missing.push(Filter::exactly(tag));
                return Verdict::Exclude(reason);
            }
            Verdict::Run
        })
        .map(|verdict| match (asked.ignored, verdict) {
            (Ignored::Alone, Verdict::Exclude(_)) => Verdict::Run,
            (Ignored::Alone, _) => Verdict::Deselect,
            (_, verdict) => verdict,
        })
        .collect();
    excluding.extend(missing);
    if asked.ignored != Ignored::LeftOut {
        excluding.clear();
    }
    let (including, excluding) = normalize(including, excluding);
    Selection { verdicts, excluding, including }
}

struct Findings<P> {
    probe: P,
    found: Vec<Option<Result<(), String>>>,
}

impl<P: FnMut(usize) -> Result<(), String>> Findings<P> {
    fn of(&mut self, index: usize) -> Result<(), String> {
        self.found[index].get_or_insert_with(|| (self.probe)(index)).clone()
    }
}

/// Takes out what is there twice, and exclude filters that an include filter makes void. For the eye only: what is included
/// is included anyway.
fn normalize(including: Vec<Filter>, excluding: Vec<Filter>) -> (Vec<Filter>, Vec<Filter>) {
    let mut kept: Vec<Filter> = Vec::new();
    for filter in including {
        if !kept.contains(&filter) {
            kept.push(filter);
        }
    }
    let mut left: Vec<Filter> = Vec::new();
    for filter in excluding {
        let void = kept.contains(&filter) || kept.contains(&Filter::any(&filter.name));
        if !void && !left.contains(&filter) {
            left.push(filter);
        }
    }
    (kept, left)
}

/// What is worth a remark: a filter of the command line that no test can match, and a required tag that nothing is known about.
/// A filter of the environment is none, because it also reaches suites that do not know its tag.
pub(crate) fn remarks(cases: &[Case], required_tags: &[String], asked: &Arguments) -> Vec<String> {
    let mut remarks = Vec::new();
    for (option, filter) in &asked.given {
        if cases.iter().any(|case| filter.matches(&case.tags)) {
            continue;
        }
        let effect = match option {
            TagOption::Include => "it includes nothing",
            TagOption::Exclude => "it excludes nothing",
            TagOption::Only => "it chooses nothing",
        };
        let known = known_tags(cases, filter);
        remarks
            .push(format!("no test has the tag ({filter}, {}); {effect}; {known}", option.name()));
    }
    if let Required::Tags(tags) = &asked.required
        && !required_tags.is_empty()
    {
        for tag in tags.iter().filter(|tag| !required_tags.contains(tag)) {
            remarks.push(format!(
                "no requirement of this suite ({tag}, {REQUIRE}); it demands nothing here; \
                 requirements are {}",
                required_tags.join(", ")
            ));
        }
    }
    remarks
}

/// The values of a tag, if it is the value that is unknown, or all tags.
fn known_tags(cases: &[Case], filter: &Filter) -> String {
    let tags = || cases.iter().flat_map(|case| &case.tags);
    let mut values: Vec<&str> =
        tags().filter(|tag| tag.name == filter.name).map(|tag| tag.value.as_str()).collect();
    let mut names: Vec<&str> =
        tags().map(|tag| tag.name.as_str()).filter(|name| *name != EVERY_TEST).collect();
    for texts in [&mut values, &mut names] {
        texts.sort_unstable();
        texts.dedup();
    }
    if filter.name == EVERY_TEST {
        "--list shows the names of all tests".to_owned()
    } else if !values.is_empty() {
        format!("values of {} are {}", filter.name, values.join(", "))
    } else if names.is_empty() {
        "no test has a tag".to_owned()
    } else {
        format!("tags are {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments;

    /// `local`, `routed [distributed: true]`, `big [slow: true]`, `big_routed [slow: true, distributed: true]`, `eu [region: eu]`,
    /// `asia [region: asia]`.
    fn cases() -> Vec<Case> {
        [
            ("local", &[][..]),
            ("routed", &[("distributed", "true")]),
            ("big", &[("slow", "true")]),
            ("big_routed", &[("slow", "true"), ("distributed", "true")]),
            ("eu", &[("region", "eu")]),
            ("asia", &[("region", "asia")]),
        ]
        .map(|(name, tags): (&str, &[(&str, &str)])| Case {
            name: name.to_owned(),
            tags: [(EVERY_TEST, name)]
                .iter()
                .chain(tags)
                .map(|(name, value)| Tag::new(name, value).unwrap())
                .collect(),
        })
        .to_vec()
    }

    fn asked(line: &str, required: &str) -> Arguments {
        arguments::parse(line.split_whitespace().map(str::to_owned), |name| {
            (name == REQUIRE).then(|| required.to_owned())
        })
        .unwrap()
    }

    /// One line: what runs, `!` what fails, `-` what is excluded, `?` each call of the probe.
    fn verdicts(line: &str, there: bool, required: &str) -> (String, Selection) {
        let cases = cases();
        let mut probes = String::new();
        let selection = select(
            &cases,
            &[Filter::any("slow")],
            &["distributed".to_owned(), "postgres".to_owned()],
            &asked(line, required),
            |index| {
                probes.push_str(&format!(" ?{index}"));
                if there { Ok(()) } else { Err("no second node".to_owned()) }
            },
        );
        let shown: Vec<String> = cases
            .iter()
            .zip(&selection.verdicts)
            .filter_map(|(case, verdict)| match verdict {
                Verdict::Run => Some(case.name.clone()),
                Verdict::Fail(_) => Some(format!("!{}", case.name)),
                Verdict::Exclude(_) => Some(format!("-{}", case.name)),
                Verdict::Deselect => None,
            })
            .collect();
        (shown.join(" ") + &probes, selection)
    }

    #[test]
    fn tags_names_and_requirements_decide_together() {
        for (line, there, required, expected) in [
            ("", false, "", "local -routed -big -big_routed eu asia ?0"),
            ("", true, "", "local routed -big -big_routed eu asia ?0"),
            ("", false, "distributed", "local !routed -big -big_routed eu asia ?0"),
            ("", false, "all", "local !routed -big -big_routed eu asia ?0"),
            ("", true, "all", "local routed -big -big_routed eu asia ?0"),
            ("", false, "postgres", "local -routed -big -big_routed eu asia ?0"),
            // Include wins over exclude and over requirements, which are not even looked at then.
            ("--include distributed", false, "", "local routed -big big_routed eu asia"),
            ("--include distributed", false, "all", "local routed -big big_routed eu asia"),
            ("--include distributed:true", false, "", "local routed -big big_routed eu asia"),
            ("--include distributed:no", false, "", "local -routed -big -big_routed eu asia ?0"),
            ("--include slow", false, "", "local -routed big big_routed eu asia ?0"),
            ("--include nothing", true, "", "local routed -big -big_routed eu asia ?0"),
            ("--exclude distributed", true, "all", "local -routed -big -big_routed eu asia"),
            ("--exclude region:eu", true, "", "local routed -big -big_routed -eu asia ?0"),
            ("--exclude region", true, "", "local routed -big -big_routed -eu -asia ?0"),
            ("--exclude test", true, "", "-local -routed -big -big_routed -eu -asia"),
            (
                "--exclude region --include region:eu",
                true,
                "",
                "local routed -big -big_routed eu -asia ?0",
            ),
            ("--only slow", false, "", "-local -routed big big_routed -eu -asia"),
            ("--only region:eu --only slow", false, "", "-local -routed big big_routed eu -asia"),
            ("--only region --include slow", false, "", "-local -routed big big_routed eu asia"),
            (
                "--only region --exclude region:eu",
                false,
                "",
                "-local -routed -big -big_routed eu asia",
            ),
            ("--only test:local", false, "", "local -routed -big -big_routed -eu -asia"),
            // Names come first: what they leave out is neither counted nor probed for.
            ("local eu", false, "", "local eu"),
            ("--exact routed", false, "", "-routed ?0"),
            ("--skip routed --only region", false, "", "-local -big eu asia"),
            // To libtest's options the excluded ones are ignored ones.
            ("--include-ignored", false, "all", "local routed big big_routed eu asia"),
            ("--ignored", false, "", "routed big big_routed ?0"),
            ("--ignored", true, "", "big big_routed ?0"),
            ("--ignored", false, "all", "big big_routed ?0"),
            ("--exact routed --ignored", false, "", "routed ?0"),
            ("--exact local --ignored", false, "", ""),
            // A list is complete, and one of the ignored has the excluded.
            ("--list", false, "", "local routed big big_routed eu asia"),
            ("--list --only slow", false, "", "local routed big big_routed eu asia"),
            ("--list --ignored", false, "", "routed big big_routed ?0"),
            ("--list --ignored --only region", false, "", "local routed big big_routed"),
        ] {
            assert_eq!(verdicts(line, there, required).0, expected, "{line} {there} {required}");
        }
    }

    #[test]
    fn the_run_says_which_tags_it_leaves_out_and_takes_in() {
        use crate::tag::as_list;
        for (line, there, excluding, including) in [
            ("", false, "[:slow, distributed: true]", "[]"),
            ("", true, "[:slow]", "[]"),
            ("--include slow", false, "[distributed: true]", "[:slow]"),
            ("--include distributed", false, "[:slow]", "[:distributed]"),
            ("--exclude region:eu", true, "[:slow, region: \"eu\"]", "[]"),
            ("--exclude slow --exclude slow", true, "[:slow]", "[]"),
            ("--exclude region:eu --include region", true, "[:slow]", "[:region]"),
            ("--exclude region --include region:eu", true, "[:region, :slow]", "[region: \"eu\"]"),
            ("--only distributed", false, "[:test, :slow]", "[:distributed]"),
            ("--only region:eu --include slow", false, "[:test]", "[:slow, region: \"eu\"]"),
            ("--include-ignored", false, "[]", "[]"),
            ("--ignored", false, "[]", "[]"),
            ("--exact local", false, "[:slow]", "[]"),
        ] {
            let selection = verdicts(line, there, "").1;
            assert_eq!(as_list(&selection.excluding), excluding, "{line}");
            assert_eq!(as_list(&selection.including), including, "{line}");
        }
    }

    #[test]
    fn a_test_that_does_not_run_has_a_reason() {
        let (_, selection) = verdicts("", false, "");
        assert_eq!(selection.verdicts[1], Verdict::Exclude("no second node".to_owned()));
        assert_eq!(selection.verdicts[2], Verdict::Exclude("due to slow filter".to_owned()));
        assert_eq!(selection.excluded(), 3);
        let (_, selection) = verdicts("--only region:eu", false, "");
        assert_eq!(selection.verdicts[5], Verdict::Exclude("due to only filter".to_owned()));
        let (_, selection) = verdicts("", false, "distributed");
        assert_eq!(
            selection.verdicts[1],
            Verdict::Fail(
                "no second node (tag distributed); FEDIST_TEST_REQUIRE wants it to be there; \
                 provide it, or take distributed out of FEDIST_TEST_REQUIRE"
                    .to_owned()
            )
        );
        assert_eq!(selection.excluded(), 2);
    }

    #[test]
    fn a_filter_of_the_command_line_that_fits_no_test_is_remarked() {
        let check = |line: &str, required: &str, expected: &[&str]| {
            let requirements = ["distributed".to_owned(), "postgres".to_owned()];
            assert_eq!(remarks(&cases(), &requirements, &asked(line, required)), expected);
        };
        check("--include distributed --only region:eu --exclude slow local", "distributed", &[]);
        check(
            "--only distribted",
            "all",
            &["no test has the tag (distribted, --only); it chooses nothing; \
               tags are distributed, region, slow"],
        );
        check(
            "--include region:us --exclude x --include test:y",
            "",
            &[
                "no test has the tag (region:us, --include); it includes nothing; \
                 values of region are asia, eu",
                "no test has the tag (x, --exclude); it excludes nothing; \
                 tags are distributed, region, slow",
                "no test has the tag (test:y, --include); it includes nothing; \
                 --list shows the names of all tests",
            ],
        );
        check(
            "",
            "distributed,mysql",
            &["no requirement of this suite (mysql, FEDIST_TEST_REQUIRE); \
               it demands nothing here; requirements are distributed, postgres"],
        );
    }
}
