//! What a site shows, and to whom it answers beside those who name it.

use std::sync::Mutex;

use rustls::SignatureScheme::{self, ECDSA_NISTP256_SHA256, ED25519, RSA_PSS_SHA256};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::quic::client::{Client, endpoint};
use crate::quic::names::alert;
use crate::quic::scene::{Scene, Wants};
use crate::support::pki::{Key, Kind, Pki};
use crate::support::within;

/// A name of the default site, and one of no site, which its certificate has too.
const DEFAULT: &str = "default.example";
const UNKNOWN: &str = "elsewhere.example";

fn by_default(pki: &Pki) -> String {
    let certificate = pki.files(&[DEFAULT, UNKNOWN]).toml();
    format!(
        "[[site]]\nnames = [\"{DEFAULT}\"]\ncertificate = {certificate}\n\
         default = true\nearly_data = true\n\
         [[site.route]]\npath = \"/\"\nearly_data = \"safe\"\n\
         respond = {{ status = 200, body = \"hello\" }}"
    )
}

/// Connects by this name, asks for something and waits for a ticket.
async fn ticket(scene: &Scene, name: &'static str) {
    let mut client = Client::connect(scene.address(), name, &scene.setup).await;
    let answer = client.get(&format!("https://{name}/")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    let come = async {
        while scene.setup.tickets().left(name) == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a ticket", come).await;
    client.close().await;
    scene
        .edge
        .until_connection(|line| line["sni"] == name)
        .await;
}

#[tokio::test]
async fn a_default_site_answers_unknown_names_and_takes_early_data_by_its_own_alone() {
    let scene = Scene::with_sites(by_default, Wants::default()).await;
    for (name, is_taken) in [(DEFAULT, true), (UNKNOWN, false)] {
        ticket(&scene, name).await;
        let tickets = scene.setup.tickets();
        let seen = tickets.seen();
        let of_name = seen.iter().find(|ticket| ticket.name == name);
        // RFC 9001 §4.6.1: all, or nothing.
        let size = if is_taken { u32::MAX } else { 0 };
        assert_eq!(of_name.unwrap().max_early_data_size, size, "{name}");
        // Who does not heed that is refused.
        tickets.pretend_early_data_size(Some(u32::MAX));
        let endpoint = endpoint(&scene.setup);
        let connecting = endpoint.connect(scene.address(), name).unwrap();
        let Ok((quic, accepted)) = connecting.into_0rtt() else {
            panic!("no early data");
        };
        // A stream is what carries early data; it says nothing yet.
        let (mut send, _recv) = quic.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        assert_eq!(within("the handshake", accepted).await, is_taken, "{name}");
        quic.close(0x100u32.into(), b"");
        endpoint.wait_idle().await;
        let early = match is_taken {
            true => "accepted",
            false => "refused_policy",
        };
        let came_back = |line: &Value| line["sni"] == name && line["early"] != "none";
        let line = scene.edge.until_connection(came_back).await;
        assert_eq!(
            (&line["early"], &line["resumed"]),
            (&early.into(), &true.into())
        );
        tickets.pretend_early_data_size(None);
    }
    scene.settle().await;
}

/// The site with two certificates.
const BOTH: &str = "both.example";

#[tokio::test]
async fn of_several_certificates_each_client_gets_the_one_that_it_can_verify() {
    let leaves = Mutex::new(Vec::new());
    let sites = |pki: &Pki| {
        let files = [("ecdsa", Key::P256), ("rsa", Key::Rsa)].map(|(stem, key)| {
            let kind = Kind {
                key,
                ..Kind::default()
            };
            let leaf = pki.leaf_of(&[BOTH], kind);
            leaves.lock().unwrap().push(leaf.chain[0].clone());
            leaf.write(pki.directory(), stem).toml()
        });
        format!(
            "[[site]]\nnames = [\"{BOTH}\"]\ncertificate = [{}]\n\
             [[site.route]]\npath = \"/\"\nrespond = {{ status = 200, body = \"hello\" }}",
            files.join(", ")
        )
    };
    let scene = Scene::with_sites(sites, Wants::default()).await;
    let [ecdsa, rsa] = leaves.into_inner().unwrap().try_into().unwrap();
    let cases: [(&[SignatureScheme], _, _); 4] = [
        (&[ECDSA_NISTP256_SHA256], &ecdsa, "ecdsa_p256"),
        (&[RSA_PSS_SHA256], &rsa, "rsa"),
        (
            &[RSA_PSS_SHA256, ECDSA_NISTP256_SHA256],
            &ecdsa,
            "ecdsa_p256",
        ),
        (&[RSA_PSS_SHA256, ED25519], &rsa, "rsa"),
    ];
    for ((schemes, expected, kind), nth) in cases.into_iter().zip(1..) {
        let setup = scene.setup.clone().schemes(schemes);
        let mut client = Client::connect(scene.address(), BOTH, &setup).await;
        let shown = client.quic.peer_identity().unwrap();
        let shown = shown.downcast::<Vec<CertificateDer<'static>>>().unwrap();
        assert_eq!(&shown[0], expected, "{schemes:?}");
        let answer = client.get(&format!("https://{BOTH}/")).await;
        assert_eq!(answer.text(), "hello");
        client.close().await;
        let lines = scene
            .edge
            .until_connections(nth, |line| line["sni"] == BOTH);
        assert_eq!(lines.await[nth - 1]["certificate"], kind, "{schemes:?}");
    }
    // There is none for who verifies neither.
    const HANDSHAKE_FAILURE: u64 = 40;
    let setup = scene.setup.clone().schemes(&[ED25519]);
    let ended = Client::try_connect(scene.address(), BOTH, &setup).await;
    assert_eq!(alert(&ended.err().unwrap()), Some(HANDSHAKE_FAILURE));
    scene.settle().await;
}
