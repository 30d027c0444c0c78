//! A request's head as an origin gets it.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::snapshot::FieldEdits;
use crate::early::EARLY_DATA;

/// What the client asked for, and what the edge says about it.
///
/// The edge's own fields stand beside the client's: nearly every request goes over HTTP/1.1, which
/// writes them one behind the other, and to put each into the client's map first costs more than to
/// write it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Method, target, and the client's fields.
    pub(super) parts: Parts,
    /// The edge's, behind the client's of the same name.
    pub(super) own: Vec<(HeaderName, HeaderValue)>,
}

impl From<Parts> for Head {
    fn from(parts: Parts) -> Self {
        let own = Vec::new();
        Self { parts, own }
    }
}

impl Head {
    /// All fields, in the order in which they are written.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let own = self.own.iter().map(|(name, value)| (name, value));
        self.parts.headers.iter().chain(own)
    }

    /// All fields in one map.
    pub(super) fn map(&self) -> HeaderMap {
        let mut map = self.parts.headers.clone();
        add(&self.own, &mut map);
        map
    }

    /// Does to the fields what a route wants: to the edge's own too.
    pub(super) fn edit(&mut self, edits: &FieldEdits) {
        let own = std::mem::take(&mut self.own);
        add(&own, &mut self.parts.headers);
        edits.apply(&mut self.parts.headers);
    }

    /// Another Host, in place of what is there.
    pub(super) fn set_host(&mut self, host: &HeaderValue) {
        let mut own = self.own.iter_mut();
        match own.find(|(name, _)| *name == HOST) {
            Some((_, value)) => value.clone_from(host),
            None => {
                self.parts.headers.insert(HOST, host.clone());
            }
        }
    }

    /// EARLY-DATA R19: without the mark.
    pub(super) fn unmark(&mut self) {
        self.own.retain(|(name, _)| *name != EARLY_DATA);
        self.parts.headers.remove(EARLY_DATA);
    }
}

fn add(own: &[(HeaderName, HeaderValue)], map: &mut HeaderMap) {
    for (name, value) in own {
        map.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::config::snapshot::{Field, FieldValue};

    fn head() -> Head {
        let request = Request::get("/")
            .header("a", "1")
            .header("via", "1.1 before")
            .body(());
        let mut head = Head::from(request.unwrap().into_parts().0);
        for (name, value) in [
            ("via", "1.1 cutwater"),
            ("host", "a.example"),
            ("early-data", "1"),
        ] {
            let value = HeaderValue::from_static(value);
            head.own.push((HeaderName::from_static(name), value));
        }
        head
    }

    fn all<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        let values = map.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn own_fields_stand_behind_those_of_the_same_name() {
        let head = head();
        let via = head.fields().filter(|(name, _)| *name == "via");
        let via: Vec<_> = via.map(|(_, value)| value).collect();
        assert_eq!(via, ["1.1 before", "1.1 cutwater"]);
        assert_eq!(head.fields().count(), 5);
        assert_eq!(all(&head.map(), "via"), ["1.1 before", "1.1 cutwater"]);
    }

    #[test]
    fn a_route_may_change_own_fields() {
        let mut head = head();
        let edits = FieldEdits {
            remove: vec![HeaderName::from_static("via")],
            set: vec![Field {
                name: HOST,
                value: FieldValue::Fixed(HeaderValue::from_static("b.example")),
                file: None,
                typed: None,
            }],
            ..FieldEdits::default()
        };
        head.edit(&Arc::new(edits));
        let map = head.map();
        assert_eq!(all(&map, "host"), ["b.example"]);
        assert!(!map.contains_key("via"));
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn host_and_mark_can_be_changed_wherever_they_are() {
        let edits = Arc::new(FieldEdits::default());
        for edited in [false, true] {
            let mut head = head();
            if edited {
                head.edit(&edits);
            }
            head.set_host(&HeaderValue::from_static("b.example"));
            head.unmark();
            let map = head.map();
            assert_eq!(all(&map, "host"), ["b.example"], "{edited}");
            assert!(!map.contains_key("early-data"), "{edited}");
        }
    }
}
