//! What a cell's containers share: certificates, the files to fetch, the place for them, logs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cases::Case;
use crate::pki;
use crate::stop::Temporary;

/// Where clients are told that the server is. Its own port is taken on all addresses: the line has
/// another one.
pub const NAME: &str = "server4";
pub const PORT: u16 = 4433;
/// All names that the certificate covers.
const NAMES: [&str; 4] = ["server", NAME, "server6", "server46"];

/// A cell's directory.
pub struct Files {
    directory: Temporary,
    /// Names and contents.
    all: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// Makes what a case needs.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(case: &Case) -> Result<Self, String> {
        let directory = Temporary::new("cutwater-quic")?;
        for part in ["certs", "www", "downloads", "client", "server", "line"] {
            let part = directory.path().join(part);
            let made = fs::create_dir(&part);
            // Containers run as another user, who leaves files in some of them.
            let made =
                made.and_then(|()| fs::set_permissions(&part, fs::Permissions::from_mode(0o777)));
            made.map_err(|error| format!("{}: {error}", part.display()))?;
        }
        pki::chain(&directory.path().join("certs"), &NAMES, case.chain)?;
        let sizes = case.files.iter();
        let sizes = sizes.flat_map(|&(count, size)| std::iter::repeat_n(size, count));
        let mut noise = Noise(case.name.len() as u64);
        let all: Vec<_> = sizes
            .enumerate()
            .map(|(index, size)| (noise.name(index, case.name_length), noise.content(size)))
            .collect();
        for (name, content) in &all {
            write(&directory.path().join("www").join(name), content)?;
        }
        Ok(Self { directory, all })
    }

    /// A part of it.
    pub fn part(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// All of it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the client is to fetch.
    pub fn requests(&self) -> String {
        let urls = self
            .all
            .iter()
            .map(|(name, _)| format!("https://{NAME}:{PORT}/{name}"));
        urls.collect::<Vec<_>>().join(" ")
    }

    /// How many files there are, and the length of all their names.
    pub fn figures(&self) -> (usize, usize) {
        (
            self.all.len(),
            self.all.iter().map(|(name, _)| name.len()).sum(),
        )
    }

    /// What is wrong with the files that were fetched.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, content) in &self.all {
            let short = &name[..name.len().min(12)];
            match fs::read(self.part("downloads").join(name)) {
                Ok(fetched) if fetched == *content => {}
                Ok(fetched) => wrong.push(format!(
                    "{short}: {} bytes, not the {} that it has",
                    fetched.len(),
                    content.len()
                )),
                Err(_) => wrong.push(format!("{short} is missing")),
            }
        }
        wrong
    }

    /// The keys of the client's connections, or the server's, as they lie in the directory.
    pub fn keys(&self) -> Option<&'static str> {
        ["client/keys.log", "server/keys.log"]
            .into_iter()
            .find(|file| {
                let text = fs::read_to_string(self.part(file)).unwrap_or_default();
                text.contains("SERVER_HANDSHAKE_TRAFFIC_SECRET")
            })
    }
}

fn write(file: &Path, content: &[u8]) -> Result<(), String> {
    fs::write(file, content).map_err(|error| format!("{}: {error}", file.display()))
}

/// Content that nobody could have but by fetching it.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn content(&mut self, size: usize) -> Vec<u8> {
        let mut content = Vec::with_capacity(size + 8);
        while content.len() < size {
            content.extend(self.next().to_le_bytes());
        }
        content.truncate(size);
        content
    }

    fn name(&mut self, index: usize, length: usize) -> String {
        let mut name = format!("{index}-");
        while name.len() < length {
            let letter = (self.next() % 26) as u8;
            name.push(char::from(b'a' + letter));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;

    #[test]
    fn what_is_fetched_is_compared_with_what_was_there() {
        let case = CASES.iter().find(|case| case.name == "resumption").unwrap();
        let files = Files::new(case).unwrap();
        assert_eq!(files.wrong().len(), 2);
        let fetch = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut content = fs::read(files.part("www").join(name)).unwrap();
            change(&mut content);
            fs::write(files.part("downloads").join(name), content).unwrap();
        };
        for (name, _) in &files.all {
            fetch(name, &|_| {});
        }
        assert!(files.wrong().is_empty());
        fetch(&files.all[0].0, &|content| content[77] ^= 1);
        assert_eq!(files.wrong().len(), 1);
        fetch(&files.all[0].0, &|content| content.truncate(77));
        assert_eq!(files.wrong().len(), 1);
        assert_eq!(files.requests().split(' ').count(), 2);
        assert_eq!(files.keys(), None);
    }
}
