//! quiche and its HTTP/3 as a server: what it says of a connection stands in its log.

use peer::peer::{unsupported, Options};
use peer::serve::{serve, Asked};
use peer::{config, tls};

const LARGE: usize = 10_000_000;

fn answer(asked: &Asked) -> Option<Vec<u8>> {
    let content = match asked.path.as_str() {
        path if path.starts_with("/large") => vec![b'x'; LARGE],
        _ => format!("received {}\n", asked.received).into_bytes(),
    };
    eprintln!("{} {} received={} sent={}", asked.method, asked.path, asked.received, content.len());
    Some(content)
}

fn main() {
    let o = Options::read();
    if o.text("http", "1") != "3" {
        unsupported("quiche speaks QUIC alone");
    }
    if o.has("key-update") {
        unsupported("not asked for over QUIC");
    }
    let mut tls = tls();
    let mut groups = o.list("groups");
    if o.has("refuse-early") {
        // A HelloRetryRequest to who has another share.
        groups = vec!["P-256"];
    }
    if !groups.is_empty() && tls.set_curves_list(&groups.join(":")).is_err() {
        unsupported(&format!("BoringSSL has not all of {groups:?}"));
    }
    let mut config = config(tls, quiche::h3::APPLICATION_PROTOCOL);
    config.load_cert_chain_from_pem_file(o.required("chain")).expect("the chain is readable");
    config.load_priv_key_from_pem_file(o.required("key")).expect("the key belongs to it");
    if o.has("early") || o.has("refuse-early") {
        config.enable_early_data();
    }
    serve(o.number("port", 443) as u16, config, false, &answer)
}
