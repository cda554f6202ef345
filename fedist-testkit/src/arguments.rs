//! What the command line and the environment ask for.
//!
//! The options are libtest's, as far as the harness below can follow them, and `--include`, `--exclude` and `--only`.

use std::num::NonZero;

use thiserror::Error;

use crate::tag::{Filter, TagError};

/// What is asked for, after all defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) names: Names,
    pub(crate) ignored: Ignored,
    pub(crate) include: Vec<Filter>,
    pub(crate) exclude: Vec<Filter>,
    pub(crate) only: Vec<Filter>,
    pub(crate) required: Required,
    /// The filters that stand on the command line itself, in its order. Those of the environment reach every test binary
    /// of a workspace, so that not each of them has to know the tag.
    pub(crate) given: Vec<(TagOption, Filter)>,
    pub(crate) format: Format,
    pub(crate) color: Color,
    pub(crate) logfile: Option<String>,
    pub(crate) threads: Option<NonZero<usize>>,
    pub(crate) bench: bool,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Run,
    List,
    Help,
}

/// libtest's way of choosing: by names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) any_of: Vec<String>,
    pub(crate) skip: Vec<String>,
    pub(crate) exact: bool,
}

impl Names {
    pub(crate) fn choose(&self, name: &str) -> bool {
        let fits = |part: &String| if self.exact { name == part } else { name.contains(part) };
        (self.any_of.is_empty() || self.any_of.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

/// What becomes of excluded tests, which are libtest's ignored ones.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ignored {
    #[default]
    LeftOut,
    Included,
    Alone,
}

/// The tags whose requirements must be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    All,
    Tags(Vec<String>),
}

impl Default for Required {
    fn default() -> Required {
        Required::Tags(Vec::new())
    }
}

impl Required {
    pub(crate) fn has(&self, tag: &str) -> bool {
        match self {
            Required::All => true,
            Required::Tags(tags) => tags.iter().any(|required| required == tag),
        }
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum TagOption {
    Include,
    Exclude,
    Only,
}

impl TagOption {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TagOption::Include => "--include",
            TagOption::Exclude => "--exclude",
            TagOption::Only => "--only",
        }
    }
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Pretty,
    Terse,
    Json,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

pub(crate) const INCLUDE: &str = "FEDIST_TEST_INCLUDE";
pub(crate) const EXCLUDE: &str = "FEDIST_TEST_EXCLUDE";
pub(crate) const ONLY: &str = "FEDIST_TEST_ONLY";
pub(crate) const REQUIRE: &str = "FEDIST_TEST_REQUIRE";
const THREADS: &str = "RUST_TEST_THREADS";

pub(crate) const HELP: &str = "\
Usage: [OPTIONS] [NAMES]...

Tests whose name contains one of NAMES are run; without NAMES all are.

Tags (TAG is any value of a tag, TAG:VALUE is one; each option may be repeated):
    --exclude TAG[:VALUE]   Leave these out
    --include TAG[:VALUE]   Run these although they would be excluded
    --only TAG[:VALUE]      Exclude all others; it is a failure if no test is left

Names:
    --exact                 NAMES and --skip are whole names, not parts
    --skip NAME             Leave out tests whose name contains NAME

Excluded tests are ignored ones:
    --ignored               Run only what would be excluded
    --include-ignored       Run all, excluded or not

Running and printing:
    --list                  Print the tests' names, run none
    --test-threads N        How many tests run at a time (1: in order)
    --format pretty|terse|json
    -q, --quiet             The same as --format terse
    --color auto|always|never
    --logfile PATH          Print into a file
    --nocapture, --no-capture, --show-output, --test, --bench, -Z FLAG
                            Accepted. Output is never captured, and there are no benches

Environment (lists with commas; they reach every test binary of a workspace):
    FEDIST_TEST_INCLUDE, FEDIST_TEST_EXCLUDE, FEDIST_TEST_ONLY
                            As the options
    FEDIST_TEST_REQUIRE     Tags, or all: a missing requirement is a failure
    RUST_TEST_THREADS       As --test-threads
";

/// Why the command line or the environment was not understood. No test was run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum UsageError {
    #[error(
        "unknown option ({option}); options are libtest's, --include, --exclude and --only; see --help"
    )]
    UnknownOption { option: String },
    #[error("option without value ({option}); it takes {takes}; add one")]
    NoValue { option: String, takes: &'static str },
    #[error("option with value ({option}={value}); {option} takes none; leave it out")]
    UnwantedValue { option: String, value: String },
    #[error("{cause} (in {source_name})")]
    NotATag { cause: TagError, source_name: String },
    #[error("unknown value ({value:?}, {option}); values are {choices}; take one of them")]
    NotAChoice { option: &'static str, value: String, choices: &'static str },
    #[error(
        "thread count ({value:?}, {source_name}); it is a number from 1; give one, or leave it out"
    )]
    NotACount { value: String, source_name: &'static str },
    #[error("two formats (--quiet and --format); one output has one format; leave out one of them")]
    TwoFormats,
}

