//! What is asked for.

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

use super::PlanError;

/// An `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    path: PathAndQuery,
}

impl Target {
    /// Reads `https://host[:port][/path]`.
    ///
    /// # Errors
    /// It is no URL, has another scheme, or names a user.
    pub fn parse(url: &str) -> Result<Self, PlanError> {
        let uri: Uri = url
            .parse()
            .map_err(|error| PlanError::new(format!("{url}: {error}")))?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(PlanError::new(format!(
                "{url}: an https:// URL is needed: all of this is about TLS"
            )));
        }
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'))
            .ok_or_else(|| PlanError::new(format!("{url}: host[:port] is needed")))?;
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        Ok(Self {
            host: bare.unwrap_or(host).to_owned(),
            port: authority.port_u16().unwrap_or(443),
            path: match uri.path_and_query() {
                Some(path) => path.clone(),
                None => PathAndQuery::from_static("/"),
            },
        })
    }

    /// The host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 where the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = self.host.contains(':');
        let (open, close) = if colon { ("[", "]") } else { ("", "") };
        write!(f, "https://{open}{}{close}", self.host)?;
        if self.port != 443 {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(self.path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("https://a.test:8443/x?y").unwrap();
        assert_eq!((target.host(), target.port()), ("a.test", 8443));
        assert_eq!(target.path(), "/x?y");
        assert_eq!(target.to_string(), "https://a.test:8443/x?y");
        let target = Target::parse("https://[::1]").unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 443));
        assert_eq!(target.path(), "/");
    }

    #[test]
    fn what_is_no_https_url_is_refused() {
        for url in [
            "http://a.test/",
            "a.test",
            "https://",
            "https://u@a.test/",
            "/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
