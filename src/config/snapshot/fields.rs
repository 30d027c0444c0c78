//! Header fields that a route takes away, sets and adds.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};

use super::variables::{FieldValue, Variable};
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
#[derive(Clone)]
pub struct Field {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: FieldValue,
    /// The file that the value was read from.
    pub file: Option<PathBuf>,
    /// The value as it was typed, with its variables, where it was.
    pub typed: Option<Box<str>>,
}

/// Which message the fields are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request, on its way to an origin.
    Request,
    /// A response, on its way to the client.
    Response,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut field = f.debug_struct("Field");
        field.field("name", &self.name);
        field.field("value", &self.value).field("file", &self.file);
        // Without what was typed, which has in it what the environment said.
        field.finish_non_exhaustive()
    }
}

impl FieldEdits {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Does it. Values with variables are left out: those are to be [resolved](Self::resolved) before.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        let mut previous = None;
        for field in &self.set {
            let Some(value) = field.value.fixed().cloned() else {
                continue;
            };
            if previous == Some(&field.name) {
                headers.append(&field.name, value);
            } else {
                headers.insert(&field.name, value);
            }
            previous = Some(&field.name);
        }
        for field in &self.add {
            if let Some(value) = field.value.fixed() {
                headers.append(&field.name, value.clone());
            }
        }
    }

    /// These edits with their variables replaced, as one request has them.
    pub fn resolved(self: &Arc<Self>, says: &dyn Fn(Variable) -> String) -> Arc<Self> {
        let varies = |field: &Field| matches!(field.value, FieldValue::Template { .. });
        if !self.set.iter().chain(&self.add).any(varies) {
            return Arc::clone(self);
        }
        let resolved = |fields: &[Field]| {
            let field = |field: &Field| Field {
                value: FieldValue::Fixed(field.value.of(says)),
                ..field.clone()
            };
            fields.iter().map(field).collect()
        };
        Arc::new(Self {
            remove: self.remove.clone(),
            set: resolved(&self.set),
            add: resolved(&self.add),
        })
    }

    /// Whether a value says an address of the client's side.
    pub fn say_address(&self) -> bool {
        let fields = self.set.iter().chain(&self.add);
        fields.into_iter().any(|field| field.value.says_address())
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

/// Whether a field belongs to one connection (RFC 9110 §7.6.1).
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade"
    ) || name.starts_with("proxy-")
}

/// Whether a client's field of this name ends at the edge: no origin sees it, at most one that the edge
/// writes itself.
pub fn is_dropped_from_requests(name: &str) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    const REQUEST_ID: &[u8] = b"x-request-id";
    is_hop_by_hop(name)
        // The edge answers Expect itself. `Proxy` becomes HTTP_PROXY in CGI programs.
        || matches!(name, "expect" | "http2-settings" | "proxy" | "forwarded")
        || (name.len() > FORWARDED.len() && begins(name, FORWARDED))
        || (name.len() == REQUEST_ID.len() && begins(name, REQUEST_ID))
}

/// Whether a name begins so, with `_` read as `-`: CGI and WSGI cannot tell the two apart.
fn begins(name: &str, prefix: &[u8]) -> bool {
    prefix
        .iter()
        .zip(name.bytes())
        .all(|(want, is)| *want == is || (*want == b'-' && is == b'_'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::variables::Part;
    use super::*;

    fn field(name: &'static str, value: &'static str) -> Field {
        Field {
            name: HeaderName::from_static(name),
            value: FieldValue::Fixed(HeaderValue::from_static(value)),
            file: None,
            typed: None,
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
    fn variables_are_replaced_for_each_request() {
        let mut varying = field("a", "");
        let parts = Box::new([
            Part::Text("for=".to_owned()),
            Part::Variable(Variable::ClientAddress),
            Part::Text(";id=".to_owned()),
            Part::Variable(Variable::RequestId),
        ]);
        varying.value = FieldValue::Template {
            parts,
            secret: false,
        };
        let edits = Arc::new(FieldEdits {
            set: vec![varying],
            add: vec![field("b", "$1")],
            ..FieldEdits::default()
        });
        let says = |variable: Variable| match variable {
            Variable::ClientAddress => "192.0.2.1".to_owned(),
            other => other.name().to_uppercase(),
        };
        let resolved = edits.resolved(&says);
        let mut headers = HeaderMap::new();
        resolved.apply(&mut headers);
        assert_eq!(headers["a"], "for=192.0.2.1;id=REQUEST_ID");
        assert_eq!(headers["b"], "$1");
        // What has none is shared, not copied.
        assert!(Arc::ptr_eq(&resolved, &resolved.resolved(&says)));
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
