//! What is shown to whom, and how it is come by.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use x509_cert::der::Decode;
use x509_ocsp::{BasicOcspResponse, OcspRequest, OcspResponse};

use super::authority::{Answer, Authority, Leaf, Nonce, Status};
use super::responder::{Does, Responder};
use super::stage::{LOGGED, Looker, NAME, config, site};
use crate::support::edge::{Edge, Start};
use crate::support::within;

const GOOD: Does = Does::Answer(Answer::GOOD);

fn leaf(serial: u8, responder: &str) -> Leaf<'_> {
    Leaf {
        serial,
        responder: Some(responder),
        ..Leaf::default()
    }
}

#[tokio::test]
async fn each_certificate_of_a_site_has_its_own_staple_over_tls_1_3_and_1_2() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let url = responder.url();
    let ecdsa = authority.leaf(NAME, leaf(1, &url)).toml("");
    let rsa = Leaf {
        rsa: true,
        ..leaf(2, &url)
    };
    let rsa = authority.leaf(NAME, rsa).toml("");
    let both = format!("[{ecdsa}, {rsa}]");
    let sites = [site(NAME, &both, "min_version = \"1.2\"")];
    let edge = Edge::start(&config(LOGGED, &sites)).await;
    let any = Looker::new(&authority);
    let shown = any.until_stapled(&edge, NAME).await;
    assert_eq!(shown.staple, Some((Status::Good, 1)));
    let shown = Looker::rsa(&authority).until_stapled(&edge, NAME).await;
    assert_eq!(shown.staple, Some((Status::Good, 2)));
    let shown = Looker::tls12(&authority).until_stapled(&edge, NAME).await;
    assert_eq!(shown.staple, Some((Status::Good, 1)));
    for (version, certificate) in [("1.3", "ecdsa_p256"), ("1.3", "rsa"), ("1.2", "ecdsa_p256")] {
        let logged = edge.until_connection(|line| {
            line["version"] == version
                && line["certificate"] == certificate
                && line["staple"] == "good"
        });
        logged.await;
    }
    let valid = ["state=\"valid\""];
    assert_eq!(edge.metric("cutwater_ocsp_certificates", &valid).await, 2.0);
    let fetched = edge
        .metric("cutwater_ocsp_fetches_total", &["result=\"ok\""])
        .await;
    assert_eq!(fetched, 2.0);
    let end = edge
        .metric("cutwater_ocsp_first_end_time_seconds", &[])
        .await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(end > now.as_secs_f64() + 6.0 * 86_400.0, "{end}");
    edge.until_text("new staple").await;
    // Short requests go by GET, which caches can answer, without a nonce.
    for asked in responder.asked() {
        assert_eq!(asked.method, "GET");
        assert!(
            OcspRequest::from_der(&asked.body)
                .unwrap()
                .nonce()
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_certificate_without_a_responder_is_shown_without_and_so_is_one_that_is_off() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let url = responder.url();
    let bare = authority.leaf("bare.example", Leaf::default()).toml("");
    let off = authority.leaf("off.example", leaf(2, &url)).toml("");
    let on = authority.leaf("on.example", leaf(3, &url)).toml("");
    let sites = [
        site("bare.example", &bare, ""),
        site("off.example", &off, "ocsp = \"off\""),
        site("on.example", &on, ""),
    ];
    let edge = Edge::start(&config(LOGGED, &sites)).await;
    let looker = Looker::new(&authority);
    looker.until_stapled(&edge, "on.example").await;
    for name in ["bare.example", "off.example"] {
        let shown = looker.look(edge.address(), name).await.unwrap();
        assert_eq!(shown.staple, None, "{name}");
        let logged = edge.until_connection(|line| line["sni"] == name).await;
        assert_eq!(logged["staple"], Value::Null, "{name}");
    }
    assert_eq!(responder.asked().len(), 1);
    assert!(!edge.text().contains("WARN"), "{}", edge.text());
}

#[tokio::test]
async fn a_responder_that_refuses_get_is_asked_by_post_with_a_nonce() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, Does::post_only(GOOD)).await;
    let certificate = authority.leaf(NAME, leaf(1, &responder.url())).toml("");
    let edge = Edge::start(&config("", &[site(NAME, &certificate, "")])).await;
    Looker::new(&authority).until_stapled(&edge, NAME).await;
    let asked = responder.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].method, "POST");
    let request = OcspRequest::from_der(&asked[1].body).unwrap();
    assert_eq!(request.nonce().unwrap().0.as_bytes().len(), 32);
}

