//! Metrics, access log, admin.
