//! A rule of any key type behind encoded keys, and how it is made.

use std::{any::Any, sync::Arc};

use fedist_registry::{
    BoxedRule, BuildRuleError, Caching, Delineator, FederationView, NoHome, PlaceKey, RegionId,
    Rule,
};

use crate::message::decode;

/// A rule that takes encoded keys.
pub(crate) trait EncodedRule: Send {
    fn home(&self, key: &[u8], view: &FederationView<'_>) -> Result<RegionId, NoHome>;
    fn caching(&self) -> Caching;
}

/// Makes a rule, at first and again whenever it has failed.
pub(crate) type RuleFactory = Arc<dyn Fn() -> Box<dyn EncodedRule> + Send + Sync>;

/// An application's own rule.
struct Own<D>(D);

impl<D: Delineator> EncodedRule for Own<D> {
    fn home(&self, key: &[u8], view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        // A `PlaceKey` is made of whatever there is; other keys must be what the rule takes.
        let place: Box<dyn Any> = Box::new(PlaceKey::from_encoded(key));
        match place.downcast::<D::Key>() {
            Ok(key) => self.0.home(&key, view),
            Err(_) => {
                let wrong =
                    |error: crate::DecodeError| NoHome::WrongKey { reason: error.to_string() };
                self.0.home(&decode::<D::Key>(key).map_err(wrong)?, view)
            }
        }
    }

    fn caching(&self) -> Caching {
        self.0.caching()
    }
}

/// A rule in the box.
struct InBox(BoxedRule);

impl EncodedRule for InBox {
    fn home(&self, key: &[u8], view: &FederationView<'_>) -> Result<RegionId, NoHome> {
        self.0.home(&PlaceKey::from_encoded(key), view)
    }

    fn caching(&self) -> Caching {
        self.0.caching()
    }
}

/// The factory of an application's rule.
pub(crate) fn own_factory<D: Delineator>(
    make: impl Fn() -> D + Send + Sync + 'static,
) -> RuleFactory {
    Arc::new(move || Box::new(Own(make())))
}

/// The factory of a rule in the box. It is built once at once, so that it can be refused.
pub(super) fn factory_of(rule: &Rule, seed: u64) -> Result<RuleFactory, BuildRuleError> {
    rule.build(seed)?;
    let rule = rule.clone();
    Ok(Arc::new(move || match rule.build(seed) {
        Ok(built) => Box::new(InBox(built)),
        // Not reached: what was built once is built again.
        Err(error) => Box::new(Broken(error.to_string())),
    }))
}

/// Stands for a rule that could not be made.
struct Broken(String);

impl EncodedRule for Broken {
    fn home(&self, _: &[u8], _: &FederationView<'_>) -> Result<RegionId, NoHome> {
        Err(NoHome::refused(self.0.clone()))
    }

    fn caching(&self) -> Caching {
        Caching::Never
    }
}
