//! OpenSSL's responder, and what other clients make of our staples.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::authority::{Authority, DAY, Files, Leaf, Status};
use super::openssl::OpenSsl;
use super::responder::issuer;
use super::stage::{LOGGED, Looker, NAME, config, site};
use crate::support::edge::Edge;
use crate::support::tool::tool;
use crate::support::{polled, within};

/// Good, revoked, and a third that the responder does not know.
const NAMES: [(&str, u8, Status); 3] = [
    ("good.example", 1, Status::Good),
    ("revoked.example", 2, Status::Revoked),
    ("unknown.example", 3, Status::Unknown),
];

/// An edge with all three, whose responder is OpenSSL's. `None` without OpenSSL.
async fn edge(authority: &Authority, signer: &Files, more: &[&str]) -> Option<(Edge, OpenSsl)> {
    edge_of(authority, signer, more, "").await
}

/// The same with a path in the responder's address.
async fn edge_of(
    authority: &Authority,
    signer: &Files,
    more: &[&str],
    path: &str,
) -> Option<(Edge, OpenSsl)> {
    let known = NAMES.map(|(_, serial, status)| (serial, status));
    let responder = OpenSsl::start(authority, &known, signer, more).await?;
    let url = format!("{}{path}", responder.url);
    let sites = NAMES.map(|(name, serial, _)| {
        let leaf = Leaf {
            serial,
            responder: Some(&url),
            ..Leaf::default()
        };
        site(
            name,
            &authority.leaf(name, leaf).toml(""),
            "min_version = \"1.2\"",
        )
    });
    Some((Edge::start(&config(LOGGED, &sites)).await, responder))
}

/// Runs a client to its end: whether it was content, and all it said.
async fn run(program: &Path, arguments: &[String]) -> (bool, String) {
    let (code, said) = exit(program, arguments).await;
    (code == Some(0), said)
}

/// The exit code, and all that was said.
async fn exit(program: &Path, arguments: &[String]) -> (Option<i32>, String) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("a client's end", output).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

#[tokio::test]
async fn openssl_s_responder_is_understood_whoever_signs_and_whatever_hash_it_takes() {
    for (delegated, more) in [
        (false, &["-nmin", "60"][..]),
        (true, &["-ndays", "7"]),
        (true, &["-nmin", "60", "-resp_key_id"]),
        (false, &["-nmin", "60", "-rmd", "sha384"]),
    ] {
        let authority = Authority::new();
        let signer = match delegated {
            true => authority.delegate(),
            false => issuer(&authority),
        };
        let Some((edge, _responder)) = edge(&authority, &signer, more).await else {
            return;
        };
        let looker = Looker::new(&authority);
        for (name, serial, status) in &NAMES[..2] {
            let shown = looker.until_stapled(&edge, name).await;
            assert_eq!(shown.staple, Some((*status, *serial)), "{more:?}");
        }
        edge.until_text("the responder does not know the certificate")
            .await;
        let shown = looker.look(edge.address(), "unknown.example").await;
        assert_eq!(shown.unwrap().staple, None);
    }
}

#[tokio::test]
async fn openssl_s_responder_takes_our_nonce() {
    let authority = Authority::new();
    let signer = authority.delegate();
    // With a query it cannot be asked by GET.
    let edge = edge_of(&authority, &signer, &["-nmin", "60"], "/?by=post").await;
    let Some((edge, _responder)) = edge else {
        return;
    };
    let looker = Looker::new(&authority);
    for (name, serial, status) in &NAMES[..2] {
        let shown = looker.until_stapled(&edge, name).await;
        assert_eq!(shown.staple, Some((*status, *serial)));
        // id-pkix-ocsp-nonce (RFC 9654): it answers what it was asked with.
        let nonce = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x02";
        let mut parts = shown.bytes.windows(nonce.len());
        assert!(parts.any(|part| part == nonce), "no nonce");
    }
}