#[tokio::test]
async fn an_address_that_is_too_long_for_a_get_is_asked_by_post() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let certificate = authority.leaf(NAME, Leaf::default());
    let long = format!(", responder = \"{}/{}\"", responder.url(), "x".repeat(200));
    let certificate = certificate.toml(&long);
    let edge = Edge::start(&config("", &[site(NAME, &certificate, "")])).await;
    Looker::new(&authority).until_stapled(&edge, NAME).await;
    let asked = responder.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method, "POST");
    assert!(
        asked[0].target.ends_with("xx"),
        "the other address is asked"
    );
}

fn nonced(nonce: Nonce<'static>) -> Does {
    Does::post_only(Does::Answer(Answer {
        nonce,
        ..Answer::GOOD
    }))
}

/// The nonce of the answer that is shown by an edge whose responder answers with such a one, and the
/// one that was asked with.
async fn shown_nonce(nonce: Nonce<'static>) -> (Option<Vec<u8>>, Vec<u8>) {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, nonced(nonce)).await;
    let certificate = authority.leaf(NAME, leaf(1, &responder.url())).toml("");
    let edge = Edge::start(&config("", &[site(NAME, &certificate, "")])).await;
    let shown = Looker::new(&authority).until_stapled(&edge, NAME).await;
    let asked = responder.asked();
    let asked = asked.iter().find(|asked| asked.method == "POST").unwrap();
    let asked = OcspRequest::from_der(&asked.body).unwrap().nonce().unwrap();
    let shown = OcspResponse::from_der(&shown.bytes).unwrap();
    let shown = shown.response_bytes.unwrap().response;
    let shown = BasicOcspResponse::from_der(shown.as_bytes()).unwrap();
    let shown = shown.nonce().map(|nonce| nonce.0.as_bytes().to_vec());
    (shown, asked.0.as_bytes().to_vec())
}

#[tokio::test]
async fn an_answer_with_the_nonce_of_the_request_is_shown() {
    let (shown, asked) = shown_nonce(Nonce::Asked).await;
    assert_eq!(shown, Some(asked));
}

/// Responders make their answers ahead and leave the nonce out (RFC 9654 §2.1).
#[tokio::test]
async fn so_is_one_without_a_nonce() {
    let (shown, asked) = shown_nonce(Nonce::Left).await;
    assert_eq!((shown, asked.len()), (None, 32));
}

