//! `cutwater inspect` beside sslyze, on the edge that speaks TLS 1.2 too: where both tell, they have
//! to tell the same.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::tools::{bounded, result, said};
use super::{Failure, ToolResult};
use crate::ground::Ground;
use crate::sites::OLD;

const NAME: &str = "inspect";

/// Versions: by inspect's name, and by sslyze's.
const VERSIONS: [(&str, &str); 5] = [
    ("TLS 1.3", "tls_1_3"),
    ("TLS 1.2", "tls_1_2"),
    ("TLS 1.1", "tls_1_1"),
    ("TLS 1.0", "tls_1_0"),
    ("SSL 3.0", "ssl_3_0"),
];

/// Groups that sslyze's OpenSSL 1.1.1 knows too, by names that begin so; hybrid ones it does not.
const CURVES: [&str; 5] = ["X25519", "X448", "secp", "brainpoolP", "sect"];

/// Runs both, and compares.
pub(super) fn run(ground: &dyn Ground, sslyze: Option<&Path>, logs: &Path) -> ToolResult {
    result(NAME, None, compared(ground, sslyze, logs))
}

fn compared(
    ground: &dyn Ground,
    sslyze: Option<&Path>,
    logs: &Path,
) -> Result<(usize, Vec<Failure>), String> {
    let edge = ground.edge_old().to_string();
    let ca = format!("{}/ca.pem", ground.pki());
    let words = ["--sni", OLD, "--ca", &ca, "--json", &edge];
    let command = ground.inspect_command(&words.map(str::to_owned));
    let (good, text) = said(command, &logs.join("inspect.json"))?;
    if !good {
        return Ok((0, vec![Failure::new("the run", text.trim())]));
    }
    let ours: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;

    let json = logs.join("inspect-sslyze.json");
    let mut command = bounded(sslyze.unwrap_or(Path::new("sslyze")));
    let mut out = OsString::from("--json_out=");
    out.push(&json);
    command.arg(out);
    let scans = "--sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --early_data --resum \
                 --elliptic_curves --certinfo --mozilla_config=disable";
    command
        .args(scans.split_whitespace())
        .args(["--sni", OLD, &edge]);
    said(command, &logs.join("inspect-sslyze.log"))?;
    let text = fs::read_to_string(&json);
    let text = text.map_err(|error| format!("sslyze wrote no report: {error}"))?;
    let theirs = serde_json::from_str::<Value>(&shortened(&text));
    let theirs = theirs.map_err(|error| format!("sslyze's report: {error}"))?;
    let theirs = theirs
        .pointer("/server_scan_results/0/scan_result")
        .filter(|scan| scan.is_object())
        .ok_or("sslyze scanned nothing")?;
    Ok(compare(&ours, theirs))
}