#[tokio::test]
async fn openssl_s_responder_is_not_believed_with_another_signer_or_without_an_end() {
    let authority = Authority::new();
    let other = Authority::new();
    // A leaf of the same issuer may not answer for it; a stranger's delegate neither.
    let leaf = authority.leaf("leaf.example", Leaf::default());
    for (signer, more, why) in [
        (leaf, &["-nmin", "60"][..], "not signed by who may answer"),
        (
            other.delegate(),
            &["-nmin", "60"],
            "not signed by who may answer",
        ),
        (issuer(&authority), &[], "does not say when it ends"),
    ] {
        let Some((edge, _responder)) = edge(&authority, &signer, more).await else {
            return;
        };
        edge.until_text(why).await;
        let looker = Looker::new(&authority);
        for (name, ..) in NAMES {
            let shown = looker.fresh().look(edge.address(), name).await;
            assert_eq!(shown.unwrap().staple, None);
        }
    }
}

/// A responder whose clock is behind says `good` of a time that is over.
#[tokio::test]
async fn what_openssl_s_responder_says_of_a_time_that_is_over_is_not_shown() {
    let authority = Authority::new();
    let known = [(1, Status::Good)];
    let signer = authority.delegate();
    let ended = ["-ndays", "1"];
    let ended = OpenSsl::start_behind(3 * DAY, &authority, &known, &signer, &ended).await;
    let Some(ended) = ended else {
        return;
    };
    let leaf = Leaf {
        serial: 1,
        responder: Some(&ended.url),
        ..Leaf::default()
    };
    let leaf = authority.leaf(NAME, leaf);
    let top = format!(
        "[ocsp]\ndirectory = \"{}\"",
        authority.path("kept").display()
    );
    let asking = |more: &str| config(&top, &[site(NAME, &leaf.toml(more), "")]);
    let refused = async |edge: &Edge| {
        let line = edge.until_text("no new staple").await;
        assert!(line.contains("an answer that has ended"), "{line}");
        assert!(line.contains(&ended.url), "{line}");
        edge.until_metric("cutwater_ocsp_fetches_total", &["result=\"dates\""], 1.0)
            .await;
    };
    let looker = Looker::new(&authority);

    let edge = Edge::start(&asking("")).await;
    refused(&edge).await;
    let shown = looker.fresh().look(edge.address(), NAME).await;
    assert_eq!(shown.unwrap().staple, None);
    let missing = ["state=\"missing\""];
    assert_eq!(
        edge.metric("cutwater_ocsp_certificates", &missing).await,
        1.0
    );
    drop(edge);

    // Where a good one is there, it stays. It has half a minute left: up to a quarter of that passes
    // before it is asked for after a start.
    let behind = Duration::from_secs(265);
    let good = ["-nmin", "5"];
    let good = OpenSsl::start_behind(behind, &authority, &known, &signer, &good).await;
    let good = good.expect("as before");
    let edge = Edge::start(&asking(&format!(", responder = \"{}\"", good.url))).await;
    let first = looker.until_stapled(&edge, NAME).await;
    assert_eq!(first.staple, Some((Status::Good, 1)));
    polled("a kept staple", async || {
        let mut files = std::fs::read_dir(authority.path("kept")).ok()?.flatten();
        files.find(|file| std::fs::read(file.path()).is_ok_and(|bytes| bytes == first.bytes))
    })
    .await;
    drop(edge);
    let edge = Edge::start(&asking("")).await;
    refused(&edge).await;
    let shown = looker.fresh().look(edge.address(), NAME).await;
    assert_eq!(shown.unwrap().bytes, first.bytes);
    let valid = ["state=\"valid\""];
    assert_eq!(edge.metric("cutwater_ocsp_certificates", &valid).await, 1.0);
}

