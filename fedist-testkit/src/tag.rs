//! What marks a test, and what chooses among the marked.

use std::fmt;

use thiserror::Error;

/// A mark of a test: a name and a value. Values are compared as text, so `true` and `"true"` are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Tag {
    pub(crate) fn new(name: &str, value: &str) -> Result<Tag, TagError> {
        check_name(name)?;
        check_value(name, value)?;
        Ok(Tag { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Chooses tests that have a tag, with any value (`slow`) or with one (`region:eu`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl Filter {
    /// Reads `TAG` or `TAG:VALUE`. The first colon separates, so a value may have more of them.
    pub(crate) fn parse(text: &str) -> Result<Filter, TagError> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        check_name(name)?;
        if let Some(value) = value {
            check_value(name, value)?;
        }
        Ok(Filter { name: name.to_owned(), value: value.map(str::to_owned) })
    }

    pub(crate) fn exactly(tag: &Tag) -> Filter {
        Filter { name: tag.name.clone(), value: Some(tag.value.clone()) }
    }

    pub(crate) fn any(name: &str) -> Filter {
        Filter { name: name.to_owned(), value: None }
    }

    pub(crate) fn matches(&self, tags: &[Tag]) -> bool {
        tags.iter().any(|tag| {
            tag.name == self.name && self.value.as_ref().is_none_or(|value| *value == tag.value)
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}:{value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Filters as ExUnit prints them: `[:slow, distributed: true, region: "eu"]`.
pub(crate) fn as_list(filters: &[Filter]) -> String {
    let (bare, valued): (Vec<&Filter>, Vec<&Filter>) =
        filters.iter().partition(|filter| filter.value.is_none());
    let shown: Vec<String> = bare
        .into_iter()
        .chain(valued)
        .map(|Filter { name, value }| match value {
            None => format!(":{name}"),
            Some(value) if is_literal(value) => format!("{name}: {value}"),
            Some(value) => format!("{name}: {value:?}"),
        })
        .collect();
    format!("[{}]", shown.join(", "))
}

fn is_literal(value: &str) -> bool {
    matches!(value, "true" | "false") || value.parse::<i64>().is_ok()
}

/// Why a text is neither a tag nor a filter. The same text is refused every time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TagError {
    #[error("a tag's name is empty; a filter is TAG or TAG:VALUE; name a tag, such as slow")]
    Empty,
    #[error(
        "tag name ({name:?}) contains {found:?}; names have no space, comma or colon; use letters, digits and '_'"
    )]
    BadCharacter { name: String, found: char },
    #[error("tag name ({name:?}) begins with '-' as options do; begin it with a letter")]
    LikeAnOption { name: String },
    #[error("tag ({name}) has no value behind the colon; leave out the colon, or give a value")]
    NoValue { name: String },
    #[error(
        "the value of tag ({name}) has a control character; values are one line of text; remove it"
    )]
    BadValue { name: String },
}

fn check_name(name: &str) -> Result<(), TagError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == ':';
    if name.is_empty() {
        Err(TagError::Empty)
    } else if let Some(found) = name.chars().find(|c| bad(*c)) {
        Err(TagError::BadCharacter { name: name.to_owned(), found })
    } else if name.starts_with('-') {
        Err(TagError::LikeAnOption { name: name.to_owned() })
    } else {
        Ok(())
    }
}

fn check_value(name: &str, value: &str) -> Result<(), TagError> {
    if value.is_empty() {
        Err(TagError::NoValue { name: name.to_owned() })
    } else if value.chars().any(char::is_control) {
        Err(TagError::BadValue { name: name.to_owned() })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_a_tag_by_name_or_by_name_and_value() {
        let tags = [("distributed", "true"), ("region", "eu"), ("test", "a: b")]
            .map(|(name, value)| Tag::new(name, value).unwrap());
        for (filter, expected) in [
            ("distributed", true),
            ("distributed:true", true),
            ("distributed:false", false),
            ("region", true),
            ("region:eu", true),
            ("region:EU", false),
            ("region:e", false),
            ("regio", false),
            ("slow", false),
            ("eu", false),
            ("test:a: b", true),
        ] {
            assert_eq!(Filter::parse(filter).unwrap().matches(&tags), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_says_why_and_what_to_do() {
        for (text, expected) in [
            ("", "a tag's name is empty; a filter is TAG or TAG:VALUE; name a tag, such as slow"),
            (
                ":eu",
                "a tag's name is empty; a filter is TAG or TAG:VALUE; name a tag, such as slow",
            ),
            (
                "region:",
                "tag (region) has no value behind the colon; leave out the colon, or give a value",
            ),
            (
                "a b",
                "tag name (\"a b\") contains ' '; names have no space, comma or colon; use letters, digits and '_'",
            ),
            ("-x", "tag name (\"-x\") begins with '-' as options do; begin it with a letter"),
            (
                "a:\n",
                "the value of tag (a) has a control character; values are one line of text; remove it",
            ),
        ] {
            assert_eq!(Filter::parse(text).unwrap_err().to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn lists_look_as_in_elixir() {
        for (filters, expected) in [
            (&["distributed:true"][..], "[distributed: true]"),
            (&["slow"], "[:slow]"),
            (&["region:eu", "slow"], "[:slow, region: \"eu\"]"),
            (&["line:9", "x:false", "v:1.5"], "[line: 9, x: false, v: \"1.5\"]"),
        ] {
            let filters: Vec<Filter> =
                filters.iter().map(|text| Filter::parse(text).unwrap()).collect();
            assert_eq!(as_list(&filters), expected);
        }
    }
}
