//! Rules as values.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    ByCapacity, ById, ByPrivilege, ConsistentHash, Delineator, Fallback, FirstOf, Fixed,
    HierarchyWalk, Nearest, PlaceKey, Random, RangeTable, RoundRobin,
};
use crate::RegionId;

/// A rule over [`PlaceKey`]s.
pub type BoxedRule = Box<dyn Delineator<Key = PlaceKey> + Sync>;

/// A rule as a value: it can be written in a file and sent in a message, to replace another one while the program runs.
///
/// ```
/// use fedist_registry::Rule;
///
/// let rule: Rule = toml::from_str(
///     r#"
///     rule = "first-of"
///     rules = [
///         { rule = "range-table", table = [{ keys = "a..m", region = 1 }] },
///         { rule = "consistent-hash" },
///     ]
///     "#,
/// )?;
/// assert_eq!(rule.to_string(), "first of (range table [a..m => 1], consistent hash)");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Rule {
    /// [`ById`].
    ById,
    /// [`Fixed`].
    Fixed {
        /// The region of everything.
        region: RegionId,
    },
    /// [`RangeTable`].
    RangeTable {
        /// The table.
        table: RangeTable,
    },
    /// [`RoundRobin`].
    RoundRobin,
    /// [`Random`].
    Random {
        /// Where the sequence of lots begins; another one at each start if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
    },
    /// [`ConsistentHash`].
    ConsistentHash {
        /// The weights of regions; 1 for those that are not listed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        weights: Vec<Weight>,
        /// Takes the capacities of the table as weights instead.
        #[serde(default, skip_serializing_if = "is_false")]
        by_capacity: bool,
    },
    /// [`ByCapacity`].
    ByCapacity,
    /// [`ByPrivilege`].
    ByPrivilege,
    /// [`Nearest`].
    Nearest,
    /// [`HierarchyWalk`].
    HierarchyWalk,
    /// [`FirstOf`].
    FirstOf {
        /// Asked in turn.
        rules: Vec<Rule>,
    },
    /// [`Fallback`].
    Fallback {
        /// Asked first.
        first: Box<Rule>,
        /// Asked where the home cannot be reached.
        otherwise: Box<Rule>,
    },
    /// A rule of the application's own, which the node lists by this name.
    Named {
        /// The name.
        name: String,
    },
}

/// The weight of a region in a [`ConsistentHash`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Which region.
    pub region: RegionId,
    /// Its weight.
    pub weight: f64,
}

/// Why a rule could not be made from its description.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BuildRuleError {
    /// A rule of the application's own inside of another one.
    #[error("rule '{0}' inside of another rule; a named rule stands alone; compose inside of it")]
    NamedInside(String),
    /// Rules inside of rules inside of rules.
    #[error("rule is nested too deeply; rules are nested 8 deep at most; make it flatter")]
    TooDeep,
    /// Too many parts or entries.
    #[error("rule is too large; it has at most 256 parts and 65536 entries; make it smaller")]
    TooLarge,
    /// A weight that is none.
    #[error("weight ({value}, region {region}); a weight is a number from 0 up; correct it")]
    BadWeight {
        /// Of which region.
        region: RegionId,
        /// The value.
        value: String,
    },
}

impl Rule {
    /// The rule that this describes. `seed` is for rules that draw lots and name no seed. A named rule cannot be built: the
    /// node that lists it does.
    ///
    /// # Errors
    /// [`BuildRuleError`].
    pub fn build(&self, seed: u64) -> Result<BoxedRule, BuildRuleError> {
        let mut parts = 0;
        self.build_part(seed, 0, &mut parts)
    }

    fn build_part(
        &self,
        seed: u64,
        depth: usize,
        parts: &mut usize,
    ) -> Result<BoxedRule, BuildRuleError> {
        *parts += 1;
        if depth >= MAX_DEPTH {
            return Err(BuildRuleError::TooDeep);
        }
        if *parts > MAX_PARTS {
            return Err(BuildRuleError::TooLarge);
        }
        let mut part = |rule: &Rule| rule.build_part(seed.wrapping_add(1), depth + 1, parts);
        Ok(match self {
            Rule::ById => Box::new(ById),
            Rule::Fixed { region } => Box::new(Fixed::new(*region)),
            Rule::RangeTable { table } if table.regions().count() > MAX_ENTRIES => {
                return Err(BuildRuleError::TooLarge);
            }
            Rule::RangeTable { table } => Box::new(table.clone()),
            Rule::RoundRobin => Box::new(RoundRobin::new()),
            Rule::Random { seed: told } => Box::new(Random::seeded(told.unwrap_or(seed))),
            Rule::ConsistentHash { by_capacity: true, .. } => {
                Box::new(ConsistentHash::by_capacity())
            }
            Rule::ConsistentHash { weights, .. } if weights.is_empty() => {
                Box::new(ConsistentHash::new())
            }
            Rule::ConsistentHash { weights, .. } => {
                if let Some(bad) =
                    weights.iter().find(|one| !(one.weight.is_finite() && one.weight >= 0.0))
                {
                    let value = bad.weight.to_string();
                    return Err(BuildRuleError::BadWeight { region: bad.region, value });
                }
                let weights = weights.iter().map(|one| (one.region, one.weight));
                Box::new(ConsistentHash::weighted(weights))
            }
            Rule::ByCapacity => Box::new(ByCapacity),
            Rule::ByPrivilege => Box::new(ByPrivilege),
            Rule::Nearest => Box::new(Nearest),
            Rule::HierarchyWalk => Box::new(HierarchyWalk),
            Rule::FirstOf { rules } => {
                let rules = rules.iter().map(part).collect::<Result<Vec<_>, _>>()?;
                Box::new(FirstOf::new(rules))
            }
            Rule::Fallback { first, otherwise } => {
                let first = part(first)?;
                Box::new(Fallback::new(first, part(otherwise)?))
            }
            Rule::Named { name } => return Err(BuildRuleError::NamedInside(name.clone())),
        })
    }

