//! rustls behind a few C functions, so that it shares the program of the C clients (`client.c` calls these).

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier};
use rustls::crypto::{aws_lc_rs, CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{pem::PemObject, CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, SignatureScheme};
use std::ffi::{c_char, c_int, CStr};
use std::io::{Read, Write};
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One session, whatever the name: the caller says where it is offered.
#[derive(Debug, Default)]
struct Kept {
    offer: AtomicBool,
    tickets: AtomicUsize,
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Option<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for Kept {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls12.lock().unwrap() = Some(value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone().filter(|_| self.offer.load(Ordering::Relaxed))
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.tickets.fetch_add(1, Ordering::Relaxed);
        *self.tls13.lock().unwrap() = Some(value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().take_if(|_| self.offer.load(Ordering::Relaxed))
    }
}

/// The chain is verified, the name where there is one.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    staple: Arc<Mutex<Vec<u8>>>,
    named: Arc<AtomicBool>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>], name: &ServerName<'_>, ocsp: &[u8], now: UnixTime) -> Result<ServerCertVerified, Error> {
        *self.staple.lock().unwrap() = ocsp.to_vec();
        match self.inner.verify_server_cert(leaf, chain, name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) if !self.named.load(Ordering::Relaxed) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }
    fn verify_tls12_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }
    fn verify_tls13_signature(&self, message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// One configuration for all connections: a session belongs to its verifier.
pub struct Setup {
    kept: Arc<Kept>,
    named: Arc<AtomicBool>,
    staple: Arc<Mutex<Vec<u8>>>,
    config: ClientConfig,
}

pub struct Line {
    connection: ClientConnection,
    kept: Arc<Kept>,
    staple: Arc<Mutex<Vec<u8>>>,
    told: Vec<u8>,
    early: bool,
    closed: bool,
    error: String,
}

/// A list with commas; null is an empty one.
unsafe fn text(from: *const c_char) -> String {
    if from.is_null() { String::new() } else { CStr::from_ptr(from).to_string_lossy().into_owned() }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !item.is_empty())
}

