//! Certificates and keys: read, paired, checked, kept once.

pub mod chooser;
pub mod compression;
pub mod describe;
pub(crate) mod foreign;
pub mod keys;
pub mod leaf;
pub mod ocsp;
pub mod shown;
pub mod store;
pub mod transparency;
