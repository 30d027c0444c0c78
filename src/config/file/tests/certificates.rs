//! How it is typed in what form certificates are sent.

use super::wrong;

#[test]
fn each_mistake_about_certificates_is_told_with_place_and_hint() {
    for (line, expected) in [
        (
            "certificate_compression = \"on\"",
            "3:27 `certificate_compression` cannot be \"on\" / allowed are \"off\"",
        ),
        (
            "certificate_compression = [\"brotli\", \"zlip\"]",
            "3:38 `certificate_compression` cannot be \"zlip\" / did you mean \"zlib\"? allowed are \"brotli\", \"zlib\"",
        ),
        (
            "certificate_compression = [\"zlib\", \"zlib\"]",
            "3:36 \"zlib\" stands there twice / take one of them away",
        ),
        (
            "certificate_compression = [\"zstd\"]",
            "3:28 zstd is not supported in this version / take it away: who takes zstd takes brotli or zlib too",
        ),
        (
            "certificate = { chain = \"a.pem\", key = \"a.key\", scts = \"a.sct\" }",
            "3:56 the TLS extension for certificate timestamps is not supported in this version / take this away: authorities embed timestamps in the certificates themselves",
        ),
    ] {
        wrong(&format!("[[site]]\nnames = [\"a.com\"]\n{line}"), expected);
    }
}