/// How many facts agree, and those that do not. What sslyze does not tell is none: its scans fail
/// one by one. If all of them have failed, nothing was compared, and that is a failure.
fn compare(ours: &Value, theirs: &Value) -> (usize, Vec<Failure>) {
    let mut facts: Vec<(String, Value, Value)> = Vec::new();
    for (version, scan) in VERSIONS {
        let found = theirs.pointer(&format!("/{scan}_cipher_suites/result"));
        let Some(found) = found.filter(|it| it.is_object()) else {
            continue;
        };
        let versions = ours["versions"].as_array().into_iter().flatten();
        let mut own = versions.filter(|it| it["version"] == version);
        let own = own.next().cloned().unwrap_or_default();
        let spoken = found["is_tls_version_supported"].clone();
        facts.push((version.to_owned(), own["spoken"].clone(), spoken));
        let suites = names(&found["accepted_cipher_suites"], "/cipher_suite/name");
        let what = format!("suites of {version}");
        facts.push((what, list(names(&own["suites"], "")), list(suites)));
    }
    if let Some(found) = theirs.pointer("/elliptic_curves/result/supported_curves") {
        let known = |name: &String| {
            let curve = CURVES.iter().any(|begin| name.starts_with(begin));
            curve && !name.contains("MLKEM")
        };
        // sslyze looks at the newest version alone, and inspect has that first.
        let own = names(&ours["versions"][0]["groups"], "");
        let own = own.into_iter().filter(known).collect();
        let found = names(found, "/name").into_iter();
        let found = found.map(|name| name.replace("prime256v1", "secp256r1"));
        facts.push(("groups".to_owned(), list(own), list(found.collect())));
    }
    let resumed = [
        ("tls12_session_id", "session_id_resumption_result"),
        ("tls12_ticket", "tls_ticket_resumption_result"),
    ];
    for (own, scan) in resumed {
        if let Some(found) = theirs.pointer(&format!("/session_resumption/result/{scan}")) {
            let found = Value::from(found == "FULLY_SUPPORTED");
            let own_value = ours["resumption"][own].clone();
            facts.push((format!("resumption, {own}"), own_value, found));
        }
    }
    if let Some(found) = theirs.pointer("/tls_1_3_early_data/result/supports_early_data") {
        let own = ours["early_data"]["allowed"]
            .as_u64()
            .map(|allowed| allowed > 0);
        facts.push(("early data".to_owned(), own.into(), found.clone()));
    }
    if let Some(found) = theirs.pointer("/certificate_info/result/certificate_deployments") {
        let length = |chain: &Value| chain.as_array().map_or(0, Vec::len);
        let of_ours = |it: &Value| {
            let stapled = !it["staple"].is_null();
            (text(&it["sha256"]), 1 + length(&it["chain"]), stapled)
        };
        let of_theirs = |it: &Value| {
            let chain = &it["received_certificate_chain"];
            let stapled = !it["ocsp_response"].is_null();
            (
                hexadecimal(&chain[0]["fingerprint_sha256"]),
                length(chain),
                stapled,
            )
        };
        let each = |all: &Value, of: &dyn Fn(&Value) -> (String, usize, bool)| {
            let all = all.as_array().into_iter().flatten();
            let told = all.map(|it| {
                let (print, length, stapled) = of(it);
                format!("{print}, {length} in the chain, stapled: {stapled}")
            });
            list(told.collect())
        };
        let own = each(&ours["certificates"], &of_ours);
        facts.push(("certificates".to_owned(), own, each(found, &of_theirs)));
    }
    if facts.is_empty() {
        return (
            0,
            vec![Failure::new("the comparison", "sslyze tells nothing")],
        );
    }
    let (same, other): (Vec<_>, Vec<_>) = facts.into_iter().partition(|(_, own, it)| own == it);
    let failures = other.into_iter().map(|(what, own, found)| {
        Failure::new(&what, &format!("inspect tells {own}, sslyze {found}"))
    });
    (same.len(), failures.collect())
}

/// Texts at this place of each element, in no order.
fn names(all: &Value, at: &str) -> BTreeSet<String> {
    let all = all.as_array().into_iter().flatten();
    all.filter_map(|it| it.pointer(at)).map(text).collect()
}

fn list(all: BTreeSet<String>) -> Value {
    all.into_iter().collect::<Vec<_>>().into()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The same with no number of more than so many digits: sslyze writes the moduli of RSA keys as
/// numbers, which no floating point number holds.
fn shortened(json: &str) -> String {
    const DIGITS: usize = 15;
    let (mut inside, mut escaped, mut digits) = (false, false, 0);
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let quote = c == '"' && !escaped;
        inside ^= quote;
        escaped = inside && c == '\\' && !escaped;
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        if inside || digits <= DIGITS {
            out.push(c);
        }
    }
    out
}

