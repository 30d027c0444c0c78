//! What is measured: the rows of the table.

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Full,
    Hybrid,
    Resumed,
    Early,
    H1,
    H2,
    ProxiedH1,
    ProxiedH2,
    ProxiedNew,
    Download,
    ProxiedDownload,
    ProxiedUpload,
    Idle,
    Slow,
    H3Full,
    H3Resumed,
    H3Early,
    H3,
    H3Download,
    H3Idle,
    Start,
    NamesMemory,
    NamesFull,
    Reload,
}

/// What a row's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// CPU time of the server for each operation.
    MicrosPerOperation,
    /// Gigabytes of bodies for each second of the server's CPU time. More is better.
    GigabytesPerSecond,
    /// Kilobytes (1,024 bytes) of the server's memory for each connection.
    KilobytesPerConnection,
    /// Megabytes (1,048,576 bytes) of the server's memory.
    Megabytes,
    /// Milliseconds on the clock.
    Milliseconds,
}

/// A load that `cutwater load` makes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Arguments behind the address.
    pub arguments: &'static [&'static str],
    /// What is asked for.
    pub path: &'static str,
    /// Whether each request carries the large file.
    pub upload: bool,
}

impl Unit {
    /// Whether the larger of two figures is the better one.
    pub fn more_is_better(self) -> bool {
        self == Self::GigabytesPerSecond
    }

    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MicrosPerOperation => "CPU µs",
            Self::GigabytesPerSecond => "GB per CPU s",
            Self::KilobytesPerConnection => "KB",
            Self::Megabytes => "MB",
            Self::Milliseconds => "ms",
        }
    }
}

const FULL: &[&str] = &[
    "--handshake",
    "full",
    "--connections",
    "16",
    "--groups",
    "X25519",
];
const HYBRID: &[&str] = &[
    "--handshake",
    "full",
    "--connections",
    "16",
    "--groups",
    "X25519MLKEM768",
];
const RESUMED: &[&str] = &[
    "--handshake",
    "resumed",
    "--connections",
    "16",
    "--groups",
    "X25519",
];
const EARLY: &[&str] = &[
    // A server that closes at once would close before the handshake's end, and with it the next ticket.
    "-H",
    "connection: keep-alive",
    "--handshake",
    "early",
    "--connections",
    "16",
    "--groups",
    "X25519",
];
const H1: &[&str] = &["--keep-alive", "--connections", "16"];
const H2: &[&str] = &[
    "--keep-alive",
    "--protocol",
    "h2",
    "--connections",
    "16",
    "--streams",
    "10",
];
const LARGE: &[&str] = &["--keep-alive", "--connections", "4"];
const H3_FULL: &[&str] = &[
    "--protocol",
    "h3",
    "--handshake",
    "full",
    "--connections",
    "16",
    "--groups",
    "X25519",
];
const H3_RESUMED: &[&str] = &[
    "--protocol",
    "h3",
    "--handshake",
    "resumed",
    "--connections",
    "16",
    "--groups",
    "X25519",
];
const H3_EARLY: &[&str] = &[
    "--protocol",
    "h3",
    "--handshake",
    "early",
    "--connections",
    "16",
    "--groups",
    "X25519",
];
const H3: &[&str] = &[
    "--keep-alive",
    "--protocol",
    "h3",
    "--connections",
    "16",
    "--streams",
    "10",
];
const H3_LARGE: &[&str] = &["--keep-alive", "--protocol", "h3", "--connections", "4"];

impl Row {
    /// All, in the order of the table.
    pub const ALL: [Self; 24] = [
        Self::Full,
        Self::Hybrid,
        Self::Resumed,
        Self::Early,
        Self::H1,
        Self::H2,
        Self::ProxiedH1,
        Self::ProxiedH2,
        Self::ProxiedNew,
        Self::Download,
        Self::ProxiedDownload,
        Self::ProxiedUpload,
        Self::Idle,
        Self::Slow,
        Self::H3Full,
        Self::H3Resumed,
        Self::H3Early,
        Self::H3,
        Self::H3Download,
        Self::H3Idle,
        Self::Start,
        Self::NamesMemory,
        Self::NamesFull,
        Self::Reload,
    ];

