//! Configuration: what is typed (file) → what is compiled (snapshot) → what is current (reload).

pub mod file;
pub mod names;
pub mod reload;
pub mod site_tls;
pub mod snapshot;
