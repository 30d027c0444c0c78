//! How the servers of an origin are chosen, spared and watched.

use std::fmt;
use std::time::Duration;

use http::header::HeaderName;

/// Everything about a pool of servers but the servers themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolSpec {
    /// Who is asked. Default is the server with the fewest requests.
    pub balance: Balance,
    /// What the origin is spared.
    pub limits: PoolLimits,
    /// How long requests and connections wait in the pool.
    pub timeouts: PoolTimeouts,
    /// Checks of the servers; `None` makes none.
    pub health: Option<HealthSpec>,
    /// When a server that fails requests gets none for a while; `None` is never. Default is
    /// [`EjectionSpec::default`].
    pub ejection: Option<EjectionSpec>,
    /// When a request is sent again.
    pub retries: RetrySpec,
    /// How long the share of a server grows that is new or came back; `None` gives it all at once.
    pub slow_start: Option<Duration>,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            limits: PoolLimits::default(),
            timeouts: PoolTimeouts::default(),
            health: None,
            ejection: Some(EjectionSpec::default()),
            retries: RetrySpec::default(),
            slow_start: None,
        }
    }
}

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// The server with the fewest requests for its weight.
    #[default]
    LeastRequests,
    /// Of two that are drawn, the one with fewer requests for its weight.
    PowerOfTwo,
    /// One after the other.
    RoundRobin,
    /// Always the same one for the same key.
    Hash {
        /// What of a request is its key.
        key: HashKey,
        /// How many percent of its fair share of requests a server may have before the next one is
        /// asked; `None` is without bound.
        factor: Option<u32>,
    },
}

/// What of a request chooses its server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The client's address.
    Client,
    /// The value of a header field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// What an origin is spared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolLimits {
    /// Requests under way with the whole origin, of the process; `None` is "off".
    pub requests: Option<usize>,
    /// Requests under way with each server, of the process; `None` is "off".
    pub connections: Option<usize>,
    /// Idle connections kept to each server, per worker.
    pub idle: usize,
    /// Requests that wait for a server below `connections`, of the process.
    pub queue: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            requests: None,
            connections: None,
            idle: 128,
            queue: 1024,
        }
    }
}

/// How long requests and connections wait in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolTimeouts {
    /// A request in the queue.
    pub queue: Duration,
    /// A connection without a request.
    pub idle: Duration,
}

impl Default for PoolTimeouts {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(1),
            // Servers close theirs after 5 to 75 s; a request that may be sent again survives the
            // race, and only such a request is given an old connection.
            idle: Duration::from_secs(60),
        }
    }
}

/// Checks of servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthSpec {
    /// What is asked, with its query.
    pub path: String,
    /// Its Host; `None` is the server's own.
    pub host: Option<String>,
    /// From the end of a check to the next.
    pub interval: Duration,
    /// So much longer at most, by chance.
    pub jitter: Duration,
    /// From the beginning of a check to the head of the answer.
    pub timeout: Duration,
    /// What a healthy server answers.
    pub status: StatusSet,
    /// Good checks in a row that bring a server back.
    pub healthy: u32,
    /// Bad checks in a row that take a server out.
    pub unhealthy: u32,
}

impl HealthSpec {
    /// A check of `path` with the defaults.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            host: None,
            interval: Duration::from_secs(5),
            jitter: Duration::from_millis(500),
            timeout: Duration::from_secs(2),
            status: StatusSet::new([StatusRange::class(2)]),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

/// When a server that fails requests gets none for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EjectionSpec {
    /// Failures in a row.
    pub failures: u32,
    /// How long the first time. It doubles with each time after that …
    pub time: Duration,
    /// … up to this.
    pub max_time: Duration,
    /// How many percent of the servers at most.
    pub max_percent: u32,
    /// Answers that are failures too. Default is none.
    pub status: StatusSet,
}

impl Default for EjectionSpec {
    fn default() -> Self {
        Self {
            failures: 5,
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            // Of one server none, of two one.
            max_percent: 50,
            status: StatusSet::default(),
        }
    }
}

/// When a request is sent again to another server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetrySpec {
    /// How often at most.
    pub attempts: u32,
    /// Retries for a hundred requests of each worker …
    pub budget: u32,
    /// … and so many in each second besides.
    pub min: u32,
    /// Answers that are not passed on if another server can be asked. Default is none.
    pub status: StatusSet,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget: 20,
            min: 10,
            status: StatusSet::default(),
        }
    }
}

/// Some status codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusSet(Vec<StatusRange>);

/// A status code, or a class of them (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// One code.
    pub fn code(code: u16) -> Self {
        Self {
            first: code,
            last: code,
        }
    }

    /// All codes that begin with this digit.
    pub fn class(digit: u16) -> Self {
        Self {
            first: digit * 100,
            last: digit * 100 + 99,
        }
    }
}

impl StatusSet {
    /// These codes.
    pub fn new(ranges: impl IntoIterator<Item = StatusRange>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// Whether it has this code.
    pub fn contains(&self, status: http::StatusCode) -> bool {
        let code = status.as_u16();
        self.0
            .iter()
            .any(|range| (range.first..=range.last).contains(&code))
    }

    /// The codes and classes, as they were typed.
    pub fn ranges(&self) -> &[StatusRange] {
        &self.0
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "\"{}xx\"", self.first / 100),
        }
    }
}