/// Reads the words behind the program's name, and the variables of the environment.
pub(crate) fn parse(
    words: impl IntoIterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Arguments, UsageError> {
    let mut asked = Arguments::default();
    let mut quiet = false;
    let mut format = None;
    let mut only_names = false;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if only_names || word == "-" || !word.starts_with('-') {
            asked.names.any_of.push(word);
            continue;
        }
        let (option, mut attached) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = |takes| {
            attached
                .take()
                .or_else(|| words.next())
                .ok_or_else(|| UsageError::NoValue { option: option.to_owned(), takes })
        };
        match option {
            "--" => only_names = true,
            "-h" | "--help" => asked.mode = Mode::Help,
            "--list" if asked.mode != Mode::Help => asked.mode = Mode::List,
            "--include" => asked.give(TagOption::Include, &value(A_TAG)?)?,
            "--exclude" => asked.give(TagOption::Exclude, &value(A_TAG)?)?,
            "--only" => asked.give(TagOption::Only, &value(A_TAG)?)?,
            "--skip" => asked.names.skip.push(value("a name")?),
            "--exact" => asked.names.exact = true,
            // Both at once run what each would run.
            "--include-ignored" => asked.ignored = Ignored::Included,
            "--ignored" if asked.ignored == Ignored::LeftOut => asked.ignored = Ignored::Alone,
            "--test-threads" => {
                asked.threads = Some(count(&value("a number from 1")?, "--test-threads")?);
            }
            "--format" => format = Some(parse_format(&value(FORMATS)?)?),
            "-q" | "--quiet" => quiet = true,
            "--color" => asked.color = parse_color(&value(COLORS)?)?,
            "--logfile" => asked.logfile = Some(value("a path")?),
            "-Z" => drop(value("a flag")?),
            "--bench" => asked.bench = true,
            "--list" | "--ignored" | "--test" | "--nocapture" | "--no-capture"
            | "--show-output" => {}
            other if other.starts_with("-Z") => {}
            other => return Err(UsageError::UnknownOption { option: other.to_owned() }),
        }
        if let Some(value) = attached {
            return Err(UsageError::UnwantedValue { option: option.to_owned(), value });
        }
    }
    asked.format = match (quiet, format) {
        (true, Some(_)) => return Err(UsageError::TwoFormats),
        (true, None) => Format::Terse,
        (false, format) => format.unwrap_or_default(),
    };
    asked.include.extend(list(INCLUDE, &variable)?);
    asked.exclude.extend(list(EXCLUDE, &variable)?);
    asked.only.extend(list(ONLY, &variable)?);
    asked.required = required(&variable)?;
    if asked.threads.is_none()
        && let Some(text) = variable(THREADS)
    {
        asked.threads = Some(count(&text, THREADS)?);
    }
    Ok(asked)
}

impl Arguments {
    fn give(&mut self, option: TagOption, text: &str) -> Result<(), UsageError> {
        let filter = Filter::parse(text).map_err(|cause| UsageError::NotATag {
            cause,
            source_name: option.name().to_owned(),
        })?;
        self.given.push((option, filter.clone()));
        match option {
            TagOption::Include => self.include.push(filter),
            TagOption::Exclude => self.exclude.push(filter),
            TagOption::Only => self.only.push(filter),
        }
        Ok(())
    }
}

