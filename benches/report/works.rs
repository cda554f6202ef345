//! All works. A group is a file of its own that gives its [`Group`]; add it to [`GROUPS`].

mod local;
mod relay;
mod remote;
mod supervision;

use crate::work::{Group, Work};

pub(crate) const GROUPS: &[Group] =
    &[local::GROUP, remote::GROUP, relay::GROUP, supervision::GROUP];

/// All works, in the order of the report.
pub(crate) fn all() -> impl Iterator<Item = &'static Work> {
    GROUPS.iter().flat_map(|group| group.works)
}
