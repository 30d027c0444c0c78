//! Inspecting, and reading what was found.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::edge::{Edge, run};
use crate::support::pki::{Files, Pki};

/// The name of every server here.
pub const NAME: &str = "a.test";

/// The keys of a site that takes early data and answers it at once.
pub const EARLY: &str = "early_data = true\n[[site.route]]\npath = \"/\"\nearly_data = \"safe\"\n\
                         respond = { body = \"hello\\n\" }";
/// Those of one that does not.
pub const PLAIN: &str = "[[site.route]]\npath = \"/\"\nrespond = { body = \"\" }";

/// An edge with one site, which has such a certificate and these keys.
pub async fn edge(certificate: &str, keys: &str) -> Edge {
    Edge::start(&format!(
        "[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
         [[site]]\nnames = [\"{NAME}\"]\ncertificate = {certificate}\n{keys}\n"
    ))
    .await
}

/// What was found out of a server that has this name and this authority.
pub struct Found(pub Value);

/// Inspects, and succeeds.
#[track_caller]
pub fn inspect(address: SocketAddr, pki: &Pki) -> impl Future<Output = Found> {
    let caller = std::panic::Location::caller();
    let (address, ca) = (address.to_string(), pki.ca_file().display().to_string());
    async move {
        let words = ["inspect", &address, "--sni", NAME, "--ca", &ca, "--json"];
        let (status, stdout, stderr) = run(&words).await;
        assert!(status.success(), "{caller}: {stderr}");
        Found(serde_json::from_str(&stdout).unwrap())
    }
}

impl Found {
    /// What is at this JSON pointer; null where nothing is.
    pub fn at(&self, pointer: &str) -> Value {
        self.0.pointer(pointer).cloned().unwrap_or_default()
    }

    /// The versions that are spoken, the newest first.
    pub fn versions(&self) -> Vec<String> {
        let versions = self.0["versions"].as_array().unwrap();
        let spoken = versions.iter().filter(|it| it["spoken"] == true);
        spoken.map(|it| text(&it["version"])).collect()
    }

    /// A list of a version: `suites`, `groups`.
    pub fn of_version(&self, version: &str, what: &str) -> Vec<String> {
        let versions = self.0["versions"].as_array().unwrap();
        let found = versions.iter().find(|it| it["version"] == version).unwrap();
        texts(&found[what])
    }

    /// A list of texts at this pointer.
    pub fn texts(&self, pointer: &str) -> Vec<String> {
        texts(&self.at(pointer))
    }

    /// What is wrong with the first chain, by their tags.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.at("/certificates/0/problems");
        let problems = problems.as_array().unwrap().iter();
        problems.map(|it| text(&it["problem"])).collect()
    }
}

/// What s_server and others want to hear of a certificate.
pub fn openssl_arguments(files: &Files) -> [String; 4] {
    let (chain, key) = (files.chain.display(), files.key.display());
    [
        "-cert".into(),
        chain.to_string(),
        "-key".into(),
        key.to_string(),
    ]
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}
