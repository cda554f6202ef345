//! The suite as its user writes it, and the shell that runs it.

use std::{
    collections::HashSet,
    env,
    fmt::Display,
    fs::File,
    io::{self, Write},
    num::NonZero,
    process::ExitCode,
};

use libtest_mimic::{ColorSetting, Completion, Conclusion, FormatSetting, Trial};
use thiserror::Error;

use crate::{
    arguments::{self, Arguments, Color, Format, HELP, Mode, TagOption},
    failed::{Failed, TestResult, caught, keep_places_of_panics},
    selection::{self, Case, EVERY_TEST, Selection, Verdict},
    summary,
    tag::{Filter, Tag, TagError},
};

/// Tests with tags, and what the tags need.
///
/// Mistakes in a suite, such as two tests of one name, are reported by [`run`](Suite::run).
#[derive(Default)]
#[must_use = "a suite does nothing until `run`"]
pub struct Suite {
    tests: Vec<Test>,
    tags: Vec<Tag>,
    requirements: Vec<Requirement>,
    exclude: Vec<Filter>,
    mistakes: Vec<Mistake>,
}

struct Test {
    name: String,
    tags: Vec<Tag>,
    body: Body,
}

type Body = Box<dyn FnOnce() -> TestResult + Send>;

struct Requirement {
    tag: String,
    probe: Box<dyn FnOnce() -> Result<(), String>>,
}

impl Suite {
    /// A suite without tests.
    pub fn new() -> Suite {
        Suite::default()
    }

    /// Says what must be there for tests with this tag, whatever its value.
    ///
    /// If the probe answers with an error, these tests are excluded, with the error as the reason; with `FEDIST_TEST_REQUIRE`
    /// they fail. The probe is called at most once in a run, before the first test, and not at all if nothing depends on it:
    /// no such test was chosen, or all are included or excluded anyway. A panic in it is an error too. A second requirement
    /// for the same tag is one more thing that must be there.
    pub fn requires<T, E: Display>(
        mut self,
        tag: &str,
        probe: impl FnOnce() -> Result<T, E> + 'static,
    ) -> Suite {
        match Filter::parse(tag) {
            Ok(Filter { name, value: None }) => self.requirements.push(Requirement {
                tag: name,
                probe: Box::new(|| match caught(probe) {
                    Ok(answer) => answer.map(drop).map_err(|error| one_line(&format!("{error:#}"))),
                    Err(panic) => Err(one_line(&format!("the probe {panic}"))),
                }),
            }),
            Ok(filter) => self.mistakes.push(Mistake::RequirementOfValue { filter }),
            Err(cause) => self.mistakes.push(Mistake::Tag { cause, place: "requires".to_owned() }),
        }
        self
    }

    /// Excludes tests by default, by `"tag"` or `"tag:value"`, as `--exclude` would.
    pub fn exclude(mut self, filter: &str) -> Suite {
        match Filter::parse(filter) {
            Ok(filter) => self.exclude.push(filter),
            Err(cause) => self.mistakes.push(Mistake::Tag { cause, place: "exclude".to_owned() }),
        }
        self
    }

    /// Adds a test. It passes if `body` returns `Ok(())`, and fails if it returns an error or panics.
    ///
    /// The name is a sentence, or a path like `buckets::are_created`. Tests run on several threads at once, but for
    /// `--test-threads 1`.
    pub fn test(mut self, name: &str, body: impl FnOnce() -> TestResult + Send + 'static) -> Suite {
        let tags = Vec::new();
        self.tests.push(Test { name: name.to_owned(), tags, body: Box::new(body) });
        self
    }

    /// Adds a test that awaits: a [`test`](Suite::test) on a current-thread tokio runtime of its own, with I/O and time. What it
    /// has spawned ends with it.
    pub fn async_test<F>(self, name: &str, body: impl FnOnce() -> F + Send + 'static) -> Suite
    where
        F: Future<Output = TestResult> + 'static,
    {
        self.test(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(body())
        })
    }

