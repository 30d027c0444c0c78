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

/// Why a file of a pair cannot be used.
#[derive(Clone, Debug)]
pub struct FileError {
    /// Whether the chain's file is to blame.
    pub chain: bool,
    /// What is wrong, with the path.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl FileError {
    fn unreadable(path: &Path, chain: bool, error: &io::Error) -> Self {
        Self {
            chain,
            message: format!("cannot read {}: {error}", path.display()),
            hint: match error.kind() {
                io::ErrorKind::NotFound => "a path is relative to the file that it stands in",
                _ => "it has to be a file that the user of this program may read",
            },
        }
    }
}

/// Reads pairs of certificate files.
#[derive(Debug, Default)]
pub struct Store {
    pairs: HashMap<(PathBuf, PathBuf), Result<Loaded, Vec<FileError>>>,
}

impl Store {
    /// The pair in two files (which may be one), read at the first call.
    ///
    /// Both are read together, before either is parsed.
    ///
    /// # Errors
    /// A [`FileError`] for each file to blame.
    pub fn pair(&mut self, chain: &Path, key: &Path) -> Result<Loaded, Vec<FileError>> {
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
    ) -> Result<BTreeMap<PathBuf, Result<Loaded, Vec<FileError>>>, FileError> {
        let unreadable = |error| FileError::unreadable(directory, true, &error);
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let chain = entry.map_err(unreadable)?.path();
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

fn read_pair(chain_path: &Path, key_path: &Path) -> Result<Loaded, Vec<FileError>> {
    let read = |path: &Path, chain: bool| {
        fs::read(path).map_err(|error| FileError::unreadable(path, chain, &error))
    };
    let chain = read(chain_path, true);
    let key = (key_path != chain_path).then(|| read(key_path, false));
    let (chain, key) = match (chain, key.transpose()) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let key = key.as_ref().unwrap_or(&chain);
    let blame = |error: KeyError| {
        let path = match error.blames_chain() {
            true => chain_path,
            false => key_path,
        };
        vec![FileError {
            chain: error.blames_chain(),
            message: format!("{}: {error}", path.display()),
            hint: error.hint(),
        }]
    };
    let pair = Pair::from_pem(&chain, key).map_err(blame)?;
    Ok(Loaded {
        pair,
        tag: Tag::of(&[b"cutwater files 1", &chain, key]),
    })
}