/// sslyze writes fingerprints in base64 (RFC 4648 §4).
fn hexadecimal(base64: &Value) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0_u32, 0, String::new());
    for digit in text(base64).bytes() {
        let Some(value) = DIGITS.iter().position(|it| *it == digit) else {
            break; // The padding.
        };
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out += &format!("{:02x}", bits >> held & 0xff);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn both() -> (Value, Value) {
        let ours = json!({
            "versions": [
                { "version": "TLS 1.3", "spoken": true,
                  "suites": ["TLS_B", "TLS_A"], "groups": ["X25519MLKEM768", "secp256r1"] },
                { "version": "TLS 1.2", "spoken": false, "suites": [], "groups": [] },
            ],
            "resumption": { "tls12_session_id": true, "tls12_ticket": false },
            "early_data": { "allowed": 16384 },
            "certificates": [{ "sha256": "0100", "chain": [1], "staple": null }],
        });
        let suites = |names: &[&str]| {
            let each = names
                .iter()
                .map(|name| json!({ "cipher_suite": { "name": name } }));
            each.collect::<Vec<_>>()
        };
        let theirs = json!({
            "tls_1_3_cipher_suites": { "result": { "is_tls_version_supported": true,
                "accepted_cipher_suites": suites(&["TLS_A", "TLS_B"]) } },
            "tls_1_2_cipher_suites": { "result": { "is_tls_version_supported": false,
                "accepted_cipher_suites": [] } },
            "tls_1_1_cipher_suites": { "result": null },
            "elliptic_curves": { "result": { "supported_curves": [{ "name": "prime256v1" }] } },
            "session_resumption": { "result": {
                "session_id_resumption_result": "FULLY_SUPPORTED",
                "tls_ticket_resumption_result": "NOT_SUPPORTED" } },
            "tls_1_3_early_data": { "result": { "supports_early_data": true } },
            "certificate_info": { "result": { "certificate_deployments": [
                { "received_certificate_chain": [{ "fingerprint_sha256": "AQA=" }, {}],
                  "ocsp_response": null }] } },
        });
        (ours, theirs)
    }

    #[test]
    fn what_both_tell_has_to_be_the_same() {
        let (ours, theirs) = both();
        assert_eq!(compare(&ours, &theirs), (9, Vec::new()));
        let mut other = ours.clone();
        other["versions"][0]["suites"] = json!(["TLS_A"]);
        other["early_data"]["allowed"] = json!(0);
        other["certificates"][0]["staple"] = json!({});
        let (same, failures) = compare(&other, &theirs);
        let names: Vec<&str> = failures.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(same, 6);
        assert_eq!(names, ["suites of TLS 1.3", "early data", "certificates"]);
        let said = r#"inspect tells ["TLS_A"], sslyze ["TLS_A","TLS_B"]"#;
        assert_eq!(failures[0].what, said);
    }

    #[test]
    fn what_sslyze_does_not_tell_is_not_compared() {
        let (ours, _) = both();
        let early = json!({ "tls_1_3_early_data": { "result": { "supports_early_data": true } } });
        assert_eq!(compare(&ours, &early), (1, Vec::new()));
    }

    #[test]
    fn where_sslyze_tells_nothing_the_comparison_fails() {
        let (ours, _) = both();
        let nothing = Failure::new("the comparison", "sslyze tells nothing");
        assert_eq!(compare(&ours, &json!({})), (0, vec![nothing]));
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        let long = "1".repeat(700);
        let json = format!(r#"{{"a\"{long}": {long}, "b": [{long}, 12]}}"#);
        let read: Value = serde_json::from_str(&shortened(&json)).unwrap();
        assert_eq!(read["b"][1], 12);
        assert!(read[format!("a\"{long}")].is_number());
    }

    #[test]
    fn fingerprints_are_the_same_in_hexadecimal() {
        assert_eq!(hexadecimal(&json!("AAECAw==")), "00010203");
        assert_eq!(hexadecimal(&json!("//79")), "fffefd");
        assert_eq!(hexadecimal(&json!(null)), "");
    }
}
