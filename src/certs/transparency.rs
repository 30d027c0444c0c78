//! Certificate Transparency (RFC 6962): the timestamps in a certificate, checked against a list of
//! logs, and whether browsers would be content with them.
//!
//! Only embedded timestamps are looked at. A server could also send them in a TLS extension or in
//! its staple, but authorities have embedded them for years, and rustls has no way to send the
//! extension.

mod log_list;
mod policy;
mod sct;
#[cfg(test)]
pub(crate) mod tests;

pub use self::log_list::{LogList, LogState};
pub use self::policy::{Shortfall, shortfall};
pub(super) use self::sct::embedded;
pub use self::sct::{Sct, SctVerdict};
