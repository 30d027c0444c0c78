//! Which route a request takes. Pure: host, path and method in, a route or the reason for none out.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::config::snapshot::{PathMatch, Route};
use crate::http::path::{normalise, octets};

#[cfg(test)]
pub(crate) mod tests;

/// The routes of a site, in the order in which they are asked.
///
/// Among the routes whose host, path and methods all match a request, it takes the one with the
/// host named most exactly (exact, wildcard, none); then the one with an exact path, or the longest
/// prefix; then one that names methods; then the first in the file.
///
/// Paths are compared by their octets, escapes decoded, and runs of slashes count as one: `/a%3Ab`,
/// `/a:b` and `//a:b` take the same route, because an origin may well read them as the same thing and
/// no spelling may reach a looser early-data policy. What is forwarded keeps its spelling.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    route: Arc<Route>,
    exact: bool,
    /// The octets of the route's path, as requests are compared with it.
    path: Box<[u8]>,
}

/// Why a request has no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No route has its host and path: 404.
    NotFound,
    /// Routes have its host and path, but not its method: 405.
    MethodNotAllowed {
        /// The value of Allow (RFC 9110 §15.5.6): the methods they have, sorted.
        allow: HeaderValue,
    },
}

impl Routes {
    /// Orders routes, given in the order of the file.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        let mut entries: Vec<Entry> = routes.into_iter().map(Entry::new).collect();
        // A stable sort: equals stay in the order of the file.
        entries.sort_by_cached_key(|entry| {
            let host = match &entry.route.host {
                Some(name) if !name.is_wildcard() => 0,
                Some(_) => 1,
                None => 2,
            };
            let path = (!entry.exact, Reverse(entry.path.len()));
            (host, path, entry.route.methods.is_empty())
        });
        Routes { entries }
    }

    /// All routes, in the order in which they are asked.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Route>> {
        self.entries.iter().map(|entry| &entry.route)
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The route of a request. `host` as [`authority`](crate::http::authority::authority) gives it:
    /// without one, only routes without `host` match. `path` as
    /// [`normalise`] gives it, without the query. A method is matched as
    /// listed: `GET` does not imply `HEAD`.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] tells 404 and 405 apart. Nothing is allocated but the value of Allow.
    pub fn find(
        &self,
        host: Option<&str>,
        path: &str,
        method: &Method,
    ) -> Result<&Arc<Route>, NoRoute> {
        let plain = is_plain(path);
        let matching = || {
            self.entries.iter().filter(move |entry| {
                entry.matches_host(host)
                    && match plain {
                        true => entry.matches_plain(path.as_bytes()),
                        false => entry.matches_octets(key(path)),
                    }
            })
        };
        let has_method =
            |entry: &&Entry| entry.route.methods.is_empty() || entry.route.methods.contains(method);
        if let Some(entry) = matching().find(has_method) {
            return Ok(&entry.route);
        }
        let mut methods: Vec<&str> = matching()
            .flat_map(|entry| entry.route.methods.iter().map(Method::as_str))
            .collect();
        methods.sort_unstable();
        methods.dedup();
        // Methods are tokens, so that no value is refused.
        match HeaderValue::from_str(&methods.join(", ")) {
            Ok(allow) if !methods.is_empty() => Err(NoRoute::MethodNotAllowed { allow }),
            _ => Err(NoRoute::NotFound),
        }
    }
}

/// Whether two routes can never be told apart: same host, same path, same methods. A configuration
/// with such a pair is refused.
pub fn same_keys(one: &Route, other: &Route) -> bool {
    let paths = match (&one.path, &other.path) {
        (PathMatch::Exact(one), PathMatch::Exact(other))
        | (PathMatch::Prefix(one), PathMatch::Prefix(other)) => {
            path_octets(one) == path_octets(other)
        }
        _ => false,
    };
    let within = |a: &[Method], b: &[Method]| a.iter().all(|method| b.contains(method));
    paths
        && one.host == other.host
        && within(&one.methods, &other.methods)
        && within(&other.methods, &one.methods)
}

/// What a normal path, which `own` matches, has behind it: empty, or beginning with a slash. A slash
/// that ends `own` belongs to it; an exact path has nothing behind it.
pub fn rest<'p>(own: &PathMatch, path: &'p str) -> &'p str {
    let PathMatch::Prefix(own) = own else {
        return "";
    };
    let own = normalise(own).unwrap_or(Cow::Borrowed(own));
    let mut octets = key(own.trim_end_matches('/')).count();
    let mut rest = path;
    let mut previous = 0;
    while octets > 0 {
        let Some(&byte) = rest.as_bytes().first() else {
            return "";
        };
        // As `key` counts: an escape is one octet, a run of slashes is one slash.
        rest = rest.get(if byte == b'%' { 3 } else { 1 }..).unwrap_or("");
        if byte != b'/' || previous != b'/' {
            octets -= 1;
        }
        previous = byte;
    }
    rest
}

/// `rest`, as [`rest`] gives it, behind a path or a URL: with one slash between the two. More would let
/// a client make `//elsewhere.example`, which browsers take for another host.
pub fn join(base: &str, rest: &str) -> String {
    if rest.is_empty() {
        return base.to_owned();
    }
    let (base, rest) = (base.trim_end_matches('/'), rest.trim_start_matches('/'));
    format!("{base}/{rest}")
}

impl Entry {
    fn new(route: Arc<Route>) -> Self {
        let (exact, path) = match &route.path {
            PathMatch::Exact(path) => (true, path_octets(path)),
            PathMatch::Prefix(path) => (false, path_octets(path)),
        };
        Entry { route, exact, path }
    }

    fn matches_host(&self, host: Option<&str>) -> bool {
        match &self.route.host {
            None => true,
            Some(name) => host.is_some_and(|host| name.matches(host)),
        }
    }

    fn matches_plain(&self, path: &[u8]) -> bool {
        path.strip_prefix(&*self.path)
            .is_some_and(|rest| self.ends_at(rest.first().copied()))
    }

    fn matches_octets(&self, mut path: impl Iterator<Item = u8>) -> bool {
        self.path.iter().all(|octet| path.next() == Some(*octet)) && self.ends_at(path.next())
    }

    /// Whether a path that agrees so far and goes on with `next` is matched.
    fn ends_at(&self, next: Option<u8>) -> bool {
        match next {
            None => true,
            Some(next) => !self.exact && (next == b'/' || self.path.ends_with(b"/")),
        }
    }
}

/// What a route's path is compared by. A path that has no normal form matches nothing normal.
fn path_octets(path: &str) -> Box<[u8]> {
    match normalise(path) {
        Ok(normal) => key(&normal).collect(),
        Err(_) => path.bytes().collect(),
    }
}

/// The octets of a normal path with runs of slashes made one.
fn key(path: &str) -> impl Iterator<Item = u8> + '_ {
    let mut previous = 0;
    octets(path).filter(move |&octet| {
        let repeated = octet == b'/' && previous == b'/';
        previous = octet;
        !repeated
    })
}

/// Whether a path is its own key, as nearly every one is.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    path.bytes().all(|byte| {
        let plain = byte != b'%' && !(byte == b'/' && previous == b'/');
        previous = byte;
        plain
    })
}
