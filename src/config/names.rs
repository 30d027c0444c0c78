//! To come.

/// To come.
#[derive(Debug)]
pub struct NameIndex<T>(Vec<T>);

/// To come.
#[derive(Debug)]
pub struct SiteName(String);