#[no_mangle]
pub unsafe extern "C" fn rs_setup(ca: *const c_char, version: c_int, alpn: *const c_char, groups: *const c_char, suites: *const c_char, signatures: *const c_char) -> *mut Setup {
    let mut roots = RootCertStore::empty();
    let Ok(certificates) = CertificateDer::pem_file_iter(text(ca)) else { return std::ptr::null_mut() };
    roots.add_parsable_certificates(certificates.flatten());
    let mut provider = aws_lc_rs::default_provider();
    let (groups, suites) = (text(groups), text(suites));
    if !groups.is_empty() {
        let find = |name: &str| -> Option<&'static dyn SupportedKxGroup> {
            Some(match name {
                "X25519" => aws_lc_rs::kx_group::X25519,
                "P-256" => aws_lc_rs::kx_group::SECP256R1,
                "P-384" => aws_lc_rs::kx_group::SECP384R1,
                "X25519MLKEM768" => aws_lc_rs::kx_group::X25519MLKEM768,
                _ => return None,
            })
        };
        provider.kx_groups = list(&groups).filter_map(find).collect();
    }
    if !suites.is_empty() {
        provider.cipher_suites.retain(|suite| list(&suites).any(|name| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_") == name));
    }
    let version = if version == 12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let (provider, signatures) = (Arc::new(provider), text(signatures));
    let Ok(inner) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build() else { return std::ptr::null_mut() };
    let schemes = inner.supported_verify_schemes();
    let schemes = schemes.into_iter().filter(|scheme| signatures.is_empty() || format!("{scheme:?}").to_lowercase().starts_with(&signatures)).collect();
    let (kept, named, staple) = (Arc::new(Kept::default()), Arc::new(AtomicBool::new(true)), Arc::new(Mutex::default()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { inner, staple: Arc::clone(&staple), named: named.clone(), schemes }))
        .with_no_client_auth();
    config.alpn_protocols = list(&text(alpn)).map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::store(kept.clone());
    Box::into_raw(Box::new(Setup { kept, named, staple, config }))
}

#[no_mangle]
pub unsafe extern "C" fn rs_open(setup: *mut Setup, name: *const c_char, offer: bool, early: bool) -> *mut Line {
    let setup = &*setup;
    let mut config = setup.config.clone();
    config.enable_sni = !name.is_null();
    config.enable_early_data = early;
    setup.named.store(!name.is_null(), Ordering::Relaxed);
    setup.kept.offer.store(offer, Ordering::Relaxed);
    setup.kept.tickets.store(0, Ordering::Relaxed);
    let server = if name.is_null() { "peer.invalid".to_owned() } else { text(name) };
    let Ok(server) = ServerName::try_from(server) else { return std::ptr::null_mut() };
    match ClientConnection::new(Arc::new(config), server) {
        Ok(connection) => Box::into_raw(Box::new(Line { connection, kept: setup.kept.clone(), staple: setup.staple.clone(), told: Vec::new(), early: false, closed: false, error: String::new() })),
        Err(_) => std::ptr::null_mut(),
    }
}

/// Bytes for the wire; 0: none.
#[no_mangle]
pub unsafe extern "C" fn rs_take(line: *mut Line, to: *mut u8, size: usize) -> usize {
    (*line).connection.write_tls(&mut slice::from_raw_parts_mut(to, size)).unwrap_or(0)
}

/// Bytes from the wire. -1: an error, -2 - N: alert N.
#[no_mangle]
pub unsafe extern "C" fn rs_give(line: *mut Line, from: *const u8, size: usize) -> c_int {
    let line = &mut *line;
    let mut from = slice::from_raw_parts(from, size);
    while !from.is_empty() {
        if line.connection.read_tls(&mut from).is_err() {
            return -1;
        }
        match line.connection.process_new_packets() {
            Ok(state) => line.closed |= state.peer_has_closed(),
            Err(error) => {
                line.error = format!("{error}\0");
                return match error {
                    Error::AlertReceived(alert) => -2 - c_int::from(u8::from(alert)),
                    _ => -1,
                };
            }
        }
    }
    0
}

#[no_mangle]
pub unsafe extern "C" fn rs_error(line: *const Line) -> *const c_char {
    if (*line).error.is_empty() { c"failed".as_ptr() } else { (*line).error.as_ptr().cast() }
}

#[no_mangle]
pub unsafe extern "C" fn rs_early_limit(line: *mut Line) -> usize {
    (*line).connection.early_data().map_or(0, |early| early.bytes_left())
}

#[no_mangle]
pub unsafe extern "C" fn rs_early(line: *mut Line, from: *const u8, size: usize) -> usize {
    let line = &mut *line;
    line.early = true;
    line.connection.early_data().map_or(0, |mut early| early.write(slice::from_raw_parts(from, size)).unwrap_or(0))
}

#[no_mangle]
pub unsafe extern "C" fn rs_handshaking(line: *const Line) -> bool {
    (*line).connection.is_handshaking()
}

#[no_mangle]
pub unsafe extern "C" fn rs_write(line: *mut Line, from: *const u8, size: usize) -> usize {
    (*line).connection.writer().write(slice::from_raw_parts(from, size)).unwrap_or(0)
}

/// 0: nothing there; -1: close_notify.
#[no_mangle]
pub unsafe extern "C" fn rs_read(line: *mut Line, to: *mut u8, size: usize) -> isize {
    let line = &mut *line;
    match line.connection.reader().read(slice::from_raw_parts_mut(to, size)) {
        Ok(n) if n > 0 => n as isize,
        _ if line.closed => -1,
        _ => 0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn rs_key_update(line: *mut Line) -> bool {
    (*line).connection.refresh_traffic_keys().is_ok()
}

#[no_mangle]
pub unsafe extern "C" fn rs_close_notify(line: *mut Line) {
    (*line).connection.send_close_notify();
}

#[repr(C)]
pub struct Facts {
    version: c_int,
    resumed: c_int,
    early: c_int,
    group: c_int,
    tickets: c_int,
    suite: [u8; 64],
    alpn: [u8; 32],
    leaf: *const u8,
    staple: *const u8,
    leaf_size: usize,
    staple_size: usize,
}

fn fill(to: &mut [u8], from: &[u8]) {
    let n = from.len().min(to.len() - 1);
    to[..n].copy_from_slice(&from[..n]);
    to[n] = 0;
}

#[no_mangle]
pub unsafe extern "C" fn rs_facts(line: *mut Line, facts: *mut Facts) {
    let (line, facts) = (&mut *line, &mut *facts);
    line.told = line.staple.lock().unwrap().clone();
    let connection = &line.connection;
    facts.version = if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) { 13 } else { 12 };
    facts.resumed = c_int::from(connection.handshake_kind() == Some(HandshakeKind::Resumed));
    facts.early = if !line.early { 0 } else if connection.is_early_data_accepted() { 1 } else { 2 };
    facts.group = connection.negotiated_key_exchange_group().map_or(0, |group| c_int::from(u16::from(group.name())));
    facts.tickets = if facts.version == 13 { line.kept.tickets.load(Ordering::Relaxed) as c_int } else { -1 };
    let suite = connection.negotiated_cipher_suite().map_or(String::new(), |suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"));
    fill(&mut facts.suite, suite.as_bytes());
    fill(&mut facts.alpn, connection.alpn_protocol().unwrap_or_default());
    let leaf = connection.peer_certificates().and_then(|chain| chain.first());
    facts.leaf = leaf.map_or(std::ptr::null(), |leaf| leaf.as_ptr());
    facts.leaf_size = leaf.map_or(0, |leaf| leaf.len());
    facts.staple = line.told.as_ptr();
    facts.staple_size = line.told.len();
}
