//! What a peer's client says of its connections: one line of JSON (PROTOCOL.md).

use serde::Deserialize;

/// The exit code of a peer that cannot do what was asked.
const UNSUPPORTED: i32 = 127;

/// The line.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// The stack and its version.
    pub stack: String,
    /// One for each TCP connection, in order.
    pub connections: Vec<Connection>,
}

/// A connection as the client saw it; what it cannot tell is `None`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Whether the handshake was finished.
    pub handshake: bool,
    /// `1.2` or `1.3`.
    pub version: Option<String>,
    /// Whether a session was resumed.
    pub resumed: Option<bool>,
    /// `none`, `accepted` or `refused`.
    pub early: Option<String>,
    /// Whether there was a HelloRetryRequest.
    pub hrr: Option<bool>,
    /// The group of the key exchange.
    pub group: Option<String>,
    /// The cipher suite.
    pub suite: Option<String>,
    /// The application protocol.
    pub alpn: Option<String>,
    /// The kind of the leaf's key.
    pub certificate: Option<String>,
    /// What the OCSP staple says: `good`, `revoked`; `none` if none came.
    pub staple: Option<String>,
    /// NewSessionTicket messages.
    pub tickets: Option<u64>,
    /// KeyUpdate messages received.
    pub key_updates: Option<u64>,
    /// Answers, in order.
    pub responses: Vec<Answer>,
    /// Bytes of request body.
    pub sent: Option<u64>,
    /// How it ended.
    pub ended: Option<String>,
    /// What went wrong, in words.
    pub error: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Its status.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub bytes: Option<u64>,
    /// Whether it began before the client's Finished was sent.
    pub before_finished: Option<bool>,
}

/// What a call of a client came to.
#[derive(Debug, Clone)]
pub enum Told {
    /// It did what was asked, or says how far it came; `complete` is the former.
    Line {
        /// The line.
        line: Line,
        /// Exit code 0.
        complete: bool,
    },
    /// The stack cannot do it: why.
    Unsupported(String),
}

/// Reads what a client printed.
///
/// # Errors
/// It is not what PROTOCOL.md says.
pub fn read(code: Option<i32>, stdout: &str) -> Result<Told, String> {
    let last = stdout.lines().rev().find(|line| !line.trim().is_empty());
    match (code, last) {
        (Some(UNSUPPORTED), Some(line)) => {
            #[derive(Deserialize)]
            struct Why {
                unsupported: String,
            }
            serde_json::from_str(line)
                .map(|why: Why| Told::Unsupported(why.unsupported))
                .map_err(|error| format!("exit 127 without {{\"unsupported\": …}}: {error}"))
        }
        (Some(code @ (0 | 1)), Some(line)) => serde_json::from_str(line)
            .map(|line| Told::Line {
                line,
                complete: code == 0,
            })
            .map_err(|error| format!("exit {code} without a proper line of JSON: {error}")),
        (Some(code), _) => Err(format!("the peer's client ended with exit code {code}")),
        (None, _) => Err("the peer's client was killed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_unknown_fields_are_left_alone() {
        let text =
            r#"{"stack": "S 1", "more": 1, "connections": [{"handshake": true, "early": null,
            "responses": [{"status": 200, "bytes": 6}], "ended": "close_notify"}]}"#
                .replace('\n', " ");
        let Ok(Told::Line { line, complete }) = read(Some(0), &text) else {
            panic!("no line");
        };
        assert!(complete && line.connections[0].handshake);
        assert_eq!(line.connections[0].early, None);
        assert_eq!(line.connections[0].responses[0].status, Some(200));
    }

    #[test]
    fn a_stack_that_cannot_says_why() {
        let told = read(Some(127), "{\"unsupported\": \"no 0-RTT\"}\n");
        assert!(matches!(told, Ok(Told::Unsupported(why)) if why == "no 0-RTT"));
        assert!(read(Some(127), "").is_err());
    }

    #[test]
    fn anything_else_is_an_error_of_the_peer() {
        assert!(read(Some(0), "hello\n").is_err());
        assert!(read(Some(2), "{}").unwrap_err().contains("exit code 2"));
        assert!(read(None, "").unwrap_err().contains("killed"));
    }
}
