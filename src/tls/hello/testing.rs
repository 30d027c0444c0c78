//! ClientHellos made by hand, for tests.

use super::{ClientHello, HelloError};

/// A ClientHello in the making; nothing stops it from being a bad one.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    pub(crate) legacy_version: u16,
    pub(crate) session_id: Vec<u8>,
    pub(crate) suites: Vec<u16>,
    pub(crate) compressions: Vec<u8>,
    pub(crate) extensions: Vec<(u16, Vec<u8>)>,
}

impl Builder {
    /// A TLS 1.2 hello with one suite and no extensions.
    pub(crate) fn empty() -> Self {
        Self {
            legacy_version: 0x0303,
            session_id: Vec::new(),
            suites: vec![0x1301],
            compressions: vec![0],
            extensions: Vec::new(),
        }
    }

    /// The least that TLS 1.3 demands.
    pub(crate) fn tls13() -> Self {
        Self::empty()
            .extension(43, &numbers8(&[0x0304]))
            .extension(10, &numbers16(&[0x1d]))
            .extension(13, &numbers16(&[0x0403]))
            .key_share(&[(0x1d, 32)])
    }

    pub(crate) fn extension(mut self, kind: u16, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    pub(crate) fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(other, _)| *other != kind);
        self
    }

    pub(crate) fn server_name(self, name: &[u8]) -> Self {
        let mut entry = vec![0];
        entry.extend(vec16(name));
        self.extension(0, &vec16(&entry))
    }

    pub(crate) fn alpn(self, names: &[&[u8]]) -> Self {
        let list: Vec<u8> = names.iter().flat_map(|name| vec8(name)).collect();
        self.extension(16, &vec16(&list))
    }

    /// Shares as (group, length).
    pub(crate) fn key_share(self, shares: &[(u16, usize)]) -> Self {
        let mut list = Vec::new();
        for (group, length) in shares {
            list.extend(group.to_be_bytes());
            list.extend(vec16(&vec![7; *length]));
        }
        self.extension(51, &vec16(&list))
    }

    /// Identities with age 5, and binders by their lengths; with the modes that belong to them.
    pub(crate) fn psk(self, identities: &[&[u8]], binders: &[usize]) -> Self {
        let mut ids = Vec::new();
        for identity in identities {
            ids.extend(vec16(identity));
            ids.extend(5u32.to_be_bytes());
        }
        let list: Vec<u8> = binders.iter().flat_map(|n| vec8(&vec![9; *n])).collect();
        let mut body = vec16(&ids);
        body.extend(vec16(&list));
        self.extension(45, &[1, 1]).extension(41, &body)
    }

    /// The message with its handshake header.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([0x5a; 32]);
        body.extend(vec8(&self.session_id));
        body.extend(numbers16(&self.suites));
        body.extend(vec8(&self.compressions));
        if !self.extensions.is_empty() {
            let mut block = Vec::new();
            for (kind, content) in &self.extensions {
                block.extend(kind.to_be_bytes());
                block.extend(vec16(content));
            }
            body.extend(vec16(&block));
        }
        let mut message = (body.len() as u32).to_be_bytes().to_vec();
        message[0] = 1;
        message.extend(body);
        message
    }

    /// The message in one record.
    pub(crate) fn record(&self) -> Vec<u8> {
        record(22, &self.message())
    }

    pub(crate) fn parse(&self) -> Result<ClientHello, HelloError> {
        ClientHello::parse(self.message())
    }
}

/// One record.
pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 3, 1];
    out.extend(vec16(content));
    out
}

pub(crate) fn vec8(content: &[u8]) -> Vec<u8> {
    let mut out = vec![content.len() as u8];
    out.extend(content);
    out
}

pub(crate) fn vec16(content: &[u8]) -> Vec<u8> {
    let mut out = (content.len() as u16).to_be_bytes().to_vec();
    out.extend(content);
    out
}

pub(crate) fn numbers8(values: &[u16]) -> Vec<u8> {
    vec8(&bytes(values))
}

pub(crate) fn numbers16(values: &[u16]) -> Vec<u8> {
    vec16(&bytes(values))
}

fn bytes(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}
