//! Staples on disk: a file for each certificate, named by its fingerprint.
//!
//! `FINGERPRINT.ocsp` holds an OCSPResponse in DER: what `openssl ocsp -respin` reads. It is
//! replaced whole, so that whoever reads it reads one or the other.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;

use super::subject::hex;
use super::verify::{Refusal, verify};
use super::{MAX_RESPONSE, Staple, Subject};

/// How long the file of a certificate that is not in use is left: longer than any staple is valid.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Why a staple in a file is none.
#[derive(Debug)]
pub enum FileError {
    /// The system's.
    Io(io::Error),
    /// It does not hold.
    Refused(Refusal),
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for FileError {}

/// Where the staple of a certificate is kept.
pub fn path(directory: &Path, fingerprint: &[u8; 32]) -> PathBuf {
    directory.join(format!("{}.ocsp", hex(fingerprint)))
}

/// The staple that was kept for a certificate, if it still holds at `now`.
///
/// # Errors
/// [`FileError`]; a file that is not there is one of `NotFound`.
pub fn read(directory: &Path, subject: &Subject, now: SystemTime) -> Result<Staple, FileError> {
    read_file(&path(directory, &subject.fingerprint), subject, now)
}

/// The staple in a file, if it holds for `subject` at `now`.
///
/// # Errors
/// [`FileError`].
pub fn read_file(path: &Path, subject: &Subject, now: SystemTime) -> Result<Staple, FileError> {
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(FileError::Io)?.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(FileError::Io(error));
    }
    let mut bytes = Vec::new();
    // One byte more than may be: then it is refused.
    let most = MAX_RESPONSE as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(FileError::Io)?;
    verify(&bytes, subject, None, now).map_err(FileError::Refused)
}

/// Keeps a staple; whatever happens there is the former file or the new one.
///
/// # Errors
/// The system's.
pub fn write(directory: &Path, subject: &Subject, staple: &Staple) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let path = path(directory, &subject.fingerprint);
    // Several processes may keep theirs in one directory, in containers all with the same id.
    let mut chance = [0; 8];
    rand::fill(&mut chance).map_err(|_| io::Error::other("no random numbers"))?;
    let new = path.with_extension(format!("{}.new", hex(&chance)));
    let mut file = File::create_new(&new)?;
    let written = file
        .write_all(&staple.der)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Takes away what belongs to none of `in_use` and has not been written for 90 days.
pub fn sweep(directory: &Path, in_use: &HashSet<[u8; 32]>, now: SystemTime) {
    let names: HashSet<String> = in_use.iter().map(|fingerprint| hex(fingerprint)).collect();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((stem, end)) = name.to_str().and_then(|name| name.split_once('.')) else {
            continue;
        };
        let digits = stem.bytes().all(|byte| byte.is_ascii_hexdigit());
        let ours = stem.len() == 64 && digits && (end == "ocsp" || end.ends_with(".new"));
        let old = || {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            written.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT))
        };
        if ours && !(end == "ocsp" && names.contains(stem)) && old() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Authority, DAY, noon};
    use super::super::tests::shown::staple;
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let subject = Authority::new("an authority").subject(7);
        write(directory.path(), &subject, &staple("former", noon() + DAY)).unwrap();
        let path = path(directory.path(), &subject.fingerprint);
        let mut reads = File::open(&path).unwrap();
        write(directory.path(), &subject, &staple("new", noon() + DAY)).unwrap();
        // Who reads meanwhile reads one of them, to its end.
        let mut text = String::new();
        reads.read_to_string(&mut text).unwrap();
        assert_eq!(text, "former");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_former_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let subject = Authority::new("an authority").subject(7);
        // Where the file belongs is a directory, which nothing is renamed to.
        let path = path(directory.path(), &subject.fingerprint);
        fs::create_dir(&path).unwrap();
        write(directory.path(), &subject, &staple("new", noon() + DAY)).unwrap_err();
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
