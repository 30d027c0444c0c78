//! Reading what a server answers to a ClientHello.

use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;

use crate::inspect::names::{self, Exchange};
use crate::load::relay::Records;

/// Content types. RFC 9846 §5.1
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Handshake messages. RFC 9846 §4, RFC 5246 §7.4, RFC 6066 §8
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_STATUS: u8 = 22;

/// Extensions. RFC 9846 §4.3
const SESSION_TICKET: u16 = 35;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The most that is read of one answer, in bytes: as much as rustls takes for a message. Long chains
/// have a quarter of it.
const MOST: usize = 64 << 10;

/// The longest record of any version, in bytes. RFC 5246 §6.2.3
const LONGEST_RECORD: u16 = (16 << 10) + 2048;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::inspect) enum Answer {
    /// It would go on with this.
    Flight(Flight),
    /// It will not. RFC 9846 §6.2
    Refused(AlertDescription),
}

/// What can be read of a server's first flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::inspect) struct Flight {
    /// The version chosen, by its number.
    pub(in crate::inspect) version: u16,
    /// The suite chosen.
    pub(in crate::inspect) suite: u16,
    /// The group: of a HelloRetryRequest, or of an older ServerKeyExchange.
    pub(in crate::inspect) group: Option<u16>,
    /// The length of the prime of an older Diffie-Hellman key exchange, in bits.
    pub(in crate::inspect) dh_bits: Option<usize>,
    /// Whether a ticket is promised (TLS 1.2 and older, RFC 5077 §3.2).
    pub(in crate::inspect) ticket: bool,
    /// The chain as it came, leaf first if it is in order (TLS 1.2 and older).
    pub(in crate::inspect) chain: Vec<CertificateDer<'static>>,
    /// The OCSP response stapled (TLS 1.2 and older).
    pub(in crate::inspect) staple: Option<Vec<u8>>,
}

/// Bytes that are no answer; says what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inspect) struct Wrong(pub(in crate::inspect) &'static str);

/// Gathers an answer.
#[derive(Debug, Default)]
pub(in crate::inspect) struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes more bytes; the answer, once it is whole.
    pub(in crate::inspect) fn take(&mut self, more: &[u8]) -> Result<Option<Answer>, Wrong> {
        self.bytes.extend_from_slice(more);
        let answer = read(&self.bytes)?;
        if answer.is_none() && self.bytes.len() > MOST {
            return Err(Wrong("more bytes than a handshake has"));
        }
        Ok(answer)
    }
}

fn read(bytes: &[u8]) -> Result<Option<Answer>, Wrong> {
    let mut records = Records::of(bytes);
    let mut messages = Vec::new();
    for record in records.by_ref() {
        let version = bytes.get(record.at + 1);
        if !matches!(record.kind, CHANGE_CIPHER_SPEC..=APPLICATION_DATA) || version != Some(&3) {
            return Err(Wrong("not TLS"));
        }
        match (record.kind, record.body) {
            (CHANGE_CIPHER_SPEC, _) => {}
            // A warning: of the name, or that the version is old. The server goes on.
            (ALERT, [1, description]) if *description != 0 => {}
            (ALERT, [_, description]) => {
                return Ok(Some(Answer::Refused((*description).into())));
            }
            (HANDSHAKE, body) => messages.extend_from_slice(body),
            _ => return Err(Wrong("a record that has no place in a handshake")),
        }
    }
    if let [kind, rest @ ..] = records.rest() {
        let length = rest.get(2..4).and_then(|it| it.try_into().ok());
        let length = length.map_or(0, u16::from_be_bytes);
        let known = matches!(*kind, CHANGE_CIPHER_SPEC..=HANDSHAKE);
        let version = rest.first().is_none_or(|major| *major == 3);
        if !known || !version || length > LONGEST_RECORD {
            return Err(Wrong("not TLS"));
        }
    }
    flight(&messages)
}

