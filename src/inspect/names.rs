//! What can be offered, with the names that IANA gives it.

use std::sync::LazyLock;

use rustls::CipherSuite;

/// A version of the protocol, by the number that stands in a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Version {
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Version {
    /// All that are asked for, the newest first.
    pub(super) const ALL: [Self; 5] = [
        Self::Tls13,
        Self::Tls12,
        Self::Tls11,
        Self::Tls10,
        Self::Ssl3,
    ];

    /// The number on the wire.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Ssl3 => 0x0300,
            Self::Tls10 => 0x0301,
            Self::Tls11 => 0x0302,
            Self::Tls12 => 0x0303,
            Self::Tls13 => 0x0304,
        }
    }

    /// As it stands in reports.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ssl3 => "SSL 3.0",
            Self::Tls10 => "TLS 1.0",
            Self::Tls11 => "TLS 1.1",
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }

    /// The suites that may be offered with it, those in use today first.
    pub(super) fn suites(self) -> &'static [u16] {
        match self {
            Self::Tls13 => &SUITES.new,
            _ => &SUITES.old,
        }
    }
}

struct Suites {
    new: Vec<u16>,
    old: Vec<u16>,
}

/// All suites that rustls has a name for: those of IANA's registry, and none that is a signal only.
static SUITES: LazyLock<Suites> = LazyLock::new(|| {
    let named = |code: &u16| CipherSuite::from(*code).as_str().is_some();
    let all = (0x0001..=0xffff)
        .filter(named)
        .filter(|code| !SIGNALS.contains(code));
    let (new, mut old): (Vec<u16>, Vec<u16>) = all.partition(|code| is_new(*code));
    old.sort_by_key(|code| rank(&suite(*code)));
    Suites { new, old }
});

/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV and TLS_FALLBACK_SCSV.
const SIGNALS: [u16; 2] = [0x00ff, 0x5600];

fn is_new(code: u16) -> bool {
    code >> 8 == 0x13
}

/// Servers are seen to choke on long lists, so that each part should hold what is likely: modern
/// suites come first, and a server that speaks a version is found by the first part.
fn rank(name: &str) -> u8 {
    let ephemeral = name.contains("_ECDHE_") || name.contains("_DHE_");
    let modern = ["_AES_128_GCM", "_AES_256_GCM", "_CHACHA20"];
    let modern = modern.iter().any(|part| name.contains(part));
    let common = modern || name.contains("_AES_") && name.contains("_CBC_");
    let odd = ["_PSK_", "_SRP_", "_KRB5_", "_EXPORT"];
    let odd = odd.iter().any(|part| name.contains(part));
    match () {
        () if odd => 4,
        () if modern && ephemeral => 0,
        () if common && (ephemeral || name.contains("_RSA_WITH_")) => 1,
        () if name.contains("_3DES_") || name.contains("_RC4_") => 2,
        () => 3,
    }
}

/// The name of a suite.
pub(super) fn suite(code: u16) -> String {
    match CipherSuite::from(code).as_str() {
        // As rustls has it, so that nobody confuses the two kinds.
        Some(name) => name.replacen("TLS13_", "TLS_", 1),
        None => format!("0x{code:04X}"),
    }
}

/// What a ServerKeyExchange of TLS 1.2 and older holds first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// A named curve. RFC 8422 §5.4
    Curve,
    /// A prime. RFC 5246 §7.4.3
    Prime,
    /// There is none, or something else stands first.
    Other,
}

/// The key exchange of a suite.
pub(super) fn exchange(code: u16) -> Exchange {
    let name = suite(code);
    let is_one_of = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
    if is_one_of(&["TLS_ECDHE_RSA_", "TLS_ECDHE_ECDSA_", "TLS_ECDH_anon_"]) {
        Exchange::Curve
    } else if is_one_of(&["TLS_DHE_RSA_", "TLS_DHE_DSS_", "TLS_DH_anon_"]) {
        Exchange::Prime
    } else {
        Exchange::Other
    }
}

