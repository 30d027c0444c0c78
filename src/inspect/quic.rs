//! Whether the server speaks HTTP/3: a QUIC handshake for `h3`, and nothing behind it.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::client::{Client, Offer, TLS13};
use super::line::Fault;

const H3: &[u8] = b"h3";

/// QUIC sends its first packet again after one second and after three (RFC 9002 §6.2): who has
/// not answered the second one by then does not listen.
const PATIENCE: Duration = Duration::from_secs(3);

/// The close of a client that wants nothing. H3_NO_ERROR, RFC 9114 §8.1
const NO_ERROR: u32 = 0x100;

/// Whether a handshake for HTTP/3 is completed with this address.
///
/// # Errors
/// None here; it could not be tried.
pub(super) async fn ask(
    client: &Client,
    address: SocketAddr,
    bound: Duration,
) -> Result<bool, Fault> {
    let setup = client.setup(&Offer {
        versions: TLS13,
        alpn: &[H3],
        ..Offer::default()
    })?;
    let crypto = QuicClientConfig::try_from(setup.config())
        .map_err(|_| Fault::Wrong("no suite for QUIC"))?;
    let endpoint = Endpoint::client(any(address)).map_err(Fault::Connect)?;
    let config = ClientConfig::new(Arc::new(crypto));
    let name = client.name().to_str();
    let connecting = endpoint.connect_with(config, address, &name);
    let connecting = connecting.map_err(|error| Fault::Connect(io::Error::other(error)))?;
    let handshake = async { timeout(bound.min(PATIENCE), connecting).await };
    tokio::select! {
        ended = handshake => match ended {
            Ok(Ok(connection)) => {
                connection.close(NO_ERROR.into(), b"");
                // The close leaves before the socket goes.
                let _ = timeout(bound.min(PATIENCE), endpoint.wait_idle()).await;
                Ok(true)
            }
            Ok(Err(_)) | Err(_) => Ok(false),
        },
        () = refused(address) => Ok(false),
    }
}

/// Waits for word that nobody listens there: where a firewall swallows it, for ever. quinn has no
/// ear for that, because its sockets are not connected.
async fn refused(address: SocketAddr) {
    let listen = async {
        let socket = UdpSocket::bind(any(address)).await?;
        socket.connect(address).await?;
        socket.send(&UNKNOWN_VERSION).await?;
        loop {
            socket.ready(Interest::ERROR).await?;
            if let Some(error) = socket.take_error()? {
                return Err::<(), _>(error);
            }
        }
    };
    match listen.await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        _ => std::future::pending().await,
    }
}

/// A packet of a version that nobody has: a server answers with those that it has, or not at all.
/// RFC 9000 §6.1, §15
static UNKNOWN_VERSION: [u8; 1200] = {
    let mut packet = [0; 1200];
    packet[0] = 0xc0;
    let mut at = 1;
    while at < 5 {
        packet[at] = 0x1a;
        at += 1;
    }
    packet[5] = 8; // the length of the connection id that follows
    packet
};

/// Any port that can reach this address.
fn any(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// The port of `h3` in an `Alt-Svc` field, if it is one of the same host. RFC 7838 §3
pub(super) fn alternative(alt_svc: &str) -> Option<u16> {
    let services = alt_svc.split(',').map(str::trim);
    let mut ports = services.filter_map(|service| {
        let authority = service.strip_prefix("h3=\"")?;
        let (authority, _) = authority.split_once('"')?;
        authority.strip_prefix(':')?.parse().ok()
    });
    ports.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_http3_is_read() {
        assert_eq!(alternative("h3=\":443\"; ma=86400"), Some(443));
        assert_eq!(alternative("h2=\":1\", h3=\":8443\"; ma=1"), Some(8443));
        for text in [
            "clear",
            "",
            "h3-29=\":443\"",
            "h3=\"b.test:443\"",
            "h3=\":x\"",
        ] {
            assert_eq!(alternative(text), None, "{text}");
        }
    }
}