/// What the messages say, once it is enough: TLS 1.3 says it all at once, older versions up to
/// ServerHelloDone.
fn flight(mut messages: &[u8]) -> Result<Option<Answer>, Wrong> {
    let mut flight = None;
    while let Some((kind, body)) = message(&mut messages) {
        let flight = match (kind, &mut flight) {
            (SERVER_HELLO, none @ None) => {
                let hello = server_hello(body).ok_or(Wrong("no proper ServerHello"))?;
                if hello.version >= 0x0304 {
                    return Ok(Some(Answer::Flight(hello)));
                }
                none.insert(hello)
            }
            (_, Some(flight)) => flight,
            (_, None) => return Err(Wrong("no ServerHello")),
        };
        match kind {
            CERTIFICATE => {
                flight.chain = certificates(body).ok_or(Wrong("no proper Certificate"))?;
            }
            CERTIFICATE_STATUS => flight.staple = status(body).map(<[u8]>::to_vec),
            SERVER_KEY_EXCHANGE => key_exchange(flight, body),
            SERVER_HELLO_DONE => return Ok(Some(Answer::Flight(std::mem::take(flight)))),
            _ => {}
        }
    }
    Ok(None)
}

/// RFC 9846 §4.2.3, RFC 5246 §7.4.1.3
fn server_hello(mut rest: &[u8]) -> Option<Flight> {
    let mut hello = Flight {
        version: number(&mut rest)?,
        ..Flight::default()
    };
    let _random = take(&mut rest, 32)?;
    let session_id = byte(&mut rest)?;
    let _session_id = take(&mut rest, session_id.into())?;
    hello.suite = number(&mut rest)?;
    let _compression = byte(&mut rest)?;
    // Older versions may have none.
    let mut extensions = match rest {
        [] => return Some(hello),
        _ => vector(&mut rest)?,
    };
    while !extensions.is_empty() {
        let kind = number(&mut extensions)?;
        let mut body = vector(&mut extensions)?;
        match kind {
            SUPPORTED_VERSIONS => hello.version = number(&mut body)?,
            // No share was sent: the group alone is named.
            KEY_SHARE => hello.group = Some(number(&mut body)?),
            SESSION_TICKET => hello.ticket = true,
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 5246 §7.4.2
fn certificates(mut body: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut list = vector24(&mut body)?;
    let mut chain = Vec::new();
    while !list.is_empty() {
        chain.push(CertificateDer::from(vector24(&mut list)?.to_vec()));
    }
    Some(chain)
}

/// RFC 6066 §8
fn status(mut body: &[u8]) -> Option<&[u8]> {
    const OCSP: u8 = 1;
    (byte(&mut body)? == OCSP).then(|| vector24(&mut body))?
}

/// RFC 8422 §5.4, RFC 5246 §7.4.3
fn key_exchange(flight: &mut Flight, mut body: &[u8]) {
    const NAMED_CURVE: u8 = 3;
    match names::exchange(flight.suite) {
        Exchange::Curve if byte(&mut body) == Some(NAMED_CURVE) => {
            flight.group = number(&mut body);
        }
        Exchange::Prime => {
            let prime = vector(&mut body).unwrap_or_default();
            let leading = prime.iter().take_while(|byte| **byte == 0).count();
            let prime = prime.get(leading..).unwrap_or_default();
            let unused = prime.first().map_or(0, |byte| byte.leading_zeros());
            flight.dh_bits = (prime.len() * 8).checked_sub(unused as usize);
        }
        Exchange::Curve | Exchange::Other => {}
    }
}

/// The next whole handshake message.
fn message<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let mut after = *rest;
    let kind = byte(&mut after)?;
    let body = vector24(&mut after)?;
    *rest = after;
    Some((kind, body))
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1)?.first().copied()
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn vector<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    take(rest, length.into())
}

fn vector24<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let high = byte(rest)?;
    let low = number(rest)?;
    take(rest, usize::from(high) << 16 | usize::from(low))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests;