/// Groups: number, name, where it may be offered.
const GROUPS: &[(u16, &str, Where)] = &[
    (0x001d, "X25519", Where::Both),
    (0x0017, "secp256r1", Where::Both),
    (0x0018, "secp384r1", Where::Both),
    (0x0019, "secp521r1", Where::Both),
    (0x11ec, "X25519MLKEM768", Where::New),
    (0x11eb, "SecP256r1MLKEM768", Where::New),
    (0x11ed, "SecP384r1MLKEM1024", Where::New),
    (0x11ee, "curveSM2MLKEM768", Where::New),
    (0x0200, "MLKEM512", Where::New),
    (0x0201, "MLKEM768", Where::New),
    (0x0202, "MLKEM1024", Where::New),
    (0x6399, "X25519Kyber768Draft00", Where::New),
    (0x001e, "X448", Where::Both),
    (0x0100, "ffdhe2048", Where::New),
    (0x0101, "ffdhe3072", Where::New),
    (0x0102, "ffdhe4096", Where::New),
    (0x0103, "ffdhe6144", Where::New),
    (0x0104, "ffdhe8192", Where::New),
    (0x001f, "brainpoolP256r1tls13", Where::New),
    (0x0020, "brainpoolP384r1tls13", Where::New),
    (0x0021, "brainpoolP512r1tls13", Where::New),
    (0x0029, "curveSM2", Where::New),
    (0x001a, "brainpoolP256r1", Where::Old),
    (0x001b, "brainpoolP384r1", Where::Old),
    (0x001c, "brainpoolP512r1", Where::Old),
    (0x0016, "secp256k1", Where::Old),
    (0x0015, "secp224r1", Where::Old),
    (0x0014, "secp224k1", Where::Old),
    (0x0013, "secp192r1", Where::Old),
    (0x0012, "secp192k1", Where::Old),
    (0x0011, "secp160r2", Where::Old),
    (0x0010, "secp160r1", Where::Old),
    (0x000f, "secp160k1", Where::Old),
    (0x000e, "sect571r1", Where::Old),
    (0x000d, "sect571k1", Where::Old),
    (0x000c, "sect409r1", Where::Old),
    (0x000b, "sect409k1", Where::Old),
    (0x000a, "sect283r1", Where::Old),
    (0x0009, "sect283k1", Where::Old),
    (0x0008, "sect239k1", Where::Old),
    (0x0007, "sect233r1", Where::Old),
    (0x0006, "sect233k1", Where::Old),
    (0x0005, "sect193r2", Where::Old),
    (0x0004, "sect193r1", Where::Old),
    (0x0003, "sect163r2", Where::Old),
    (0x0002, "sect163r1", Where::Old),
    (0x0001, "sect163k1", Where::Old),
];

/// The finite field groups stand with TLS 1.3 alone: in an older hello they would forbid all
/// other Diffie-Hellman parameters (RFC 7919 §4), and hide the suites that use those.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Both,
    New,
    Old,
}

/// The groups that may be offered with this version.
pub(super) fn groups(version: Version) -> Vec<u16> {
    let not = match version {
        Version::Tls13 => Where::Old,
        _ => Where::New,
    };
    let fit = GROUPS.iter().filter(|(.., place)| *place != not);
    fit.map(|(code, ..)| *code).collect()
}

/// The name of a group.
pub(super) fn group(code: u16) -> String {
    let mut groups = GROUPS.iter();
    match groups.find(|(known, ..)| *known == code) {
        Some((_, name, _)) => (*name).to_owned(),
        None => format!("0x{code:04X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_of_tls_13_stand_apart() {
        let new: Vec<String> = Version::Tls13
            .suites()
            .iter()
            .map(|code| suite(*code))
            .collect();
        assert_eq!(
            new,
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "TLS_AES_128_CCM_SHA256",
                "TLS_AES_128_CCM_8_SHA256",
            ]
        );
        let old = Version::Tls12.suites();
        assert!(old.len() > 300, "{}", old.len());
        assert!(
            old.iter()
                .all(|code| !is_new(*code) && !SIGNALS.contains(code))
        );
    }

    #[test]
    fn what_is_in_use_comes_first() {
        let old = Version::Tls12.suites();
        let place = |name: &str| old.iter().position(|code| suite(*code) == name).unwrap();
        let modern = place("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        let common = place("TLS_RSA_WITH_AES_128_CBC_SHA");
        assert!(modern < common);
        assert!(common < place("TLS_RSA_WITH_3DES_EDE_CBC_SHA"));
        assert!(common < place("TLS_PSK_WITH_AES_128_CBC_SHA"));
    }

    #[test]
    fn groups_are_offered_where_they_belong() {
        let named = |version| groups(version).into_iter().map(group).collect::<Vec<_>>();
        let (new, old) = (named(Version::Tls13), named(Version::Tls12));
        assert!(new.iter().any(|name| name == "X25519MLKEM768"));
        assert!(
            !old.iter()
                .any(|name| name.starts_with("ffdhe") || name.contains("MLKEM"))
        );
        assert!(old.iter().any(|name| name == "sect163k1"));
        assert!(!new.iter().any(|name| name == "sect163k1"));
        assert_eq!(group(0xfeed), "0xFEED");
    }
}
