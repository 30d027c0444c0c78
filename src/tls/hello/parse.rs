//! The ClientHello's grammar (RFC 9846 §4.2.2).
//!
//! Fields that the edge uses are checked as strictly as rustls does, so that what passes here has
//! the same meaning there; other extensions are passed over, rustls reads them.

use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;

use super::HelloError;
use super::message::{ClientHello, Span};

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const COMPRESS_CERTIFICATE: u16 = 27;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const PSK_KEY_EXCHANGE_MODES: u16 = 45;
const KEY_SHARE: u16 = 51;

const SSL3: u16 = 0x0300;
const TLS13: u16 = 0x0304;

/// Parses one whole ClientHello message, handshake header included.
pub(super) fn client_hello(message: Bytes) -> Result<ClientHello, HelloError> {
    // A reference count of its own, so that the fields can be filled in while reading.
    let bytes = message.clone();
    let mut hello = ClientHello::empty(message);
    let mut r = Cursor::new(&bytes);

    if r.u8() != Some(1) {
        return Err(HelloError::UnexpectedMessage);
    }
    let mut body = r.vec24().ok_or(HelloError::Malformed("length"))?;
    r.end("length")?;
    hello.legacy_version = body.u16().ok_or(HelloError::Malformed("legacy_version"))?;
    // RFC 9846 §E.5: whatever supported_versions says. rustls does not look.
    if hello.legacy_version <= SSL3 {
        return Err(HelloError::LegacyVersion);
    }
    body.take(32).ok_or(HelloError::Malformed("random"))?;
    let session_id = body.vec8().ok_or(HelloError::Malformed("session_id"))?;
    if session_id.len() > 32 {
        return Err(HelloError::Malformed("session_id"));
    }
    hello.session_id = session_id.span();
    let suites = body.vec16().ok_or(HelloError::Malformed("cipher_suites"))?;
    hello.cipher_suites = suites.numbers("cipher_suites")?;
    let compressions = body
        .vec8()
        .filter(|methods| methods.len() > 0)
        .ok_or(HelloError::Malformed("compression_methods"))?
        .rest();

    // TLS 1.2 lets the extensions be absent altogether.
    if body.len() > 0 {
        let extensions = body.vec16().ok_or(HelloError::Malformed("extensions"))?;
        body.end("extensions")?;
        hello.extensions = extensions.span();
        read_extensions(&mut hello, extensions)?;
    }

    // RFC 9846 §4.2.2: null alone. Below 1.3 it need only be there.
    let compression_ok = match hello.offers_tls13 {
        true => compressions == [0],
        false => compressions.contains(&0),
    };
    if !compression_ok {
        return Err(HelloError::Compression);
    }
    if hello.offers_tls13 {
        check_mandatory(&hello)?;
    }
    Ok(hello)
}

fn read_extensions(hello: &mut ClientHello, mut block: Cursor<'_>) -> Result<(), HelloError> {
    let mut seen = Seen::default();
    while block.len() > 0 {
        let kind = block.u16().ok_or(HelloError::Malformed("extensions"))?;
        let mut body = block.vec16().ok_or(HelloError::Malformed("extensions"))?;
        // RFC 9846 §4.3: no two of one type.
        if !seen.insert(kind) {
            return Err(HelloError::DuplicateExtension(kind));
        }
        let what = match kind {
            SERVER_NAME => {
                hello.has_server_name = true;
                hello.server_name = server_name(&mut body)?;
                "server_name"
            }
            SUPPORTED_GROUPS => {
                hello.groups = Some(list16(&mut body, "supported_groups")?);
                "supported_groups"
            }
            SIGNATURE_ALGORITHMS => {
                hello.signature_schemes = Some(list16(&mut body, "signature_algorithms")?);
                "signature_algorithms"
            }
            ALPN => {
                hello.alpn = Some(alpn(&mut body).ok_or(HelloError::Malformed("alpn"))?);
                "alpn"
            }
            COMPRESS_CERTIFICATE => {
                hello.compressions = Some(list8(&mut body, "compress_certificate")?);
                "compress_certificate"
            }
            PRE_SHARED_KEY => {
                // RFC 9846 §4.3.11: the binders cover all that comes before them.
                if block.len() > 0 {
                    return Err(HelloError::PskNotLast);
                }
                pre_shared_key(hello, &mut body)?;
                "pre_shared_key"
            }
            EARLY_DATA => {
                hello.early_data = true;
                "early_data"
            }
            SUPPORTED_VERSIONS => {
                let versions = list8(&mut body, "supported_versions")?;
                hello.supported_versions = Some(versions);
                let tls13 = hello
                    .supported_versions()
                    .any(|version| u16::from(version) == TLS13);
                hello.offers_tls13 = tls13;
                "supported_versions"
            }
            PSK_KEY_EXCHANGE_MODES => {
                let modes = body
                    .vec8()
                    .filter(|modes| modes.len() > 0)
                    .ok_or(HelloError::Malformed("psk_key_exchange_modes"))?;
                hello.psk_modes = Some(modes.span());
                "psk_key_exchange_modes"
            }
            KEY_SHARE => {
                hello.key_shares =
                    Some(key_shares(&mut body).ok_or(HelloError::Malformed("key_share"))?);
                "key_share"
            }
            _ => continue,
        };
        body.end(what)?;
    }
    Ok(())
}

