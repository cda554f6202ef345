//! Whole federations in one process: a seeded event simulation over the pure engines of FeDist.
//!
//! No sockets, no threads, no clock but the virtual one: what runs here are the engines of [`fedist_registry`], in a made-up
//! or a measured world. One seed gives one result.
//!
//! Reading order: [`World`] (who is where), [`Wiring`] (tree and links), [`EventQueue`] (virtual time), then the questions.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod adaptive_mesh;
mod area_load;
mod cities;
mod event_queue;
mod footprint;
mod full_mesh;
mod goal;
mod join_storm;
mod mix;
mod outage;
mod propagation;
mod rtt_matrix;
mod rtt_model;
mod saving;
mod scale;
mod series;
mod wiring;
mod world;

pub use adaptive_mesh::{AdaptiveMesh, mesh_rows};
pub use area_load::{AreaLoad, Follow, area_load};
pub use event_queue::EventQueue;
pub use footprint::{Footprint, footprint};
pub use full_mesh::FullMesh;
pub use goal::GoalRow;
pub use join_storm::{Storm, StormConfig, join_storm};
pub use outage::{Outage, Spread, link_losses, region_losses};
pub use propagation::{Propagation, propagate};
pub use rtt_matrix::RttMatrix;
pub use rtt_model::{AdvertRate, RttModel, advert_rate};
pub use saving::{Saving, saving_after_strained_start, saving_kept, saving_rows};
pub use scale::{LinkStateLoad, Machine, ScaleConfig, ScaleReport, simulate};
pub use series::{SeriesOutcome, planetlab_rows, planetlab_series, run_series};
pub use wiring::Wiring;
pub use world::World;