    /// The answer of the first of `rules` that has one.
    pub fn first_of(rules: impl IntoIterator<Item = Rule>) -> Self {
        Rule::FirstOf { rules: rules.into_iter().collect() }
    }

    /// This rule's answer, or that of another where its home cannot be reached.
    pub fn or_else(self, otherwise: Rule) -> Self {
        Rule::Fallback { first: Box::new(self), otherwise: Box::new(otherwise) }
    }
}

impl From<RangeTable> for Rule {
    fn from(table: RangeTable) -> Self {
        Rule::RangeTable { table }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rule::ById => f.write_str("by id"),
            Rule::Fixed { region } => write!(f, "region {region}"),
            Rule::RangeTable { table } => write!(f, "range table {table}"),
            Rule::RoundRobin => f.write_str("round robin"),
            Rule::Random { .. } => f.write_str("random"),
            Rule::ConsistentHash { by_capacity: true, .. } => {
                f.write_str("consistent hash by capacity")
            }
            Rule::ConsistentHash { weights, .. } if weights.is_empty() => {
                f.write_str("consistent hash")
            }
            Rule::ConsistentHash { .. } => f.write_str("weighted consistent hash"),
            Rule::ByCapacity => f.write_str("by capacity"),
            Rule::ByPrivilege => f.write_str("by privilege"),
            Rule::Nearest => f.write_str("nearest"),
            Rule::HierarchyWalk => f.write_str("hierarchy walk"),
            Rule::FirstOf { rules } => {
                f.write_str("first of (")?;
                for (at, rule) in rules.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{rule}")?;
                }
                f.write_str(")")
            }
            Rule::Fallback { first, otherwise } => write!(f, "{first}, or else {otherwise}"),
            Rule::Named { name } => write!(f, "{name}"),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

const MAX_DEPTH: usize = 8;
const MAX_PARTS: usize = 256;
const MAX_ENTRIES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delineation::{
        FederationView,
        testing::{federation, region},
    };

    fn all() -> Vec<Rule> {
        let weights = vec![Weight { region: region(2), weight: 2.5 }];
        vec![
            Rule::ById,
            Rule::Fixed { region: region(1) },
            "a..z => 1".parse::<RangeTable>().unwrap().into(),
            Rule::RoundRobin,
            Rule::Random { seed: None },
            Rule::Random { seed: Some(3) },
            Rule::ConsistentHash { weights: Vec::new(), by_capacity: false },
            Rule::ConsistentHash { weights, by_capacity: false },
            Rule::ConsistentHash { weights: Vec::new(), by_capacity: true },
            Rule::ByCapacity,
            Rule::ByPrivilege,
            Rule::Nearest,
            Rule::HierarchyWalk,
            Rule::first_of([Rule::ById, Rule::RoundRobin]),
            Rule::Nearest.or_else(Rule::ByCapacity),
        ]
    }

    #[test]
    fn every_rule_survives_a_message_and_a_file_and_can_be_built() {
        let registry = federation(&[1, 2]);
        let view = FederationView::new(region(1), &registry);
        for rule in all().into_iter().chain([Rule::first_of(all())]) {
            let bytes = rmp_serde::to_vec_named(&rule).unwrap();
            assert_eq!(rmp_serde::from_slice::<Rule>(&bytes).unwrap(), rule);
            let text = toml::to_string(&rule).unwrap();
            assert_eq!(toml::from_str::<Rule>(&text).unwrap(), rule, "{text}");
            let _ = rule.build(1).unwrap().home(&"key".into(), &view);
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let deep = (0..20).fold(Rule::ById, |rule, _| Rule::first_of([rule]));
        assert_eq!(deep.build(1).err(), Some(BuildRuleError::TooDeep));
        let wide = Rule::first_of(vec![Rule::ById; 300]);
        assert_eq!(wide.build(1).err(), Some(BuildRuleError::TooLarge));
        let named = Rule::first_of([Rule::Named { name: "mine".into() }]);
        assert_eq!(named.build(1).err(), Some(BuildRuleError::NamedInside("mine".into())));
        let weights = vec![Weight { region: region(2), weight: f64::NAN }];
        let bad = Rule::ConsistentHash { weights, by_capacity: false };
        assert!(matches!(bad.build(1), Err(BuildRuleError::BadWeight { .. })));
        assert!(toml::from_str::<Rule>("rule = \"magic\"").is_err());
        assert!(toml::from_str::<Rule>("rule = \"fixed\"\nregion = 1\nseed = 3").is_err());
    }
}
