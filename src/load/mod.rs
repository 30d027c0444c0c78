//! Load generation.

pub mod client;
pub mod plan;
pub mod relay;
pub mod replay;
pub mod stats;

pub use plan::Plan;
pub use stats::Stats;
