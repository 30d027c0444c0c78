//! Load generation.

pub mod client;
pub mod plan;
pub mod relay;
pub mod stats;

pub use plan::Plan;
pub use stats::Stats;
