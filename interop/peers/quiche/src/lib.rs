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