const A_TAG: &str = "a tag, as TAG or TAG:VALUE";
const FORMATS: &str = "pretty, terse or json";
const COLORS: &str = "auto, always or never";

fn parse_format(text: &str) -> Result<Format, UsageError> {
    match text {
        "pretty" => Ok(Format::Pretty),
        "terse" => Ok(Format::Terse),
        "json" => Ok(Format::Json),
        _ => Err(UsageError::NotAChoice {
            option: "--format",
            value: text.to_owned(),
            choices: FORMATS,
        }),
    }
}

fn parse_color(text: &str) -> Result<Color, UsageError> {
    match text {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        _ => Err(UsageError::NotAChoice {
            option: "--color",
            value: text.to_owned(),
            choices: COLORS,
        }),
    }
}

fn count(text: &str, source_name: &'static str) -> Result<NonZero<usize>, UsageError> {
    text.parse().map_err(|_| UsageError::NotACount { value: text.to_owned(), source_name })
}

/// The filters of a variable; one that is not set or empty has none.
fn list(name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<Filter>, UsageError> {
    variable(name)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| {
            Filter::parse(text)
                .map_err(|cause| UsageError::NotATag { cause, source_name: name.to_owned() })
        })
        .collect()
}

fn required(variable: &impl Fn(&str) -> Option<String>) -> Result<Required, UsageError> {
    let tags: Vec<String> =
        list(REQUIRE, variable)?.into_iter().map(|filter| filter.name).collect();
    Ok(if tags.iter().any(|tag| tag == "all") { Required::All } else { Required::Tags(tags) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, variables: &[(&str, &str)]) -> Result<Arguments, UsageError> {
        parse(line.split_whitespace().map(str::to_owned), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| Filter::parse(text).unwrap()).collect()
    }

    #[test]
    fn tags_come_from_options_in_both_forms_and_from_variables() {
        let asked = read(
            "--include distributed --exclude=slow --only region:eu --include=a:b=c",
            &[(INCLUDE, "x, y:1,"), (EXCLUDE, ""), (ONLY, "z"), (REQUIRE, "distributed,nextest")],
        )
        .unwrap();
        assert_eq!(asked.include, filters(&["distributed", "a:b=c", "x", "y:1"]));
        assert_eq!(asked.exclude, filters(&["slow"]));
        assert_eq!(asked.only, filters(&["region:eu", "z"]));
        assert_eq!(asked.required, Required::Tags(vec!["distributed".into(), "nextest".into()]));
        let given: Vec<String> = asked
            .given
            .iter()
            .map(|(option, filter)| format!("{} {filter}", option.name()))
            .collect();
        assert_eq!(
            given,
            ["--include distributed", "--exclude slow", "--only region:eu", "--include a:b=c"]
        );
        assert_eq!(read("", &[(REQUIRE, "all")]).unwrap().required, Required::All);
    }

    #[test]
    fn the_lines_of_libtests_users_are_understood() {
        let check = |line: &str, expected: Arguments| {
            assert_eq!(read(line, &[]).unwrap(), expected, "{line}");
        };
        let base = Arguments::default;
        let names = |any_of: &[&str], skip: &[&str], exact| Names {
            any_of: any_of.iter().map(|name| (*name).to_owned()).collect(),
            skip: skip.iter().map(|name| (*name).to_owned()).collect(),
            exact,
        };
        check("", base());
        check("one two", Arguments { names: names(&["one", "two"], &[], false), ..base() });
        // What nextest says, for the lists and for each test.
        check(
            "--list --format terse",
            Arguments { mode: Mode::List, format: Format::Terse, ..base() },
        );
        check(
            "--list --format terse --ignored",
            Arguments {
                mode: Mode::List,
                format: Format::Terse,
                ignored: Ignored::Alone,
                ..base()
            },
        );
        check(
            "--exact name --nocapture --ignored",
            Arguments { names: names(&["name"], &[], true), ignored: Ignored::Alone, ..base() },
        );
        // What an IDE says.
        check(
            "-Z unstable-options --format=json --show-output",
            Arguments { format: Format::Json, ..base() },
        );
        check("-Zunstable-options --test --no-capture", base());
        check(
            "--skip a --skip=b -q",
            Arguments { names: names(&[], &["a", "b"], false), format: Format::Terse, ..base() },
        );
        check("--include-ignored", Arguments { ignored: Ignored::Included, ..base() });
        check("--ignored --include-ignored", Arguments { ignored: Ignored::Included, ..base() });
        check("--include-ignored --ignored", Arguments { ignored: Ignored::Included, ..base() });
        check("--test-threads=3", Arguments { threads: NonZero::new(3), ..base() });
        check(
            "--color never --logfile /tmp/log",
            Arguments { color: Color::Never, logfile: Some("/tmp/log".into()), ..base() },
        );
        check("--bench", Arguments { bench: true, ..base() });
        check("-- --list", Arguments { names: names(&["--list"], &[], false), ..base() });
        check("--help --list", Arguments { mode: Mode::Help, ..base() });
    }

    #[test]
    fn the_option_wins_over_the_variable_of_threads() {
        let threads = |line| read(line, &[(THREADS, "7")]).unwrap().threads;
        assert_eq!(threads(""), NonZero::new(7));
        assert_eq!(threads("--test-threads 2"), NonZero::new(2));
    }

    #[test]
    fn what_is_not_understood_says_why_and_what_to_do() {
        let check = |line: &str, variables: &[(&str, &str)], expected: &str| {
            assert_eq!(read(line, variables).unwrap_err().to_string(), expected, "{line}");
        };
        check(
            "--inclde slow",
            &[],
            "unknown option (--inclde); options are libtest's, --include, --exclude and --only; see --help",
        );
        check(
            "-x",
            &[],
            "unknown option (-x); options are libtest's, --include, --exclude and --only; see --help",
        );
        check(
            "a --include",
            &[],
            "option without value (--include); it takes a tag, as TAG or TAG:VALUE; add one",
        );
        check("--list=yes", &[], "option with value (--list=yes); --list takes none; leave it out");
        check(
            "--only --list",
            &[],
            "tag name (\"--list\") begins with '-' as options do; begin it with a letter (in --only)",
        );
        check(
            "--exclude=",
            &[],
            "a tag's name is empty; a filter is TAG or TAG:VALUE; name a tag, such as slow (in --exclude)",
        );
        check(
            "",
            &[(ONLY, "slow,region:")],
            "tag (region) has no value behind the colon; leave out the colon, or give a value (in FEDIST_TEST_ONLY)",
        );
        check(
            "--format junit",
            &[],
            "unknown value (\"junit\", --format); values are pretty, terse or json; take one of them",
        );
        check(
            "--color red",
            &[],
            "unknown value (\"red\", --color); values are auto, always or never; take one of them",
        );
        check(
            "--test-threads 0",
            &[],
            "thread count (\"0\", --test-threads); it is a number from 1; give one, or leave it out",
        );
        check(
            "",
            &[(THREADS, "many")],
            "thread count (\"many\", RUST_TEST_THREADS); it is a number from 1; give one, or leave it out",
        );
        check(
            "-q --format terse",
            &[],
            "two formats (--quiet and --format); one output has one format; leave out one of them",
        );
    }

    #[test]
    fn names_choose_as_in_libtest() {
        let check = |line: &str, expected: &[&str]| {
            let names = read(line, &[]).unwrap().names;
            let chosen: Vec<&str> =
                ["a", "ab", "b", "abc"].into_iter().filter(|name| names.choose(name)).collect();
            assert_eq!(chosen, expected, "{line}");
        };
        check("", &["a", "ab", "b", "abc"]);
        check("ab", &["ab", "abc"]);
        check("b --skip c", &["ab", "b"]);
        check("--exact ab b", &["ab", "b"]);
        check("--exact --skip b", &["a", "ab", "abc"]);
        check("--exact x", &[]);
    }
}
