//! How the command line names a region or an actor.

use std::{collections::HashMap, fmt, str::FromStr};

use fedist::{
    NodeStatus, RegionId, RegionPid, RegionStatus,
    registry::{IdError, RegionName, RegionNameError},
};

use super::exit::{Exit, Failure};

/// A region by number or by name. Names are never digits alone, so the two cannot be confused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegionRef {
    Id(RegionId),
    Name(RegionName),
}

/// What a ping is for: a region, or one actor by its pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Region(RegionRef),
    Actor(RegionPid),
}

/// Why a text names neither a region nor an actor. Nothing was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// It looks like a number or a pid, and is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// It looks like a name, and is none.
    #[error(transparent)]
    Name(#[from] RegionNameError),
}

impl RegionRef {
    /// The region's number, by the registry copy of the node that is asked.
    ///
    /// # Errors
    /// A region that the copy does not have.
    pub(crate) fn resolve(&self, status: &NodeStatus) -> Result<RegionId, Failure> {
        let found = status.regions.iter().find(|region| match self {
            RegionRef::Id(id) => region.id == *id,
            RegionRef::Name(name) => region.name == name.as_str(),
        });
        found.map(|region| region.id).ok_or_else(|| {
            Failure::new(
                Exit::Other,
                format!(
                    "unknown region ({self}, asked at region {}); the node's copy of the registry has no such region; list them: fedist regions",
                    status.region
                ),
            )
        })
    }
}

impl FromStr for RegionRef {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && !text.is_empty() {
            return Ok(Self::Id(text.parse()?));
        }
        Ok(Self::Name(text.parse()?))
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.contains('.') {
            return Ok(Self::Actor(text.parse()?));
        }
        Ok(Self::Region(text.parse()?))
    }
}

impl fmt::Display for RegionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegionRef::Id(id) => id.fmt(f),
            RegionRef::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Region(region) => region.fmt(f),
            Target::Actor(pid) => pid.fmt(f),
        }
    }
}

/// The names of the regions that a node knows, to be said beside their numbers.
#[derive(Default)]
pub(crate) struct Names<'a>(HashMap<RegionId, &'a str>);

impl<'a> Names<'a> {
    pub(crate) fn of(status: &'a NodeStatus) -> Self {
        let name = |region: &'a RegionStatus| (region.id, region.name.as_str());
        Self(status.regions.iter().map(name).collect())
    }

    /// The name; none for a region that the registry copy does not have.
    pub(crate) fn get(&self, id: RegionId) -> Option<&'a str> {
        self.0.get(&id).copied()
    }

    /// `2 eu-west`, or the number alone.
    pub(crate) fn label(&self, id: RegionId) -> String {
        match self.get(id) {
            Some(name) => format!("{id} {name}"),
            None => id.to_string(),
        }
    }

    /// A path with numbers and names, in the order of travel.
    pub(crate) fn path(&self, ids: &[RegionId]) -> String {
        let stops: Vec<String> = ids.iter().map(|id| self.label(*id)).collect();
        stops.join(" → ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_pids_are_told_apart() {
        let seven = RegionId::new(7).unwrap();
        assert_eq!("7".parse(), Ok(Target::Region(RegionRef::Id(seven))));
        assert_eq!(
            "eu-west".parse(),
            Ok(Target::Region(RegionRef::Name("eu-west".parse().unwrap())))
        );
        assert_eq!("7.42".parse(), Ok(Target::Actor("7.42".parse().unwrap())));
    }

    #[test]
    fn what_names_nothing_is_refused_with_the_rule() {
        let refused = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert!(refused("0").contains("regions are numbered 1..=65534"));
        assert!(refused("65535").contains("regions are numbered 1..=65534"));
        for text in ["7.", "7.x", ".", "7.4.2", ".42", "07.1"] {
            assert!(refused(text).contains("malformed pid"), "{text}");
        }
        assert!(refused("07").contains("malformed region id"));
        assert!(refused("").contains("empty"));
        assert!(refused("Eu").contains("a-z"));
    }
}
