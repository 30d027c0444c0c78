//! Reading a server's answer to a flight, up to the word on early data.

use rustls::crypto::tls13::OkmBlock;
use rustls::{AlertDescription, CipherSuite, NamedGroup, Tls13CipherSuite};

use super::catch;
use super::flight::Reader;
use super::keys::{self, Opener};
use super::report::Outcome;
use crate::load::relay::Records;
use crate::telemetry::labels::{Alert, Label as _};

/// Content types. RFC 9846 §5.1
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Handshake messages. RFC 9846 §4
const SERVER_HELLO: u8 = 2;
const ENCRYPTED_EXTENSIONS: u8 = 8;

/// Extensions. RFC 9846 §4.2
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The longest answer that is looked at, in bytes, if its EncryptedExtensions have not come.
const MOST: usize = 64 << 10;

/// The random of a HelloRetryRequest. RFC 9846 §4.1.3
const RETRY: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
    0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// What became of the flight, by all that the server has sent so far; `None` if that is not said
/// yet. Only EncryptedExtensions that could be opened say that early data was accepted.
pub(super) fn read(reader: &Reader, bytes: &[u8]) -> Option<Outcome> {
    let mut records = Records::of(bytes);
    let mut clear = Vec::new();
    let mut inside = Vec::new();
    let mut opener: Option<Opener> = None;
    for record in records.by_ref() {
        match (record.kind, &mut opener) {
            // Sent for middleboxes; says nothing. RFC 9846 appendix D.4
            (CHANGE_CIPHER_SPEC, _) => {}
            (ALERT, None) => return Some(alert(record.body)),
            (HANDSHAKE, None) => {
                clear.extend_from_slice(record.body);
                let Some(message) = first_message(&clear) else {
                    continue;
                };
                let agreed = match server_hello(reader, message) {
                    Ok(agreed) => agreed,
                    Err(outcome) => return Some(outcome),
                };
                opener = Opener::new(agreed.suite, &agreed.secret);
                if opener.is_none() {
                    return Some(Outcome::Unreadable("a suite that was not offered"));
                }
            }
            (APPLICATION_DATA, Some(opener)) => {
                let mut body = record.body.to_vec();
                let Some(inner) = opener.open(&mut body) else {
                    return Some(Outcome::Unreadable("a record that our keys do not open"));
                };
                match inner.kind {
                    HANDSHAKE => inside.extend_from_slice(inner.content),
                    ALERT => return Some(alert(inner.content)),
                    _ => return Some(Outcome::Unreadable("a record out of order")),
                }
                if let Some(message) = first_message(&inside) {
                    return Some(extensions_say(message));
                }
            }
            _ => return Some(Outcome::Unreadable("a record out of order")),
        }
    }
    match records.rest().first() {
        Some(CHANGE_CIPHER_SPEC..=APPLICATION_DATA) | None if bytes.len() <= MOST => None,
        _ => Some(Outcome::Unreadable("not TLS")),
    }
}

/// The first handshake message, header included, once it is whole. RFC 9846 §4
pub(super) fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    let [_, high, mid, low] = *bytes.first_chunk()?;
    let length = u32::from_be_bytes([0, high, mid, low]) as usize;
    bytes.get(..4 + length)
}

/// What protects that which follows a ServerHello.
pub(super) struct Agreed {
    pub(super) suite: &'static Tls13CipherSuite,
    pub(super) secret: OkmBlock,
}

/// What a ServerHello that takes our PSK agrees on; otherwise why it does not.
pub(super) fn server_hello(reader: &Reader, message: &[u8]) -> Result<Agreed, Outcome> {
    let hello = Hello::parse(message).ok_or(Outcome::Unreadable("no proper ServerHello"))?;
    if hello.version != Some(0x0304) {
        return Err(Outcome::OlderVersion);
    }
    if hello.retry {
        return Err(Outcome::HelloRetryRequest);
    }
    // Without a PSK the certificate follows, and no early data. RFC 9846 §4.2.10
    if hello.psk.is_none() {
        return Err(Outcome::FullHandshake);
    }
    let agree = || {
        let suite = catch::suite(CipherSuite::from(hello.suite))?;
        let (group, share) = hello.share?;
        let mut ours = reader.shares.iter();
        let ours = ours.find(|share| share.group == NamedGroup::from(group))?;
        let shared = ours.agree(share)?;
        let hellos = (&reader.client_hello, message);
        let secret = keys::server_secret(suite, &reader.psk, &shared, hellos.0, hellos.1);
        Some(Agreed { suite, secret })
    };
    agree().ok_or(Outcome::Unreadable(
        "a suite or a share that was not offered",
    ))
}

/// What matters of a ServerHello.
#[derive(Default)]
struct Hello<'a> {
    retry: bool,
    suite: u16,
    version: Option<u16>,
    psk: Option<u16>,
    share: Option<(u16, &'a [u8])>,
}

impl<'a> Hello<'a> {
    /// RFC 9846 §4.1.3
    fn parse(message: &'a [u8]) -> Option<Self> {
        let (&kind, mut rest) = message.split_first()?;
        if kind != SERVER_HELLO {
            return None;
        }
        take::<3>(&mut rest)?;
        let _legacy_version = take::<2>(&mut rest)?;
        let mut hello = Self {
            retry: take::<32>(&mut rest)? == RETRY,
            ..Self::default()
        };
        let [session_id] = take(&mut rest)?;
        let (_, mut rest) = rest.split_at_checked(usize::from(session_id))?;
        hello.suite = u16::from_be_bytes(take(&mut rest)?);
        let _compression = take::<1>(&mut rest)?;
        // TLS 1.2 may have none.
        if rest.is_empty() {
            return Some(hello);
        }
        let mut extensions = vector(&mut rest)?;
        while !extensions.is_empty() {
            let kind = u16::from_be_bytes(take(&mut extensions)?);
            let mut body = vector(&mut extensions)?;
            match kind {
                SUPPORTED_VERSIONS => hello.version = Some(u16::from_be_bytes(take(&mut body)?)),
                PRE_SHARED_KEY => hello.psk = Some(u16::from_be_bytes(take(&mut body)?)),
                // A HelloRetryRequest names the group alone.
                KEY_SHARE if !hello.retry => {
                    let group = u16::from_be_bytes(take(&mut body)?);
                    hello.share = Some((group, vector(&mut body)?));
                }
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The word on early data. RFC 9846 §4.2.10, §4.3.1
pub(super) fn extensions_say(message: &[u8]) -> Outcome {
    match find_early_data(message) {
        Some(true) => Outcome::Accepted,
        Some(false) => Outcome::Resumed,
        None => Outcome::Unreadable("no proper EncryptedExtensions"),
    }
}

fn find_early_data(message: &[u8]) -> Option<bool> {
    let (&kind, mut rest) = message.split_first()?;
    if kind != ENCRYPTED_EXTENSIONS {
        return None;
    }
    take::<3>(&mut rest)?;
    let mut extensions = vector(&mut rest)?;
    let mut found = false;
    while !extensions.is_empty() {
        found |= u16::from_be_bytes(take(&mut extensions)?) == EARLY_DATA;
        vector(&mut extensions)?;
    }
    Some(found)
}

/// RFC 9846 §6
fn alert(body: &[u8]) -> Outcome {
    match body {
        [_, description] => {
            Outcome::Alert(Alert::from(AlertDescription::from(*description)).as_str())
        }
        _ => Outcome::Unreadable("no proper alert"),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

/// What a length of two bytes announces.
fn vector<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(rest)?);
    let (taken, after) = rest.split_at_checked(usize::from(length))?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests;
