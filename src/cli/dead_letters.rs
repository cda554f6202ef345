//! `fedist dead-letters`: the messages that reached nobody, as far as a node remembers them.

use std::process::ExitCode;

use serde_json::json;

use super::{
    AdminArgs,
    admin::{Client, Letter, Letters},
    exit::{Exit, Failure},
    say, say_json,
    table::{Table, age},
};

/// The arguments of `fedist dead-letters`.
#[derive(clap::Args)]
pub(crate) struct DeadLettersArgs {
    /// Only those with this reason, e.g. no_actor; the counters stay
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &DeadLettersArgs) -> anyhow::Result<ExitCode> {
    let mut letters = Client::connect(&args.admin.data_dir())?.dead_letters()?;
    if let Some(reason) = &args.reason {
        check_reason(reason)?;
        letters.letters.retain(|letter| letter.reason == *reason);
    }
    if args.admin.json {
        let listed = letters.letters.iter().map(|letter| {
            json!({
                "age_ms": age_ms(&letters, letter),
                "from": letter.from.map(|from| from.to_string()),
                "to": letter.to.to_string(),
                "message": letter.message,
                "reason": letter.reason,
            })
        });
        say_json(&json!({
            "region": letters.region,
            "name": letters.name,
            "uptime_ms": letters.uptime_ms,
            "dropped": letters.dropped,
            "letters": listed.collect::<Vec<_>>(),
        }))?;
    } else {
        say(&render(&letters, args.reason.is_some()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A reason that was mistyped would look like good news.
fn check_reason(reason: &str) -> Result<(), Failure> {
    let known = serde_json::from_value::<fedist::DropReason>(json!(camel_case(reason)));
    match known {
        Ok(known) if known.to_string() == reason => Ok(()),
        _ => Err(Failure::new(
            Exit::Usage,
            format!(
                "unknown reason ({}); it is one of those that `fedist dead-letters` prints, such as no_actor, denied or session_ended; correct it or leave --reason out",
                printable(reason)
            ),
        )),
    }
}

/// `no_actor` as `NoActor`.
fn camel_case(snake: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
    };
    snake.split('_').map(word).collect::<Vec<String>>().concat()
}

fn age_ms(letters: &Letters, letter: &Letter) -> u64 {
    letters.uptime_ms.saturating_sub(letter.at_ms)
}

fn render(letters: &Letters, filtered: bool) -> String {
    let total: u64 = letters.dropped.values().sum();
    let here = format!("region {} {}", letters.region, letters.name);
    if total == 0 {
        return format!("{here}: no message was lost in {}\n", age(letters.uptime_ms));
    }
    let mut counters = Table::new(&["REASON", "#MESSAGES"]);
    for (reason, count) in &letters.dropped {
        counters.row([reason.clone(), count.to_string()]);
    }
    let mut table = Table::new(&["#AGE", "FROM", "TO", "MESSAGE", "REASON"]);
    for letter in &letters.letters {
        table.row([
            age(age_ms(letters, letter)),
            letter.from.map_or_else(|| "-".to_owned(), |from| from.to_string()),
            letter.to.to_string(),
            printable(&letter.message),
            letter.reason.clone(),
        ]);
    }
    let shown = letters.letters.len() as u64;
    let which = match (filtered, shown) {
        (true, 0) => "\nnone of the latest has that reason\n".to_owned(),
        (true, _) => format!("\nthose of the latest with that reason\n\n{}", table.render()),
        (false, _) if shown < total => {
            format!("\nthe latest {shown}, oldest first\n\n{}", table.render())
        }
        (false, _) => format!("\nall of them, oldest first\n\n{}", table.render()),
    };
    format!(
        "{here}: {total} message{} reached nobody in {}\n\n{}{which}",
        if total == 1 { "" } else { "s" },
        age(letters.uptime_ms),
        counters.render(),
    )
}

/// Text that may come from elsewhere, without what would move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(count: u64) -> Letters {
        let letter = |n: u64| {
            serde_json::from_value(json!({
                "at_ms": n * 1000, "from": (n.is_multiple_of(2)).then_some(0x0001_0000_0000_0100_u64),
                "to": 0x0002_0000_0000_0200_u64, "message": "chat.post", "reason": "no_actor",
            }))
            .unwrap()
        };
        Letters {
            region: fedist::RegionId::new(1).unwrap(),
            name: "home".to_owned(),
            uptime_ms: 60_000,
            dropped: [("no_actor".to_owned(), count)].into(),
            letters: (1..=count.min(2)).map(letter).collect(),
        }
    }

    #[test]
    fn the_latest_are_listed_below_the_counters() {
        assert_eq!(
            render(&letters(2), false),
            "region 1 home: 2 messages reached nobody in 1 min 0 s\n\n\
             REASON    MESSAGES\n\
             no_actor         2\n\n\
             all of them, oldest first\n\n\
             \u{20}AGE  FROM   TO     MESSAGE    REASON\n\
             59 s  -      2.512  chat.post  no_actor\n\
             58 s  1.256  2.512  chat.post  no_actor\n"
        );
        assert!(render(&letters(2000), false).contains("the latest 2, oldest first"));
        let mut none = letters(0);
        none.dropped.clear();
        assert_eq!(render(&none, false), "region 1 home: no message was lost in 1 min 0 s\n");
        none.dropped.insert("full".to_owned(), 3);
        assert!(render(&none, true).ends_with("none of the latest has that reason\n"));
    }

    #[test]
    fn a_reason_must_be_one_that_there_is() {
        for reason in ["no_actor", "full", "session_ended", "unknown_region"] {
            assert!(check_reason(reason).is_ok(), "{reason}");
        }
        for reason in ["", "NoActor", "no-actor", "noactor", "no_actor_", "\u{1b}[2J"] {
            let error = check_reason(reason).unwrap_err().to_string();
            assert!(error.starts_with("unknown reason (") && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn what_a_message_is_called_moves_no_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
