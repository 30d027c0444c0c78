//! What the edge says: its access log, its connection log, its metrics.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A line of the edge's log.
#[derive(Debug, Clone)]
pub enum LogLine {
    /// Of the access log.
    Access(Access),
    /// Of the connection log.
    Connection(Box<Connection>),
}

/// A request, as far as a case asks (docs/LOGS.md).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Access {
    /// When its head was whole.
    pub time: String,
    /// The connection's other end.
    pub client: String,
    /// The path and the query.
    pub path: String,
    /// The answer's status.
    pub status: Option<u16>,
    /// Bytes of the request's content.
    pub bytes_in: u64,
    /// Bytes of the answer's content.
    pub bytes_out: u64,
    /// What became of an early request.
    pub early: String,
    /// Whether the answer began before Finished.
    pub answered_before_finished: bool,
    /// How long it waited for Finished.
    pub wait_ms: Option<f64>,
    /// How it ended.
    pub end: String,
}

/// A connection, as far as a case asks (docs/LOGS.md).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// When it was accepted.
    pub time: String,
    /// The connection's other end.
    pub client: String,
    /// The number of the worker.
    pub worker: u64,
    /// The server name of the ClientHello.
    pub sni: Option<String>,
    /// 2 after a HelloRetryRequest.
    pub client_hellos: u64,
    /// The group of the key exchange.
    pub group: Option<String>,
    /// The cipher suite.
    pub suite: Option<String>,
    /// The TLS version.
    pub version: Option<String>,
    /// The application protocol.
    pub alpn: Option<String>,
    /// The kind of the leaf's key.
    pub certificate: Option<String>,
    /// What the staple says that was shown with it.
    pub staple: Option<String>,
    /// How the certificate was compressed.
    pub certificate_compression: Option<String>,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// What became of early data.
    pub early: String,
    /// NewSessionTicket messages.
    pub tickets_sent: u64,
    /// The fingerprint of the ClientHello: it tells whether a session was offered.
    pub ja4: Option<String>,
    /// The alert sent.
    pub alert_sent: Option<String>,
    /// The alert received.
    pub alert_received: Option<String>,
    /// Bytes received on the wire.
    pub bytes_in: u64,
    /// Bytes sent on the wire.
    pub bytes_out: u64,
    /// Requests that were handed out.
    pub requests: u64,
    /// From accept to Finished, if that came.
    pub handshake_ms: Option<f64>,
    /// How it ended.
    pub end: String,
}

/// Reads a line of the log; `None` if it is neither kind.
pub fn line(text: &str) -> Option<LogLine> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    if value.get("client_hellos").is_some() {
        serde_json::from_value(value).ok().map(LogLine::Connection)
    } else {
        value.get("method")?;
        serde_json::from_value(value).ok().map(LogLine::Access)
    }
}

/// What was logged of a cell.
#[derive(Debug, Clone, Default)]
pub struct Logged {
    /// Its connections, in the order of accept.
    pub connections: Vec<Connection>,
    /// Its requests: those that carry its mark.
    pub marked: Vec<Access>,
    /// How many requests there were, with those that carry no mark.
    pub requests: usize,
}

impl Logged {
    /// Sorts the lines that were logged since a cell began. Its own requests have `mark` in their
    /// query; cells run one after the other, so its connections are all that there were.
    pub fn of(lines: &[String], mark: &str) -> Self {
        let mut logged = Self::default();
        for text in lines {
            match line(text) {
                Some(LogLine::Connection(connection)) => logged.connections.push(*connection),
                Some(LogLine::Access(access)) => {
                    logged.requests += 1;
                    if access.path.split(['?', '&']).any(|part| part == mark) {
                        logged.marked.push(access);
                    }
                }
                None => {}
            }
        }
        // They are logged as they end.
        logged.marked.sort_by(|a, b| a.time.cmp(&b.time));
        logged.connections.sort_by(|a, b| a.time.cmp(&b.time));
        logged
    }

    /// Of the same request on two connections, that of the second one counts.
    pub fn of_the_last_connection(&mut self) {
        if let Some((last, [_, ..])) = self.connections.split_last() {
            self.marked.retain(|one| one.client == last.client);
        }
    }

