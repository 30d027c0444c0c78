//! What the programs share.

pub mod line;
#[path = "../../common/peer.rs"]
pub mod peer;
pub mod serve;

use boring::ssl::{SslContextBuilder, SslMethod};
use std::net::SocketAddr;
use std::process::exit;

/// The largest datagram that is sent.
const DATAGRAM: usize = 1350;
/// More than any datagram that is received.
const RECEIVED: usize = 65536;
/// How many bytes may be under way to us: no more than a socket keeps by itself.
const WINDOW: u64 = 192 * 1024;
const STREAMS: u64 = 100;
const IDLE: u64 = 60_000;

/// What there is to set before quiche takes it.
pub fn tls() -> SslContextBuilder {
    SslContextBuilder::new(SslMethod::tls()).expect("BoringSSL has contexts")
}

/// The configuration of a connection over it.
pub fn config(tls: SslContextBuilder, protocols: &[&[u8]]) -> quiche::Config {
    let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls).expect("the version is known");
    config.set_application_protos(protocols).expect("the protocols have proper names");
    config.set_max_idle_timeout(IDLE);
    config.set_max_recv_udp_payload_size(RECEIVED);
    config.set_max_send_udp_payload_size(DATAGRAM);
    config.set_initial_max_data(WINDOW);
    config.set_initial_max_stream_data_bidi_local(WINDOW);
    config.set_initial_max_stream_data_bidi_remote(WINDOW);
    config.set_initial_max_stream_data_uni(WINDOW);
    config.set_max_connection_window(WINDOW);
    config.set_max_stream_window(WINDOW);
    config.set_initial_max_streams_bidi(STREAMS);
    config.set_initial_max_streams_uni(STREAMS);
    config.set_active_connection_id_limit(8);
    // It only tells when to send, and here nobody waits for that.
    config.enable_pacing(false);
    config
}

/// An id for a connection. The other side is offered no more of them: where such an offer is lost on the way, and the id that was in it
/// has been retired when it is due again, quiche ends the connection (`get_new_connection_id_frame_for`: InvalidState).
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    boring::rand::rand_bytes(&mut bytes).expect("BoringSSL has randomness");
    bytes
}

/// Takes the packets of a datagram one by one, as RFC 9000 section 12.2 wants: quiche does not look behind one that it has no keys
/// for, or none any more (https://github.com/cloudflare/quiche/issues/2640).
fn receive(connection: &mut quiche::Connection, mut datagram: &mut [u8], info: quiche::RecvInfo) {
    while !datagram.is_empty() {
        let length = length(datagram).unwrap_or(datagram.len()).min(datagram.len());
        let (packet, rest) = datagram.split_at_mut(length);
        if let Err(error) = connection.recv(packet, info) {
            eprintln!("receiving: {error}");
        }
        datagram = rest;
    }
}

/// The length of a packet that tells it: one with a long header (RFC 9000 section 17.2), but for Retry and Version Negotiation.
fn length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first & 0x80 == 0 || first >> 4 & 3 == 3 || packet.get(1..5)? == [0; 4] {
        return None;
    }
    let mut at = 5;
    for _ in 0..2 {
        at += 1 + usize::from(*packet.get(at)?);
    }
    if first >> 4 & 3 == 0 {
        let token = integer(packet, &mut at)?;
        at = at.checked_add(token)?;
    }
    let length = integer(packet, &mut at)?;
    at.checked_add(length)
}

/// RFC 9000 section 16.
fn integer(packet: &[u8], at: &mut usize) -> Option<usize> {
    let first = *packet.get(*at)?;
    let bytes = packet.get(*at..*at + (1 << (first >> 6)))?;
    *at += bytes.len();
    Some(bytes.iter().skip(1).fold(usize::from(first & 0x3f), |value, byte| value << 8 | usize::from(*byte)))
}

/// Sends all that there is to send now.
fn flush(connection: &mut quiche::Connection, mut send: impl FnMut(&[u8], SocketAddr)) {
    let mut datagram = [0; DATAGRAM];
    loop {
        match connection.send(&mut datagram) {
            Ok((length, info)) => send(&datagram[..length], info.to),
            Err(quiche::Error::Done) => break,
            Err(error) => {
                eprintln!("sending: {error}");
                if connection.close(false, 1, b"").is_err() {
                    break;
                }
            }
        }
    }
}

/// Whether a socket has nothing to give at the moment, or nobody listens on the other side: that is QUIC's affair.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionRefused)
}

fn broken(why: impl std::fmt::Display) -> ! {
    eprintln!("{why}");
    exit(2)
}