    /// The row of a key; [`Row::NamesMemory`] for `names`, which stands for two rows.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.key() == key)
    }

    /// All keys, for a message.
    pub fn keys() -> String {
        let mut keys: Vec<_> = Self::ALL.iter().map(|row| row.key()).collect();
        keys.dedup();
        keys.join(", ")
    }

    /// How it is called in files and arguments.
    pub fn key(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Hybrid => "hybrid",
            Self::Resumed => "resumed",
            Self::Early => "early",
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::ProxiedH1 => "proxied-h1",
            Self::ProxiedH2 => "proxied-h2",
            Self::ProxiedNew => "proxied-new",
            Self::Download => "download",
            Self::ProxiedDownload => "proxied-download",
            Self::ProxiedUpload => "proxied-upload",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::H3Full => "h3-full",
            Self::H3Resumed => "h3-resumed",
            Self::H3Early => "h3-0rtt",
            Self::H3 => "h3",
            Self::H3Download => "h3-download",
            Self::H3Idle => "h3-idle",
            Self::Start => "start",
            Self::NamesMemory | Self::NamesFull => "names",
            Self::Reload => "reload",
        }
    }

    /// How it is called in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Full => "full handshake, X25519",
            Self::Hybrid => "full handshake, X25519MLKEM768",
            Self::Resumed => "resumed handshake",
            Self::Early => "0-RTT request",
            Self::H1 => "request on a kept connection, HTTP/1.1",
            Self::H2 => "request, HTTP/2, 16 × 10 streams",
            Self::ProxiedH1 => "proxied request, HTTP/1.1",
            Self::ProxiedH2 => "proxied request, HTTP/2, 16 × 10",
            Self::ProxiedNew => "full handshake and proxied request",
            Self::Download => "10 MB from memory or disk",
            Self::ProxiedDownload => "10 MB proxied to the client",
            Self::ProxiedUpload => "10 MB proxied to the origin",
            Self::Idle => "idle connection after a request",
            Self::Slow => "client that reads nothing of 10 MB proxied",
            Self::H3Full => "HTTP/3: full handshake, X25519",
            Self::H3Resumed => "HTTP/3: resumed handshake",
            Self::H3Early => "HTTP/3: 0-RTT request",
            Self::H3 => "HTTP/3: request, 16 × 10 streams",
            Self::H3Download => "HTTP/3: 10 MB from memory or disk",
            Self::H3Idle => "HTTP/3: idle connection after a request",
            Self::Start => "start, to the first answer",
            Self::NamesMemory => "memory with many names",
            Self::NamesFull => "full handshake with many names",
            Self::Reload => "reload with many names, to the new answer",
        }
    }

    /// What its figures are.
    pub fn unit(self) -> Unit {
        match self {
            Self::Download | Self::ProxiedDownload | Self::ProxiedUpload | Self::H3Download => {
                Unit::GigabytesPerSecond
            }
            Self::Idle | Self::Slow | Self::H3Idle => Unit::KilobytesPerConnection,
            Self::NamesMemory => Unit::Megabytes,
            Self::Start | Self::Reload => Unit::Milliseconds,
            _ => Unit::MicrosPerOperation,
        }
    }

    /// The load that measures it, if it is measured by one while all servers are up.
    pub fn load(self) -> Option<Load> {
        let (arguments, path) = match self {
            Self::Full => (FULL, "/"),
            Self::Hybrid => (HYBRID, "/"),
            Self::Resumed => (RESUMED, "/"),
            Self::Early => (EARLY, "/"),
            Self::H1 => (H1, "/"),
            Self::H2 => (H2, "/"),
            Self::ProxiedH1 => (H1, "/proxied"),
            Self::ProxiedH2 => (H2, "/proxied"),
            Self::ProxiedNew => (FULL, "/proxied"),
            Self::Download => (LARGE, "/large"),
            Self::ProxiedDownload => (LARGE, "/proxied/large"),
            Self::ProxiedUpload => (LARGE, "/proxied/upload"),
            Self::H3Full => (H3_FULL, "/"),
            Self::H3Resumed => (H3_RESUMED, "/"),
            Self::H3Early => (H3_EARLY, "/"),
            Self::H3 => (H3, "/"),
            Self::H3Download => (H3_LARGE, "/large"),
            _ => return None,
        };
        Some(Load {
            arguments,
            path,
            upload: self == Self::ProxiedUpload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_row() {
        for row in Row::ALL {
            let found = Row::from_key(row.key()).expect("a row");
            assert_eq!(found.key(), row.key());
        }
        assert_eq!(Row::from_key("fulll"), None);
        assert_eq!(Row::keys().matches("names").count(), 1);
    }
}
