use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, duplex};

use super::*;
use crate::certs::chooser::CertificateChooser;
use crate::config::site_tls::SiteTls;
use crate::confirm::{Confirmation, Status};

impl Socket for DuplexStream {}

const NAME: &str = "example.com";

fn configs() -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let chain = vec![made.cert.der().clone()];
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = any_supported_type(&key).unwrap();
    let certified = Arc::new(CertifiedKey::new(chain.clone(), key));
    let mut site = SiteTls::new(
        NAME,
        Arc::new(CertificateChooser::new(vec![certified]).unwrap()),
    );
    site.early_data = true;
    let server = site.server_config(1, || unreachable!("a site with early data"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain);
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (ServerConfig::clone(&server), client)
}

/// A stream whose client has the server's flight and has not answered it.
struct Scene {
    stream: TlsStream<DuplexStream>,
    client: ClientConnection,
    wire: DuplexStream,
    confirmation: Confirmation,
}

impl Scene {
    fn new() -> Self {
        let (mut server, client) = configs();
        // Without a ticket nothing is to be sent when Finished comes.
        server.send_tls13_tickets = 0;
        let name = ServerName::try_from(NAME).unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let (wire, socket) = duplex(1 << 20);
        let (settler, confirmation) = Confirmation::pending();
        let mut scene = Self {
            stream: TlsStream::new(socket),
            client,
            wire,
            confirmation,
        };
        scene.send();
        let mut reader = HelloReader::default();
        let hello = scene.stream.poll_hello(&mut cx(), &mut reader);
        assert!(matches!(hello, Poll::Ready(Ok(_))));
        scene.stream.start(Arc::new(server), settler).unwrap();
        assert!(scene.read().is_pending());
        assert!(scene.stream.poll_flush(&mut cx()).is_ready());
        scene.receive();
        assert!(!scene.client.is_handshaking());
        scene
    }

    /// What the client wants to send, in one piece.
    fn send(&mut self) {
        let mut flight = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut flight).unwrap();
        }
        let sent = Pin::new(&mut self.wire).poll_write(&mut cx(), &flight);
        assert!(matches!(sent, Poll::Ready(Ok(count)) if count == flight.len()));
    }

    fn receive(&mut self) {
        let mut bytes = vec![0; 1 << 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut self.wire).poll_read(&mut cx(), &mut buffer);
        assert!(matches!(read, Poll::Ready(Ok(()))));
        let mut filled = buffer.filled();
        while !filled.is_empty() {
            self.client.read_tls(&mut filled).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    /// Reads until there is nothing more; pending, or how it ended.
    fn read(&mut self) -> Poll<Result<Read, StreamError>> {
        loop {
            match self.stream.poll_read(&mut cx(), &mut |_| false) {
                Poll::Ready(Ok(Read::Progress)) => {}
                other => return other,
            }
        }
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn a_finished_in_one_piece_with_close_notify_confirms() {
    let mut scene = Scene::new();
    scene.client.send_close_notify();
    scene.send();
    assert!(matches!(scene.read(), Poll::Ready(Ok(Read::Closed))));
    assert_eq!(scene.confirmation.status(), Status::Confirmed);
}

#[test]
fn data_between_finished_and_close_notify_is_delivered() {
    let mut scene = Scene::new();
    scene.client.writer().write_all(b"data").unwrap();
    scene.client.send_close_notify();
    scene.send();
    let mut plain = Vec::new();
    loop {
        let mut sink = |bytes: &[u8]| {
            plain.extend_from_slice(bytes);
            false
        };
        match scene.stream.poll_read(&mut cx(), &mut sink) {
            Poll::Ready(Ok(Read::Progress)) => {}
            Poll::Ready(Ok(Read::Closed)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(plain, b"data");
    assert_eq!(scene.confirmation.status(), Status::Confirmed);
}
