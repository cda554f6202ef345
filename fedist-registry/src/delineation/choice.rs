//! Rules made of rules.

use super::{BoxedRule, Caching, Delineator, FederationView, NoHome, PlaceKey};
use crate::RegionId;

/// The answer of the first rule that has one. If none has, the reasons of all.
pub struct FirstOf {
    rules: Vec<BoxedRule>,
}

impl FirstOf {
    /// Asks these rules in turn.
    pub fn new(rules: impl IntoIterator<Item = BoxedRule>) -> Self {
        FirstOf { rules: rules.into_iter().collect() }
    }
}

impl Delineator for FirstOf {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let mut reasons = Vec::new();
        for rule in &self.rules {
            match rule.home(key, view) {
                Ok(home) => return Ok(home),
                Err(no_home) => reasons.push(no_home),
            }
        }
        match reasons.len() {
            1 => Err(reasons.remove(0)),
            _ => Err(NoHome::NoneOf { reasons: reasons.iter().map(NoHome::to_string).collect() }),
        }
    }

    fn caching(&self) -> Caching {
        self.rules.iter().map(|rule| rule.caching()).min().unwrap_or(Caching::Registry)
    }
}

/// The answer of one rule, unless that is a region that is not live or cannot be reached now, or none: then that of another.
///
/// If the other has no answer either, the first one's stands.
pub struct Fallback {
    rule: BoxedRule,
    otherwise: BoxedRule,
}

impl Fallback {
    /// Asks `rule`, and `otherwise` where its answer is of no use now.
    pub fn new(rule: BoxedRule, otherwise: BoxedRule) -> Self {
        Fallback { rule, otherwise }
    }
}

impl Delineator for Fallback {
    type Key = PlaceKey;

    fn home(&self, key: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        let first = self.rule.home(key, view);
        match &first {
            Ok(home) if view.is_live(*home) && view.is_reachable(*home) => first,
            _ => self.otherwise.home(key, view).or(first),
        }
    }

    fn caching(&self) -> Caching {
        self.rule.caching().min(self.otherwise.caching()).min(Caching::View)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RegionPid,
        delineation::{
            ByCapacity, ById, ConsistentHash, Fixed, RangeTable,
            testing::{federation, home, region, routes},
        },
    };

    fn table(text: &str) -> BoxedRule {
        Box::new(text.parse::<RangeTable>().unwrap())
    }

    #[test]
    fn the_first_rule_with_an_answer_counts() {
        let registry = federation(&[1, 2, 3]);
        let rule = FirstOf::new([
            Box::new(ById) as BoxedRule,
            table("a..m => 2"),
            Box::new(Fixed::new(region(3))),
        ]);
        let pid: RegionPid = "1.300".parse().unwrap();
        assert_eq!(home(&rule, pid, &registry), Ok(region(1)));
        assert_eq!(home(&rule, "apple", &registry), Ok(region(2)));
        assert_eq!(home(&rule, "zoo", &registry), Ok(region(3)));
    }

    #[test]
    fn without_any_answer_all_reasons_are_told() {
        let registry = federation(&[1]);
        let rule = FirstOf::new([Box::new(ById) as BoxedRule, table("a..m => 2")]);
        let text = home(&rule, "zoo", &registry).unwrap_err().to_string();
        assert!(text.contains("zoo is no pid") && text.contains("could not find entry"), "{text}");
        let alone = home(&FirstOf::new([table("a..m => 1")]), "zoo", &registry);
        assert!(matches!(alone, Err(NoHome::NoEntry { .. })), "{alone:?}");
    }

    #[test]
    fn a_home_that_cannot_be_reached_is_stood_in_for() {
        let registry = federation(&[1, 2, 3]);
        let way = routes(1, &[(1, 2, 10)]);
        let view = FederationView::new(region(1), &registry).with_routes(&way);
        let rule = Fallback::new(
            table("a..m => 3, n..n => 9, o..o => 2"),
            Box::new(Fixed::new(region(2))),
        );
        let home = |name: &str| rule.home(&name.into(), &view);
        assert_eq!(home("apple"), Ok(region(2)), "3 has no route");
        assert_eq!(home("nine"), Ok(region(2)), "9 does not exist");
        assert_eq!(home("over"), Ok(region(2)));
        assert_eq!(home("zoo"), Ok(region(2)), "no entry");
        let stuck = Fallback::new(table("a..m => 3"), table("x..x => 1"));
        assert_eq!(stuck.home(&"apple".into(), &view), Ok(region(3)), "nothing better is known");
    }

    #[test]
    fn an_answer_holds_no_longer_than_that_of_any_part() {
        let hash = || Box::new(ConsistentHash::new()) as BoxedRule;
        assert_eq!(FirstOf::new([hash(), hash()]).caching(), Caching::Registry);
        assert_eq!(FirstOf::new([hash(), Box::new(ByCapacity)]).caching(), Caching::Never);
        assert_eq!(Fallback::new(hash(), hash()).caching(), Caching::View);
    }
}
