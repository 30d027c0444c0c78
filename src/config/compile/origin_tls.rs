//! The TLS sides of origins: authorities, a certificate of the edge's own, names.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Work;
use crate::certs::keys::Pair;
use crate::certs::store::Store;
use crate::config::diagnostics::{At, Diagnostic};
use crate::config::snapshot::{OriginProtocol, OriginTls};
use crate::config::spec::{CertificateFiles, OriginTable, OriginTlsSpec};
use crate::tags::Tag;

/// What is read once for all origins of one specification.
#[derive(Default)]
pub(super) struct Source {
    store: Store,
    /// The authorities of the system, or none that could be read.
    system: Option<Result<Authorities, String>>,
    /// What was compiled already, by what it was compiled from: many routes share an origin.
    known: HashMap<Tag, Option<Arc<OriginTls>>>,
}

/// Whom an origin's certificate may come from.
#[derive(Clone)]
struct Authorities {
    roots: Arc<RootCertStore>,
    tag: Tag,
}

/// The TLS side of the origin `name`; `None` if it has no `https` server.
///
/// Where a file cannot be used, the origin keeps what it had; at start it has nothing, and requests
/// to it fail while others are served.
pub(super) fn compile(
    name: &str,
    table: &OriginTable,
    work: &mut Work<'_>,
) -> Option<Arc<OriginTls>> {
    let is_tls =
        |server: &super::super::snapshot::OriginServer| server.protocol == OriginProtocol::Tls;
    let mut spec = match (&table.tls, table.servers.iter().any(is_tls)) {
        (None, false) => return None,
        (None, true) => OriginTlsSpec::default(),
        (Some(tls), true) => tls.clone(),
        (Some(tls), false) => {
            let known = Tag::of(&[b"unused", name.as_bytes()]);
            if work.tls.known.insert(known, None).is_none() {
                let message = format!("origin `{name}` has `tls`, but no https:// server");
                let error = Diagnostic::error(tls.place.clone(), message);
                let hint = "write https:// in `servers`, or take `tls` away";
                work.errors.push(error.hint(hint));
            }
            return None;
        }
    };
    if table.proxy_protocol.is_some() {
        // Such a connection is one client's, and HTTP/2 is for many at once.
        spec.alpn = vec![b"http/1.1".to_vec()];
    }
    let typed = Tag::of(&[name.as_bytes(), format!("{spec:?}").as_bytes()]);
    if let Some(known) = work.tls.known.get(&typed) {
        return known.clone();
    }
    let tls = match read(&spec, typed, work) {
        Some(tls) => tls,
        None => former(name, typed, work).unwrap_or_else(|| OriginTls {
            tag: Tag::of(&[b"cutwater unusable origin tls 1", &typed.0]),
            typed,
            server_name: None,
            client: None,
        }),
    };
    let tls = Some(Arc::new(tls));
    work.tls.known.insert(typed, tls.clone());
    tls
}

/// What the origin had before. One in place is known by all that was typed, so that it never gets
/// another one's trust; one with a name of its own is that one, however it changed.
fn former(name: &str, typed: Tag, work: &Work<'_>) -> Option<OriginTls> {
    let in_place = name.contains(':');
    let origins = work.origins.iter();
    let named = origins.filter(|origin| *origin.name == *name);
    let mut former = named.filter_map(|origin| origin.tls.as_deref());
    former
        .find(|former| former.client.is_some() && (!in_place || former.typed == typed))
        .cloned()
}

fn read(spec: &OriginTlsSpec, typed: Tag, work: &mut Work<'_>) -> Option<OriginTls> {
    // Both are read for their errors before either is given up.
    let authorities = match &spec.ca {
        Some(file) => of_file(file, work),
        None => of_system(spec, work),
    };
    let pair = spec
        .certificate
        .as_ref()
        .map(|files| certificate(files, work));
    let (authorities, pair) = (
        authorities?,
        pair.map_or(Some(None), |pair| pair.map(Some))?,
    );
    let (pair, pair_tag) = pair.map_or((None, None), |(pair, tag)| (Some(pair), Some(tag)));
    let client = client(spec, &authorities, pair.as_ref(), work)?;
    let mut parts: Vec<&[u8]> = vec![b"cutwater origin tls 1", &authorities.tag.0];
    let pair_tag = pair_tag.map_or([0; 32], |tag| tag.0);
    parts.push(&pair_tag);
    for name in [&spec.server_name, &spec.verify_name] {
        parts.push(name.as_deref().unwrap_or("").as_bytes());
    }
    parts.push(if spec.tls12 { b"1.2" } else { b"1.3" });
    parts.extend(spec.alpn.iter().map(Vec::as_slice));
    Some(OriginTls {
        tag: Tag::of(&parts),
        typed,
        server_name: parse(spec.server_name.as_deref(), spec, work)?,
        client: Some(Arc::new(client)),
    })
}

