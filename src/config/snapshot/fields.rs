//! Header fields that a route takes away, sets and adds.

use std::path::PathBuf;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::early::EARLY_DATA;

/// What a route does to the fields of a message: takes away, then sets, then adds.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Every field of these names goes.
    pub remove: Vec<HeaderName>,
    /// Replace all fields of the same name; several of one name stand one after the other.
    pub set: Vec<Field>,
    /// Come beside what is there.
    pub add: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: HeaderName,
    /// Its value; one that is a secret is [sensitive](HeaderValue::is_sensitive).
    pub value: HeaderValue,
    /// The file that the value was read from.
    pub file: Option<PathBuf>,
}

/// Which message the fields are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request, on its way to an origin.
    Request,
    /// A response, on its way to the client.
    Response,
}

impl FieldEdits {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Does it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        let mut previous = None;
        for field in &self.set {
            if previous == Some(&field.name) {
                headers.append(&field.name, field.value.clone());
            } else {
                headers.insert(&field.name, field.value.clone());
            }
            previous = Some(&field.name);
        }
        for field in &self.add {
            headers.append(&field.name, field.value.clone());
        }
    }

    /// All names that are taken away, set or added.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let fields = self.set.iter().chain(&self.add);
        self.remove.iter().chain(fields.map(|field| &field.name))
    }
}

impl Message {
    /// Whether a field is the edge's own to write: it frames the message, belongs to one connection,
    /// or says what only the edge knows.
    pub fn reserves(self, name: &HeaderName) -> bool {
        const BOTH: [HeaderName; 7] = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::TRAILER,
            header::UPGRADE,
            header::TE,
            // EARLY-DATA R17
            EARLY_DATA,
        ];
        BOTH.contains(name)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
            || (self == Self::Request && (name == header::HOST || name == header::EXPECT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, value: &'static str) -> Field {
        Field {
            name: HeaderName::from_static(name),
            value: HeaderValue::from_static(value),
            file: None,
        }
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("d", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let edits = FieldEdits {
            remove: vec![HeaderName::from_static("a"), HeaderName::from_static("x")],
            set: vec![field("b", "2"), field("b", "3"), field("e", "1")],
            add: vec![field("a", "3"), field("c", "2")],
        };
        edits.apply(&mut headers);
        let all = |name: &str| -> Vec<&str> {
            let values = headers.get_all(name).iter();
            values.map(|value| value.to_str().unwrap()).collect()
        };
        assert_eq!(all("a"), ["3"]);
        assert_eq!(all("b"), ["2", "3"]);
        assert_eq!(all("c"), ["1", "2"]);
        assert_eq!(all("d"), ["1"]);
        assert_eq!(all("e"), ["1"]);
    }

    #[test]
    fn what_frames_a_message_is_reserved() {
        for name in [
            "content-length",
            "transfer-encoding",
            "early-data",
            "keep-alive",
        ] {
            let name = HeaderName::from_static(name);
            assert!(Message::Request.reserves(&name), "{name}");
            assert!(Message::Response.reserves(&name), "{name}");
        }
        assert!(Message::Request.reserves(&header::HOST));
        assert!(!Message::Response.reserves(&header::HOST));
        assert!(!Message::Request.reserves(&header::AUTHORIZATION));
    }
}
