//! How a name is written: `region/name`, `name`, `@alias`.

use super::LookupError;

/// The longest name, in bytes.
pub(crate) const NAME_LEN_MAX: usize = 255;

/// A path, taken apart. The region is resolved when it is used, since names of regions may change hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamePath {
    /// `name`: of this node, its node-local names first.
    Here(String),
    /// `region/name`, with the region's name or number.
    Region { region: String, name: String },
    /// `@alias`: held by one actor of the whole federation.
    Alias(String),
}

impl NamePath {
    pub(crate) fn parse(path: &str) -> Result<Self, LookupError> {
        let malformed = || LookupError::Malformed { path: path.to_owned() };
        let parsed = match (path.strip_prefix('@'), path.split_once('/')) {
            (Some(alias), _) => NamePath::Alias(alias.to_owned()),
            (None, Some((region, name))) => {
                NamePath::Region { region: region.to_owned(), name: name.to_owned() }
            }
            (None, None) => NamePath::Here(path.to_owned()),
        };
        let complete = match &parsed {
            NamePath::Here(name) | NamePath::Alias(name) => is_name(name),
            NamePath::Region { region, name } => !region.is_empty() && is_name(name),
        };
        if complete { Ok(parsed) } else { Err(malformed()) }
    }
}

/// 1 to 255 bytes, no control characters.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_region_an_alias_or_this_node() {
        let region = |region: &str, name: &str| NamePath::Region {
            region: region.to_owned(),
            name: name.to_owned(),
        };
        for (text, expected) in [
            ("notes", Some(NamePath::Here("notes".to_owned()))),
            ("us-east/room/rust", Some(region("us-east", "room/rust"))),
            ("7/notes", Some(region("7", "notes"))),
            ("@leader", Some(NamePath::Alias("leader".to_owned()))),
            ("@room/rust", Some(NamePath::Alias("room/rust".to_owned()))),
            ("", None),
            ("@", None),
            ("/notes", None),
            ("7/", None),
            ("a\nb", None),
        ] {
            assert_eq!(NamePath::parse(text).ok(), expected, "{text:?}");
        }
        assert!(NamePath::parse(&"x".repeat(256)).is_err());
        assert!(NamePath::parse(&"x".repeat(255)).is_ok());
    }
}