/// RFC 9846 §9.2, and §4.3.9 for the modes. rustls answers some of these with handshake_failure.
fn check_mandatory(hello: &ClientHello) -> Result<(), HelloError> {
    let psk = hello.identities.is_some();
    if !psk && hello.signature_schemes.is_none() {
        return Err(HelloError::MissingExtension("signature_algorithms"));
    }
    if hello.groups.is_none() && (!psk || hello.key_shares.is_some()) {
        return Err(HelloError::MissingExtension("supported_groups"));
    }
    if hello.groups.is_some() && hello.key_shares.is_none() {
        return Err(HelloError::MissingExtension("key_share"));
    }
    if psk && hello.psk_modes.is_none() {
        return Err(HelloError::MissingExtension("psk_key_exchange_modes"));
    }
    Ok(())
}

/// RFC 6066 §3, read as rustls reads it: an IP address is as good as no name, an unknown name type
/// ends the list, anything but exactly one host name is refused.
fn server_name(body: &mut Cursor<'_>) -> Result<Option<Arc<str>>, HelloError> {
    const MALFORMED: HelloError = HelloError::Malformed("server_name");
    let mut list = body
        .vec16()
        .filter(|list| list.len() > 0)
        .ok_or(MALFORMED)?;
    let mut found = None;
    while list.len() > 0 {
        if list.u8() != Some(0) {
            break;
        }
        let name = list
            .vec16()
            .filter(|name| name.len() > 0)
            .ok_or(MALFORMED)?;
        if found.replace(name.rest()).is_some() {
            return Err(HelloError::ServerName);
        }
    }
    match ServerName::try_from(found.unwrap_or_default()) {
        Ok(ServerName::DnsName(name)) => {
            let name = name.as_ref();
            let name = name.strip_suffix('.').unwrap_or(name);
            let mut shared: Arc<str> = Arc::from(name);
            if let Some(name) = Arc::get_mut(&mut shared) {
                name.make_ascii_lowercase();
            }
            Ok(Some(shared))
        }
        Ok(ServerName::IpAddress(_)) => Ok(None),
        Ok(_) | Err(_) => Err(HelloError::ServerName),
    }
}

/// RFC 7301 §3.1: at least one name, none empty.
fn alpn(body: &mut Cursor<'_>) -> Option<Span> {
    let names = body.vec16().filter(|names| names.len() > 0)?;
    let mut rest = names;
    while rest.len() > 0 {
        rest.vec8().filter(|name| name.len() > 0)?;
    }
    Some(names.span())
}

/// RFC 9846 §4.3.8: the list may be empty, a share may not.
fn key_shares(body: &mut Cursor<'_>) -> Option<Span> {
    let shares = body.vec16()?;
    let mut rest = shares;
    while rest.len() > 0 {
        rest.u16()?;
        rest.vec16().filter(|share| share.len() > 0)?;
    }
    Some(shares.span())
}