    /// Gives a tag to the test that was added last; before the first test, to all of the suite.
    ///
    /// `.tag("slow", true)` is what ExUnit writes as `@tag :slow`. A second value for the same tag replaces the first one.
    pub fn tag(mut self, name: &str, value: impl Display) -> Suite {
        let place = self.tests.last().map_or("all tests", |test| &test.name).to_owned();
        match Tag::new(name, &value.to_string()) {
            Ok(tag) if tag.name == EVERY_TEST => self.mistakes.push(Mistake::Reserved { place }),
            Ok(tag) => {
                let tags = self.tests.last_mut().map_or(&mut self.tags, |test| &mut test.tags);
                tags.retain(|other| other.name != tag.name);
                tags.push(tag);
            }
            Err(cause) => self.mistakes.push(Mistake::Tag { cause, place }),
        }
        self
    }

    /// Runs what the command line and the environment ask for, and prints it. To be returned from `main`.
    ///
    /// The exit code is libtest's: 0 if nothing failed, 101 if a test failed. It is also 101 if `--only` was given and no test ran,
    /// and 2 if the command line, the environment or the suite itself has a mistake; then no test was run.
    pub fn run(self) -> ExitCode {
        match self.prepare() {
            Ok(asked) => self.act(asked),
            Err(refusal) => {
                say(io::stderr(), &refusal);
                ExitCode::from(2)
            }
        }
    }

    /// Reads what is asked for, and looks for mistakes before anything has happened.
    fn prepare(&self) -> Result<Arguments, String> {
        let mistakes: String =
            self.mistakes().iter().map(|mistake| format!("error: {mistake}\n")).collect();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let words: Result<Vec<String>, _> =
            env::args_os().skip(1).map(|w| w.into_string()).collect();
        let words = words.map_err(|word| {
            format!("error: argument ({word:?}) is no Unicode; names and tags are text; write it in UTF-8\n")
        })?;
        let variable =
            |name: &str| env::var_os(name).map(|text| text.to_string_lossy().into_owned());
        let asked =
            arguments::parse(words, variable).map_err(|error| format!("error: {error}\n"))?;
        if let Some(path) = &asked.logfile
            && asked.mode != Mode::Help
        {
            File::create(path).map_err(|error| {
                format!("error: cannot write the log ({path}): {error}; --logfile is a file; give another path\n")
            })?;
        }
        Ok(asked)
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.clone();
        let mut names = HashSet::new();
        for Test { name, .. } in &self.tests {
            if name.trim() != name || name.is_empty() || name.contains(char::is_control) {
                mistakes.push(Mistake::Name { name: name.clone() });
            } else if name.starts_with('-') {
                mistakes.push(Mistake::NameLikeAnOption { name: name.clone() });
            } else if !names.insert(name) {
                mistakes.push(Mistake::Twice { name: name.clone() });
            }
        }
        mistakes
    }

    fn act(self, asked: Arguments) -> ExitCode {
        if asked.mode == Mode::Help {
            say(io::stdout(), HELP);
            return ExitCode::SUCCESS;
        }
        keep_places_of_panics();
        let (cases, bodies) = split(self.tests, &self.tags);
        let (required_tags, mut probes): (Vec<String>, Vec<_>) = self
            .requirements
            .into_iter()
            .map(|Requirement { tag, probe }| (tag, Some(probe)))
            .unzip();
        let selection = selection::select(&cases, &self.exclude, &required_tags, &asked, |index| {
            probes[index].take().map_or(Ok(()), |probe| probe())
        });
        let trials: Vec<Trial> = cases
            .iter()
            .zip(bodies)
            .zip(&selection.verdicts)
            .map(|((case, body), verdict)| trial(&case.name, body, verdict))
            .collect();
        if asked.mode == Mode::List {
            let _ = libtest_mimic::run(&harness(&asked, &cases, &selection), trials);
            return ExitCode::SUCCESS;
        }
        for remark in selection::remarks(&cases, &required_tags, &asked) {
            say(io::stderr(), &format!("note: {remark}\n"));
        }
        to_reader(&asked, &summary::opening(&selection));
        let conclusion = libtest_mimic::run(&harness(&asked, &cases, &selection), trials);
        if asked.format != Format::Pretty {
            to_reader(&asked, &summary::excluded_by_name(&cases, &selection));
        }
        let ran = conclusion.num_passed + conclusion.num_failed;
        to_reader(&asked, &summary::closing(ran, conclusion.num_failed, selection.excluded()));
        exit_code(&asked, ran, &conclusion)
    }
}

