//! Reading a server's answer to a flight, up to the word on early data.

use rustls::AlertDescription;

use super::flight::Copy;
use super::packet::{Kind, Said, packets};
use super::protection::{Protection, Sender};
use crate::load::replay::answer::{extensions_say, first_message, server_hello};
use crate::load::replay::flight::Reader;
use crate::load::replay::report::Outcome;
use crate::telemetry::labels::{Alert, Label as _};

/// The longest answer that is looked at, in bytes, if its EncryptedExtensions have not come.
const MOST: usize = 64 << 10;

/// Errors that are alerts of TLS. RFC 9000 §20.1
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// What became of a copy, by all datagrams that the server has sent so far; `None` if that is not
/// said yet. Only EncryptedExtensions that could be opened say that early data was accepted. What
/// does not open is passed over: anybody can send datagrams.
pub(super) fn read(reader: &Reader, copy: &Copy, datagrams: &[Vec<u8>]) -> Option<Outcome> {
    let all = || datagrams.iter().flat_map(|datagram| packets(datagram));
    let keys = Protection::initial(&copy.id, Sender::Server)?;
    let mut initial = Said::default();
    for packet in all().filter(|packet| packet.to == copy.own_id) {
        match packet.kind {
            Kind::Versions => return Some(Outcome::OtherVersion),
            Kind::Retry => return Some(Outcome::Retry),
            Kind::Initial => {
                if let Some((_, frames)) = packet.open(&keys) {
                    let added = initial.add(&frames);
                    if added.is_none() {
                        return Some(Outcome::Unreadable("no proper frames"));
                    }
                }
            }
            Kind::Early | Kind::Handshake => {}
        }
    }
    if let Some(code) = initial.closed {
        return Some(closed(code));
    }
    let clear = initial.crypto();
    if let Some(message) = first_message(&clear) {
        let agreed = match server_hello(reader, message) {
            Ok(agreed) => agreed,
            Err(outcome) => return Some(outcome),
        };
        let keys = Protection::new(agreed.suite, &agreed.secret)?;
        let mut handshake = Said::default();
        for packet in all().filter(|packet| packet.kind == Kind::Handshake) {
            if let Some((_, frames)) = packet.open(&keys)
                && handshake.add(&frames).is_none()
            {
                return Some(Outcome::Unreadable("no proper frames"));
            }
        }
        if let Some(message) = first_message(&handshake.crypto()) {
            return Some(extensions_say(message));
        }
        if let Some(code) = handshake.closed {
            return Some(closed(code));
        }
    }
    let length: usize = datagrams.iter().map(Vec::len).sum();
    (length > MOST).then_some(Outcome::Unreadable("too many bytes"))
}

/// The server's own connection id and the largest number of its Initial packets, if one has come.
pub(super) fn seen(copy: &Copy, datagrams: &[Vec<u8>]) -> Option<(Vec<u8>, u64)> {
    let keys = Protection::initial(&copy.id, Sender::Server)?;
    let all = datagrams.iter().flat_map(|datagram| packets(datagram));
    let opened = all.filter_map(|packet| {
        let (number, _) = match packet.kind {
            Kind::Initial => packet.open(&keys)?,
            _ => return None,
        };
        Some((packet.from.to_vec(), number))
    });
    opened.max_by_key(|(_, number)| *number)
}

/// RFC 9000 §20.1
fn closed(code: u64) -> Outcome {
    match code {
        0 => Outcome::Closed,
        code if ALERTS.contains(&code) => {
            let alert = AlertDescription::from((code & 0xff) as u8);
            Outcome::Alert(Alert::from(alert).as_str())
        }
        code => Outcome::Quic(code),
    }
}
