//! Registering names: in a region, or in this node alone.

use fedist_registry::RegionPid;

use super::path::is_name;
use crate::Node;

/// Who can find a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameScope {
    /// This node alone; found as `name`.
    Node,
    /// Every region, as `region/name`; from this node as `name` too.
    Region,
}

/// One registered name of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    /// The name.
    pub name: String,
    /// Who can find it.
    pub scope: NameScope,
    /// Who has it.
    pub pid: RegionPid,
}

/// Why a name was not registered; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// An actor of this node holds the name, perhaps the same one.
    #[error(
        "name taken ({name}, by {holder}); a name is held by one actor; unregister it first or choose another"
    )]
    Taken {
        /// The name.
        name: String,
        /// The actor that holds it.
        holder: RegionPid,
    },
    /// The name does not have the form of a name.
    #[error(
        "malformed name ({name}); a name is 1 to 255 bytes without control characters, does not begin with '@', and has no '/' if only its node sees it; choose another"
    )]
    Malformed {
        /// The name.
        name: String,
    },
    /// Nothing lives at the pid (any more).
    #[error("actor {0} has ended; only a living actor can have a name")]
    Ended(RegionPid),
    /// The actor lives in another region, which is the one to name it.
    #[error("actor {0} lives in another region; a region names its own actors; register it there")]
    Foreign(RegionPid),
}

impl Node {
    /// Gives a living actor of this node a name of its region: found as `region/name` from anywhere,
    /// and as `name` from here. Takes a pid or a `&LocalAddr`.
    ///
    /// As Erlang's `register/2`, except that one actor may hold several names: a name that is taken
    /// stays with its holder, also when that is the same actor. The name is free again when the
    /// actor ends or [`unregister`](Self::unregister) is called. A region is the only writer of its
    /// names, so they never conflict. The name gives nobody access: other regions may send only what
    /// the actor exports.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register(
        &self,
        name: impl Into<String>,
        actor: impl Into<RegionPid>,
    ) -> Result<(), RegisterError> {
        self.register_in(NameScope::Region, name.into(), actor.into())
    }

    /// As [`register`](Self::register), for a name that only this node sees, as `name`. It hides a
    /// name of the region that is written the same.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register_local(
        &self,
        name: impl Into<String>,
        actor: impl Into<RegionPid>,
    ) -> Result<(), RegisterError> {
        self.register_in(NameScope::Node, name.into(), actor.into())
    }

    /// Frees a name of the region and gives the pid that held it. Other regions that have looked it
    /// up lately may go on finding the actor for up to 30 s.
    pub fn unregister(&self, name: &str) -> Option<RegionPid> {
        self.inner().processes.unregister(NameScope::Region, name)
    }

    /// Frees a name that only this node sees, and gives the pid that held it.
    pub fn unregister_local(&self, name: &str) -> Option<RegionPid> {
        self.inner().processes.unregister(NameScope::Node, name)
    }

    /// All registered names of this node, in order.
    pub fn registered(&self) -> Vec<Registration> {
        let mut registered = self.inner().processes.registered();
        registered.sort_unstable();
        registered
    }

    fn register_in(
        &self,
        scope: NameScope,
        name: String,
        pid: RegionPid,
    ) -> Result<(), RegisterError> {
        // `@` and `/` mean something else where the name stands alone as a path.
        let unfindable = scope == NameScope::Node && name.contains('/');
        if !is_name(&name) || name.starts_with('@') || unfindable {
            return Err(RegisterError::Malformed { name });
        }
        if pid.region() != self.region() {
            return Err(RegisterError::Foreign(pid));
        }
        let process = self.local_address_of(pid).ok_or(RegisterError::Ended(pid))?;
        match self.inner().processes.register(scope, &name, &process) {
            Ok(true) => Ok(()),
            Ok(false) => Err(RegisterError::Ended(pid)),
            Err(holder) => Err(RegisterError::Taken { name, holder }),
        }
    }
}
