//! Whole federations in one process: over the seeded memory fabric, and over real QUIC.

mod addressing;
mod areas;
mod autonomy;
mod connecting;
mod discovery;
mod failover;
mod faults;
mod flooding;
mod grants;
mod handlers;
mod hostile;
mod mailboxes;
mod measure;
mod membership;
mod mesh;
mod monitors;
mod quorum;
mod registry;
mod routes;
mod runs;
mod support;
mod tasks;
mod traces;