/// What of a suite cannot be meant.
#[derive(Clone, Debug, Error)]
enum Mistake {
    #[error("{cause} (of {place:?})")]
    Tag { cause: TagError, place: String },
    #[error(
        "tag name (test, of {place:?}) is taken; every test has it, with its own name; use another one"
    )]
    Reserved { place: String },
    #[error(
        "requirement ({filter}) is of a value; tests with the tag need it whatever the value; name the tag alone"
    )]
    RequirementOfValue { filter: Filter },
    #[error(
        "test name ({name:?}) is empty or not plain; it is one line without white space at its ends; give another one"
    )]
    Name { name: String },
    #[error("test name ({name:?}) begins with '-'; --exact could not choose it; give another one")]
    NameLikeAnOption { name: String },
    #[error(
        "test name ({name:?}) is there twice; names are what --exact and other tools choose by; rename one"
    )]
    Twice { name: String },
}

fn split(tests: Vec<Test>, common: &[Tag]) -> (Vec<Case>, Vec<Body>) {
    tests
        .into_iter()
        .map(|Test { name, tags: own, body }| {
            let mut tags = vec![Tag { name: EVERY_TEST.to_owned(), value: name.clone() }];
            tags.extend(
                common.iter().filter(|tag| own.iter().all(|other| other.name != tag.name)).cloned(),
            );
            tags.extend(own);
            (Case { name, tags }, body)
        })
        .unzip()
}

fn trial(name: &str, body: Body, verdict: &Verdict) -> Trial {
    match verdict {
        Verdict::Run | Verdict::Deselect => Trial::test(name, || match caught(body) {
            Ok(result) => result.map_err(|failed| failed.into_reason().into()),
            Err(panic) => Err(panic.into()),
        }),
        Verdict::Fail(reason) => {
            let reason = reason.clone();
            Trial::test(name, || Err(Failed::because(reason).into_reason().into()))
        }
        Verdict::Exclude(reason) => {
            let reason = reason.clone();
            Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason)))
        }
    }
}

/// The choice is made; the harness gets it as names to skip, so that it counts what was filtered out.
fn harness(asked: &Arguments, cases: &[Case], selection: &Selection) -> libtest_mimic::Arguments {
    let deselected = |(case, verdict): (&Case, &Verdict)| {
        (*verdict == Verdict::Deselect).then(|| case.name.clone())
    };
    libtest_mimic::Arguments {
        list: asked.mode == Mode::List,
        exact: true,
        skip: cases.iter().zip(&selection.verdicts).filter_map(deselected).collect(),
        bench: asked.bench,
        test_threads: asked.threads.map(NonZero::get),
        logfile: asked.logfile.clone(),
        color: Some(match asked.color {
            Color::Auto => ColorSetting::Auto,
            Color::Always => ColorSetting::Always,
            Color::Never => ColorSetting::Never,
        }),
        format: Some(match asked.format {
            Format::Pretty => FormatSetting::Pretty,
            Format::Terse => FormatSetting::Terse,
            Format::Json => FormatSetting::Json,
        }),
        ..Default::default()
    }
}

fn exit_code(asked: &Arguments, ran: u64, conclusion: &Conclusion) -> ExitCode {
    let only: Vec<String> = asked
        .given
        .iter()
        .filter(|(option, _)| *option == TagOption::Only)
        .map(|(_, filter)| filter.to_string())
        .collect();
    if ran == 0 && !only.is_empty() {
        say(
            io::stderr(),
            &format!(
                "error: no test was run (--only {}); --only is there to run some; \
                 look at the tags and names that were given\n",
                only.join(" --only ")
            ),
        );
        return ExitCode::from(101);
    }
    conclusion.exit_code()
}

/// Lines for people go where the tests' lines go, but a stream of JSON is left alone.
fn to_reader(asked: &Arguments, text: &str) {
    if asked.format == Format::Json {
        say(io::stderr(), text);
    } else {
        say(io::stdout(), text);
    }
}

/// Who does not read any more misses nothing.
fn say(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}

/// Reasons stand at the end of a test's line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