/// Files are held to this where they are read, at the value that is wrong.
fn parse(
    name: Option<&str>,
    spec: &OriginTlsSpec,
    work: &mut Work<'_>,
) -> Option<Option<ServerName<'static>>> {
    let Some(name) = name else { return Some(None) };
    match ServerName::try_from(name.to_owned()) {
        Ok(name) => Some(Some(name)),
        Err(_) => {
            let message = format!("{name:?} is no name of a server");
            work.errors
                .push(Diagnostic::error(spec.place.clone(), message));
            None
        }
    }
}

fn client(
    spec: &OriginTlsSpec,
    authorities: &Authorities,
    pair: Option<&Pair>,
    work: &mut Work<'_>,
) -> Option<ClientConfig> {
    let verify_name = parse(spec.verify_name.as_deref(), spec, work)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::clone(&authorities.roots);
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let versions: &[_] = match spec.tls12 {
        true => &[&TLS13, &TLS12],
        false => &[&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let (webpki, builder) = match (webpki, builder) {
        (Ok(webpki), Ok(builder)) => (webpki, builder),
        (webpki, builder) => {
            let errors = [
                webpki.err().map(|error| error.to_string()),
                builder.err().map(|error| error.to_string()),
            ];
            for error in errors.into_iter().flatten() {
                let place = spec
                    .ca
                    .as_ref()
                    .map_or(spec.place.clone(), |ca| ca.place.clone());
                work.broken.push(Diagnostic::error(place, error));
            }
            return None;
        }
    };
    let builder = match verify_name {
        None => builder.with_webpki_verifier(webpki),
        Some(name) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Renamed { name, webpki })),
    };
    let mut client = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let shown = SingleCertAndKey::from((*pair.key).clone());
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    };
    client.alpn_protocols.clone_from(&spec.alpn);
    // Connections to origins are kept, and few: their certificates are not worth a decompressor.
    client.cert_decompressors = Vec::new();
    Some(client)
}

fn certificate(files: &CertificateFiles, work: &mut Work<'_>) -> Option<(Pair, Tag)> {
    let CertificateFiles { chain, key, .. } = files;
    match work.tls.store.pair(&chain.value, &key.value) {
        Ok(loaded) => {
            let what = chain.value.display().to_string();
            super::certificates::check_dates(&loaded.pair, &what, chain.place.as_ref(), work);
            Some((loaded.pair, loaded.tag))
        }
        Err(errors) => {
            for error in errors {
                let place = if error.chain { chain } else { key }.place.clone();
                let told = Diagnostic::error(place, error.message);
                work.broken.push(told.hint(error.hint));
            }
            None
        }
    }
}

fn of_file(file: &At<std::path::PathBuf>, work: &mut Work<'_>) -> Option<Authorities> {
    let path = file.value.display();
    let mut broken = |message: String, hint: &str| {
        let error = Diagnostic::error(file.place.clone(), message);
        work.broken.push(error.hint(hint));
        None
    };
    let pem = match fs::read(&file.value) {
        Ok(pem) => pem,
        Err(error) => {
            let hint = "a path is relative to the file that it stands in";
            return broken(format!("cannot read {path}: {error}"), hint);
        }
    };
    let hint = "write certificates of authorities, in PEM";
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Err(error) => broken(format!("{path}: bad PEM: {error}"), hint),
        Ok(found) if found.is_empty() => broken(
            format!("{path}: no certificate in it (no PEM of CERTIFICATE)"),
            hint,
        ),
        Ok(found) => {
            let mut roots = RootCertStore::empty();
            for der in &found {
                // An origin's own certificate may stand here; what is no certificate may not.
                if let Err(error) = roots.add(der.clone()) {
                    return broken(format!("{path}: {error}"), hint);
                }
            }
            Some(Authorities::new(roots, &found))
        }
    }
}

/// The system's authorities; of those that it has, the ones that cannot be read are left out.
fn of_system(spec: &OriginTlsSpec, work: &mut Work<'_>) -> Option<Authorities> {
    let system = work.tls.system.get_or_insert_with(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        if roots
            .add_parsable_certificates(found.certs.iter().cloned())
            .0
            > 0
        {
            return Ok(Authorities::new(roots, &found.certs));
        }
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        Err(errors.join("; "))
    });
    match system {
        Ok(authorities) => Some(authorities.clone()),
        Err(errors) => {
            let mut message = "this system has no authorities to verify an origin by".to_owned();
            if !errors.is_empty() {
                message = format!("{message}: {errors}");
            }
            let error = Diagnostic::error(spec.place.clone(), message);
            let hint = "install ca-certificates, or write `tls = { ca = \"ca.pem\" }`";
            work.broken.push(error.hint(hint));
            None
        }
    }
}

impl Authorities {
    fn new(roots: RootCertStore, certificates: &[CertificateDer<'_>]) -> Self {
        let parts: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
        Self {
            roots: Arc::new(roots),
            tag: Tag::of(&parts),
        }
    }
}

/// Verifies a certificate for a name that is not the SNI.
#[derive(Debug)]
struct Renamed {
    name: ServerName<'static>,
    webpki: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Renamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = &self.name;
        self.webpki
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