    /// Whether so many connections have ended and all of their requests are there.
    pub fn is_whole(&self, connections: usize) -> bool {
        let handed_out: u64 = self.connections.iter().map(|one| one.requests).sum();
        self.connections.len() >= connections && self.requests as u64 >= handed_out
    }
}

/// Samples of the metrics, by series: `name{labels}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the Prometheus text format.
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    /// The sum over all series of this name whose labels contain `label`.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let matching = self.0.iter().filter(|(series, _)| {
            let labels = series.strip_prefix(name);
            labels.is_some_and(|rest| {
                (rest.is_empty() || rest.starts_with('{')) && rest.contains(label)
            })
        });
        // An empty sum of floats is -0.
        matching.map(|(_, value)| value).sum::<f64>() + 0.0
    }

    /// What has grown since `before`; counters only, histograms' buckets aside.
    pub fn since(&self, before: &Self) -> Self {
        let grown = self.0.iter().filter_map(|(series, value)| {
            let grown = value - before.0.get(series).unwrap_or(&0.0);
            let counter = series.split('{').next()?.ends_with("_total");
            (counter && grown > 0.0).then(|| (series.clone(), grown))
        });
        Self(grown.collect())
    }

    /// The samples, for a log.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0
            .iter()
            .map(|(series, value)| format!("{series} +{value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    const CONNECTION: &str =
        r#"{"worker":1,"client_hellos":1,"early":"accepted","requests":2,"end":"clean"}"#;

    #[test]
    fn lines_are_joined_by_the_mark_of_their_cell() {
        let log = lines(&[
            r#"{"method":"GET","path":"/?cell=a.1","status":200,"early":"none"}"#,
            r#"{"method":"GET","path":"/x?cell=a.12","status":404,"early":"none"}"#,
            r#"{"method":"GET","path":"/","status":200,"early":"none"}"#,
            "not a line of JSON",
            CONNECTION,
        ]);
        let logged = Logged::of(&log, "cell=a.1");
        assert_eq!(logged.marked.len(), 1, "a longer mark is another cell's");
        assert_eq!(logged.marked[0].status, Some(200));
        assert_eq!(logged.requests, 3);
        assert_eq!(logged.connections[0].worker, 1);
    }

    #[test]
    fn connections_stand_in_the_order_of_accept() {
        let log = lines(&[
            r#"{"client_hellos":1,"time":"2026-01-01T00:00:02Z","worker":2}"#,
            r#"{"client_hellos":1,"time":"2026-01-01T00:00:01Z","worker":1}"#,
        ]);
        let workers = Logged::of(&log, "")
            .connections
            .into_iter()
            .map(|one| one.worker);
        assert_eq!(workers.collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_cell_is_whole_when_connections_and_their_requests_are_there() {
        let access = r#"{"method":"GET","path":"/"}"#;
        assert!(!Logged::of(&lines(&[access, access]), "").is_whole(1));
        assert!(!Logged::of(&lines(&[CONNECTION, access]), "").is_whole(1));
        assert!(Logged::of(&lines(&[access, CONNECTION, access]), "").is_whole(1));
        assert!(!Logged::of(&lines(&[access, CONNECTION, access]), "").is_whole(2));
    }

    #[test]
    fn metrics_are_summed_by_label_and_compared() {
        let before =
            Metrics::parse("# TYPE a_total counter\na_total{k=\"x\"} 1\na_totally 9\nopen 5\n");
        let after = Metrics::parse("a_total{k=\"x\"} 3\na_total{k=\"y\"} 1\nopen 7\n");
        assert_eq!(after.sum("a_total", ""), 4.0);
        assert_eq!(before.sum("a_total", ""), 1.0);
        let grown = after.since(&before);
        assert_eq!(grown.sum("a_total", "k=\"x\""), 2.0);
        assert_eq!(grown.sum("open", ""), 0.0, "a gauge does not grow");
        assert_eq!(grown.lines().count(), 2);
    }
}
