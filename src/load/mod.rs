//! Load generation.

pub mod relay;
