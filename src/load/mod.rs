//! Load generation.

pub mod client;
pub mod relay;
