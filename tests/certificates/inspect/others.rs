//! Other people's servers.

use super::stage::{NAME, inspect, openssl_arguments};
use crate::support::daemon::{Daemon, free_address};
use crate::support::pki::{Key, Kind, Pki};

#[tokio::test]
async fn a_server_of_tls_12_alone_with_old_suites_is_told() {
    let pki = Pki::new();
    let kind = Kind {
        key: Key::Rsa,
        ..Kind::default()
    };
    let files = pki.files_of(&[NAME], kind);
    let mut arguments = openssl_arguments(&files).to_vec();
    let suites = "ECDHE-RSA-AES128-SHA:DHE-RSA-AES256-SHA:AES128-SHA:@SECLEVEL=0";
    arguments.extend(["-tls1_2", "-cipher", suites].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let address = free_address();
    let Some(_server) = Daemon::s_server(&arguments, address).await else {
        return;
    };
    // rustls speaks none of these: all of this is seen in the clear.
    let found = inspect(address, &pki).await;
    assert_eq!(found.versions(), ["TLS 1.2"]);
    let mut suites = found.of_version("TLS 1.2", "suites");
    suites.sort();
    assert_eq!(
        suites,
        [
            "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
        ]
    );
    let groups = found.of_version("TLS 1.2", "groups");
    assert!(groups.contains(&"secp521r1".to_owned()), "{groups:?}");
    let bits = &found.0["versions"][1]["dh_bits"];
    assert!(bits.as_u64().is_some_and(|bits| bits >= 1024), "{bits}");
    assert_eq!(found.at("/certificates/0/names/0"), NAME);
    assert_eq!(found.texts("/certificates/0/shown_for"), [""; 0]);
    let usual = found.at("/usual");
    assert!(usual.is_null(), "{usual}");
    assert!(found.at("/early_data/allowed").is_null());
}

#[tokio::test]
async fn sessions_of_tls_12_are_told_by_their_kind() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    for (more, by_ticket) in [
        (&["-tls1_2"][..], true),
        (&["-tls1_2", "-no_ticket"], false),
    ] {
        let arguments = openssl_arguments(&files);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let arguments = [&arguments[..], more].concat();
        let address = free_address();
        let Some(_server) = Daemon::s_server(&arguments, address).await else {
            return;
        };
        let found = inspect(address, &pki).await;
        assert_eq!(found.at("/resumption/tls12_ticket"), by_ticket, "{more:?}");
        assert_eq!(found.at("/resumption/tls12_session_id"), true, "{more:?}");
        assert!(found.at("/resumption/tls13").is_null());
    }
}

#[tokio::test]
async fn groups_that_we_do_not_have_are_told() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let arguments = openssl_arguments(&files);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let more = ["-tls1_3", "-groups", "X448:ffdhe3072", "-num_tickets", "0"];
    let arguments = [&arguments[..], &more].concat();
    let address = free_address();
    let Some(_server) = Daemon::s_server(&arguments, address).await else {
        return;
    };
    let found = inspect(address, &pki).await;
    assert_eq!(found.versions(), ["TLS 1.3"]);
    let mut groups = found.of_version("TLS 1.3", "groups");
    groups.sort();
    assert_eq!(groups, ["X448", "ffdhe3072"]);
    // No handshake can be completed with them here, and that is said.
    assert!(found.at("/usual").is_null());
    assert!(!found.texts("/notes").is_empty());
}

#[tokio::test]
async fn nginx_is_told_as_it_is_configured() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let (chain, key) = (files.chain.display(), files.key.display());
    let address = free_address();
    let blocks = format!(
        "http {{ access_log off; client_body_temp_path DIRECTORY/body;
         proxy_temp_path DIRECTORY/proxy; fastcgi_temp_path DIRECTORY/fastcgi;
         uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
         server {{ listen {address} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
         ssl_protocols TLSv1.2 TLSv1.3; ssl_early_data on; ssl_session_cache shared:a:1m;
         ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256; ssl_ecdh_curve X25519:prime256v1;
         add_header Alt-Svc 'h3=\":1\"; ma=60'; return 200 hello; }} }}"
    );
    let Some(_server) = Daemon::nginx(&blocks, address).await else {
        return;
    };
    let found = inspect(address, &pki).await;
    assert_eq!(found.versions(), ["TLS 1.3", "TLS 1.2"]);
    let suites = found.of_version("TLS 1.2", "suites");
    assert_eq!(suites, ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]);
    let mut groups = found.of_version("TLS 1.3", "groups");
    groups.sort();
    assert_eq!(groups, ["X25519", "secp256r1"]);
    assert_eq!(found.texts("/alpn"), ["http/1.1"]);
    assert_eq!(found.at("/resumption/tls13"), true);
    assert_eq!(found.at("/resumption/tls12_session_id"), true);
    assert_eq!(found.at("/resumption/tls12_ticket"), true);
    assert_eq!(found.at("/early_data/allowed"), 16384);
    assert_eq!(found.at("/early_data/answer/accepted"), true);
    assert_eq!(found.at("/early_data/answer/status"), 200);
    // It promises what it does not have.
    assert_eq!(found.at("/http3/alt_svc"), "h3=\":1\"; ma=60");
    assert_eq!(found.at("/http3/spoken"), false);
    let notes = found.texts("/notes");
    assert!(
        notes.iter().any(|note| note.contains("port 1")),
        "{notes:?}"
    );
}

#[tokio::test]
async fn gnutls_is_told_as_it_is_configured() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let (chain, key) = (
        files.chain.display().to_string(),
        files.key.display().to_string(),
    );
    let priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP384R1:+GROUP-X25519";
    let arguments = [
        "--x509certfile",
        &chain,
        "--x509keyfile",
        &key,
        "--priority",
        priority,
        "--earlydata",
        "--maxearlydata=1000",
    ];
    let address = free_address();
    let Some(_server) = Daemon::gnutls_serv(&arguments, address).await else {
        return;
    };
    let found = inspect(address, &pki).await;
    assert_eq!(found.versions(), ["TLS 1.3"]);
    let mut groups = found.of_version("TLS 1.3", "groups");
    groups.sort();
    assert_eq!(groups, ["X25519", "secp384r1"]);
    let suites = found.of_version("TLS 1.3", "suites");
    assert!(
        suites.contains(&"TLS_AES_128_CCM_SHA256".to_owned()),
        "{suites:?}"
    );
    assert_eq!(found.at("/early_data/allowed"), 1000);
    assert_eq!(found.at("/certificates/0/trusted"), true);
}
