//! The certificate files of one load, each pair read once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::keys::{KeyError, Pair};
use crate::tags::Tag;

/// A pair out of files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The pair.
    pub pair: Pair,
    /// A hash of the bytes of both files.
    pub tag: Tag,
}

/// Why a pair of files cannot be used.
#[derive(Clone, Debug)]
pub struct FileError {
    /// The file to blame.
    pub path: PathBuf,
    /// Whether that is the chain's file.
    pub chain: bool,
    /// What is wrong with it.
    pub message: String,
}

/// Reads pairs of certificate files.
#[derive(Debug, Default)]
pub struct Store {
    pairs: HashMap<(PathBuf, PathBuf), Result<Loaded, FileError>>,
}

impl Store {
    /// The pair in two files (which may be one), read at the first call.
    ///
    /// Both are read together, before either is parsed.
    ///
    /// # Errors
    /// [`FileError`] names the file to blame.
    pub fn pair(&mut self, chain: &Path, key: &Path) -> Result<Loaded, FileError> {
        let index = (chain.to_owned(), key.to_owned());
        self.pairs
            .entry(index)
            .or_insert_with(|| read_pair(chain, key))
            .clone()
    }

    /// Every pair of a directory by its file name without `.pem`: `NAME.pem` with `NAME.key`, or
    /// alone with both in it.
    ///
    /// # Errors
    /// If the directory itself cannot be read.
    pub fn directory(
        &mut self,
        directory: &Path,
    ) -> io::Result<BTreeMap<PathBuf, Result<Loaded, FileError>>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let chain = entry?.path();
            if chain.extension() != Some(OsStr::new("pem")) {
                continue;
            }
            let key = chain.with_extension("key");
            let pair = match key.exists() {
                true => self.pair(&chain, &key),
                false => self.pair(&chain, &chain),
            };
            found.insert(chain, pair);
        }
        Ok(found)
    }
}

fn read_pair(chain_path: &Path, key_path: &Path) -> Result<Loaded, FileError> {
    let read = |path: &Path, chain: bool| {
        fs::read(path).map_err(|error| FileError {
            path: path.to_owned(),
            chain,
            message: format!("cannot be read: {error}"),
        })
    };
    let chain = read(chain_path, true)?;
    let key = match key_path == chain_path {
        true => chain.clone(),
        false => read(key_path, false)?,
    };
    let blame = |error: KeyError| FileError {
        path: match error.blames_chain() {
            true => chain_path.to_owned(),
            false => key_path.to_owned(),
        },
        chain: error.blames_chain(),
        message: error.to_string(),
    };
    let pair = Pair::from_pem(&chain, &key).map_err(blame)?;
    Ok(Loaded {
        pair,
        tag: Tag::of(&[b"cutwater files 1", &chain, &key]),
    })
}