#[tokio::test]
async fn one_with_another_nonce_is_not() {
    let authority = Arc::new(Authority::new());
    // As long as ours, and as good but for that.
    let responder = Responder::start(&authority, nonced(Nonce::Other(&[7; 32]))).await;
    let certificate = authority.leaf(NAME, leaf(1, &responder.url())).toml("");
    let required = site(NAME, &certificate, "ocsp = \"required\"");
    let edge = Edge::start(&config("", &[required])).await;
    edge.until_text("an answer to another request").await;
    let looker = Looker::new(&authority);
    assert!(looker.look(edge.address(), NAME).await.is_err());
    let refused = ["result=\"nonce\""];
    let refused = edge.metric("cutwater_ocsp_fetches_total", &refused).await;
    assert!(refused >= 1.0);
    let taken = ["result=\"ok\""];
    let taken = edge.metric("cutwater_ocsp_fetches_total", &taken).await;
    assert_eq!(taken, 0.0);
    // The same responder with the right one.
    responder.does(nonced(Nonce::Asked));
    looker.until(&edge, NAME, Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn redirects_to_http_are_followed() {
    let authority = Arc::new(Authority::new());
    let end = Responder::start(&authority, GOOD).await;
    let first = Responder::start(&authority, Does::Redirect(end.url())).await;
    let certificate = authority.leaf(NAME, leaf(1, &first.url())).toml("");
    let edge = Edge::start(&config("", &[site(NAME, &certificate, "")])).await;
    Looker::new(&authority).until_stapled(&edge, NAME).await;
    assert_eq!((first.asked().len(), end.asked().len()), (1, 1));
}

#[tokio::test]
async fn responders_are_asked_through_a_proxy() {
    let authority = Arc::new(Authority::new());
    // It is the responder too: what it is asked for is not its own address.
    let proxy = Responder::start(&authority, GOOD).await;
    let certificate = authority
        .leaf(NAME, leaf(1, "http://ocsp.invalid/a"))
        .toml("");
    let top = format!("[ocsp]\nproxy = \"{}\"", proxy.url());
    let edge = Edge::start(&config(&top, &[site(NAME, &certificate, "")])).await;
    Looker::new(&authority).until_stapled(&edge, NAME).await;
    let asked = proxy.asked();
    assert!(
        asked[0].target.starts_with("http://ocsp.invalid/a/"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_revoked_certificate_is_shown_as_such_and_shouted_about() {
    let authority = Arc::new(Authority::new());
    let revoked = Answer {
        status: Status::Revoked,
        ..Answer::GOOD
    };
    let responder = Responder::start(&authority, Does::Answer(revoked)).await;
    let certificate = authority.leaf(NAME, leaf(1, &responder.url())).toml("");
    let sites = [site(NAME, &certificate, "ocsp = \"required\"")];
    let edge = Edge::start(&config(LOGGED, &sites)).await;
    let shown = Looker::new(&authority);
    let fits = |shown: &Result<super::stage::Shown, _>| shown.is_ok();
    let shown = shown.until(&edge, NAME, fits).await.unwrap();
    assert_eq!(shown.staple, Some((Status::Revoked, 1)));
    edge.until_connection(|line| line["staple"] == "revoked")
        .await;
    let line = edge.until_text("REVOKED").await;
    assert!(line.contains("ERROR") && line.contains(NAME), "{line}");
    let states = edge
        .metric("cutwater_ocsp_certificates", &["state=\"revoked\""])
        .await;
    assert_eq!(states, 1.0);
}

#[tokio::test]
async fn a_staple_is_renewed_while_it_is_valid_and_in_use_without_a_reload() {
    let authority = Arc::new(Authority::new());
    let short = Answer {
        lasts: Duration::from_secs(6),
        ..Answer::GOOD
    };
    let responder = Responder::start(&authority, Does::Answer(short)).await;
    let certificate = authority.leaf(NAME, leaf(1, &responder.url())).toml("");
    let edge = Edge::start(&config(
        "",
        &[site(NAME, &certificate, "ocsp = \"required\"")],
    ))
    .await;
    let looker = Looker::new(&authority);
    let first = looker.until(&edge, NAME, Result::is_ok).await.unwrap();
    // Required: one moment without would be seen as an alert.
    let second = looker
        .until(&edge, NAME, |shown| {
            let shown = shown.as_ref().expect("never without");
            shown.bytes != first.bytes
        })
        .await;
    assert!(second.is_ok());
    assert!(responder.asked().len() >= 2);
}

#[tokio::test]
async fn a_staple_of_a_file_is_taken_when_it_changes_and_nobody_is_asked() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let asking = authority.leaf(NAME, leaf(1, &responder.url()));
    let edge = Edge::start(&config("", &[site(NAME, &asking.toml(""), "")])).await;
    let request = responder.until_asked(1).await[0].body.clone();
    drop(edge);
    let write = |since: u64, status| {
        let answer = Answer {
            status,
            since: Duration::from_secs(since),
            ..Answer::GOOD
        };
        let bytes = authority.answer(&request, &answer);
        let new = authority.path("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(&new, authority.path("staple.der")).unwrap();
    };
    write(3600, Status::Good);
    let more = format!(", staple = \"{}\"", authority.path("staple.der").display());
    let edge = Edge::start(&config("", &[site(NAME, &asking.toml(&more), "")])).await;
    let looker = Looker::new(&authority);
    let shown = looker.look(edge.address(), NAME).await.unwrap();
    assert_eq!(
        shown.staple,
        Some((Status::Good, 1)),
        "from the first handshake on"
    );
    // Garbage costs nothing.
    std::fs::write(authority.path("staple.der"), "half").unwrap();
    edge.until_text("no new staple").await;
    let again = looker.fresh().look(edge.address(), NAME).await.unwrap();
    assert_eq!(again.bytes, shown.bytes);
    write(0, Status::Revoked);
    let revoked = looker.until(&edge, NAME, |shown| {
        let shown = shown.as_ref().unwrap();
        shown.staple == Some((Status::Revoked, 1))
    });
    within("the new file", revoked).await.unwrap();
    assert_eq!(responder.asked().len(), 1);
}

#[tokio::test]
async fn a_chain_without_its_issuer_is_warned_of_and_a_file_of_it_helps() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let files = authority.leaf(NAME, leaf(1, &responder.url()));
    let chain = std::fs::read_to_string(&files.chain).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let alone = chain.split_inclusive(end).next().unwrap();
    std::fs::write(&files.chain, alone).unwrap();
    let text = config("", &[site(NAME, &files.toml(""), "")]);
    let edge = Start::with(&text).run().await;
    edge.until_text("the certificate of its issuer is not in the chain")
        .await;
    drop(edge);
    let more = format!(", issuer = \"{}\"", authority.path("issuer.pem").display());
    let edge = Edge::start(&config("", &[site(NAME, &files.toml(&more), "")])).await;
    responder.until_asked(1).await;
    edge.until_text("new staple").await;
}