#[tokio::test]
async fn openssl_gnutls_and_curl_take_what_is_good_and_refuse_what_is_revoked() {
    let authority = Authority::new();
    let signer = authority.delegate();
    let Some((edge, _responder)) = edge(&authority, &signer, &["-nmin", "60"]).await else {
        return;
    };
    let looker = Looker::new(&authority);
    for (name, ..) in &NAMES[..2] {
        looker.until_stapled(&edge, name).await;
    }
    let port = edge.address().port();
    let ca = authority.path("root.pem").display().to_string();
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut openssl_said = 0;
    for (name, _, status) in &NAMES[..2] {
        let good = *status == Status::Good;
        if let Some(openssl) = tool("openssl") {
            for version in ["-tls1_2", "-tls1_3"] {
                let arguments = words(format!(
                    "s_client -connect 127.0.0.1:{port} -servername {name} -CAfile {ca} -alpn http/1.1 -status {version}"
                ));
                let (_, said) = run(&openssl, &arguments).await;
                let word = if good { "good" } else { "revoked" };
                let line = format!("Cert Status: {word}");
                assert!(said.contains("OCSP Response Status: successful"), "{said}");
                assert!(said.contains(&line), "{said}");
                let bare = arguments.iter().filter(|word| *word != "-status").cloned();
                let (_, said) = run(&openssl, &bare.collect::<Vec<_>>()).await;
                assert!(!said.contains("Cert Status"), "{said}");
                // Of the clients here it alone agrees on HTTP/1.1.
                openssl_said += 2;
                let logged =
                    edge.until_connections(openssl_said, |line| line["alpn"] == "http/1.1");
                let logged = logged.await;
                // They end in this order, but on two workers.
                let of_both = &logged[openssl_said - 2..];
                for staple in [Value::from(word), Value::Null] {
                    let shown = |line: &Value| line["staple"] == staple;
                    assert!(of_both.iter().any(shown), "{of_both:?}");
                }
            }
        }
        if let Some(gnutls) = tool("gnutls-cli") {
            for version in ["TLS1.2", "TLS1.3"] {
                let priority = format!("NORMAL:-VERS-ALL:+VERS-{version}");
                let arguments = words(format!(
                    "127.0.0.1 --port {port} --sni-hostname {name} --verify-hostname {name} \
                     --x509cafile {ca} --priority {priority}"
                ));
                let (content, said) = run(&gnutls, &arguments).await;
                assert_eq!(content, good, "{said}");
                assert_eq!(said.contains("The certificate is trusted"), good, "{said}");
            }
        }
        if let Some(curl) = tool("curl") {
            let arguments = words(format!(
                "--silent --show-error --cacert {ca} --cert-status \
                 --resolve {name}:{port}:127.0.0.1 https://{name}:{port}/"
            ));
            let (content, said) = run(&curl, &arguments).await;
            assert_eq!(content, good, "{said}");
            // Without a staple it is not content either.
            let bare = arguments
                .iter()
                .map(|word| word.replace(name, "unknown.example"));
            let (content, said) = run(&curl, &bare.collect::<Vec<_>>()).await;
            assert!(!content && said.contains("No OCSP response"), "{said}");
        }
    }
}

#[tokio::test]
async fn nss_takes_our_staples() {
    let (Some(certutil), Some(tstclnt)) = (tool("certutil"), tool("tstclnt")) else {
        return;
    };
    let authority = Authority::new();
    let signer = authority.delegate();
    let Some((edge, _responder)) = edge(&authority, &signer, &["-nmin", "60"]).await else {
        return;
    };
    let looker = Looker::new(&authority);
    for (name, ..) in &NAMES[..2] {
        looker.until_stapled(&edge, name).await;
    }
    let database = authority.path("nss");
    std::fs::create_dir(&database).unwrap();
    let database = database.display().to_string();
    let root = authority.path("root.pem").display().to_string();
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let new = words(format!("-N -d sql:{database} --empty-password"));
    assert!(run(&certutil, &new).await.0);
    let add = words(format!("-A -d sql:{database} -n root -t C,, -a -i {root}"));
    assert!(run(&certutil, &add).await.0);
    let port = edge.address().port();
    // -T asks for a staple, -F -M 1 has it decide: 0 is good, 2 is none, 3 is revoked.
    for ((name, ..), wanted) in NAMES.iter().zip([0, 3, 2]) {
        let arguments = words(format!(
            "-h 127.0.0.1 -p {port} -a {name} -d sql:{database} -T -O -F -M 1 -Q"
        ));
        let (code, said) = exit(&tstclnt, &arguments).await;
        assert_eq!(code, Some(wanted), "{name}: {said}");
    }
}
