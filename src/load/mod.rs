//! Load generation.

pub mod arguments;
pub mod client;
pub mod command;
mod compression;
pub mod cpu;
pub mod engine;
#[doc(hidden)]
pub mod h3;
pub mod plan;
pub mod relay;
pub mod replay;
pub mod report;
pub mod stats;

pub use engine::{RunError, Stop, run};
pub use plan::Plan;
pub use stats::Stats;