/// RFC 9846 §4.3.11: identities of at least one byte, as many binders of at least 32.
fn pre_shared_key(hello: &mut ClientHello, body: &mut Cursor<'_>) -> Result<(), HelloError> {
    const MALFORMED: HelloError = HelloError::Malformed("pre_shared_key");
    let identities = body
        .vec16()
        .filter(|list| list.len() > 0)
        .ok_or(MALFORMED)?;
    let mut rest = identities;
    while rest.len() > 0 {
        rest.vec16().filter(|id| id.len() > 0).ok_or(MALFORMED)?;
        rest.u32().ok_or(MALFORMED)?;
        hello.identity_count = hello.identity_count.saturating_add(1);
    }
    let mut binders = body
        .vec16()
        .filter(|list| list.len() > 0)
        .ok_or(MALFORMED)?;
    while binders.len() > 0 {
        binders
            .vec8()
            .filter(|binder| binder.len() >= 32)
            .ok_or(MALFORMED)?;
        hello.binder_count = hello.binder_count.saturating_add(1);
    }
    if hello.identity_count != hello.binder_count {
        return Err(HelloError::PskBinderCount);
    }
    hello.identities = Some(identities.span());
    Ok(())
}

fn list8(body: &mut Cursor<'_>, what: &'static str) -> Result<Span, HelloError> {
    body.vec8()
        .ok_or(HelloError::Malformed(what))?
        .numbers(what)
}

fn list16(body: &mut Cursor<'_>, what: &'static str) -> Result<Span, HelloError> {
    body.vec16()
        .ok_or(HelloError::Malformed(what))?
        .numbers(what)
}

/// Extension types seen. Types below 64 are most of what comes; the rest is found by scanning, and
/// past 32 of those in a map of all 65,536, so that a hello full of extensions costs no square.
#[derive(Default)]
struct Seen {
    low: u64,
    few: [u16; 32],
    count: usize,
    many: Vec<u64>,
}

impl Seen {
    /// False if `kind` was there before.
    fn insert(&mut self, kind: u16) -> bool {
        if kind < 64 {
            return set_bit(&mut self.low, kind);
        }
        if self.many.is_empty() {
            let (taken, free) = self.few.split_at_mut(self.count);
            if taken.contains(&kind) {
                return false;
            }
            if let Some(slot) = free.first_mut() {
                *slot = kind;
                self.count += 1;
                return true;
            }
            self.many = vec![0; 1024];
            for earlier in self.few {
                Self::mark(&mut self.many, earlier);
            }
        }
        Self::mark(&mut self.many, kind)
    }

    fn mark(map: &mut [u64], kind: u16) -> bool {
        map.get_mut(usize::from(kind >> 6))
            .is_none_or(|word| set_bit(word, kind & 63))
    }
}

/// Sets a bit; false if it was set.
fn set_bit(word: &mut u64, bit: u16) -> bool {
    let mask = 1 << bit;
    let new = *word & mask == 0;
    *word |= mask;
    new
}

/// Reads from the front of a part of the message and knows where it stands.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest, at: 0 }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    fn len(&self) -> usize {
        self.rest.len()
    }

    /// Where the unread bytes lie. Messages are far below 4 GiB.
    fn span(&self) -> Span {
        Span {
            start: self.at as u32,
            length: self.rest.len() as u32,
        }
    }

    fn take(&mut self, count: usize) -> Option<Self> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        let part = Self {
            rest: taken,
            at: self.at,
        };
        self.rest = rest;
        self.at += count;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        self.at += N;
        Some(*array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// What a length of one byte announces.
    pub(super) fn vec8(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// What a length of two bytes announces.
    pub(super) fn vec16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// What a length of three bytes announces.
    fn vec24(&mut self) -> Option<Self> {
        let [high, mid, low] = self.array()?;
        self.take(u32::from_be_bytes([0, high, mid, low]) as usize)
    }

    /// The span of a non-empty list of two-byte numbers.
    fn numbers(self, what: &'static str) -> Result<Span, HelloError> {
        match self.len() {
            0 => Err(HelloError::Malformed(what)),
            length if length % 2 != 0 => Err(HelloError::Malformed(what)),
            _ => Ok(self.span()),
        }
    }

    fn end(&self, what: &'static str) -> Result<(), HelloError> {
        match self.len() {
            0 => Ok(()),
            _ => Err(HelloError::Malformed(what)),
        }
    }
}
