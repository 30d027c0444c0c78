//! Writing a ClientHello.

use crate::inspect::names::Version;

/// What a ClientHello offers. RFC 9846 §4.1.2, RFC 5246 §7.4.1.2
#[derive(Clone, Debug)]
pub(in crate::inspect) struct Hello<'a> {
    pub(in crate::inspect) version: Version,
    /// A DNS name, if there is one.
    pub(in crate::inspect) name: Option<&'a str>,
    pub(in crate::inspect) suites: &'a [u16],
    pub(in crate::inspect) groups: &'a [u16],
    pub(in crate::inspect) random: [u8; 32],
}

/// A hello of 256 to 511 bytes is lost by some old balancers. RFC 7685 §1
const PADDED: usize = 512;

/// What signatures may be made with: all that servers are known to have, the weak ones too.
const SCHEMES: [u16; 19] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401,
    0x0501, 0x0601, 0x0301, 0x0303, 0x0203, 0x0201, 0x0202,
];

impl Hello<'_> {
    /// The hello in one record.
    ///
    /// One of TLS 1.3 has no key share: the server names the group that it wants in a
    /// HelloRetryRequest, and the suite with it. RFC 9846 §4.3.8
    pub(in crate::inspect) fn record(&self) -> Vec<u8> {
        let legacy = self.version.code().min(Version::Tls12.code());
        let mut body = legacy.to_be_bytes().to_vec();
        body.extend(self.random);
        // Middleboxes expect a session id from TLS 1.3. RFC 9846 appendix E.4
        match self.version {
            Version::Tls13 => body.extend(vec8(&self.random)),
            _ => body.push(0),
        }
        body.extend(vec16(&numbers(self.suites)));
        body.extend(vec8(&[0]));
        // Servers of that time may refuse a hello with extensions.
        if self.version != Version::Ssl3 {
            let before = body.len() + 2;
            let mut extensions = self.extensions();
            let length = 4 + before + extensions.len();
            if (256..PADDED).contains(&length) {
                let padding = (PADDED - length).saturating_sub(4);
                extensions.extend(extension(21, &vec![0; padding]));
            }
            body.extend(vec16(&extensions));
        }
        let mut message = (body.len() as u32).to_be_bytes().to_vec();
        message[0] = 1;
        message.extend(body);
        let mut record = vec![22];
        // RFC 9846 §5.1: 0x0301 for compatibility.
        record.extend(self.version.code().min(Version::Tls10.code()).to_be_bytes());
        record.extend(vec16(&message));
        record
    }

    fn extensions(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if let Some(name) = self.name {
            let mut entry = vec![0];
            entry.extend(vec16(name.as_bytes()));
            all.extend(extension(0, &vec16(&entry)));
        }
        if !self.groups.is_empty() {
            all.extend(extension(10, &vec16(&numbers(self.groups))));
        }
        if self.version >= Version::Tls12 {
            all.extend(extension(13, &vec16(&numbers(&SCHEMES))));
        }
        // status_request: OCSP, no responder and no extension preferred.
        all.extend(extension(5, &[1, 0, 0, 0, 0]));
        if self.version == Version::Tls13 {
            all.extend(extension(43, &vec8(&self.version.code().to_be_bytes())));
            all.extend(extension(45, &vec8(&[1]))); // PSK with (EC)DHE
            all.extend(extension(51, &vec16(&[])));
        } else {
            all.extend(extension(11, &vec8(&[0]))); // uncompressed points
            all.extend(extension(23, &[])); // extended_master_secret
            all.extend(extension(35, &[])); // session_ticket
            all.extend(extension(0xff01, &[0])); // renegotiation_info
        }
        all
    }
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut all = kind.to_be_bytes().to_vec();
    all.extend(vec16(body));
    all
}

fn numbers(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

/// All that is written here is short.
fn vec8(body: &[u8]) -> Vec<u8> {
    let mut all = vec![body.len() as u8];
    all.extend(body);
    all
}

fn vec16(body: &[u8]) -> Vec<u8> {
    let mut all = (body.len() as u16).to_be_bytes().to_vec();
    all.extend(body);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::names;
    use crate::tls::hello::ClientHello;

    fn hello(version: Version) -> Vec<u8> {
        let groups = names::groups(version);
        Hello {
            version,
            name: Some("a.test"),
            suites: version.suites().get(..90).unwrap_or(version.suites()),
            groups: &groups,
            random: [7; 32],
        }
        .record()
    }

    #[test]
    fn our_own_reader_reads_what_was_offered() {
        for version in [Version::Tls10, Version::Tls12, Version::Tls13] {
            let record = hello(version);
            let read = ClientHello::parse(record[5..].to_vec()).unwrap();
            assert_eq!(read.server_name(), Some("a.test"), "{version:?}");
            assert_eq!(read.offers_tls13(), version == Version::Tls13);
            let groups: Vec<u16> = read.groups().map(u16::from).collect();
            assert_eq!(groups, names::groups(version));
            assert_eq!(read.key_share_groups().count(), 0);
            let suites = read.cipher_suites().count();
            assert_eq!(suites, version.suites().len().min(90));
        }
    }

    #[test]
    fn no_hello_has_a_length_that_is_lost() {
        for version in Version::ALL {
            for count in 1..90 {
                let suites = &version.suites()[..count.min(version.suites().len())];
                let groups = names::groups(version);
                let name = "a".repeat(count % 60 + 1);
                let hello = Hello {
                    version,
                    name: Some(&name),
                    suites,
                    groups: &groups[..groups.len().min(count)],
                    random: [7; 32],
                };
                let length = hello.record().len() - 5;
                let lost = (256..PADDED).contains(&length);
                assert!(
                    !lost || version == Version::Ssl3,
                    "{version:?} {count}: {length}"
                );
            }
        }
    }
}
