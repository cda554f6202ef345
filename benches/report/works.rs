//! All works. A group is a file of its own that gives its [`Group`]; add it to [`GROUPS`].

mod held;
mod local;
mod many;
mod relay;
mod remote;
mod routes;
mod scale;
mod store;
mod supervision;

use crate::work::{Group, Work};

pub(crate) const GROUPS: &[Group] = &[
    local::GROUP,
    remote::GROUP,
    relay::GROUP,
    supervision::GROUP,
    store::GROUP,
    many::GROUP,
    held::GROUP,
    routes::GROUP,
    scale::GROUP,
];

/// All works, in the order of the report.
pub(crate) fn all() -> impl Iterator<Item = &'static Work> {
    GROUPS.iter().flat_map(|group| group.works)
}
